package lineage

// MaxPieces bounds how many stored values a computed value may be made of
// (repeats counted) and still count as one whose length no server refuses: a
// database refuses values beyond some size (PostgreSQL: 1 GB), and whether a
// longer one is refused tells the length of its parts.
const MaxPieces = 1 << 12

// Value is what lineage knows of a value. The zero Value is a constant's.
type Value struct {
	Flow Flow
	// Noisy says that evaluating the expression can fail, warn or have an
	// effect, whatever columns it reads: whether it is evaluated must then
	// not depend on a value that is hidden.
	Noisy bool
	// Pieces bounds the value's length, in stored values; 0 counts as 1.
	Pieces int
}

// Size is Pieces, at least 1.
func (v Value) Size() int { return max(v.Pieces, 1) }

// Large says that the value may be too long for the server to hold.
func (v Value) Large() bool { return v.Pieces > MaxPieces }

// Endless is the number of pieces of a value without bound.
const Endless = MaxPieces + 1

// AddSizes is the number of pieces of values joined end to end.
func AddSizes(values ...Value) int {
	n := 0
	for _, v := range values {
		n = min(n+v.Size(), Endless)
	}
	return n
}

// Scale is n pieces, each grown by a factor.
func Scale(n, by int) int {
	if n > MaxPieces || by > MaxPieces {
		return Endless
	}
	return min(max(n, 1)*max(by, 1), Endless)
}

// Either is the value of an expression that yields one of several unchanged:
// an arm of a set operation, a branch of CASE.
func Either(values ...Value) Value {
	var out Value
	for _, v := range values {
		out.Flow = Merge(out.Flow, v.Flow)
		out.Noisy = out.Noisy || v.Noisy
		out.Pieces = max(out.Pieces, v.Pieces)
	}
	return out
}

// Total is the result of an operation known total over its arguments, of
// that many pieces.
func Total(pieces int, args ...Value) Value {
	out := Either(args...)
	out.Flow = out.Flow.Computed()
	out.Pieces = pieces
	return out
}

// Widen is how a recursive query's column grows from one round to the next:
// the flows of both, and no bound on the length once it has grown. The result
// says whether anything is new.
func Widen(before, after Value) (Value, bool) {
	out := Either(before, after)
	if after.Size() > before.Size() {
		out.Pieces = Endless
	}
	grown := !out.Flow.Equal(before.Flow) || out.Size() != before.Size() || out.Noisy != before.Noisy
	return out, grown
}
