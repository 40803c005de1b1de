package myfacts

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// single says that a query has no other query within it but those of its WITH.
func single(s *ast.SelectStmt) bool {
	found := false
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.WithClause:
			return false
		case *ast.SubqueryExpr:
			found = true
		case *ast.TableSource:
			switch x.Source.(type) {
			case *ast.TableName, *ast.Join:
			default:
				found = true
			}
		}
		return !found
	})
	return !found
}

// counting are functions whose values depend on how often they were called.
var counting = lowerSet("rand nextval lastval setval uuid_short last_insert_id")

// sensitive are the orders that a query makes something of, whatever order its
// rows come out in: of windows and aggregates, of what counts rows as they
// come, and of groups of which one row is shown.
func sensitive(s *ast.SelectStmt) (out []order) {
	by := func(w *ast.OrderByClause) order {
		if w == nil {
			return order{}
		}
		return order{lists: [][]orderName{orderNames(s, w.Items)}}
	}
	var window func(w *ast.WindowSpec) order
	window = func(w *ast.WindowSpec) order {
		for i := range s.WindowSpecs {
			if k := &s.WindowSpecs[i]; w.OrderBy == nil && k != w && (k.Name.L == w.Name.L || k.Name.L == w.Ref.L) && k.Name.L != "" {
				return window(k)
			}
		}
		return by(w.OrderBy)
	}
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.SubqueryExpr, *ast.TableSource:
			if t, ok := x.(*ast.TableSource); ok {
				_, ok := t.Source.(*ast.Join)
				return ok
			}
			return false
		case *ast.VariableExpr:
			if x.Value != nil {
				out = append(out, order{})
			}
		case *ast.FuncCallExpr:
			if counting[x.FnName.L] && (x.FnName.L != "rand" && x.FnName.L != "last_insert_id" || len(x.Args) > 0) {
				out = append(out, order{})
			}
		case *ast.AggregateFuncExpr:
			switch strings.ToLower(x.F) {
			case "group_concat", "json_arrayagg", "json_objectagg":
				out = append(out, by(x.Order))
			}
		case *ast.WindowFuncExpr:
			if !countsAll(s, x) {
				out = append(out, window(&x.Spec))
			}
		}
		return true
	})
	if loose(s) {
		out = append(out, order{})
	}
	return out
}

// countsAll says that a window function counts the rows of whole partitions:
// alike in whatever order they come.
func countsAll(s *ast.SelectStmt, x *ast.WindowFuncExpr) bool {
	var whole func(w *ast.WindowSpec) bool
	whole = func(w *ast.WindowSpec) bool {
		if w.OrderBy != nil || w.Frame != nil {
			return false
		}
		for i := range s.WindowSpecs {
			if k := &s.WindowSpecs[i]; k != w && k.Name.L != "" && (k.Name.L == w.Name.L || k.Name.L == w.Ref.L) {
				return whole(k)
			}
		}
		return w.Name.L == "" && w.Ref.L == ""
	}
	return strings.EqualFold(x.Name, "count") && whole(&x.Spec)
}

// loose says that a grouped query shows a column that it is not grouped by: of
// some row of the group.
func loose(s *ast.SelectStmt) bool {
	if s.GroupBy == nil && !(bounds{}).aggregates(s) {
		return false
	}
	var by []orderName
	if s.GroupBy != nil {
		by = orderNames(s, s.GroupBy.Items)
	}
	found := false
	shows := func(n ast.Node) {
		walk(n, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.AggregateFuncExpr, *ast.SubqueryExpr:
				return false
			case *ast.ColumnName:
				if !slices.ContainsFunc(by, func(o orderName) bool { return sameName(o.name, x.Name.O) }) {
					found = true
				}
			}
			return true
		})
	}
	for _, f := range s.Fields.Fields {
		if f.WildCard != nil {
			found = true
		} else {
			shows(f.Expr)
		}
	}
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

// orders says that ORDER BY orders by some column.
func (a *analysis) orders(by *ast.OrderByClause) bool {
	if by == nil {
		return false
	}
	found := false
	for _, it := range by.Items {
		switch bare(it.Expr).(type) {
		case *ast.ColumnNameExpr, *ast.PositionExpr:
			found = true
		}
		walk(it.Expr, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.AggregateFuncExpr, *ast.WindowFuncExpr:
				found = true
			case *ast.SubqueryExpr:
				return false
			}
			return true
		})
	}
	return found
}
