package myfacts

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// order is what is known of the order of a query's rows. irrelevant says that
// it is decided elsewhere, or tells nothing; lists are orders that it comes
// out in, each of which decides it where it has a unique key.
type order struct {
	irrelevant bool
	lists      [][]orderName
}

// lenient says that some column orders the rows: ties are left open.
func (o order) lenient() bool {
	return slices.ContainsFunc(o.lists, func(l []orderName) bool { return len(l) > 0 })
}

// unordered records what rows tell by the order in which they come where
// nothing orders them: that of the clustered index, of an index that has all
// the columns that a query needs and is read in the table's place, and of one
// that a condition has read in ranges. Source: "Covering index" in the manual
// of EXPLAIN (Using index), and "Clustered and Secondary Indexes".
func (a *analysis) unordered(q *env, s *ast.SelectStmt, own order) {
	if s.From == nil {
		return
	}
	needs := sensitive(s)
	if !own.irrelevant {
		needs = append(needs, own)
	}
	used, stars := usedNames(s, a.nested > 0)
	j := joined{where: s.Where, items: q.sc.items}
	j.from(s.From.TableRefs)
	for _, need := range needs {
		for _, it := range q.sc.items {
			if it.rel != nil && it.rel.Kind == catalog.RelTable && !onePrimary(it.rel, s.Where) && !j.decided(it, need.lists, nil) {
				a.indexOrder(q, j, it, used, stars[""] || stars[it.alias], need.lenient())
			}
		}
	}
}

// theOrder begins what is said of uses by order.
const theOrder = "the order of rows"

// ordering works out, before a query is analysed, what is known of the order
// of its rows, and sets what its inner queries may take from it. restore puts
// back what was.
func (a *analysis) ordering(e *env, s *ast.SelectStmt) (own order, restore func()) {
	before := a.order
	// MariaDB sorts groups where nothing else orders them, and one group is one
	// row.
	sorts := s.GroupBy != nil && s.OrderBy == nil && a.d.mariadb
	own.irrelevant = (before.irrelevant || e.pred) && s.Limit == nil || sorts || s.From != nil && s.GroupBy == nil && (bounds{a: a}).aggregates(s)
	if s.OrderBy != nil {
		own.lists = append(own.lists, orderNames(s, s.OrderBy.Items))
	}
	if s.Limit == nil {
		for _, list := range before.lists {
			own.lists = append(own.lists, inherited(s, list))
		}
		if a.positions != nil {
			var list []orderName
			for _, at := range a.positions {
				if n, ok := resultName(s, at); ok {
					list = append(list, n)
				}
			}
			own.lists = append(own.lists, list)
		}
	}
	positions := a.positions
	a.order, a.positions = own, nil
	if len(sensitive(s)) > 0 {
		a.order = order{}
	}
	return own, func() { a.order, a.positions = before, positions }
}

// orderedAs leaves of the order that is known from around the names that can
// mean a derived table's or a view's columns.
func (a *analysis) orderedAs(s *ast.TableSource) (restore func()) {
	if _, ok := s.Source.(*ast.Join); ok {
		return func() {}
	}
	alias := s.AsName.O
	if t, ok := s.Source.(*ast.TableName); ok && alias == "" {
		alias = t.Name.O
	}
	before := a.order
	a.order.lists = nil
	for _, list := range before.lists {
		var own []orderName
		for _, o := range list {
			if o.table == "" || o.table == alias {
				own = append(own, o)
			}
		}
		a.order.lists = append(a.order.lists, own)
	}
	return func() { a.order = before }
}

// setOrdering is ordering for a set operation: its arms are ordered by the
// places of its columns.
func (a *analysis) setOrdering(e *env, limited bool, first ast.Node, by ...*ast.OrderByClause) (restore func()) {
	before, positions := a.order, a.positions
	a.order, a.positions = order{irrelevant: (before.irrelevant || e.pred) && !limited}, nil
	s, ok := first.(*ast.SelectStmt)
	if !ok {
		return func() { a.order, a.positions = before, positions }
	}
	if !limited {
		for _, list := range before.lists {
			for _, o := range list {
				if at := resultNamed(s, o.name); at >= 0 {
					a.positions = append(a.positions, at)
				}
			}
		}
	}
	for _, b := range by {
		if b == nil {
			continue
		}
		for _, it := range b.Items {
			if p, ok := it.Expr.(*ast.PositionExpr); ok && p.P == nil {
				a.positions = append(a.positions, p.N-1)
			} else if n, ok := bareName(it.Expr); ok {
				if at := resultNamed(s, n.name); at >= 0 {
					a.positions = append(a.positions, at)
				}
			}
		}
	}
	return func() { a.order, a.positions = before, positions }
}

// unorderedWrite records what an UPDATE or DELETE tells by the order in which
// it meets rows, where that decides what it does.
func (a *analysis) unorderedWrite(e *env, refs ast.ResultSetNode, where ast.ExprNode, by *ast.OrderByClause, limited bool, list []*ast.Assignment) {
	counts := false
	for _, s := range list {
		walk(s.Expr, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.VariableExpr:
				counts = counts || x.Value != nil
			case *ast.FuncCallExpr:
				counts = counts || counting[x.FnName.L]
			}
			return !counts
		})
	}
	if !limited && !counts {
		return
	}
	var own order
	if by != nil {
		own.lists = append(own.lists, orderNames(&ast.SelectStmt{}, by.Items))
	}
	j := joined{where: where, items: e.sc.items}
	j.from(refs)
	for _, it := range e.sc.items {
		if it.rel != nil && it.rel.Kind == catalog.RelTable && !onePrimary(it.rel, where) && !j.decided(it, own.lists, nil) {
			a.indexOrder(e, j, it, nil, true, own.lenient())
		}
	}
}
