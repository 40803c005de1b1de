// Package lineage follows columns through a query: which base columns a value
// can depend on, and what is done with columns beyond returning them. It is
// the arithmetic of that, without a dialect: a dialect's package walks its own
// AST, calls what is here for each operation it meets, and brings the
// knowledge of what an operation does (is it total, is it the built-in
// equality, how long can its result be).
//
// The rules are those of masking:
//
//   - a column that passes unchanged stays a direct source;
//   - what is computed by operations that are total (they can neither fail nor
//     warn, whatever the value) keeps its sources, so that it can be redacted
//     whole;
//   - a comparison is a use, and its result has no sources any more;
//   - anything else is an opaque use.
//
// Nothing here knows classes: uses are recorded for every column, and policy
// forgets those of columns without one.
package lineage

import (
	"slices"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Flow is the set of base columns that a value can depend on, in order of
// table and column, each once. A column that arrives on two ways is direct
// only if it is on both. Flows are immutable; nil is the flow of a constant.
type Flow []facts.Source

// Of is the flow of a column that is read as it is.
func Of(ref facts.ColumnRef) Flow { return Flow{{ColumnRef: ref, Direct: true}} }

// Merge is the flow of a value that is one of several, or that depends on
// several.
func Merge(flows ...Flow) Flow {
	var out Flow
	for _, f := range flows {
		switch {
		case len(f) == 0:
		case len(out) == 0:
			out = f
		default:
			out = merge(out, f)
		}
	}
	return out
}

func merge(a, b Flow) Flow {
	if covers(a, b) {
		return a
	}
	out := make(Flow, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compareRefs(a[0].ColumnRef, b[0].ColumnRef); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			s := a[0]
			s.Direct = s.Direct && b[0].Direct
			out, a, b = append(out, s), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// covers says that merging b into a leaves a as it is.
func covers(a, b Flow) bool {
	for _, s := range b {
		i, ok := slices.BinarySearchFunc(a, s, func(x, y facts.Source) int { return compareRefs(x.ColumnRef, y.ColumnRef) })
		if !ok || a[i].Direct && !s.Direct {
			return false
		}
	}
	return true
}

func compareRefs(a, b facts.ColumnRef) int {
	if a.Table != b.Table {
		return a.Table - b.Table
	}
	return a.Column - b.Column
}

// Computed is the flow of what an operation makes of the value.
func (f Flow) Computed() Flow {
	if !slices.ContainsFunc(f, func(s facts.Source) bool { return s.Direct }) {
		return f
	}
	out := slices.Clone(f)
	for i := range out {
		out[i].Direct = false
	}
	return out
}

// Bare says that the value is one of its columns' own, unchanged.
func (f Flow) Bare() bool {
	return len(f) > 0 && !slices.ContainsFunc(f, func(s facts.Source) bool { return !s.Direct })
}

// Refs are the columns of the flow.
func (f Flow) Refs() []facts.ColumnRef {
	if len(f) == 0 {
		return nil
	}
	out := make([]facts.ColumnRef, len(f))
	for i, s := range f {
		out[i] = s.ColumnRef
	}
	return out
}

// Equal says that two flows are the same.
func (f Flow) Equal(g Flow) bool { return slices.Equal(f, g) }
