package proxy

import (
	"context"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

var _ protocols.Metered = (*ticket)(nil)

// Reserve takes tokens and what they may cost ahead, so that requests at the
// same time cannot all have the last ones.
func (t *ticket) Reserve(most facts.Usage) error {
	for i := range t.meters {
		m := &t.meters[i]
		want, err := t.taken(m, most)
		if err != nil {
			return err
		}
		if want == (facts.Spent{}) {
			continue
		}
		if m.tokens, err = t.session.engine.ledger.Take(context.Background(), &m.budget, want, m.beyond); err != nil {
			return t.session.engine.unrecorded(err)
		}
		if got := m.tokens.Spent; want.Tokens > 0 && got.Tokens == 0 || want.Cost > 0 && got.Cost == 0 {
			return &protocols.Denial{Kind: protocols.DenyBudget, Message: "the " + m.budget.Name + " is used up", At: -1,
				Detail: fmt.Sprintf("The model was not asked: identity %s has used, or requests at work have reserved, all that it may.", m.budget.Identity),
				Hint:   "What was used leaves the window as time goes by; ask for less, or ask whoever keeps the policy."}
		}
	}
	return nil
}

// mostTokens bounds what a client asks for, or an upstream tells, so that sums
// and costs of it do not overflow.
const mostTokens = 1 << 40

// taken is what a usage takes of a budget. A model that has no price cannot be
// asked under a budget of cost.
func (t *ticket) taken(m *meter, u facts.Usage) (facts.Spent, error) {
	var out facts.Spent
	u.Input, u.Output = min(max(0, u.Input), mostTokens), min(max(0, u.Output), mostTokens)
	if m.budget.Tokens > 0 {
		out.Tokens = max(1, u.Input+u.Output)
	}
	if m.budget.Cost > 0 {
		model := ""
		for _, o := range t.facts.Effects[0].Objects {
			if o.Kind == "model" {
				model = o.Name.Name
			}
		}
		cost, ok := t.policy.Cost(model, u)
		if !ok {
			return out, &protocols.Denial{Kind: protocols.DenyPolicy, Message: fmt.Sprintf("model %q has no price", bound(model, 64)), At: -1,
				Detail: "The " + m.budget.Name + " counts what models cost", Hint: "The policy's prices must name the model."}
		}
		out.Cost = max(1, cost)
	}
	return out, nil
}

// Used charges what the model took: it has been taken, whatever is left. The
// rest of what was reserved is given back.
func (t *ticket) Used(u facts.Usage) error {
	t.usage = &u
	for i := range t.meters {
		m := &t.meters[i]
		total, err := t.taken(m, u)
		if err != nil {
			return err
		}
		held := &m.tokens.Spent
		more := facts.Spent{Tokens: max(0, total.Tokens-held.Tokens), Cost: max(0, total.Cost-held.Cost)}
		if more != (facts.Spent{}) {
			if _, err := t.session.engine.ledger.Take(context.Background(), &m.budget, more, true); err != nil {
				return t.session.engine.unrecorded(err)
			}
		}
		held.Tokens, held.Cost = max(0, held.Tokens-total.Tokens), max(0, held.Cost-total.Cost)
		m.giveBackTokens(t.session)
	}
	return nil
}

// giveBackTokens returns what was reserved and not used.
func (m *meter) giveBackTokens(s *session) {
	if m.tokens.Tokens <= 0 && m.tokens.Cost <= 0 {
		return
	}
	if err := s.engine.ledger.GiveBack(context.Background(), &m.budget, m.tokens); err != nil {
		s.engine.log.Warn().Err(err).Str("session", s.id).Msg("giving back what is left of a budget")
	}
	m.tokens.Tokens, m.tokens.Cost = 0, 0
}
