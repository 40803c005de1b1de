package sqlwire

import (
	"context"
	"time"
)

// watchAhead is how much a client may send while its statement is held, in
// bytes, before its going away is not noticed any more.
const watchAhead = 16 << 10

// Watch notices a client that goes away while its statement is held, by
// reading it ahead: nobody else reads the client meanwhile. The zero Watch
// watches nobody. It is the session's goroutine's.
type Watch struct{ done chan struct{} } // closed when nobody reads ahead any more

// Begin begins to watch: buffered is how many bytes are read and not used, fill
// reads until there are so many, and gone is called where the client goes away.
// It is false where the client is watched already.
func (w *Watch) Begin(buffered func() int, fill func(n int) error, gone context.CancelFunc) bool {
	if w.done != nil {
		return false
	}
	done := make(chan struct{})
	w.done = done
	go func() {
		defer close(done)
		for buffered() < watchAhead {
			if err := fill(buffered() + 1); err != nil {
				gone()
				return
			}
		}
	}()
	return true
}

// Watching says that a client is watched.
func (w *Watch) Watching() bool { return w.done != nil }

// End ends the watch. The client's reads fail from then on where over says
// that its session is.
func (w *Watch) End(client interface{ SetReadDeadline(time.Time) error }, over func() bool) {
	_ = client.SetReadDeadline(time.Unix(1, 0))
	<-w.done
	w.done = nil
	_ = client.SetReadDeadline(time.Time{})
	if over() {
		_ = client.SetReadDeadline(time.Unix(1, 0))
	}
}
