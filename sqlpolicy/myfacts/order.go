package myfacts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// unordered records what rows tell by the order in which they come where
// nothing orders them: the server reads an index that has all the columns that
// a query needs in the table's place, in the order of its values. Source:
// "Covering index" in the manual of EXPLAIN (Using index).
func (a *analysis) unordered(q *env, s *ast.SelectStmt) {
	if s.From == nil || a.ordered {
		return
	}
	used, stars := usedNames(s, a.nested > 0)
	for _, it := range q.sc.items {
		if it.rel == nil || it.rel.Kind != catalog.RelTable || stars[""] || stars[it.alias] || onePrimary(it.rel, s.Where) {
			continue
		}
		for _, ix := range it.rel.Indexes {
			first := indexColumn(it.rel, ix, 0)
			if first < 0 || ix.Name == "PRIMARY" || pinned(s.Where, it.rel.Columns[first].Name) || !covers(it.rel, ix, used) {
				continue
			}
			own := a.ownColumns(it.rel)[first]
			a.compared(q.place(-1), fmt.Sprintf("the order of rows, which the index %s gives where ORDER BY does not", ix.Name), own.value)
		}
	}
}

// ordering notes, while a query is analysed, whether the order in which its
// rows come is decided, by its own words or by those around it, or tells
// nothing. The result puts back what was.
func (a *analysis) ordering(q *env, s *ast.SelectStmt) (restore func()) {
	before := a.ordered
	decided := (before || q.pred) && s.Limit == nil || s.GroupBy != nil || s.Distinct && s.Limit == nil || a.orders(s.OrderBy) ||
		s.From != nil && (bounds{a: a}).aggregates(s)
	a.ordered = decided && !orderSensitive(s)
	return func() { a.ordered = before }
}

// orderSensitive says that a query makes something of its rows in the order
// in which it reads them, whatever order they come out in.
func orderSensitive(s *ast.SelectStmt) bool {
	found := false
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.VariableExpr:
			found = found || x.Value != nil
		case *ast.AggregateFuncExpr:
			switch strings.ToLower(x.F) {
			case "group_concat", "json_arrayagg", "json_objectagg":
				found = found || x.Order == nil
			}
		case *ast.WindowFuncExpr:
			found = found || x.Spec.OrderBy == nil && !slices.ContainsFunc(s.WindowSpecs, func(w ast.WindowSpec) bool { return w.OrderBy != nil })
		}
		return !found
	})
	return found
}

// innerLimit says that a query within the query takes some rows of others.
func innerLimit(s *ast.SelectStmt) bool {
	found := false
	walk(s, func(n ast.Node) bool {
		if l, ok := n.(*ast.Limit); ok && l != s.Limit {
			found = true
		}
		return !found
	})
	return found
}

// onePrimary says that a condition holds a table's primary key equal to one
// value, so that there is one row.
func onePrimary(r *catalog.Relation, where ast.ExprNode) bool {
	for _, ix := range r.Indexes {
		if ix.Name != "PRIMARY" {
			continue
		}
		for k := range ix.Columns {
			if i := indexColumn(r, ix, k); i < 0 || !pinned(where, r.Columns[i].Name) {
				return false
			}
		}
		return len(ix.Columns) > 0
	}
	return false
}

// orders says that ORDER BY orders by some column.
func (a *analysis) orders(by *ast.OrderByClause) bool {
	if by == nil {
		return false
	}
	found := false
	for _, it := range by.Items {
		walk(it.Expr, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.ColumnNameExpr, *ast.PositionExpr, *ast.AggregateFuncExpr, *ast.WindowFuncExpr:
				found = true
			case *ast.SubqueryExpr:
				return false
			}
			return true
		})
	}
	return found
}

func indexColumn(r *catalog.Relation, ix catalog.IndexDef, k int) int {
	if k >= len(ix.Columns) {
		return -1
	}
	return slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == ix.Columns[k] })
}

// usedNames are the columns that a query names, outside its subqueries, and
// the tables of which it takes all columns, "" for all tables. What only a
// nested query's result list names may be left out by the server.
func usedNames(s *ast.SelectStmt, nested bool) (names, stars map[string]bool) {
	names, stars = map[string]bool{}, map[string]bool{}
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.SubqueryExpr:
			return false
		case *ast.TableSource:
			if _, ok := x.Source.(*ast.TableName); !ok {
				_, ok = x.Source.(*ast.Join)
				return ok
			}
		case *ast.FieldList:
			return !nested || x != s.Fields
		case *ast.SelectField:
			if x.WildCard != nil {
				stars[x.WildCard.Table.O] = true
			}
		case *ast.ColumnName:
			names[strings.ToLower(x.Name.O)] = true
		}
		return true
	})
	return names, stars
}

// covers says that an index, with the primary key that InnoDB adds to it, has
// all of a table's columns that are used.
func covers(r *catalog.Relation, ix catalog.IndexDef, used map[string]bool) bool {
	has := map[int32]bool{}
	for _, n := range ix.Columns {
		has[n] = true
	}
	for _, p := range r.Indexes {
		if p.Name == "PRIMARY" {
			for _, n := range p.Columns {
				has[n] = true
			}
		}
	}
	for _, c := range r.Columns {
		if used[strings.ToLower(c.Name)] && !has[c.Num] {
			return false
		}
	}
	return true
}

// pinned says that a condition holds a column equal to constants of the
// client's: the order among those tells nothing.
func pinned(n ast.ExprNode, name string) bool {
	column := func(x ast.ExprNode) bool {
		c, ok := bare(x).(*ast.ColumnNameExpr)
		return ok && sameName(c.Name.Name.O, name)
	}
	constant := func(x ast.ExprNode) bool {
		switch bare(x).(type) {
		case *test_driver.ValueExpr, *test_driver.ParamMarkerExpr:
			return true
		}
		return false
	}
	switch x := n.(type) {
	case *ast.ParenthesesExpr:
		return pinned(x.Expr, name)
	case *ast.BinaryOperationExpr:
		switch x.Op {
		case opcode.LogicAnd:
			return pinned(x.L, name) || pinned(x.R, name)
		case opcode.EQ, opcode.NullEQ:
			return column(x.L) && constant(x.R) || constant(x.L) && column(x.R)
		}
	case *ast.IsNullExpr:
		return !x.Not && column(x.Expr)
	case *ast.PatternInExpr:
		return !x.Not && x.Sel == nil && column(x.Expr) && !slices.ContainsFunc(x.List, func(v ast.ExprNode) bool { return !constant(v) })
	}
	return false
}
