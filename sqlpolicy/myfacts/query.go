package myfacts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// result analyses a query: SELECT, or a set operation.
func (a *analysis) result(e *env, n ast.Node) *entry {
	if !a.step() {
		return &entry{}
	}
	switch x := n.(type) {
	case *ast.SelectStmt:
		return a.selectStmt(e, x)
	case *ast.SetOprStmt:
		e = a.withClause(e, x.With)
		restore := a.setOrdering(e, x.Limit != nil && x.OrderBy == nil, x.SelectList.Selects[0], x.OrderBy, x.SelectList.OrderBy)
		out := a.setOperation(e, x.SelectList.Selects, x.SelectList.With)
		restore()
		a.onResult(e, out, x.SelectList.OrderBy, x.SelectList.Limit)
		a.onResult(e, out, x.OrderBy, x.Limit)
		return out
	case *ast.SetOprSelectList:
		e = a.withClause(e, x.With)
		out := a.setOperation(e, x.Selects, nil)
		a.onResult(e, out, x.OrderBy, x.Limit)
		return out
	case *ast.SubqueryExpr:
		return a.result(e, x.Query)
	case *ast.TableSource:
		if x.AsName.O == "" {
			return a.result(e, x.Source)
		}
	}
	a.fail(notUnderstood("this query", -1))
	return &entry{}
}

// target is an entry of the result list.
type target struct {
	column
	node ast.ExprNode // nil where it came from a star
}

func (a *analysis) selectStmt(e *env, s *ast.SelectStmt) *entry {
	own, restore := a.ordering(e, s)
	defer restore()
	if s.With != nil {
		within := a.order
		if innerLimit(s) || !single(s) {
			a.order = order{}
		}
		a.nested++
		e = a.withClause(e, s.With)
		a.nested--
		a.order = within
	}
	if s.Kind != ast.SelectStmtKindSelect {
		return a.tableOrValues(e, s)
	}
	if s.SelectIntoOpt != nil {
		a.fail(notUnderstood("INTO in a subquery", -1))
	}
	q := e.inner()
	q.sc = &scope{parent: e.sc}
	if s.From != nil {
		a.from(q, s.From.TableRefs)
	}
	if s.Where != nil {
		d := q.deciding("where clause")
		a.condition(d.place(-1), "a condition", a.expr(d, s.Where))
	}
	targets := a.targets(q, s.Fields.Fields)
	d := q.deciding("group statement")
	d.aliased = true
	if s.GroupBy != nil {
		for _, by := range s.GroupBy.Items {
			v := a.sortItem(d, by.Expr, targets)
			a.known(d.place(a.at(exprAt(by.Expr))), "GROUP BY", v)
			if !a.orders(s.OrderBy) && len(v.Flow) > 0 && !(e.pred && s.Limit == nil) {
				a.compared(d.place(a.at(exprAt(by.Expr))), "GROUP BY, which sorts where ORDER BY does not", v)
			}
		}
	}
	if s.Having != nil {
		h := d.deciding("having clause")
		a.condition(h.place(-1), "HAVING", a.expr(h, s.Having.Expr))
	}
	for i := range s.WindowSpecs {
		a.window(q, &s.WindowSpecs[i])
	}
	if s.Distinct {
		for _, t := range targets {
			a.known(d.place(a.at(exprAt(t.node))), "DISTINCT", t.value)
		}
	}
	a.orderBy(d, s.OrderBy, targets)
	a.limit(d, s.Limit)
	a.unordered(q, s, own)
	out := &entry{}
	for _, t := range targets {
		out.columns = append(out.columns, t.column)
	}
	return out
}

// tableOrValues is TABLE t and VALUES ROW(…).
func (a *analysis) tableOrValues(e *env, s *ast.SelectStmt) *entry {
	q := e.inner()
	q.sc = &scope{parent: e.sc}
	out := &entry{}
	if s.Kind == ast.SelectStmtKindTable {
		if s.From == nil {
			a.fail(notUnderstood("this TABLE", -1))
			return out
		}
		a.from(q, s.From.TableRefs)
		out.columns = a.star(q, &ast.WildCardField{}, -1)
	} else {
		for i, row := range s.Lists {
			for j, x := range row.Values {
				v := a.expr(q, x)
				if i == 0 {
					out.columns = append(out.columns, column{name: fmt.Sprintf("column_%d", j), value: v})
				} else if j < len(out.columns) {
					out.columns[j].value = a.either(q.place(-1), "VALUES", out.columns[j].value, v)
				}
			}
		}
	}
	a.onResult(e, out, s.OrderBy, s.Limit)
	return out
}

// targets analyses a result list.
func (a *analysis) targets(q *env, list []*ast.SelectField) []target {
	var out []target
	for _, f := range list {
		if f.WildCard != nil {
			for _, c := range a.star(q, f.WildCard, f.Offset) {
				out = append(out, target{column: c})
				q.sc.results = append(q.sc.results, c)
			}
			continue
		}
		v := a.expr(q, f.Expr)
		c := column{name: f.AsName.O, value: v}
		if c.name == "" {
			c.name = columnName(f)
		}
		out = append(out, target{column: c, node: f.Expr})
		q.sc.results = append(q.sc.results, c)
	}
	return out
}

