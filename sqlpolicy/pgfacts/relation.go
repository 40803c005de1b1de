package pgfacts

import (
	"fmt"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// scanned is what reading a relation brings, worked out once a statement.
type scanned struct {
	columns []column
	system  []column
	// reads are the columns that conditions of a view or of row security read.
	reads                []facts.ColumnRef
	amplified, boundless bool
}

// table interns a relation in f.Tables and returns its index.
func (a *analysis) table(r *catalog.Relation) int {
	if i, ok := a.tables[r]; ok {
		return i
	}
	t := facts.Table{Name: facts.Name{Schema: r.Schema, Name: r.Name}, System: systemSchema(r.Schema)}
	for _, m := range a.view.Family(r) {
		t.Family = append(t.Family, facts.Name{Schema: m.Schema, Name: m.Name})
	}
	for _, c := range r.Columns {
		t.Columns = append(t.Columns, facts.TableColumn{Name: c.Name, Type: a.factsType(c.Type), Origin: c.Num})
	}
	i := len(a.f.Tables)
	a.f.Tables = append(a.f.Tables, t)
	a.tables[r] = i
	a.views[i] = isView(r) && !t.System
	return i
}

func systemSchema(schema string) bool {
	return schema == "pg_catalog" || schema == "information_schema"
}

func isView(r *catalog.Relation) bool {
	return r.Kind == catalog.RelView || r.Kind == catalog.RelMaterializedView
}

func columnIndex(r *catalog.Relation, num int32) int {
	return slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == num })
}

func columnNamed(r *catalog.Relation, name string) int {
	return slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Name == name })
}

// relation looks a table or view up by its name in the statement.
func (a *analysis) relation(rv *pg_query.RangeVar) *catalog.Relation {
	at := a.at(rv.Location)
	if rv.Catalogname != "" && rv.Catalogname != a.view.Database {
		a.fail(&facts.Problem{Code: "0A000", At: at, Message: "cross-database references are not implemented"})
		return nil
	}
	r := a.view.Relation(rv.Schemaname, rv.Relname)
	if r == nil {
		a.fail(&facts.Problem{
			Code: "42P01", At: at, Undefined: true,
			Message: fmt.Sprintf("relation %q does not exist", joinName(rv.Schemaname, rv.Relname)),
		})
		return nil
	}
	switch r.Kind {
	case catalog.RelIndex, catalog.RelComposite:
		a.fail(&facts.Problem{Code: "42809", At: at, Message: fmt.Sprintf("cannot open relation %q", r.Name)})
		return nil
	}
	return r
}

// scan is what reading a relation brings into scope.
func (a *analysis) scan(r *catalog.Relation) *scanned {
	if s, ok := a.scanned[r]; ok {
		a.touch(s.reads)
		return s
	}
	if !a.step() || slices.Contains(a.building, r) {
		a.fail(&facts.Problem{Code: "42P17", At: -1, Message: fmt.Sprintf("infinite recursion detected in rules for relation %q", r.Name)})
		return &scanned{}
	}
	s := &scanned{columns: a.ownColumns(r)}
	a.scanned[r] = s // RLS policies may read their own table
	a.building = append(a.building, r)
	// What a definition's result list names is not read for that.
	a.stack = append(a.stack, &arm{touched: map[facts.ColumnRef]bool{}})
	before := len(a.ledger.Uses())
	if isView(r) && !systemSchema(r.Schema) {
		a.expandView(r, s)
	} else {
		a.generatedColumns(r, s.columns)
		a.partitionRead(r)
	}
	a.rowSecurity(r, s)
	s.system = a.systemColumns(r, s.columns)
	a.leave()
	s.reads = usedColumns(a.ledger.Uses()[before:]).Refs()
	a.touch(s.reads)
	a.building = a.building[:len(a.building)-1]
	return s
}

// ownColumns are a relation's columns as direct sources.
func (a *analysis) ownColumns(r *catalog.Relation) []column {
	t := a.table(r)
	out := make([]column, len(r.Columns))
	for i, c := range r.Columns {
		v := value{typ: c.Type, loose: c.LooseCollation, collation: c.Collation}
		if c.Type == typeName {
			v.collation = "C"
		}
		v.Flow = lineage.Of(facts.ColumnRef{Table: t, Column: i})
		out[i] = column{name: c.Name, value: v}
	}
	return out
}

// expandView adds what a view's columns come from to the columns themselves,
// which policy may have given classes of their own.
func (a *analysis) expandView(r *catalog.Relation, s *scanned) {
	if r.Definition == "" {
		a.fail(notUnderstood(fmt.Sprintf("the view %q, whose definition is not known,", r.Name), -1))
		return
	}
	var body *entry
	a.within(r.DefinitionPath, func() {
		tree, err := pg_query.Parse(r.Definition)
		if err != nil || len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetSelectStmt() == nil {
			a.fail(notUnderstood(fmt.Sprintf("the definition of the view %q", r.Name), -1))
			return
		}
		body = a.selectStmt(a.top(), tree.Stmts[0].Stmt.GetSelectStmt())
	})
	if body == nil || len(body.columns) < len(s.columns) {
		a.fail(notUnderstood(fmt.Sprintf("the definition of the view %q", r.Name), -1))
		return
	}
	s.amplified, s.boundless = body.amplified, body.boundless
	for i := range s.columns {
		from := body.columns[i]
		c := &s.columns[i]
		c.Value = lineage.Either(c.Value, from.Value)
		c.loose = c.loose || from.loose
		c.collation = mixCollations([]value{c.value, from.value})
		c.row = from.row
		if r.Kind == catalog.RelMaterializedView {
			c.Noisy = false // stored
		}
	}
}

