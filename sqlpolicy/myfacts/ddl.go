package myfacts

import (
	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// ddl is what changes the schema.
func (o *one) ddl(n ast.StmtNode) {
	e := facts.Effect{Action: facts.DDL}
	object := func(kind string, t *ast.TableName) {
		if t == nil {
			return
		}
		if r := o.lookup(t); r != nil {
			o.table(r)
			e.Objects = append(e.Objects, relationObject(r))
			return
		}
		e.Objects = append(e.Objects, facts.Object{Kind: kind, Name: o.fullName(t)})
	}
	o.changes().ReloadSchema = true
	switch s := n.(type) {
	case *ast.CreateTableStmt:
		e.Verb, e.Destructive = "CREATE TABLE", o.s.orReplace
		object("table", s.Table)
		object("table", s.ReferTable)
		o.effect(e)
		o.createTable(s)
		return
	case *ast.CreateViewStmt:
		e.Verb, e.Destructive = "CREATE VIEW", s.OrReplace
		object("view", s.ViewName)
		m := o.enter()
		o.result(o.top(), s.Select)
		o.leave()
		// What the view reads is used when it is read.
		o.ledger = lineage.Ledger{}
		e.Objects = append(e.Objects, objects(m)...)
	case *ast.DropTableStmt:
		e.Verb, e.Destructive = "DROP TABLE", true
		kind := "table"
		if s.IsView {
			e.Verb, kind = "DROP VIEW", "view"
		}
		for _, t := range s.Tables {
			object(kind, t)
			o.dropTemporary(t)
		}
	case *ast.TruncateTableStmt:
		e.Verb, e.Destructive = "TRUNCATE TABLE", true
		object("table", s.Table)
	case *ast.RenameTableStmt:
		e.Verb = "RENAME TABLE"
		for _, t := range s.TableToTables {
			object("table", t.OldTable)
			o.renamed(t.OldTable, t.NewTable)
			o.unfollowed(t.OldTable, t.NewTable)
		}
	case *ast.AlterTableStmt:
		e.Verb = "ALTER TABLE"
		object("table", s.Table)
		e.Destructive = o.alter(s)
	case *ast.CreateIndexStmt:
		e.Verb = "CREATE INDEX"
		object("table", s.Table)
		o.createIndex(s)
	case *ast.DropIndexStmt:
		e.Verb, e.Destructive = "DROP INDEX", true
		object("table", s.Table)
	case *ast.CreateDatabaseStmt:
		e.Verb, e.Objects, e.Destructive = "CREATE DATABASE", []facts.Object{{Kind: "schema", Name: facts.Name{Name: s.Name.O}}}, o.s.orReplace
	case *ast.AlterDatabaseStmt:
		e.Verb, e.Objects = "ALTER DATABASE", []facts.Object{{Kind: "schema", Name: facts.Name{Name: s.Name.O}}}
	case *ast.DropDatabaseStmt:
		e.Verb, e.Destructive, e.Objects = "DROP DATABASE", true, []facts.Object{{Kind: "schema", Name: facts.Name{Name: s.Name.O}}}
		o.changes().ReloadSession = true
	default:
		o.fail(notUnderstood("this statement", o.s.from))
		return
	}
	o.effect(e)
}

// store records that values are kept in a table to be.
func (o *one) store(name facts.Name, cols []column) {
	t := facts.Table{Name: name}
	for _, c := range cols {
		t.Columns = append(t.Columns, facts.TableColumn{Name: c.name, Type: c.t.factsType()})
	}
	o.f.Tables = append(o.f.Tables, t)
	at := len(o.f.Tables) - 1
	for i, c := range cols {
		if len(c.Flow) == 0 {
			continue
		}
		o.ledger.Write(nowhere, "storing it in "+name.String(), c.Value, facts.ColumnRef{Table: at, Column: i})
		if !c.Flow.Bare() {
			o.opaque(nowhere, "storing what was computed", typ{}, c.value)
		}
	}
}

// renamed: a table's values go by another name.
func (o *one) renamed(from, to *ast.TableName) {
	if r := o.relation(from); r != nil {
		if isView(r) {
			return
		}
		o.store(o.fullName(to), o.ownColumns(r))
	}
}
