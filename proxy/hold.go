package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// hold waits until people have let a unit pass, or have not. It returns the
// unit's tickets as decided last, and why they are refused, nil where they
// pass. Whatever happens while it waits (a policy, a schema or a role that
// changes) is seen: on release the unit is analysed and decided again, and a
// grant fits only what was asked.
func (s *session) hold(ctx context.Context, u *protocols.Unit, tickets []*ticket, madeUnder *sqlpolicy.Policy) ([]*ticket, *protocols.Denial, error) {
	ctx, stop := s.untilDone(ctx)
	defer stop()
	binding, err := s.binding(u, tickets)
	if err != nil {
		return nil, nil, s.engine.unrecorded(err)
	}
	for {
		id, ok, err := s.engine.approvals.Use(ctx, binding)
		if err != nil {
			return tickets, s.noHold(err), nil
		}
		if ok {
			return tickets, nil, s.granted(ctx, id, tickets)
		}
		end, err := s.await(ctx, u, tickets, binding)
		if err != nil {
			return tickets, s.noHold(err), nil
		}
		if end.State != approval.Granted {
			return tickets, notGranted(&end), nil
		}
		if u.Fresh != nil {
			if u.View, err = u.Fresh(ctx); err != nil {
				return tickets, s.noHold(err), nil
			}
		}
		again, err := s.decideUnit(ctx, u, s.engine.now(), madeUnder)
		if errors.Is(err, protocols.ErrPolicyChanged) {
			return tickets, policyChanged(&end), nil
		}
		if err != nil {
			return nil, nil, err
		}
		for i := range min(len(again), len(tickets)) {
			again[i].id = tickets[i].id // events tell one statement's story
		}
		tickets = again
		verdict, worst := strictest(tickets)
		asked, err := s.binding(u, tickets)
		if err != nil {
			return nil, nil, s.engine.unrecorded(err)
		}
		if verdict != facts.Hold || asked != binding {
			// The yes was to something else: it does not wait for its return.
			if _, _, err := s.engine.approvals.Use(ctx, binding); err != nil {
				return tickets, s.noHold(err), nil
			}
		}
		switch binding = asked; verdict {
		case facts.Allow: // the policy has changed its mind, or the plan has
			return tickets, nil, nil
		case facts.Deny:
			return tickets, worst.denial(), nil
		}
	}
}

// untilDone ends a wait with the session.
func (s *session) untilDone(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		select {
		case <-s.done:
			cancel(s.Cause())
		case <-ended:
		}
	}()
	return ctx, func() { close(ended); cancel(nil) }
}

// await opens a hold, says so to everybody concerned, and waits for its end.
func (s *session) await(ctx context.Context, u *protocols.Unit, tickets []*ticket, binding approval.Binding) (approval.Hold, error) {
	r := s.request(u, tickets, binding)
	h, err := s.openHold(ctx, u, r)
	if err != nil {
		return h, err
	}
	for _, t := range tickets {
		if t.decision.Verdict != facts.Hold {
			continue
		}
		e := &replay.Event{Type: replay.TypeHold, At: h.Created, ID: t.id, Hold: h.ID, Reason: r.Reason, Needs: t.decision.Needs}
		if err := s.record.Append(e); err != nil {
			return h, s.engine.unrecorded(err)
		}
	}
	if err := s.Flush(); err != nil {
		return h, err
	}
	s.engine.metrics.waiting.WithLabelValues(s.target.config.Name).Inc()
	defer s.engine.metrics.waiting.WithLabelValues(s.target.config.Name).Dec()
	s.engine.log.Info().Str("session", s.id).Str("identity", s.identity.Name).Str("hold", h.ID).Str("reason", r.Reason).Msg("held")
	if u.OnHold != nil {
		u.OnHold(protocols.Held{ID: h.ID, Reason: r.Reason, Page: s.engine.page(h.ID), Until: h.Expires})
	}
	end, err := s.engine.approvals.Wait(ctx, h.ID, u.Wait)
	if err == nil {
		s.engine.log.Info().Str("session", s.id).Str("hold", h.ID).Str("state", string(end.State)).Str("why", end.Why).Msg("hold ended")
	}
	return end, err
}

