package pgfacts

import (
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// value is what analysis knows of an expression's value.
type value struct {
	lineage.Value
	// typ is the type's qualified name, typeUnknown for a literal or
	// parameter that has none yet, and "" where analysis cannot tell.
	typ string
	// plain says that the value is one that the client sent as it is, in a
	// literal or a parameter: a renaming of hidden values leaves it alone.
	plain bool
	null  bool // the literal NULL
	// fresh says that the expression is a literal or a parameter itself: what
	// it is cast to is checked before anything runs.
	fresh bool
	// loose says that equality is not that of the type's own default: a
	// nondeterministic collation, or one that COLLATE names.
	loose bool
	// collation is the column's own that the value carries: "" the
	// database's, mixedCollation where several meet.
	collation string
	// text is the literal's own text, where the expression is one.
	text *string
	// literal is the length of a literal that is stored, 0 where none is.
	literal int
	// consts are the literals and parameters that the value was made of, by
	// index into analysis.consts, ascending.
	consts []int
	// row holds the fields of a composite value, where they are known.
	row []column
	// set says that the value is a set-returning function's.
	set bool
	// from are the functions that the value may come from, for FROM to learn
	// their columns.
	from []callee
}

// column is a named value: of a relation in scope, or of a result.
type column struct {
	name string
	value
}

// constants gathers what made several values.
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
	a.mark(constants(values), flow)
}

func (a *analysis) mark(consts []int, flow lineage.Flow) { a.consts.Meet(consts, flow) }

// literal makes the value of a constant at that place of the text.
func (a *analysis) literal(at int, v value) value {
	if at < 0 || a.foreign > 0 {
		return v
	}
	v.consts = []int{a.consts.Literal(at, literalEnd(a.text, at))}
	return v
}

// parameter makes the value of $n.
func (a *analysis) parameter(n int) value {
	i := a.consts.Parameter(n)
	v := value{typ: typeUnknown, plain: !a.computedParams[n], fresh: !a.computedParams[n], consts: []int{i}}
	v.Pieces = paramPieces
	if n <= len(a.paramTypes) && a.paramTypes[n-1] != "" {
		v.typ = a.paramTypes[n-1]
	} else if t, ok := a.castParams[n]; ok {
		v.typ = t
	}
	return v
}

// paramPieces is how many stored values a parameter is taken to be as long
// as; literals are counted by their length.
const (
	paramPieces     = 16
	bytesPerPiece   = 256
	identifierBytes = 64
)

func literalPieces(text string) int { return 1 + len(text)/bytesPerPiece }

func plains(values []value) []lineage.Value {
	out := make([]lineage.Value, len(values))
	for i, v := range values {
		out[i] = v.Value
	}
	return out
}

// mixedCollation is the collation of a value that was made of several: what
// needs one then fails, though not for NULL.
const mixedCollation = "?"

func mixCollations(values []value) string {
	out := ""
	for _, v := range values {
		switch {
		case v.collation == "" || v.collation == out:
		case out == "":
			out = v.collation
		default:
			return mixedCollation
		}
	}
	return out
}

// either is a value that is one of several, unchanged but for a conversion to
// their common type.
func (a *analysis) either(p lineage.Place, values ...value) value {
	if len(values) == 1 {
		return values[0]
	}
	typ := a.commonType(values)
	switch typ {
	case "":
		return a.mixed(p, values)
	case typeUnknown:
		typ = typeText // what nobody decides is text
	}
	out := value{typ: typ, plain: true, null: true}
	conv := make([]value, len(values))
	for i, v := range values {
		v = a.coerce(p, v, typ)
		conv[i] = v
		out.plain = out.plain && v.plain
		out.null = out.null && v.null
		out.loose = out.loose || v.loose
	}
	out.Value = lineage.Either(plains(conv)...)
	out.consts = constants(conv)
	out.collation = mixCollations(conv)
	out.row = eitherRow(conv)
	return out
}

// mixed is either for types whose common type analysis does not know:
// conversions between them cannot be shown total.
func (a *analysis) mixed(p lineage.Place, values []value) value {
	for _, v := range values {
		for _, w := range values {
			if v.typ == "" || w.typ == "" || v.typ == w.typ {
				continue
			}
			if c := a.userCast(v, w.typ); c != nil && c.Context == "i" {
				a.foreignCast(p, v, c, "a conversion between types")
			}
		}
	}
	return a.unproven(p, "a conversion between types", "", values...)
}

