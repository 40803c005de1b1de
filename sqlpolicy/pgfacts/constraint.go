package pgfacts

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// stored records what storing a row does besides: constraints compare it,
// indexes and generated columns compute with it, triggers run on it. The
// table's partitions and children may be what it is stored in.
func (a *analysis) stored(p lineage.Place, row *newRow, events ...string) {
	p.Predicate = true
	for _, s := range a.partitionKeyFlow(row.rel) {
		if !row.insert && s.Table == a.table(row.rel) && row.assigned[s.Column] {
			events = append(slices.Clone(events), "insert", "delete") // a move to another partition
			break
		}
	}
	for _, r := range a.storedIn(row.rel) {
		local := row.in(a, r)
		a.runTriggers(p, r, events)
		a.generated(local)
		e := overRow(r, local.columns).deciding()
		a.checks(e, local)
		a.indexes(p, e, local)
		a.foreignKeys(p, local)
		a.crowded(p, local)
		a.partitions(p, local)
		if !row.insert {
			a.referenced(p, r, local.assigned, map[*catalog.Relation]bool{})
		}
	}
}

// storedIn are a table and those that its rows can be in.
func (a *analysis) storedIn(r *catalog.Relation) []*catalog.Relation {
	out := []*catalog.Relation{r}
	for i := 0; i < len(out); i++ {
		for _, oid := range a.view.Children(out[i].OID) {
			if c := a.view.RelationByOID(oid); c != nil && !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// in is the row as a child table holds it.
func (row *newRow) in(a *analysis, r *catalog.Relation) *newRow {
	if r == row.rel {
		return row
	}
	out := &newRow{rel: r, insert: row.insert, assigned: make([]bool, len(r.Columns)), columns: a.ownColumns(r)}
	for i, c := range r.Columns {
		if j := columnNamed(row.rel, c.Name); j >= 0 {
			out.assigned[i] = row.assigned[j]
			if row.assigned[j] {
				out.columns[i].value = row.columns[j].value
			}
		}
	}
	return out
}

func (a *analysis) runTriggers(p lineage.Place, r *catalog.Relation, events []string) {
	name := qualified(r.Schema, r.Name)
	if r.Rules {
		a.ledger.Code(p, name, "the rewrite rules of "+name)
	}
	for _, t := range r.Triggers {
		if slices.ContainsFunc(t.Events, func(e string) bool { return slices.Contains(events, e) }) {
			a.ledger.Code(p, t.Function, "the trigger "+t.Name+" on "+name)
		}
	}
}

// generated computes the generated columns of a row from its new values.
func (a *analysis) generated(row *newRow) {
	base := slices.Clone(row.columns)
	for i, c := range row.rel.Columns {
		if c.Generated == "" {
			continue
		}
		a.within(row.rel.DefinitionPath, func() {
			for _, x := range a.parseExprs(c.Generated) {
				if !row.insert && !row.mentions(x) {
					continue
				}
				v := a.expr(overRow(row.rel, base), x)
				row.assigned[i] = true
				row.columns[i].value = value{typ: c.Type, Value: v.Value, null: v.null}
			}
		})
	}
}

// mentions says whether an expression over the row names an assigned column.
func (row *newRow) mentions(x *pg_query.Node) bool {
	found := false
	walk(x, func(n *pg_query.Node) bool {
		if ref := n.GetColumnRef(); ref != nil {
			parts := names(ref.Fields)
			i := -1
			if len(parts) > 0 && len(parts) == len(ref.Fields) {
				i = columnNamed(row.rel, parts[len(parts)-1])
			}
			if i < 0 || row.assigned[i] || row.rel.Columns[i].Generated != "" {
				found = true // the whole row, or what is not a column
			}
		}
		return !found
	})
	return found
}

// checks evaluates CHECK constraints over a new row. An update leaves alone
// those that it does not touch, unless old rows may violate them.
func (a *analysis) checks(e *env, row *newRow) {
	for _, c := range row.rel.Constraints {
		if c.Kind != "c" {
			continue
		}
		a.within(row.rel.DefinitionPath, func() {
			for _, x := range a.parseExprs(c.Expr) {
				if row.insert || c.NotValid || row.mentions(x) {
					a.condition(e.place(-1), "the constraint "+c.Name, a.expr(e, x))
				}
			}
		})
	}
}

// indexes: a unique one compares the row with the others, and any refuses
// what is too long for it.
func (a *analysis) indexes(p lineage.Place, e *env, row *newRow) {
	own := a.ownColumns(row.rel)
	for _, ix := range row.rel.Indexes {
		touched := row.insert
		null := false
		for _, num := range ix.Columns {
			i := columnIndex(row.rel, num)
			if i < 0 {
				continue
			}
			v := row.columns[i].value
			touched = touched || row.assigned[i]
			null = null || row.assigned[i] && v.null && !ix.NullsEqual
			if row.assigned[i] && len(v.Flow) > 0 && !fixedSize(a.base(row.rel.Columns[i].Type)) {
				a.opaque(lineage.Place{At: p.At}, "storing in the indexed column "+row.rel.Columns[i].Name, "", v)
			}
		}
		a.crowdedIndex(p, row, ix)
		touched = a.indexExprs(e, row, ix) || touched
		if ix.Unique && touched && !null {
			a.uniqueKey(p, row, own, ix)
		}
	}
	for _, c := range row.rel.Constraints {
		if c.Kind == "x" && (row.insert || row.touches(c.Columns)) {
			for _, num := range c.Columns {
				if i := columnIndex(row.rel, num); i >= 0 {
					a.compared(p, "the exclusion constraint "+c.Name, own[i].value, row.columns[i].value)
				}
			}
		}
	}
}

// crowded: a row that cannot be moved out of line as a whole is refused when
// it gets too long for a page, which tells the length of its values.
func (a *analysis) crowded(p lineage.Place, row *newRow) {
	const most = 150 // columns of which each takes at most 24 bytes of 8 kB
	if len(row.rel.Columns) <= most && !slices.ContainsFunc(row.rel.Columns, func(c catalog.Column) bool { return c.Inline }) {
		return
	}
	for i, c := range row.rel.Columns {
		if v := row.columns[i].value; len(v.Flow) > 0 && !fixedSize(a.base(c.Type)) {
			a.opaque(lineage.Place{At: p.At}, "storing in a table whose rows can be too long", "", v)
		}
	}
}

// crowdedIndex: an entry over several columns gets too long together.
func (a *analysis) crowdedIndex(p lineage.Place, row *newRow, ix catalog.IndexDef) {
	long := slices.ContainsFunc(ix.Columns, func(num int32) bool {
		i := columnIndex(row.rel, num)
		if i < 0 || !row.assigned[i] || fixedSize(a.base(row.rel.Columns[i].Type)) {
			return false
		}
		v := row.columns[i].value
		return !v.null && (v.literal == 0 || v.literal > 200)
	})
	if !long || row.insert {
		return
	}
	for _, num := range ix.Columns {
		if i := columnIndex(row.rel, num); i >= 0 && !row.assigned[i] && !fixedSize(a.base(row.rel.Columns[i].Type)) {
			a.opaque(lineage.Place{At: p.At}, "storing in the index "+ix.Name+", whose entries can be too long", "", row.columns[i].value)
		}
	}
}

func (row *newRow) touches(nums []int32) bool {
	return slices.ContainsFunc(nums, func(num int32) bool {
		i := columnIndex(row.rel, num)
		return i < 0 || row.assigned[i]
	})
}

// indexExprs evaluates an index's expressions and predicate over the new row,
// and over the rows that a unique one compares it with.
func (a *analysis) indexExprs(e *env, row *newRow, ix catalog.IndexDef) (touched bool) {
	for _, text := range ix.Exprs {
		a.within(row.rel.DefinitionPath, func() {
			for _, x := range a.parseExprs(text) {
				if !row.insert && !row.mentions(x) {
					continue
				}
				touched = true
				a.condition(e.place(-1), "the index "+ix.Name, a.expr(e, x))
				if ix.Unique {
					others := overRow(row.rel, a.ownColumns(row.rel)).deciding()
					a.condition(others.place(-1), "the unique index "+ix.Name, a.expr(others, x))
				}
			}
		})
	}
	return touched
}

func (a *analysis) uniqueKey(p lineage.Place, row *newRow, own []column, ix catalog.IndexDef) {
	for _, num := range ix.Columns {
		if i := columnIndex(row.rel, num); i >= 0 {
			a.keyed(p, "the unique index "+ix.Name, own[i].value, row.columns[i].value)
		}
	}
}

// keyed compares a stored column with a value by its index's equality.
func (a *analysis) keyed(p lineage.Place, what string, stored, v value) {
	if a.exactSides(stored, v) {
		a.meet(stored, v)
		a.ledger.Equal(p, what, stored.Value, v.Value)
		return
	}
	a.compared(p, what, stored, v)
}

// foreignKeys: the columns that a key refers to are looked up.
func (a *analysis) foreignKeys(p lineage.Place, row *newRow) {
	for _, c := range row.rel.Constraints {
		if c.Kind != "f" || !row.insert && !row.touches(c.Columns) {
			continue
		}
		ref := a.view.RelationByOID(c.RefRelation)
		if ref == nil || len(c.RefColumns) != len(c.Columns) {
			a.fail(notUnderstood("the foreign key "+c.Name, p.At))
			continue
		}
		var pairs [][2]value
		null := false
		refCols := a.ownColumns(ref)
		for k, num := range c.Columns {
			i, j := columnIndex(row.rel, num), columnIndex(ref, c.RefColumns[k])
			if i < 0 || j < 0 {
				a.fail(notUnderstood("the foreign key "+c.Name, p.At))
				return
			}
			null = null || row.columns[i].null
			pairs = append(pairs, [2]value{refCols[j].value, row.columns[i].value})
		}
		for _, pair := range pairs {
			if !null {
				a.keyed(p, "the foreign key "+c.Name, pair[0], pair[1])
			}
		}
	}
}

// referenced: changing or deleting a row looks up who refers to it, and may
// change or delete those in turn. assigned is nil where rows are deleted.
func (a *analysis) referenced(p lineage.Place, r *catalog.Relation, assigned []bool, seen map[*catalog.Relation]bool) {
	if seen[r] || !a.step() {
		return
	}
	seen[r] = true
	for i := range a.view.Relations {
		child := &a.view.Relations[i]
		for _, c := range child.Constraints {
			if c.Kind != "f" || !a.refersTo(c, r) || assigned != nil && !refersToAssigned(c, r, assigned) {
				continue
			}
			a.keyPairs(p, child, c)
			action := c.OnUpdate
			if assigned == nil {
				action = c.OnDelete
			}
			a.cascade(p, child, c, action, assigned == nil, seen)
		}
	}
}

// cascade is what a foreign key does to the rows that refer to a changed one.
// Where the catalog does not say, it may be anything.
func (a *analysis) cascade(p lineage.Place, child *catalog.Relation, c catalog.Constraint, action string, deleting bool, seen map[*catalog.Relation]bool) {
	if action == "a" || action == "r" {
		return
	}
	a.runTriggers(p, child, []string{"update", "delete"})
	if action == "c" && deleting {
		a.referenced(p, child, nil, seen)
		return
	}
	row := &newRow{rel: child, assigned: make([]bool, len(child.Columns)), columns: slices.Clone(a.ownColumns(child))}
	for _, num := range c.Columns {
		if j := columnIndex(child, num); j >= 0 {
			row.assigned[j] = true
			row.columns[j].value = value{typ: child.Columns[j].Type, null: action == "n", plain: action == "n"}
		}
	}
	e := overRow(child, row.columns).deciding()
	a.checks(e, row)
	a.indexes(p, e, row)
	a.referenced(p, child, nil, seen)
}

// refersTo says whether a foreign key refers to a table or its family.
func (a *analysis) refersTo(c catalog.Constraint, r *catalog.Relation) bool {
	return c.RefRelation != 0 && (c.RefRelation == r.OID || slices.ContainsFunc(a.view.Family(r), func(m *catalog.Relation) bool { return m.OID == c.RefRelation }))
}

func refersToAssigned(c catalog.Constraint, r *catalog.Relation, assigned []bool) bool {
	if c.RefRelation != r.OID {
		return true // numbered as another table's
	}
	return slices.ContainsFunc(c.RefColumns, func(num int32) bool {
		i := columnIndex(r, num)
		return i < 0 || assigned[i]
	})
}

func (a *analysis) keyPairs(p lineage.Place, child *catalog.Relation, c catalog.Constraint) {
	parent := a.view.RelationByOID(c.RefRelation)
	if parent == nil {
		return
	}
	own, theirs := a.ownColumns(parent), a.ownColumns(child)
	for k, num := range c.Columns {
		i, j := columnIndex(child, num), -1
		if k < len(c.RefColumns) {
			j = columnIndex(parent, c.RefColumns[k])
		}
		if i >= 0 && j >= 0 {
			a.keyed(p, "the foreign key "+c.Name, own[j].value, theirs[i].value)
		}
	}
}

// partitions: where a row goes depends on its partition key.
func (a *analysis) partitions(p lineage.Place, row *newRow) {
	if !row.insert && !slices.Contains(row.assigned, true) {
		return
	}
	for _, s := range a.partitionKeyFlow(row.rel) {
		if row.assigned[s.Column] && s.ColumnRef.Table == a.table(row.rel) {
			a.condition(p, "the partitions of "+row.rel.Name, row.columns[s.Column].value)
		}
	}
}
