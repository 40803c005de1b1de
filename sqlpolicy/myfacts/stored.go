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
		a.compared(nowhere, "the choice of a partition", append(key, a.partitionKey(r, a.columnsOf(r))...)...)
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
	own := a.columnsOf(r)
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
		if !ix.Unique {
			continue
		}
		parts := a.indexParts(r, ix)
		if slices.ContainsFunc(parts, func(p indexPart) bool { return p.column < 0 || changed[p.column] }) {
			for _, p := range parts {
				a.known(nowhere, "the unique key "+ix.Name, p.value)
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
	other := a.columnsOf(ref)
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
			own := a.columnsOf(child)
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
