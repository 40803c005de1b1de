package pgfacts

import (
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// harmless are the ALTER TABLE commands that read no value.
var harmless = map[pg_query.AlterTableType]bool{
	pg_query.AlterTableType_AT_ColumnDefault: true, pg_query.AlterTableType_AT_DropNotNull: true, pg_query.AlterTableType_AT_SetStatistics: true,
	pg_query.AlterTableType_AT_SetOptions: true, pg_query.AlterTableType_AT_ResetOptions: true, pg_query.AlterTableType_AT_SetStorage: true,
	pg_query.AlterTableType_AT_DropColumn: true, pg_query.AlterTableType_AT_DropConstraint: true, pg_query.AlterTableType_AT_ChangeOwner: true,
	pg_query.AlterTableType_AT_SetRelOptions: true, pg_query.AlterTableType_AT_ResetRelOptions: true, pg_query.AlterTableType_AT_EnableTrig: true,
	pg_query.AlterTableType_AT_DisableTrig: true, pg_query.AlterTableType_AT_EnableRowSecurity: true, pg_query.AlterTableType_AT_DisableRowSecurity: true,
	pg_query.AlterTableType_AT_ForceRowSecurity: true, pg_query.AlterTableType_AT_NoForceRowSecurity: true, pg_query.AlterTableType_AT_ReplicaIdentity: true,
	pg_query.AlterTableType_AT_AddIdentity: true, pg_query.AlterTableType_AT_SetIdentity: true, pg_query.AlterTableType_AT_DropIdentity: true,
}

func (o *one) alterTable(s *pg_query.AlterTableStmt, e facts.Effect) {
	e.Verb = "ALTER TABLE"
	obj, r := o.named(s.Relation)
	e.Objects = []facts.Object{obj}
	for _, n := range s.Cmds {
		c := n.GetAlterTableCmd()
		switch c.Subtype {
		case pg_query.AlterTableType_AT_DropColumn, pg_query.AlterTableType_AT_AlterColumnType, pg_query.AlterTableType_AT_DetachPartition:
			e.Destructive = true
		}
		if r == nil || harmless[c.Subtype] {
			continue
		}
		o.evaluated(r, c)
		if b := c.Def.GetPartitionCmd().GetBound(); b != nil {
			o.partition(r, b)
		}
		if def := c.Def.GetColumnDef(); c.Subtype == pg_query.AlterTableType_AT_AddColumn && plainColumn(def) {
			continue
		}
		var only []facts.ColumnRef
		if c.Subtype == pg_query.AlterTableType_AT_SetNotNull || c.Subtype == pg_query.AlterTableType_AT_AddConstraint {
			only = o.mentioned(r, c)
		} else {
			only = o.refs(r)
		}
		if len(only) > 0 {
			o.use(facts.Use{Kind: facts.UseOpaque, Columns: only, What: "ALTER TABLE, which looks at the rows or at what their columns are called", At: -1})
		}
	}
	if r != nil {
		o.table(r)
	}
	o.effect(e)
}

// evaluated notes what a command computes over the stored rows, and the code
// that runs for it.
func (o *one) evaluated(r *catalog.Relation, c *pg_query.AlterTableCmd) {
	k := c.Def.GetConstraint()
	switch c.Subtype {
	case pg_query.AlterTableType_AT_AddColumn:
		o.filled(c.Def.GetColumnDef())
	case pg_query.AlterTableType_AT_AlterColumnType:
		o.overTable(r, c.Def.GetColumnDef().GetRawDefault())
		o.filled(c.Def.GetColumnDef())
	case pg_query.AlterTableType_AT_AddConstraint:
		o.overTable(r, k.GetRawExpr(), k.GetWhereClause())
		if k.GetContype() == pg_query.ConstrType_CONSTR_FOREIGN {
			if parent := o.relation(k.GetPktable()); parent != nil {
				o.references(r, names(k.GetFkAttrs()), parent, names(k.GetPkAttrs()))
			}
		}
	case pg_query.AlterTableType_AT_ValidateConstraint:
		for _, x := range r.Constraints {
			if x.Name == c.Name && x.Kind == "c" {
				o.within(r.DefinitionPath, func() { o.overTable(r, o.parseExprs(x.Expr)...) })
			}
		}
	}
}

// plainColumn is a new column that is filled from nothing in the row.
func plainColumn(def *pg_query.ColumnDef) bool {
	for _, n := range def.GetConstraints() {
		switch c := n.GetConstraint(); c.GetContype() {
		case pg_query.ConstrType_CONSTR_GENERATED, pg_query.ConstrType_CONSTR_CHECK, pg_query.ConstrType_CONSTR_FOREIGN:
			return false
		}
	}
	return true
}

// mentioned are the columns that a constraint is about; all where it has an
// expression.
func (o *one) mentioned(r *catalog.Relation, c *pg_query.AlterTableCmd) []facts.ColumnRef {
	all := o.refs(r)
	k := c.Def.GetConstraint()
	if k.GetRawExpr() != nil {
		said := map[string]bool{}
		walk(k.RawExpr, func(n *pg_query.Node) bool {
			if f := n.GetColumnRef().GetFields(); len(f) > 0 {
				said[f[len(f)-1].GetString_().GetSval()] = true
			}
			return true
		})
		return o.keep(r, all, said)
	}
	said := map[string]bool{c.Name: true}
	for _, list := range [][]*pg_query.Node{k.GetKeys(), k.GetFkAttrs()} {
		for _, n := range names(list) {
			said[n] = true
		}
	}
	if k.GetContype() == pg_query.ConstrType_CONSTR_EXCLUSION || k.GetIndexname() != "" {
		return all
	}
	return o.keep(r, all, said)
}

func (o *one) keep(r *catalog.Relation, all []facts.ColumnRef, said map[string]bool) []facts.ColumnRef {
	var out []facts.ColumnRef
	for _, ref := range all {
		if c, ok := columnNameOf(o.f, ref); ok && said[c] {
			out = append(out, ref)
		}
	}
	return out
}

func columnNameOf(f *facts.Facts, r facts.ColumnRef) (string, bool) {
	if r.Table >= len(f.Tables) || r.Column >= len(f.Tables[r.Table].Columns) {
		return "", false
	}
	return f.Tables[r.Table].Columns[r.Column].Name, true
}

// rename launders: classes are bound to names, so that each column keeps its
// values under another one.
func (o *one) rename(s *pg_query.RenameStmt, e facts.Effect) {
	e.Verb = "ALTER " + strings.ReplaceAll(strings.TrimPrefix(s.RenameType.String(), "OBJECT_"), "_", " ") + " RENAME"
	obj, r := o.named(s.Relation)
	if r != nil {
		e.Objects = []facts.Object{obj}
	}
	if f := s.Object.GetObjectWithArgs(); f != nil { // a function takes another's name
		schema, name := splitName(f.Objname)
		e.Objects = append(e.Objects, functionObject(o, schema, name), functionObject(o, schema, s.Newname))
	}
	switch {
	case r == nil:
	case s.RenameType == pg_query.ObjectType_OBJECT_COLUMN:
		o.moved(r, facts.Name{Database: o.view.Database, Schema: r.Schema, Name: r.Name}, map[string]string{s.Subname: s.Newname})
	case s.RenameType == pg_query.ObjectType_OBJECT_TABLE || s.RenameType == pg_query.ObjectType_OBJECT_FOREIGN_TABLE:
		o.moved(r, facts.Name{Database: o.view.Database, Schema: r.Schema, Name: s.Newname}, nil)
	}
	if s.RenameType == pg_query.ObjectType_OBJECT_SCHEMA {
		for i := range o.view.Relations {
			if rel := &o.view.Relations[i]; rel.Schema == s.Subname && len(rel.Columns) > 0 {
				o.moved(rel, facts.Name{Database: o.view.Database, Schema: s.Newname, Name: rel.Name}, nil)
			}
		}
	}
	o.effect(e)
}

func (o *one) moved(r *catalog.Relation, to facts.Name, columns map[string]string) {
	if r.Kind == catalog.RelView || r.Kind == catalog.RelIndex || r.Kind == catalog.RelSequence {
		return // a view's columns carry their lineage
	}
	refs := o.refs(r)
	t := facts.Table{Name: to}
	for _, ref := range refs {
		name, _ := columnNameOf(o.f, ref)
		if n, ok := columns[name]; ok {
			name = n
		}
		t.Columns = append(t.Columns, facts.TableColumn{Name: name})
	}
	o.f.Tables = append(o.f.Tables, t)
	at := len(o.f.Tables) - 1
	for i, ref := range refs {
		o.use(facts.Use{Kind: facts.UseWrite, Columns: []facts.ColumnRef{ref}, Into: &facts.ColumnRef{Table: at, Column: i},
			What: "a rename, after which its name is another", At: -1})
	}
}