// eitherRow keeps the fields of composite values where all agree on them.
func eitherRow(values []value) []column {
	first := values[0].row
	for _, v := range values[1:] {
		if len(v.row) != len(first) {
			return nil
		}
	}
	if len(first) == 0 {
		return nil
	}
	out := make([]column, len(first))
	for i := range first {
		arms := make([]lineage.Value, len(values))
		f := column{name: first[i].name, value: value{typ: first[i].typ}}
		for j, v := range values {
			arms[j] = v.row[i].Value
			f.loose = f.loose || v.row[i].loose || v.row[i].collation != first[i].collation
			if v.row[i].typ != f.typ {
				f.typ = ""
			}
		}
		f.Value = lineage.Either(arms...)
		out[i] = f
	}
	return out
}

// computed is the result of an operation that is total.
func (a *analysis) computed(pieces int, typ string, args ...value) value {
	a.meet(args...)
	out := value{Value: lineage.Total(pieces, plains(args)...), typ: typ, consts: constants(args), collation: mixCollations(args)}
	for _, v := range args {
		out.loose = out.loose || v.loose
	}
	return out
}

// sized is computed, unless the result may be too long to be held.
func (a *analysis) sized(p lineage.Place, what string, pieces int, typ string, args ...value) value {
	v := a.computed(pieces, typ, args...)
	if len(v.Flow) > 0 && v.Large() {
		v = a.opaque(p, what+", whose result has no bound on its length", typ, args...)
		v.Pieces = lineage.Endless
	}
	return v
}

// opaque is the result of an operation that cannot be shown total.
func (a *analysis) opaque(p lineage.Place, what, typ string, args ...value) value {
	a.meet(args...)
	out := value{Value: a.ledger.Opaque(p, what, plains(args)...), typ: typ, consts: constants(args)}
	out.Pieces = usualSize(typ, args)
	return out
}

// compared is the result of a comparison other than exact equality.
func (a *analysis) compared(p lineage.Place, what string, args ...value) value {
	a.meet(args...)
	return value{Value: a.ledger.Compare(p, what, plains(args)...), typ: typeBool}
}

// known is the result of grouping by a value or testing it for NULL.
func (a *analysis) known(p lineage.Place, what string, v value) value {
	return value{Value: a.ledger.Known(p, what, v.Value, a.exact(v)), typ: typeBool}
}

// grouped is the result of putting equal values together.
func (a *analysis) grouped(p lineage.Place, what string, v value) {
	a.ledger.Grouped(p, what, v.Value, a.exact(v))
}

// exact says that equality on the value is the built-in one of a type whose
// equal values are written alike.
func (a *analysis) exact(v value) bool { return !v.loose && a.equalitySafe(v.typ) }

// condition ends an expression whose truth decides something.
func (a *analysis) condition(p lineage.Place, what string, v value) {
	if len(v.Flow) > 0 {
		a.compared(p, what, v)
	}
}

// rowOf is the composite value of a relation's columns.
func rowOf(typ string, cols []column) value {
	v := value{typ: typ, row: cols}
	parts := make([]lineage.Value, len(cols))
	for i, c := range cols {
		parts[i] = c.Value
	}
	v.Value = lineage.Total(lineage.AddSizes(parts...), parts...)
	return v
}

// notUnderstood is the error of a construct that is not understood.
func notUnderstood(what string, at int) *facts.Problem {
	return &facts.Problem{
		Code: "0A000", At: at, Message: what + " is not understood here",
		Hint: "Sallyport forwards only what it can analyse.",
	}
}

// fail keeps the first problem; analysis goes on, and its result is dropped.
func (a *analysis) fail(p *facts.Problem) {
	if a.problem == nil {
		if a.foreign > 0 {
			p.At = -1
			p.Undefined = p.Undefined && a.problem == nil
		}
		a.problem = p
	}
}

// at is a place in the client's text, or -1 inside a definition's.
func (a *analysis) at(location int32) int {
	if a.foreign > 0 || location < 0 {
		return -1
	}
	return int(location)
}

// relationObject is a relation as rules name it.
func relationObject(r *catalog.Relation) facts.Object {
	kind := "table"
	switch r.Kind {
	case catalog.RelView:
		kind = "view"
	case catalog.RelMaterializedView:
		kind = "materialized view"
	case catalog.RelSequence:
		kind = "sequence"
	case catalog.RelIndex:
		kind = "index"
	case catalog.RelComposite:
		kind = "type"
	}
	return facts.Object{Kind: kind, Name: facts.Name{Schema: r.Schema, Name: r.Name}}
}
