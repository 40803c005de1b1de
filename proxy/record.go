package proxy

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// recordStatement records a statement with all that its decision depended on.
func (s *session) recordStatement(u *protocols.Unit, t *ticket, now time.Time) error {
	t.id = s.statements.Add(1)
	raw := t.rawFacts
	if raw == nil {
		var err error
		if raw, err = json.Marshal(t.facts); err != nil {
			return s.engine.unrecorded(err)
		}
	}
	decision, err := t.rawDecision()
	if err != nil {
		return s.engine.unrecorded(err)
	}
	hide := s.engine.forRecord(t.policy)
	text, err := redactText(hide, t.text, t.facts.Constants, t.decision.SecretConstants)
	if err != nil {
		return s.engine.unrecorded(err)
	}
	params, err := redactParams(hide, u.Params, t.decision.SecretParams)
	if err != nil {
		return s.engine.unrecorded(err)
	}
	e := events.Get().(*replay.Event)
	defer events.Put(e)
	*e = replay.Event{
		Type: replay.TypeStatement, At: now, ID: t.id, Kind: kinds[u.Kind], Policy: t.policy.Hash,
		Text: text, Params: params,
		Facts: raw, Decision: decision, InTransaction: u.InTransaction, RowsRead: t.rowsRead, Plan: t.plan, Spent: spentByName(t.policy, t.decision.Budgets, t.budgets),
	}
	if u.View != nil {
		e.Role, e.SearchPath, e.Settings = u.View.Role, u.View.SearchPath, string(u.View.Settings)
		if e.Catalog, err = s.storeCatalog(u.View); err != nil {
			return s.engine.unrecorded(err)
		}
	}
	if err := s.record.Append(e); err != nil {
		return s.engine.unrecorded(err)
	}
	return nil
}

// spentByName is what the decision knew of budgets, as the record keeps it.
func spentByName(p *sqlpolicy.Policy, budgets []int, spent []facts.Spent) map[string]facts.Spent {
	if len(budgets) == 0 || spent == nil {
		return nil
	}
	out := map[string]facts.Spent{}
	for _, i := range budgets {
		out[p.Budgets[i].Name] = spent[i]
	}
	return out
}

var kinds = map[protocols.UnitKind]string{
	protocols.Query: "query", protocols.Prepare: "prepare", protocols.Execute: "execute", protocols.Operation: "operation", protocols.FunctionCall: "call",
}

func (s *session) recordRefused(t *ticket, d *protocols.Denial, now time.Time) error {
	err := s.record.Append(&replay.Event{Type: replay.TypeError, At: now, ID: t.id, Code: replay.RefusedCode, Message: d.Message, Reason: d.Detail})
	if err != nil {
		return s.engine.unrecorded(err)
	}
	return nil
}

// recordProblem records a text that could not be analysed.
func (s *session) recordProblem(u *protocols.Unit, problem error, now time.Time) error {
	var p *facts.Problem
	var d *protocols.Denial
	if errors.As(problem, &d) {
		return d // not of the text; its cause has been logged
	}
	if !errors.As(problem, &p) {
		s.engine.log.Error().Err(problem).Str("session", s.id).Msg("analysing a statement")
		p = &facts.Problem{Code: "XX000", Message: "the statement could not be analysed", At: -1}
	}
	id := s.statements.Add(1)
	// Without facts nobody knows which of its words are values of a class.
	e := &replay.Event{Type: replay.TypeStatement, At: now, ID: id, Kind: kinds[u.Kind], Text: s.engine.hideFound(s.engine.hideLiterals(u.Text)), Problem: p, Policy: s.engine.policy.Load().Hash}
	err := s.record.Append(e)
	if err == nil {
		err = s.record.Append(&replay.Event{Type: replay.TypeError, At: now, ID: id, Code: p.Code, Message: p.Message})
	}
	if err == nil {
		err = s.record.Flush()
	}
	if err != nil {
		return s.engine.unrecorded(err)
	}
	s.target.counts.decided(false, s.engine.now().Sub(now))
	return p
}
