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

// scanned is what reading a relation brings, worked out once a statement.
type scanned struct {
	columns []column
	// reads are the columns that a view's conditions read.
	reads []facts.ColumnRef
}

// sameTable compares names of tables and databases, and aliases of tables.
func (a *analysis) sameTable(x, y string) bool {
	return x == y || a.folds && strings.EqualFold(x, y)
}

// current database, "" for none.
func (a *analysis) database() string {
	if len(a.view.SearchPath) > 0 {
		return a.view.SearchPath[0]
	}
	return ""
}

// lookup finds a relation by its name in a statement, nil where there is none.
func (a *analysis) lookup(n *ast.TableName) *catalog.Relation {
	schema, name := n.Schema.O, n.Name.O
	if schema == "" {
		schema = a.database()
	}
	if strings.EqualFold(schema, "information_schema") {
		for _, t := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
			if r := a.view.Relation("information_schema", t); r != nil {
				return r
			}
		}
		return nil
	}
	if r := a.view.Relation(schema, name); r != nil || !a.folds {
		return r
	}
	if r := a.view.Relation(strings.ToLower(schema), strings.ToLower(name)); r != nil {
		return r
	}
	for i := range a.view.Relations { // lower_case_table_names 2 keeps case and ignores it
		if r := &a.view.Relations[i]; strings.EqualFold(r.Schema, schema) && strings.EqualFold(r.Name, name) {
			return r
		}
	}
	return nil
}

// relation looks a table or view up; a missing one is a problem.
func (a *analysis) relation(n *ast.TableName) *catalog.Relation {
	if n.Schema.O == "" && a.database() == "" {
		a.fail(&facts.Problem{Code: "1046", At: -1, Message: "No database selected"})
		return nil
	}
	r := a.lookup(n)
	if r == nil {
		full := a.fullName(n)
		a.fail(&facts.Problem{Code: "1146", At: -1, Undefined: true, Message: fmt.Sprintf("Table '%s' doesn't exist", full)})
	}
	if r != nil && r.Kind == catalog.RelUncertain {
		a.fail(&facts.Problem{Code: "0A000", At: -1, Message: fmt.Sprintf("what has become of the temporary table '%s' is not known here", a.fullName(n)),
			Hint: "A statement that changed it has failed or is not followed: DROP TEMPORARY TABLE IF EXISTS it, and make it anew."})
		return nil
	}
	return r
}

func (a *analysis) fullName(n *ast.TableName) facts.Name {
	schema := n.Schema.O
	if schema == "" {
		schema = a.database()
	}
	return facts.Name{Schema: schema, Name: n.Name.O}
}

func systemSchema(schema string) bool {
	switch strings.ToLower(schema) {
	case "information_schema", "performance_schema", "mysql", "sys":
		return true
	}
	return false
}

func isView(r *catalog.Relation) bool { return r.Kind == catalog.RelView }

// table interns a relation in f.Tables and returns its index.
func (a *analysis) table(r *catalog.Relation) int {
	if i, ok := a.tables[r]; ok {
		return i
	}
	t := facts.Table{Name: facts.Name{Schema: r.Schema, Name: r.Name}, System: systemSchema(r.Schema)}
	for i := range r.Columns {
		c := &r.Columns[i]
		t.Columns = append(t.Columns, facts.TableColumn{Name: c.Name, Type: typeOf(c).factsType(), Origin: c.Num})
	}
	i := len(a.f.Tables)
	a.f.Tables = append(a.f.Tables, t)
	a.tables[r] = i
	a.views[i] = isView(r) && !t.System
	return i
}

// statistic is a value of the reserved class of statistics: what the server
// tells, beside rows, of values that it has met.
func (a *analysis) statistic(table, name string) lineage.Flow {
	for i, t := range a.f.Tables {
		if t.System && t.Schema == "information_schema" && t.Name.Name == table {
			return lineage.Of(facts.ColumnRef{Table: i})
		}
	}
	a.f.Tables = append(a.f.Tables, facts.Table{Name: facts.Name{Schema: "information_schema", Name: table}, System: true,
		Columns: []facts.TableColumn{{Name: name, Type: facts.Type{Name: "varchar", Kind: facts.KindText}}}})
	return lineage.Of(facts.ColumnRef{Table: len(a.f.Tables) - 1})
}

// ownColumns are a relation's columns as sources.
func (a *analysis) ownColumns(r *catalog.Relation) []column {
	t := a.table(r)
	out := make([]column, len(r.Columns))
	for i := range r.Columns {
		ty := typeOf(&r.Columns[i])
		v := value{t: ty}
		v.Flow, v.Pieces = lineage.Of(facts.ColumnRef{Table: t, Column: i}), ty.pieces()
		out[i] = column{name: r.Columns[i].Name, value: v, hidden: r.Columns[i].Hidden}
	}
	return out
}

// columnsOf are a table's columns with what the generated ones are made of.
func (a *analysis) columnsOf(r *catalog.Relation) []column {
	if s, ok := a.scanned[r]; ok && !isView(r) {
		return slices.Clone(s.columns)
	}
	cols := a.ownColumns(r)
	a.generatedColumns(r, cols)
	return cols
}

