package pgfacts

import (
	"fmt"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

func (a *analysis) insert(e *env, s *pg_query.InsertStmt) *entry {
	e = a.withClause(e, s.WithClause)
	events := []string{"insert"}
	conflict := s.OnConflictClause
	update := conflict != nil && conflict.Action == pg_query.OnConflictAction_ONCONFLICT_UPDATE
	if update {
		events = append(events, "update")
	}
	d := a.destination(s.Relation, events...)
	if d == nil || a.problem != nil {
		return nil
	}
	p := lineage.Place{At: a.at(s.Relation.Location)}
	columns := a.insertTargets(d, s.Cols)
	given := a.insertSource(e, p, d, columns, s)

	q := e.inner()
	q.sc = &scope{parent: e.sc}
	target := a.targetItem(s.Relation, d.named)
	if d.base != nil {
		row := a.insertedRow(d.base, given)
		a.stored(p, row, events...)
		if conflict != nil {
			a.onConflict(q, p, d, row, target, conflict)
		}
	}
	q.sc.items = []item{target}
	return a.returning(q, s.ReturningList)
}

// insertTarget is a column that is given a value, by its place in the named
// relation.
type insertTarget struct {
	at   int
	part *pg_query.ResTarget // where it is given an element or a field; else nil
}

// insertTargets are the columns that a list names; without a list, all.
func (a *analysis) insertTargets(d *destination, cols []*pg_query.Node) []insertTarget {
	var out []insertTarget
	if len(cols) == 0 {
		for i := range d.named.Columns {
			out = append(out, insertTarget{at: i})
		}
		return out
	}
	for _, n := range cols {
		t := n.GetResTarget()
		to := insertTarget{at: a.targetColumn(d, t)}
		if len(t.GetIndirection()) > 0 {
			to.part = t
		}
		out = append(out, to)
	}
	return out
}

func (a *analysis) targetColumn(d *destination, t *pg_query.ResTarget) int {
	i := columnNamed(d.named, t.GetName())
	if i < 0 {
		a.fail(&facts.Problem{
			Code: "42703", At: a.at(t.GetLocation()), Undefined: true,
			Message: fmt.Sprintf("column %q of relation %q does not exist", t.GetName(), d.named.Name),
		})
		return -1
	}
	return i
}

// insertSource analyses what is inserted, by place in the base table.
func (a *analysis) insertSource(e *env, p lineage.Place, d *destination, targets []insertTarget, s *pg_query.InsertStmt) map[int]value {
	given := map[int]value{}
	sel := s.SelectStmt.GetSelectStmt()
	if s.SelectStmt == nil || a.problem != nil {
		return given // DEFAULT VALUES
	}
	var rows [][]value
	if sel != nil && len(sel.ValuesLists) > 0 && plainArm(sel) {
		q := e.inner()
		q.sc = &scope{parent: e.sc}
		for _, n := range sel.ValuesLists {
			items := n.GetList().GetItems()
			if len(items) > len(targets) {
				a.tooMany(a.at(leftmost(items[len(targets)])))
				return given
			}
			rows = append(rows, a.valuesRow(q, d, targets, items))
		}
	} else {
		sub := e.inner()
		body := a.statement(sub, s.SelectStmt)
		if body == nil {
			return given
		}
		if len(body.columns) > len(targets) {
			at := p.At
			if sel != nil && len(sel.TargetList) == len(body.columns) {
				at = a.at(leftmost(sel.TargetList[len(targets)].GetResTarget().GetVal()))
			}
			a.tooMany(at)
			return given
		}
		rows = [][]value{columnValues(body.columns)}
	}
	return a.insertRows(e, p, d, targets, rows)
}

// insertRows assigns rows to the columns that they are for.
func (a *analysis) insertRows(e *env, p lineage.Place, d *destination, targets []insertTarget, rows [][]value) map[int]value {
	given := map[int]value{}
	for i, to := range targets {
		if to.at < 0 || d.base == nil {
			continue
		}
		j := d.index[to.at]
		var values []value
		for _, row := range rows {
			if len(row) > len(targets) { // of MERGE, or by a row's fields
				a.tooMany(p.At)
				return given
			}
			if i >= len(row) {
				continue
			}
			if j < 0 {
				a.fail(computedColumn("insert into", d, to.at))
				return given
			}
			v := row[i]
			if to.part != nil {
				v = a.intoPart(e, p, d, to.at, to.part, v)
			}
			values = append(values, a.assign(p, d.base, j, v))
		}
		if before, ok := given[j]; ok && to.part != nil { // the parts make one value
			values = append(values, before)
		}
		if len(values) > 0 {
			given[j] = a.either(p, values...)
		}
	}
	return given
}

func (a *analysis) tooMany(at int) {
	a.fail(&facts.Problem{Code: "42601", At: at, Message: "INSERT has more expressions than target columns"})
}

// computedColumn is PostgreSQL's refusal to write to a view's column that is
// none of its table's.
func computedColumn(what string, d *destination, i int) *facts.Problem {
	return &facts.Problem{
		Code: "55000", At: -1, Message: fmt.Sprintf("cannot %s column %q of view %q", what, d.named.Columns[i].Name, d.named.Name),
		Detail: "View columns that are not columns of their base relation are not updatable.",
	}
}

// valuesRow analyses one row of VALUES, in which DEFAULT may stand.
func (a *analysis) valuesRow(q *env, d *destination, targets []insertTarget, items []*pg_query.Node) []value {
	var out []value
	for _, n := range items {
		if n.GetSetToDefault() != nil {
			v := value{typ: typeUnknown, null: true, plain: true}
			if k := len(out); k < len(targets) && targets[k].at >= 0 && d.base != nil && d.index[targets[k].at] >= 0 {
				v = a.defaultValue(d.base, d.index[targets[k].at])
			}
			out = append(out, v)
			continue
		}
		out = append(out, a.exprList(q, []*pg_query.Node{n})...)
	}
	return out
}

// onConflict analyses ON CONFLICT: the arbiter's columns are those of a
// unique index, which storing the row has compared already.
func (a *analysis) onConflict(q *env, p lineage.Place, d *destination, row *newRow, target item, c *pg_query.OnConflictClause) {
	only := *q
	only.sc = &scope{parent: q.sc.parent, items: []item{target}}
	o := (&only).deciding()
	if inf := c.Infer; inf != nil {
		for _, n := range inf.IndexElems {
			el := n.GetIndexElem()
			if el.GetExpr() != nil {
				a.condition(o.place(p.At), "ON CONFLICT", a.expr(o, el.Expr))
			} else if v, ok := a.entryColumn(target.entry, el.GetName(), p.At); ok {
				a.known(o.place(p.At), "ON CONFLICT", v)
			} else {
				a.undefinedColumn(only.sc, "", el.GetName(), a.at(inf.Location))
			}
		}
		if inf.WhereClause != nil {
			a.condition(o.place(p.At), "ON CONFLICT", a.expr(o, inf.WhereClause))
		}
	}
	if c.Action != pg_query.OnConflictAction_ONCONFLICT_UPDATE {
		return
	}
	excluded := &entry{alias: "excluded", aliased: true, columns: a.excludedColumns(d, row)}
	q.sc.items = []item{{entry: excluded, named: true, bare: true}, target}
	a.where(q, c.WhereClause)
	given := a.setClause(q, p, d, c.TargetList)
	a.stored(p, a.updatedRow(d.base, given), "update")
}

// excludedColumns is the row that was not inserted.
func (a *analysis) excludedColumns(d *destination, row *newRow) []column {
	out := make([]column, len(d.named.Columns))
	for i, c := range d.named.Columns {
		out[i] = column{name: c.Name, value: value{typ: c.Type}}
		if j := d.index[i]; j >= 0 {
			out[i].value = row.columns[j].value
		}
	}
	return out
}

func (a *analysis) update(e *env, s *pg_query.UpdateStmt) *entry {
	e = a.withClause(e, s.WithClause)
	d := a.destination(s.Relation, "update")
	if d == nil || a.problem != nil {
		return nil
	}
	q := e.inner()
	q.sc = &scope{parent: e.sc, items: []item{a.targetItem(s.Relation, d.named)}}
	a.fromClause(q, s.FromClause)
	a.where(q, s.WhereClause)
	p := q.place(a.at(s.Relation.Location))
	given := a.setClause(q, p, d, s.TargetList)
	if d.base != nil {
		a.stored(p, a.updatedRow(d.base, given), "update")
	}
	return a.returning(q, s.ReturningList)
}

// setClause analyses assignments, by place in the base table.
func (a *analysis) setClause(q *env, p lineage.Place, d *destination, list []*pg_query.Node) map[int]value {
	given := map[int]value{}
	for _, n := range list {
		t := n.GetResTarget()
		i := a.targetColumn(d, t)
		if i < 0 {
			return given
		}
		v := a.assigned(q, d, i, t)
		if len(t.Indirection) > 0 {
			v = a.intoPart(q, p, d, i, t, v, a.scan(d.named).columns[i].value)
		}
		if d.base == nil {
			continue // a view's trigger gets it: it is code already
		}
		j := d.index[i]
		if j < 0 {
			a.fail(computedColumn("update", d, i))
			return given
		}
		given[j] = a.assign(q.place(a.at(t.Location)), d.base, j, v)
	}
	return given
}

// assigned is the value that SET gives a column.
func (a *analysis) assigned(q *env, d *destination, i int, t *pg_query.ResTarget) value {
	val := t.Val
	if m := val.GetMultiAssignRef(); m != nil {
		if r := m.Source.GetRowExpr(); r != nil && int(m.Colno) >= 1 && int(m.Colno) <= len(r.Args) {
			val = r.Args[m.Colno-1]
		} else {
			v := a.expr(q, m.Source)
			if k := int(m.Colno) - 1; k >= 0 && k < len(v.row) {
				return v.row[k].value
			}
			if m.Ncolumns == 1 {
				return v
			}
			a.fail(notUnderstood("this assignment", a.at(t.Location)))
			return value{}
		}
	}
	if val.GetSetToDefault() != nil {
		if d.base != nil && d.index[i] >= 0 {
			return a.defaultValue(d.base, d.index[i])
		}
		return value{typ: typeUnknown, null: true, plain: true}
	}
	return a.expr(q, val)
}

// intoPart is an assignment to an element or a field: what else the column's
// new value is made of stands in old.
func (a *analysis) intoPart(q *env, p lineage.Place, d *destination, i int, t *pg_query.ResTarget, v value, old ...value) value {
	args := append([]value{v}, old...)
	part := d.named.Columns[i].Type
	for _, n := range t.Indirection {
		x := n.GetAIndices()
		if x == nil {
			part = a.fieldType(part, n.GetString_().GetSval())
			continue
		}
		if !x.IsSlice {
			part = a.element(part)
		}
		for _, b := range []*pg_query.Node{x.Lidx, x.Uidx} {
			if b != nil {
				args = append(args, a.expr(q, b))
			}
		}
	}
	a.storingCode(p, v, part)
	return a.unproven(p, "an assignment to part of a column", d.named.Columns[i].Type, args...)
}

// fieldType is the type of a composite type's field, "" where it is not known.
func (a *analysis) fieldType(typ, field string) string {
	if r := a.rowType(typ); r != nil {
		if i := columnNamed(r, field); i >= 0 {
			return r.Columns[i].Type
		}
	}
	return ""
}

func (a *analysis) delete(e *env, s *pg_query.DeleteStmt) *entry {
	e = a.withClause(e, s.WithClause)
	d := a.destination(s.Relation, "delete")
	if d == nil || a.problem != nil {
		return nil
	}
	q := e.inner()
	q.sc = &scope{parent: e.sc, items: []item{a.targetItem(s.Relation, d.named)}}
	a.fromClause(q, s.UsingClause)
	a.where(q, s.WhereClause)
	if d.base != nil {
		a.deleted(q.place(a.at(s.Relation.Location)), d)
	}
	return a.returning(q, s.ReturningList)
}

// deleted records what deleting rows does besides.
func (a *analysis) deleted(p lineage.Place, d *destination) {
	p.Predicate = true
	for _, r := range a.storedIn(d.base) {
		a.runTriggers(p, r, []string{"delete"})
		a.referenced(p, r, nil, map[*catalog.Relation]bool{})
	}
}

func (a *analysis) merge(e *env, s *pg_query.MergeStmt) *entry {
	e = a.withClause(e, s.WithClause)
	var events []string
	for _, n := range s.MergeWhenClauses {
		events = append(events, mergeEvent(n.GetMergeWhenClause().GetCommandType()))
	}
	d := a.destination(s.Relation, events...)
	if d == nil || a.problem != nil {
		return nil
	}
	q := e.inner()
	q.sc = &scope{parent: e.sc}
	a.fromClause(q, []*pg_query.Node{s.SourceRelation})
	source := &scope{parent: e.sc, items: q.sc.items}
	q.sc = &scope{parent: e.sc, items: append(append([]item{}, source.items...), a.targetItem(s.Relation, d.named))}
	a.where(q, s.JoinCondition)
	p := q.place(a.at(s.Relation.Location))
	for _, n := range s.MergeWhenClauses {
		w := n.GetMergeWhenClause()
		arm := *q
		if w.GetMatchKind() == pg_query.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_TARGET {
			arm.sc = source
		}
		a.where(&arm, w.GetCondition())
		a.mergeAction(&arm, p, d, w)
	}
	return a.returning(q, s.ReturningList)
}

func mergeEvent(c pg_query.CmdType) string {
	switch c {
	case pg_query.CmdType_CMD_INSERT:
		return "insert"
	case pg_query.CmdType_CMD_UPDATE:
		return "update"
	case pg_query.CmdType_CMD_DELETE:
		return "delete"
	}
	return ""
}

func (a *analysis) mergeAction(q *env, p lineage.Place, d *destination, w *pg_query.MergeWhenClause) {
	switch w.GetCommandType() {
	case pg_query.CmdType_CMD_NOTHING:
	case pg_query.CmdType_CMD_DELETE:
		if d.base != nil {
			a.deleted(p, d)
		}
	case pg_query.CmdType_CMD_UPDATE:
		given := a.setClause(q, p, d, w.TargetList)
		if d.base != nil {
			a.stored(p, a.updatedRow(d.base, given), "update")
		}
	case pg_query.CmdType_CMD_INSERT:
		targets := a.insertTargets(d, w.TargetList)
		given := a.insertRows(q, p, d, targets, [][]value{a.valuesRow(q, d, targets, w.Values)})
		if d.base != nil {
			a.stored(p, a.insertedRow(d.base, given), "insert")
		}
	default:
		a.fail(notUnderstood("this action of MERGE", p.At))
	}
}
