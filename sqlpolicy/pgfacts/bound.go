package pgfacts

import (
	"math"
	"strconv"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// bound is the most rows that a query's own words allow. Rows is
// facts.NoLimit where nothing limits it; param, if not 0, is a parameter that
// may limit it further.
type bound struct {
	rows  int64
	param int
}

func unbounded() bound        { return bound{rows: facts.NoLimit} }
func rowsBound(n int) bound   { return bound{rows: int64(n)} }
func (b bound) limited() bool { return b.rows != facts.NoLimit }

func (b bound) smaller(c bound) bound {
	out := bound{rows: min(b.rows, c.rows), param: b.param}
	if out.param == 0 {
		out.param = c.param
	}
	return out
}

func (b bound) plus(c bound) bound {
	if !b.limited() || !c.limited() || b.rows > math.MaxInt64-1-c.rows {
		return unbounded()
	}
	return bound{rows: b.rows + c.rows}
}

func (b bound) times(c bound) bound {
	if b.rows == 0 || c.rows == 0 {
		return bound{}
	}
	if !b.limited() || !c.limited() || b.rows > (math.MaxInt64-1)/c.rows {
		return unbounded()
	}
	return bound{rows: b.rows * c.rows}
}

// bounds works out bounds and top-k of a statement's queries. withs are the
// WITH clauses in scope, innermost last.
type bounds struct {
	view  *catalog.View
	withs []*pg_query.WithClause
}

func (x bounds) inside(w *pg_query.WithClause) bounds {
	if w != nil {
		x.withs = append(x.withs[:len(x.withs):len(x.withs)], w)
	}
	return x
}

// cte finds the common table expression that an unqualified name means, and
// the scope that it sees itself.
func (x bounds) cte(name string) (*pg_query.CommonTableExpr, bounds) {
	for i := len(x.withs) - 1; i >= 0; i-- {
		for _, n := range x.withs[i].Ctes {
			if c := n.GetCommonTableExpr(); c != nil && c.Ctename == name {
				// Without the WITH clause itself a recursive one ends.
				return c, bounds{view: x.view, withs: x.withs[:i]}
			}
		}
	}
	return nil, x
}

// query is the bound of any query node.
func (x bounds) query(n *pg_query.Node) bound {
	switch {
	case n.GetSelectStmt() != nil:
		return x.selectStmt(n.GetSelectStmt())
	case n.GetInsertStmt() != nil:
		ins := n.GetInsertStmt()
		if ins.SelectStmt == nil {
			return rowsBound(1) // DEFAULT VALUES
		}
		return x.inside(ins.WithClause).query(ins.SelectStmt)
	case n.GetUpdateStmt() != nil:
		return currentOf(n.GetUpdateStmt().WhereClause)
	case n.GetDeleteStmt() != nil:
		return currentOf(n.GetDeleteStmt().WhereClause)
	}
	return unbounded()
}

func currentOf(where *pg_query.Node) bound {
	if where.GetCurrentOfExpr() != nil {
		return rowsBound(1)
	}
	return unbounded()
}

func (x bounds) selectStmt(s *pg_query.SelectStmt) bound {
	if s == nil {
		return unbounded()
	}
	x = x.inside(s.WithClause)
	b := x.body(s)
	if s.LimitOption == pg_query.LimitOption_LIMIT_OPTION_WITH_TIES {
		return b
	}
	if s.LimitCount != nil {
		b = b.smaller(limitCount(s.LimitCount))
	}
	return b
}

func (x bounds) body(s *pg_query.SelectStmt) bound {
	switch s.Op {
	case pg_query.SetOperation_SETOP_UNION:
		return x.selectStmt(s.Larg).plus(x.selectStmt(s.Rarg))
	case pg_query.SetOperation_SETOP_INTERSECT:
		return x.selectStmt(s.Larg).smaller(x.selectStmt(s.Rarg))
	case pg_query.SetOperation_SETOP_EXCEPT:
		return x.selectStmt(s.Larg)
	}
	if len(s.ValuesLists) > 0 {
		return rowsBound(len(s.ValuesLists))
	}
	calls := x.calls(s.TargetList)
	if calls.sets {
		return unbounded()
	}
	having := x.calls([]*pg_query.Node{s.HavingClause})
	if len(s.GroupClause) == 0 && (calls.aggregates || having.aggregates || s.HavingClause != nil) {
		return rowsBound(1)
	}
	return x.from(s.FromClause)
}

// from is the product of what is joined by commas.
func (x bounds) from(items []*pg_query.Node) bound {
	b := rowsBound(1)
	for _, it := range items {
		b = b.times(x.fromItem(it))
	}
	if len(items) == 1 {
		return x.fromItem(items[0]) // keeps the parameter
	}
	return b
}

func (x bounds) fromItem(it *pg_query.Node) bound {
	switch {
	case it.GetRangeSubselect() != nil:
		return x.query(it.GetRangeSubselect().Subquery)
	case it.GetRangeVar() != nil:
		rv := it.GetRangeVar()
		if rv.Schemaname != "" {
			return unbounded()
		}
		if c, scope := x.cte(rv.Relname); c != nil {
			return scope.query(c.Ctequery)
		}
	case it.GetJoinExpr() != nil:
		j := it.GetJoinExpr()
		if j.Jointype == pg_query.JoinType_JOIN_INNER {
			return x.fromItem(j.Larg).times(x.fromItem(j.Rarg))
		}
	}
	return unbounded()
}

// callSummary says what the calls of some expressions may be, outside their
// sublinks.
type callSummary struct {
	aggregates bool // surely one aggregate
	sets       bool // perhaps a set-returning function
}

func (x bounds) calls(exprs []*pg_query.Node) (out callSummary) {
	for _, e := range exprs {
		walk(e, func(n *pg_query.Node) bool {
			if n.GetSubLink() != nil {
				return false
			}
			if f := n.GetFuncCall(); f != nil {
				agg, set := x.callKind(f)
				out.aggregates = out.aggregates || agg
				out.sets = out.sets || set
			}
			if n.GetJsonObjectAgg() != nil || n.GetJsonArrayAgg() != nil {
				out.aggregates = true
			}
			return true
		})
	}
	return out
}

func (x bounds) callKind(f *pg_query.FuncCall) (aggregate, set bool) {
	if f.Over != nil {
		return false, false
	}
	schema, name := splitName(f.Funcname)
	fns := x.view.FunctionsNamed(schema, name)
	if len(fns) == 0 {
		return f.AggStar, !f.AggStar
	}
	aggregate = true
	for _, fn := range fns {
		aggregate = aggregate && fn.Kind == "a"
		set = set || fn.ReturnsSet
	}
	return aggregate, set
}

// limitCount reads a LIMIT or FETCH FIRST count. LIMIT ALL and LIMIT NULL do
// not limit, and what cannot be folded counts as not limiting.
func limitCount(n *pg_query.Node) bound {
	if p := n.GetParamRef(); p != nil && p.Number > 0 {
		return bound{rows: facts.NoLimit, param: int(p.Number)}
	}
	if c := n.GetTypeCast(); c != nil && isIntegerType(c.TypeName) {
		return limitCount(c.Arg)
	}
	if v, ok := foldInt(n); ok && v >= 0 && v < facts.NoLimit {
		return bound{rows: v}
	}
	return unbounded()
}

func isIntegerType(t *pg_query.TypeName) bool {
	if t == nil || len(t.ArrayBounds) > 0 {
		return false
	}
	switch _, name := splitName(t.Names); name {
	case "int2", "int4", "int8", "numeric":
		return true
	}
	return false
}

// foldInt evaluates integer constants and + - * between them; a fraction is
// rounded up.
func foldInt(n *pg_query.Node) (int64, bool) {
	switch {
	case n.GetAConst() != nil:
		c := n.GetAConst()
		switch {
		case c.Isnull:
			return 0, false
		case c.GetIval() != nil:
			return int64(c.GetIval().Ival), true
		case c.GetFval() != nil:
			return ceilText(c.GetFval().Fval)
		case c.GetSval() != nil:
			return ceilText(strings.TrimSpace(c.GetSval().Sval))
		}
	case n.GetTypeCast() != nil && isIntegerType(n.GetTypeCast().TypeName):
		return foldInt(n.GetTypeCast().Arg)
	case n.GetAExpr() != nil:
		return foldArithmetic(n.GetAExpr())
	}
	return 0, false
}

func foldArithmetic(e *pg_query.A_Expr) (int64, bool) {
	if e.Kind != pg_query.A_Expr_Kind_AEXPR_OP || e.Lexpr == nil {
		return 0, false
	}
	a, ok1 := foldInt(e.Lexpr)
	b, ok2 := foldInt(e.Rexpr)
	const most = 1 << 31
	if !ok1 || !ok2 || a > most || b > most || a < -most || b < -most {
		return 0, false
	}
	switch _, op := splitName(e.Name); op {
	case "+":
		return a + b, true
	case "-":
		return a - b, true
	case "*":
		return a * b, true
	}
	return 0, false
}

func ceilText(s string) (int64, bool) {
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f < math.MaxInt64) || strings.ContainsAny(s, "xX_") {
		return 0, false
	}
	return int64(math.Ceil(f)), true
}
