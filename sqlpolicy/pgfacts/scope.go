package pgfacts

import (
	"fmt"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// env is where an expression stands: the names it sees, and whether only a
// condition depends on it.
type env struct {
	sc    *scope
	with  *withScope
	level *level
	pred  bool
}

// level is one query level, as the sizes of aggregates depend on it.
type level struct {
	// amplified says that rows may be many more than any stored relation's.
	amplified bool
	// boundless says that rows may be as many as the client likes.
	boundless bool
	// sets says that a set-returning function stands in the result list.
	sets bool
	// presorted says that an aggregate wants its input in an order of its own:
	// groups are then made by sorting.
	presorted bool
	// conditions and pairs say how the level's items are joined.
	conditions []condition
	pairs      []columnPair
}

// condition is a join's or WHERE's condition, with the names it sees. Pins
// are the items whose rows it can rule out: an outer join keeps one side.
type condition struct {
	sc   *scope
	expr *pg_query.Node
	pins []item
}

// columnPair is an equality between two items' columns.
type columnPair struct {
	of   [2]columnAt
	pins []item
}

func (p columnPair) pinsEntry(en *entry) bool {
	return slices.ContainsFunc(p.pins, func(it item) bool { return it.entry == en })
}

// columnAt is an item's column by name.
type columnAt struct {
	entry *entry
	name  string
}

// place is where something happens in this environment.
func (e *env) place(at int) lineage.Place { return lineage.Place{At: at, Predicate: e.pred} }

// deciding is the environment of what only decides a condition.
func (e *env) deciding() *env {
	if e.pred {
		return e
	}
	c := *e
	c.pred = true
	return &c
}

// inner is the environment of a subquery that sees e's names.
func (e *env) inner() *env { return &env{sc: e.sc, with: e.with, level: &level{}, pred: e.pred} }

// scope is the range table of one query level, as PostgreSQL's namespace
// (parse_relation.c): an item's name and its columns' bare names are visible
// separately.
type scope struct {
	parent *scope
	items  []item
	// hidden are items that stand beside them and cannot be referenced from
	// here: errors say so.
	hidden []item
}

type item struct {
	*entry
	named bool // alias.column works
	bare  bool // column works, and * expands to it
}

// entry is one relation in scope.
type entry struct {
	alias   string
	columns []column
	// rel is set for a table or view that was named, with aliased where it
	// goes by another name.
	rel     *catalog.Relation
	aliased bool
	rowType string // of the whole row, "" for a record
	// renamed says that the columns go by other names than the row type's
	// fields: which of the two a field's name means then depends on where it
	// stands.
	renamed bool
	// scalar says that the row is a function's one unnamed value.
	scalar bool
	// system are the system columns, for a relation that has them.
	system []column
	// amplified says that the entry's rows may be many more than a table's,
	// boundless that they may be as many as the client likes.
	amplified, boundless bool
}

func (s *scope) add(items ...item) { s.items = append(s.items, items...) }

// columnRef resolves a column reference, as transformColumnRef does.
func (a *analysis) columnRef(e *env, ref *pg_query.ColumnRef) value {
	at := a.at(ref.Location)
	parts := names(ref.Fields)
	star := len(parts) == len(ref.Fields)-1 && ref.Fields[len(parts)].GetAStar() != nil
	switch {
	case len(parts) != len(ref.Fields) && !star, len(parts) == 0:
		a.fail(notUnderstood("this column reference", at))
		return value{}
	case star:
		if it := a.relationItem(e.sc, parts, at); it != nil {
			return a.read(it.whole())
		}
		a.missingFrom(e.sc, parts, at)
		return value{}
	case len(parts) == 1:
		return a.bareColumn(e, parts[0], at)
	}
	name := parts[len(parts)-1]
	it := a.relationItem(e.sc, parts[:len(parts)-1], at)
	if it == nil {
		a.missingFrom(e.sc, parts[:len(parts)-1], at)
		return value{}
	}
	if v, found := a.entryColumn(it.entry, name, at); found {
		return a.read(v)
	}
	// alias.function is a call with the row.
	if v, ok := a.callOnRow(e, it.whole(), name, at); ok {
		return v
	}
	a.undefinedColumn(e.sc, parts[len(parts)-2], name, at)
	return value{}
}

func (a *analysis) bareColumn(e *env, name string, at int) value {
	for s := e.sc; s != nil; s = s.parent {
		var found []value
		for _, it := range s.items {
			if it.bare {
				found = append(found, matching(it.entry, name)...)
			}
		}
		if len(found) > 1 {
			a.ambiguous(name, at)
			return value{}
		}
		if len(found) == 1 {
			return a.read(found[0])
		}
	}
	if it := a.relationItem(e.sc, []string{name}, at); it != nil {
		return a.read(it.whole())
	}
	a.undefinedColumn(e.sc, "", name, at)
	return value{}
}

func matching(en *entry, name string) (out []value) {
	for _, list := range [][]column{en.columns, en.system} {
		for _, c := range list {
			if c.name == name {
				out = append(out, c.value)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func (a *analysis) entryColumn(en *entry, name string, at int) (value, bool) {
	found := matching(en, name)
	if len(found) > 1 {
		a.ambiguous(name, at)
	}
	if len(found) == 0 {
		return value{}, false
	}
	return found[0], true
}

// whole is the entry's row as a value.
func (en *entry) whole() value {
	if en.scalar && len(en.columns) == 1 {
		return en.columns[0].value
	}
	if en.rowType == "" {
		return rowOf(typeRecord, en.columns)
	}
	v := rowOf(en.rowType, en.columns)
	if en.renamed {
		v.row = nil
	}
	return v
}

// relationItem finds what a qualifier means: an alias, a table's name, or
// schema.table, innermost level first.
func (a *analysis) relationItem(sc *scope, parts []string, at int) *item {
	name := parts[len(parts)-1]
	schema := ""
	switch len(parts) {
	case 1:
	case 3:
		if parts[0] != a.view.Database {
			a.fail(&facts.Problem{Code: "0A000", Message: "cross-database references are not implemented", At: at})
			return nil
		}
		schema = parts[1]
	case 2:
		schema = parts[0]
	default:
		return nil
	}
	var want *catalog.Relation
	if schema != "" {
		if want = a.view.Relation(schema, name); want == nil {
			return nil
		}
	}
	for s := sc; s != nil; s = s.parent {
		var found *item
		for i := range s.items {
			it := &s.items[i]
			match := it.alias == name
			if want != nil {
				match = it.rel == want && !it.aliased
			}
			if !it.named || !match {
				continue
			}
			if found != nil && found.entry != it.entry {
				a.fail(&facts.Problem{Code: "42P09", Message: fmt.Sprintf("table reference %q is ambiguous", name), At: at})
			}
			found = it
		}
		if found != nil {
			return found
		}
	}
	return nil
}

func (a *analysis) ambiguous(name string, at int) {
	a.fail(&facts.Problem{Code: "42702", At: at, Message: fmt.Sprintf("column reference %q is ambiguous", name)})
}

// star expands * or alias.*.
func (a *analysis) star(e *env, ref *pg_query.ColumnRef) []column {
	at := a.at(ref.Location)
	parts := names(ref.Fields)
	var out []column
	if len(parts) > 0 {
		it := a.relationItem(e.sc, parts, at)
		if it == nil {
			a.missingFrom(e.sc, parts, at)
			return nil
		}
		out = it.columns
	} else {
		any := false
		for _, it := range e.sc.items {
			if it.bare {
				any = true
				out = append(out, it.columns...)
			}
		}
		if !any {
			a.fail(&facts.Problem{Code: "42601", At: at, Message: "SELECT * with no tables specified is not valid"})
		}
	}
	for _, c := range out {
		a.read(c.value)
	}
	return slices.Clone(out)
}

// read notes that the current arm reads a value's columns.
func (a *analysis) read(v value) value {
	a.touch(v.Flow.Refs())
	return v
}

// touch notes columns that the current arm reads or writes.
func (a *analysis) touch(refs []facts.ColumnRef) {
	if len(a.stack) == 0 {
		return
	}
	arm := a.stack[len(a.stack)-1]
	for _, r := range refs {
		if !arm.touched[r] {
			arm.touched[r] = true
			arm.columns = append(arm.columns, r)
		}
	}
}
