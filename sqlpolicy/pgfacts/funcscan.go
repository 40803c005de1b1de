package pgfacts

import (
	"slices"
	"strconv"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// rangeFunction is a function in FROM, or ROWS FROM (…).
func (a *analysis) rangeFunction(e *env, rf *pg_query.RangeFunction) *entry {
	out := &entry{amplified: true}
	calls := unnested(rf.Functions)
	for _, n := range calls {
		items := n.GetList().GetItems()
		if len(items) == 0 {
			a.fail(notUnderstood("this function in FROM", -1))
			return out
		}
		defs := rf.Coldeflist
		if len(items) > 1 && items[1].GetList() != nil && len(items[1].GetList().Items) > 0 {
			defs = items[1].GetList().Items
		}
		one := a.functionColumns(e, items[0], defs, rf)
		out.columns = append(out.columns, one.columns...)
		out.boundless = out.boundless || one.boundless
		out.rowType, out.scalar = one.rowType, one.scalar
	}
	if len(calls) != 1 || rf.Ordinality {
		out.rowType, out.scalar = "", false
	}
	if rf.Ordinality {
		out.columns = append(out.columns, column{name: "ordinality", value: value{typ: typeInt8}})
	}
	out.alias = out.aliasFrom(rf)
	a.rename(out, rf.Alias)
	return out
}

// unnested writes unnest(a, b) as the ROWS FROM (unnest(a), unnest(b)) that
// it means.
func unnested(functions []*pg_query.Node) []*pg_query.Node {
	var out []*pg_query.Node
	for _, n := range functions {
		items := n.GetList().GetItems()
		if len(items) == 0 {
			return functions
		}
		f := items[0].GetFuncCall()
		schema, name := splitName(f.GetFuncname())
		if f == nil || name != "unnest" || schema != "" && schema != "pg_catalog" || len(f.Args) < 2 ||
			f.AggOrder != nil || f.AggFilter != nil || f.Over != nil || f.AggStar || f.AggDistinct || f.FuncVariadic {
			out = append(out, n)
			continue
		}
		for _, arg := range f.Args {
			call := &pg_query.FuncCall{Funcname: f.Funcname, Args: []*pg_query.Node{arg}, Location: f.Location}
			list := &pg_query.List{Items: []*pg_query.Node{{Node: &pg_query.Node_FuncCall{FuncCall: call}}}}
			out = append(out, &pg_query.Node{Node: &pg_query.Node_List{List: list}})
		}
	}
	return out
}

func (en *entry) aliasFrom(rf *pg_query.RangeFunction) string {
	if len(rf.Functions) == 1 {
		return columnName(rf.Functions[0].GetList().GetItems()[0])
	}
	return ""
}

// functionColumns are the columns that a call brings to FROM.
func (a *analysis) functionColumns(e *env, call *pg_query.Node, defs []*pg_query.Node, rf *pg_query.RangeFunction) *entry {
	out := &entry{}
	v := a.expr(e, call)
	v.set, v.plain, v.text = false, false, nil
	out.boundless = !slices.ContainsFunc(v.from, func(c callee) bool { return c.name == "unnest" || strings.Contains(c.name, "json") })
	at := a.at(location(call))
	fn := a.declaredOutput(v, at)
	if len(v.Flow) > 0 && call.GetFuncCall() != nil {
		// How many rows come out depends on the arguments.
		a.opaque(e.place(at), "a function in FROM", v.typ, v)
	}
	part := func(name, typ string) column {
		c := v
		c.row = nil
		c.typ, c.loose = typ, true
		c.Value = lineage.Total(v.Size(), v.Value)
		return column{name: name, value: c}
	}
	if len(defs) > 0 {
		for _, d := range defs {
			def := d.GetColumnDef()
			typ, _ := a.typeName(def.GetTypeName())
			a.domainCode(e.place(-1), typ)
			out.columns = append(out.columns, part(def.GetColname(), typ))
		}
		return out
	}
	if fn != nil && len(fn.Out) > 1 {
		for i, name := range fn.Out {
			typ := ""
			if i < len(fn.OutTypes) && !isPseudo(fn.OutTypes[i]) {
				typ = fn.OutTypes[i]
			}
			if name == "" {
				name = "column" + strconv.Itoa(i+1)
			}
			out.columns = append(out.columns, part(name, typ))
		}
		return out
	}
	if cols := a.fields(v); len(cols) > 0 {
		for _, c := range cols {
			out.columns = append(out.columns, part(c.name, c.typ))
		}
		out.rowType = v.typ
		return out
	}
	if v.typ == typeRecord || v.typ == "" && (fn == nil || isPseudo(fn.Returns)) {
		a.fail(notUnderstood("a function in FROM without a list of its columns", at))
		return out
	}
	name := columnName(call)
	if fn != nil && len(fn.Out) == 1 && fn.Out[0] != "" {
		name = fn.Out[0]
	} else if rf.Alias != nil {
		name = rf.Alias.Aliasname // a scalar's column goes by the alias
	}
	c := part(name, v.typ)
	c.loose = v.loose
	out.columns = []column{c}
	out.scalar = true
	return out
}

// declaredOutput is the function that a call means; nil for what is not a
// call of a function with declared output columns. Where several are meant
// that do not agree on their columns, the call is not understood.
func (a *analysis) declaredOutput(v value, at int) *catalog.Function {
	var out *catalog.Function
	for i, c := range v.from {
		if c.fn == nil {
			continue
		}
		if i > 0 && out != nil && (!slices.Equal(out.Out, c.fn.Out) || out.Returns != c.fn.Returns) {
			a.fail(notUnderstood("this function in FROM, which may be one of several,", at))
			return nil
		}
		out = c.fn
	}
	return out
}

// tableFunction is XMLTABLE.
func (a *analysis) tableFunction(e *env, t *pg_query.RangeTableFunc) *entry {
	p := e.place(a.at(t.Location))
	args := []value{a.expr(e, t.Docexpr), a.expr(e, t.Rowexpr)}
	for _, n := range t.Namespaces {
		args = append(args, a.expr(e, n.GetResTarget().GetVal()))
	}
	var cols []column
	for _, n := range t.Columns {
		c := n.GetRangeTableFuncCol()
		for _, x := range []*pg_query.Node{c.GetColexpr(), c.GetColdefexpr()} {
			if x != nil {
				args = append(args, a.expr(e, x))
			}
		}
		typ := typeInt4
		if !c.GetForOrdinality() {
			typ, _ = a.typeName(c.GetTypeName())
			a.domainCode(p, typ)
		}
		cols = append(cols, column{name: c.GetColname(), value: value{typ: typ}})
	}
	return a.extracted(p, "XMLTABLE", args, cols, t.Alias)
}

// jsonTable is JSON_TABLE.
func (a *analysis) jsonTable(e *env, t *pg_query.JsonTable) *entry {
	p := e.place(a.at(t.Location))
	args := []value{a.expr(e, t.ContextItem.GetRawExpr())}
	for _, n := range t.Passing {
		args = append(args, a.parts(e, n.ProtoReflect(), false)...)
	}
	cols, more := a.jsonTableColumns(e, t.Columns)
	return a.extracted(p, "JSON_TABLE", append(args, more...), cols, t.Alias)
}

func (a *analysis) jsonTableColumns(e *env, list []*pg_query.Node) (cols []column, args []value) {
	for _, n := range list {
		c := n.GetJsonTableColumn()
		if c == nil {
			a.fail(notUnderstood("this column of JSON_TABLE", -1))
			return nil, nil
		}
		for _, b := range []*pg_query.JsonBehavior{c.OnEmpty, c.OnError} {
			if b.GetExpr() != nil {
				args = append(args, a.expr(e, b.Expr))
			}
		}
		if len(c.Columns) > 0 {
			more, moreArgs := a.jsonTableColumns(e, c.Columns)
			cols, args = append(cols, more...), append(args, moreArgs...)
			continue
		}
		typ := typeInt4
		if c.TypeName != nil {
			typ, _ = a.typeName(c.TypeName)
			a.domainCode(e.place(a.at(c.Location)), typ)
		}
		cols = append(cols, column{name: c.Name, value: value{typ: typ}})
	}
	return cols, args
}

// extracted is a table made of a document: every column depends on all that
// went in.
func (a *analysis) extracted(p lineage.Place, what string, args []value, cols []column, alias *pg_query.Alias) *entry {
	v := a.unproven(p, what, "", args...)
	for i := range cols {
		cols[i].Value = v.Value
		cols[i].consts = v.consts
		cols[i].loose = true
	}
	out := &entry{columns: cols, amplified: true, alias: "xmltable"}
	if what == "JSON_TABLE" {
		out.alias = "json_table"
	}
	a.rename(out, alias)
	return out
}