// scan is what reading a relation brings into scope.
func (a *analysis) scan(r *catalog.Relation) *scanned {
	if s, ok := a.scanned[r]; ok && !isView(r) {
		a.touch(s.reads)
		return s
	}
	if !a.step() || slices.Contains(a.building, r) {
		a.fail(&facts.Problem{Code: "1462", At: -1, Message: fmt.Sprintf("`%s`.`%s` contains view recursion", r.Schema, r.Name)})
		return &scanned{}
	}
	s := &scanned{columns: a.ownColumns(r)}
	a.rowsTell(r, s.columns)
	a.scanned[r] = s
	a.building = append(a.building, r)
	a.stack = append(a.stack, newArm())
	before := len(a.ledger.Uses())
	if isView(r) && !systemSchema(r.Schema) {
		a.expandView(r, s)
	} else {
		a.generatedColumns(r, s.columns)
	}
	a.leave()
	for _, u := range a.ledger.Uses()[before:] {
		if !strings.HasPrefix(u.What, theOrder) { // which the view does not name
			s.reads = append(s.reads, u.Columns...)
		}
	}
	a.touch(s.reads)
	a.building = a.building[:len(a.building)-1]
	return s
}

// expandView gives a view's columns what its definition makes them of.
func (a *analysis) expandView(r *catalog.Relation, s *scanned) {
	unknown := func() { a.fail(notUnderstood(fmt.Sprintf("the definition of the view %q", r.Name), -1)) }
	var body *entry
	a.within(r.DefinitionPath, func() {
		node, err := a.definition(r.Definition)
		if err != nil {
			unknown()
			return
		}
		a.nested++
		body = a.result(a.top(), node)
		a.nested--
	})
	if body == nil || len(body.columns) != len(s.columns) {
		unknown()
		return
	}
	for i := range s.columns {
		from := body.columns[i]
		c := &s.columns[i]
		c.Value = lineage.Either(c.Value, from.Value)
		c.loose = from.loose
		if from.t.class != c.t.class {
			c.t = typ{class: c.t.class}
		}
	}
}

// definition parses a query that the catalog holds as text, as the server
// writes it: without comments, with names in backquotes.
func (a *analysis) definition(text string) (ast.StmtNode, error) {
	d := dialect{mariadb: a.d.mariadb, version: a.d.version}
	l, err := lex(d, text, Limits{})
	if err != nil {
		return nil, err
	}
	pieces, err := split(l)
	if err != nil {
		return nil, err
	}
	if len(pieces) != 1 {
		return nil, notUnderstood("a definition of several statements", -1)
	}
	s, err := parse(d, l, pieces[0])
	if err != nil {
		return nil, err
	}
	if s.node == nil || s.into != "" || s.explain || s.returning != nil {
		return nil, notUnderstood("this definition", -1)
	}
	return s.node, nil
}

// within analyses definitions in the database that they were written for;
// their places are not the client's.
func (a *analysis) within(path []string, f func()) {
	outer := a.view
	v := *outer
	v.SearchPath = path
	v.Temporary = nil // a definition does not see temporary tables
	a.view = &v
	a.foreign++
	f()
	a.foreign--
	a.view = outer
}

// expression parses an expression that the catalog holds as text.
func (a *analysis) expression(text string) ast.ExprNode {
	node, err := a.definition("SELECT " + text)
	if s, ok := node.(*ast.SelectStmt); err == nil && ok && s.From == nil && len(s.Fields.Fields) == 1 && s.Fields.Fields[0].Expr != nil {
		return s.Fields.Fields[0].Expr
	}
	a.fail(notUnderstood("an expression of the schema", -1))
	return nil
}

// overRow is the environment of expressions about one row of a relation.
func (a *analysis) overRow(r *catalog.Relation, cols []column) *env {
	e := a.top()
	e.sc.items = []item{{entry: &entry{alias: r.Name, schema: r.Schema, columns: cols, rel: r}, named: true, bare: true}}
	return e
}

// generatedColumns adds the columns that a generated one is computed from. A
// virtual one is computed when it is read, and can warn then.
//
// One may be computed from others: each pass over them follows one step more.
func (a *analysis) generatedColumns(r *catalog.Relation, cols []column) {
	generated := 0
	for i := range r.Columns {
		if r.Columns[i].Generated != "" {
			generated++
		}
	}
	for range generated {
		before := slices.Clone(cols)
		a.generatedOnce(r, before, cols)
		if slices.EqualFunc(before, cols, func(x, y column) bool { return x.Flow.Equal(y.Flow) }) {
			return
		}
	}
}

func (a *analysis) generatedOnce(r *catalog.Relation, base, cols []column) {
	for i := range r.Columns {
		if r.Columns[i].Generated == "" {
			continue
		}
		flow, failing := a.schemaExpr(r, base, r.Columns[i].Generated)
		cols[i].Flow = lineage.Merge(cols[i].Flow, flow)
		if r.Columns[i].Virtual && failing { // it is computed when it is read
			a.ledger.Opaque(nowhere, "a generated column that may fail when it is read", lineage.Value{Flow: flow})
		}
	}
}
