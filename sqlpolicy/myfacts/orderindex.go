package myfacts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// indexOrder records comparisons by the indexes in whose order a table's rows
// may come.
func (a *analysis) indexOrder(q *env, j joined, it item, used map[string]bool, star, lenient bool) {
	clustered := clusteredIndex(it.rel)
	for n, ix := range it.rel.Indexes {
		whole := n == clustered || !star && used != nil && covers(it.rel, ix, used)
		// Ties under some ORDER BY are left open for the column of a condition,
		// which its class lets be compared, not for those behind it in an index.
		if !whole && (lenient && len(ix.Columns) == 1 || !j.partMentioned(it, ix, 0)) {
			continue
		}
		var by []value
		for _, p := range a.orderedParts(it.rel, ix, clustered) {
			if len(by) > 0 || p.column < 0 || !pinned(j.where, it.rel.Columns[p.column].Name) {
				by = append(by, p.value)
			}
		}
		if ix.Unique && allPinned(it.rel, ix, j.where) {
			continue // one row, or NULLs
		}
		a.compared(q.place(-1), fmt.Sprintf("%s, which the index %s gives where ORDER BY does not", theOrder, ix.Name), by...)
	}
}

// clusteredIndex is the index by which InnoDB keeps a table's rows, -1 for
// none: the primary key, or the first unique key that has no NULL.
func clusteredIndex(r *catalog.Relation) int {
	if i := slices.IndexFunc(r.Indexes, func(ix catalog.IndexDef) bool { return ix.Name == "PRIMARY" }); i >= 0 {
		return i
	}
	return slices.IndexFunc(r.Indexes, func(ix catalog.IndexDef) bool { return strictlyUnique(r, ix) })
}

func strictlyUnique(r *catalog.Relation, ix catalog.IndexDef) bool {
	return ix.Unique && len(ix.Columns) > 0 && !slices.ContainsFunc(ix.Columns, func(n int32) bool {
		i := slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == n })
		return i < 0 || !r.Columns[i].NotNull && ix.Name != "PRIMARY"
	})
}

func allPinned(r *catalog.Relation, ix catalog.IndexDef, where ast.ExprNode) bool {
	for k := range ix.Columns {
		if i := indexColumn(r, ix, k); i < 0 || !pinned(where, r.Columns[i].Name) {
			return false
		}
	}
	return true
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
