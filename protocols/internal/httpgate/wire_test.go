package httpgate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// asRead are the requests of a connection's bytes, as this package takes them.
func asRead(raw io.Reader) (out []string) {
	g := &gate{}
	g.in.conn = raw
	for {
		b, err := g.in.head(maxRequestHead)
		if err != nil || g.head.readHead(b, nil, &g.last) != nil {
			return out
		}
		path, query, err := parseTarget(g.head.target)
		if err != nil {
			return out
		}
		g.body.start(&g.in, g.head.length, false)
		content, err := io.ReadAll(&g.body)
		if err != nil {
			return out
		}
		out = append(out, fmt.Sprintf("%s %s %q %s %q", g.head.method, appendTarget(nil, path, query), g.head.contentType, g.head.encoding, content))
		if g.head.close {
			return append(out, "close")
		}
	}
}

// asHTTP are those that net/http takes.
func asHTTP(raw []byte) (out []string) {
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return out
		}
		content, err := io.ReadAll(req.Body)
		if err != nil {
			return out
		}
		path, query, err := parseTarget(req.RequestURI)
		if err != nil {
			return out
		}
		out = append(out, fmt.Sprintf("%s %s %q %s %q", req.Method, appendTarget(nil, path, query), req.Header.Get("Content-Type"), strings.Join(req.Header.Values("Content-Encoding"), ","), content))
		if req.Close || req.ProtoMinor == 0 {
			return append(out, "close")
		}
	}
}

// FuzzRequests: what is taken for requests, net/http takes for the same ones,
// however the bytes come. It takes more, which is refused here.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		smuggled, smuggled + smuggled,
		"POST /a?b=c HTTP/1.1\r\n" + fields + "Content-Length: 2\r\nContent-Type: text/plain\r\n\r\n{}" + smuggled,
		"POST /a HTTP/1.1\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n01\r\n}\r\n0\r\n\r\n" + smuggled,
		"POST /a HTTP/1.1\r\n" + fields + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST /a HTTP/1.1\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n1;a\r\n{\r\n0\r\nX: y\r\n\r\n" + smuggled,
		"GET /a HTTP/1.0\r\n\r\n" + smuggled, "GET /a HTTP/1.1\nHost: x\n\n", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + smuggled,
		"GET /a HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nContent-Encoding: a\r\nContent-Encoding: b\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ours := asRead(bytes.NewReader(raw))
		if slow := asRead(iotest.OneByteReader(bytes.NewReader(raw))); strings.Join(slow, "\n") != strings.Join(ours, "\n") {
			t.Fatalf("%q depends on how it comes:\n%q\n%q", raw, ours, slow)
		}
		theirs := asHTTP(raw)
		if len(theirs) < len(ours) {
			t.Fatalf("%q has %q here, and for net/http %q", raw, ours, theirs)
		}
		for i := range ours {
			if ours[i] != theirs[i] && ours[i] != "close" { // a connection may always end
				t.Fatalf("%q has %q here, and for net/http %q", raw, ours, theirs)
			}
		}
	})
}

// FuzzAnswer: what is taken for an answer, net/http takes for the same.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\n\r\nwords", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "HTTP/1.1 200\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 999 x\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := source{conn: bytes.NewReader(raw)}
		var head answerHead
		b, err := in.head(maxHead)
		if err == nil {
			err = head.read(b, "POST", nil)
		}
		if err != nil || head.status < 200 {
			return
		}
		var content body
		content.start(&in, head.length, true)
		ours, err := io.ReadAll(&content)
		if err != nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: "POST"})
		if err != nil {
			t.Fatalf("%q was taken, and not by net/http: %v", raw, err)
		}
		theirs, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != head.status || !bytes.Equal(ours, theirs) || resp.Header.Get("Content-Type") != head.contentType || resp.Close && !head.close {
			t.Fatalf("%q is %+v %q here, and for net/http %d %q, %v", raw, head, ours, resp.StatusCode, theirs, err)
		}
	})
}

