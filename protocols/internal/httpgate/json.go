package httpgate

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep a request's JSON may nest; serde_json, which the stores
// read with, takes no more.
const maxDepth = 127

// Value is a part of a request's JSON document. Its zero value is a value that
// is not there.
type Value struct {
	Kind byte   // { [ " 0 t f n, or 0 where there is none
	Raw  []byte // in canonical form; not to be changed
	Text string // of a string

	Names []string // of an object, in order; Items are its values
	Items []Value  // nil for a long array of numbers alone
	Count int      // of items

	from, to int // of Raw in the whole text
}

// foldedTwice finds a name that another one equals but for case, as simple
// case folding has it (Unicode CaseFolding.txt, C and S).
func foldedTwice(names []string) (name string, found bool) {
	if len(names) <= 8 {
		for i, a := range names {
			for _, b := range names[:i] {
				if strings.EqualFold(a, b) {
					return a, true
				}
			}
		}
		return "", false
	}
	seen := make(map[string]bool, len(names))
	for _, n := range names {
		f := strings.Map(folded, n)
		if seen[f] {
			return n, true
		}
		seen[f] = true
	}
	return "", false
}

// folded is the least of the runes that are equal to r under folding.
func folded(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// AppendQuote appends s as a JSON string, as its canonical form has it: without
// an escape that is not needed. What is no UTF-8 (masks can cut a character of
// several bytes) becomes U+FFFD.
func AppendQuote(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if !plainByte[s[i]] {
			dst, _ = jsontext.AppendQuote(dst, s) // its error is about UTF-8 alone
			return dst
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// Has says that there is a value, null too.
func (v *Value) Has() bool { return v.Kind != 0 }

// Get is an object's member; the zero Value where there is none, which must not
// be written to.
func (v *Value) Get(name string) *Value {
	if i := slices.Index(v.Names, name); i >= 0 {
		return &v.Items[i]
	}
	return &missing
}

// missing is what is not there.
var missing Value

// Null says that the value is null or not there.
func (v *Value) Null() bool { return v.Kind == 0 || v.Kind == 'n' }

// Vector says that the value is an array of numbers alone.
func (v *Value) Vector() bool {
	if v.Kind != '[' || v.Count == 0 {
		return false
	}
	return !slices.ContainsFunc(v.Items, func(i Value) bool { return i.Kind != '0' })
}

// Int is a number that is written as a whole one, not negative; ok is false
// for any other value.
func (v *Value) Int() (n int64, ok bool) {
	if v.Kind != '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.Raw), 10, 64)
	return n, err == nil && v.Raw[0] != '-'
}
