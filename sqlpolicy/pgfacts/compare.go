package pgfacts

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// operator analyses everything that the grammar writes as an operator.
func (a *analysis) operator(e *env, x *pg_query.A_Expr) value {
	schema, op := splitName(x.Name)
	at := a.at(x.Location)
	d := e.deciding()
	switch x.Kind {
	case pg_query.A_Expr_Kind_AEXPR_IN:
		return a.in(d, x, op, at)
	case pg_query.A_Expr_Kind_AEXPR_OP_ANY, pg_query.A_Expr_Kind_AEXPR_OP_ALL:
		l, r := a.expr(d, x.Lexpr), a.expr(d, x.Rexpr)
		return a.compare(d.place(at), schema, op, l, a.anyElement(l, r))
	case pg_query.A_Expr_Kind_AEXPR_DISTINCT, pg_query.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		return a.distinctFrom(d.place(at), a.expr(d, x.Lexpr), a.expr(d, x.Rexpr))
	case pg_query.A_Expr_Kind_AEXPR_NULLIF:
		l := a.expr(e, x.Lexpr)
		a.compare(d.place(at), "", "=", l, a.expr(d, x.Rexpr))
		if l.typ == typeUnknown {
			l.typ = typeText
		}
		return a.computed(l.Size(), l.typ, l)
	case pg_query.A_Expr_Kind_AEXPR_LIKE, pg_query.A_Expr_Kind_AEXPR_ILIKE, pg_query.A_Expr_Kind_AEXPR_SIMILAR:
		return a.compare(d.place(at), schema, op, a.expr(d, x.Lexpr), a.expr(d, x.Rexpr))
	case pg_query.A_Expr_Kind_AEXPR_BETWEEN, pg_query.A_Expr_Kind_AEXPR_NOT_BETWEEN,
		pg_query.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg_query.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		l := a.expr(d, x.Lexpr)
		noisy := l.Noisy
		ops := []string{">=", "<="}
		if x.Kind == pg_query.A_Expr_Kind_AEXPR_NOT_BETWEEN || x.Kind == pg_query.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM {
			ops = []string{">", "<"}
		}
		for _, bound := range a.exprList(d, x.Rexpr.GetList().GetItems()) {
			for _, op := range ops {
				noisy = a.compare(d.place(at), "", op, l, bound).Noisy || noisy
			}
		}
		return value{typ: typeBool, Value: lineage.Value{Noisy: noisy}}
	case pg_query.A_Expr_Kind_AEXPR_OP:
		return a.plainOperator(e, x, schema, op, at)
	}
	a.fail(notUnderstood("this operator", at))
	return value{}
}

// plainOperator: operators that yield a boolean compare, the others compute.
func (a *analysis) plainOperator(e *env, x *pg_query.A_Expr, schema, op string, at int) value {
	if x.Lexpr != nil && isComparisonName(op) {
		d := e.deciding()
		return a.compare(d.place(at), schema, op, a.expr(d, x.Lexpr), a.expr(d, x.Rexpr))
	}
	if !slices.ContainsFunc(a.view.OperatorsNamed(schema, op), func(o *catalog.Operator) bool { return o.Result != typeBool }) {
		e = e.deciding()
	}
	var args []value
	if x.Lexpr != nil {
		args = append(args, a.expr(e, x.Lexpr))
	}
	args = append(args, a.expr(e, x.Rexpr))
	ops := a.operators(schema, op, args, at)
	if len(ops) > 0 && !slices.ContainsFunc(ops, func(o *catalog.Operator) bool { return o.Result != typeBool }) {
		return a.compareBy(e.deciding().place(at), op, ops, args...)
	}
	return a.callAll(e.place(at), "the operator "+op, operatorCalls(a, ops), args)
}

func isComparisonName(op string) bool {
	switch op {
	case "=", "<>", "<", ">", "<=", ">=":
		return true
	}
	return false
}

// in is x IN (list): each member is compared as by =.
func (a *analysis) in(d *env, x *pg_query.A_Expr, op string, at int) value {
	l := a.expr(d, x.Lexpr)
	out := value{typ: typeBool, Value: lineage.Value{Noisy: l.Noisy}}
	list := x.Rexpr.GetList().GetItems()
	if list == nil {
		a.fail(notUnderstood("this IN", at))
	}
	members := make([]value, len(list))
	for i, n := range list {
		members[i] = a.expr(d, n)
	}
	for _, g := range alike(members) {
		out.Noisy = a.compare(d.place(at), "", op, l, g).Noisy || out.Noisy
	}
	return out
}

