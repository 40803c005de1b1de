package pgfacts

import (
	"fmt"
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// destination is where a write goes: the relation named, and the table under
// it where that is a view.
type destination struct {
	named *catalog.Relation
	base  *catalog.Relation // nil where triggers of the view do the writing
	index []int             // of base's column by the named relation's, -1 for none
}

// newRow is the row that a write leaves in a table.
type newRow struct {
	rel      *catalog.Relation
	columns  []column // by place in rel.Columns
	assigned []bool
	insert   bool
}

// destination resolves a write's target for the events that it causes.
func (a *analysis) destination(rv *pg_query.RangeVar, events ...string) *destination {
	r := a.relation(rv)
	if r == nil {
		return nil
	}
	a.current().target = r
	d := &destination{named: r, base: r}
	for i := range r.Columns {
		d.index = append(d.index, i)
	}
	p := lineage.Place{At: a.at(rv.Location)}
	if r.Kind == catalog.RelSequence {
		a.fail(&facts.Problem{Code: "42809", At: p.At, Message: fmt.Sprintf("cannot change sequence %q", r.Name)})
	}
	a.throughViews(p, d, events)
	return d
}

// throughViews follows automatically updatable views down to their table.
func (a *analysis) throughViews(p lineage.Place, d *destination, events []string) {
	for range 32 {
		r := d.base
		a.scan(r) // its row security applies to what is written too
		if !isView(r) {
			return
		}
		if r.Rules || fires(r, events) {
			a.runTriggers(p, r, events)
			d.base = nil
			return
		}
		base, index, why := a.under(r)
		if base == nil {
			a.fail(unwritable(r, events, why, p.At))
			d.base = nil
			return
		}
		for i, j := range d.index {
			if j >= 0 {
				d.index[i] = index[j]
			}
		}
		d.base = base
	}
	a.fail(notUnderstood("writing through so many views", p.At))
	d.base = nil
}

func fires(r *catalog.Relation, events []string) bool {
	return slices.ContainsFunc(r.Triggers, func(t catalog.Trigger) bool {
		return slices.ContainsFunc(t.Events, func(e string) bool { return slices.Contains(events, e) })
	})
}

// unwritable is PostgreSQL's refusal to write to a view that is not simple.
func unwritable(view *catalog.Relation, events []string, why string, at int) *facts.Problem {
	if why == "" {
		return notUnderstood(fmt.Sprintf("writing to the view %q", view.Name), at)
	}
	what := map[string][2]string{"insert": {"insert into", "inserting into"}, "update": {"update", "updating"}, "delete": {"delete from", "deleting from"}}[events[0]]
	event := strings.ToUpper(events[0])
	return &facts.Problem{
		Code: "55000", At: -1, Message: fmt.Sprintf("cannot %s view %q", what[0], view.Name), Detail: why + " are not automatically updatable.",
		Hint: fmt.Sprintf("To enable %s the view, provide an INSTEAD OF %s trigger or an unconditional ON %s DO INSTEAD rule.", what[1], event, event),
	}
}

// whyUnwritable says which views one is of that PostgreSQL does not write
// through.
//
// Source: view_query_is_auto_updatable in postgres/src/backend/rewrite/rewriteHandler.c.
func whyUnwritable(s *pg_query.SelectStmt) string {
	switch {
	case len(s.DistinctClause) > 0:
		return "Views containing DISTINCT"
	case len(s.GroupClause) > 0:
		return "Views containing GROUP BY"
	case s.HavingClause != nil:
		return "Views containing HAVING"
	case s.Larg != nil:
		return "Views containing UNION, INTERSECT, or EXCEPT"
	case s.WithClause != nil:
		return "Views containing WITH"
	case s.LimitCount != nil || s.LimitOffset != nil:
		return "Views containing LIMIT or OFFSET"
	case len(s.FromClause) != 1 || s.FromClause[0].GetRangeVar() == nil:
		return "Views that do not select from a single table or view"
	}
	return ""
}

// under is the one relation that a simple view reads, and its columns by the
// view's; for another view, nil and why, where it is known.
func (a *analysis) under(view *catalog.Relation) (base *catalog.Relation, index []int, why string) {
	tree, err := pg_query.Parse(view.Definition)
	if err != nil || len(tree.Stmts) != 1 {
		return nil, nil, ""
	}
	s := tree.Stmts[0].Stmt.GetSelectStmt()
	if s == nil {
		return nil, nil, ""
	}
	if why := whyUnwritable(s); why != "" {
		return nil, nil, why
	}
	a.within(view.DefinitionPath, func() { base = a.relation(s.FromClause[0].GetRangeVar()) })
	if base == nil {
		return nil, nil, ""
	}
	t := a.table(base)
	index = make([]int, len(view.Columns))
	for i, c := range a.scan(view).columns {
		index[i] = -1
		for _, src := range c.Flow {
			if src.Table == t && src.Direct && base.Columns[src.Column].Type == view.Columns[i].Type {
				index[i] = src.Column
			}
		}
	}
	return base, index, ""
}

// assign converts a value to a column's type and records that it is stored.
func (a *analysis) assign(p lineage.Place, r *catalog.Relation, i int, v value) value {
	c := r.Columns[i]
	ref := facts.ColumnRef{Table: a.table(r), Column: i}
	a.touch([]facts.ColumnRef{ref})
	a.mark(v.consts, lineage.Of(ref))
	a.hoard(p, v)
	a.storingCode(p, v, c.Type)
	if len(v.Flow) == 0 {
		if v.typ != typeUnknown {
			v.plain = v.plain && a.family(v.typ) == a.family(c.Type) && c.Mod == ""
		} else {
			v.plain = v.plain && plainAs(v, a.base(c.Type))
		}
		v.typ, v.row = c.Type, nil
		return v
	}
	a.ledger.Write(p, "storing in "+qualified(r.Schema, r.Name)+"."+c.Name, v.Value, ref)
	if c.NotNull {
		a.ledger.Known(p, "a NOT NULL column", v.Value, true)
	}
	a.meet(v)
	if a.storedAlike(v, c) {
		v.typ = c.Type
		return v
	}
	if c.Mod != "" {
		return a.opaque(p, "storing in the type "+printable(c.Type)+c.Mod, c.Type, v)
	}
	v = a.coerce(p, v, c.Type)
	if v.typ != c.Type || v.typ == "" {
		return a.opaque(p, "storing in the type "+printable(c.Type), c.Type, v)
	}
	if t := a.typeOf(a.base(c.Type)); v.Size() > 1 && !fixedSize(a.base(c.Type)) && (t == nil || t.Kind != "e") {
		// Written again and again it would grow beyond what can be stored.
		return a.opaque(p, "storing a value that grows", c.Type, v)
	}
	return v
}

// storingCode records the code that converting a value to a type runs where it
// is stored: the type's own, and that of a cast.
func (a *analysis) storingCode(p lineage.Place, v value, typ string) {
	a.domainCode(p, typ)
	if v.typ == typ || v.typ == typeUnknown || v.typ == "" {
		return
	}
	if u := a.userCast(v, typ); u != nil {
		a.foreignCast(p, v, u, "storing in the type "+printable(typ))
	}
}

// storedAlike says that a value comes from columns of just that type.
func (a *analysis) storedAlike(v value, c catalog.Column) bool {
	if !v.Flow.Bare() {
		return false
	}
	for r, i := range a.tables {
		for _, s := range v.Flow {
			if s.Table == i && (r.Columns[s.Column].Type != c.Type || r.Columns[s.Column].Mod != c.Mod) {
				return false
			}
		}
	}
	return true
}

// defaultValue is what a column gets that a write leaves out.
func (a *analysis) defaultValue(r *catalog.Relation, i int) value {
	c := r.Columns[i]
	v := value{typ: c.Type, null: true, plain: true}
	switch {
	case c.Generated != "":
		return value{typ: c.Type}
	case c.Default != "":
		a.within(r.DefinitionPath, func() {
			for _, x := range a.parseExprs(c.Default) {
				d := a.expr(a.top(), x)
				v = value{typ: c.Type, Value: lineage.Value{Noisy: d.Noisy, Pieces: d.Pieces}, null: d.null, plain: d.null}
			}
		})
	case c.NotNull:
		v.null, v.plain = false, false // an identity
	}
	if !v.null {
		a.domainCode(lineage.Place{At: -1}, c.Type)
	}
	return v
}

// insertedRow is a row of which some columns are given.
func (a *analysis) insertedRow(r *catalog.Relation, given map[int]value) *newRow {
	row := &newRow{rel: r, insert: true, assigned: make([]bool, len(r.Columns))}
	for i, c := range r.Columns {
		v, ok := given[i]
		if !ok {
			v = a.defaultValue(r, i)
		}
		v.set, v.text = false, nil
		row.assigned[i] = true
		row.columns = append(row.columns, column{name: c.Name, value: v})
	}
	return row
}

// updatedRow is an old row in which some columns are replaced.
func (a *analysis) updatedRow(r *catalog.Relation, given map[int]value) *newRow {
	row := &newRow{rel: r, assigned: make([]bool, len(r.Columns)), columns: slices.Clone(a.scan(r).columns)}
	for i, v := range given {
		if v.text != nil {
			v.literal = len(*v.text) + 1
		}
		v.set, v.text = false, nil
		row.assigned[i] = true
		row.columns[i].value = v
	}
	return row
}

// copied is a row from outside, as COPY FROM brings them.
func (a *analysis) copied(r *catalog.Relation, cols []string) {
	d := &destination{named: r, base: r}
	for i := range r.Columns {
		d.index = append(d.index, i)
	}
	p := lineage.Place{At: -1}
	a.throughViews(p, d, []string{"insert"})
	if d.base != nil {
		given := map[int]value{}
		for i, c := range r.Columns {
			if j := d.index[i]; j >= 0 && slices.Contains(cols, c.Name) {
				given[j] = a.assign(p, d.base, j, value{typ: typeUnknown, plain: true})
			}
		}
		a.stored(p, a.insertedRow(d.base, given), "insert")
	}
	a.finish()
}

// returning is the result of RETURNING, nil without one.
func (a *analysis) returning(q *env, list []*pg_query.Node) *entry {
	if len(list) == 0 {
		return nil
	}
	return result(a.targets(q, list))
}

// targetItem is the written relation in scope.
func (a *analysis) targetItem(rv *pg_query.RangeVar, r *catalog.Relation) item {
	s := a.scan(r)
	en := &entry{alias: r.Name, rel: r, rowType: qualified(r.Schema, r.Name), columns: slices.Clone(s.columns), system: s.system}
	if rv.Alias != nil {
		en.alias, en.aliased = rv.Alias.Aliasname, true
	}
	return item{entry: en, named: true, bare: true}
}
