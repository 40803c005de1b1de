package httpgate

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// watch ends a connection's request with its session. One goroutine watches
// for as long as the connection's requests are of one session.
type watch struct {
	done  <-chan struct{} // of the session that is watched
	over  chan struct{}   // closed to watch no longer
	watch sync.WaitGroup

	mu      sync.Mutex
	current *watched // nil between requests
}

// watched is a request at work.
type watched struct {
	session protocols.Session
	conn    net.Conn
	cancel  context.CancelCauseFunc
	late    *time.Timer // from the session's end on
}

// request has cancel called when the session ends before the result is called,
// and its connection interrupted where it is then blocked.
func (w *watch) request(s protocols.Session, conn net.Conn, cancel context.CancelCauseFunc) (finished func()) {
	w.mu.Lock()
	w.current = &watched{session: s, conn: conn, cancel: cancel}
	w.mu.Unlock()
	if done := s.Done(); w.done != done {
		w.end()
		w.done, w.over = done, make(chan struct{})
		over := w.over
		w.watch.Go(func() {
			select {
			case <-over:
			case <-done:
				w.ended()
			}
		})
	} else {
		select {
		case <-done: // the goroutine may have been here before this request
			w.ended()
		default:
		}
	}
	return w.finished
}

// ended cancels what is at work, and gives it time to say why.
func (w *watch) ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.current
	if c == nil || c.late != nil {
		return
	}
	c.cancel(c.session.Cause())
	c.late = time.AfterFunc(time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.current == c {
			_ = c.conn.SetDeadline(time.Unix(1, 0))
		}
	})
}

func (w *watch) finished() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current.late != nil {
		w.current.late.Stop()
	}
	w.current = nil
}

// end stops watching.
func (w *watch) end() {
	if w.over != nil {
		close(w.over)
		w.over = nil
	}
	w.watch.Wait()
}
