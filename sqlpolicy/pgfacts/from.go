package pgfacts

import (
	"fmt"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// fromClause adds the items of FROM or USING to e's scope, left to right.
func (a *analysis) fromClause(e *env, list []*pg_query.Node) {
	for _, n := range list {
		_, items := a.fromItem(e, n, nil)
		a.addItems(e, items)
	}
	a.mergeAmplified(e)
}

// mergeAmplified: rows multiply where an item's do. How items multiply each
// other depends on conditions, see keyed.go.
func (a *analysis) mergeAmplified(e *env) {
	for _, it := range e.sc.items {
		e.level.amplified = e.level.amplified || it.amplified
		e.level.boundless = e.level.boundless || it.boundless
	}
}

func (a *analysis) addItems(e *env, items []item) {
	for _, it := range items {
		for _, other := range e.sc.items {
			if it.named && other.named && it.alias != "" && it.alias == other.alias && (it.aliased || other.aliased || it.rel == other.rel) {
				a.fail(&facts.Problem{Code: "42712", At: -1, Message: fmt.Sprintf("table name %q specified more than once", it.alias)})
			}
		}
	}
	e.sc.add(items...)
}

// fromItem analyses one item. left are the items to its left in a join that
// are not in e's scope yet; LATERAL sees them. It returns the item as a whole
// and everything it makes visible.
func (a *analysis) fromItem(e *env, n *pg_query.Node, left []item) (*entry, []item) {
	if !a.step() {
		return &entry{}, nil
	}
	var en *entry
	switch {
	case n.GetRangeVar() != nil:
		en = a.rangeVar(e, n.GetRangeVar())
	case n.GetRangeSubselect() != nil:
		en = a.rangeSubselect(e, n.GetRangeSubselect(), left)
	case n.GetRangeFunction() != nil:
		en = a.rangeFunction(a.siblings(e, left, true), n.GetRangeFunction())
	case n.GetRangeTableFunc() != nil:
		en = a.tableFunction(a.siblings(e, left, true), n.GetRangeTableFunc())
	case n.GetJsonTable() != nil:
		en = a.jsonTable(a.siblings(e, left, true), n.GetJsonTable())
	case n.GetRangeTableSample() != nil:
		en = a.tableSample(e, n.GetRangeTableSample(), left)
	case n.GetJoinExpr() != nil:
		return a.join(e, n.GetJoinExpr(), left)
	default:
		a.fail(notUnderstood("this item of FROM", -1))
		return &entry{}, nil
	}
	return en, []item{{entry: en, named: true, bare: true}}
}

// siblings is the environment of an item that sees the items to its left, or
// of one that does not.
func (a *analysis) siblings(e *env, left []item, lateral bool) *env {
	sub := e.inner()
	sub.sc = &scope{parent: e.sc.parent}
	beside := append(slices.Clone(e.sc.items), left...)
	if lateral {
		sub.sc.items = beside
	} else {
		sub.sc.hidden = beside
	}
	return sub
}

func (a *analysis) rangeVar(e *env, rv *pg_query.RangeVar) *entry {
	if rv.Schemaname == "" && rv.Catalogname == "" {
		if c := e.with.find(rv.Relname); c != nil {
			body := a.cte(c, a.at(rv.Location))
			en := &entry{alias: rv.Relname, aliased: true, columns: slices.Clone(body.columns), amplified: body.amplified, boundless: body.boundless}
			a.rename(en, rv.Alias)
			return en
		}
	}
	r := a.relation(rv)
	if r == nil {
		return &entry{alias: rv.Relname}
	}
	a.named(r)
	s := a.scan(r)
	en := &entry{
		alias: r.Name, rel: r, rowType: qualified(r.Schema, r.Name),
		columns: slices.Clone(s.columns), system: s.system, amplified: s.amplified, boundless: s.boundless,
	}
	a.rename(en, rv.Alias)
	return en
}

// named notes that the current arm names a relation.
func (a *analysis) named(r *catalog.Relation) {
	if a.foreign > 0 {
		return
	}
	if m := a.current(); !slices.Contains(m.relations, r) {
		m.relations = append(m.relations, r)
	}
}

// rename applies an alias and its column names.
func (a *analysis) rename(en *entry, alias *pg_query.Alias) {
	if alias == nil {
		return
	}
	en.alias, en.aliased = alias.Aliasname, true
	given := names(alias.Colnames)
	if len(given) > len(en.columns) {
		a.fail(&facts.Problem{
			Code: "42P10", At: -1,
			Message: fmt.Sprintf("table %q has %d columns available but %d columns specified", alias.Aliasname, len(en.columns), len(given)),
		})
		return
	}
	for i, name := range given {
		en.columns[i].name = name
	}
	en.renamed = en.renamed || len(given) > 0
}

func (a *analysis) rangeSubselect(e *env, rs *pg_query.RangeSubselect, left []item) *entry {
	body := a.subselect(a.siblings(e, left, rs.Lateral), rs.Subquery)
	en := &entry{columns: derived(body.columns), amplified: body.amplified, boundless: body.boundless}
	a.rename(en, rs.Alias)
	return en
}

// subselect analyses a query within a query.
func (a *analysis) subselect(e *env, n *pg_query.Node) *entry {
	s := n.GetSelectStmt()
	if s == nil || s.IntoClause != nil {
		a.fail(notUnderstood("this subquery", -1))
		return &entry{}
	}
	return a.selectStmt(e, s)
}

// derived is how a query's columns look from outside: undecided types are
// text, and literals are no longer written there.
func derived(cols []column) []column {
	out := slices.Clone(cols)
	for i := range out {
		if out[i].typ == typeUnknown {
			out[i].typ = typeText
		}
		out[i].text, out[i].null, out[i].set = nil, false, false
	}
	return out
}

// tableSample: which rows a sample holds depends on where they lie.
func (a *analysis) tableSample(e *env, s *pg_query.RangeTableSample, left []item) *entry {
	en, _ := a.fromItem(e, s.Relation, left)
	p := e.place(a.at(s.Location))
	row := en.whole()
	for _, x := range append(slices.Clone(s.Args), s.Repeatable) {
		if x != nil {
			a.unproven(p, "TABLESAMPLE", "", a.expr(a.siblings(e, left, true), x))
		}
	}
	if len(row.Flow) > 0 && (en.rel == nil || !systemSchema(en.rel.Schema)) {
		a.opaque(p, "TABLESAMPLE", "", row)
	}
	schema, name := splitName(s.Method)
	if (schema != "" && schema != "pg_catalog") || name != "system" && name != "bernoulli" {
		a.ledger.Code(p, joinName(schema, name), "the sampling method "+name)
	}
	return en
}

// join analyses a join, as transformFromClauseItem does.
func (a *analysis) join(e *env, j *pg_query.JoinExpr, left []item) (*entry, []item) {
	l, li := a.fromItem(e, j.Larg, left)
	r, ri := a.fromItem(e, j.Rarg, append(slices.Clone(left), li...))
	items := append(slices.Clone(li), ri...)

	using := names(j.UsingClause)
	if j.IsNatural {
		using = nil
		for _, c := range l.columns {
			if slices.ContainsFunc(r.columns, func(d column) bool { return d.name == c.name }) && !slices.Contains(using, c.name) {
				using = append(using, c.name)
			}
		}
	}
	out := &entry{amplified: l.amplified || r.amplified, boundless: l.boundless || r.boundless}
	merged := a.joinUsing(e, j, l, r, using, outerPins(j, li, ri))
	out.columns = append(out.columns, merged...)
	for _, side := range []*entry{l, r} {
		for _, c := range side.columns {
			if !slices.Contains(using, c.name) {
				out.columns = append(out.columns, c)
			}
		}
	}
	if j.Quals != nil {
		on := e.inner()
		on.sc = &scope{parent: e.sc.parent, items: items, hidden: append(slices.Clone(e.sc.items), left...)}
		on.level = e.level
		on.pred = true
		a.condition(on.place(-1), "a join condition", a.expr(on, j.Quals))
		e.level.conditions = append(e.level.conditions, condition{on.sc, j.Quals, outerPins(j, li, ri)})
	}
	if j.Alias != nil {
		a.rename(out, j.Alias)
		// The items are hidden now, but for what keeps count of them.
		for i := range items {
			items[i].named, items[i].bare = false, false
		}
		return out, append(items, item{entry: out, named: true, bare: true})
	}
	for i := range items {
		items[i].bare = false
	}
	if u := j.JoinUsingAlias; u != nil {
		ue := &entry{alias: u.Aliasname, aliased: true, columns: slices.Clone(merged)}
		items = append(items, item{entry: ue, named: true})
	}
	return out, append(items, item{entry: out, bare: true})
}

// outerPins are the items whose rows a join's condition can rule out.
func outerPins(j *pg_query.JoinExpr, left, right []item) []item {
	switch j.Jointype {
	case pg_query.JoinType_JOIN_INNER:
		return append(slices.Clone(left), right...)
	case pg_query.JoinType_JOIN_LEFT:
		return right
	case pg_query.JoinType_JOIN_RIGHT:
		return left
	}
	return nil
}

func (a *analysis) joinUsing(e *env, j *pg_query.JoinExpr, l, r *entry, using []string, pins []item) []column {
	var out []column
	p := e.deciding().place(-1)
	for _, name := range using {
		lv, lok := a.entryColumn(&entry{columns: l.columns}, name, -1)
		rv, rok := a.entryColumn(&entry{columns: r.columns}, name, -1)
		if !lok || !rok {
			a.fail(&facts.Problem{
				Code: "42703", At: -1, Undefined: true,
				Message: fmt.Sprintf("column %q specified in USING clause does not exist in both tables", name),
			})
			return out
		}
		a.read(lv)
		a.read(rv)
		a.equal(p, "=", "JOIN USING", lv, rv)
		e.level.pairs = append(e.level.pairs, columnPair{[2]columnAt{{l, name}, {r, name}}, pins})
		out = append(out, column{name: name, value: a.mergedColumn(p, j.Jointype, lv, rv)})
	}
	return out
}

// mergedColumn is the column that USING makes of two.
func (a *analysis) mergedColumn(p lineage.Place, kind pg_query.JoinType, l, r value) value {
	common := a.commonType([]value{l, r})
	if common == "" && kind != pg_query.JoinType_JOIN_FULL {
		return a.mixed(p, []value{l, r})
	}
	switch kind {
	case pg_query.JoinType_JOIN_RIGHT:
		return a.coerce(p, r, common)
	case pg_query.JoinType_JOIN_FULL:
		v := a.either(p, l, r)
		v.Flow = v.Flow.Computed()
		v.plain = false
		return v
	case pg_query.JoinType_JOIN_INNER:
		if l.typ != common && r.typ == common {
			return r
		}
	}
	return a.coerce(p, l, common)
}
