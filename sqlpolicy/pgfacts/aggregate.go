package pgfacts

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// aggregate analyses a call of an aggregate or window function.
func (a *analysis) aggregate(e *env, f *pg_query.FuncCall, callees []callee, args []value, at int) value {
	d := e.deciding()
	p := e.place(at)
	_, name := splitName(f.Funcname)
	e.level.presorted = e.level.presorted || f.AggDistinct || len(f.AggOrder) > 0
	for _, n := range f.AggOrder {
		by := n.GetSortBy()
		a.sorted(d.place(at), by, a.expr(d, by.GetNode()))
	}
	if f.AggDistinct {
		for _, v := range args {
			a.grouped(d.place(at), name+"(DISTINCT)", v)
		}
	}
	if slices.ContainsFunc(callees, func(c callee) bool { return c.schema != "pg_catalog" }) {
		return a.callAll(p, "the aggregate "+name+"()", callees, args)
	}
	switch {
	case name == "count":
		v := value{typ: typeInt8}
		for _, x := range args {
			v.Noisy = v.Noisy || x.Noisy
			if len(x.Flow) > 0 && !f.AggDistinct {
				v.Value = a.ledger.Known(d.place(at), "count()", x.Value, true)
			}
		}
		return v
	case len(callees) == 1:
		if v, ok := a.totalAggregate(e, f, callees[0], args, at); ok {
			return v
		}
	}
	return a.callAll(p, "the aggregate "+name+"()", callees, args)
}

// totalAggregate: built-in aggregates and window functions that cannot fail
// over values of the types they are called with.
func (a *analysis) totalAggregate(e *env, f *pg_query.FuncCall, c callee, args []value, at int) (value, bool) {
	p := e.place(at)
	conv := make([]value, len(args))
	for i, v := range args {
		conv[i] = v
		if i < len(c.args) {
			conv[i] = a.coerce(p, v, c.args[i])
		}
	}
	returns := a.returnType(c, conv)
	many := e.level.amplified
	gather := func(growth int) value {
		size := lineage.Scale(lineage.AddSizes(plains(conv)...), growth)
		if many && hidden(conv) {
			size = lineage.Endless
		} else if e.level.boundless {
			size, a.boundless = lineage.Endless, true
		}
		return a.sized(p, "the aggregate "+c.name+"()", size, returns, conv...)
	}
	switch c.name {
	case "min", "max", "any_value", "bool_and", "bool_or", "every":
		if c.name[0] == 'm' && (!a.sortable(conv[0].typ) || mixCollations(conv) == mixedCollation || conv[0].loose) {
			return value{}, false
		}
		return a.computed(conv[0].Size(), returns, conv...), true
	case "sum", "avg":
		switch c.args[0] {
		case "pg_catalog.int2", typeInt4, typeInt8:
			return a.computed(1, returns, conv...), true
		}
	case "row_number", "rank", "dense_rank", "percent_rank", "cume_dist":
		return value{typ: returns}, len(conv) == 0
	case "first_value", "last_value", "lag", "lead", "nth_value", "ntile":
		return a.windowValue(c, returns, conv)
	case "array_agg":
		if a.element(conv[0].typ) == "" && conv[0].typ != "" {
			return gather(1), true
		}
	case "string_agg":
		if c.args[0] == typeText {
			return gather(1), true
		}
	case "json_agg", "jsonb_agg":
		if a.jsonable(conv[0], c.name == "jsonb_agg") {
			return gather(jsonGrowth), true
		}
	case "json_object_agg", "jsonb_object_agg":
		if len(conv) == 2 && a.jsonable(conv[1], c.name == "jsonb_object_agg") {
			a.jsonKey(p, conv[0])
			v := gather(jsonGrowth)
			v.Noisy = true
			return v, true
		}
	}
	return value{}, false
}

// hidden says that some value depends on columns.
func hidden(values []value) bool {
	return slices.ContainsFunc(values, func(v value) bool { return len(v.Flow) > 0 })
}

// windowValue: the value comes from another row; how far off must not depend
// on hidden values.
func (a *analysis) windowValue(c callee, returns string, args []value) (value, bool) {
	if c.name == "ntile" {
		return value{}, false
	}
	for _, v := range args[1:] {
		if len(v.Flow) > 0 && (c.name == "nth_value" || v.typ == typeInt4) {
			return value{}, false
		}
	}
	if len(args) == 3 && args[2].typ != typeUnknown && a.family(args[2].typ) != a.family(args[0].typ) {
		return value{}, false // the default and the value are converted to one type
	}
	v := a.computed(args[0].Size(), returns, args...)
	v.Noisy = v.Noisy || c.name == "nth_value"
	return v, true
}