// within analyses definitions under the search path that they were written
// for; their places are not the client's.
func (a *analysis) within(path []string, f func()) {
	if len(path) == 0 {
		path = []string{"pg_catalog"}
	}
	outer := a.view
	v := *outer
	v.SearchPath = path
	if !slices.Contains(path, "pg_catalog") {
		v.SearchPath = append([]string{"pg_catalog"}, path...)
	}
	a.view = &v
	a.foreign++
	f()
	a.foreign--
	a.view = outer
}

// parseExprs reads expressions that the catalog holds as text.
func (a *analysis) parseExprs(text string) []*pg_query.Node {
	tree, err := pg_query.Parse("SELECT " + text)
	if err == nil && len(tree.Stmts) == 1 {
		s := tree.Stmts[0].Stmt.GetSelectStmt()
		if s != nil && s.FromClause == nil && s.IntoClause == nil && len(s.TargetList) > 0 {
			out := make([]*pg_query.Node, len(s.TargetList))
			for i, t := range s.TargetList {
				out[i] = t.GetResTarget().GetVal()
			}
			return out
		}
	}
	a.fail(notUnderstood("an expression of the schema", -1))
	return nil
}

// overRow is the environment of expressions about one row of a relation.
func overRow(r *catalog.Relation, cols []column) *env {
	e := &entry{alias: r.Name, columns: cols, rel: r, rowType: qualified(r.Schema, r.Name)}
	return &env{sc: &scope{items: []item{{entry: e, named: true, bare: true}}}, level: &level{}}
}

// generatedColumns adds the columns that a generated one is computed from.
func (a *analysis) generatedColumns(r *catalog.Relation, cols []column) {
	base := slices.Clone(cols)
	for i, c := range r.Columns {
		if c.Generated == "" {
			continue
		}
		a.within(r.DefinitionPath, func() {
			// One that was computed when the row was stored cannot fail when it is
			// read, so that the uses on the way do not count.
			quiet := a.ledger
			a.ledger = lineage.Ledger{}
			for _, x := range a.parseExprs(c.Generated) {
				v := a.expr(overRow(r, base), x)
				flow := lineage.Merge(v.Flow, usedColumns(a.ledger.Uses())).Computed()
				cols[i].Flow = lineage.Merge(cols[i].Flow, flow)
				fails := v.Noisy || slices.ContainsFunc(a.ledger.Uses(), func(u facts.Use) bool { return u.Kind == facts.UseOpaque || u.Kind == facts.UseCode })
				if c.Virtual && fails { // it is computed when it is read
					quiet.Opaque(lineage.Place{At: -1}, "a generated column that may fail when it is read", lineage.Value{Flow: flow})
				}
			}
			a.ledger = quiet
		})
	}
}

// usedColumns are all columns among uses, as computed sources: what a stored
// result of comparing them still tells.
func usedColumns(uses []facts.Use) lineage.Flow {
	var out lineage.Flow
	for _, u := range uses {
		for _, c := range u.Columns {
			out = lineage.Merge(out, lineage.Flow{{ColumnRef: c}})
		}
	}
	return out
}

// rowSecurity applies a table's policies as conditions on each of its rows.
func (a *analysis) rowSecurity(r *catalog.Relation, s *scanned) {
	if !r.RowSecurity {
		return
	}
	for _, text := range r.Policies {
		a.within(r.DefinitionPath, func() {
			for _, x := range a.parseExprs(text) {
				e := overRow(r, s.columns).deciding()
				a.condition(e.place(-1), "a row security policy", a.expr(e, x))
			}
		})
	}
}

// systemColumns: where a row lies tells how long its values are, so ctid
// counts as computed from all of them.
func (a *analysis) systemColumns(r *catalog.Relation, cols []column) []column {
	if isView(r) && r.Kind != catalog.RelMaterializedView {
		return nil
	}
	plain := func(name, typ string) column { return column{name: name, value: value{typ: "pg_catalog." + typ}} }
	ctid := plain("ctid", "tid")
	tableoid := plain("tableoid", "oid")
	if !systemSchema(r.Schema) && r.Kind != catalog.RelSequence {
		row := rowOf(typeRecord, cols)
		ctid.Flow = row.Flow.Computed()
		tableoid.Flow = a.partitionKeyFlow(r)
	}
	return []column{ctid, tableoid, plain("xmin", "xid"), plain("xmax", "xid"), plain("cmin", "cid"), plain("cmax", "cid")}
}

// partitionKeyFlow is what the partition that a row lies in tells: the
// columns of the partition keys of the table's family.
func (a *analysis) partitionKeyFlow(r *catalog.Relation) lineage.Flow {
	var out lineage.Flow
	for _, m := range append([]*catalog.Relation{r}, a.view.Family(r)...) {
		for _, k := range m.PartitionKey {
			for _, c := range m.Columns {
				if k != 0 && c.Num != k {
					continue
				}
				if i := columnNamed(r, c.Name); i >= 0 {
					out = lineage.Merge(out, lineage.Flow{{ColumnRef: facts.ColumnRef{Table: a.table(r), Column: i}}})
				}
			}
		}
	}
	return out
}

// partitionRead: naming a partition selects rows by its key.
func (a *analysis) partitionRead(r *catalog.Relation) {
	if len(r.Parents) == 0 {
		return
	}
	if flow := a.partitionKeyFlow(r); len(flow) > 0 {
		a.ledger.Compare(lineage.Place{At: -1}, "the bounds of the partition "+r.Name, lineage.Value{Flow: flow})
	}
}
