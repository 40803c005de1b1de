package proxy

import (
	"context"
	"fmt"
	"slices"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/budget"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// meter charges one statement's rows to one budget. It takes from the ledger
// ahead of the rows, ever more at once, so that most rows cost a subtraction.
type meter struct {
	budget budget.Budget
	beyond bool // people have let it pass
	held   budget.Charge
	tokens budget.Charge // reserved for a model's answer
	chunk  facts.Spent
}

const (
	firstRows  = 100
	mostRows   = 10_000
	firstBytes = 64 << 10
	mostBytes  = 8 << 20
)

// meters are those of a decision.
func (s *session) meters(t *ticket) []meter {
	var out []meter
	for _, i := range t.decision.Budgets {
		b := &t.policy.Budgets[i]
		out = append(out, meter{
			budget: s.budget(b), chunk: facts.Spent{Rows: firstRows, Bytes: firstBytes},
			beyond: slices.ContainsFunc(t.granted, func(n facts.Need) bool { return n.Rule == b.Name }),
		})
	}
	return out
}

func (s *session) budget(b *sqlpolicy.Budget) budget.Budget {
	return budget.Budget{Name: b.Name, Identity: s.identity.Name, Rows: b.Rows, Bytes: b.Bytes, Tokens: b.Tokens, Cost: b.Cost, Per: b.Per}
}

// spent is what the identity has used of the policy's budgets, by index; of
// those that are not asked for it says nothing.
func (s *session) spent(ctx context.Context, p *sqlpolicy.Policy, which []int) ([]facts.Spent, error) {
	out := make([]facts.Spent, len(p.Budgets))
	for _, i := range which {
		b := s.budget(&p.Budgets[i])
		var err error
		if out[i], err = s.engine.ledger.Spent(ctx, &b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// row charges a row before it is sent.
func (m *meter) row(s *session, bytes int64) error { return m.charge(s, 1, bytes) }

// more charges bytes of rows that are charged already.
func (m *meter) more(s *session, bytes int64) error { return m.charge(s, 0, bytes) }

func (m *meter) charge(s *session, rows, bytes int64) error {
	if !m.covers(rows, bytes) {
		if err := m.take(s, bytes); err != nil {
			return err
		}
		if !m.covers(rows, bytes) {
			m.held = budget.Charge{} // what is too little for a row is used up: the next statement is told at its start
			return &protocols.Denial{Kind: protocols.DenyBudget, Message: "the " + m.budget.Name + " is used up", At: -1,
				Detail: fmt.Sprintf("The statement was stopped in its result: identity %s has read all that it may.", m.budget.Identity),
				Hint:   "What was read leaves the window as time goes by; ask for less, or ask whoever keeps the policy."}
		}
	}
	if m.budget.Rows > 0 {
		m.held.Rows -= rows
	}
	if m.budget.Bytes > 0 {
		m.held.Bytes -= bytes
	}
	return nil
}

func (m *meter) covers(rows, bytes int64) bool {
	return (m.budget.Rows == 0 || m.held.Rows >= rows) && (m.budget.Bytes == 0 || m.held.Bytes >= bytes)
}

// take gives back what is held and takes the next chunk.
func (m *meter) take(s *session, bytes int64) error {
	m.done(s)
	want := facts.Spent{}
	if m.budget.Rows > 0 {
		want.Rows = m.chunk.Rows
		m.chunk.Rows = min(2*m.chunk.Rows, mostRows)
	}
	if m.budget.Bytes > 0 {
		want.Bytes = max(m.chunk.Bytes, bytes)
		m.chunk.Bytes = min(2*m.chunk.Bytes, mostBytes)
	}
	var err error
	if m.held, err = s.engine.ledger.Take(context.Background(), &m.budget, want, m.beyond); err != nil {
		m.held = budget.Charge{}
		return s.engine.unrecorded(err)
	}
	return nil
}

// done gives back what was taken and not used. If that fails the identity has
// used more than it read, which is the safe side.
func (m *meter) done(s *session) {
	if m.held.Rows <= 0 && m.held.Bytes <= 0 {
		return
	}
	if err := s.engine.ledger.GiveBack(context.Background(), &m.budget, m.held); err != nil {
		s.engine.log.Warn().Err(err).Str("session", s.id).Msg("giving back what is left of a budget")
	}
	m.held = budget.Charge{}
}