// alike puts plain members of one type together: long lists of constants are
// compared once.
func alike(members []value) []value {
	var out []value
	at := map[string]int{}
	var parts [][]value
	for _, m := range members {
		if !m.plain || m.null || len(m.row) > 0 {
			out, parts = append(out, m), append(parts, nil)
			continue
		}
		i, ok := at[m.typ]
		if !ok {
			i = len(out)
			at[m.typ] = i
			out, parts = append(out, m), append(parts, nil)
		}
		parts[i] = append(parts[i], m)
	}
	for i, p := range parts {
		if len(p) > 1 {
			out[i].consts = constants(p)
			out[i].text = nil
			for _, m := range p {
				if m.text != nil && (out[i].text == nil || !plainAs(m, "pg_catalog.date")) {
					out[i].text = m.text // the member least like a constant of its type
				}
			}
		}
	}
	return out
}

// anyElement is an array's element as = ANY (array) compares it.
func (a *analysis) anyElement(l, arr value) value {
	out := arr
	out.row, out.text = nil, nil
	switch {
	case arr.typ == typeUnknown:
	case a.element(arr.typ) != "":
		out.typ = a.element(arr.typ)
	default:
		out.typ = ""
	}
	return out
}

func (a *analysis) distinctFrom(p lineage.Place, l, r value) value {
	switch {
	case l.null:
		return a.known(p, "IS NULL", r)
	case r.null:
		return a.known(p, "IS NULL", l)
	}
	return a.compare(p, "", "=", l, r)
}

func (a *analysis) nullTest(e *env, t *pg_query.NullTest) value {
	d := e.deciding()
	v := a.expr(d, t.Arg)
	if len(v.Flow) == 0 {
		return value{typ: typeBool, Value: lineage.Value{Noisy: v.Noisy}}
	}
	out := value{typ: typeBool}
	// Nullness is kept by every renaming, whatever the type's equality.
	out.Value = a.ledger.Known(d.place(a.at(t.Location)), "IS NULL", v.Value, true)
	return out
}

// compare is any comparison of two values by an operator's name.
func (a *analysis) compare(p lineage.Place, schema, op string, l, r value) value {
	if l.row != nil && r.row != nil && len(l.row) == len(r.row) {
		if ops := a.operators(schema, op, []value{l, r}, p.At); !userOperators(ops) {
			out := value{typ: typeBool}
			for i := range l.row {
				out.Noisy = a.compare(p, schema, op, l.row[i].value, r.row[i].value).Noisy || out.Noisy
			}
			return out
		}
	}
	if op == "=" || op == "<>" {
		return a.equalBy(p, schema, op, "the operator "+op, l, r)
	}
	return a.compareBy(p, op, a.operators(schema, op, []value{l, r}, p.At), l, r)
}

// equal is an equality that the grammar implies: USING, UNION, a unique
// constraint.
func (a *analysis) equal(p lineage.Place, op, what string, l, r value) value {
	return a.equalBy(p, "", op, what, l, r)
}

func (a *analysis) equalBy(p lineage.Place, schema, op, what string, l, r value) value {
	if l.typ == typeUnknown {
		l = a.coerce(p, l, a.literalType(r))
	}
	if r.typ == typeUnknown {
		r = a.coerce(p, r, a.literalType(l))
	}
	ops := a.operators(schema, op, []value{l, r}, p.At)
	if userOperators(ops) || len(ops) == 0 || !a.exactSides(l, r) {
		return a.compareBy(p, op, ops, l, r)
	}
	a.meet(l, r)
	return value{Value: a.ledger.Equal(p, what, l.Value, r.Value), typ: typeBool}
}

// literalType is the type that an undecided literal takes beside a value.
func (a *analysis) literalType(v value) string {
	if v.typ == typeUnknown {
		return typeText
	}
	return a.base(v.typ)
}

