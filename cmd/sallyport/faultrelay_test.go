package main

import (
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// fault says what happens to a connection and when: before the message number
// at of one direction, counted from 0, the start-up packet being one.
type fault struct {
	kind     string // cut, reset, half, stall
	toServer bool
	at       int
}

// framing is how a protocol's messages are told apart.
type framing struct {
	// read reads one message; first says that it is the client's first.
	read func(r io.Reader, first bool) ([]byte, error)
	// mine says, of a client's first message, that it is the test's client's.
	mine func(first []byte) bool
	// greets says that the server speaks first; faults do not meet its greeting.
	greets bool
}

// faultRelay forwards connections to a server on the loopback and breaks those
// of the test's client as the current fault says.
type faultRelay struct {
	framing
	listener net.Listener
	server   string
	round    atomic.Pointer[faultRound]
}

// faultRound is a fault, nil for none, and what became of it. It belongs to the
// connections that began in its time: those of the round before may still be
// ending.
type faultRound struct {
	*fault
	fired   atomic.Bool
	stalled chan struct{} // closed when a stall begins
	release chan struct{} // closed when it shall end
}

func startFaultRelay(t *testing.T, server string, f framing) *faultRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &faultRelay{framing: f, listener: l, server: server}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(c.(*net.TCPConn))
		}
	}()
	return r
}

func (r *faultRelay) address() string { return r.listener.Addr().String() }

// arm sets the fault of the next connection.
func (r *faultRelay) arm(f *fault) *faultRound {
	round := &faultRound{fault: f, stalled: make(chan struct{}), release: make(chan struct{})}
	r.round.Store(round)
	return round
}

func (r *faultRelay) serve(client *net.TCPConn) {
	defer client.Close()
	up, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	server := up.(*net.TCPConn)
	defer server.Close()
	var f *faultRound
	told := 0 // messages of the server's that have been forwarded
	if r.greets {
		greeting, err := r.read(server, false)
		if err != nil {
			return
		}
		if _, err := client.Write(greeting); err != nil {
			return
		}
		told++
	}
	first, err := r.read(client, true)
	if err != nil {
		return
	}
	if r.mine(first) {
		f = r.round.Load()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.forward(client, server, nil, f, false, told)
	}()
	r.forward(server, client, first, f, true, 0)
	<-done
}

// forward copies messages and ends both connections where one ends.
func (r *faultRelay) forward(dst, src *net.TCPConn, first []byte, f *faultRound, toServer bool, from int) {
	defer dst.Close()
	defer src.Close()
	for n := from; ; n++ {
		m := first
		if n > 0 || first == nil {
			var err error
			if m, err = r.read(src, false); err != nil {
				return
			}
		}
		if f != nil && f.fault != nil && f.toServer == toServer && f.at == n {
			f.fired.Store(true)
			switch f.kind {
			case "half":
				_, _ = dst.Write(m[:len(m)/2])
			case "reset":
				_, _ = dst.SetLinger(0), src.SetLinger(0)
			case "stall":
				close(f.stalled)
				<-f.release
			}
			return
		}
		if _, err := dst.Write(m); err != nil {
			return
		}
	}
}

// everyFault plays a script with each kind of fault at each message of either
// direction through each relay, until there is no such message.
func everyFault(t *testing.T, relays map[string]*faultRelay, play func(*faultRelay, *fault) (fired bool)) {
	t.Helper()
	for name, relay := range relays {
		for _, toServer := range []bool{true, false} {
			from := 0
			if relay.greets && !toServer {
				from = 1
			}
			for _, kind := range []string{"cut", "reset", "half", "stall"} {
				at := from
				for play(relay, &fault{kind: kind, toServer: toServer, at: at}) {
					at++
				}
				if at < 5 {
					t.Errorf("%s, %s, to the server %v: only %d messages", name, kind, toServer, at)
				}
			}
		}
	}
}

// awaitGoroutines waits for what a session has started to end.
func awaitGoroutines(t *testing.T, most int) {
	t.Helper()
	for end := time.Now().Add(wirePatience); runtime.NumGoroutine() > most; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b := make([]byte, 1<<20)
			t.Fatalf("%d goroutines stay, want %d at most:\n%s", runtime.NumGoroutine(), most, b[:runtime.Stack(b, true)])
		}
	}
}
