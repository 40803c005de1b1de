package postgres

import (
	"context"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/sqlwire"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// asking is what admission gets of a session with each unit. It is made once
// and not for each; one unit is admitted at a time.
type asking struct {
	// ctx is that of admissions, until one is held: what ends a hold ends it. It
	// is kept here because making one for each statement costs what deciding does.
	ctx    context.Context
	cancel context.CancelFunc
	watch  sqlwire.Watch // over the client, while a unit is held
	params []bound       // of the unit

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
	cancel := s.asking.cancel
	if s.asking.watch.Begin(s.cr.buffered, s.cr.fill, cancel) { // a second hold of one statement is announced, too
		s.waiting.Store(&cancel)
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
	if !a.watch.Watching() {
		return
	}
	s.waiting.Store(nil)
	a.watch.End(s.client, func() bool { return session.Err() != nil })
	a.cancel()
	a.ctx, a.cancel = nil, nil
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
