package myfacts

import (
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// exprAt is where an expression stands in the text, -1 where it does not say.
func exprAt(x ast.ExprNode) int {
	if x == nil {
		return -1
	}
	switch bare(x).(type) {
	case *ast.PositionExpr:
		return -1
	}
	return x.OriginTextPosition()
}

var boolType = typ{class: clsInt}

// expr analyses an expression. Whatever is not in its list is not understood.
func (a *analysis) expr(e *env, n ast.ExprNode) value {
	if n == nil || a.problem != nil {
		return value{}
	}
	at := n.OriginTextPosition()
	switch x := n.(type) {
	case *ast.ColumnNameExpr:
		return a.columnRef(e, x.Name, at)
	case *test_driver.ParamMarkerExpr:
		return a.parameter(x.Offset)
	case *test_driver.ValueExpr:
		return a.literal(x)
	case *ast.ParenthesesExpr:
		return a.expr(e, x.Expr)
	case *ast.BinaryOperationExpr:
		return a.binary(e, x, at)
	case *ast.UnaryOperationExpr:
		return a.unary(e, x, at)
	case *ast.IsNullExpr:
		d := e.deciding("")
		v := a.expr(d, x.Expr)
		out := value{t: boolType}
		out.Value = a.ledger.Known(d.place(a.at(at)), "IS NULL", v.Value, true)
		return out
	case *ast.IsTruthExpr:
		d := e.deciding("")
		v := a.expr(d, x.Expr)
		a.condition(d.place(a.at(at)), "a condition", v)
		return value{t: boolType, Value: lineage.Value{Noisy: v.Noisy}}
	case *ast.PatternInExpr:
		return a.in(e, x, at)
	case *ast.BetweenExpr:
		d := e.deciding("")
		return a.compareBy(d.place(a.at(at)), "BETWEEN", a.expr(d, x.Expr), a.expr(d, x.Left), a.expr(d, x.Right))
	case *ast.PatternLikeOrIlikeExpr:
		d := e.deciding("")
		return a.compareBy(d.place(a.at(at)), "LIKE", a.expr(d, x.Expr), a.expr(d, x.Pattern))
	case *ast.PatternRegexpExpr:
		d := e.deciding("")
		return a.opaqueUnless(d.place(a.at(at)), "REGEXP", boolType, a.expr(d, x.Expr), a.expr(d, x.Pattern))
	case *ast.RowExpr:
		return a.rowOf(a.exprs(e, x.Values))
	case *ast.SetCollationExpr:
		v := a.expr(e, x.Expr)
		v.loose = true
		return v
	case *ast.SubqueryExpr:
		return a.scalar(e, x)
	case *ast.ExistsSubqueryExpr:
		a.result(e.deciding("").inner(), x.Sel)
		return value{t: boolType}
	case *ast.CompareSubqueryExpr:
		return a.compareSubquery(e, x, at)
	}
	return a.rareExpr(e, n, at)
}

func (a *analysis) rareExpr(e *env, n ast.ExprNode, at int) value {
	p := e.place(a.at(at))
	switch x := n.(type) {
	case *ast.FuncCallExpr:
		return a.call(e, x, at)
	case *ast.FuncCastExpr:
		return a.cast(e, x, at)
	case *ast.AggregateFuncExpr:
		return a.aggregate(e, x, at)
	case *ast.WindowFuncExpr:
		return a.windowCall(e, x, at)
	case *ast.CaseExpr:
		return a.caseExpr(e, x, at)
	case *ast.VariableExpr:
		return a.variable(e, x, at)
	case *ast.DefaultExpr:
		if x.Name == nil {
			return value{plain: true}
		}
		return a.defaultFunction(a.columnRef(e, x.Name, at))
	case *ast.ValuesExpr:
		if e.values != nil {
			if v, ok := e.values(x.Column.Name.Name.O); ok {
				return v
			}
		}
		return a.columnRef(e, x.Column.Name, at)
	case *ast.MatchAgainst:
		d := e.deciding("")
		args := []value{a.expr(d, x.Against)}
		for _, c := range x.ColumnNames {
			args = append(args, a.columnRef(d, c, at))
		}
		return a.compared(p, "MATCH … AGAINST", args...)
	case *ast.TimeUnitExpr, *ast.TrimDirectionExpr, *ast.GetFormatSelectorExpr, *ast.MaxValueExpr:
		return value{plain: true}
	case *ast.PositionExpr:
		if x.P != nil {
			return a.expr(e, x.P)
		}
	}
	a.fail(notUnderstood("this expression", a.at(at)))
	return value{}
}

func (a *analysis) exprs(e *env, list []ast.ExprNode) []value {
	out := make([]value, len(list))
	for i, x := range list {
		out[i] = a.expr(e, x)
	}
	return out
}

func (a *analysis) rowOf(values []value) value {
	return value{Value: lineage.Total(lineage.AddSizes(plains(values)...), plains(values)...), row: values, consts: constants(values)}
}

// literalOf reads a literal; ok is false for other values.
func literalOf(x ast.ValueExpr) (value, bool) {
	n, ok := x.(*test_driver.ValueExpr)
	if !ok {
		return value{}, false
	}
	v := value{plain: true}
	set := func(c class, text string) {
		v.t.class, v.text = c, &text
		v.Pieces = 1 + len(text)/bytesPerPiece
	}
	switch n.Kind() {
	case test_driver.KindNull:
		v.null = true
	case test_driver.KindInt64:
		set(clsInt, strconv.FormatInt(n.GetInt64(), 10))
	case test_driver.KindUint64:
		set(clsInt, strconv.FormatUint(n.GetUint64(), 10))
	case test_driver.KindMysqlDecimal:
		set(clsDecimal, n.GetMysqlDecimal().String())
	case test_driver.KindFloat32, test_driver.KindFloat64:
		set(clsFloat, strconv.FormatFloat(n.GetFloat64(), 'g', -1, 64))
	case test_driver.KindString:
		set(clsString, n.GetString())
		if cs := n.GetType().GetCharset(); cs == "binary" || cs != "" && cs != mysql.DefaultCharset && cs != "utf8" {
			v.loose = true
		}
	case test_driver.KindBinaryLiteral:
		set(clsBinary, string(n.GetBinaryLiteral()))
		v.loose = true
	default:
		return value{}, false
	}
	return v, true
}

// literal is a literal with its place.
func (a *analysis) literal(x *test_driver.ValueExpr) value {
	v, ok := literalOf(x)
	if !ok {
		a.fail(notUnderstood("this literal", a.at(x.OriginTextPosition())))
		return value{}
	}
	if a.foreign > 0 || a.lexed == nil {
		return v
	}
	if from, to, ok := a.literalRange(x.OriginTextPosition()); ok {
		v.consts = []int{a.consts.Literal(from, to)}
	} else if v.t.class == clsString && *v.text != "" {
		// The record must be able to hide it.
		a.fail(notUnderstood("where this literal stands", -1))
	}
	return v
}

// literalRange is where the literal at a place begins and ends: adjacent
// strings and a character set before them belong to it.
func (a *analysis) literalRange(at int) (from, to int, ok bool) {
	i := a.lexed.tokenAt(at)
	if i < 0 {
		return 0, 0, false
	}
	t := a.lexed.tokens
	if t[i].kind == tokWord && strings.HasPrefix(a.lexed.word(i), "_") && i+1 < len(t) {
		i++
	}
	from, to = t[i].from, t[i].to
	if t[i].kind == tokString {
		for i++; i < len(t) && t[i].kind == tokString; i++ {
			to = t[i].to
		}
	}
	return from, to, true
}

// parameter is a ? at that place of the text.
func (a *analysis) parameter(at int) value {
	if a.foreign > 0 || a.lexed == nil {
		a.fail(notUnderstood("a parameter here", -1))
		return value{}
	}
	n := a.lexed.paramNumber(at, a.first)
	if n == 0 {
		a.fail(notUnderstood("this parameter", at))
		return value{}
	}
	v := value{plain: !a.loosePar, param: n, consts: []int{a.consts.Parameter(n)}}
	if a.loosePar {
		v.param = 0
	}
	v.Pieces = 16
	return v
}

// binary analyses an operator with two sides: those that yield a boolean
// compare, the others compute.
func (a *analysis) binary(e *env, x *ast.BinaryOperationExpr, at int) value {
	d := e.deciding("")
	p := d.place(a.at(at))
	switch x.Op {
	case opcode.LogicAnd, opcode.LogicOr, opcode.LogicXor:
		l, r := a.expr(d, x.L), a.expr(d, x.R)
		a.condition(p, "a condition", l)
		a.condition(p, "a condition", r)
		return value{t: boolType, Value: lineage.Value{Noisy: l.Noisy || r.Noisy}}
	case opcode.EQ, opcode.NE, opcode.NullEQ:
		return a.equal(p, "the operator "+literalOp(x.Op), a.expr(d, x.L), a.expr(d, x.R))
	case opcode.LT, opcode.GT, opcode.LE, opcode.GE:
		return a.compareBy(p, "the operator "+literalOp(x.Op), a.expr(d, x.L), a.expr(d, x.R))
	}
	l, r := a.expr(e, x.L), a.expr(e, x.R)
	t := typ{class: clsInt}
	if l.t.class != clsInt || r.t.class != clsInt || x.Op == opcode.Div {
		t = typ{class: clsDecimal}
	}
	return a.opaqueUnless(e.place(a.at(at)), "the operator "+literalOp(x.Op), t, l, r)
}

// opaqueUnless is the result of an operation that may fail: it tells nothing
// where nothing goes into it, but is noisy then too.
func (a *analysis) opaqueUnless(p lineage.Place, what string, t typ, args ...value) value {
	a.failing = true
	if hidden(args) {
		return a.opaque(p, what, t, args...)
	}
	return value{t: t, Value: lineage.Value{Noisy: true, Pieces: 1}, consts: constants(args)}
}

func (a *analysis) unary(e *env, x *ast.UnaryOperationExpr, at int) value {
	if x.Op == opcode.Not || x.Op == opcode.Not2 {
		d := e.deciding("")
		v := a.expr(d, x.V)
		a.condition(d.place(a.at(at)), "a condition", v)
		return value{t: boolType, Value: lineage.Value{Noisy: v.Noisy}}
	}
	v := a.expr(e, x.V)
	if x.Op == opcode.Plus {
		return v
	}
	if x.Op == opcode.Minus && v.plain && v.text != nil && v.t.class != clsString {
		text := "-" + a.textOf(v)
		v.text = &text
		return v
	}
	return a.opaqueUnless(e.place(a.at(at)), "the operator "+literalOp(x.Op), v.t, v)
}

// variable reads or sets a variable.
func (a *analysis) variable(e *env, x *ast.VariableExpr, at int) value {
	if x.IsSystem {
		switch strings.ToLower(x.Name) {
		case "warning_count", "error_count":
			v := value{t: typ{class: clsInt}}
			if a.view.Settings.Get(settingDiagnostics) == "classed" {
				v.Flow = a.statistic(diagnostics, "MESSAGE")
			}
			return v
		}
		return value{}
	}
	if x.Value == nil {
		return value{}
	}
	v := a.expr(e, x.Value)
	a.assigned(strings.ToLower(x.Name))
	if len(v.Flow) > 0 {
		a.opaque(e.place(a.at(at)), "the variable @"+x.Name, typ{}, v)
	}
	return value{Value: lineage.Value{Flow: v.Flow.Computed(), Noisy: true, Pieces: v.Pieces}, consts: v.consts}
}

// scalar is a subquery used as a value.
func (a *analysis) scalar(e *env, x *ast.SubqueryExpr) value {
	body := a.result(e.inner(), x.Query)
	cols := derived(body.columns)
	if len(cols) == 1 {
		v := cols[0].value
		v.plain, v.Noisy = false, true // more than one row is an error
		return v
	}
	v := a.rowOf(columnValues(cols))
	v.Noisy = true
	return v
}

func (a *analysis) caseExpr(e *env, x *ast.CaseExpr, at int) value {
	d := e.deciding("")
	var results []value
	var subject value
	if x.Value != nil {
		subject = a.expr(d, x.Value)
	}
	for _, w := range x.WhenClauses {
		c := a.expr(d, w.Expr)
		if x.Value != nil {
			a.equal(d.place(a.at(at)), "CASE", subject, c)
		} else {
			a.condition(d.place(a.at(at)), "CASE", c)
		}
		results = append(results, a.expr(e, w.Result))
	}
	if x.ElseClause != nil {
		results = append(results, a.expr(e, x.ElseClause))
	} else {
		results = append(results, value{null: true, plain: true})
	}
	v := a.either(e.place(a.at(at)), "CASE", results...)
	v.text, v.param, v.plain = nil, 0, false
	return v
}
