package mysql

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// idleAfter is how long a client asks nothing before its upstream is looked
// after.
const idleAfter = time.Second

// errUpstreamEnded is an upstream that ended while the client asked nothing.
var errUpstreamEnded = errors.New("the upstream ended while the client asked nothing")

// idle reads the upstream for a session. While the client asks nothing it
// reads ahead in a goroutine of its own, so that an upstream that ends then is
// noticed: the server that is shut down or killed closes the connections of
// its idle clients without a word, and so does the session. What has been read
// ahead is what Read gives first: a look that has begun goes on until the
// upstream's next answer.
//
// All but watch is of the session's goroutine.
type idle struct {
	up      io.Reader
	cut     func() // makes the read of the client's next command fail
	timer   *time.Timer
	look    *look                // that the timer begins
	armed   atomic.Pointer[look] // the same, for the timer
	ahead   *look                // that has begun
	resting atomic.Bool          // the client's next command is waited for
}

// look is one read of the upstream ahead of what is asked.
type look struct {
	done  chan struct{} // closed when n and err are there
	b     [64]byte
	at, n int
	err   error
}

// begin is called before a command is read. over says that the upstream has
// ended.
func (i *idle) begin() (over bool) {
	i.resting.Store(true)
	if i.ahead != nil {
		return i.over()
	}
	if i.look == nil {
		i.look = &look{done: make(chan struct{})}
		i.armed.Store(i.look)
	}
	if i.timer == nil {
		i.timer = time.AfterFunc(idleAfter, i.watch)
	} else {
		i.timer.Reset(idleAfter)
	}
	return false
}

// end is called when a command has been read, or could not be.
func (i *idle) end() {
	if i.resting.Swap(false) && i.ahead == nil && !i.timer.Stop() {
		i.ahead, i.look = i.look, nil
	}
}

// over says that something came of the look at the upstream: where nothing is
// asked of it, that is its end.
func (i *idle) over() bool {
	if i.ahead == nil {
		return false
	}
	select {
	case <-i.ahead.done:
		return true
	default:
		return false
	}
}

// watch looks after the upstream. It ends with the upstream's next answer or
// its end; Interrupt ends it, too.
func (i *idle) watch() {
	l := i.armed.Load()
	l.n, l.err = i.up.Read(l.b[:])
	close(l.done)
	if i.resting.Load() {
		i.cut()
	}
}

// Read reads the upstream.
func (i *idle) Read(p []byte) (int, error) {
	l := i.ahead
	if l == nil {
		return i.up.Read(p)
	}
	<-l.done
	n := copy(p, l.b[l.at:l.n])
	l.at += n
	switch {
	case l.at < l.n:
	case l.err != nil:
		return n, l.err
	default:
		i.ahead = nil
	}
	return n, nil
}

// wait waits for a look that has begun, once the upstream is interrupted.
func (i *idle) wait() {
	if i.ahead != nil {
		<-i.ahead.done
	}
}
