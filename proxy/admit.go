package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Admit is the whole order in which a unit is let pass or refused: bound,
// analyse, decide all its statements under one policy, record, wait for people
// where it is held, and only then hand out tickets.
func (s *session) Admit(ctx context.Context, u protocols.Unit) ([]protocols.Ticket, error) {
	return s.admit(ctx, u, nil)
}

// admit is Admit where the unit's facts were made under a policy, nil for any:
// under another one they could lack what it looks for.
func (s *session) admit(ctx context.Context, u protocols.Unit, madeUnder *sqlpolicy.Policy) ([]protocols.Ticket, error) {
	s.engine.units.Add(1)
	began := s.engine.now()
	if !u.InTransaction && !u.Pending {
		s.settled()
	}
	if t := s.preparedAgain(&u); t != nil {
		return t.handed[:], nil
	}
	tickets, err := s.decideUnit(ctx, &u, began, madeUnder)
	if err != nil {
		return nil, err
	}
	verdict, worst := strictest(tickets)
	if u.Kind == protocols.Prepare && verdict == facts.Allow {
		if len(tickets) == 1 && tickets[0].memo != nil && !tickets[0].statement.Volatile {
			s.prepared.Store(tickets[0])
		}
		return handOut(tickets), nil // nothing runs yet: recorded when it does
	}
	for _, t := range tickets {
		if err := s.recordStatement(&u, t, began); err != nil {
			return nil, err
		}
	}
	var denial *protocols.Denial
	switch verdict {
	case facts.Allow:
	case facts.Hold:
		if tickets, denial, err = s.hold(ctx, &u, tickets, madeUnder); err != nil {
			return nil, err
		}
	default:
		denial = worst.denial()
	}
	if denial != nil {
		for _, t := range tickets {
			if err := s.recordRefused(t, denial, began); err != nil {
				return nil, err
			}
		}
	}
	if err := s.Flush(); err != nil { // recorded before the first byte goes upstream
		return nil, err
	}
	s.target.counts.decided(denial == nil, s.engine.now().Sub(began))
	if denial != nil {
		s.engine.log.Info().Str("session", s.id).Str("identity", s.identity.Name).Str("detail", denial.Detail).Msg("refused")
		return nil, denial
	}
	for _, t := range tickets {
		t.meters = s.meters(t)
	}
	for _, t := range tickets {
		t.alters() // before it is sent: whoever waits for it upstream goes on before we hear of it
	}
	s.active.Add(int64(len(tickets)))
	return handOut(tickets), nil
}

// preparedAgain is the ticket of the same text, where it was what the session
// prepared last and all that its decision depends on is as it was. Such a
// ticket is never spent, and what runs under it is decided by itself.
func (s *session) preparedAgain(u *protocols.Unit) *ticket {
	if u.Kind != protocols.Prepare {
		return nil
	}
	t := s.prepared.Load()
	if t == nil || t.text != u.Text || t.view != u.View || t.policy != s.engine.policy.Load() || t.inTransaction != u.InTransaction || t.seen != s.schemaSeen(u) || t.spent.Load() {
		return nil
	}
	return t
}

// decideUnit analyses a unit and decides each of its statements. Its error
// has been recorded, but for ErrPolicyChanged.
func (s *session) decideUnit(ctx context.Context, u *protocols.Unit, now time.Time, madeUnder *sqlpolicy.Policy) ([]*ticket, error) {
	policy := s.engine.policy.Load()
	if madeUnder != nil && policy != madeUnder {
		return nil, protocols.ErrPolicyChanged
	}
	a, err := s.analyse(u)
	if unparsed := unparsedFacts(err, policy, u); unparsed != nil {
		a, err = newAnalysed([]catalog.Statement{*unparsed})
	}
	if err != nil {
		return nil, s.recordProblem(u, err, now)
	}
	for i := range a.statements {
		if p := a.statements[i].Unready; p != nil && u.Kind != protocols.Prepare {
			return nil, s.recordProblem(u, p, now)
		}
	}
	var tickets []*ticket
	seen := s.schemaSeen(u)
	reads := true // all statements before this one only read
	for i := range a.statements {
		t, err := s.decide(policy, u, a, i, now)
		if err != nil {
			return nil, s.engine.unrecorded(err)
		}
		t.seen = seen
		if i == 0 {
			tickets = t.alone[:0:min(1, len(a.statements))]
		}
		tickets = append(tickets, t)
		if err := s.decideMore(ctx, u, t, reads); err != nil {
			return nil, s.recordProblem(u, err, now)
		}
		reads = reads && onlyReads(t.facts)
	}
	return tickets, nil
}

