package mysql_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// hostile stands between the proxy and a server, and after the login answers a COM_QUERY that says so as it
// likes.
type hostile struct {
	l      net.Listener
	answer func(text string) []byte // nil passes the query on
	wg     sync.WaitGroup
}

func startHostile(t testing.TB, s *throwaway.Server, answer func(string) []byte) *hostile {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{l: l, answer: answer}
	t.Cleanup(func() { l.Close(); h.wg.Wait() })
	h.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", s.Address())
			if err != nil {
				c.Close()
				continue
			}
			h.wg.Go(func() { _, _ = io.Copy(c, up); c.Close() })
			h.wg.Go(func() { h.relay(c, up) })
		}
	})
	return h
}

// relay passes packets on until one is to be answered otherwise.
func (h *hostile) relay(c, up net.Conn) {
	defer up.Close()
	defer c.Close()
	for {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		b := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if len(b) > 0 && b[0] == 3 && head[3] == 0 {
			if out := h.answer(string(b[1:])); out != nil {
				_, _ = c.Write(out)
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, _ = c.Read(head[:]) // until the proxy has had enough
				return
			}
		}
		if _, err := up.Write(append(head[:], b...)); err != nil {
			return
		}
	}
}

// packets numbers payloads from 1.
func packets(payloads ...string) []byte {
	var out []byte
	for i, p := range payloads {
		out = append(out, byte(len(p)), byte(len(p)>>8), byte(len(p)>>16), byte(i+1))
		out = append(out, p...)
	}
	return out
}

// TestHostileServer: what a server sends in the place of an answer ends the session with an error; the
// proxy neither allocates what a length claims nor passes on what it cannot follow.
func TestHostileServer(t *testing.T) {
	definition := "\x03def\x00\x00\x00\x01a\x00\x0c\x2d\x00\x04\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
	end := "\xfe\x00\x00\x02\x00\x00\x00"
	replies := map[string][]byte{
		"many columns":          packets("\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"),
		"no columns":            packets("\xfc\x00\x00"),
		"a short count":         packets("\xfc\x01"),
		"an empty packet":       packets(""),
		"a short OK":            packets("\x00\x00"),
		"a short ERR":           packets("\xff\x01"),
		"a file unasked":        packets("\xfb/etc/passwd"),
		"a short definition":    packets("\x01", "\x03def\xff"),
		"a long name":           packets("\x01", "\x03def\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
		"a wrong sequence":      {1, 0, 0, 9, 1},
		"a row of too many":     packets("\x01", definition, "\x01x\x01y", end),
		"a row cut short":       packets("\x01", definition, "\x05ab", end),
		"an empty row":          packets("\x01", definition, ""),
		"more results":          packets("\x00\x00\x00\x0a\x00\x00\x00", "\x00\x00\x00\x02\x00\x00\x00"),
		"a state that lies":     packets("\x00\x00\x00\x02\x40\x00\x00\x00\x05\x00\xff\x01a"),
		"a dangerous charset":   packets("\x00\x00\x00\x02\x40\x00\x00\x00\x1b\x00\x19\x14character_set_client\x03gbk"),
		"garbage":               []byte(strings.Repeat("\xde\xad\xbe\xef", 300)),
		"the end of the stream": packets("\x01", definition)[:9],
	}
	var mu sync.Mutex
	var next []byte
	r := start(t, setup{script: people, policy: "classes: {name: {mask: redact}}\ncolumns: [{class: name, match: ['people.name']}]\n", through: func(t testing.TB, s *throwaway.Server) string {
		return startHostile(t, s, func(text string) []byte {
			if !strings.Contains(text, "FROM people") || strings.Contains(text, "information_schema") {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			return next
		}).l.Addr().String()
	}})
	for name, reply := range replies {
		mu.Lock()
		next = reply
		mu.Unlock()
		c := r.raw(t, 0)
		c.command(3, []byte("SELECT name FROM people"))
		var last []byte
		for {
			b, err := c.try()
			if err != nil {
				break
			}
			last = b
			if strings.Contains(string(b), "passwd") || strings.Contains(string(b), "\x01x") {
				t.Errorf("%s: %q reaches the client", name, b)
			}
		}
		if code := errorCode(last); code != 1053 && code != 1115 {
			t.Errorf("%s: the session ends with %q", name, last)
		}
	}
	mu.Lock()
	next = nil
	mu.Unlock()
	if got := query(t, r.connect(t, nil), "SELECT COUNT(*) FROM people"); got != "2" {
		t.Errorf("a new session: %s", got)
	}
}

// TestHostileGreeting: a server that greets with nonsense is an upstream that cannot be reached.
func TestHostileGreeting(t *testing.T) {
	for _, greeting := range []string{"\x09old", "\xff\x10\x04Too many connections", "", "\x0a", "\x0a8.0\x00" + strings.Repeat("\xff", 40)} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				b := binary.LittleEndian.AppendUint32(nil, uint32(len(greeting)))
				_, _ = c.Write(append(b, greeting...))
				c.Close()
			}
		}()
		r := start(t, setup{through: func(testing.TB, *throwaway.Server) string { return l.Addr().String() }})
		_, b := rawDial(t, r.address)
		if errorCode(b) != 1105 || strings.Contains(fmt.Sprintf("%q", b), "Too many") {
			t.Errorf("%q: the client gets %q", greeting, b)
		}
	}
}