// exactSides says that equality of two values is the equality of what is
// written: bare columns and constants of one safe type.
func (a *analysis) exactSides(l, r value) bool {
	if a.family(l.typ) != a.family(r.typ) || !a.exact(l) || !a.exact(r) {
		return false
	}
	side := func(v value) bool { return v.Flow.Bare() || len(v.Flow) == 0 && (v.plain || v.null) }
	return side(l) && side(r) || len(l.Flow)+len(r.Flow) == 0
}

func userOperators(ops []*catalog.Operator) bool {
	return slices.ContainsFunc(ops, func(o *catalog.Operator) bool { return o.Schema != "pg_catalog" })
}

// compareBy compares by whichever of the operators it turns out to be.
func (a *analysis) compareBy(p lineage.Place, op string, ops []*catalog.Operator, args ...value) value {
	what := "the operator " + op
	out := a.compared(p, what, args...)
	for _, o := range ops {
		a.operandCasts(p, o, args)
		if o.Schema == "pg_catalog" {
			out.Noisy = out.Noisy || !isComparisonName(op)
			continue
		}
		out.Noisy = true
		a.called(o.Function)
		if !a.pureOperator(o) {
			a.ledger.Code(p, o.Function, what, plains(args)...)
		}
	}
	// Operands may be converted on the way to the operator's types.
	if len(ops) != 1 || len(args) != 2 || a.family(args[0].typ) != a.family(args[1].typ) {
		out.Noisy = true
	}
	return out
}

// operandCasts records the code that converts operands to an operator's types.
func (a *analysis) operandCasts(p lineage.Place, o *catalog.Operator, args []value) {
	types := []string{o.Left, o.Right}
	for i, v := range args {
		to := types[i+len(types)-len(args)]
		if c := a.userCast(v, to); c != nil && !isPseudo(to) {
			a.foreignCast(p, v, c, "the cast to "+printable(to))
		}
	}
}

func (a *analysis) pureOperator(o *catalog.Operator) bool {
	schema, name := splitType(o.Function)
	fns := a.view.FunctionsNamed(schema, name)
	return len(fns) > 0 && !slices.ContainsFunc(fns, func(f *catalog.Function) bool { return !pureFunction(f) })
}

// operators resolves an operator's name for operands, as oper() does; it
// fails the analysis where there is none.
func (a *analysis) operators(schema, op string, args []value, at int) []*catalog.Operator {
	if op == "!=" {
		op = "<>"
	}
	all := a.view.OperatorsNamed(schema, op)
	types := make([]string, len(args))
	for i, v := range args {
		types[i] = v.typ
	}
	var cands []*candidate
	for _, o := range all {
		switch {
		case len(args) == 1 && o.Left == "":
			cands = append(cands, &candidate{op: o, schema: o.Schema, args: []string{o.Right}})
		case len(args) == 2 && o.Left != "":
			cands = append(cands, &candidate{op: o, schema: o.Schema, args: []string{o.Left, o.Right}})
		}
	}
	picked := a.pick(cands, types, true)
	if len(picked) == 0 && len(args) == 2 && isRowType(a, types[0]) && isRowType(a, types[1]) {
		return nil // record_eq and its kin
	}
	if len(picked) == 0 && a.problem == nil {
		a.undefinedOperator(op, args, at)
	}
	out := make([]*catalog.Operator, len(picked))
	for i, c := range picked {
		out[i] = c.op
	}
	return out
}

func isRowType(a *analysis, typ string) bool {
	if typ == typeRecord {
		return true
	}
	t := a.typeOf(a.base(typ))
	return t != nil && t.Kind == "c"
}

func operatorCalls(a *analysis, ops []*catalog.Operator) []callee {
	var out []callee
	for _, o := range ops {
		args := []string{o.Left, o.Right}
		if o.Left == "" {
			args = args[1:]
		}
		schema, name := splitType(o.Function)
		out = append(out, callee{schema: schema, name: name, args: args, returns: o.Result, operator: true, fn: a.functionOf(schema, name, args)})
	}
	return out
}

// functionOf finds a function by its exact signature, or nil.
func (a *analysis) functionOf(schema, name string, args []string) *catalog.Function {
	for _, f := range a.view.FunctionsNamed(schema, name) {
		if slices.Equal(f.Args, args) {
			return f
		}
	}
	return nil
}
