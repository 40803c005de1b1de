package postgres

import (
	"context"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// watchHold tells the client of a hold. While it waits, the client's going
// away and its cancel request end the wait.
func (s *session) watchHold(ctx context.Context, u *protocols.Unit) (context.Context, func()) {
	session := ctx
	ctx, cancel := context.WithCancel(ctx)
	var watching chan struct{}
	u.OnHold = func(h protocols.Held) {
		if watching == nil { // a second hold of one statement is announced, too
			watching = make(chan struct{})
			s.waiting.Store(&cancel)
			go s.watchClient(cancel, watching)
		}
		w := &wireError{severity: "NOTICE", code: "00000", message: "held for approval: " + h.ID,
			detail: h.Reason, hint: "It waits until " + h.Until.UTC().Format("15:04:05 MST") + ". Approvers: sallyport approvals approve " + h.ID}
		if h.Page != "" {
			w.hint += ", or " + h.Page
		}
		s.outMu.Lock()
		defer s.outMu.Unlock()
		s.out = appendNotice(s.out, w)
		_ = s.flush()
	}
	return ctx, func() {
		if watching != nil {
			s.waiting.Store(nil)
			_ = s.client.SetReadDeadline(time.Unix(1, 0))
			<-watching
			_ = s.client.SetReadDeadline(time.Time{})
			if session.Err() != nil { // it is over: reads must fail
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

// cancelRequest is a client's cancel request: it ends a wait, or goes on to the
// upstream.
func (s *session) cancelRequest() {
	if cancel := s.waiting.Load(); cancel != nil {
		(*cancel)()
		return
	}
	s.cancel()
}
