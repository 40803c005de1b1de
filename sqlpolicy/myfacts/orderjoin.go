package myfacts

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// joined are the tables of a query and the conditions on them.
type joined struct {
	where ast.ExprNode
	on    []ast.ExprNode
	using []string
	items []item
}

func (j *joined) from(n ast.ResultSetNode) {
	x, ok := n.(*ast.Join)
	if !ok {
		if t, ok := n.(*ast.TableSource); ok {
			if inner, ok := t.Source.(*ast.Join); ok {
				j.from(inner)
			}
		}
		return
	}
	j.from(x.Left)
	if x.Right != nil {
		j.from(x.Right)
	}
	if x.On != nil {
		j.on = append(j.on, x.On.Expr)
	}
	for _, c := range x.Using {
		j.using = append(j.using, c.Name.O)
	}
}

// mentions says that a condition names a column of a table.
func (j joined) mentions(it item, name string) bool {
	found := slices.ContainsFunc(j.using, func(u string) bool { return sameName(u, name) })
	for _, x := range append([]ast.ExprNode{j.where}, j.on...) {
		if x != nil {
			walk(x, func(n ast.Node) bool {
				c, ok := n.(*ast.ColumnName)
				found = found || ok && sameName(c.Name.O, name) && (c.Table.O == "" || c.Table.O == it.alias)
				return !found
			})
		}
	}
	return found
}

// decided says that one of the orders tells a table's rows apart: it has a
// unique key of the table, or the table is reached by its key from one that it
// tells apart.
func (j joined) decided(it item, lists [][]orderName, seen []*entry) bool {
	if it.rel == nil || slices.Contains(seen, it.entry) {
		return false
	}
	for _, ix := range it.rel.Indexes {
		if !strictlyUnique(it.rel, ix) {
			continue
		}
		for _, list := range lists {
			if j.hasKey(it, ix, func(name string) bool {
				return slices.ContainsFunc(list, func(o orderName) bool { return sameName(o.name, name) && j.means(it, o.table) })
			}) {
				return true
			}
		}
		for _, from := range j.items {
			if from.entry != it.entry && from.rel != nil && j.hasKey(it, ix, func(name string) bool { return j.reached(it, name, from) }) &&
				j.decided(from, lists, append(seen, it.entry)) {
				return true
			}
		}
	}
	return false
}

func (j joined) hasKey(it item, ix catalog.IndexDef, has func(name string) bool) bool {
	for k := range ix.Columns {
		if i := indexColumn(it.rel, ix, k); i < 0 || !has(it.rel.Columns[i].Name) && !pinned(j.where, it.rel.Columns[i].Name) {
			return false
		}
	}
	return true
}

// means says that a qualifier, or none, means a table's columns.
func (j joined) means(it item, table string) bool { return table == "" || table == it.alias }

// reached says that a condition holds a table's column equal to a column of
// another one.
func (j joined) reached(it item, name string, from item) bool {
	if slices.ContainsFunc(j.using, func(u string) bool { return sameName(u, name) && len(from.find(u)) > 0 }) {
		return true
	}
	found := false
	for _, x := range append([]ast.ExprNode{j.where}, j.on...) {
		conjuncts(x, func(x ast.ExprNode) {
			b, ok := x.(*ast.BinaryOperationExpr)
			if !ok || b.Op != opcode.EQ {
				return
			}
			l, lok := bareName(b.L)
			r, rok := bareName(b.R)
			if !lok || !rok {
				return
			}
			for _, p := range [][2]orderName{{l, r}, {r, l}} {
				if sameName(p[0].name, name) && (p[0].table == it.alias || p[0].table == "" && len(from.find(name)) == 0) &&
					(p[1].table == from.alias || p[1].table == "" && len(from.find(p[1].name)) > 0 && len(it.find(p[1].name)) == 0) {
					found = true
				}
			}
		})
	}
	return found
}

func conjuncts(x ast.ExprNode, f func(ast.ExprNode)) {
	if x == nil {
		return
	}
	x = bare(x)
	if b, ok := x.(*ast.BinaryOperationExpr); ok && b.Op == opcode.LogicAnd {
		conjuncts(b.L, f)
		conjuncts(b.R, f)
		return
	}
	f(x)
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
		case opcode.LogicOr:
			return pinned(x.L, name) && pinned(x.R, name)
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
