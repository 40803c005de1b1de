package myfacts

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// orderName is a column by which rows are ordered, as it is written.
type orderName struct{ table, name string }

func bareName(x ast.ExprNode) (orderName, bool) {
	c, ok := bare(x).(*ast.ColumnNameExpr)
	if !ok {
		return orderName{}, false
	}
	return orderName{table: c.Name.Table.O, name: c.Name.Name.O}, true
}

// resultName is the column that a result column is, by its place; ok is false
// for what is no bare column, and where a star hides the places.
func resultName(s *ast.SelectStmt, at int) (orderName, bool) {
	if s.Fields == nil || at < 0 || at >= len(s.Fields.Fields) || slices.ContainsFunc(s.Fields.Fields[:at+1], func(f *ast.SelectField) bool { return f.WildCard != nil }) {
		return orderName{}, false
	}
	return bareName(s.Fields.Fields[at].Expr)
}

// resultNamed is the place of the result column of a name, -1 where none has
// it but by a star.
func resultNamed(s *ast.SelectStmt, name string) int {
	if s.Fields == nil {
		return -1
	}
	return slices.IndexFunc(s.Fields.Fields, func(f *ast.SelectField) bool {
		return f.WildCard == nil && (f.AsName.O != "" && sameName(f.AsName.O, name) || f.AsName.O == "" && sameName(columnName(f), name))
	})
}

// orderNames are the bare columns that a list orders by, as a query's tables
// have them.
func orderNames(s *ast.SelectStmt, items []*ast.ByItem) (out []orderName) {
	for _, it := range items {
		if p, ok := it.Expr.(*ast.PositionExpr); ok && p.P == nil {
			if n, ok := resultName(s, p.N-1); ok {
				out = append(out, n)
			}
			continue
		}
		n, ok := bareName(it.Expr)
		if !ok {
			continue
		}
		if at := resultNamed(s, n.name); n.table == "" && at >= 0 {
			if n, ok = resultName(s, at); !ok {
				continue // an alias of something else
			}
		}
		out = append(out, n)
	}
	return out
}

// inherited is an outer query's order in the names of an inner one's tables.
func inherited(s *ast.SelectStmt, list []orderName) (out []orderName) {
	for _, o := range list {
		switch at := resultNamed(s, o.name); {
		case at >= 0:
			if n, ok := resultName(s, at); ok {
				out = append(out, n)
			}
		case s.Fields != nil && slices.ContainsFunc(s.Fields.Fields, func(f *ast.SelectField) bool { return f.WildCard != nil }):
			out = append(out, orderName{name: o.name})
		}
	}
	return out
}
