package pgfacts

import (
	"slices"
	"strconv"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// boolean is AND, OR and NOT. A hidden boolean among the arguments decides
// which others are evaluated, so each argument counts as a condition.
func (a *analysis) boolean(e *env, b *pg_query.BoolExpr) value {
	d := e.deciding()
	out := value{typ: typeBool}
	for _, n := range b.Args {
		v := a.expr(d, n)
		a.condition(d.place(a.at(b.Location)), "a condition", v)
		out.Noisy = out.Noisy || v.Noisy
	}
	return out
}

// caseExpr: the conditions compare, the branches pass on.
func (a *analysis) caseExpr(e *env, c *pg_query.CaseExpr) value {
	d := e.deciding()
	p := d.place(a.at(c.Location))
	var subject value
	if c.Arg != nil {
		subject = a.expr(d, c.Arg)
		if subject.typ == typeUnknown {
			subject.typ = typeText
		}
	}
	branches := []value{}
	loud := subject.Noisy
	for _, n := range c.Args {
		w := n.GetCaseWhen()
		cond := a.expr(d, w.GetExpr())
		if c.Arg != nil {
			cond = a.compare(p, "", "=", subject, cond)
		}
		a.condition(p, "CASE", cond)
		loud = loud || cond.Noisy
		branches = append(branches, a.expr(e, w.GetResult()))
	}
	if c.Defresult != nil {
		branches = append(branches, a.expr(e, c.Defresult))
	} else {
		branches = append(branches, value{typ: typeUnknown, plain: true, fresh: true, null: true})
	}
	out := a.branches(e.place(a.at(c.Location)), branches)
	out.Noisy = out.Noisy || loud
	return out
}

// branches is the value of an expression that yields one of several.
func (a *analysis) branches(p lineage.Place, values []value) value {
	out := a.either(p, values...)
	out.Flow = out.Flow.Computed()
	out.text, out.fresh = nil, false
	if out.typ == typeUnknown {
		out.typ = typeText
	}
	for i := range out.row {
		out.row[i].Flow = out.row[i].Flow.Computed()
	}
	for _, v := range values {
		out.set = out.set || v.set
	}
	return out
}

// coalesce: whether a later argument is evaluated depends on whether the
// earlier ones are NULL, which shows if it is not quiet.
func (a *analysis) coalesce(e *env, c *pg_query.CoalesceExpr) value {
	args := a.exprList(e, c.Args)
	d := e.deciding()
	for i, v := range args {
		if len(v.Flow) > 0 && noisy(args[i+1:]) {
			a.known(d.place(a.at(c.Location)), "COALESCE", v)
		}
	}
	if len(args) == 0 {
		return value{}
	}
	return a.branches(e.place(a.at(c.Location)), args)
}

// minMax is GREATEST and LEAST.
func (a *analysis) minMax(e *env, m *pg_query.MinMaxExpr) value {
	args := a.exprList(e, m.Args)
	if len(args) == 0 {
		return value{}
	}
	p := e.place(a.at(m.Location))
	out := a.branches(p, args)
	if !a.sortable(out.typ) && out.typ != typeUnknown || mixCollations(args) == mixedCollation || out.loose {
		return a.unproven(p, "GREATEST or LEAST", out.typ, args...)
	}
	out.plain = false
	return out
}

// rowExpr is ROW(…).
func (a *analysis) rowExpr(e *env, r *pg_query.RowExpr) value {
	args := a.exprList(e, r.Args)
	cols := make([]column, len(args))
	for i, v := range args {
		cols[i] = column{name: "f" + strconv.Itoa(i+1), value: v}
	}
	out := rowOf(typeRecord, cols)
	out.consts = constants(args)
	out.Noisy = noisy(args)
	out.plain = !slices.ContainsFunc(args, func(v value) bool { return !v.plain })
	return out
}

// arrayExpr is ARRAY[…].
func (a *analysis) arrayExpr(e *env, x *pg_query.A_ArrayExpr) value {
	args := a.exprList(e, x.Elements)
	p := e.place(a.at(x.Location))
	typ := a.commonType(args)
	out := value{plain: true}
	conv := make([]value, len(args))
	nested := false
	for i, v := range args {
		if typ != typeUnknown {
			v = a.coerce(p, v, typ)
		}
		conv[i] = v
		out.plain = out.plain && v.plain
		nested = nested || a.element(v.typ) != ""
	}
	plain := out.plain
	switch {
	case len(args) == 0:
		return value{typ: typeUnknown, plain: true}
	case nested:
		// Inner arrays must be of one length.
		out = a.unproven(p, "a nested array", typ, conv...)
	default:
		t := typ
		if t == typeUnknown {
			t = typeText
		}
		out = a.sized(p, "an array", lineage.AddSizes(plains(conv)...), a.arrayOf(t), conv...)
	}
	out.plain = plain
	return out
}

// indirect is what follows an expression: .field, [subscript], .*.
func (a *analysis) indirect(e *env, v value, list []*pg_query.Node, at int) value {
	p := e.place(-1)
	for _, n := range list {
		switch {
		case n.GetString_() != nil:
			f, ok := a.fieldNamed(v, n.GetString_().Sval)
			if !ok {
				f, ok = a.callOnRow(e, v, n.GetString_().Sval, -1)
			}
			if !ok {
				a.undefinedField(v, n.GetString_().Sval, at)
				return value{}
			}
			v = f
		case n.GetAIndices() != nil:
			v = a.subscript(e, p, v, n.GetAIndices())
		default:
			a.fail(notUnderstood("this indirection", -1))
			return value{}
		}
	}
	return v
}

// subscript takes an element or slice of an array, or a part of a jsonb.
func (a *analysis) subscript(e *env, p lineage.Place, v value, x *pg_query.A_Indices) value {
	hidden := false
	args := []value{v}
	skipped := []value{}
	for _, n := range []*pg_query.Node{x.Lidx, x.Uidx} {
		if n == nil {
			continue
		}
		i := a.expr(e, n)
		hidden = hidden || len(i.Flow) > 0
		args, skipped = append(args, i), append(skipped, i)
	}
	if len(v.Flow) > 0 && noisy(skipped) {
		// They are not evaluated where the container is NULL.
		a.known(e.deciding().place(p.At), "a subscript", v)
	}
	if a.base(v.typ) == "pg_catalog.jsonb" && !hidden {
		return a.computed(v.Size(), v.typ, args...)
	}
	el := a.element(v.typ)
	if el == "" || hidden {
		return a.unproven(p, "a subscript", el, args...)
	}
	if x.IsSlice {
		el = v.typ
	}
	return a.computed(v.Size(), el, args...)
}

// fieldNamed is a field of a composite value.
func (a *analysis) fieldNamed(v value, name string) (value, bool) {
	for _, c := range v.row {
		if c.name == name {
			return c.value, true
		}
	}
	if len(v.row) > 0 {
		return value{}, false
	}
	for _, c := range a.fields(v) {
		if c.name == name {
			return c.value, true
		}
	}
	return value{}, false
}

// fields are the fields of a composite value; of one whose parts are not
// followed, each depends on all of it.
func (a *analysis) fields(v value) []column {
	if len(v.row) > 0 {
		return v.row
	}
	r := a.rowType(v.typ)
	if r == nil {
		return a.outputs(v)
	}
	out := make([]column, len(r.Columns))
	for i, c := range r.Columns {
		out[i] = column{name: c.Name, value: value{typ: c.Type, loose: true, Value: lineage.Total(v.Size(), v.Value), set: v.set, consts: v.consts}}
	}
	return out
}

// outputs are the fields of a record that a function with output parameters
// has made; nil where it may come from functions that do not agree on them.
func (a *analysis) outputs(v value) []column {
	var fn *catalog.Function
	for _, c := range v.from {
		if c.fn == nil || fn != nil && (!slices.Equal(fn.Out, c.fn.Out) || !slices.Equal(fn.OutTypes, c.fn.OutTypes)) {
			return nil
		}
		fn = c.fn
	}
	if v.typ != typeRecord || fn == nil || len(fn.Out) < 2 {
		return nil
	}
	out := make([]column, len(fn.Out))
	for i, name := range fn.Out {
		out[i] = column{name: name, value: value{loose: true, Value: lineage.Total(v.Size(), v.Value), set: v.set, consts: v.consts}}
		if i < len(fn.OutTypes) && !isPseudo(fn.OutTypes[i]) {
			out[i].typ = fn.OutTypes[i]
		}
	}
	return out
}

// rowType is the relation that a composite type's fields are listed in.
func (a *analysis) rowType(typ string) *catalog.Relation {
	t := a.typeOf(a.base(typ))
	if t == nil || t.Kind != "c" {
		return nil
	}
	return a.view.RelationByOID(t.Relation)
}

// sublink is a subquery in an expression.
func (a *analysis) sublink(e *env, s *pg_query.SubLink) value {
	sub := e.inner()
	switch s.SubLinkType {
	case pg_query.SubLinkType_EXISTS_SUBLINK:
		a.subselect(sub.deciding(), s.Subselect)
		return value{typ: typeBool, Value: lineage.Value{Noisy: true}}
	case pg_query.SubLinkType_EXPR_SUBLINK:
		body := a.subselect(sub, s.Subselect)
		if len(body.columns) == 1 {
			v := derived(body.columns)[0].value
			v.plain = false
			v.Noisy = true // more than one row is an error
			return v
		}
		v := rowOf(typeRecord, derived(body.columns))
		v.Noisy = true
		return v
	case pg_query.SubLinkType_ARRAY_SUBLINK:
		body := a.subselect(sub, s.Subselect)
		return a.arraySublink(e, s, body)
	case pg_query.SubLinkType_ANY_SUBLINK, pg_query.SubLinkType_ALL_SUBLINK:
		return a.anySublink(e.deciding(), s)
	}
	a.fail(notUnderstood("this subquery", a.at(s.Location)))
	return value{}
}

func (a *analysis) arraySublink(e *env, s *pg_query.SubLink, body *entry) value {
	if len(body.columns) != 1 {
		a.fail(notUnderstood("a subquery of several columns", a.at(s.Location)))
		return value{}
	}
	p := e.place(a.at(s.Location))
	v := derived(body.columns)[0].value
	if a.element(v.typ) != "" {
		return a.unproven(p, "a nested array", v.typ, v)
	}
	size := v.Size()
	if body.amplified {
		size = lineage.Endless
	}
	out := a.sized(p, "an array", size, a.arrayOf(v.typ), v)
	out.Noisy = true
	return out
}

// anySublink is IN (SELECT …), op ANY (SELECT …) and op ALL (SELECT …).
func (a *analysis) anySublink(d *env, s *pg_query.SubLink) value {
	schema, op := splitName(s.OperName)
	if op == "" {
		op = "="
	}
	l := a.expr(d, s.Testexpr)
	body := a.subselect(d.inner(), s.Subselect)
	cols := derived(body.columns)
	left := []value{l}
	if s.Testexpr.GetRowExpr() != nil {
		left = columnValues(l.row)
	}
	if len(left) != len(cols) {
		a.fail(notUnderstood("a subquery with another number of columns", a.at(s.Location)))
		return value{}
	}
	out := value{typ: typeBool, Value: lineage.Value{Noisy: true}}
	for i := range cols {
		a.compare(d.place(a.at(s.Location)), schema, op, left[i], cols[i].value)
	}
	return out
}