// TestOut: an answer has a length where it is short, and comes in chunks where
// it is long or in pieces; HTTP/1.0 has its end in the connection's.
func TestOut(t *testing.T) {
	long := strings.Repeat("x", holdBack-1)
	for name, c := range map[string]struct {
		pieces  []string
		flush   bool
		bare    bool
		old     bool
		status  int
		length  int64
		records int
	}{
		"short":            {pieces: []string{"ab", "c"}, length: 3, records: 1},
		"nothing":          {length: 0, records: 1},
		"almost long":      {pieces: []string{long}, length: holdBack - 1, records: 1},
		"long":             {pieces: []string{long, "ab", "c"}, length: -1, records: 2},
		"just long":        {pieces: []string{long, "a"}, length: -1, records: 2},
		"in pieces":        {pieces: []string{"a", "b"}, flush: true, length: -1, records: 3},
		"to HEAD":          {pieces: []string{"abc"}, bare: true, length: 3, records: 1},
		"to HEAD, long":    {pieces: []string{long, long}, bare: true, length: -1, records: 1},
		"to HTTP/1.0":      {pieces: []string{"abc"}, old: true, length: 3, records: 1},
		"to it, long":      {pieces: []string{long, "ab", "c"}, old: true, length: -1, records: 2},
		"to it, in pieces": {pieces: []string{"a", "b"}, old: true, flush: true, length: -1, records: 2},
		"no content":       {pieces: []string{"abc"}, status: 204, length: 0, records: 1},
	} {
		var sent bytes.Buffer
		records := 0
		o := NewOut(&sent, func() error { records++; return nil })
		o.ending = func() bool { return false }
		o.bare, o.old = c.bare, c.old
		o.Status = max(200, c.status)
		o.field("X-Long", strings.Repeat("y", len(name)*100)) // with some, the head has no room
		want := ""
		for _, p := range c.pieces {
			if _, err := o.Write([]byte(p)); err != nil {
				t.Fatal(err)
			}
			want += p
			if c.flush {
				_ = o.Flush()
				if !strings.HasSuffix(strings.TrimSuffix(sent.String(), "\r\n"), p) {
					t.Errorf("%s: %q has not left", name, p)
				}
			}
		}
		if err := o.End(); err != nil {
			t.Fatal(err)
		}
		method := "GET"
		if c.bare {
			method, want = "HEAD", ""
		}
		if c.status == 204 {
			want = ""
		}
		r := bufio.NewReader(&sent)
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != want || resp.ContentLength != c.length || r.Buffered() > 0 || resp.Close != (c.old && c.length < 0) || records < c.records {
			t.Errorf("%s: %d bytes, length %d, close %v, %d records, %v", name, len(got), resp.ContentLength, resp.Close, records, err)
		}
	}
}

// TestOutUnrecorded: nothing leaves that was not recorded.
func TestOutUnrecorded(t *testing.T) {
	var sent bytes.Buffer
	full := errors.New("the disk is full")
	o := NewOut(&sent, func() error { return full })
	_, _ = o.Write([]byte("a"))
	if err := o.End(); !errors.Is(err, full) || sent.Len() > 0 || o.Sent() {
		t.Errorf("%v %q", err, sent.String())
	}
}

// TestSilence: what says nothing for too long is interrupted, once, and not
// where nothing is expected of it.
func TestSilence(t *testing.T) {
	interrupted := make(chan struct{}, 2)
	var s silence
	s.set(20*time.Millisecond, func() { interrupted <- struct{}{} })
	for range 2 {
		s.begin()
		if !s.end() || s.late() {
			t.Error("late before its time")
		}
	}
	s.begin()
	<-interrupted
	if !s.late() || s.end() {
		t.Error("it is not told")
	}
	s.begin()
	s.broken()
	<-interrupted
	if s.end() {
		t.Error("it is not told again")
	}
	if len(interrupted) > 0 {
		t.Error("interrupted twice")
	}
}
