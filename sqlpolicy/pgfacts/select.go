package pgfacts

import (
	"fmt"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// selectStmt analyses a SELECT, VALUES or set operation. e's scope is what
// the query sees from outside.
func (a *analysis) selectStmt(e *env, s *pg_query.SelectStmt) *entry {
	if s == nil || !a.step() {
		return &entry{}
	}
	e = a.withClause(e, s.WithClause)
	switch {
	case isSetOperation(s):
		return a.setOperation(e, s)
	case len(s.ValuesLists) > 0:
		return a.values(e, s)
	}
	return a.simpleSelect(e, s)
}

func isSetOperation(s *pg_query.SelectStmt) bool {
	switch s.Op {
	case pg_query.SetOperation_SETOP_UNION, pg_query.SetOperation_SETOP_INTERSECT, pg_query.SetOperation_SETOP_EXCEPT:
		return true
	}
	return false
}

// target is an entry of the result list with the expression it came from.
type target struct {
	column
	node *pg_query.Node // nil where it came from a star
}

func (a *analysis) simpleSelect(e *env, s *pg_query.SelectStmt) *entry {
	q := e.inner()
	q.sc = &scope{parent: e.sc}
	a.fromClause(q, s.FromClause)
	d := q.deciding()
	a.where(q, s.WhereClause)
	a.joinAmplifies(q)

	targets := a.targets(q, s.TargetList)
	a.groupBy(d, s.GroupClause, targets, q.level.presorted || slices.ContainsFunc(s.GroupClause, isGroupingSet))
	if s.HavingClause != nil {
		a.condition(d.place(-1), "HAVING", a.expr(d, s.HavingClause))
	}
	for _, w := range s.WindowClause {
		a.window(d, w.GetWindowDef())
	}
	a.distinct(d, s.DistinctClause, targets)
	a.orderBy(d, s.SortClause, targets)
	a.limit(d, s)
	out := result(targets)
	out.amplified = q.level.amplified || q.level.sets
	out.boundless = q.level.boundless || q.level.sets
	return out
}

func result(targets []target) *entry {
	out := &entry{columns: make([]column, len(targets))}
	for i, t := range targets {
		out.columns[i] = t.column
	}
	return out
}

func (a *analysis) where(q *env, where *pg_query.Node) {
	if where == nil {
		return
	}
	d := q.deciding()
	a.condition(d.place(-1), "a condition", a.expr(d, where))
	q.level.conditions = append(q.level.conditions, condition{q.sc, where, q.sc.items})
}

// targets analyses a result list.
func (a *analysis) targets(q *env, list []*pg_query.Node) []target {
	var out []target
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil || t.Val == nil {
			a.fail(notUnderstood("this result column", -1))
			continue
		}
		if cols, ok := a.expandStar(q, t.Val); ok {
			for _, c := range cols {
				out = append(out, target{column: c})
			}
			continue
		}
		v := a.expr(q, t.Val)
		if v.set {
			q.level.sets = true
			v.set = false
		}
		name := t.Name
		if name == "" {
			name = columnName(t.Val)
		}
		out = append(out, target{column: column{name: name, value: v}, node: t.Val})
	}
	return out
}

// expandStar expands *, alias.* and (row).*.
func (a *analysis) expandStar(q *env, n *pg_query.Node) ([]column, bool) {
	if ref := n.GetColumnRef(); ref != nil && len(ref.Fields) > 0 && ref.Fields[len(ref.Fields)-1].GetAStar() != nil {
		return a.star(q, ref), true
	}
	if ind := n.GetAIndirection(); ind != nil && len(ind.Indirection) > 0 && ind.Indirection[len(ind.Indirection)-1].GetAStar() != nil {
		v := a.expr(q, ind.Arg)
		v = a.indirect(q, v, ind.Indirection[:len(ind.Indirection)-1], a.at(leftmost(ind.Arg)))
		if v.set {
			q.level.sets = true
		}
		return a.fields(v), true
	}
	return nil, false
}

func isGroupingSet(n *pg_query.Node) bool { return n.GetGroupingSet() != nil }

// groupBy: a name means an input column before it means an output one. Groups
// come in no order of their values if the server can hash them; sorted says
// that it cannot.
//
// Source: consider_groupingsets_paths and get_agg_clause_costs
// (numOrderedAggs) in postgres/src/backend/optimizer.
func (a *analysis) groupBy(d *env, list []*pg_query.Node, targets []target, sorted bool) {
	for _, n := range list {
		if g := n.GetGroupingSet(); g != nil {
			a.groupBy(d, g.Content, targets, sorted)
			continue
		}
		if r := n.GetRowExpr(); r != nil && r.RowFormat == pg_query.CoercionForm_COERCE_IMPLICIT_CAST {
			a.groupBy(d, r.Args, targets, sorted) // (a, b) is a list
			continue
		}
		v, found := a.ordinal(n, targets, "GROUP BY")
		if !found {
			if name := bareName(n); name != "" && !a.inputColumn(d.sc, name) {
				v, found = outputNamed(targets, name)
			}
		}
		if !found {
			v = a.expr(d, n)
		}
		p := d.place(a.at(location(n)))
		if sorted {
			a.condition(p, "GROUP BY, which here sorts", v)
			continue
		}
		a.grouped(p, "GROUP BY", v)
	}
}

