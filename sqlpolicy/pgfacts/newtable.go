package pgfacts

import (
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// create simulates a plain new table, temporary or not; everything else is
// not simulated.
func (b *batch) create(n *pg_query.Node) bool {
	s := n.GetCreateStmt()
	if s == nil {
		return n.GetIndexStmt() != nil || n.GetCommentStmt() != nil || n.GetGrantStmt() != nil
	}
	temporary := s.Relation.Relpersistence == "t"
	if len(s.InhRelations) > 0 || s.Partbound != nil || s.Partspec != nil || s.OfTypename != nil || s.Relation.Schemaname == "pg_temp" || s.Oncommit == pg_query.OnCommitAction_ONCOMMIT_DROP {
		return false
	}
	o := &one{analysis: newAnalysis(b.view, "")}
	name := o.future(s.Relation)
	if temporary {
		name.Schema = b.view.TempSchema
	}
	if name.Schema != "" && b.view.RelationIn(name.Schema, name.Name) != nil {
		return s.IfNotExists
	}
	if b.view.Type("", name.Name) != nil {
		return false // the table's row type would hide it
	}
	if temporary && name.Schema == "" {
		if b.view.Relation("", name.Name) != nil {
			return false // where the schema comes in the search path is not known
		}
		// It gets its name with the session's first temporary table.
		name.Schema = "pg_temp"
		b.view.TempSchema = name.Schema
		b.view.SearchPath = append([]string{name.Schema}, b.view.SearchPath...)
	}
	r := catalog.Relation{Schema: name.Schema, Name: name.Name, Kind: catalog.RelTable, Temporary: temporary, DefinitionPath: b.view.SearchPath}
	for _, e := range s.TableElts {
		if d := e.GetColumnDef(); d != nil && !b.column(&r, d) {
			return false
		}
	}
	for _, e := range s.TableElts {
		if k := e.GetConstraint(); k != nil && !tableKey(&r, k) || k == nil && e.GetColumnDef() == nil {
			return false
		}
	}
	c := *b.view.Catalog
	c.Relations = append(slices.Clone(c.Relations), r)
	b.view.Catalog = c.Index()
	b.moved = true
	return true
}

// column adds a column with its constraints to a simulated table.
func (b *batch) column(r *catalog.Relation, d *pg_query.ColumnDef) bool {
	if !plainColumn(d) || len(d.TypeName.ArrayBounds) > 0 || d.TypeName.Setof || d.CollClause != nil {
		return false
	}
	schema, base := splitName(d.TypeName.GetNames())
	serial := map[string]string{"serial": "int4", "serial4": "int4", "bigserial": "int8", "serial8": "int8", "smallserial": "int2", "serial2": "int2"}[base]
	if serial != "" {
		schema, base = "pg_catalog", serial
	}
	t := b.view.Type(schema, base)
	if t == nil {
		return false
	}
	c := catalog.Column{Num: int32(len(r.Columns) + 1), Name: d.Colname, Type: t.Schema + "." + t.Name, NotNull: serial != ""}
	r.Columns = append(r.Columns, c)
	at := &r.Columns[len(r.Columns)-1]
	for _, n := range d.GetConstraints() {
		switch k := n.GetConstraint(); k.GetContype() {
		case pg_query.ConstrType_CONSTR_NOTNULL, pg_query.ConstrType_CONSTR_IDENTITY:
			at.NotNull = true
		case pg_query.ConstrType_CONSTR_PRIMARY, pg_query.ConstrType_CONSTR_UNIQUE:
			key(r, k, []int32{c.Num})
		case pg_query.ConstrType_CONSTR_DEFAULT:
			text, ok := b.expression(k.RawExpr)
			if !ok {
				return false
			}
			at.Default = text
		case pg_query.ConstrType_CONSTR_NULL, pg_query.ConstrType_CONSTR_ATTR_DEFERRABLE, pg_query.ConstrType_CONSTR_ATTR_NOT_DEFERRABLE,
			pg_query.ConstrType_CONSTR_ATTR_DEFERRED, pg_query.ConstrType_CONSTR_ATTR_IMMEDIATE:
		default:
			return false
		}
	}
	return true
}

// tableKey adds a key that stands beside the columns; other constraints are
// not simulated.
func tableKey(r *catalog.Relation, k *pg_query.Constraint) bool {
	if k.Contype != pg_query.ConstrType_CONSTR_PRIMARY && k.Contype != pg_query.ConstrType_CONSTR_UNIQUE || len(k.Including) > 0 {
		return false
	}
	var columns []int32
	for _, n := range k.Keys {
		i := slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Name == n.GetString_().GetSval() })
		if i < 0 {
			return false
		}
		columns = append(columns, r.Columns[i].Num)
	}
	key(r, k, columns)
	return len(columns) > 0
}

func key(r *catalog.Relation, k *pg_query.Constraint, columns []int32) {
	kind := "u"
	if k.Contype == pg_query.ConstrType_CONSTR_PRIMARY {
		kind = "p"
		for _, num := range columns {
			r.Columns[num-1].NotNull = true
		}
	}
	r.Constraints = append(r.Constraints, catalog.Constraint{Name: k.Conname, Kind: kind, Columns: columns})
	r.Indexes = append(r.Indexes, catalog.IndexDef{Name: k.Conname, Unique: true, NullsEqual: k.NullsNotDistinct, Columns: columns})
}

// expression is an expression as the catalog keeps it.
func (b *batch) expression(n *pg_query.Node) (string, bool) {
	target := &pg_query.Node{Node: &pg_query.Node_ResTarget{ResTarget: &pg_query.ResTarget{Val: n}}}
	query := &pg_query.Node{Node: &pg_query.Node_SelectStmt{SelectStmt: &pg_query.SelectStmt{TargetList: []*pg_query.Node{target}}}}
	text, err := pg_query.Deparse(&pg_query.ParseResult{Version: b.version, Stmts: []*pg_query.RawStmt{{Stmt: query}}})
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(text, "SELECT ")
}