// openHold records a hold. What comes again while it waits is the same hold.
func (s *session) openHold(ctx context.Context, u *protocols.Unit, r approval.Request) (approval.Hold, error) {
	if u.Wait > 0 {
		if h, err := s.engine.approvals.Waiting(ctx, r.Binding); !errors.Is(err, approval.ErrUnknown) {
			return h, err
		}
	}
	return s.engine.approvals.Open(ctx, r)
}

// request is what approvers see: no constant or parameter that meets a
// classed column.
func (s *session) request(u *protocols.Unit, tickets []*ticket, binding approval.Binding) approval.Request {
	r := approval.Request{
		Session: s.id, Identity: s.identity.Name, Groups: s.identity.Groups, Target: s.target.config.Name, Database: s.database, Binding: binding,
	}
	var texts, reasons []string
	for _, t := range tickets {
		d := t.decision
		// Hashing never fails.
		text, _ := redactText(s.engine.hashed, t.text, t.facts.Constants, d.SecretConstants)
		params, _ := redactParams(s.engine.hashed, u.Params, d.SecretParams)
		texts = append(texts, text)
		for i, p := range params {
			r.Params = append(r.Params, fmt.Sprintf("$%d = %s", i+1, paramText(p)))
		}
		if d.Verdict != facts.Hold {
			continue
		}
		for _, n := range d.Needs {
			if !slices.ContainsFunc(r.Needs, func(m facts.Need) bool { return m.Rule == n.Rule }) {
				r.Needs = append(r.Needs, n)
				r.Rules = append(r.Rules, n.Rule)
			}
		}
		for _, h := range d.Rules {
			if h.Verdict == facts.Hold && h.Reason != "" && !slices.Contains(reasons, h.Reason) {
				reasons = append(reasons, h.Reason)
			}
		}
		for _, x := range d.Refusals {
			reasons = append(reasons, x.Message)
		}
		if t.plan != nil && t.plan.Known {
			r.Plan = t.plan
		}
	}
	r.Text = strings.Join(texts, ";\n")
	r.Reason = strings.Join(reasons, "; ")
	if r.Reason == "" {
		r.Reason = "rule " + strings.Join(r.Rules, ", ")
	}
	return r
}

func paramText(p facts.Param) string {
	switch {
	case p.Null:
		return "NULL"
	case !p.Known:
		return "(binary)"
	}
	return p.Text
}

// binding is what a grant for the unit is good for.
func (s *session) binding(u *protocols.Unit, tickets []*ticket) (approval.Binding, error) {
	b := approval.Binding{Identity: s.identity.Name, Target: s.target.config.Name, Database: s.database, Text: u.Text}
	if u.View != nil {
		b.Role, b.SearchPath = u.View.Role, strings.Join(u.View.SearchPath, "\x00")+string(u.View.Settings)
	}
	if u.Kind == protocols.FunctionCall {
		b.Text = fmt.Sprintf("function call %d", u.Function)
	}
	understood := sha256.New()
	var needs []facts.Need
	for _, t := range tickets {
		f, err := json.Marshal(t.facts)
		if err != nil {
			return b, err
		}
		understood.Write(f)
		if u.View != nil && definedElsewhere(t.facts) {
			understood.Write([]byte(u.View.Catalog.Hash()))
		}
		needs = append(needs, t.decision.Needs...)
	}
	b.Facts = hex.EncodeToString(understood.Sum(nil))
	for to, v := range map[*string]any{&b.Params: u.Params, &b.Needs: needs} {
		j, err := json.Marshal(v)
		if err != nil {
			return b, err
		}
		*to = string(j)
	}
	return b, nil
}

