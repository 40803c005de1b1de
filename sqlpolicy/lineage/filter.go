package lineage

import "slices"

// Mentions is the columns that one side of a comparison is made of, as far as
// a filter cares: those of what a statement's condition is about, and others.
type Mentions struct {
	Targets []string
	Others  []string // other tables' columns, and "()" for what a subquery brings of its own
}

// All are all of them.
func (m *Mentions) All() []string { return append(slices.Clone(m.Targets), m.Others...) }

// Add takes another side's in.
func (m *Mentions) Add(o Mentions) {
	m.Targets = append(m.Targets, o.Targets...)
	m.Others = append(m.Others, o.Others...)
}

// Relates says whether comparing l with r constrains a target's column by
// something other than itself.
func Relates(l, r Mentions) bool {
	if len(l.Targets)+len(r.Targets) == 0 {
		return false
	}
	la, ra := l.All(), r.All()
	keys := append(slices.Clone(la), ra...)
	slices.Sort(keys)
	if len(slices.Compact(keys)) > 1 {
		return true
	}
	return len(la) == 0 || len(ra) == 0 // one column, on one side only
}

// ComparisonMask is which of less (1), equal (2) and greater (4) an operator
// accepts, 0 for what is no comparison.
func ComparisonMask(op string) uint8 {
	switch op {
	case "<":
		return 1
	case "=":
		return 2
	case "<=":
		return 3
	case ">":
		return 4
	case "<>", "!=":
		return 5
	case ">=":
		return 6
	}
	return 0
}
