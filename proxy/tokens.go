package proxy

import (
	"context"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

var _ protocols.Metered = (*ticket)(nil)

// Reserve takes tokens ahead, so that requests at the same time cannot all
// have the last ones.
func (t *ticket) Reserve(tokens int64) error {
	for i := range t.meters {
		m := &t.meters[i]
		if m.budget.Tokens == 0 {
			continue
		}
		var err error
		if m.tokens, err = t.session.engine.ledger.Take(context.Background(), &m.budget, facts.Spent{Tokens: max(tokens, 1)}, m.beyond); err != nil {
			return t.session.engine.unrecorded(err)
		}
		if m.tokens.Tokens == 0 {
			return &protocols.Denial{Kind: protocols.DenyBudget, Message: "the " + m.budget.Name + " is used up", At: -1,
				Detail: fmt.Sprintf("The model was not asked: identity %s has used, or requests at work have reserved, all that it may.", m.budget.Identity),
				Hint:   "What was used leaves the window as time goes by; ask for less, or ask whoever keeps the policy."}
		}
	}
	return nil
}

// Used charges what the model took: it has been taken, whatever is left.
func (t *ticket) Used(u facts.Usage) error {
	t.usage = &u
	total := u.Input + u.Output
	for i := range t.meters {
		m := &t.meters[i]
		if m.budget.Tokens == 0 {
			continue
		}
		if more := total - m.tokens.Tokens; more > 0 {
			if _, err := t.session.engine.ledger.Take(context.Background(), &m.budget, facts.Spent{Tokens: more}, true); err != nil {
				return t.session.engine.unrecorded(err)
			}
		}
		m.tokens.Tokens = max(0, m.tokens.Tokens-total)
	}
	return nil
}

// giveBackTokens returns what was reserved and not used.
func (m *meter) giveBackTokens(s *session) {
	if m.tokens.Tokens <= 0 {
		return
	}
	if err := s.engine.ledger.GiveBack(context.Background(), &m.budget, m.tokens); err != nil {
		s.engine.log.Warn().Err(err).Str("session", s.id).Msg("giving back what is left of a budget")
	}
	m.tokens.Tokens = 0
}
