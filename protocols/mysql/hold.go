package mysql

import (
	"context"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// holding notices a client that goes away while its statement is held; a KILL
// QUERY ends the wait too. MySQL's protocol has no way to tell the client of
// the hold: the id stands in the final error. TCP's own keep-alive holds both
// connections.
//
// One serves the statements of a session until one of them is held.
type holding struct {
	s        *session
	session  context.Context
	ctx      context.Context // of admission
	cancel   context.CancelFunc
	watching chan struct{} // closed when nobody reads ahead any more; nil where nothing was held
	onHold   func(protocols.Held)
}

// watchHold is what the next statement is admitted under; end ends it.
func (s *session) watchHold(ctx context.Context) *holding {
	h := s.holding
	if h == nil || h.session != ctx {
		h = &holding{s: s, session: ctx}
		h.ctx, h.cancel = context.WithCancel(ctx) // ends with the session
		h.onHold = func(protocols.Held) { h.held() }
		s.holding = h
	}
	return h
}

// held begins to watch the client.
func (h *holding) held() {
	if h.watching != nil {
		return
	}
	h.watching = make(chan struct{})
	end := func() { h.cancel() }
	h.s.wait.Store(&end)
	go h.s.watchClient(h.cancel, h.watching)
}

// end is called once admission has answered.
func (h *holding) end() {
	if h.watching == nil {
		return
	}
	s := h.s
	s.wait.Store(nil)
	_ = s.client.SetReadDeadline(time.Unix(1, 0))
	<-h.watching
	_ = s.client.SetReadDeadline(time.Time{})
	if h.session.Err() != nil || s.killed.Load() { // it is over: reads must fail
		_ = s.client.SetReadDeadline(time.Unix(1, 0))
	}
	h.cancel()
	s.holding = nil // whoever has its end in hand must not end the next statement's wait
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
