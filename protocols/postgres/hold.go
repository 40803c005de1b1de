package postgres

import (
	"context"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// asking is what admission gets of a session with each unit. It is made once
// and not for each; one unit is admitted at a time.
type asking struct {
	// ctx is that of admissions, until one is held: what ends a hold ends it.
	ctx    context.Context
	cancel context.CancelFunc
	// watching is closed when nobody reads the client ahead any more; nil where
	// nothing is held.
	watching chan struct{}
	params   []bound // of the unit

	onHold func(protocols.Held)
	fresh  func(context.Context) (*catalog.View, error)
	plan   func(context.Context, string) (facts.Plan, error)
}

// askWith gives a unit what admission may ask for.
func (s *session) askWith(u *protocols.Unit, params []bound) *asking {
	a := &s.asking
	if a.onHold == nil {
		a.onHold = s.held
		a.fresh = func(ctx context.Context) (*catalog.View, error) { return s.currentView(ctx, s.status.Load() != 'E') }
		a.plan = func(_ context.Context, text string) (facts.Plan, error) { return s.plan(text, s.asking.params) }
	}
	a.params = params
	u.OnHold, u.Fresh, u.Plan = a.onHold, a.fresh, a.plan
	return a
}

// context is for an admission in the session's context.
func (a *asking) context(session context.Context) context.Context {
	if a.ctx == nil {
		a.ctx, a.cancel = context.WithCancel(session)
	}
	return a.ctx
}

// held tells the client of a hold. While it waits, the client's going away and
// its cancel request end the wait.
func (s *session) held(h protocols.Held) {
	if s.asking.watching == nil { // a second hold of one statement is announced, too
		s.asking.watching = make(chan struct{})
		cancel := s.asking.cancel
		s.waiting.Store(&cancel)
		go s.watchClient(cancel, s.asking.watching)
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

// holdEnded ends the watch over the client, if there is one. A cancel request
// that comes late finds a context that no statement has any more.
func (s *session) holdEnded(session context.Context) {
	a := &s.asking
	if a.watching == nil {
		return
	}
	s.waiting.Store(nil)
	_ = s.client.SetReadDeadline(time.Unix(1, 0))
	<-a.watching
	_ = s.client.SetReadDeadline(time.Time{})
	if session.Err() != nil { // it is over: reads must fail
		_ = s.client.SetReadDeadline(time.Unix(1, 0))
	}
	a.cancel()
	a.ctx, a.cancel, a.watching = nil, nil, nil
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
