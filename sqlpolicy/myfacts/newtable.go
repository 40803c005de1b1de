package myfacts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

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
