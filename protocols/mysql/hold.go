package mysql

import (
	"context"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// watchHold notices a client that goes away while its statement is held; a
// KILL QUERY ends the wait too. MySQL's protocol has no way to tell the client
// of the hold: the id stands in the final error. TCP's own keep-alive holds
// both connections.
func (s *session) watchHold(ctx context.Context, u *protocols.Unit) (context.Context, func()) {
	session := ctx
	ctx, cancel := context.WithCancel(ctx)
	var watching chan struct{}
	u.OnHold = func(protocols.Held) {
		if watching != nil {
			return
		}
		watching = make(chan struct{})
		end := func() { cancel() }
		s.wait.Store(&end)
		go s.watchClient(cancel, watching)
	}
	return ctx, func() {
		if watching != nil {
			s.wait.Store(nil)
			_ = s.client.SetReadDeadline(time.Unix(1, 0))
			<-watching
			_ = s.client.SetReadDeadline(time.Time{})
			if session.Err() != nil || s.killed.Load() { // it is over: reads must fail
				_ = s.client.SetReadDeadline(time.Unix(1, 0))
			}
		}
		cancel()
	}
}

// watchAhead is how much a client may send while its statement is held, in
// bytes, before its going away is not noticed any more.
const watchAhead = 16 << 10

// watchClient reads ahead until the client goes away. Nobody else reads the
// client while admission waits.
func (s *session) watchClient(cancel context.CancelFunc, done chan struct{}) {
	defer close(done)
	for s.cr.buffered() < watchAhead {
		if err := s.cr.fill(s.cr.buffered() + 1); err != nil {
			cancel()
			return
		}
	}
}
