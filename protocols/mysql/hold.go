package mysql

import (
	"context"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/sqlwire"
)

// holding notices a client that goes away while its statement is held; a KILL
// QUERY ends the wait too. MySQL's protocol has no way to tell the client of
// the hold: the id stands in the final error. TCP's own keep-alive holds both
// connections.
//
// One serves the statements of a session until one of them is held.
type holding struct {
	s       *session
	session context.Context
	ctx     context.Context // of admission
	cancel  context.CancelFunc
	watch   sqlwire.Watch // over the client, once something is held
	onHold  func(protocols.Held)
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
	if h.watch.Begin(h.s.cr.buffered, h.s.cr.fill, h.cancel) {
		end := func() { h.cancel() }
		h.s.wait.Store(&end)
	}
}

// end is called once admission has answered.
func (h *holding) end() {
	if !h.watch.Watching() {
		return
	}
	s := h.s
	s.wait.Store(nil)
	h.watch.End(s.client, func() bool { return h.session.Err() != nil || s.killed.Load() })
	h.cancel()
	s.holding = nil // whoever has its end in hand must not end the next statement's wait
}
