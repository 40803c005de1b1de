package pgfacts

import (
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// PostgreSQL refuses values, rows and messages beyond 1 GB. Whoever can build
// a value of just the right length learns the length of what stands beside
// it from whether that fails. So values are bounded in pieces (the lengths of
// stored values), and what goes beyond the bound must not meet columns.

// together: values of one row are stored, sorted and sent together.
func (a *analysis) together(p lineage.Place, values []value) {
	if lineage.AddSizes(plains(values)...) <= lineage.MaxPieces {
		return
	}
	v := lineage.Either(plains(values)...)
	a.ledger.Opaque(p, "a row without a bound on its length", v)
}

// withoutBound: a statement that builds a value as long as the client likes
// reads nothing hidden.
func (a *analysis) withoutBound() {
	if !a.boundless {
		return
	}
	var v lineage.Value
	for _, m := range a.arms {
		for _, r := range m.columns {
			v.Flow = lineage.Merge(v.Flow, lineage.Of(r))
		}
	}
	a.ledger.Opaque(lineage.Place{At: -1}, "a statement that builds values without a bound on their length", v)
}

// hoard: a value without a bound that is kept for later statements.
func (a *analysis) hoard(p lineage.Place, v value) {
	if v.Large() && len(v.Flow) == 0 {
		a.opaque(p, "storing a value without a bound on its length", "", a.storageSize())
	}
}
