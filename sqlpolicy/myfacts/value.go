package myfacts

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// value is what analysis knows of an expression's value.
type value struct {
	lineage.Value
	t typ
	// plain says that the value is one that the client sent as it is, in a
	// literal or a parameter.
	plain bool
	null  bool // the literal NULL
	// loose says that comparing it is not by its column's own collation:
	// COLLATE, BINARY or a character set's introducer is in play.
	loose bool
	text  *string // of a literal, as the server reads it
	param int     // the parameter's number, where the value is one
	// consts are the literals and parameters that the value was made of, by
	// index into analysis.consts, ascending.
	consts []int
	row    []value // of a row constructor
}

// column is a named value: of a relation in scope, or of a result.
type column struct {
	name string
	value
	hidden bool // * does not bring it
}

func plains(values []value) []lineage.Value {
	out := make([]lineage.Value, len(values))
	for i, v := range values {
		out[i] = v.Value
	}
	return out
}

func constants(values []value) []int {
	lists := make([][]int, len(values))
	for i, v := range values {
		lists[i] = v.consts
	}
	return lineage.Gather(lists...)
}

// meet marks the constants among values as compared with, or put together
// with, the columns among them.
func (a *analysis) meet(values ...value) {
	var flow lineage.Flow
	for _, v := range values {
		flow = lineage.Merge(flow, v.Flow)
	}
	a.consts.Meet(constants(values), flow)
}

// either is a value that is one of several, unchanged but for a conversion to
// their common type.
func (a *analysis) either(p lineage.Place, what string, values ...value) value {
	if len(values) == 1 {
		return values[0]
	}
	t, total := common(values)
	if !total {
		return a.opaque(p, "a conversion between types in "+what, typ{}, values...)
	}
	out := value{Value: lineage.Either(plains(values)...), t: t, plain: true, null: true, consts: constants(values)}
	for _, v := range values {
		out.plain, out.null, out.loose = out.plain && v.plain, out.null && v.null, out.loose || v.loose
		if v.t.class != t.class && !v.null {
			out.Flow = out.Flow.Computed()
		}
	}
	return out
}

// computed is the result of an operation that is total.
func (a *analysis) computed(pieces int, t typ, args ...value) value {
	a.meet(args...)
	return value{Value: lineage.Total(pieces, plains(args)...), t: t, consts: constants(args)}
}

// sized is computed, unless the result may be too long for the server.
func (a *analysis) sized(p lineage.Place, what string, pieces int, t typ, args ...value) value {
	v := a.computed(pieces, t, args...)
	if len(v.Flow) > 0 && v.Large() {
		return a.opaque(p, what+", whose result has no bound on its length", t, args...)
	}
	return v
}

// opaque is the result of an operation that cannot be shown total.
func (a *analysis) opaque(p lineage.Place, what string, t typ, args ...value) value {
	a.failing = true
	a.meet(args...)
	return value{Value: a.ledger.Opaque(p, what, plains(args)...), t: t, consts: constants(args)}
}

// compared is the result of a comparison other than exact equality.
func (a *analysis) compared(p lineage.Place, what string, args ...value) value {
	a.meet(args...)
	return value{Value: a.ledger.Compare(p, what, plains(args)...), t: typ{class: clsInt}}
}

// known is the result of grouping by a value or testing it for NULL.
func (a *analysis) known(p lineage.Place, what string, v value) value {
	return value{Value: a.ledger.Known(p, what, v.Value, a.exact(v)), t: typ{class: clsInt}}
}

// condition ends an expression whose truth decides something. A string is
// read as a number for that, with a warning that prints it.
func (a *analysis) condition(p lineage.Place, what string, v value) {
	switch {
	case len(v.Flow) == 0:
	case v.t.class == clsInt:
		a.compared(p, what, v)
	default:
		a.opaque(p, what, typ{}, v)
	}
}

// exact says that equality on the value is the one of its column's own type
// and collation.
func (a *analysis) exact(v value) bool {
	switch v.t.class {
	case clsInt, clsString, clsBinary, clsDate, clsEnum:
		return !v.loose && v.t.coll != mixedCollation
	case clsDatetime, clsTime, clsDecimal:
		return !v.loose && v.t.name != ""
	}
	return false
}

// fail keeps the first problem; analysis goes on, and its result is dropped.
func (a *analysis) fail(p *facts.Problem) {
	if a.problem == nil {
		if a.foreign > 0 {
			p.At, p.Undefined = -1, false
		}
		a.problem = p
	}
}

// at is a place in the client's text, or -1 inside a definition's.
func (a *analysis) at(offset int) int {
	if a.foreign > 0 || offset < 0 {
		return -1
	}
	return offset
}

func relationObject(r *catalog.Relation) facts.Object {
	kind := "table"
	switch r.Kind {
	case catalog.RelView:
		kind = "view"
	case catalog.RelSequence:
		kind = "sequence"
	}
	return facts.Object{Kind: kind, Name: facts.Name{Schema: r.Schema, Name: r.Name}}
}

// sameName compares names of columns and aliases of columns, which have no
// case. Of letters beyond ASCII the server's tables of case are not followed
// (it takes the dotted capital I for an i, and not the long s for an s): names
// with such letters are the same only where they are written alike, and
// nearName tells those that might be.
func sameName(a, b string) bool {
	return a == b || len(a) == len(b) && isASCII(a) && isASCII(b) && strings.EqualFold(a, b)
}

// nearName says that two names are not written alike, and the server might
// take them for the same.
func nearName(a, b string) bool {
	if isASCII(a) && isASCII(b) || a == b {
		return false
	}
	x, y := []rune(a), []rune(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] < utf8.RuneSelf && y[i] < utf8.RuneSelf && unicode.ToLower(x[i]) != unicode.ToLower(y[i]) {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func hidden(values []value) bool {
	return slices.ContainsFunc(values, func(v value) bool { return len(v.Flow) > 0 })
}

func noisy(values []value) bool {
	return slices.ContainsFunc(values, func(v value) bool { return v.Noisy })
}
