package socket

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair are two ends of a connection over the loopback.
func pair(t *testing.T) (direct, plain net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if plain, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	direct = Direct(c)
	t.Cleanup(func() { direct.Close(); plain.Close() })
	return direct, plain
}

// TestBothWays sends more than the sockets hold in both directions at once.
func TestBothWays(t *testing.T) {
	direct, plain := pair(t)
	want := make([]byte, 8<<20)
	rand.Read(want)
	var wg sync.WaitGroup
	for _, ends := range [][2]net.Conn{{direct, plain}, {plain, direct}} {
		wg.Go(func() {
			if n, err := ends[0].Write(want); n != len(want) || err != nil {
				t.Errorf("%d of %d bytes, %v", n, len(want), err)
			}
		})
		wg.Go(func() {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("what came is not what was sent: %v", err)
			}
		})
	}
	wg.Wait()
}

// TestEnds: the end of the peer, a deadline, and a closed connection are told
// as package net tells them.
func TestEnds(t *testing.T) {
	direct, plain := pair(t)
	p := make([]byte, 10)
	if n, err := direct.Read(nil); n != 0 || err != nil {
		t.Errorf("reading nothing: %d, %v", n, err)
	}
	if err := direct.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if _, err := direct.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("past the deadline: %v", err)
	}
	_ = direct.SetReadDeadline(time.Time{})
	_, _ = plain.Write([]byte("last"))
	plain.Close()
	if n, err := direct.Read(p); string(p[:n]) != "last" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	if _, err := direct.Read(p); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	var err error
	for range 1000 { // until the peer's reset has come
		if _, err = direct.Write(make([]byte, 1<<10)); err != nil {
			break
		}
	}
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("writing to who is gone: %v", err)
	}
	direct.Close()
	if _, err := direct.Read(p); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading what is closed: %v", err)
	}
	if _, err := direct.Write(p); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to what is closed: %v", err)
	}
}

// TestInterrupted: a deadline set by another goroutine ends a read and a write
// that wait.
func TestInterrupted(t *testing.T) {
	direct, _ := pair(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := direct.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	})
	wg.Go(func() {
		if _, err := direct.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
	})
	_ = direct.SetDeadline(time.Now().Add(50 * time.Millisecond))
	wg.Wait()
}

// TestOther: what is no socket stays as it is.
func TestOther(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Direct(a) != a {
		t.Error("a pipe was wrapped")
	}
}