// orderedSet analyses aggregates over WITHIN GROUP (ORDER BY …).
func (a *analysis) orderedSet(e *env, f *pg_query.FuncCall, schema, name string, direct []value) value {
	at := a.at(f.Location)
	p := e.place(at)
	e.level.presorted = true
	if f.AggFilter != nil {
		d := e.deciding()
		a.condition(d.place(at), "FILTER", a.expr(d, f.AggFilter))
	}
	var sorted []value
	for _, n := range f.AggOrder {
		v := a.expr(e, n.GetSortBy().GetNode())
		a.userOrder(p, n.GetSortBy(), v)
		sorted = append(sorted, v)
	}
	all := append(slices.Clone(direct), sorted...)
	callees := a.resolveCall(schema, name, all, false, f.FuncVariadic)
	for _, c := range callees {
		a.called(c.String())
	}
	if len(callees) == 0 {
		a.undefinedFunction(schema, name, all, at, false)
		return value{}
	}
	if len(callees) != 1 || callees[0].schema != "pg_catalog" {
		return a.callAll(p, "the aggregate "+name+"()", callees, all)
	}
	c := callees[0]
	returns := a.returnType(c, all)
	switch name {
	case "rank", "dense_rank", "percent_rank", "cume_dist":
		a.compared(e.deciding().place(at), "the aggregate "+name+"()", all...)
		return value{typ: returns, Value: lineage.Value{Noisy: true}}
	case "percentile_cont", "percentile_disc", "mode":
		if len(sorted) == 1 && !hidden(direct) && mixCollations(sorted) != mixedCollation && !sorted[0].loose && a.sortable(sorted[0].typ) && a.element(returns) == "" {
			v := a.coerce(p, sorted[0], c.args[len(c.args)-1])
			out := a.computed(v.Size(), returns, v)
			out.Noisy = true // a percentile may be out of range
			return out
		}
	}
	return a.unproven(p, "the aggregate "+name+"()", returns, all...)
}

// window analyses a window's definition. Partitions are a comparison as the
// order is: the server sorts by them, and rows leave a window in that order.
//
// Source: create_one_window_path in postgres/src/backend/optimizer/plan/planner.c.
func (a *analysis) window(d *env, w *pg_query.WindowDef) {
	if w == nil {
		return
	}
	p := d.place(a.at(w.Location))
	for _, n := range w.PartitionClause {
		a.condition(p, "PARTITION BY", a.expr(d, n))
	}
	for _, n := range w.OrderClause {
		by := n.GetSortBy()
		v := a.expr(d, by.GetNode())
		a.sorted(p, by, v)
		if w.StartOffset != nil || w.EndOffset != nil {
			a.unproven(p, "a window frame", "", v)
		}
	}
	for _, n := range []*pg_query.Node{w.StartOffset, w.EndOffset} {
		if n != nil {
			a.condition(p, "a window frame", a.expr(d, n))
		}
	}
}

// jsonAggregate is JSON_OBJECTAGG and JSON_ARRAYAGG.
func (a *analysis) jsonAggregate(e *env, n *pg_query.Node) value {
	c := n.GetJsonObjectAgg().GetConstructor()
	if c == nil {
		c = n.GetJsonArrayAgg().GetConstructor()
	}
	if c == nil {
		a.fail(&facts.Problem{Code: "0A000", At: -1, Message: "this aggregate is not understood here"})
		return value{}
	}
	d := e.deciding()
	if c.AggFilter != nil {
		a.condition(d.place(a.at(c.Location)), "FILTER", a.expr(d, c.AggFilter))
	}
	for _, o := range c.AggOrder {
		by := o.GetSortBy()
		a.sorted(d.place(a.at(c.Location)), by, a.expr(d, by.GetNode()))
	}
	a.window(d, c.Over)
	var args []value
	if o := n.GetJsonObjectAgg(); o != nil {
		args = append(args, a.expr(e, o.Arg.GetKey()), a.expr(e, o.Arg.GetValue().GetRawExpr()))
	} else {
		args = append(args, a.expr(e, n.GetJsonArrayAgg().GetArg().GetRawExpr()))
	}
	return a.unproven(e.place(a.at(c.Location)), "an SQL/JSON aggregate", "", args...)
}