// decideMore decides again with what a first decision has asked for: what is
// spent of budgets, and the planner's estimate.
func (s *session) decideMore(ctx context.Context, u *protocols.Unit, t *ticket, reads bool) error {
	d := t.decision
	if !d.PlanWanted && (d.Verdict == facts.Deny || len(d.Budgets) == 0) {
		return nil
	}
	if len(d.Budgets) > 0 {
		spent, err := s.spent(ctx, t.policy, d.Budgets)
		if err != nil {
			return s.engine.unrecorded(err)
		}
		t.budgets = spent
	}
	if d.PlanWanted {
		t.plan = &facts.Plan{}
		if u.Plan != nil && t.facts.Plannable && reads {
			text := t.facts.PlanText
			if text == "" {
				text = t.text
			}
			plan, err := u.Plan(ctx, text)
			if err != nil {
				return err
			}
			plan.Rows = min(plan.Rows, readAtMost(t.facts)) // MySQL's plans know nothing of LIMIT
			t.plan = &plan
		}
	}
	t.decision = t.policy.Decide(t.input())
	return nil
}

// readAtMost is what the words of a single read allow, rounded up to a power of
// ten as estimates are.
func readAtMost(f *facts.Facts) int64 {
	if len(f.Effects) != 1 || f.Effects[0].Action != facts.Read || !f.Effects[0].Limited {
		return facts.NoLimit
	}
	for n := int64(1); n < facts.NoLimit/10; n *= 10 {
		if n >= f.Effects[0].Limit {
			return n
		}
	}
	return facts.NoLimit
}

func onlyReads(f *facts.Facts) bool {
	return !slices.ContainsFunc(f.Effects, func(e facts.Effect) bool { return e.Action != facts.Read })
}

// strictest is the strictest verdict of a unit, and the first ticket that has
// it. Unset counts as a denial.
func strictest(tickets []*ticket) (facts.Verdict, *ticket) {
	verdict, worst := facts.Allow, (*ticket)(nil)
	for _, t := range tickets {
		v := t.decision.Verdict
		if v == facts.Unset {
			v = facts.Deny
		}
		if v > verdict {
			verdict, worst = v, t
		}
	}
	return verdict, worst
}

// unparsedFacts stand for a text that the parser did not understand, where the
// policy may let it pass all the same.
func unparsedFacts(err error, policy *sqlpolicy.Policy, u *protocols.Unit) *catalog.Statement {
	if err == nil {
		return nil
	}
	var p *facts.Problem
	if policy.Unparsed == facts.Deny || !errors.As(err, &p) || !p.Unparsed {
		return nil
	}
	return &catalog.Statement{
		Text: u.Text, Volatile: true,
		Facts: &facts.Facts{Unparsed: p.Message, Effects: []facts.Effect{{Action: facts.Unknown, Limit: facts.NoLimit}}},
		// Nobody knows what it does to the session.
		Change: &catalog.Change{ReloadSession: true, ReloadSchema: true, Deallocate: []string{""}, Close: []string{""}},
	}
}

// schemaSeen notes the schema's generation that a unit is decided under. Where
// another session has a change of the schema open, whatever is decided now is
// looked at again when rows come.
func (s *session) schemaSeen(u *protocols.Unit) *schemaSeen {
	if u.View == nil {
		return &schemaSeen{}
	}
	c := s.schema()
	own := int64(0)
	if s.altering.Load() {
		own = 1
	}
	unsure, generation := c.altering.Load() > own, c.generation.Load()
	if last := s.lastSeen; last != nil && last.unsure == unsure && last.generation.Load() == generation {
		return last
	}
	s.lastSeen = &schemaSeen{unsure: unsure}
	s.lastSeen.generation.Store(generation)
	return s.lastSeen
}

func handOut(tickets []*ticket) []protocols.Ticket {
	if len(tickets) == 0 {
		return nil
	}
	out := tickets[0].handed[:0]
	for _, t := range tickets {
		out = append(out, t)
	}
	return out
}

