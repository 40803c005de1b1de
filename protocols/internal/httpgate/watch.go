package httpgate

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// attention is how long a request takes before its client is looked at: one
// that has gone away ends it.
const attention = 100 * time.Millisecond

// watch looks beside a connection's requests for what ends them: the end of
// their session, the client's leaving, and the proxy's own end. One goroutine
// does, and another while a request takes long.
type watch struct {
	conn     net.Conn
	sessions chan (<-chan struct{}) // the end to look for
	over     chan struct{}
	running  sync.WaitGroup
	done     <-chan struct{} // what was handed to sessions last
	timer    *time.Timer

	mu      sync.Mutex
	idle    bool // between requests: a read may be ended
	drained bool // no new request is taken

	// Of the request at work:
	request uint64 // counts them
	working bool
	session protocols.Session
	cancel  context.CancelCauseFunc
	late    *time.Timer // from the session's end on

	// The client's leaving:
	attending bool
	since     time.Time
	armed     bool
	listening chan struct{} // closed once the reader has ended; nil for none
	came      [1]byte
	got       bool // a byte has come meanwhile
}

// start begins to watch; end must be called.
func (w *watch) start(conn net.Conn, draining <-chan struct{}) {
	w.conn, w.sessions, w.over = conn, make(chan (<-chan struct{})), make(chan struct{})
	w.running.Go(func() {
		var done <-chan struct{}
		for {
			select {
			case <-w.over:
				return
			case done = <-w.sessions:
			case <-done:
				done = nil
				w.ended()
			case <-draining:
				draining = nil
				w.drain()
			}
		}
	})
}

// use says that the connection goes on within c.
func (w *watch) use(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = c
}

// end stops watching.
func (w *watch) end() {
	close(w.over)
	w.running.Wait()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// drain ends a connection that waits for a request, and has the others end
// after theirs.
func (w *watch) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drained = true
	if w.idle {
		_ = w.conn.SetReadDeadline(past)
	}
}

// past is a deadline that interrupts at once.
var past = time.Unix(1, 0)

// waits says that the connection begins or ends to wait for a request. False
// says that it must not begin.
func (w *watch) waits(idle bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = idle
	return !idle || !w.drained
}

// draining says that the connection ends after its request.
func (w *watch) draining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drained
}

// begin has cancel called when the session ends before finished is called, and
// the connection interrupted where it is then blocked.
func (w *watch) begin(s protocols.Session, cancel context.CancelCauseFunc) {
	w.mu.Lock()
	w.request++
	w.working, w.session, w.cancel, w.late = true, s, cancel, nil
	w.mu.Unlock()
	if done := s.Done(); w.done != done {
		w.done = done
		w.sessions <- done
		return
	}
	select {
	case <-w.done: // the goroutine may have been here before this request
		w.ended()
	default:
	}
}

// ended cancels what is at work, and gives it time to say why.
func (w *watch) ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.working || w.late != nil {
		return
	}
	w.cancel(w.session.Cause())
	request := w.request
	w.late = time.AfterFunc(time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.working && w.request == request {
			_ = w.conn.SetDeadline(past)
		}
	})
}

// attend has the request cancelled when its client goes away. The caller reads
// nothing of the connection until finished.
func (w *watch) attend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attending, w.since = true, time.Now()
	switch {
	case w.armed:
	case w.timer == nil:
		w.armed, w.timer = true, time.AfterFunc(attention, w.look)
	default:
		w.armed = true
		w.timer.Reset(attention)
	}
}

// look listens for the client where its request takes long.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if !w.attending || w.listening != nil {
		return
	}
	if age := time.Since(w.since); age < attention {
		w.armed = true
		w.timer.Reset(attention - age)
		return
	}
	w.listening = make(chan struct{})
	_ = w.conn.SetReadDeadline(time.Time{})
	go w.listen(w.listening)
}

// listen waits for a byte of the client's next request, or its end.
func (w *watch) listen(ended chan struct{}) {
	defer close(ended)
	n, err := w.conn.Read(w.came[:])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = n > 0
	if n == 0 && err != nil && w.attending {
		w.cancel(context.Canceled)
	}
}

// finished ends what begin and attend began. It returns what has come of the
// client's next request, and whether the connection's read deadline was moved.
func (w *watch) finished() (next []byte, moved bool) {
	w.mu.Lock()
	if w.late != nil {
		w.late.Stop()
	}
	w.working, w.attending, w.session, w.cancel = false, false, nil, nil
	listening := w.listening
	if listening != nil {
		_ = w.conn.SetReadDeadline(past)
	}
	w.mu.Unlock()
	if listening == nil {
		return nil, false
	}
	<-listening
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listening = nil
	if w.got {
		w.got = false
		return w.came[:], true
	}
	return nil, true
}
