package myfacts

import (
	"fmt"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// utility is every statement that is not a query or a write.
func (o *one) utility(n ast.StmtNode) {
	plain := func(action facts.Action, verb string) { o.effect(facts.Effect{Action: action, Verb: verb}) }
	switch s := n.(type) {
	case *ast.SetStmt:
		o.set(s)
	case *ast.UseStmt:
		o.use(s)
	case *ast.BeginStmt:
		if s.AsOf != nil {
			o.fail(notUnderstood("AS OF", -1))
		}
		plain(facts.Transaction, "BEGIN")
	case *ast.CommitStmt:
		plain(facts.Transaction, "COMMIT")
	case *ast.RollbackStmt:
		plain(facts.Transaction, "ROLLBACK")
	case *ast.SavepointStmt:
		plain(facts.Transaction, "SAVEPOINT")
	case *ast.ReleaseSavepointStmt:
		plain(facts.Transaction, "RELEASE SAVEPOINT")
	case *ast.PrepareStmt:
		o.prepare(s)
	case *ast.ExecuteStmt:
		o.execute(s)
	case *ast.DeallocateStmt:
		plain(facts.SessionSet, "DEALLOCATE")
		o.changes().Deallocate = []string{strings.ToLower(s.Name)}
	case *ast.DoStmt:
		o.doExprs(s)
	case *ast.CallStmt:
		o.callProcedure(s)
	case *ast.ExplainStmt:
		if show, ok := s.Stmt.(*ast.ShowStmt); ok && show.Table != nil {
			o.describe(show.Table, "DESCRIBE")
			return
		}
		o.fail(notUnderstood("this EXPLAIN", -1))
	default:
		o.ddl(n)
	}
}

// doExprs is DO: expressions whose values nobody sees.
func (o *one) doExprs(s *ast.DoStmt) {
	m := o.enter()
	for _, x := range s.Exprs {
		if v := o.expr(o.top(), x); len(v.Flow) > 0 {
			o.condition(nowhere, "DO", v)
		}
	}
	o.leave()
	o.effect(facts.Effect{Action: facts.Call, Verb: "DO", Functions: m.functions, Columns: m.columns, Objects: objects(m)})
}

// callProcedure is CALL: code, with whatever results it likes.
func (o *one) callProcedure(s *ast.CallStmt) {
	m := o.enter()
	schema := s.Procedure.Schema.O
	if schema == "" {
		schema = o.database()
	}
	name := schema + "." + s.Procedure.FnName.O
	args := o.exprs(o.top(), s.Procedure.Args)
	o.ledger.Code(nowhere, name, "CALL", plains(args)...)
	o.leave()
	o.effect(facts.Effect{Action: facts.Call, Verb: "CALL", Functions: append([]string{name}, m.functions...), Columns: m.columns,
		Objects: append([]facts.Object{{Kind: "procedure", Name: facts.Name{Schema: schema, Name: s.Procedure.FnName.O}}}, objects(m)...)})
	o.f.OpenResults = true
	o.changes().Forget = []string{""}
	o.changes().ReloadSession = true
}

// describe shows a table's columns.
func (o *one) describe(t *ast.TableName, verb string) {
	if r := o.relation(t); r != nil {
		o.effect(facts.Effect{Action: facts.Read, Verb: verb, Objects: []facts.Object{relationObject(r)}})
		o.f.OpenResults = true
	}
}

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

// alter is ALTER TABLE. What is not known to leave the rows as they are counts
// as an operation on all of them.
func (o *one) alter(s *ast.AlterTableStmt) (destructive bool) {
	r := o.relation(s.Table)
	if r == nil {
		return false
	}
	own := o.ownColumns(r)
	named := func(n *ast.ColumnName) []value {
		if i := columnNamed(r, n.Name.O); i >= 0 {
			return []value{own[i].value}
		}
		return columnValues(own)
	}
	all := func(what string) { o.opaqueUnless(nowhere, what, typ{}, columnValues(own)...) }
	for _, sp := range s.Specs {
		switch sp.Tp {
		case ast.AlterTableAddColumns:
			for _, c := range sp.NewColumns {
				o.columnOptions(r, c, all)
			}
		case ast.AlterTableDropColumn, ast.AlterTableDropPrimaryKey, ast.AlterTableDropIndex, ast.AlterTableDropForeignKey, ast.AlterTableDropPartition,
			ast.AlterTableTruncatePartition, ast.AlterTableDropCheck:
			destructive = true
		case ast.AlterTableAlterColumn, ast.AlterTableRenameIndex, ast.AlterTableIndexInvisible, ast.AlterTableLock, ast.AlterTableAlgorithm,
			ast.AlterTableEnableKeys, ast.AlterTableDisableKeys, ast.AlterTableForce:
		case ast.AlterTableRenameColumn:
			o.store(facts.Name{Schema: r.Schema, Name: r.Name}, []column{{name: sp.NewColumnName.Name.O, value: named(sp.OldColumnName)[0]}})
		case ast.AlterTableChangeColumn, ast.AlterTableModifyColumn:
			old := sp.OldColumnName
			if old == nil && len(sp.NewColumns) > 0 {
				old = sp.NewColumns[0].Name
			}
			if old == nil || len(sp.NewColumns) != 1 {
				all("ALTER TABLE")
				continue
			}
			vs := named(old)
			o.opaqueUnless(nowhere, "a change of its type", typ{}, vs...)
			o.store(facts.Name{Schema: r.Schema, Name: r.Name}, []column{{name: sp.NewColumns[0].Name.Name.O, value: vs[0]}})
			o.columnOptions(r, sp.NewColumns[0], all)
		case ast.AlterTableAddConstraint:
			o.constraint(r, sp.Constraint, all)
		case ast.AlterTableRenameTable:
			o.renamed(s.Table, sp.NewTable)
		case ast.AlterTableOption:
			for _, op := range sp.Options {
				if op.Tp != ast.TableOptionComment && op.Tp != ast.TableOptionAutoIncrement && op.Tp != ast.TableOptionEngine {
					all("ALTER TABLE")
				}
			}
		default:
			all("ALTER TABLE")
		}
	}
	return destructive
}

func (o *one) columnOptions(r *catalog.Relation, c *ast.ColumnDef, all func(string)) {
	for _, op := range c.Options {
		switch op.Tp {
		case ast.ColumnOptionGenerated, ast.ColumnOptionCheck, ast.ColumnOptionReference:
			all("a column that is made of others")
		case ast.ColumnOptionPrimaryKey, ast.ColumnOptionUniqKey:
			if i := columnNamed(r, c.Name.Name.O); i >= 0 {
				o.known(nowhere, "a unique key", o.ownColumns(r)[i].value)
			}
		}
	}
}

func (o *one) constraint(r *catalog.Relation, c *ast.Constraint, all func(string)) {
	switch c.Tp {
	case ast.ConstraintKey, ast.ConstraintIndex, ast.ConstraintFulltext:
	case ast.ConstraintPrimaryKey, ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
		o.uniqueParts(r, c.Keys, all)
	default:
		all("a constraint")
	}
}

func (o *one) uniqueParts(r *catalog.Relation, keys []*ast.IndexPartSpecification, all func(string)) {
	own := o.ownColumns(r)
	for _, k := range keys {
		i := -1
		if k.Column != nil && k.Length <= 0 {
			i = columnNamed(r, k.Column.Name.O)
		}
		if i < 0 {
			all("a unique key")
			continue
		}
		o.known(nowhere, "a unique key", own[i].value)
	}
}

func (o *one) createIndex(s *ast.CreateIndexStmt) {
	r := o.relation(s.Table)
	if r == nil {
		return
	}
	all := func(what string) { o.opaqueUnless(nowhere, what, typ{}, columnValues(o.ownColumns(r))...) }
	for _, k := range s.IndexPartSpecifications {
		if k.Expr != nil {
			all("an index over an expression")
		}
	}
	if s.KeyType == ast.IndexKeyTypeUnique {
		o.uniqueParts(r, s.IndexPartSpecifications, all)
	}
}

// createTable is what CREATE TABLE does beside making a table: it may copy
// rows, and a temporary table is known to the session alone.
func (o *one) createTable(s *ast.CreateTableStmt) {
	rel := o.tableToBe(s)
	if s.Select != nil {
		m := o.enter()
		o.ordered = true
		body := o.result(o.top(), s.Select)
		o.leave()
		o.ordered = false
		cols := derived(body.columns)
		o.store(o.fullName(s.Table), cols)
		for _, c := range cols {
			if i := columnNamed(rel, c.name); i >= 0 {
				if to := typeOf(&rel.Columns[i]); len(c.Flow) > 0 && c.t != to {
					o.opaque(nowhere, "storing in another type than its own", to, c.value)
				}
				continue
			}
			rel.Columns = append(rel.Columns, catalog.Column{Num: int32(len(rel.Columns) + 1), Name: c.name, Type: typeName(c.t), Mod: c.t.mod, Collation: c.t.coll})
		}
		for _, ix := range rel.Indexes {
			for _, num := range ix.Columns {
				for _, c := range cols {
					if ix.Unique && sameName(c.name, rel.Columns[num-1].Name) {
						o.known(nowhere, "a unique key", c.value)
					}
				}
			}
		}
		o.effect(o.readEffect(m, "SELECT", s.Select))
		w := o.writeEffect(facts.Insert, "CREATE TABLE SELECT", m)
		w.Objects = []facts.Object{{Kind: "table", Name: o.fullName(s.Table)}}
		o.effect(w)
	}
	if s.TemporaryKeyword == ast.TemporaryNone {
		return
	}
	o.changes().ReloadSchema = false
	if s.ReferTable != nil {
		if from := o.relation(s.ReferTable); from != nil {
			c := *from
			c.Constraints, c.Triggers = nil, nil
			rel = &c
		}
	}
	rel.Schema, rel.Name, rel.Kind, rel.Temporary, rel.OID = o.fullName(s.Table).Schema, s.Table.Name.O, catalog.RelTable, true, 0
	if o.change.Temporary == nil {
		o.change.Temporary = map[[2]string]*catalog.Relation{}
	}
	o.change.Temporary[[2]string{rel.Schema, rel.Name}] = rel
}

func typeName(t typ) string {
	if t.name != "" {
		return t.name
	}
	return map[class]string{clsInt: "bigint", clsDecimal: "decimal", clsFloat: "double", clsString: "longtext", clsBinary: "longblob", clsDate: "date",
		clsTime: "time", clsDatetime: "datetime"}[t.class]
}

// tableToBe describes a table that is being made.
func (o *one) tableToBe(s *ast.CreateTableStmt) *catalog.Relation {
	r := &catalog.Relation{}
	unique := func(nums ...int32) {
		r.Indexes = append(r.Indexes, catalog.IndexDef{Name: fmt.Sprintf("key %d", len(r.Indexes)+1), Unique: true, Columns: nums})
	}
	for i, c := range s.Cols {
		name, mod, _ := strings.Cut(c.Tp.InfoSchemaStr(), "(")
		if mod != "" {
			mod = "(" + mod
		}
		name, unsigned, _ := strings.Cut(name, " ")
		if unsigned != "" {
			mod = " " + unsigned
		}
		col := catalog.Column{Num: int32(i + 1), Name: c.Name.Name.O, Type: name, Mod: mod}
		if t := typeOf(&col); t.class == clsString || t.class == clsEnum {
			col.Collation = mixedCollation // the database's, or as the table says
		}
		for _, op := range c.Options {
			switch op.Tp {
			case ast.ColumnOptionPrimaryKey, ast.ColumnOptionUniqKey:
				unique(col.Num)
			case ast.ColumnOptionNotNull:
				col.NotNull = true
			case ast.ColumnOptionGenerated:
				if s.TemporaryKeyword != ast.TemporaryNone {
					o.fail(notUnderstood("a temporary table with generated columns", -1))
				}
			}
		}
		r.Columns = append(r.Columns, col)
	}
	for _, c := range s.Constraints {
		switch c.Tp {
		case ast.ConstraintPrimaryKey, ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
			var nums []int32
			for _, k := range c.Keys {
				if k.Column != nil {
					if i := columnNamed(r, k.Column.Name.O); i >= 0 {
						nums = append(nums, int32(i+1))
					}
				}
			}
			unique(nums...)
		case ast.ConstraintCheck:
			if s.TemporaryKeyword != ast.TemporaryNone {
				o.fail(notUnderstood("a temporary table with checks", -1))
			}
		}
	}
	return r
}

func (o *one) dropTemporary(t *ast.TableName) {
	n := o.fullName(t)
	k := [2]string{n.Schema, n.Name}
	if _, ok := o.view.Temporary[k]; ok {
		if o.changes().Temporary == nil {
			o.change.Temporary = map[[2]string]*catalog.Relation{}
		}
		o.change.Temporary[k] = nil
	}
}
