package proxy

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// decided is a steady decision (Policy.Steady) of one session, with what was
// made of it. It serves the session's other statements with the same facts.
type decided struct {
	decision *facts.Decision
	raw      json.RawMessage
	bound    atomic.Pointer[boundColumns]
}

// boundColumns is what Bind has found for a result's columns.
type boundColumns struct {
	columns []protocols.ResultColumn
	names   []string
	masks   []*mask.Mask
}

// decidedKey is what a steady decision depends on. Facts are the pointer: the
// cache of analyses hands out one for one text, schema and role.
type decidedKey struct {
	facts         *facts.Facts
	policy        *sqlpolicy.Policy
	inTransaction bool
	prepare       bool
}

// maxDecided bounds what a session remembers.
const maxDecided = 64

// decision decides, or remembers. It is called by the goroutine that admits.
func (s *session) decision(t *ticket) error {
	if t.unit == protocols.Operation {
		return s.operations.decide(t)
	}
	k := decidedKey{facts: t.facts, policy: t.policy, inTransaction: t.inTransaction, prepare: t.unit == protocols.Prepare}
	if t.memo = s.decisions[k]; t.memo != nil {
		t.decision = t.memo.decision
		return nil
	}
	in := t.input()
	t.decision = t.policy.Decide(in)
	if t.unit == protocols.FunctionCall || t.rawFacts == nil || !t.policy.Steady(&in, t.decision) {
		// Facts that are the unit's own, or those with bound parameters, do not come again.
		return nil
	}
	raw, err := json.Marshal(t.decision)
	if err != nil {
		return err
	}
	if s.decisions == nil || len(s.decisions) >= maxDecided {
		s.decisions = map[decidedKey]*decided{}
	}
	t.memo = &decided{decision: t.decision, raw: raw}
	s.decisions[k] = t.memo
	return nil
}

// decidedOperations are steady decisions over operations, by their facts as
// the record has them: a request's facts are its own, and requests of one
// session are decided at the same time.
type decidedOperations struct {
	mu      sync.RWMutex
	policy  *sqlpolicy.Policy // that all of them are by
	byFacts map[string]*decided
}

// maxDecidedFacts is how long facts are at most that are remembered, in bytes.
const maxDecidedFacts = 8 << 10

func (o *decidedOperations) decide(t *ticket) error {
	o.mu.RLock()
	if o.policy == t.policy {
		t.memo = o.byFacts[string(t.rawFacts)]
	}
	o.mu.RUnlock()
	if t.memo != nil {
		t.decision = t.memo.decision
		return nil
	}
	in := t.input()
	t.decision = t.policy.Decide(in)
	if len(t.rawFacts) > maxDecidedFacts || !t.policy.Steady(&in, t.decision) {
		return nil
	}
	raw, err := json.Marshal(t.decision)
	if err != nil {
		return err
	}
	t.memo = &decided{decision: t.decision, raw: raw}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.policy != t.policy || len(o.byFacts) >= maxDecided {
		o.policy, o.byFacts = t.policy, map[string]*decided{}
	}
	o.byFacts[string(t.rawFacts)] = t.memo
	return nil
}

// remembered gives a result's columns what an earlier statement's Bind has
// found for the same ones.
func (t *ticket) remembered(columns []protocols.ResultColumn) ([]*mask.Mask, bool) {
	if t.memo == nil {
		return nil, false
	}
	b := t.memo.bound.Load()
	if b == nil || !oneSlice(b.columns, columns) && !slices.Equal(b.columns, columns) {
		return nil, false
	}
	t.columns = b.names
	return b.masks, true
}

// oneSlice says that both are the same memory.
func oneSlice[T any](a, b []T) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

func (t *ticket) remember(columns []protocols.ResultColumn, masks []*mask.Mask) {
	if t.memo != nil {
		t.memo.bound.Store(&boundColumns{columns: columns, names: t.columns, masks: masks})
	}
}

// rawDecision is the decision as the record wants it.
func (t *ticket) rawDecision() (json.RawMessage, error) {
	if t.memo != nil {
		return t.memo.raw, nil
	}
	return json.Marshal(t.decision)
}
