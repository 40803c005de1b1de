package pgfacts

import (
	"math"
	"strconv"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

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
func (x bounds) query(n *pg_query.Node) lineage.Bound {
	switch {
	case n.GetSelectStmt() != nil:
		return x.selectStmt(n.GetSelectStmt())
	case n.GetInsertStmt() != nil:
		ins := n.GetInsertStmt()
		if ins.SelectStmt == nil {
			return lineage.Rows(1) // DEFAULT VALUES
		}
		return x.inside(ins.WithClause).query(ins.SelectStmt)
	case n.GetUpdateStmt() != nil:
		return currentOf(n.GetUpdateStmt().WhereClause)
	case n.GetDeleteStmt() != nil:
		return currentOf(n.GetDeleteStmt().WhereClause)
	}
	return lineage.Unbounded()
}

func currentOf(where *pg_query.Node) lineage.Bound {
	if where.GetCurrentOfExpr() != nil {
		return lineage.Rows(1)
	}
	return lineage.Unbounded()
}

func (x bounds) selectStmt(s *pg_query.SelectStmt) lineage.Bound {
	if s == nil {
		return lineage.Unbounded()
	}
	x = x.inside(s.WithClause)
	b := x.body(s)
	if s.LimitOption == pg_query.LimitOption_LIMIT_OPTION_WITH_TIES {
		return b
	}
	if s.LimitCount != nil {
		b = b.Smaller(limitCount(s.LimitCount))
	}
	return b
}

func (x bounds) body(s *pg_query.SelectStmt) lineage.Bound {
	switch s.Op {
	case pg_query.SetOperation_SETOP_UNION:
		return x.selectStmt(s.Larg).Plus(x.selectStmt(s.Rarg))
	case pg_query.SetOperation_SETOP_INTERSECT:
		return x.selectStmt(s.Larg).Smaller(x.selectStmt(s.Rarg))
	case pg_query.SetOperation_SETOP_EXCEPT:
		return x.selectStmt(s.Larg)
	}
	if len(s.ValuesLists) > 0 {
		return lineage.Rows(len(s.ValuesLists))
	}
	calls := x.calls(s.TargetList)
	if calls.sets {
		return lineage.Unbounded()
	}
	having := x.calls([]*pg_query.Node{s.HavingClause})
	if len(s.GroupClause) == 0 && (calls.aggregates || having.aggregates || s.HavingClause != nil) {
		return lineage.Rows(1)
	}
	return x.from(s.FromClause)
}

// from is the product of what is joined by commas.
func (x bounds) from(items []*pg_query.Node) lineage.Bound {
	b := lineage.Rows(1)
	for _, it := range items {
		b = b.Times(x.fromItem(it))
	}
	if len(items) == 1 {
		return x.fromItem(items[0]) // keeps the parameter
	}
	return b
}

func (x bounds) fromItem(it *pg_query.Node) lineage.Bound {
	switch {
	case it.GetRangeSubselect() != nil:
		return x.query(it.GetRangeSubselect().Subquery)
	case it.GetRangeVar() != nil:
		rv := it.GetRangeVar()
		if rv.Schemaname != "" {
			return lineage.Unbounded()
		}
		if c, scope := x.cte(rv.Relname); c != nil {
			return scope.query(c.Ctequery)
		}
	case it.GetJoinExpr() != nil:
		j := it.GetJoinExpr()
		if j.Jointype == pg_query.JoinType_JOIN_INNER {
			return x.fromItem(j.Larg).Times(x.fromItem(j.Rarg))
		}
	}
	return lineage.Unbounded()
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
func limitCount(n *pg_query.Node) lineage.Bound {
	if p := n.GetParamRef(); p != nil && p.Number > 0 {
		return lineage.Bound{Rows: facts.NoLimit, Param: int(p.Number)}
	}
	if c := n.GetTypeCast(); c != nil && isIntegerType(c.TypeName) {
		return limitCount(c.Arg)
	}
	if v, ok := foldInt(n); ok && v >= 0 && v < facts.NoLimit {
		return lineage.Bound{Rows: v}
	}
	return lineage.Unbounded()
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
