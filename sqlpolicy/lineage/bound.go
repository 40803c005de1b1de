package lineage

import (
	"math"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Bound is the most rows that a query's own words allow. Rows is
// facts.NoLimit where nothing limits it; Param, if not 0, is a parameter that
// may limit it further.
type Bound struct {
	Rows  int64
	Param int
}

// Unbounded is the bound of a query that nothing limits.
func Unbounded() Bound { return Bound{Rows: facts.NoLimit} }

// Rows is the bound of a query of that many rows.
func Rows(n int) Bound { return Bound{Rows: int64(n)} }

// Limited says that the words limit the rows.
func (b Bound) Limited() bool { return b.Rows != facts.NoLimit }

// Smaller is the bound where both hold.
func (b Bound) Smaller(c Bound) Bound {
	out := Bound{Rows: min(b.Rows, c.Rows), Param: b.Param}
	if out.Param == 0 {
		out.Param = c.Param
	}
	return out
}

// Plus is the bound of the rows of both together.
func (b Bound) Plus(c Bound) Bound {
	if !b.Limited() || !c.Limited() || b.Rows > math.MaxInt64-1-c.Rows {
		return Unbounded()
	}
	return Bound{Rows: b.Rows + c.Rows}
}

// Times is the bound of each row of one joined with each of the other.
func (b Bound) Times(c Bound) Bound {
	if b.Rows == 0 || c.Rows == 0 {
		return Bound{}
	}
	if !b.Limited() || !c.Limited() || b.Rows > (math.MaxInt64-1)/c.Rows {
		return Unbounded()
	}
	return Bound{Rows: b.Rows * c.Rows}
}
