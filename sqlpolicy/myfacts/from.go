package myfacts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// from adds the tables of FROM to e's scope.
func (a *analysis) from(e *env, n ast.ResultSetNode) {
	items := a.fromItem(e, n)
	for i, it := range items {
		for _, o := range items[:i] {
			if it.named && o.named && o.entry != it.entry && a.sameTable(o.alias, it.alias) && o.schema == it.schema {
				a.fail(&facts.Problem{Code: "1066", At: -1, Message: fmt.Sprintf("Not unique table/alias: '%s'", it.alias)})
			}
		}
	}
	e.sc.add(items...)
}

func (a *analysis) fromItem(e *env, n ast.ResultSetNode) []item {
	if !a.step() {
		return nil
	}
	switch x := n.(type) {
	case *ast.Join:
		return a.join(e, x)
	case *ast.TableSource:
		return a.source(e, x)
	case *ast.TableName:
		return []item{{entry: a.tableEntry(e, x), named: true, bare: true}}
	}
	a.fail(notUnderstood("this item of FROM", -1))
	return nil
}

func (a *analysis) source(e *env, s *ast.TableSource) []item {
	var en *entry
	defer a.orderedAs(s)()
	switch x := s.Source.(type) {
	case *ast.TableName:
		en = a.tableEntry(e, x)
	case *ast.Join:
		return a.join(e, x)
	default:
		sub := e.inner()
		sub.sc = &scope{parent: e.sc.parent}
		if s.Lateral {
			a.fail(notUnderstood("LATERAL", -1))
		}
		a.nested++
		body := a.result(sub, s.Source)
		a.nested--
		en = &entry{columns: derived(body.columns)}
		a.unique(en.columns)
	}
	if len(s.ColumnNames) > 0 {
		en = a.named(en, s.ColumnNames)
	}
	if s.AsName.O != "" {
		en.alias, en.schema = s.AsName.O, ""
	}
	return []item{{entry: en, named: true, bare: true}}
}

// unique: a derived table's columns must have different names.
func (a *analysis) unique(cols []column) {
	seen := map[string]bool{}
	for _, c := range cols {
		k := strings.ToLower(c.name)
		if seen[k] && k != "" {
			a.fail(&facts.Problem{Code: "1060", At: -1, Message: fmt.Sprintf("Duplicate column name '%s'", c.name)})
		}
		seen[k] = true
	}
}

// tableEntry is a table, view or WITH query that FROM names.
func (a *analysis) tableEntry(e *env, n *ast.TableName) *entry {
	if n.Schema.O == "" {
		c, near := a.findCTE(e.with, n.Name.O)
		if near {
			a.fail(notUnderstood(fmt.Sprintf("the name %q, which differs from a WITH query's by its case,", n.Name.O), -1))
		}
		if c != nil {
			if c.open || c.body == nil {
				a.fail(notUnderstood("this recursion", -1))
				return &entry{alias: n.Name.O}
			}
			return &entry{alias: n.Name.O, columns: slices.Clone(c.body.columns)}
		}
	}
	r := a.relation(n)
	if r == nil {
		return &entry{alias: n.Name.O}
	}
	a.names(r)
	s := a.scan(r)
	if n.AsOf != nil || n.TableSample != nil {
		a.fail(notUnderstood("this item of FROM", -1))
	}
	if len(n.PartitionNames) > 0 {
		a.compared(lineage.Place{At: -1}, "the choice of a partition", a.partitionKey(r, s.columns)...)
	}
	return &entry{alias: r.Name, schema: r.Schema, rel: r, columns: slices.Clone(s.columns)}
}

func columnValues(cols []column) []value {
	out := make([]value, len(cols))
	for i, c := range cols {
		out[i] = c.value
	}
	return out
}

// names notes that the current arm names a relation.
func (a *analysis) names(r *catalog.Relation) {
	if a.foreign > 0 {
		return
	}
	if m := a.current(); !slices.Contains(m.relations, r) {
		m.relations = append(m.relations, r)
	}
}

// join analyses a join: USING and NATURAL merge columns, which come first.
func (a *analysis) join(e *env, j *ast.Join) []item {
	left := a.fromItem(e, j.Left)
	if j.Right == nil {
		return left
	}
	right := a.fromItem(e, j.Right)
	items := append(slices.Clone(left), right...)
	if j.On != nil {
		on := e.deciding("on clause")
		on.sc = &scope{parent: e.sc.parent, items: append(slices.Clone(e.sc.items), items...)}
		a.condition(on.place(-1), "a join condition", a.expr(on, j.On.Expr))
	}
	lc, rc := bareColumns(left), bareColumns(right)
	var using []string
	for _, c := range j.Using {
		using = append(using, c.Name.O)
		a.unlike(lc, c.Name.O)
		a.unlike(rc, c.Name.O)
	}
	if j.NaturalJoin {
		lc, rc = shown(lc), shown(rc)
		for _, c := range lc {
			a.unlike(rc, c.name)
			if slices.ContainsFunc(rc, func(d column) bool { return sameName(c.name, d.name) }) {
				using = append(using, c.name)
			}
		}
	}
	if len(using) == 0 && !j.NaturalJoin {
		return items
	}
	merged := a.merged(e, j, lc, rc, using)
	for i := range items {
		items[i].bare = false
	}
	return append(items, item{entry: merged, bare: true})
}

func bareColumns(items []item) (out []column) {
	for _, it := range items {
		if it.bare {
			out = append(out, it.columns...)
		}
	}
	return out
}

// merged is what a join's bare names mean: the common columns, in the order
// of the left side, and then the others of both.
func (a *analysis) merged(e *env, j *ast.Join, left, right []column, using []string) *entry {
	out := &entry{unordered: j.Tp == ast.RightJoin}
	p := e.deciding("").place(-1)
	common := func(name string) bool {
		return slices.ContainsFunc(using, func(u string) bool { return sameName(u, name) })
	}
	only := func(cols []column, name string) (value, bool) {
		found := (&entry{columns: cols}).find(name)
		if len(found) > 1 {
			a.fail(&facts.Problem{Code: "1052", At: -1, Message: fmt.Sprintf("Column '%s' in from clause is ambiguous", name)})
		}
		if len(found) == 0 {
			a.fail(&facts.Problem{Code: "1054", At: -1, Undefined: true, Message: fmt.Sprintf("Unknown column '%s' in 'from clause'", name)})
			return value{}, false
		}
		return found[0], true
	}
	for _, c := range left {
		if !common(c.name) {
			continue
		}
		r, ok := only(right, c.name)
		if l, lok := only(left, c.name); ok && lok {
			a.equal(p, "JOIN USING", l, r)
			v := l
			if j.Tp == ast.RightJoin {
				v = r
			}
			out.columns = append(out.columns, column{name: c.name, value: a.read(v)})
		}
	}
	for _, u := range using {
		only(left, u)
		only(right, u)
	}
	for _, c := range append(slices.Clone(left), right...) {
		if !common(c.name) {
			out.columns = append(out.columns, c)
		}
	}
	return out
}
