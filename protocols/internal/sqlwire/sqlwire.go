// Package sqlwire holds what the SQL wires have in common.
package sqlwire

import (
	"maps"
	"math"
)

// PowerOfTen rounds a planner's estimate up to a power of ten, so that it tells
// less of the values that it comes from; 0 where it is nothing or no number.
func PowerOfTen(x float64) float64 {
	if x <= 0 || math.IsNaN(x) {
		return 0
	}
	if math.IsInf(x, 0) || x > 1e300 {
		return math.MaxFloat64
	}
	p := math.Pow(10, math.Ceil(math.Log10(x)))
	for p < x { // the logarithm rounds
		p *= 10
	}
	return p
}

// Changed returns m with names put in and taken out; "" takes out all. It leaves
// m as it was, since a view that holds it may be shared.
func Changed[V any](m, in map[string]V, out []string) map[string]V {
	if len(in) == 0 && len(out) == 0 {
		return m
	}
	m = maps.Clone(m)
	if m == nil {
		m = map[string]V{}
	}
	for _, name := range out {
		if name == "" {
			clear(m)
		}
		delete(m, name)
	}
	maps.Copy(m, in)
	return m
}
