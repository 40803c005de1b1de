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

var nowhere = lineage.Place{At: -1}

// target resolves what a write changes. Views are not followed down to their
// tables: writing through one is refused.
func (a *analysis) target(n *ast.TableName) *catalog.Relation {
	r := a.relation(n)
	if r == nil {
		return nil
	}
	if isView(r) {
		a.fail(notUnderstood(fmt.Sprintf("writing through the view %q", r.Name), -1))
		return nil
	}
	if systemSchema(r.Schema) {
		a.fail(&facts.Problem{Code: "0A000", At: -1, Message: fmt.Sprintf("writing to %s.%s does not pass the proxy", r.Schema, r.Name),
			Hint: "The server's own tables are for its administrators."})
		return nil
	}
	if m := a.current(); !slices.Contains(m.targets, r) {
		m.targets = append(m.targets, r)
	}
	return r
}

func columnNamed(r *catalog.Relation, name string) int {
	return slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return sameName(c.Name, name) })
}

// assign records that a value is stored in a column.
func (a *analysis) assign(r *catalog.Relation, i int, v value) {
	ref := facts.ColumnRef{Table: a.table(r), Column: i}
	a.touch([]facts.ColumnRef{ref})
	a.consts.Meet(v.consts, lineage.Of(ref))
	if len(v.Flow) == 0 {
		return
	}
	c := &r.Columns[i]
	name := r.Schema + "." + r.Name + "." + c.Name
	a.ledger.Write(nowhere, "storing in "+name, v.Value, ref)
	a.meet(v)
	if c.NotNull {
		a.ledger.Known(nowhere, "a NOT NULL column", v.Value, true)
	}
	if to := typeOf(c); !v.Flow.Bare() || v.t != to || v.t.name == "" {
		// Cut, rounded or refused: with a warning or an error that depends on it.
		a.opaque(nowhere, "storing in another type than its own", to, v)
	}
}

// written records what writing some columns of a table compares: unique keys,
// foreign keys, checks and generated columns. values are the new ones by
// column; an insert writes all columns.
func (a *analysis) written(r *catalog.Relation, values map[int]value, insert bool) {
	assigned := func(i int) bool {
		_, ok := values[i]
		return ok || insert && r.Columns[i].Default != "" && r.Columns[i].Default != "NULL"
	}
	row := slices.Clone(a.scan(r).columns)
	for i := range row {
		if v, ok := values[i]; ok {
			row[i].value = v
		} else if insert {
			row[i].value = value{t: row[i].t}
		}
	}
	changed := map[int]bool{}
	for i := range r.Columns {
		changed[i] = assigned(i)
		if _, ok := values[i]; !ok && insert && computedDefault(r, i) {
			v := a.defaultOf(r, row, i)
			row[i].value = v
			a.assign(r, i, v)
		}
	}
	for range r.Columns { // what is computed from what was computed
		more := false
		for i := range r.Columns {
			if g := r.Columns[i].Generated; g != "" && !changed[i] {
				a.within([]string{r.Schema}, func() {
					if x := a.expression(g); x != nil && a.mentions(r, x, func(k int) bool { return changed[k] }) {
						changed[i], more = true, true
						row[i].value = a.expr(a.overRow(r, row), x)
					}
				})
			}
		}
		if !more {
			break
		}
	}
	a.keys(r, changed)
	if key := a.partitionKey(r, row); len(r.PartitionKey) > 0 && slices.ContainsFunc(r.PartitionKey, func(n int32) bool {
		i := slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == n })
		return i < 0 || changed[i]
	}) {
		a.compared(nowhere, "the choice of a partition", append(key, a.partitionKey(r, a.ownColumns(r))...)...)
	}
	for _, c := range r.Constraints {
		if c.Kind != "c" || c.Expr == "" {
			continue
		}
		a.within([]string{r.Schema}, func() {
			if x := a.expression(c.Expr); x != nil && (insert || a.mentions(r, x, assigned)) {
				a.condition(nowhere, "a check", a.expr(a.overRow(r, row), x))
			}
		})
	}
}

// computedDefault says that a column's default is made of others of its row.
// In the server's text of an expression names stand in backquotes.
func computedDefault(r *catalog.Relation, i int) bool {
	d := strings.ToLower(r.Columns[i].Default)
	return strings.Contains(d, "`") && !strings.HasPrefix(d, "'") && !strings.HasPrefix(d, "nextval(") && !strings.HasPrefix(d, "lastval(")
}

// defaultOf is a column's default over a row.
func (a *analysis) defaultOf(r *catalog.Relation, row []column, i int) value {
	out := value{plain: !computedDefault(r, i)}
	if out.plain {
		return out
	}
	a.within([]string{r.Schema}, func() {
		if x := a.expression(r.Columns[i].Default); x != nil {
			out = a.unnamed(a.expr(a.overRow(r, row), x))
		}
	})
	return out
}

