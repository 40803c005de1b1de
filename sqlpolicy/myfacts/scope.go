package myfacts

import (
	"fmt"
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// env is where an expression stands: the names it sees, and whether only a
// condition depends on it.
type env struct {
	sc   *scope
	with *withScope
	pred bool
	// aliased says that names of the result list are seen too, as ORDER BY,
	// GROUP BY and HAVING see them.
	aliased bool
	clause  string // as the server's errors call it
	// values is what VALUES(column) means, in ON DUPLICATE KEY UPDATE.
	values func(name string) (value, bool)
}

func (e *env) place(at int) lineage.Place { return lineage.Place{At: at, Predicate: e.pred} }

// deciding is the environment of what only decides a condition.
func (e *env) deciding(clause string) *env {
	c := *e
	c.pred = true
	if clause != "" {
		c.clause = clause
	}
	return &c
}

// inner is the environment of a subquery that sees e's names.
func (e *env) inner() *env { return &env{sc: e.sc, with: e.with, pred: e.pred, clause: e.clause} }

// scope is the tables of one query level.
type scope struct {
	parent *scope
	items  []item
	// results are the columns of the result list, as far as it has been read:
	// subqueries see them too.
	results []column
}

type item struct {
	*entry
	named bool // alias.column works
	bare  bool // column works, and * expands to it
}

// entry is one relation in scope.
type entry struct {
	alias   string
	schema  string // of a table that goes by its own name
	rel     *catalog.Relation
	columns []column
	// unordered marks a join whose * may come in another order than is known.
	unordered bool
}

func (s *scope) add(items ...item) { s.items = append(s.items, items...) }

// find are the columns of an item by name.
func (en *entry) find(name string) (out []value) {
	for _, c := range en.columns {
		if sameName(c.name, name) {
			out = append(out, c.value)
		}
	}
	return out
}

// unlike refuses a name that differs from one in scope by letters beyond
// ASCII: which of them are the same is for the server to say.
func (a *analysis) unlike(cols []column, name string) {
	for _, c := range cols {
		if nearName(c.name, name) {
			a.fail(notUnderstood(fmt.Sprintf("the name %q beside %q, which the server might take for the same,", name, c.name), -1))
		}
	}
}

// columnRef resolves a column's name, innermost level first. Where a name may
// mean a column of a table and one of the result list, it counts as both.
func (a *analysis) columnRef(e *env, n *ast.ColumnName, at int) value {
	name, table, schema := n.Name.O, n.Table.O, n.Schema.O
	for s, depth := e.sc, 0; s != nil; s, depth = s.parent, depth+1 {
		var found []value
		for _, it := range s.items {
			if table == "" && it.bare || table != "" && it.named && a.means(it.entry, schema, table) {
				found = append(found, it.find(name)...)
				a.unlike(it.columns, name)
			}
		}
		if len(found) > 1 {
			a.fail(&facts.Problem{Code: "1052", At: a.at(at), Message: fmt.Sprintf("Column '%s' in %s is ambiguous", name, e.clause)})
			return value{}
		}
		if table == "" && (depth > 0 || e.aliased) {
			a.unlike(s.results, name)
			for _, c := range s.results {
				if sameName(c.name, name) {
					found = append(found, c.value)
				}
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return a.read(found[0])
		default:
			return a.read(a.oneOf(found))
		}
	}
	full := name
	if table != "" {
		full = table + "." + name
	}
	a.fail(&facts.Problem{Code: "1054", At: a.at(at), Undefined: true, Message: fmt.Sprintf("Unknown column '%s' in '%s'", full, e.clause)})
	return value{}
}

// oneOf is a value of which it is not known which of several it is.
func (a *analysis) oneOf(found []value) value {
	out := found[0]
	for _, v := range found[1:] {
		if !v.Flow.Equal(out.Flow) || v.t != out.t {
			out = value{Value: lineage.Total(1, out.Value, v.Value), consts: lineage.Gather(out.consts, v.consts)}
		}
	}
	out.text, out.null, out.plain = nil, false, false
	return out
}

// means says whether a qualifier names an entry.
func (a *analysis) means(en *entry, schema, table string) bool {
	if !a.sameTable(en.alias, table) {
		return false
	}
	return schema == "" || en.schema != "" && a.sameTable(en.schema, schema)
}

// star expands * and table.*.
func (a *analysis) star(e *env, w *ast.WildCardField, at int) []column {
	var out []column
	found := false
	for _, it := range e.sc.items {
		switch {
		case w.Table.O == "" && it.bare, w.Table.O != "" && it.named && a.means(it.entry, w.Schema.O, w.Table.O):
			found = true
			if it.unordered {
				a.fail(notUnderstood("* over a RIGHT JOIN with USING or NATURAL", a.at(at)))
			}
			out = append(out, shown(it.columns)...)
		}
	}
	if !found {
		if w.Table.O == "" {
			a.fail(&facts.Problem{Code: "1096", At: a.at(at), Message: "No tables used"})
		} else {
			a.fail(&facts.Problem{Code: "1051", At: a.at(at), Undefined: true, Message: fmt.Sprintf("Unknown table '%s'", w.Table.O)})
		}
	}
	for _, c := range out {
		a.read(c.value)
	}
	return slices.Clone(out)
}

// shown are the columns that * brings.
func shown(cols []column) []column {
	return slices.DeleteFunc(slices.Clone(cols), func(c column) bool { return c.hidden })
}

// read notes that the current arm reads a value's columns.
func (a *analysis) read(v value) value {
	a.touch(v.Flow.Refs())
	return v
}

// touch notes columns that the current arm reads or writes.
func (a *analysis) touch(refs []facts.ColumnRef) {
	m := a.current()
	for _, r := range refs {
		if !m.touched[r] {
			m.touched[r] = true
			m.columns = append(m.columns, r)
		}
	}
}
