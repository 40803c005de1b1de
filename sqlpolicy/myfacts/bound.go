package myfacts

import (
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// bounds works out the most rows that queries' own words allow.
type bounds struct {
	a    *analysis
	with []*ast.WithClause
}

func (x bounds) inside(w *ast.WithClause) bounds {
	if w != nil {
		x.with = append(x.with[:len(x.with):len(x.with)], w)
	}
	return x
}

// query is the bound of any query.
func (x bounds) query(n ast.Node) lineage.Bound {
	switch s := n.(type) {
	case *ast.SelectStmt:
		return x.inside(s.With).selectStmt(s)
	case *ast.SetOprStmt:
		x = x.inside(s.With)
		return x.list(s.SelectList).Smaller(x.limit(s.Limit))
	case *ast.SetOprSelectList:
		return x.inside(s.With).list(s)
	case *ast.SubqueryExpr:
		return x.query(s.Query)
	}
	return lineage.Unbounded()
}

func (x bounds) list(l *ast.SetOprSelectList) lineage.Bound {
	var sum lineage.Bound
	for i, n := range l.Selects {
		switch b, op := x.query(n), afterOperator(n); {
		case i == 0:
			sum = b
		case op != nil && (*op == ast.Except || *op == ast.ExceptAll):
		default: // INTERSECT yields no more than UNION
			sum = sum.Plus(b)
		}
	}
	return sum.Smaller(x.limit(l.Limit))
}

func (x bounds) selectStmt(s *ast.SelectStmt) lineage.Bound {
	b := lineage.Unbounded()
	switch {
	case s.Kind == ast.SelectStmtKindValues:
		b = lineage.Rows(len(s.Lists))
	case s.Kind == ast.SelectStmtKindTable:
	case s.From == nil:
		b = lineage.Rows(1)
	case s.GroupBy == nil && x.aggregates(s):
		b = lineage.Rows(1)
	default:
		b = x.from(s.From.TableRefs)
	}
	return b.Smaller(x.limit(s.Limit))
}

// aggregates says that the whole result is one group.
func (x bounds) aggregates(s *ast.SelectStmt) bool {
	found := s.Having != nil && calls(s.Having.Expr)
	for _, f := range s.Fields.Fields {
		if f.Expr != nil && calls(f.Expr) {
			found = true
		}
	}
	return found
}

// calls says that an expression calls an aggregate, outside its subqueries.
func calls(n ast.Node) bool {
	found := false
	walk(n, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.SubqueryExpr, *ast.WindowFuncExpr:
			return false
		case *ast.AggregateFuncExpr:
			found = true
		}
		return true
	})
	return found
}

func (x bounds) from(n ast.ResultSetNode) lineage.Bound {
	switch s := n.(type) {
	case *ast.Join:
		if s.Right == nil {
			return x.from(s.Left)
		}
		if s.Tp == ast.CrossJoin {
			return x.from(s.Left).Times(x.from(s.Right))
		}
	case *ast.TableSource:
		if t, ok := s.Source.(*ast.TableName); ok {
			return x.table(t)
		}
		if j, ok := s.Source.(*ast.Join); ok {
			return x.from(j)
		}
		return x.query(s.Source)
	}
	return lineage.Unbounded()
}

func (x bounds) table(t *ast.TableName) lineage.Bound {
	if t.Schema.O != "" {
		return lineage.Unbounded()
	}
	for i := len(x.with) - 1; i >= 0; i-- {
		for _, c := range x.with[i].CTEs {
			if strings.EqualFold(c.Name.O, t.Name.O) {
				if x.with[i].IsRecursive {
					return lineage.Unbounded()
				}
				return bounds{a: x.a, with: x.with[:i]}.query(c.Query)
			}
		}
	}
	return lineage.Unbounded()
}

// limit is the bound that LIMIT sets.
func (x bounds) limit(l *ast.Limit) lineage.Bound {
	if l == nil || l.Count == nil {
		return lineage.Unbounded()
	}
	switch c := l.Count.(type) {
	case *test_driver.ParamMarkerExpr:
		if x.a.lexed != nil && !x.a.loosePar {
			return lineage.Bound{Rows: facts.NoLimit, Param: x.a.lexed.paramNumber(c.Offset, x.a.first)}
		}
	case *test_driver.ValueExpr:
		if v, ok := literalOf(c); ok && v.text != nil && v.t.class == clsInt {
			if n, err := strconv.ParseInt(*v.text, 10, 64); err == nil && n >= 0 {
				return lineage.Bound{Rows: n}
			}
		}
	}
	return lineage.Unbounded()
}
