package myfacts

import (
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// indexPart is one of the values that an index's entries are made of.
type indexPart struct {
	value
	column int  // in Relation.Columns, -1 for an expression
	whole  bool // not only the beginning of a column
}

// indexParts are an index's parts, in order: columns, beginnings of columns
// (equal ones need not be of equal values), and expressions.
func (a *analysis) indexParts(r *catalog.Relation, ix catalog.IndexDef) []indexPart {
	cols := a.columnsOf(r)
	exprs := ix.Exprs
	out := make([]indexPart, len(ix.Columns))
	for k, num := range ix.Columns {
		p := indexPart{column: indexColumn(r, ix, k)}
		switch {
		case p.column >= 0:
			p.value, p.whole = cols[p.column].value, partLength(ix, k) == 0
			if !p.whole {
				p.Flow, p.loose = p.Flow.Computed(), true
			}
		case num == 0 && len(exprs) > 0:
			p.value, exprs = a.indexExpr(r, cols, exprs[0]), exprs[1:]
		default:
			p.value = a.anyOf(cols)
		}
		out[k] = p
	}
	return out
}

func partLength(ix catalog.IndexDef, k int) int32 {
	if k < len(ix.Lengths) {
		return ix.Lengths[k]
	}
	return 0
}

// indexExpr is the value of an index's expression, which may be of any column
// where it is not understood.
func (a *analysis) indexExpr(r *catalog.Relation, cols []column, text string) value {
	before := a.problem
	flow, _ := a.schemaExpr(r, cols, text)
	if a.problem != before {
		a.problem = before
		return a.anyOf(cols)
	}
	out := value{}
	out.Flow = flow
	return out
}

// anyOf is a value that depends on whatever columns.
func (a *analysis) anyOf(cols []column) value {
	out := value{}
	for _, c := range cols {
		out.Flow = lineage.Merge(out.Flow, c.Flow.Computed())
	}
	return out
}

// schemaExpr is what the value of an expression of the schema over a table's
// row depends on, and whether computing it may fail.
func (a *analysis) schemaExpr(r *catalog.Relation, cols []column, text string) (flow lineage.Flow, failing bool) {
	a.within([]string{r.Schema}, func() {
		outer, before := a.ledger, a.failing
		a.ledger, a.failing = lineage.Ledger{}, false
		a.stack = append(a.stack, newArm())
		if x := a.expression(text); x != nil {
			flow = a.expr(a.overRow(r, cols), x).Flow
			for _, u := range a.ledger.Uses() {
				failing = failing || u.Kind == facts.UseCode
				for _, c := range u.Columns {
					flow = lineage.Merge(flow, lineage.Flow{{ColumnRef: c}})
				}
			}
		}
		a.leave()
		failing = failing || a.failing
		a.ledger, a.failing = outer, before
	})
	return flow.Computed(), failing
}

// partMentioned says that a condition names what an index's part is made of.
func (j joined) partMentioned(it item, ix catalog.IndexDef, k int) bool {
	if i := indexColumn(it.rel, ix, k); i >= 0 {
		return j.mentions(it, it.rel.Columns[i].Name)
	}
	return slices.ContainsFunc(it.rel.Columns, func(c catalog.Column) bool {
		return j.mentions(it, c.Name) && slices.ContainsFunc(ix.Exprs, func(x string) bool { return strings.Contains(x, "`"+c.Name+"`") })
	})
}

// orderedParts are the parts that an index's entries are ordered by, up to
// where they are unique: its own, and then the clustered index's.
func (a *analysis) orderedParts(r *catalog.Relation, ix catalog.IndexDef, clustered int) (out []indexPart) {
	parts := a.indexParts(r, ix)
	if clustered >= 0 && !strictlyUnique(r, ix) {
		parts = append(parts, a.indexParts(r, r.Indexes[clustered])...)
	}
	has := map[int32]bool{}
	for _, p := range parts {
		out = append(out, p)
		if p.column < 0 || !p.whole {
			continue
		}
		has[r.Columns[p.column].Num] = true
		if slices.ContainsFunc(r.Indexes, func(k catalog.IndexDef) bool {
			return strictlyUnique(r, k) && !slices.ContainsFunc(k.Columns, func(n int32) bool { return !has[n] })
		}) {
			break
		}
	}
	return out
}