// columnName is what the server calls a result column without an alias: a
// column's name, a string's text, else the words of the expression.
func columnName(f *ast.SelectField) string {
	switch x := bare(f.Expr).(type) {
	case *ast.ColumnNameExpr:
		return x.Name.Name.O
	case ast.ValueExpr:
		if v, ok := literalOf(x); ok && v.text != nil && v.t.class == clsString {
			return *v.text
		}
	}
	return strings.TrimSpace(f.Text())
}

func bare(x ast.ExprNode) ast.ExprNode {
	for {
		p, ok := x.(*ast.ParenthesesExpr)
		if !ok {
			return x
		}
		x = p.Expr
	}
}

// sortItem resolves an item of ORDER BY or GROUP BY: a number stands for a
// result column.
func (a *analysis) sortItem(d *env, x ast.ExprNode, targets []target) value {
	if p, ok := x.(*ast.PositionExpr); ok {
		if p.P != nil {
			return a.expr(d, p.P)
		}
		if p.N < 1 || p.N > len(targets) {
			a.fail(&facts.Problem{Code: "1054", At: -1, Message: fmt.Sprintf("Unknown column '%d' in '%s'", p.N, d.clause)})
			return value{}
		}
		return targets[p.N-1].value
	}
	return a.expr(d, x)
}

func (a *analysis) orderBy(d *env, by *ast.OrderByClause, targets []target) {
	if by == nil {
		return
	}
	o := d.deciding("order clause")
	o.aliased = true
	for _, it := range by.Items {
		a.sorted(o.place(a.at(exprAt(it.Expr))), a.sortItem(o, it.Expr, targets))
	}
}

// sorted records that rows come out in the order of a value.
func (a *analysis) sorted(p lineage.Place, v value) {
	if len(v.Flow) > 0 {
		a.compared(p, "ORDER BY", v)
	}
}

func (a *analysis) limit(d *env, l *ast.Limit) {
	if l == nil {
		return
	}
	for _, x := range []ast.ExprNode{l.Count, l.Offset} {
		if x != nil {
			a.condition(d.place(a.at(exprAt(x))), "LIMIT", a.expr(d, x))
		}
	}
}

// onResult is the ORDER BY and LIMIT of a set operation, which see the
// result's columns only.
func (a *analysis) onResult(e *env, out *entry, by *ast.OrderByClause, l *ast.Limit) {
	if by == nil && l == nil {
		return
	}
	d := e.deciding("order clause")
	d.sc = &scope{parent: e.sc, items: []item{{entry: &entry{columns: out.columns}, bare: true}}}
	targets := make([]target, len(out.columns))
	for i, c := range out.columns {
		targets[i] = target{column: c}
	}
	a.orderBy(d, by, targets)
	a.limit(d, l)
}

// setOperation analyses UNION, INTERSECT and EXCEPT. Whatever the order in
// which they bind, each column's rows come from any arm, and they are compared
// unless all is UNION ALL.
func (a *analysis) setOperation(e *env, selects []ast.Node, with *ast.WithClause) *entry {
	e = a.withClause(e, with)
	var arms []*entry
	compared := ""
	for i, n := range selects {
		op := afterOperator(n)
		if i > 0 && (op == nil || *op != ast.UnionAll) {
			compared = "UNION"
			if op != nil {
				compared = strings.TrimSuffix(op.String(), " ALL")
			}
		}
		arms = append(arms, a.result(e.inner(), n))
	}
	return a.together(e, arms, compared)
}

// together is the result of several queries put together.
func (a *analysis) together(e *env, arms []*entry, compared string) *entry {
	if len(arms) == 0 {
		a.fail(notUnderstood("this query", -1))
		return &entry{}
	}
	out := &entry{columns: slices.Clone(arms[0].columns)}
	for _, m := range arms[1:] {
		if len(m.columns) != len(out.columns) {
			a.fail(&facts.Problem{Code: "1222", At: -1, Message: "The used SELECT statements have a different number of columns"})
			return &entry{}
		}
	}
	p := e.deciding("").place(-1)
	for i := range out.columns {
		values := make([]value, len(arms))
		for j, m := range arms {
			values[j] = m.columns[i].value
		}
		out.columns[i].value = a.either(e.place(-1), "a set operation", values...)
		out.columns[i].text, out.columns[i].param = nil, 0
		if compared != "" {
			a.matched(p, compared, values)
		}
	}
	return out
}

// matched: rows of all arms are compared with each other.
func (a *analysis) matched(p lineage.Place, what string, arms []value) {
	var kinds []value
	for _, v := range arms {
		if !slices.ContainsFunc(kinds, func(k value) bool {
			return k.Flow.Equal(v.Flow) && k.t == v.t && k.plain == v.plain && k.loose == v.loose
		}) {
			kinds = append(kinds, v)
		}
	}
	for i, v := range kinds {
		if len(v.Flow) > 0 {
			a.known(p, what, v)
		}
		for _, w := range kinds[:i] {
			a.equal(p, what, w, v)
		}
	}
	a.meet(arms...)
}