// newValue is what SET or VALUES gives a column: DEFAULT is the column's own.
func (a *analysis) newValue(e *env, r *catalog.Relation, i int, x ast.ExprNode) value {
	if d, ok := x.(*ast.DefaultExpr); ok && d.Name == nil {
		return a.defaultOf(r, a.scan(r).columns, i)
	}
	return a.expr(e, x)
}

// defaultFunction is DEFAULT(column).
func (a *analysis) defaultFunction(v value) value {
	out := value{}
	for _, s := range v.Flow {
		for r, t := range a.tables {
			if t == s.Table && s.Column < len(r.Columns) && computedDefault(r, s.Column) {
				d := a.defaultOf(r, a.scan(r).columns, s.Column)
				out.Value = lineage.Total(lineage.Endless, out.Value, d.Value)
			}
		}
	}
	return out
}

// mentions says that an expression reads one of the columns.
func (a *analysis) mentions(r *catalog.Relation, x ast.ExprNode, which func(int) bool) bool {
	found := false
	walk(x, func(n ast.Node) bool {
		if c, ok := n.(*ast.ColumnName); ok {
			if i := columnNamed(r, c.Name.O); i >= 0 && which(i) {
				found = true
			}
		}
		return true
	})
	return found
}

// keys records the comparisons of unique and foreign keys.
func (a *analysis) keys(r *catalog.Relation, changed map[int]bool) {
	own := a.ownColumns(r)
	at := func(num int32) int {
		return slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == num })
	}
	unique := func(nums []int32, what string) {
		touched := slices.ContainsFunc(nums, func(n int32) bool { i := at(n); return i < 0 || changed[i] })
		for _, n := range nums {
			if i := at(n); i >= 0 && touched {
				a.known(nowhere, what, own[i].value)
			}
		}
	}
	for _, ix := range r.Indexes {
		if ix.Unique {
			unique(ix.Columns, "the unique key "+ix.Name)
			if len(ix.Exprs) > 0 {
				a.compared(nowhere, "the unique key "+ix.Name, columnValues(own)...)
			}
		}
	}
	for _, c := range r.Constraints {
		switch c.Kind {
		case "p", "u":
			unique(c.Columns, "the unique key "+c.Name)
		case "f":
			ref := a.view.RelationByOID(c.RefRelation)
			for k, n := range c.Columns {
				i := at(n)
				if i < 0 || !changed[i] {
					continue
				}
				if ref == nil || k >= len(c.RefColumns) {
					a.compared(nowhere, "the foreign key "+c.Name, own[i].value)
					continue
				}
				a.foreignKey(c.Name, own[i].value, ref, c.RefColumns[k])
			}
		}
	}
}

func (a *analysis) foreignKey(name string, v value, ref *catalog.Relation, num int32) {
	other := a.ownColumns(ref)
	for i, c := range ref.Columns {
		if c.Num == num {
			a.equal(nowhere, "the foreign key "+name, v, other[i].value)
		}
	}
}

// referred records the comparisons of foreign keys that point at a table
// whose rows change or go, and what follows them there.
func (a *analysis) referred(r *catalog.Relation, changed func(int32) bool) {
	for i := range a.view.Relations {
		child := &a.view.Relations[i]
		for _, c := range child.Constraints {
			if c.Kind != "f" || c.RefRelation != r.OID || r.OID == 0 || !slices.ContainsFunc(c.RefColumns, changed) {
				continue
			}
			own := a.ownColumns(child)
			for k, n := range c.Columns {
				for j := range child.Columns {
					if child.Columns[j].Num == n && k < len(c.RefColumns) {
						a.foreignKey(c.Name, own[j].value, r, c.RefColumns[k])
					}
				}
			}
			if c.OnDelete == "c" && !slices.Contains(a.building, child) {
				a.building = append(a.building, child)
				a.referred(child, func(int32) bool { return true })
				a.building = a.building[:len(a.building)-1]
			}
		}
	}
}

// triggers records the code that writing to a table runs.
func (a *analysis) triggers(r *catalog.Relation, events ...string) {
	for _, t := range r.Triggers {
		if slices.ContainsFunc(t.Events, func(e string) bool { return slices.Contains(events, e) }) {
			name := t.Function
			if name == "" {
				name = r.Schema + "." + t.Name
			}
			a.ledger.Code(nowhere, name, "the trigger "+t.Name)
		}
	}
}

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
		rows := o.ownColumns(r)
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
	own := o.ownColumns(r)[i].value
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
