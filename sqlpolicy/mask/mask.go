// Package mask holds the transformations that classed values get before they
// leave. A mask is chosen by name in the policy, compiled once a result
// column, and applied once a row by the wire, which knows how the column's
// type is written.
package mask

// Mask is a compiled transformation for one result column. Exactly one of
// its fields is set. A wire that cannot apply the field that is set to the
// column's type and format must end the statement.
//
// A Mask is safe for concurrent use; its functions append to dst and keep
// neither argument.
type Mask struct {
	// Const is the value that every cell becomes, NULL cells too.
	Const *Value
	// Text transforms a value of facts.KindText; NULL stays NULL.
	Text func(dst, src []byte) []byte
	// Int transforms facts.KindInt; Float facts.KindFloat and KindNumeric
	// (given and taken as the shortest decimal text); NULL stays NULL.
	Int     func(int64) int64
	Decimal func(dst, src []byte) []byte
	// Micros transforms facts.KindDate and KindTimestamp, as microseconds
	// since 1970-01-01 00:00:00 UTC; NULL stays NULL.
	Micros func(int64) int64
}

// Value is a constant: NULL, or the canonical text form of the column's kind
// (ISO 8601 for dates and times, hexadecimal for bytes).
type Value struct {
	Null bool
	Text string
}
