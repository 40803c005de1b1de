package pgfacts

import (
	"fmt"
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// filter answers whether a statement's own words constrain the rows it
// touches: whether some conjunct of WHERE constrains a column of the target by
// something other than itself, IS NOT NULL, or an OR with a constant. Whatever
// is not plainly a constraint is not one.
type filter struct {
	view   *catalog.View
	withs  []*pg_query.WithClause
	scopes []filterScope // innermost last
}

// filterScope is the range table of one query level.
type filterScope []filterItem

type filterItem struct {
	alias string
	// identity is the same for two appearances of one relation, so that a
	// column compared with itself is seen through a self-join.
	identity string
	columns  []string // nil where unknown
	target   bool
}

// filteredDML is for UPDATE, DELETE and MERGE, whose conditions are about
// target; from are the other items in scope.
func (x filter) filteredDML(target *pg_query.RangeVar, from []*pg_query.Node, where *pg_query.Node) bool {
	if where.GetCurrentOfExpr() != nil {
		return true
	}
	sc := filterScope{x.rangeVar(target, true)}
	sc = append(sc, x.items(from, false)...)
	x.scopes = []filterScope{sc}
	return x.constrains(where, false)
}

// filteredSelect is for reads: any relation of FROM is a target. A query that
// only reads from a filtered one is filtered, and a set operation where all
// its arms are.
func (x filter) filteredSelect(s *pg_query.SelectStmt) bool {
	if s == nil {
		return false
	}
	if s.WithClause != nil {
		x.withs = append(x.withs[:len(x.withs):len(x.withs)], s.WithClause)
	}
	if s.Op != pg_query.SetOperation_SETOP_NONE && s.Op != pg_query.SetOperation_SET_OPERATION_UNDEFINED {
		return x.filteredSelect(s.Larg) && x.filteredSelect(s.Rarg)
	}
	y := x
	y.scopes = append(x.scopes[:len(x.scopes):len(x.scopes)], x.items(s.FromClause, true))
	if y.constrains(s.WhereClause, false) {
		return true
	}
	if len(s.FromClause) != 1 {
		return false
	}
	it := s.FromClause[0]
	if sub := it.GetRangeSubselect(); sub != nil {
		return x.filteredSelect(sub.Subquery.GetSelectStmt())
	}
	if rv := it.GetRangeVar(); rv != nil && rv.Schemaname == "" {
		if c, scope := (bounds{view: x.view, withs: x.withs}).cte(rv.Relname); c != nil {
			x.withs = scope.withs
			return x.filteredSelect(c.Ctequery.GetSelectStmt())
		}
	}
	return false
}

func (x filter) items(from []*pg_query.Node, target bool) (out filterScope) {
	for _, n := range from {
		switch {
		case n.GetRangeVar() != nil:
			out = append(out, x.rangeVar(n.GetRangeVar(), target))
		case n.GetJoinExpr() != nil:
			j := n.GetJoinExpr()
			out = append(out, x.items([]*pg_query.Node{j.Larg, j.Rarg}, target)...)
		default:
			out = append(out, filterItem{alias: itemAlias(n), identity: fmt.Sprintf("%p", n), target: target})
		}
	}
	return out
}

func itemAlias(n *pg_query.Node) string {
	switch {
	case n.GetRangeSubselect() != nil:
		return n.GetRangeSubselect().GetAlias().GetAliasname()
	case n.GetRangeFunction() != nil:
		return n.GetRangeFunction().GetAlias().GetAliasname()
	case n.GetRangeTableSample() != nil:
		return n.GetRangeTableSample().GetRelation().GetRangeVar().GetAlias().GetAliasname()
	}
	return ""
}

func (x filter) rangeVar(rv *pg_query.RangeVar, target bool) filterItem {
	it := filterItem{alias: rv.GetRelname(), target: target}
	if a := rv.GetAlias(); a != nil {
		it.alias = a.Aliasname
	}
	if rv.GetSchemaname() == "" {
		if c, _ := (bounds{view: x.view, withs: x.withs}).cte(rv.GetRelname()); c != nil {
			it.identity = "with " + rv.GetRelname()
			return it
		}
	}
	r := x.view.Relation(rv.GetSchemaname(), rv.GetRelname())
	if r == nil {
		it.identity = rv.GetSchemaname() + "." + rv.GetRelname()
		return it
	}
	it.identity = r.Schema + "." + r.Name
	if renamed := rv.GetAlias().GetColnames(); len(renamed) > 0 {
		return it // columns under other names: not followed
	}
	for _, c := range r.Columns {
		it.columns = append(it.columns, c.Name)
	}
	it.columns = append(it.columns, "ctid")
	return it
}

// column finds what a reference means: its key, and whether it is a column of
// a target. An unqualified name that several items could have has no key.
func (x filter) column(ref *pg_query.ColumnRef) (key string, target bool) {
	parts := names(ref.Fields)
	if len(parts) == 0 || len(parts) != len(ref.Fields) {
		return "", false // a star
	}
	name := parts[len(parts)-1]
	for i := len(x.scopes) - 1; i >= 0; i-- {
		if len(parts) > 1 {
			alias := parts[len(parts)-2]
			for _, it := range x.scopes[i] {
				if it.alias == alias {
					return it.identity + "." + name, it.target
				}
			}
			continue
		}
		open := slices.ContainsFunc(x.scopes[i], func(it filterItem) bool { return it.columns == nil })
		for _, it := range x.scopes[i] {
			if slices.Contains(it.columns, name) {
				return it.identity + "." + name, it.target
			}
		}
		if open {
			// Of a subquery or function here, or of an outer level's table.
			other := slices.ContainsFunc(x.scopes[i], func(it filterItem) bool { return !it.target })
			return "?." + name, !other && i == len(x.scopes)-1
		}
	}
	return "", false
}

// collect gathers the columns of a value expression. Columns under CASE,
// tests and conditions are left out: what they bring to the value cannot be
// told.
func (x filter) collect(n *pg_query.Node) (out lineage.Mentions) {
	if n == nil {
		return
	}
	switch {
	case n.GetColumnRef() != nil:
		if key, target := x.column(n.GetColumnRef()); target {
			out.Targets = append(out.Targets, key)
		} else if key != "" {
			out.Others = append(out.Others, key)
		}
	case n.GetTypeCast() != nil:
		return x.collect(n.GetTypeCast().Arg)
	case n.GetCollateClause() != nil:
		return x.collect(n.GetCollateClause().Arg)
	case n.GetAIndirection() != nil:
		return x.collect(n.GetAIndirection().Arg)
	case n.GetNamedArgExpr() != nil:
		return x.collect(n.GetNamedArgExpr().Arg)
	case n.GetAArrayExpr() != nil:
		return x.collectAll(n.GetAArrayExpr().Elements)
	case n.GetRowExpr() != nil:
		return x.collectAll(n.GetRowExpr().Args)
	case n.GetList() != nil:
		return x.collectAll(n.GetList().Items)
	case n.GetFuncCall() != nil:
		return x.collectAll(n.GetFuncCall().Args)
	case n.GetMinMaxExpr() != nil:
		return x.collectAll(n.GetMinMaxExpr().Args)
	case n.GetCoalesceExpr() != nil:
		args := n.GetCoalesceExpr().Args
		if len(args) > 0 && args[0].GetAConst() == nil && args[0].GetTypeCast() == nil {
			return x.collectAll(args)
		}
	case n.GetAExpr() != nil:
		return x.collectOperator(n.GetAExpr())
	case n.GetSubLink() != nil:
		return x.collectSublink(n.GetSubLink())
	}
	return out
}

func (x filter) collectAll(list []*pg_query.Node) (out lineage.Mentions) {
	for _, n := range list {
		out.Add(x.collect(n))
	}
	return out
}

func (x filter) collectOperator(e *pg_query.A_Expr) (out lineage.Mentions) {
	_, op := splitName(e.Name)
	if e.Kind != pg_query.A_Expr_Kind_AEXPR_OP || isComparison(op) || same(e.Lexpr, e.Rexpr) {
		return out
	}
	if op == "*" && (isZero(e.Lexpr) || isZero(e.Rexpr)) {
		return out
	}
	out.Add(x.collect(e.Lexpr))
	out.Add(x.collect(e.Rexpr))
	return out
}

// collectSublink: a subquery that reads rows brings something of its own,
// unless it only hands on a target's column unfiltered.
func (x filter) collectSublink(l *pg_query.SubLink) (out lineage.Mentions) {
	s := l.Subselect.GetSelectStmt()
	switch l.SubLinkType {
	case pg_query.SubLinkType_EXPR_SUBLINK, pg_query.SubLinkType_ARRAY_SUBLINK,
		pg_query.SubLinkType_ANY_SUBLINK, pg_query.SubLinkType_ALL_SUBLINK:
	default:
		return out
	}
	if s == nil || len(s.ValuesLists) > 0 || s.Larg != nil {
		return lineage.Mentions{Others: []string{"()"}}
	}
	y := x
	if s.WithClause != nil {
		y.withs = append(y.withs[:len(y.withs):len(y.withs)], s.WithClause)
	}
	y.scopes = append(y.scopes[:len(y.scopes):len(y.scopes)], y.items(s.FromClause, false))
	calls := false
	for _, t := range s.TargetList {
		out.Add(y.collect(t.GetResTarget().GetVal()))
		walk(t, func(n *pg_query.Node) bool { calls = calls || n.GetFuncCall() != nil; return true })
	}
	if len(s.FromClause) == 0 {
		return out
	}
	if calls || (bounds{view: x.view, withs: x.withs}).selectStmt(s).Limited() || x.filteredSelect(s) {
		out.Others = append(out.Others, "()")
	}
	if len(s.TargetList) == 1 && len(out.All()) == 0 {
		out.Others = append(out.Others, "()")
	}
	return out
}

func isZero(n *pg_query.Node) bool {
	v, ok := foldInt(n)
	return ok && v == 0
}

func isComparison(op string) bool {
	return lineage.ComparisonMask(op) != 0 || op == "~~" || op == "!~~"
}

// matchesAll says whether a LIKE pattern accepts every string.
func matchesAll(n *pg_query.Node) bool {
	c := n.GetAConst()
	return c != nil && c.GetSval() != nil && c.GetSval().Sval != "" && strings.Trim(c.GetSval().Sval, "%") == ""
}
