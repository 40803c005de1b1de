package pgfacts

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// joinAmplifies decides whether the items of a query level can multiply each
// other, so that aggregating them could go beyond any length. They cannot if
// all but one are reached through a unique key from those before.
func (a *analysis) joinAmplifies(q *env) {
	var leaves []*entry
	for _, it := range q.sc.items {
		if it.alias != "" || it.rel != nil {
			if !slices.Contains(leaves, it.entry) {
				leaves = append(leaves, it.entry)
			}
		}
	}
	if len(leaves) < 2 || q.level.amplified {
		return
	}
	pairs := slices.Clone(q.level.pairs)
	for _, c := range q.level.conditions {
		for _, of := range columnPairs(c.sc, c.expr) {
			pairs = append(pairs, columnPair{of, c.pins})
		}
	}
	for _, root := range leaves {
		if reachesAll(root, leaves, pairs) {
			return
		}
	}
	q.level.amplified = true
	if components(leaves, pairs) > 2 {
		q.level.boundless = true
	}
}

// components counts the groups of items that no equality ties together.
func components(leaves []*entry, pairs []columnPair) int {
	n := 0
	seen := map[*entry]bool{}
	for _, l := range leaves {
		if seen[l] {
			continue
		}
		n++
		queue := []*entry{l}
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			if seen[at] {
				continue
			}
			seen[at] = true
			for _, p := range pairs {
				for i := range p.of {
					if p.of[i].entry == at {
						queue = append(queue, p.of[1-i].entry)
					}
				}
			}
		}
	}
	return n
}

func reachesAll(root *entry, leaves []*entry, pairs []columnPair) bool {
	reached := []*entry{root}
	for grown := true; grown; {
		grown = false
		for _, l := range leaves {
			if !slices.Contains(reached, l) && keyedBy(l, reached, pairs) {
				reached, grown = append(reached, l), true
			}
		}
	}
	return len(reached) == len(leaves)
}

// keyedBy says that equalities with columns of others pin a unique key of l.
func keyedBy(l *entry, others []*entry, pairs []columnPair) bool {
	if l.rel == nil || l.renamed {
		return false
	}
	pinned := map[string]bool{}
	for _, p := range pairs {
		for i := range p.of {
			if p.of[i].entry == l && p.pinsEntry(l) && slices.Contains(others, p.of[1-i].entry) {
				pinned[p.of[i].name] = true
			}
		}
	}
	for _, ix := range l.rel.Indexes {
		if ix.Unique && len(ix.Columns) > 0 && len(ix.Exprs) == 0 && allPinned(l.rel, ix, pinned) {
			return true
		}
	}
	return false
}

func allPinned(r *catalog.Relation, ix catalog.IndexDef, pinned map[string]bool) bool {
	for _, num := range ix.Columns {
		i := columnIndex(r, num)
		if i < 0 || !pinned[r.Columns[i].Name] {
			return false
		}
	}
	return true
}

// columnPairs are the equalities between columns that a condition demands.
func columnPairs(sc *scope, n *pg_query.Node) [][2]columnAt {
	if b := n.GetBoolExpr(); b != nil && b.Boolop == pg_query.BoolExprType_AND_EXPR {
		var out [][2]columnAt
		for _, x := range b.Args {
			out = append(out, columnPairs(sc, x)...)
		}
		return out
	}
	e := n.GetAExpr()
	if e == nil || e.Kind != pg_query.A_Expr_Kind_AEXPR_OP {
		return nil
	}
	if schema, op := splitName(e.Name); op != "=" || schema != "" {
		return nil
	}
	l, lok := columnIn(sc, e.Lexpr.GetColumnRef())
	r, rok := columnIn(sc, e.Rexpr.GetColumnRef())
	if !lok || !rok || l.entry == r.entry {
		return nil
	}
	return [][2]columnAt{{l, r}}
}

// columnIn finds a column of this level's items by alias, or by a name that
// only one of them has.
func columnIn(sc *scope, ref *pg_query.ColumnRef) (columnAt, bool) {
	parts := names(ref.GetFields())
	if ref == nil || len(parts) == 0 || len(parts) > 2 || len(parts) != len(ref.Fields) {
		return columnAt{}, false
	}
	name := parts[len(parts)-1]
	var found []*entry
	for _, it := range sc.items {
		if it.alias == "" || len(parts) == 2 && (it.alias != parts[0] || !it.named) {
			continue
		}
		if slices.ContainsFunc(it.columns, func(c column) bool { return c.name == name }) && !slices.Contains(found, it.entry) {
			found = append(found, it.entry)
		}
	}
	if len(found) != 1 {
		return columnAt{}, false
	}
	return columnAt{found[0], name}, true
}
