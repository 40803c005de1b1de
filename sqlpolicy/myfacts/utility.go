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
		o.changes().Deallocate = []string{o.preparedName(s.Name)}
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
		if !quietOnTemporary(sp) {
			o.unfollowed(s.Table)
		}
		switch sp.Tp {
		case ast.AlterTableAddColumns:
			for _, c := range sp.NewColumns {
				o.columnOptions(r, c, all)
			}
		case ast.AlterTableDropColumn:
			destructive = true
			o.droppedColumn(r, sp.OldColumnName)
		case ast.AlterTableDropPartition, ast.AlterTableTruncatePartition:
			destructive = true
			o.compared(nowhere, "the choice of a partition", o.partitionKey(r, own)...)
		case ast.AlterTableDropPrimaryKey, ast.AlterTableDropIndex, ast.AlterTableDropForeignKey, ast.AlterTableDropCheck:
			destructive = true
		case ast.AlterTableExchangePartition:
			destructive = true
			o.exchanged(r, own, sp.NewTable)
		case ast.AlterTableImportTablespace, ast.AlterTableDiscardTablespace:
			o.ledger.Code(nowhere, "tablespace", "a file of the server's in a table's place")
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
			o.unfollowed(s.Table, sp.NewTable)
		case ast.AlterTableOption:
			o.tableOptions(sp.Options)
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

// quietOnTemporary says that a change of a table leaves its columns as they
// are described.
func quietOnTemporary(sp *ast.AlterTableSpec) bool {
	switch sp.Tp {
	case ast.AlterTableOption, ast.AlterTableEnableKeys, ast.AlterTableDisableKeys, ast.AlterTableForce, ast.AlterTableLock, ast.AlterTableAlgorithm,
		ast.AlterTableRenameTable: // which says so itself
		return true
	case ast.AlterTableAddConstraint:
		return sp.Constraint.Tp == ast.ConstraintKey || sp.Constraint.Tp == ast.ConstraintIndex
	}
	return false
}

// droppedColumn: the unique keys that the column was a part of go on without
// it, and are checked anew.
func (o *one) droppedColumn(r *catalog.Relation, n *ast.ColumnName) {
	if n == nil {
		return
	}
	own := o.ownColumns(r)
	gone := columnNamed(r, n.Name.O)
	for _, ix := range r.Indexes {
		if gone < 0 || !ix.Unique || !slices.Contains(ix.Columns, r.Columns[gone].Num) {
			continue
		}
		for i := range r.Columns {
			if i != gone && slices.Contains(ix.Columns, r.Columns[i].Num) {
				o.known(nowhere, "the unique key "+ix.Name, own[i].value)
			}
		}
	}
}

// exchanged: a partition and a table take each other's rows.
func (o *one) exchanged(r *catalog.Relation, own []column, with *ast.TableName) {
	if with == nil {
		o.fail(notUnderstood("this EXCHANGE PARTITION", -1))
		return
	}
	other := o.relation(with)
	if other == nil {
		return
	}
	theirs := o.ownColumns(other)
	o.store(facts.Name{Schema: r.Schema, Name: r.Name}, theirs)
	o.store(facts.Name{Schema: other.Schema, Name: other.Name}, own)
	o.compared(nowhere, "the choice of a partition", append(o.partitionKey(r, theirs), o.partitionKey(r, own)...)...)
}

// partitionKey are the values, of a table's columns, that rows are distributed
// by: all of them where that is not known.
func (a *analysis) partitionKey(r *catalog.Relation, cols []column) []value {
	if len(r.PartitionKey) == 0 || slices.Contains(r.PartitionKey, 0) || len(cols) < len(r.Columns) {
		return columnValues(cols)
	}
	var out []value
	for i := range r.Columns {
		if slices.Contains(r.PartitionKey, r.Columns[i].Num) {
			out = append(out, cols[i].value)
		}
	}
	return out
}

// storage are the engines that keep rows of their own. Others read other
// tables, files or servers.
var storage = lowerSet("innodb myisam aria memory heap csv archive blackhole rocksdb columnstore ndb ndbcluster")

// tableOptions refuses, where a class binds, what makes a table of rows that
// are elsewhere.
func (o *one) tableOptions(list []*ast.TableOption) {
	for _, op := range list {
		switch op.Tp {
		case ast.TableOptionEngine:
			if e := strings.ToLower(op.StrValue); e != "" && !storage[e] {
				o.ledger.Code(nowhere, "engine "+e, "a table of the engine "+op.StrValue+", whose rows are elsewhere")
			}
		case ast.TableOptionUnion, ast.TableOptionConnection, ast.TableOptionDataDirectory, ast.TableOptionIndexDirectory:
			o.ledger.Code(nowhere, "table elsewhere", "a table whose rows are elsewhere (UNION, CONNECTION, DATA DIRECTORY)")
		}
	}
}

// readsColumns says that an expression names a column.
func readsColumns(x ast.ExprNode) bool {
	found := false
	if x != nil {
		walk(x, func(n ast.Node) bool {
			_, column := n.(*ast.ColumnName)
			found = found || column
			return !found
		})
	}
	return found
}

func (o *one) columnOptions(r *catalog.Relation, c *ast.ColumnDef, all func(string)) {
	for _, op := range c.Options {
		switch op.Tp {
		case ast.ColumnOptionDefaultValue, ast.ColumnOptionOnUpdate:
			if readsColumns(op.Expr) {
				all("a column that is made of others")
			}
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
	o.tableOptions(s.Options)
	if s.Select != nil {
		m := o.enter()
		body := o.result(o.top(), s.Select)
		o.leave()
		cols := derived(body.columns)
		if computes(s) {
			o.opaqueUnless(nowhere, "what the new table makes of its rows", typ{}, columnValues(cols)...)
		}
		o.store(o.fullName(s.Table), cols)
		for _, c := range cols {
			o.unlike(namesOf(rel), c.name)
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
			c.Constraints = slices.DeleteFunc(slices.Clone(c.Constraints), func(k catalog.Constraint) bool { return k.Kind == "f" })
			c.Triggers = nil
			rel = &c
		}
	}
	key := o.temporaryKey(s.Table)
	rel.Schema, rel.Name, rel.Kind, rel.Temporary, rel.OID = key[0], key[1], catalog.RelTable, true, 0
	if _, there := o.view.Temporary[key]; there && s.IfNotExists {
		if s.Select != nil {
			o.fail(notUnderstood("CREATE TEMPORARY TABLE IF NOT EXISTS … SELECT of a table that is there", -1))
		}
		return // it stays as it is
	}
	o.setTemporary(s.Table, rel)
}

func namesOf(r *catalog.Relation) []column {
	out := make([]column, len(r.Columns))
	for i := range r.Columns {
		out[i].name = r.Columns[i].Name
	}
	return out
}

// computes says that a table to be makes more of its rows than to keep them:
// it checks, distributes or computes by their values.
func computes(s *ast.CreateTableStmt) bool {
	if s.Partition != nil {
		return true
	}
	for _, c := range s.Cols {
		for _, op := range c.Options {
			switch op.Tp {
			case ast.ColumnOptionCheck, ast.ColumnOptionGenerated, ast.ColumnOptionReference:
				return true
			case ast.ColumnOptionDefaultValue, ast.ColumnOptionOnUpdate:
				if readsColumns(op.Expr) {
					return true
				}
			}
		}
	}
	return slices.ContainsFunc(s.Constraints, func(c *ast.Constraint) bool {
		return c.Tp == ast.ConstraintCheck || c.Tp == ast.ConstraintForeignKey
	})
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
			case ast.ColumnOptionGenerated, ast.ColumnOptionCheck:
				if s.TemporaryKeyword != ast.TemporaryNone {
					o.fail(notUnderstood("a temporary table with generated columns or checks", -1))
				}
			case ast.ColumnOptionDefaultValue, ast.ColumnOptionOnUpdate:
				if s.TemporaryKeyword != ast.TemporaryNone && readsColumns(op.Expr) {
					o.fail(notUnderstood("a temporary table with a column whose default is made of others", -1))
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

// temporaryKey is a table's name as View.Temporary has it.
func (o *one) temporaryKey(t *ast.TableName) [2]string {
	n := o.fullName(t)
	if o.folds {
		return [2]string{strings.ToLower(n.Schema), strings.ToLower(n.Name)}
	}
	return [2]string{n.Schema, n.Name}
}

func (o *one) setTemporary(t *ast.TableName, r *catalog.Relation) {
	if o.changes().Temporary == nil {
		o.change.Temporary = map[[2]string]*catalog.Relation{}
	}
	o.change.Temporary[o.temporaryKey(t)] = r
}

func (o *one) dropTemporary(t *ast.TableName) {
	if _, ok := o.view.Temporary[o.temporaryKey(t)]; ok {
		o.setTemporary(t, nil)
	}
}

// unfollowed: the statement changes tables in a way that is not followed where
// they are temporary ones.
func (o *one) unfollowed(tables ...*ast.TableName) {
	temporary := false
	for _, t := range tables {
		_, ok := o.view.Temporary[o.temporaryKey(t)]
		temporary = temporary || ok
	}
	if !temporary {
		return
	}
	for _, t := range tables {
		o.setTemporary(t, uncertain(o.temporaryKey(t)))
	}
}

// uncertain stands for a temporary table of which it is not known what has
// become.
func uncertain(name [2]string) *catalog.Relation {
	return &catalog.Relation{Schema: name[0], Name: name[1], Kind: catalog.RelUncertain, Temporary: true}
}
