package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// wireStart is what a client sends before it is anybody: each part but the
// last is answered by a byte, which it awaits. Then it says that there is no
// more, and reads to the end.
type wireStart struct {
	name    string
	first   [][]byte
	send    []byte
	differs string // why the proxy answers otherwise
}

// packet is a packet of the start-up phase, with its length.
func packet(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	return append(binary.BigEndian.AppendUint32(b, code), rest...)
}

func bytesOf(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

const (
	askSSL, askGSS, askCancel = 80877103, 80877104, 80877102
	whoIsAna                  = "user\x00ana\x00database\x00shop\x00"
)

var wireStarts = []wireStart{
	{name: "nothing"},
	{name: "part of a length", send: []byte{0, 0}},
	{name: "part of a packet", send: packet(3<<16, whoIsAna)[:20]},
	{name: "a length of 0", send: []byte{0, 0, 0, 0}},
	{name: "a length of 7", send: []byte{0, 0, 0, 7, 0, 3, 0}},
	{name: "a length past the limit", send: binary.BigEndian.AppendUint32(nil, 10_001)},
	{name: "a negative length", send: []byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0}},
	{name: "3.0", send: packet(3<<16, whoIsAna+"\x00")},
	{name: "3.2", send: packet(3<<16|2, whoIsAna+"\x00"), differs: "15: the proxy speaks 3.2 where the server does not"},
	{name: "3.1", send: packet(3<<16|1, whoIsAna+"\x00"), differs: "18: that version never was; PostgreSQL 18 lets it pass as 3.0"},
	{name: "3.9999, which libpq asks to see whether others are understood", send: packet(3<<16|9999, whoIsAna+"\x00"), differs: "15: the proxy speaks 3.2 where the server does not"},
	{name: "options that nobody knows", send: packet(3<<16, whoIsAna+"_pq_.first\x001\x00_pq_.second\x00\x00\x00")},
	{name: "2.0", send: packet(2<<16, "ana"), differs: "the text says what the proxy speaks"},
	{name: "4.0", send: packet(4<<16, whoIsAna+"\x00"), differs: "the text says what the proxy speaks"},
	{name: "nobody", send: packet(3<<16, "database\x00shop\x00\x00")},
	{name: "no parameters", send: packet(3<<16, "\x00")},
	{name: "a name of no characters", send: packet(3<<16, "user\x00\x00\x00")},
	{name: "no end", send: packet(3<<16, whoIsAna)},
	{name: "bytes behind the end", send: packet(3<<16, whoIsAna+"\x00junk")},
	{name: "SSL, GSS, 3.0", first: [][]byte{packet(askSSL, ""), packet(askGSS, "")}, send: packet(3<<16, whoIsAna+"\x00"), differs: "15: " + noGSS},
	{name: "SSL, 3.0", first: [][]byte{packet(askSSL, "")}, send: packet(3<<16, whoIsAna+"\x00")},
	{name: "GSS, SSL, 3.0", first: [][]byte{packet(askGSS, ""), packet(askSSL, "")}, send: packet(3<<16, whoIsAna+"\x00"), differs: "15: " + noGSS},
	{name: "SSL twice", first: [][]byte{packet(askSSL, "")}, send: packet(askSSL, ""), differs: "it is asked twice and says no twice; PostgreSQL takes the second for a version"},
	{name: "SSL and no more", send: packet(askSSL, "")},
	{name: "SSL, and 3.0 before the answer", send: bytesOf(packet(askSSL, ""), packet(3<<16, whoIsAna+"\x00")), differs: "the proxy reads no further than a request, so that nothing can be smuggled past its answer"},
	{name: "SSL with more in it", send: packet(askSSL, "more"), differs: "no client asks so, and the proxy hangs up"},
	{name: "a TLS record where there is no TLS", send: []byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")},
	{name: "a cancel of nobody", send: packet(askCancel, "\x00\x00\x00\x01\x00\x00\x00\x02")},
	{name: "a cancel without a key", send: packet(askCancel, "\x00\x00\x00\x01")},
	{name: "a cancel after SSL", first: [][]byte{packet(askSSL, "")}, send: packet(askCancel, "\x00\x00\x00\x01\x00\x00\x00\x02")},
	{name: "HTTP", send: []byte("GET / HTTP/1.1\r\nHost: shop\r\n\r\n")},
}

const noGSS = "the proxy has no encryption by GSSAPI"

// TestWireStarts compares what PostgreSQL and the proxy say before a client is
// anybody.
func TestWireStarts(t *testing.T) {
	t.Parallel()
	for _, in := range wireInstalls(t) {
		t.Run(in.Version, func(t *testing.T) {
			pair := startWirePair(t, in)
			for _, s := range wireStarts {
				t.Run(s.name, func(t *testing.T) {
					want, got := s.play(t, pair.server.Address()), s.play(t, pair.address)
					differs := s.differs
					if major, _, only := strings.Cut(differs, ": "); only && major != fmt.Sprint(in.Major) {
						differs = ""
					}
					switch {
					case differs == "":
						compareWire(t, s.name, want, got)
					case got == want:
						t.Errorf("is the same now: take out %q", differs)
					default:
						t.Logf("direct:\n%sproxy:\n%s", want, got)
					}
				})
			}
		})
	}
}

// play returns the answers in a comparable form: single bytes to requests for
// encryption, then messages.
func (s wireStart) play(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, wirePatience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wirePatience)); err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, part := range s.first {
		answer := make([]byte, 1)
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatal(err)
		}
		if b = append(b, answer...); answer[0] != 'N' {
			return fmt.Sprintf("%q\n", b) // encryption begins
		}
	}
	if _, err := conn.Write(s.send); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite() // the other side may have hung up already
	rest, err := io.ReadAll(conn)
	if err != nil && !isReset(err) {
		t.Fatal(err)
	}
	b = append(b, rest...)
	var out strings.Builder
	for len(b) > 0 {
		n := 1
		if len(b) >= 5 && b[0] != 'N' && b[0] != 'S' {
			n = min(len(b), 1+int(binary.BigEndian.Uint32(b[1:])))
			f := frame(b[:n])
			normalise(f)
			fmt.Fprintf(&out, "%c %q\n", f[0], wireBody(f))
		} else {
			fmt.Fprintf(&out, "%c\n", b[0])
		}
		b = b[n:]
	}
	return out.String()
}
