package postgres

import (
	"encoding/json"
	"errors"

	"github.com/sallyport-proxy/sallyport/protocols/internal/sqlwire"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// plan asks the upstream's planner about a statement that is about to run, on
// the session's own connection, so that it is planned as it will be: under the
// same snapshot, settings, temporary tables and parameters. In a transaction
// block a savepoint keeps a planner's error from failing it. In a pipeline
// there is no way back from an error; the statement would meet the same one,
// so the pipeline fails on it.
func (s *session) plan(text string, params []bound) (facts.Plan, error) {
	switch {
	case s.status.Load() == 'E':
		return facts.Plan{Known: true}, nil // nothing will run
	case s.unsynced:
		p, err := s.explain(text, params)
		if err != nil && s.stillOpen(err) == nil { // the client has the upstream's error
			err = &facts.Problem{Code: "XX000", Message: "the planner refused the statement", At: -1}
		}
		return p, err
	case s.status.Load() != 'T':
		p, err := s.explain(text, params)
		return p, s.stillOpen(err)
	}
	for _, sql := range []string{"SAVEPOINT sallyport_plan"} {
		if err := s.own(&ownQuery{what: "ask the planner"}, sql, nil); err != nil {
			return facts.Plan{}, err
		}
	}
	p, err := s.explain(text, params)
	back := []string{"RELEASE SAVEPOINT sallyport_plan"}
	if err != nil {
		back = []string{"ROLLBACK TO SAVEPOINT sallyport_plan", back[0]}
	}
	if err := s.stillOpen(err); err != nil {
		return p, err
	}
	for _, sql := range back {
		if err := s.own(&ownQuery{what: "ask the planner"}, sql, nil); err != nil {
			return facts.Plan{}, err
		}
	}
	return p, nil
}

// stillOpen lets a planner's refusal be: the plan is then not known. The
// session's own end is an error.
func (s *session) stillOpen(err error) error {
	if errors.Is(err, errUpstreamEnds) {
		return err
	}
	return nil
}

func (s *session) explain(text string, params []bound) (facts.Plan, error) {
	var out []byte
	o := &ownQuery{what: "ask the planner", each: func(cols [][]byte) error {
		for _, c := range cols {
			out = append(append(out, c...), '\n')
		}
		return nil
	}}
	if err := s.own(o, "EXPLAIN (FORMAT JSON) "+text, params); err != nil {
		return facts.Plan{}, err
	}
	return readPlan(out), nil
}

// readPlan takes the root's estimates out of EXPLAIN's JSON, each rounded up
// to a power of ten: what is finer tells of values. A plan that cannot be
// read is not known.
func readPlan(b []byte) facts.Plan {
	var explained []struct {
		Plan *struct {
			Rows *float64 `json:"Plan Rows"`
			Cost *float64 `json:"Total Cost"`
		}
	}
	if json.Unmarshal(b, &explained) != nil || len(explained) != 1 || explained[0].Plan == nil {
		return facts.Plan{}
	}
	p := explained[0].Plan
	if p.Rows == nil || p.Cost == nil {
		return facts.Plan{}
	}
	return facts.Plan{Known: true, Rows: int64(min(sqlwire.PowerOfTen(*p.Rows), 1e18)), Cost: sqlwire.PowerOfTen(*p.Cost)}
}
