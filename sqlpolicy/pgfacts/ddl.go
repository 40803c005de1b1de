package pgfacts

import (
	"slices"
	"strings"
	"unicode"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// verbOf writes a node's kind as a verb: CreateTableAsStmt is CREATE TABLE AS.
func verbOf(n *pg_query.Node) string {
	name := strings.TrimPrefix(strings.TrimPrefix(nodeKind(n), "Node_"), "*pg_query.Node_")
	name = strings.TrimSuffix(name, "Stmt")
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

func nodeKind(n *pg_query.Node) string {
	m := n.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if f == nil {
		return ""
	}
	return string(f.Message().Name())
}

// ddl covers definitions, privileges and administration.
func (o *one) ddl(n *pg_query.Node) error {
	e := facts.Effect{Action: facts.DDL, Verb: verbOf(n), Limit: facts.NoLimit}
	o.changes().ReloadSchema = true
	switch x := n.Node.(type) {
	case *pg_query.Node_CreateStmt:
		return o.createTable(x.CreateStmt, e)
	case *pg_query.Node_CreateTableAsStmt:
		return o.createTableAs(x.CreateTableAsStmt)
	case *pg_query.Node_ViewStmt:
		return o.createView(x.ViewStmt, e)
	case *pg_query.Node_DropStmt:
		o.drop(x.DropStmt, e)
	case *pg_query.Node_TruncateStmt:
		e.Verb, e.Destructive = "TRUNCATE", true
		for _, r := range x.TruncateStmt.Relations {
			obj, rel := o.named(r.GetRangeVar())
			e.Objects = append(e.Objects, obj)
			if rel != nil {
				o.table(rel)
				o.triggers(rel, "truncate")
			}
		}
		o.effect(e)
		o.change = nil
	case *pg_query.Node_DropdbStmt, *pg_query.Node_DropTableSpaceStmt, *pg_query.Node_DropOwnedStmt, *pg_query.Node_DropUserMappingStmt, *pg_query.Node_DropSubscriptionStmt:
		e.Verb, e.Destructive = strings.Replace(e.Verb, "DROPDB", "DROP DATABASE", 1), true
		o.effect(e)
	case *pg_query.Node_AlterTableStmt:
		o.alterTable(x.AlterTableStmt, e)
	case *pg_query.Node_RenameStmt:
		o.rename(x.RenameStmt, e)
	case *pg_query.Node_AlterObjectSchemaStmt:
		s := x.AlterObjectSchemaStmt
		obj, rel := o.named(s.Relation)
		if rel != nil {
			e.Objects = append(e.Objects, obj)
			o.moved(rel, facts.Name{Database: o.view.Database, Schema: s.Newschema, Name: rel.Name}, nil)
		}
		if f := s.Object.GetObjectWithArgs(); f != nil {
			schema, name := splitName(f.Objname)
			e.Objects = append(e.Objects, functionObject(o, schema, name), functionObject(o, s.Newschema, name))
		}
		o.effect(e)
	case *pg_query.Node_IndexStmt:
		o.index(x.IndexStmt, e)
	case *pg_query.Node_RefreshMatViewStmt:
		return o.refresh(x.RefreshMatViewStmt, e)
	case *pg_query.Node_CreateFunctionStmt:
		schema, name := splitName(x.CreateFunctionStmt.Funcname)
		if schema == "" {
			schema = o.future(&pg_query.RangeVar{Relname: name}).Schema
		}
		e.Verb = "CREATE FUNCTION"
		e.Objects = []facts.Object{{Kind: "function", Name: facts.Name{Database: o.view.Database, Schema: schema, Name: name}}}
		o.effect(e)
	case *pg_query.Node_DefineStmt:
		if x.DefineStmt.Kind == pg_query.ObjectType_OBJECT_AGGREGATE {
			schema, name := splitName(x.DefineStmt.Defnames)
			if schema == "" {
				schema = o.future(&pg_query.RangeVar{Relname: name}).Schema
			}
			e.Objects = []facts.Object{functionObject(o, schema, name)}
		}
		o.effect(e)
	case *pg_query.Node_AlterFunctionStmt:
		schema, name := splitName(x.AlterFunctionStmt.Func.GetObjname())
		for _, f := range o.view.FunctionsNamed(schema, name) {
			e.Objects = append(e.Objects, facts.Object{Kind: "function", Name: facts.Name{Database: o.view.Database, Schema: f.Schema, Name: f.Name}})
		}
		o.effect(e)
	case *pg_query.Node_GrantStmt, *pg_query.Node_GrantRoleStmt, *pg_query.Node_AlterDefaultPrivilegesStmt, *pg_query.Node_CreateRoleStmt,
		*pg_query.Node_AlterRoleStmt, *pg_query.Node_DropRoleStmt, *pg_query.Node_ReassignOwnedStmt, *pg_query.Node_AlterOwnerStmt:
		e.Action = facts.Privilege
		o.effect(e)
		if r, ok := n.Node.(*pg_query.Node_AlterRoleStmt); ok && o.ownPassword(r.AlterRoleStmt) {
			return &facts.Problem{Code: "0A000", At: -1, Message: "changing the password of the role that the proxy itself logs in with does not pass the proxy",
				Hint: "Whoever has it needs no proxy: change it on the server, and then in the proxy's configuration."}
		}
	case *pg_query.Node_AlterRoleSetStmt:
		e.Action = facts.Privilege
		o.effect(e)
		return o.checkSetStmt(x.AlterRoleSetStmt.Setstmt)
	case *pg_query.Node_AlterDatabaseSetStmt:
		o.effect(e)
		return o.checkSetStmt(x.AlterDatabaseSetStmt.Setstmt)
	case *pg_query.Node_VacuumStmt:
		e.Action, e.Verb = facts.Admin, "ANALYZE"
		if x.VacuumStmt.IsVacuumcmd {
			e.Verb = "VACUUM"
		}
		for _, r := range x.VacuumStmt.Rels {
			if obj, rel := o.named(r.GetVacuumRelation().GetRelation()); rel != nil {
				o.table(rel)
				e.Objects = append(e.Objects, obj)
			}
		}
		for _, opt := range x.VacuumStmt.Options {
			if strings.EqualFold(opt.GetDefElem().GetDefname(), "verbose") {
				o.use(facts.Use{Kind: facts.UseCode, Name: "VERBOSE", What: e.Verb + " VERBOSE, which reports sizes", At: -1})
			}
		}
		o.effect(e)
		o.change = nil
	case *pg_query.Node_ClusterStmt:
		e.Action = facts.Admin
		if r := x.ClusterStmt.Relation; r == nil {
			o.use(facts.Use{Kind: facts.UseCode, Name: "CLUSTER", What: "CLUSTER, which puts the rows of every table into an index's order", At: -1})
		} else if obj, rel := o.named(r); rel != nil {
			e.Objects = append(e.Objects, obj)
			o.use(facts.Use{Kind: facts.UseCompare, Columns: o.refs(rel), What: "CLUSTER, which puts rows into an index's order", At: -1})
		}
		o.effect(e)
	case *pg_query.Node_AlterDomainStmt:
		if s := x.AlterDomainStmt.Subtype; s != "T" && s != "N" && s != "X" { // SET DEFAULT, DROP NOT NULL, DROP CONSTRAINT
			o.use(facts.Use{Kind: facts.UseCode, Name: "ALTER DOMAIN", What: "ALTER DOMAIN, which looks at all values of the domain", At: -1})
		}
		o.effect(e)
	case *pg_query.Node_ReindexStmt, *pg_query.Node_CheckPointStmt, *pg_query.Node_AlterSystemStmt:
		e.Action = facts.Admin
		o.effect(e)
	case *pg_query.Node_CreateExtensionStmt:
		e.Action = facts.Admin
		if name := x.CreateExtensionStmt.Extname; !slices.Contains(pureExtensions, name) {
			o.use(facts.Use{Kind: facts.UseCode, Name: "extension " + name, What: "the extension " + name, At: -1})
		}
		o.effect(e)
	case *pg_query.Node_AlterExtensionStmt, *pg_query.Node_CreatedbStmt, *pg_query.Node_AlterDatabaseStmt:
		e.Action = facts.Admin
		o.effect(e)
	case *pg_query.Node_CreateStatsStmt:
		for _, n := range x.CreateStatsStmt.Relations {
			if obj, rel := o.named(n.GetRangeVar()); rel != nil {
				e.Objects = append(e.Objects, obj)
				for _, el := range x.CreateStatsStmt.Exprs {
					o.overTable(rel, el.GetStatsElem().GetExpr())
				}
			}
		}
		o.effect(e)
	case *pg_query.Node_CreateEventTrigStmt, *pg_query.Node_AlterEventTrigStmt, *pg_query.Node_CreateFdwStmt, *pg_query.Node_AlterFdwStmt,
		*pg_query.Node_CreateForeignServerStmt, *pg_query.Node_AlterForeignServerStmt, *pg_query.Node_CreateUserMappingStmt,
		*pg_query.Node_AlterUserMappingStmt, *pg_query.Node_CreateForeignTableStmt, *pg_query.Node_ImportForeignSchemaStmt,
		*pg_query.Node_CreateSubscriptionStmt, *pg_query.Node_AlterSubscriptionStmt, *pg_query.Node_CreatePlangStmt, *pg_query.Node_CreateTransformStmt:
		// Code that runs unnamed, or another way to the same rows.
		o.use(facts.Use{Kind: facts.UseCode, Name: e.Verb, What: e.Verb, At: -1})
		o.effect(e)
	case *pg_query.Node_CommentStmt, *pg_query.Node_SecLabelStmt:
		o.change = nil
		o.effect(e)
	default:
		if !strings.HasSuffix(nodeKind(n), "Stmt") {
			return notUnderstood("this statement", -1)
		}
		o.effect(e)
	}
	return nil
}

// checkSetStmt judges a setting that is kept for later sessions.
func (o *one) checkSetStmt(s *pg_query.VariableSetStmt) error {
	later := &one{analysis: newAnalysis(&catalog.View{}, "")}
	err := later.set(s)
	o.extra = append(o.extra, later.extra...)
	return err
}

// triggers notes the code that a change of a table runs.
func (o *one) triggers(r *catalog.Relation, event string) {
	for _, t := range r.Triggers {
		for _, ev := range t.Events {
			if ev == event {
				o.use(facts.Use{Kind: facts.UseCode, Name: t.Function, What: "trigger " + t.Name, At: -1})
			}
		}
	}
}

func (o *one) createTable(s *pg_query.CreateStmt, e facts.Effect) error {
	e.Verb = "CREATE TABLE"
	e.Objects = []facts.Object{{Kind: "table", Name: o.future(s.Relation)}}
	o.effect(e)
	o.created(s.Relation)
	for _, n := range s.InhRelations {
		if parent := o.relation(n.GetRangeVar()); parent != nil && s.Partbound != nil {
			o.partition(parent, s.Partbound)
		}
	}
	return nil
}

// partition notes what making a partition does: its bounds are computed and
// kept in the catalog, and rows of the default partition are held against
// them.
func (o *one) partition(parent *catalog.Relation, b *pg_query.PartitionBoundSpec) {
	flow := o.partitionKeyFlow(parent)
	kind := facts.UseCompare
	if b.Strategy == "l" {
		kind = facts.UseEqual
	}
	if len(flow) > 0 {
		o.use(facts.Use{Kind: kind, Columns: flow.Refs(), What: "the bounds of a partition", At: -1})
	}
	for _, n := range slices.Concat(b.Listdatums, b.Lowerdatums, b.Upperdatums) {
		if n.GetColumnRef() == nil { // MINVALUE and MAXVALUE
			o.overTable(parent, n)
		}
	}
}

func (o *one) createTableAs(s *pg_query.CreateTableAsStmt) error {
	verb := "CREATE TABLE AS"
	if s.Objtype == pg_query.ObjectType_OBJECT_MATVIEW {
		verb = "CREATE MATERIALIZED VIEW"
	}
	var out []facts.Output
	if ex := s.Query.GetExecuteStmt(); ex != nil {
		if err := o.execute(ex); err != nil {
			return err
		}
		out = o.f.Outputs
		o.f.Outputs = nil
	} else {
		var err error
		if out, err = o.queries(s.Query, nil); err != nil {
			return err
		}
	}
	if s.Objtype == pg_query.ObjectType_OBJECT_MATVIEW {
		// Its rows keep their lineage: reads of it are analysed through its
		// definition.
		o.effect(facts.Effect{Action: facts.DDL, Verb: verb, Objects: []facts.Object{{Kind: "materialized view", Name: o.future(s.Into.Rel)}}})
		o.created(s.Into.Rel)
		return nil
	}
	o.selectInto(s.Into, verb, out)
	return nil
}

func (o *one) createView(s *pg_query.ViewStmt, e facts.Effect) error {
	e.Verb = "CREATE VIEW"
	if s.Replace {
		e.Verb = "CREATE OR REPLACE VIEW"
	}
	scratch := newAnalysis(o.view, o.text)
	if _, err := scratch.query(s.Query, nil); err != nil {
		return err
	}
	e.Objects = []facts.Object{{Kind: "view", Name: o.future(s.View)}}
	o.effect(e)
	o.created(s.View)
	return nil
}

func (o *one) drop(s *pg_query.DropStmt, e facts.Effect) {
	kind := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s.RemoveType.String(), "OBJECT_"), "_", " "))
	if kind == "matview" {
		kind = "materialized view"
	}
	e.Verb, e.Destructive = "DROP "+strings.ToUpper(kind), true
	for _, n := range s.Objects {
		list := n.GetList().GetItems()
		if list == nil {
			if t := n.GetTypeName(); t != nil {
				list = t.Names
			} else if f := n.GetObjectWithArgs(); f != nil {
				list = f.Objname
			} else if n.GetString_() != nil {
				list = []*pg_query.Node{n}
			}
		}
		schema, name := splitName(list)
		obj := facts.Object{Kind: kind, Name: facts.Name{Database: o.view.Database, Schema: schema, Name: name}}
		switch kind {
		case "table", "view", "materialized view", "sequence", "index", "foreign table":
			if r := o.view.Relation(schema, name); r != nil {
				obj = relationObject(r)
				if r.Temporary {
					o.changes().ReloadSession = true
				}
			}
		case "function":
			if schema == "" {
				for _, f := range o.view.FunctionsNamed("", name) {
					obj.Schema = f.Schema
				}
			}
		}
		e.Objects = append(e.Objects, obj)
	}
	o.effect(e)
}

