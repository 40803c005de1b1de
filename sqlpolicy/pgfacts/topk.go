package pgfacts

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// Operators and functions that pgvector measures distance with
// (https://github.com/pgvector/pgvector).
var (
	distanceOperators = []string{"<->", "<#>", "<=>", "<+>", "<~>", "<%>"}
	distanceFunctions = []string{
		"l2_distance", "inner_product", "cosine_distance", "l1_distance", "hamming_distance",
		"jaccard_distance", "vector_negative_inner_product", "cosine_similarity",
		"vector_spherical_distance", "halfvec_negative_inner_product", "halfvec_spherical_distance",
		"sparsevec_negative_inner_product", "halfvec_l2_squared_distance", "vector_l2_squared_distance",
		"sparsevec_l2_squared_distance",
	}
)

// topK finds the largest LIMIT of a query, or of a subquery in it, that
// orders by a vector distance. Rows is 0 where there is none.
func (x bounds) topK(n *pg_query.Node) lineage.Bound {
	var out lineage.Bound
	walk(n, func(n *pg_query.Node) bool {
		if n.GetCommonTableExpr() != nil {
			return false // an effect of its own
		}
		s := n.GetSelectStmt()
		if s == nil || s.LimitCount == nil || !ordersByDistance(s) {
			return true
		}
		switch b := x.inside(s.WithClause).selectStmt(s); {
		case b.Limited():
			out.Rows = max(out.Rows, b.Rows)
			if b.Param != 0 {
				out.Param = b.Param
			}
		case b.Param != 0:
			out.Param = b.Param
		}
		return true
	})
	return out
}

// ordersByDistance looks through the aliases and ordinals that ORDER BY may
// use, in the query itself and the subqueries it reads from.
func ordersByDistance(s *pg_query.SelectStmt) bool {
	for _, n := range s.SortClause {
		by := n.GetSortBy()
		if by == nil {
			continue
		}
		if hasDistance(by.Node) {
			return true
		}
		if c := by.Node.GetAConst(); c != nil && c.GetIval() != nil {
			i := int(c.GetIval().Ival) - 1
			if i >= 0 && i < len(s.TargetList) && hasDistance(s.TargetList[i]) {
				return true
			}
		}
		named := false
		walk(by.Node, func(n *pg_query.Node) bool {
			if r := n.GetColumnRef(); r != nil {
				if _, name := splitName(r.Fields); name != "" && outputIsDistance(s, name, 8) {
					named = true
				}
			}
			return !named
		})
		if named {
			return true
		}
	}
	return false
}

// outputIsDistance says whether a result column of that name, of s or of what
// it reads from, is computed from a distance.
func outputIsDistance(s *pg_query.SelectStmt, name string, depth int) bool {
	if s == nil || depth == 0 {
		return false
	}
	for _, t := range s.TargetList {
		if r := t.GetResTarget(); r != nil && r.Name == name && hasDistance(r.Val) {
			return true
		}
	}
	if outputIsDistance(s.Larg, name, depth-1) || outputIsDistance(s.Rarg, name, depth-1) {
		return true
	}
	found := false
	look := func(q *pg_query.Node) { found = found || outputIsDistance(q.GetSelectStmt(), name, depth-1) }
	for _, f := range s.FromClause {
		walk(f, func(n *pg_query.Node) bool {
			if r := n.GetRangeSubselect(); r != nil {
				look(r.Subquery)
				return false
			}
			return !found
		})
	}
	for _, c := range s.GetWithClause().GetCtes() {
		look(c.GetCommonTableExpr().GetCtequery())
	}
	return found
}

func hasDistance(n *pg_query.Node) bool {
	found := false
	walk(n, func(n *pg_query.Node) bool {
		if e := n.GetAExpr(); e != nil {
			_, op := splitName(e.Name)
			found = found || slices.Contains(distanceOperators, op)
		}
		if f := n.GetFuncCall(); f != nil {
			_, name := splitName(f.Funcname)
			found = found || slices.Contains(distanceFunctions, name)
		}
		return !found
	})
	return found
}