// inputColumn says whether a bare name is a column of this very level.
func (a *analysis) inputColumn(sc *scope, name string) bool {
	return slices.ContainsFunc(sc.items, func(it item) bool { return it.bare && len(matching(it.entry, name)) > 0 })
}

func bareName(n *pg_query.Node) string {
	if ref := n.GetColumnRef(); ref != nil && len(ref.Fields) == 1 {
		return ref.Fields[0].GetString_().GetSval()
	}
	return ""
}

func outputNamed(targets []target, name string) (value, bool) {
	for _, t := range targets {
		if t.name == name {
			return t.value, true
		}
	}
	return value{}, false
}

// ordinal resolves an integer that stands for a result column.
func (a *analysis) ordinal(n *pg_query.Node, targets []target, what string) (value, bool) {
	c := n.GetAConst()
	if c == nil || c.Isnull || c.GetIval() == nil {
		return value{}, false
	}
	i := int(c.GetIval().Ival)
	if i < 1 || i > len(targets) {
		a.fail(&facts.Problem{Code: "42P10", At: a.at(c.Location), Message: fmt.Sprintf("%s position %d is not in select list", what, i)})
		return value{}, true
	}
	return targets[i-1].value, true
}

// sortItem resolves an item of ORDER BY or DISTINCT ON: an output name or
// number first, else an expression over the input.
func (a *analysis) sortItem(d *env, n *pg_query.Node, targets []target, what string) value {
	if name := bareName(n); name != "" {
		var found []target
		for _, t := range targets {
			if t.name == name {
				found = append(found, t)
			}
		}
		if len(found) > 0 {
			arms := make([]value, len(found))
			for i, t := range found {
				arms[i] = t.value
			}
			if len(arms) == 1 {
				return arms[0]
			}
			v := a.computed(1, arms[0].typ, arms...)
			return v
		}
	}
	if v, ok := a.ordinal(n, targets, what); ok {
		return v
	}
	return a.expr(d, n)
}

func (a *analysis) distinct(d *env, list []*pg_query.Node, targets []target) {
	if len(list) == 0 {
		return
	}
	if len(list) == 1 && list[0].GetNode() == nil { // plain DISTINCT
		for _, t := range targets {
			a.grouped(d.place(a.at(location(t.node))), "DISTINCT", t.value)
		}
		return
	}
	for _, n := range list {
		v := a.sortItem(d, n, targets, "SELECT DISTINCT ON")
		a.condition(d.place(a.at(location(n))), "DISTINCT ON", v) // which is done by sorting
	}
}

func (a *analysis) orderBy(d *env, list []*pg_query.Node, targets []target) {
	for _, n := range list {
		by := n.GetSortBy()
		if by == nil {
			a.fail(notUnderstood("this ORDER BY", -1))
			continue
		}
		v := a.sortItem(d, by.Node, targets, "ORDER BY")
		a.sorted(d.place(a.at(location(by.Node))), by, v)
	}
}

// sorted records that rows come out in the order of a value.
func (a *analysis) sorted(p lineage.Place, by *pg_query.SortBy, v value) {
	a.condition(p, "ORDER BY", v)
	a.userOrder(p, by, v)
}

// userOrder records code that ORDER BY … USING runs.
func (a *analysis) userOrder(p lineage.Place, by *pg_query.SortBy, v value) {
	if len(by.GetUseOp()) > 0 {
		schema, name := splitName(by.UseOp)
		for _, o := range a.view.OperatorsNamed(schema, name) {
			if o.Schema != "pg_catalog" {
				a.ledger.Code(p, o.Function, "ORDER BY USING "+name, v.Value)
			}
		}
	}
}

func (a *analysis) limit(d *env, s *pg_query.SelectStmt) {
	for _, n := range []*pg_query.Node{s.LimitCount, s.LimitOffset} {
		if n != nil {
			a.condition(d.place(a.at(location(n))), "LIMIT", a.expr(d, n))
		}
	}
}