// functionObject is a function by the name that a statement gives it.
func functionObject(o *one, schema, name string) facts.Object {
	if schema == "" {
		schema = o.future(&pg_query.RangeVar{Relname: name}).Schema
		for _, f := range o.view.FunctionsNamed("", name) {
			schema = f.Schema
		}
	}
	return facts.Object{Kind: "function", Name: facts.Name{Database: o.view.Database, Schema: schema, Name: name}}
}

// index reads every row: an expression can fail on a value, and a unique one
// tells of equal values.
func (o *one) index(s *pg_query.IndexStmt, e facts.Effect) {
	e.Verb = "CREATE INDEX"
	obj, r := o.named(s.Relation)
	e.Objects = []facts.Object{obj}
	o.effect(e)
	if r == nil {
		return
	}
	said, expression := map[string]bool{}, s.WhereClause != nil
	mention := func(n *pg_query.Node) {
		walk(n, func(n *pg_query.Node) bool {
			if f := n.GetColumnRef().GetFields(); len(f) > 0 {
				said[f[len(f)-1].GetString_().GetSval()] = true
			}
			return true
		})
	}
	plain, kept := map[string]bool{}, map[string]bool{}
	for _, p := range s.IndexParams {
		x := p.GetIndexElem()
		if x.Expr != nil {
			expression = true
			mention(x.Expr)
		} else {
			plain[x.Name], kept[x.Name] = true, true
		}
	}
	if s.WhereClause != nil {
		mention(s.WhereClause)
	}
	for _, p := range s.IndexParams {
		o.overTable(r, p.GetIndexElem().GetExpr())
	}
	o.overTable(r, s.WhereClause)
	all := o.refs(r)
	if refs := o.keep(r, all, said); expression && len(refs) > 0 {
		o.use(facts.Use{Kind: facts.UseOpaque, Columns: refs, What: "the expression of an index", At: -1})
	}
	for _, p := range s.IndexIncludingParams {
		kept[p.GetIndexElem().GetName()] = true
	}
	long := map[string]bool{} // an index refuses what is too long for it, a third of a page
	for name := range kept {
		for _, c := range r.Columns {
			if c.Name == name && !fixedSize(o.base(c.Type)) {
				long[name] = true
			}
		}
	}
	if refs := o.keep(r, all, long); len(refs) > 0 {
		o.use(facts.Use{Kind: facts.UseOpaque, Columns: refs, What: "an index, which fails where a value is too long for it", At: -1})
	}
	if refs := o.keep(r, all, plain); s.Unique && len(refs) > 0 {
		o.use(facts.Use{Kind: facts.UseEqual, Columns: refs, What: "a unique index", At: -1})
	}
}

// refresh runs a materialized view's query.
func (o *one) refresh(s *pg_query.RefreshMatViewStmt, e facts.Effect) error {
	e.Verb = "REFRESH MATERIALIZED VIEW"
	obj, r := o.named(s.Relation)
	e.Objects = []facts.Object{obj}
	o.change = nil
	if r != nil {
		if _, err := o.query(o.selectOf(&pg_query.CopyStmt{Relation: s.Relation}), nil); err != nil {
			return err
		}
	}
	o.effect(e)
	return nil
}

// ownPassword says that ALTER ROLE gives the session's own role a password,
// which no right is needed for.
func (o *one) ownPassword(s *pg_query.AlterRoleStmt) bool {
	password := slices.ContainsFunc(s.Options, func(n *pg_query.Node) bool { return n.GetDefElem().GetDefname() == "password" })
	return password && (s.Role.GetRoletype() != pg_query.RoleSpecType_ROLESPEC_CSTRING || s.Role.GetRolename() == o.view.Role)
}
