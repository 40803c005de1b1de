package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
)

// fixedStore answers every request of a route with the same bytes, in the form
// that Qdrant gives them, so that the proxies before it are what is measured
// and no store's own work.
type fixedStore struct {
	listener net.Listener
	answers  map[string][]byte // whole, by the target
}

const (
	searchPath = "/collections/notes/points/query"
	scrollPath = "/collections/notes/points/scroll"
)

// startStore listens with an answer of 10 hits in 1 KB, and one of many points
// of 1 KB each.
func startStore(points int) (*fixedStore, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var search, scroll bytes.Buffer
	search.WriteString(`{"result":{"points":[`)
	for i := range 10 {
		if i > 0 {
			search.WriteByte(',')
		}
		fmt.Fprintf(&search, `{"id":%d,"version":3,"score":0.%d,"payload":{"n":%d,"email":"person%d@example.com","lang":"pt"}}`, 1000+i, 987654-i, i, i)
	}
	search.WriteString(`]},"status":"ok","time":0.000412}`)
	scroll.WriteString(`{"result":{"points":[`)
	for i := range points {
		if i > 0 {
			scroll.WriteByte(',')
		}
		fmt.Fprintf(&scroll, `{"id":%d,"payload":{"n":%d,"city":"Porto","email":"person%d@example.com","contact":{"phone":"+351 21 000","kind":"home"},"tags":["a","b"],"text":"%s"}}`,
			i, i, i, strings.Repeat("The quick brown fox jumps over the lazy dog; ", 19))
	}
	scroll.WriteString(`],"next_page_offset":null},"status":"ok","time":0.04}`)
	s := &fixedStore{listener: l, answers: map[string][]byte{}}
	for target, body := range map[string][]byte{
		"/aliases": []byte(`{"result":{"aliases":[]},"status":"ok","time":0}`), searchPath: search.Bytes(), scrollPath: scroll.Bytes(),
	} {
		s.answers[target] = append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body)), body...)
	}
	go s.run()
	return s, nil
}

func (s *fixedStore) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *fixedStore) run() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.answer(c)
	}
}

func (s *fixedStore) close() { _ = s.listener.Close() }

// answer takes requests until the connection ends.
func (s *fixedStore) answer(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		line, length, _, err := readHead(r)
		if err != nil {
			return
		}
		_, line, _ = strings.Cut(line, " ")
		target, _, _ := strings.Cut(line, " ")
		if _, err := r.Discard(max(length, 0)); err != nil {
			return
		}
		answer := s.answers[target]
		if answer == nil {
			answer = []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// readHead reads a message's head: its first line, the length of its body (-1
// where the head does not say), and whether the body comes in chunks.
func readHead(r *bufio.Reader) (first string, length int, chunked bool, err error) {
	length = -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch name, value, _ := bytes.Cut(line, []byte(":")); {
		case first == "":
			first = string(line)
		case len(line) == 0:
			return first, length, chunked, nil
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return "", 0, false, err
			}
		case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked"))
		}
	}
}

// readAnswer reads an answer to its end and returns the bytes of its body.
func readAnswer(r *bufio.Reader) (int, error) {
	first, length, chunked, err := readHead(r)
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(first, "HTTP/1.1 200 ") {
		rest, _ := r.Peek(min(r.Buffered(), 300))
		return 0, fmt.Errorf("%s: %s", first, rest)
	}
	if !chunked {
		if length < 0 {
			return 0, errors.New("an answer of no known length")
		}
		return r.Discard(length)
	}
	for n := 0; ; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return n, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return n, err
		}
		if _, err := r.Discard(int(size)); err != nil {
			return n, err
		}
		if _, err := textproto.NewReader(r).ReadLineBytes(); err != nil {
			return n, err
		}
		if n += int(size); size == 0 {
			return n, nil
		}
	}
}