// analyse returns the unit's statements with their facts, from the cache
// where nothing has changed that they depend on.
func (s *session) analyse(u *protocols.Unit) (*analysed, error) {
	d := s.target.dialect
	switch {
	case u.Problem != nil:
		return nil, u.Problem
	case u.Kind == protocols.Operation:
		return newAnalysed([]catalog.Statement{{Text: u.Text, Facts: u.Facts}})
	case d == nil:
		return nil, errors.New("the protocol has no dialect and brought no facts")
	case u.Kind == protocols.FunctionCall:
		f, err := d.Call(u.View, u.Function)
		if err != nil {
			return nil, err
		}
		return newAnalysed([]catalog.Statement{{Text: fmt.Sprintf("function call %d", u.Function), Facts: f}})
	}
	names, policy := s.scope(u.View), s.engine.policy.Load()
	if last := s.lastRead.Load(); last != nil && last.names == names && last.policy == policy && last.text == u.Text {
		return last.analysed, nil
	}
	limits := (&host{target: s.target}).Limits()
	if len(u.Text) > limits.Statement {
		return nil, &facts.Problem{Code: "54000", At: -1, Message: fmt.Sprintf("the statement has %d bytes, at most %d are let pass", len(u.Text), limits.Statement)}
	}
	if a := s.target.cache.get(key{scope: names.scope, text: u.Text}); a != nil {
		s.lastRead.Store(&lastRead{names: names, text: u.Text, policy: policy, analysed: a})
		return a, nil
	}
	return s.target.cache.analyse(names.scope, u.Text, d, func() ([]catalog.Statement, error) { return d.Analyse(u.View, u.Text, limits) })
}

// scope is the view's, made anew only for another view.
func (s *session) scope(v *catalog.View) *viewScope {
	last := s.lastScope.Load()
	if last == nil || last.view != v {
		last = &viewScope{view: v, scope: scopeOf(v)}
		s.lastScope.Store(last)
		s.lastRead.Store(nil) // they hold the view before
		s.prepared.Store(nil)
	}
	return last
}

// lastRead is the text that the session's last cached analysis was for: the
// same one is prepared, executed and asked again.
type lastRead struct {
	names    *viewScope
	text     string
	policy   *sqlpolicy.Policy // whose limits the text was within
	analysed *analysed
}

// decide makes the ticket of one statement, with its decision.
func (s *session) decide(policy *sqlpolicy.Policy, u *protocols.Unit, a *analysed, i int, now time.Time) (*ticket, error) {
	st := &a.statements[i]
	t := &ticket{session: s, statement: st, text: a.text(i, u.Text), unit: u.Kind, params: u.Params, inTransaction: u.InTransaction, issued: now, policy: policy, rowsRead: s.rows.Load()}
	t.facts = st.Facts
	if u.Kind == protocols.Execute {
		t.facts = st.Facts.Bind(u.Params)
	}
	t.rawFacts = a.facts[i]
	if t.facts != st.Facts {
		t.rawFacts = nil // made when it is recorded
	}
	if u.View != nil {
		t.view = u.View
		t.catalogs = s.schema()
	}
	if u.Kind == protocols.Operation { // nothing is announced by an upstream
		for _, o := range t.facts.Outputs {
			t.columns = append(t.columns, o.Name)
		}
	}
	return t, s.decision(t)
}

// denial says why a statement was refused, by its rule or by what lineage
// found.
func (t *ticket) denial() *protocols.Denial {
	d := t.decision
	out := &protocols.Denial{Kind: protocols.DenyPolicy, At: -1, Message: "refused by policy"}
	verb := "statement"
	if len(t.facts.Effects) > 0 {
		verb = t.facts.Effects[0].Verb
	}
	if len(d.Refusals) > 0 {
		r := d.Refusals[0]
		out.Message = "refused by policy: " + r.Message
		out.Hint = r.Hint
		if r.At >= 0 {
			out.At = t.statement.Offset + r.At
		}
		out.Detail = "rule: non-interference of class " + r.Class
		if r.Class == "" {
			out.Detail = "rule: what classes protect must not be told another way"
		}
		return out
	}
	for _, h := range d.Rules {
		if h.Verdict != d.Verdict {
			continue
		}
		out.Message = fmt.Sprintf("%s refused by policy", verb)
		out.Detail = fmt.Sprintf("rule %q", h.Rule)
		if h.Reason != "" {
			out.Detail += ": " + h.Reason
		}
		if h.Failed != "" {
			out.Detail += " (its condition failed: " + h.Failed + ")"
		}
		out.Hint = "`sallyport policy explain` shows what the rule saw."
		return out
	}
	out.Detail = "rule: the policy's default is " + d.Verdict.String()
	out.Hint = "A rule with `then: allow` lets statements pass."
	return out
}