// definedElsewhere says that a statement's words stand for others, which the
// schema has: of a view or of a function. A change of theirs may leave the
// facts as they are.
func definedElsewhere(f *facts.Facts) bool {
	for i := range f.Effects {
		for _, o := range f.Effects[i].Objects {
			if o.Kind != "table" {
				return true
			}
		}
		for _, name := range f.Effects[i].Functions {
			if !strings.HasPrefix(name, "pg_catalog.") {
				return true
			}
		}
	}
	return false
}

// granted records whose yes lets the unit pass.
func (s *session) granted(ctx context.Context, id string, tickets []*ticket) error {
	h, err := s.engine.approvals.Get(ctx, id)
	if err != nil {
		return s.engine.unrecorded(err)
	}
	var by []string
	for _, v := range h.Votes {
		if v.Yes {
			by = append(by, v.Name)
		}
	}
	for _, t := range tickets {
		if t.decision.Verdict != facts.Hold {
			continue
		}
		t.granted = t.decision.Needs
		decision, err := json.Marshal(t.decision)
		if err != nil {
			return s.engine.unrecorded(err)
		}
		e := &replay.Event{Type: replay.TypeGrant, At: s.engine.now(), ID: t.id, Hold: id, By: strings.Join(by, ", "), Decision: decision}
		if len(t.decision.Refusals) > 0 {
			e.Reason = "passes although lineage cannot prove it safe"
		}
		if err := s.record.Append(e); err != nil {
			return s.engine.unrecorded(err)
		}
	}
	return nil
}

// noHold says why a hold could not wait to its end.
func (s *session) noHold(err error) *protocols.Denial {
	if cause := s.Cause(); cause != nil {
		return cause
	}
	var d *protocols.Denial
	switch {
	case errors.As(err, &d):
		return d
	case errors.Is(err, approval.ErrTooMany):
		return &protocols.Denial{Kind: protocols.DenyLimit, Message: "the statement must be held for approval, and " + err.Error(), At: -1,
			Hint: "Wait until some of them are answered, or cancel them."}
	case errors.Is(err, context.Canceled):
		return &protocols.Denial{Kind: protocols.DenyCancelled, Message: "canceling statement due to user request", Detail: "It was held for approval.", At: -1}
	}
	s.engine.log.Error().Err(err).Str("session", s.id).Msg("holding a statement")
	return &protocols.Denial{Kind: protocols.DenyRecord, Message: "the statement must be held for approval, and the hold cannot be kept",
		Hint: "The proxy's operator must look at its state store.", At: -1}
}

// notGranted says how a hold ended that was not granted.
func notGranted(h *approval.Hold) *protocols.Denial {
	d := &protocols.Denial{Kind: protocols.DenyPolicy, HoldID: h.ID, At: -1, Detail: "hold " + h.ID + ": " + h.Reason}
	switch h.State {
	case approval.Waiting:
		d.Kind, d.RetryAfter = protocols.DenyHeld, 5*time.Second
		d.Message = "held for approval: " + h.ID
		d.Hint = "The same request passes once it is approved. Approvers: sallyport approvals approve " + h.ID
	case approval.Denied:
		d.Message = "the held statement was denied by " + h.Why
		d.Hint = "Ask whoever denied it, or ask for less."
	case approval.Expired:
		d.Message = "the held statement was not approved in time"
		d.Hint = "Run it again to ask again."
	default:
		d.Message = "the hold was cancelled: " + h.Why
	}
	return d
}

// policyChanged asks for the request again, which is then read under the new
// policy. If that asks for the same, the grant lets it pass.
func policyChanged(h *approval.Hold) *protocols.Denial {
	return &protocols.Denial{Kind: protocols.DenyHeld, HoldID: h.ID, At: -1, RetryAfter: time.Second,
		Message: "the policy changed while the request was held", Detail: "hold " + h.ID + ": " + h.Reason, Hint: "Send it again."}
}

// page is where people look at a hold, "" without a console.
func (e *Engine) page(id string) string {
	if e.config.Console == "" {
		return ""
	}
	return "http://" + e.config.Console + "/approvals/" + id
}