func afterOperator(n ast.Node) *ast.SetOprType {
	switch x := n.(type) {
	case *ast.SelectStmt:
		return x.AfterSetOperator
	case *ast.SetOprSelectList:
		return x.AfterSetOperator
	}
	return nil
}

// withScope is a WITH clause in scope.
type withScope struct {
	outer *withScope
	ctes  []*cte
}

type cte struct {
	name string
	body *entry // nil while it is not known: only its own recursion sees it
	open bool
}

// find looks a name up; close says that one goes by it but for its case.
func (a *analysis) findCTE(w *withScope, name string) (c *cte, close bool) {
	for ; w != nil; w = w.outer {
		for i := len(w.ctes) - 1; i >= 0; i-- {
			if w.ctes[i].name == name {
				return w.ctes[i], false
			}
			close = close || strings.EqualFold(w.ctes[i].name, name)
		}
		if close {
			return nil, true
		}
	}
	return nil, false
}

// withClause analyses a WITH clause's queries in order.
func (a *analysis) withClause(e *env, w *ast.WithClause) *env {
	if w == nil {
		return e
	}
	out := *e
	ws := &withScope{outer: e.with}
	out.with = ws
	for i, c := range w.CTEs {
		k := &cte{name: c.Name.O}
		for _, o := range ws.ctes {
			if strings.EqualFold(o.name, k.name) {
				a.fail(&facts.Problem{Code: "1066", At: -1, Message: fmt.Sprintf("Not unique table/alias: '%s'", k.name)})
			}
		}
		inner := out.inner()
		inner.with = &withScope{outer: e.with, ctes: slices.Clone(ws.ctes)}
		if w.IsRecursive {
			a.laterCTEs(c.Query.Query, w.CTEs[i+1:])
			inner.with.ctes = append(inner.with.ctes, k)
			a.recursive(inner, c, k)
		} else {
			k.body = a.named(a.result(inner, c.Query.Query), c.ColNameList)
		}
		ws.ctes = append(ws.ctes, k)
	}
	return &out
}

// laterCTEs refuses recursion through a query that is defined later.
func (a *analysis) laterCTEs(n ast.Node, later []*ast.CommonTableExpression) {
	if len(later) == 0 {
		return
	}
	walk(n, func(n ast.Node) bool {
		if t, ok := n.(*ast.TableName); ok && t.Schema.O == "" {
			for _, c := range later {
				if strings.EqualFold(c.Name.O, t.Name.O) {
					a.fail(notUnderstood("a WITH query that uses a later one", -1))
				}
			}
		}
		return true
	})
}

// named gives a query's columns the names that are listed for them.
func (a *analysis) named(body *entry, names []ast.CIStr) *entry {
	out := &entry{columns: derived(body.columns)}
	if len(names) > 0 && len(names) != len(out.columns) && a.problem == nil {
		a.fail(&facts.Problem{Code: "1353", At: -1, Message: "WITH column list and SELECT field list have different column counts"})
	}
	for i, n := range names {
		if i < len(out.columns) {
			out.columns[i].name = n.O
		}
	}
	return out
}

// derived is how a query's columns look from outside: literals are no longer
// written there.
func derived(cols []column) []column {
	out := slices.Clone(cols)
	for i := range out {
		out[i].text, out[i].null, out[i].param, out[i].row = nil, false, 0, nil
	}
	return out
}

// recursive analyses a recursive query until its columns no longer grow.
func (a *analysis) recursive(e *env, c *ast.CommonTableExpression, k *cte) {
	k.open = true
	selects := []ast.Node{c.Query.Query}
	if s, ok := c.Query.Query.(*ast.SetOprStmt); ok && s.With == nil && s.SelectList.With == nil {
		selects = s.SelectList.Selects
	}
	base := a.result(e.inner(), selects[0])
	k.body = a.named(base, c.ColNameList)
	k.open = false
	// A recursive column has the type of the first arm; what the others bring
	// is converted to it, with a warning where it is cut.
	for range 16 {
		whole := a.result(e.inner(), c.Query.Query)
		grown := false
		for i := range k.body.columns {
			if i >= len(whole.columns) {
				break
			}
			now := whole.columns[i].value
			v, more := lineage.Widen(k.body.columns[i].Value, now.Value)
			k.body.columns[i].Value = v
			k.body.columns[i].plain = k.body.columns[i].plain && now.plain
			if now.t != k.body.columns[i].t {
				more = more || k.body.columns[i].t != typ{}
				k.body.columns[i].t = typ{}
			}
			grown = grown || more
			if len(selects) > 1 && len(v.Flow) > 0 && (!v.Flow.Bare() || k.body.columns[i].t == typ{}) {
				a.opaque(e.place(-1), "a recursive query's column", typ{}, k.body.columns[i].value)
			}
		}
		if !grown || a.problem != nil {
			return
		}
	}
	a.fail(notUnderstood("a recursive query as deep as this", -1))
}
