package myfacts

import (
	"fmt"
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

var nowhere = lineage.Place{At: -1}

// writeEffect is the effect of a write.
func (o *one) writeEffect(action facts.Action, verb string, m *arm) facts.Effect {
	return facts.Effect{Action: action, Verb: verb, Objects: objects(m), Columns: m.columns, Functions: m.functions, Limit: facts.NoLimit}
}

// onlyTable is the table of an INSERT.
func onlyTable(t *ast.TableRefsClause) *ast.TableName {
	if t == nil || t.TableRefs == nil || t.TableRefs.Right != nil {
		return nil
	}
	if s, ok := t.TableRefs.Left.(*ast.TableSource); ok {
		n, _ := s.Source.(*ast.TableName)
		return n
	}
	return nil
}

// insert is INSERT and REPLACE.
func (o *one) insert(s *ast.InsertStmt) {
	m := o.enter()
	defer o.leave()
	name := onlyTable(s.Table)
	if name == nil {
		o.fail(notUnderstood("this INSERT", -1))
		return
	}
	r := o.target(name)
	if r == nil {
		return
	}
	q := o.top()
	q.sc.items = []item{{entry: &entry{alias: r.Name, schema: r.Schema, rel: r, columns: o.scan(r).columns}, named: true, bare: true}}
	cols := o.insertColumns(r, s.Columns)
	values, bound := map[int]value{}, lineage.Rows(len(s.Lists))
	put := func(i int, v value) {
		o.assign(r, i, v)
		if old, ok := values[i]; ok {
			v = o.unnamed(value{Value: lineage.Either(old.Value, v.Value), t: v.t, consts: lineage.Gather(old.consts, v.consts)})
		}
		values[i] = v
	}
	if s.Select != nil {
		n := o.enter()
		body := o.result(o.top(), s.Select) // its order stays: in numbers that the table gives, and in the table
		o.leave()
		bound = bounds{a: o.analysis}.query(s.Select)
		m.relations = append(m.relations, n.relations...)
		if len(body.columns) != len(cols) && o.problem == nil {
			o.fail(&facts.Problem{Code: "1136", At: -1, Message: "Column count doesn't match value count at row 1"})
			return
		}
		for k := range body.columns {
			put(cols[k], body.columns[k].value)
		}
		defer func() { o.effect(o.readEffect(n, "SELECT", s.Select)) }()
	}
	for _, row := range s.Lists {
		if len(row) == 0 && len(s.Lists) > 0 {
			continue // VALUES ()
		}
		if len(row) != len(cols) {
			o.fail(&facts.Problem{Code: "1136", At: -1, Message: "Column count doesn't match value count at row 1"})
			return
		}
		for k, x := range row {
			put(cols[k], o.newValue(q, r, cols[k], x))
		}
	}
	if o.problem != nil {
		return
	}
	o.written(r, values, true)
	if len(s.PartitionNames) > 0 {
		rows := o.columnsOf(r)
		for i, v := range values {
			rows[i].value = v
		}
		o.compared(nowhere, "the choice of a partition", o.partitionKey(r, rows)...)
	}
	o.triggers(r, "insert")
	verb := "INSERT"
	if s.IsReplace {
		verb = "REPLACE"
		o.triggers(r, "delete")
		o.referred(r, func(int32) bool { return true })
	}
	e := o.writeEffect(facts.Insert, verb, m)
	e.Limited, e.Limit, e.LimitParam = bound.Limited(), bound.Rows, bound.Param
	o.effect(e)
	if s.IsReplace {
		e.Action, e.Filtered = facts.Delete, true // what it replaces, row by row
		o.effect(e)
	}
	if len(s.OnDuplicate) > 0 {
		o.onDuplicate(q, r, s, values, m)
	}
	o.returning(q, r, verb, m)
}

func (o *one) insertColumns(r *catalog.Relation, list []*ast.ColumnName) []int {
	var out []int
	for _, c := range list {
		i := columnNamed(r, c.Name.O)
		if i < 0 {
			o.fail(&facts.Problem{Code: "1054", At: -1, Undefined: true, Message: fmt.Sprintf("Unknown column '%s' in 'field list'", c.Name.O)})
			return nil
		}
		out = append(out, i)
	}
	if len(list) == 0 {
		for i := range r.Columns {
			if !r.Columns[i].Hidden {
				out = append(out, i)
			}
		}
	}
	return out
}

// onDuplicate is ON DUPLICATE KEY UPDATE. Whether a row is changed is told by
// the count of rows: an equality of the old value and the new one.
func (o *one) onDuplicate(q *env, r *catalog.Relation, s *ast.InsertStmt, values map[int]value, m *arm) {
	e := *q
	e.values = func(name string) (value, bool) {
		i := columnNamed(r, name)
		v, ok := values[i]
		return o.unnamed(v), i >= 0 && ok
	}
	if sel, ok := s.Select.(*ast.SelectStmt); ok && sel.From != nil {
		// The query's tables are in scope too.
		in := o.top()
		o.from(in, sel.From.TableRefs)
		e.sc = &scope{items: append(slices.Clone(q.sc.items), in.sc.items...)}
	}
	o.setColumns(&e, s.OnDuplicate, []*catalog.Relation{r})
	o.triggers(r, "update")
	w := o.writeEffect(facts.Update, "INSERT ON DUPLICATE KEY UPDATE", m)
	w.Filtered = true // a conflict picks one row a row
	o.effect(w)
}

// setColumns is the list of SET in an UPDATE, over the relations that it may
// change.
func (o *one) setColumns(e *env, list []*ast.Assignment, rels []*catalog.Relation) (changed []*catalog.Relation) {
	values := map[*catalog.Relation]map[int]value{}
	for _, s := range list {
		old := o.columnRef(e, s.Column, -1)
		if o.problem != nil {
			return nil
		}
		var r *catalog.Relation
		i := -1
		if old.Flow.Bare() && len(old.Flow) == 1 {
			for _, t := range rels {
				if o.table(t) == old.Flow[0].Table {
					r, i = t, old.Flow[0].Column
				}
			}
		}
		if r == nil && len(old.Flow) > 0 { // a generated column has flows beside its own
			for _, t := range rels {
				if k := columnNamed(t, s.Column.Name.O); k >= 0 && slices.ContainsFunc(old.Flow, func(f facts.Source) bool { return f.Table == o.table(t) && f.Column == k }) {
					r, i = t, k
				}
			}
		}
		if r == nil {
			o.fail(&facts.Problem{Code: "1288", At: -1, Message: fmt.Sprintf("The target of %s is not updatable through the proxy", s.Column.Name.O)})
			return nil
		}
		v := o.newValue(e, r, i, s.Expr)
		o.assign(r, i, v)
		o.changedFrom(r, i, v)
		if values[r] == nil {
			values[r] = map[int]value{}
			changed = append(changed, r)
		}
		values[r][i] = v
	}
	for _, r := range changed {
		o.written(r, values[r], false)
		o.referred(r, func(num int32) bool {
			return slices.ContainsFunc(r.Columns, func(c catalog.Column) bool {
				_, ok := values[r][columnNamed(r, c.Name)]
				return c.Num == num && ok
			})
		})
	}
	return changed
}

// changedFrom: the count of changed rows tells whether the old value was the
// new one, as it is stored.
func (o *one) changedFrom(r *catalog.Relation, i int, v value) {
	own := o.columnsOf(r)[i].value
	switch {
	case v.null, v.Flow.Equal(own.Flow):
		o.known(nowhere, "the count of rows that UPDATE changes", own)
	case len(v.Flow) == 0 && v.plain:
		o.known(nowhere, "the count of rows that UPDATE changes", own)
	case len(v.Flow) == 0:
		o.known(nowhere, "the count of rows that UPDATE changes", own)
	default:
		o.equal(nowhere, "the count of rows that UPDATE changes", own, v)
	}
}

func (o *one) update(s *ast.UpdateStmt) {
	m := o.enter()
	defer o.leave()
	e := o.withClause(o.top(), s.With)
	o.from(e, s.TableRefs.TableRefs)
	rels := o.updatable(e)
	if s.Where != nil {
		d := e.deciding("where clause")
		o.condition(d.place(-1), "a condition", o.expr(d, s.Where))
	}
	e.clause = "field list"
	changed := o.setColumns(e, s.List, rels)
	if o.problem != nil {
		return
	}
	for _, r := range changed {
		o.writable(r)
		m.targets = append(m.targets, r)
		o.triggers(r, "update")
	}
	o.orderBy(e.deciding(""), s.Order, nil)
	o.limit(e.deciding(""), s.Limit)
	o.unorderedWrite(e, s.TableRefs.TableRefs, s.Where, s.Order, s.Limit != nil, s.List)
	w := o.writeEffect(facts.Update, "UPDATE", m)
	b := bounds{a: o.analysis}.limit(s.Limit)
	w.Limited, w.Limit, w.LimitParam = b.Limited(), b.Rows, b.Param
	w.Filtered = filter{a: o.analysis}.write(e, changed, s.TableRefs.TableRefs, s.Where)
	o.effect(w)
}

// updatable are the tables in scope.
func (o *one) updatable(e *env) (out []*catalog.Relation) {
	for _, it := range e.sc.items {
		if it.rel != nil {
			out = append(out, it.rel)
		}
	}
	return out
}

func (o *one) writable(r *catalog.Relation) {
	o.target(&ast.TableName{Schema: ast.NewCIStr(r.Schema), Name: ast.NewCIStr(r.Name)})
}

func (o *one) delete(s *ast.DeleteStmt) {
	m := o.enter()
	defer o.leave()
	e := o.withClause(o.top(), s.With)
	o.from(e, s.TableRefs.TableRefs)
	var gone []*catalog.Relation
	if s.IsMultiTable {
		for _, t := range s.Tables.Tables {
			r := o.deleted(e, t)
			if r == nil {
				return
			}
			gone = append(gone, r)
		}
	} else {
		gone = o.updatable(e)
	}
	if len(gone) == 0 && o.problem == nil {
		o.fail(notUnderstood("this DELETE", -1))
	}
	if s.Where != nil {
		d := e.deciding("where clause")
		o.condition(d.place(-1), "a condition", o.expr(d, s.Where))
	}
	o.orderBy(e.deciding(""), s.Order, nil)
	o.limit(e.deciding(""), s.Limit)
	o.unorderedWrite(e, s.TableRefs.TableRefs, s.Where, s.Order, s.Limit != nil || o.s.returning != nil, nil)
	if o.problem != nil {
		return
	}
	for _, r := range gone {
		o.writable(r)
		m.targets = append(m.targets, r)
		o.triggers(r, "delete")
		o.referred(r, func(int32) bool { return true })
	}
	w := o.writeEffect(facts.Delete, "DELETE", m)
	b := bounds{a: o.analysis}.limit(s.Limit)
	w.Limited, w.Limit, w.LimitParam = b.Limited(), b.Rows, b.Param
	w.Filtered = filter{a: o.analysis}.write(e, gone, s.TableRefs.TableRefs, s.Where)
	o.effect(w)
	o.returning(e, nil, "DELETE", m)
}

// deleted is the table that an entry of a multi-table DELETE's list means.
func (o *one) deleted(e *env, t *ast.TableName) *catalog.Relation {
	for _, it := range e.sc.items {
		if it.named && it.rel != nil && o.means(it.entry, "", t.Name.O) && (t.Schema.O == "" || o.sameTable(it.rel.Schema, t.Schema.O)) {
			return it.rel
		}
	}
	o.fail(&facts.Problem{Code: "1109", At: -1, Undefined: true, Message: fmt.Sprintf("Unknown table '%s' in MULTI DELETE", t.Name.O)})
	return nil
}

// returning is MariaDB's RETURNING: it sees the rows as they are stored.
func (o *one) returning(e *env, r *catalog.Relation, verb string, m *arm) {
	if o.s.returning == nil || o.problem != nil {
		return
	}
	q := *e
	if r != nil {
		q.sc = &scope{items: []item{{entry: &entry{alias: r.Name, schema: r.Schema, rel: r, columns: o.scan(r).columns}, named: true, bare: true}}}
	}
	q.clause = "field list"
	out := &entry{}
	for _, t := range o.targets(&q, o.s.returning.Fields) {
		out.columns = append(out.columns, t.column)
	}
	o.f.Outputs = o.outputs(out)
	w := o.f.Effects[0]
	w.Action, w.Verb, w.Columns = facts.Read, verb+" RETURNING", m.columns
	o.effect(w)
}

// loadData is LOAD DATA.
func (o *one) loadData(s *ast.LoadDataStmt) {
	m := o.enter()
	defer o.leave()
	r := o.target(s.Table)
	if r == nil {
		return
	}
	verb := "LOAD DATA"
	if s.FileLocRef == ast.FileLocClient {
		verb = "LOAD DATA LOCAL"
	} else {
		o.ledger.Code(nowhere, "load data infile", "LOAD DATA from a file of the server")
	}
	values := map[int]value{}
	q := o.overRow(r, o.scan(r).columns)
	for _, c := range s.ColumnsAndUserVars {
		switch {
		case c.ColumnName != nil:
			i := columnNamed(r, c.ColumnName.Name.O)
			if i < 0 {
				o.fail(&facts.Problem{Code: "1054", At: -1, Undefined: true, Message: fmt.Sprintf("Unknown column '%s' in 'field list'", c.ColumnName.Name.O)})
				return
			}
			values[i] = value{}
		case c.UserVar != nil:
			o.assigned(c.UserVar.Name)
		}
	}
	if len(s.ColumnsAndUserVars) == 0 {
		for _, i := range o.insertColumns(r, nil) {
			values[i] = value{}
		}
	}
	for _, set := range s.ColumnAssignments {
		if i := columnNamed(r, set.Column.Name.O); i >= 0 {
			v := o.newValue(q, r, i, set.Expr)
			o.assign(r, i, v)
			values[i] = v
		} else {
			o.fail(notUnderstood("this LOAD DATA", -1))
		}
	}
	for i := range r.Columns {
		if _, ok := values[i]; ok {
			o.touch([]facts.ColumnRef{{Table: o.table(r), Column: i}})
		}
	}
	o.written(r, values, true)
	o.triggers(r, "insert")
	o.effect(o.writeEffect(facts.Insert, verb, m))
	e := o.writeEffect(facts.Copy, verb, m)
	o.effect(e)
	if s.OnDuplicate == ast.OnDuplicateKeyHandlingReplace {
		o.triggers(r, "delete")
		o.referred(r, func(int32) bool { return true })
		e.Action, e.Filtered = facts.Delete, true
		o.effect(e)
	}
}
