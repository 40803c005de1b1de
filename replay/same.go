package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// common is what most statements of a session have in common with an earlier
// one of their frame: where all of it is alike, a statement says which one
// that is (Event.Same) and leaves it out.
type common struct {
	number          int64
	kind, policy    string
	facts, decision json.RawMessage
	inTransaction   bool
	catalog         string
	searchPath      []string
	role, settings  string
}

func commonOf(e *Event) common {
	return common{
		number: e.Number, kind: e.Kind, policy: e.Policy, facts: e.Facts, decision: e.Decision, inTransaction: e.InTransaction,
		catalog: e.Catalog, searchPath: e.SearchPath, role: e.Role, settings: e.Settings,
	}
}

// put gives e what stands in c.
func (c *common) put(e *Event) {
	e.Kind, e.Policy, e.Facts, e.Decision, e.InTransaction = c.kind, c.policy, c.facts, c.decision, c.inTransaction
	e.Catalog, e.SearchPath, e.Role, e.Settings = c.catalog, c.searchPath, c.role, c.settings
}

func (c *common) of(e *Event) bool {
	return bytes.Equal(c.facts, e.Facts) && bytes.Equal(c.decision, e.Decision) && c.inTransaction == e.InTransaction && c.kind == e.Kind &&
		c.policy == e.Policy && c.catalog == e.Catalog && slices.Equal(c.searchPath, e.SearchPath) && c.role == e.Role && c.settings == e.Settings
}

// How many statements a writer compares with, and how large their facts may be.
const (
	maxCommon      = 8
	maxCommonBytes = 64 << 10
)

// statements are those of the open frame that later ones are compared with.
// They keep the memory of what they compare, which nobody changes.
type statements struct {
	list []common
	next int // in whose place the next one goes
}

// find is the number of a statement that e has all in common with; 0 for
// none, and later ones are then compared with e.
func (s *statements) find(e *Event) int64 {
	if e.Type != TypeStatement || len(e.Facts) == 0 || len(e.Facts)+len(e.Decision) > maxCommonBytes {
		return 0
	}
	for i := range s.list {
		if s.list[i].of(e) {
			return s.list[i].number
		}
	}
	if len(s.list) < maxCommon {
		s.list = append(s.list, commonOf(e))
	} else {
		s.list[s.next] = commonOf(e)
		s.next = (s.next + 1) % maxCommon
	}
	return 0
}

// reset begins a frame.
func (s *statements) reset() {
	clear(s.list)
	s.list, s.next = s.list[:0], 0
}

// resolver gives statements back what they left out.
type resolver map[int64]common

// resolve is called for each event in order.
func (r *resolver) resolve(e *Event) error {
	if e.Type != TypeStatement {
		return nil
	}
	if e.Same == 0 {
		if *r == nil {
			*r = resolver{}
		}
		if len(e.Facts) > 0 {
			(*r)[e.Number] = commonOf(e)
		}
		return nil
	}
	c, ok := (*r)[e.Same]
	if !ok {
		return fmt.Errorf("event %d refers to event %d, which is no statement with facts of the same frame", e.Number, e.Same)
	}
	c.put(e)
	e.Same = 0
	return nil
}
