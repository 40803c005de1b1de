package pgfacts

import (
	"slices"
	"strconv"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// expr analyses an expression. Whatever is not in its list is not understood.
func (a *analysis) expr(e *env, n *pg_query.Node) value {
	if n == nil || n.Node == nil || a.problem != nil {
		return value{}
	}
	switch x := n.Node.(type) {
	case *pg_query.Node_ColumnRef:
		return a.columnRef(e, x.ColumnRef)
	case *pg_query.Node_AConst:
		return a.constant(x.AConst)
	case *pg_query.Node_ParamRef:
		if x.ParamRef.Number < 1 || x.ParamRef.Number > 65535 {
			a.fail(notUnderstood("this parameter", a.at(x.ParamRef.Location)))
			return value{}
		}
		return a.parameter(int(x.ParamRef.Number))
	case *pg_query.Node_TypeCast:
		return a.typeCast(e, x.TypeCast)
	case *pg_query.Node_CollateClause:
		v := a.expr(e, x.CollateClause.Arg)
		v.loose = true
		if v.typ == typeUnknown {
			v.typ = typeText
		}
		return v
	case *pg_query.Node_AExpr:
		return a.operator(e, x.AExpr)
	case *pg_query.Node_BoolExpr:
		return a.boolean(e, x.BoolExpr)
	case *pg_query.Node_NullTest:
		return a.nullTest(e, x.NullTest)
	case *pg_query.Node_BooleanTest:
		d := e.deciding()
		v := a.expr(d, x.BooleanTest.Arg)
		a.condition(d.place(a.at(x.BooleanTest.Location)), "a condition", v)
		return value{Value: lineage.Value{Noisy: v.Noisy}, typ: typeBool}
	case *pg_query.Node_SubLink:
		return a.sublink(e, x.SubLink)
	case *pg_query.Node_FuncCall:
		return a.funcCall(e, x.FuncCall)
	case *pg_query.Node_CaseExpr:
		return a.caseExpr(e, x.CaseExpr)
	case *pg_query.Node_CoalesceExpr:
		return a.coalesce(e, x.CoalesceExpr)
	case *pg_query.Node_MinMaxExpr:
		return a.minMax(e, x.MinMaxExpr)
	case *pg_query.Node_RowExpr:
		return a.rowExpr(e, x.RowExpr)
	case *pg_query.Node_AArrayExpr:
		return a.arrayExpr(e, x.AArrayExpr)
	case *pg_query.Node_AIndirection:
		return a.indirect(e, a.expr(e, x.AIndirection.Arg), x.AIndirection.Indirection, a.at(leftmost(x.AIndirection.Arg)))
	}
	return a.rareExpr(e, n)
}

func (a *analysis) rareExpr(e *env, n *pg_query.Node) value {
	switch x := n.Node.(type) {
	case *pg_query.Node_SqlvalueFunction:
		return a.sqlValue(x.SqlvalueFunction)
	case *pg_query.Node_GroupingFunc:
		a.exprList(e, x.GroupingFunc.Args) // which grouping a row is of, not its values
		return value{typ: typeInt4}
	case *pg_query.Node_SetToDefault:
		return value{typ: typeUnknown}
	case *pg_query.Node_CurrentOfExpr:
		return value{typ: typeBool, Value: lineage.Value{Noisy: true}}
	case *pg_query.Node_MergeSupportFunc:
		return value{typ: typeText}
	case *pg_query.Node_NamedArgExpr:
		return a.expr(e, x.NamedArgExpr.Arg)
	case *pg_query.Node_XmlExpr:
		return a.everything(e, n, "an XML expression", "pg_catalog.xml", a.at(x.XmlExpr.Location))
	case *pg_query.Node_XmlSerialize:
		return a.everything(e, n, "XMLSERIALIZE", "", a.at(x.XmlSerialize.Location))
	case *pg_query.Node_JsonIsPredicate:
		v := a.expr(e.deciding(), x.JsonIsPredicate.Expr)
		return a.unproven(e.deciding().place(a.at(x.JsonIsPredicate.Location)), "IS JSON", typeBool, v)
	case *pg_query.Node_JsonFuncExpr:
		return a.everything(e, n, "an SQL/JSON function", "", a.at(x.JsonFuncExpr.Location))
	case *pg_query.Node_JsonObjectConstructor:
		return a.everything(e, n, "JSON_OBJECT", "", a.at(x.JsonObjectConstructor.Location))
	case *pg_query.Node_JsonArrayConstructor:
		return a.everything(e, n, "JSON_ARRAY", "", a.at(x.JsonArrayConstructor.Location))
	case *pg_query.Node_JsonParseExpr:
		return a.everything(e, n, "JSON()", "pg_catalog.json", a.at(x.JsonParseExpr.Location))
	case *pg_query.Node_JsonScalarExpr:
		return a.everything(e, n, "JSON_SCALAR", "pg_catalog.json", a.at(x.JsonScalarExpr.Location))
	case *pg_query.Node_JsonSerializeExpr:
		return a.everything(e, n, "JSON_SERIALIZE", typeText, a.at(x.JsonSerializeExpr.Location))
	case *pg_query.Node_JsonArrayQueryConstructor:
		body := a.subselect(e.inner(), x.JsonArrayQueryConstructor.Query)
		return a.unproven(e.place(a.at(x.JsonArrayQueryConstructor.Location)), "JSON_ARRAY", "", columnValues(body.columns)...)
	case *pg_query.Node_JsonObjectAgg, *pg_query.Node_JsonArrayAgg:
		return a.jsonAggregate(e, n)
	}
	a.fail(notUnderstood("this expression", a.at(location(n))))
	return value{}
}

func columnValues(cols []column) []value {
	out := make([]value, len(cols))
	for i, c := range cols {
		out[i] = c.value
	}
	return out
}

// exprList analyses a list in which stars stand for their columns.
func (a *analysis) exprList(e *env, list []*pg_query.Node) []value {
	var out []value
	for _, n := range list {
		if cols, ok := a.expandStar(e, n); ok {
			out = append(out, columnValues(cols)...)
			continue
		}
		out = append(out, a.expr(e, n))
	}
	return out
}

// everything analyses an expression by its parts only: whatever it makes of
// them is not known.
func (a *analysis) everything(e *env, n *pg_query.Node, what, typ string, at int) value {
	return a.unproven(e.place(at), what, typ, a.parts(e, n.ProtoReflect(), true)...)
}

// parts analyses the nearest expressions below a message.
func (a *analysis) parts(e *env, m protoreflect.Message, top bool) []value {
	if n, ok := m.Interface().(*pg_query.Node); ok && !top {
		if n.Node == nil {
			return nil
		}
		if isExpression(n) {
			return []value{a.expr(e, n)}
		}
	}
	if t, ok := m.Interface().(*pg_query.TypeName); ok {
		typ, _ := a.typeName(t)
		a.domainCode(e.place(a.at(t.Location)), typ)
		return nil
	}
	var out []value
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Kind() != protoreflect.MessageKind || !m.Has(fd) {
			continue
		}
		if fd.IsList() {
			for i, l := 0, m.Get(fd).List(); i < l.Len(); i++ {
				out = append(out, a.parts(e, l.Get(i).Message(), false)...)
			}
			continue
		}
		out = append(out, a.parts(e, m.Get(fd).Message(), false)...)
	}
	return out
}

