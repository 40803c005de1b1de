package myfacts

import (
	"fmt"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// filter answers whether a statement's own words constrain the rows it
// touches: whether some conjunct of WHERE constrains a column of a target by
// something other than itself, IS NOT NULL, or an OR with a constant. Whatever
// is not plainly a constraint is not one.
type filter struct {
	a     *analysis
	items []filterItem
}

type filterItem struct {
	alias    string
	identity string
	rel      *catalog.Relation // nil for a derived table
	target   bool
}

// query is for reads: any relation of FROM is a target. A query that only
// reads from a filtered one is filtered, and a set operation where all its
// arms are.
func (x filter) query(n ast.Node) bool {
	switch s := n.(type) {
	case *ast.SelectStmt:
		if s.From == nil {
			return false
		}
		x.items = x.from(s.From.TableRefs, func(*catalog.Relation) bool { return true })
		if x.constrains(s.Where, false) {
			return true
		}
		if j := s.From.TableRefs; j.Right == nil {
			if t, ok := j.Left.(*ast.TableSource); ok {
				switch q := t.Source.(type) {
				case *ast.SelectStmt, *ast.SetOprStmt:
					return x.query(q)
				}
			}
		}
	case *ast.SetOprStmt:
		return x.list(s.SelectList)
	case *ast.SetOprSelectList:
		return x.list(s)
	case *ast.SubqueryExpr:
		return x.query(s.Query)
	}
	return false
}

func (x filter) list(l *ast.SetOprSelectList) bool {
	for _, n := range l.Selects {
		if !x.query(n) {
			return false
		}
	}
	return len(l.Selects) > 0
}

// write is for UPDATE and DELETE, whose conditions are about what they change.
func (x filter) write(_ *env, targets []*catalog.Relation, from *ast.Join, where ast.ExprNode) bool {
	x.items = x.from(from, func(r *catalog.Relation) bool {
		for _, t := range targets {
			if t == r {
				return true
			}
		}
		return false
	})
	return x.constrains(where, false)
}

func (x filter) from(n ast.ResultSetNode, target func(*catalog.Relation) bool) (out []filterItem) {
	switch s := n.(type) {
	case *ast.Join:
		out = x.from(s.Left, target)
		if s.Right != nil {
			out = append(out, x.from(s.Right, target)...)
		}
	case *ast.TableSource:
		if j, ok := s.Source.(*ast.Join); ok {
			return x.from(j, target)
		}
		it := filterItem{alias: s.AsName.O, identity: fmt.Sprintf("%p", s), target: target(nil)}
		if t, ok := s.Source.(*ast.TableName); ok {
			if it.alias == "" {
				it.alias = t.Name.O
			}
			if r := x.a.lookup(t); r != nil {
				it.identity, it.rel, it.target = r.Schema+"."+r.Name, r, target(r)
			}
		}
		out = append(out, it)
	}
	return out
}

// column finds what a reference means: its key, and whether it is a target's.
func (x filter) column(c *ast.ColumnName) (key string, target bool) {
	name := strings.ToLower(c.Name.O)
	for _, it := range x.items {
		if c.Table.O != "" {
			if x.a.sameTable(it.alias, c.Table.O) {
				return it.identity + "." + name, it.target
			}
			continue
		}
		if it.rel == nil && len(x.items) == 1 || it.rel != nil && columnNamed(it.rel, name) >= 0 {
			return it.identity + "." + name, it.target
		}
	}
	return "?." + name, false
}

// mentions gathers the columns of a value's expression. Columns under CASE,
// tests and conditions are left out: what they bring to it cannot be told.
func (x filter) mentions(n ast.ExprNode) (out lineage.Mentions) {
	switch e := n.(type) {
	case *ast.ColumnNameExpr:
		if key, target := x.column(e.Name); target {
			out.Targets = append(out.Targets, key)
		} else {
			out.Others = append(out.Others, key)
		}
	case *ast.ParenthesesExpr:
		return x.mentions(e.Expr)
	case *ast.FuncCastExpr:
		return x.mentions(e.Expr)
	case *ast.SetCollationExpr:
		return x.mentions(e.Expr)
	case *ast.RowExpr:
		for _, v := range e.Values {
			out.Add(x.mentions(v))
		}
	case *ast.FuncCallExpr:
		switch e.FnName.L {
		case "if", "ifnull", "coalesce", "nullif", "isnull", "nvl", "nvl2":
			return out
		}
		for _, v := range e.Args {
			out.Add(x.mentions(v))
		}
	case *ast.UnaryOperationExpr:
		if e.Op == opcode.Minus || e.Op == opcode.Plus {
			return x.mentions(e.V)
		}
	case *ast.BinaryOperationExpr:
		switch e.Op {
		case opcode.Plus, opcode.Minus, opcode.Div, opcode.IntDiv, opcode.Mod:
			out.Add(x.mentions(e.L))
			out.Add(x.mentions(e.R))
		}
	case *ast.SubqueryExpr:
		if s, ok := e.Query.(*ast.SelectStmt); ok && s.From != nil && (s.Where != nil || s.Limit != nil) {
			out.Others = append(out.Others, "()")
		}
	}
	return out
}

// constrains says whether the rows for which a condition (or, with negated,
// its negation) holds are constrained by it.
func (x filter) constrains(n ast.ExprNode, negated bool) bool {
	switch e := n.(type) {
	case *ast.ParenthesesExpr:
		return x.constrains(e.Expr, negated)
	case *ast.UnaryOperationExpr:
		return (e.Op == opcode.Not || e.Op == opcode.Not2) && x.constrains(e.V, !negated)
	case *ast.BinaryOperationExpr:
		switch and := (e.Op == opcode.LogicAnd) != negated; {
		case e.Op != opcode.LogicAnd && e.Op != opcode.LogicOr:
			return comparison(e.Op) && !complement(e) && lineage.Relates(x.mentions(e.L), x.mentions(e.R))
		case and:
			return x.constrains(e.L, negated) || x.constrains(e.R, negated)
		default:
			return x.constrains(e.L, negated) && x.constrains(e.R, negated) && !x.exhaust(e, negated)
		}
	case *ast.PatternInExpr:
		r := lineage.Mentions{}
		if e.Sel != nil {
			r.Others = []string{"()"}
		}
		for _, v := range e.List {
			r.Add(x.mentions(v))
		}
		return lineage.Relates(x.mentions(e.Expr), r)
	case *ast.BetweenExpr:
		r := x.mentions(e.Left)
		r.Add(x.mentions(e.Right))
		return lineage.Relates(x.mentions(e.Expr), r)
	case *ast.PatternLikeOrIlikeExpr:
		if v, ok := bare(e.Pattern).(ast.ValueExpr); ok && strings.Trim(v.GetString(), "%") == "" && !e.Not != negated {
			return false
		}
		return lineage.Relates(x.mentions(e.Expr), x.mentions(e.Pattern))
	case *ast.PatternRegexpExpr:
		return lineage.Relates(x.mentions(e.Expr), x.mentions(e.Pattern))
	case *ast.IsNullExpr:
		m := x.mentions(e.Expr)
		return e.Not == negated && len(m.Targets) > 0
	case *ast.ExistsSubqueryExpr:
		return false
	case *ast.ColumnNameExpr:
		_, target := x.column(e.Name)
		return target
	}
	return false
}

func comparison(op opcode.Op) bool {
	return lineage.ComparisonMask(literalOp(op)) != 0 || op == opcode.NullEQ
}

func literalOp(op opcode.Op) string {
	var b strings.Builder
	op.Format(&b)
	return b.String()
}

// complement says that both sides are the same words.
func complement(e *ast.BinaryOperationExpr) bool { return words(e.L) == words(e.R) }

func words(n ast.ExprNode) string {
	var b strings.Builder
	if err := bare(n).Restore(format.NewRestoreCtx(format.DefaultRestoreFlags, &b)); err != nil {
		return fmt.Sprintf("%p", n)
	}
	return strings.ToLower(b.String())
}

// exhaust says that two arms of a disjunction hold of every row together:
// id = 1 OR id <> 1.
func (x filter) exhaust(e *ast.BinaryOperationExpr, negated bool) bool {
	l, lok := bare(e.L).(*ast.BinaryOperationExpr)
	r, rok := bare(e.R).(*ast.BinaryOperationExpr)
	if lok && rok && comparison(l.Op) && comparison(r.Op) {
		if words(l.L) != words(r.L) {
			return false
		}
		a, b := lineage.ComparisonMask(literalOp(l.Op)), lineage.ComparisonMask(literalOp(r.Op))
		if negated {
			a, b = ^a&7, ^b&7
		}
		// Ranges may overlap whatever their ends: id > 0 OR id < 9.
		return a|b == 7 || (a|b)&5 == 5
	}
	return !lok && !rok && words(stripNot(e.L)) == words(stripNot(e.R))
}

func stripNot(n ast.ExprNode) ast.ExprNode {
	n = bare(n)
	if u, ok := n.(*ast.UnaryOperationExpr); ok && (u.Op == opcode.Not || u.Op == opcode.Not2) {
		return bare(u.V)
	}
	return n
}