// values analyses VALUES lists.
func (a *analysis) values(e *env, s *pg_query.SelectStmt) *entry {
	q := e.inner()
	q.sc = &scope{parent: e.sc}
	var rows [][]value
	for _, n := range s.ValuesLists {
		row := a.exprList(q, n.GetList().GetItems())
		if len(rows) > 0 && len(row) != len(rows[0]) {
			a.fail(&facts.Problem{Code: "42601", At: -1, Message: "VALUES lists must all be the same length"})
			return &entry{}
		}
		rows = append(rows, row)
	}
	out := &entry{}
	for i := range rows[0] {
		arms := make([]value, len(rows))
		for j := range rows {
			arms[j] = rows[j][i]
		}
		v := a.either(q.place(-1), arms...)
		v.set = false
		out.columns = append(out.columns, column{name: fmt.Sprintf("column%d", i+1), value: v})
	}
	a.onResult(q, s, out)
	return out
}

// onResult is the ORDER BY and LIMIT of VALUES or a set operation, which see
// the result's columns only.
func (a *analysis) onResult(q *env, s *pg_query.SelectStmt, out *entry) {
	d := q.deciding()
	r := *d
	r.sc = &scope{parent: d.sc.parent, items: []item{{entry: &entry{columns: derived(out.columns)}, bare: true}}}
	targets := make([]target, len(out.columns))
	for i, c := range out.columns {
		targets[i] = target{column: c}
	}
	a.orderBy(&r, s.SortClause, targets)
	a.limit(d, s)
}

// setOperation analyses UNION, INTERSECT and EXCEPT.
func (a *analysis) setOperation(e *env, s *pg_query.SelectStmt) *entry {
	q := e.inner()
	q.sc = &scope{parent: e.sc}
	arms := a.setArms(q, s)
	first := arms[0]
	for _, r := range arms[1:] {
		if len(r.columns) != len(first.columns) {
			a.fail(&facts.Problem{Code: "42601", At: -1, Message: "each set operation query must have the same number of columns"})
			return &entry{}
		}
	}
	out := &entry{columns: slices.Clone(first.columns)}
	p := e.deciding().place(-1)
	for i := range out.columns {
		values := make([]value, len(arms))
		for j, arm := range arms {
			values[j] = arm.columns[i].value
			out.amplified = out.amplified || arm.amplified
			out.boundless = out.boundless || arm.boundless
		}
		v := a.either(e.place(-1), values...)
		if s.Op != pg_query.SetOperation_SETOP_UNION || !s.All {
			a.matched(p, setWord(s.Op), values)
		}
		if s.Op == pg_query.SetOperation_SETOP_EXCEPT {
			v.Flow = a.coerce(e.place(-1), values[0], v.typ).Flow
		}
		out.columns[i].value = v
	}
	a.onResult(q, s, out)
	return out
}

// setArms are an operation's two arms, or all arms of a chain of one kind of
// UNION.
func (a *analysis) setArms(q *env, s *pg_query.SelectStmt) []*entry {
	if s.Op != pg_query.SetOperation_SETOP_UNION {
		return []*entry{a.setArm(q, s.Larg), a.setArm(q, s.Rarg)}
	}
	var chain []*pg_query.SelectStmt
	for top := s; isSetOperation(s) && s.Op == top.Op && s.All == top.All && (s == top || plainArm(s)); s = s.Larg {
		chain = append(chain, s.Rarg)
	}
	arms := []*entry{a.setArm(q, s)}
	for _, r := range slices.Backward(chain) {
		arms = append(arms, a.setArm(q, r))
	}
	return arms
}

// plainArm says that an arm has no clauses of its own around its operation.
func plainArm(s *pg_query.SelectStmt) bool {
	return len(s.SortClause) == 0 && s.LimitCount == nil && s.LimitOffset == nil && s.WithClause == nil
}

func (a *analysis) setArm(q *env, s *pg_query.SelectStmt) *entry {
	sub := q.inner()
	sub.sc = q.sc.parent
	if sub.sc == nil {
		sub.sc = &scope{}
	}
	return a.selectStmt(sub, s)
}

func setWord(op pg_query.SetOperation) string {
	switch op {
	case pg_query.SetOperation_SETOP_INTERSECT:
		return "INTERSECT"
	case pg_query.SetOperation_SETOP_EXCEPT:
		return "EXCEPT"
	}
	return "UNION"
}

// matched: rows of all arms are compared with each other.
func (a *analysis) matched(p lineage.Place, what string, arms []value) {
	var kinds []value // one of each flow, and of constants
	for _, v := range arms {
		if !slices.ContainsFunc(kinds, func(k value) bool {
			return k.Flow.Equal(v.Flow) && k.typ == v.typ && k.plain == v.plain && k.loose == v.loose
		}) {
			kinds = append(kinds, v)
		}
	}
	for i, v := range kinds {
		if len(v.Flow) > 0 {
			a.known(p, what, v)
		}
		for _, w := range kinds[:i] {
			a.equal(p, "=", what, w, v)
		}
	}
	a.meet(arms...)
}