// isExpression says whether a node is one, rather than a helper's node within
// a larger construct. What is neither is taken for an expression, and refused.
func isExpression(n *pg_query.Node) bool {
	switch n.Node.(type) {
	case *pg_query.Node_ResTarget, *pg_query.Node_List, *pg_query.Node_JsonKeyValue, *pg_query.Node_JsonValueExpr,
		*pg_query.Node_JsonOutput, *pg_query.Node_JsonFormat, *pg_query.Node_JsonReturning, *pg_query.Node_JsonBehavior,
		*pg_query.Node_JsonArgument, *pg_query.Node_TypeName, *pg_query.Node_String_, *pg_query.Node_Integer,
		*pg_query.Node_JsonTableColumn, *pg_query.Node_JsonTablePathSpec, *pg_query.Node_RangeTableFuncCol,
		*pg_query.Node_JsonAggConstructor:
		return false
	}
	return true
}

// constant analyses a literal: of type integer, numeric or boolean where it is
// written as one, and of no type yet in quotes.
func (a *analysis) constant(c *pg_query.A_Const) value {
	v := value{plain: true, fresh: true, typ: typeUnknown}
	switch {
	case c.Isnull:
		v.null = true
		return v
	case c.GetIval() != nil:
		text := strconv.Itoa(int(c.GetIval().Ival))
		v.typ, v.text = typeInt4, &text
	case c.GetFval() != nil:
		v.typ = numberType(c.GetFval().Fval)
		text := c.GetFval().Fval
		v.text = &text
	case c.GetBoolval() != nil:
		v.typ = typeBool
	case c.GetSval() != nil:
		text := c.GetSval().Sval
		v.text = &text
		v.Pieces = literalPieces(text)
	case c.GetBsval() != nil:
		v.typ = "pg_catalog.bit"
		v.Pieces = literalPieces(c.GetBsval().Bsval)
	default:
		v.typ = typeInt4 // an integer zero leaves its field empty
	}
	return a.literal(a.at(c.Location), v)
}

// numberType is what make_const gives a number beyond 32 bits.
func numberType(text string) string {
	if len(text) > 0 && len(text) < 19 && !slices.ContainsFunc([]byte(text), func(b byte) bool { return b < '0' || b > '9' }) {
		return typeInt8
	}
	return typeNumeric
}

// location is where a node stands, -1 where it does not say.
func location(n *pg_query.Node) int32 {
	if n == nil || n.Node == nil {
		return -1
	}
	m := n.ProtoReflect()
	fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if fd == nil {
		return -1
	}
	inner := m.Get(fd).Message()
	loc := inner.Descriptor().Fields().ByName("location")
	if loc == nil || loc.Kind() != protoreflect.Int32Kind {
		return -1
	}
	return int32(inner.Get(loc).Int())
}

// sqlValue is CURRENT_DATE and its kin.
func (a *analysis) sqlValue(f *pg_query.SQLValueFunction) value {
	v := value{typ: typeName}
	switch f.Op {
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_DATE:
		v.typ = "pg_catalog.date"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIME, pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N:
		v.typ = "pg_catalog.timetz"
	case pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP, pg_query.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N:
		v.typ = "pg_catalog.timestamptz"
	case pg_query.SQLValueFunctionOp_SVFOP_LOCALTIME, pg_query.SQLValueFunctionOp_SVFOP_LOCALTIME_N:
		v.typ = "pg_catalog.time"
	case pg_query.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP, pg_query.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N:
		v.typ = "pg_catalog.timestamp"
	}
	return v
}
