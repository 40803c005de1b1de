package pgfacts

import (
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// nameObjects gives definitions, privileges and administration the objects
// that their words name, where nothing more exact is known: scopes and rules
// go by them.
func (o *one) nameObjects(n *pg_query.Node) {
	for i := range o.f.Effects {
		e := &o.f.Effects[i]
		if e.Action != facts.DDL && e.Action != facts.Privilege && e.Action != facts.Admin {
			continue
		}
		if len(e.Objects) == 0 {
			e.Objects = o.wordedObjects(n, kindOfVerb(e.Verb))
		}
		for _, s := range schemasNamed(n) {
			if obj := (facts.Object{Kind: "schema", Name: facts.Name{Name: s}}); !slices.Contains(e.Objects, obj) {
				e.Objects = append(e.Objects, obj)
			}
		}
	}
}

// wordedObjects are the relations and qualified names in a statement.
func (o *one) wordedObjects(n *pg_query.Node, kind string) []facts.Object {
	var out []facts.Object
	add := func(obj facts.Object) {
		if obj.Name.Name != "" && !slices.Contains(out, obj) {
			out = append(out, obj)
		}
	}
	qualified := func(list []*pg_query.Node) {
		if schema, name := splitName(list); len(names(list)) == len(list) {
			add(facts.Object{Kind: kind, Name: facts.Name{Database: o.view.Database, Schema: schema, Name: name}})
		}
	}
	if m := statementMessage(n); m != nil {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if name := string(fd.Name()); fd.IsList() && fd.Kind() == protoreflect.MessageKind && (strings.HasSuffix(name, "name") || strings.HasSuffix(name, "names")) {
				qualified(nodesOf(v.List()))
			}
			return true
		})
	}
	walk(n, func(x *pg_query.Node) bool {
		switch {
		case x.GetTypeName() != nil && kind != "type":
			return false // a type that it uses
		case x.GetRangeVar() != nil:
			obj, _ := o.named(x.GetRangeVar())
			add(obj)
		case x.GetList() != nil:
			qualified(x.GetList().Items)
		case x.GetObjectWithArgs() != nil:
			qualified(x.GetObjectWithArgs().Objname)
			return false
		}
		return true
	})
	// A relation that stands in a field of its own is no node.
	if m := statementMessage(n); m != nil {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if !fd.IsList() && fd.Kind() == protoreflect.MessageKind {
				if rv, ok := v.Message().Interface().(*pg_query.RangeVar); ok {
					obj, _ := o.named(rv)
					add(obj)
				}
			}
			return true
		})
	}
	if ft := n.GetCreateForeignTableStmt(); ft != nil && ft.BaseStmt != nil {
		obj, _ := o.named(ft.BaseStmt.Relation)
		add(obj)
	}
	return out
}

// schemasNamed are the schemas that a statement names as such: makes, renames,
// moves something into.
func schemasNamed(n *pg_query.Node) []string {
	var out []string
	add := func(list ...string) {
		for _, s := range list {
			if s != "" {
				out = append(out, s)
			}
		}
	}
	switch x := n.Node.(type) {
	case *pg_query.Node_CreateSchemaStmt:
		add(x.CreateSchemaStmt.Schemaname)
	case *pg_query.Node_AlterObjectSchemaStmt:
		add(x.AlterObjectSchemaStmt.Newschema)
	case *pg_query.Node_RenameStmt:
		if x.RenameStmt.RenameType == pg_query.ObjectType_OBJECT_SCHEMA {
			add(x.RenameStmt.Subname, x.RenameStmt.Newname)
		}
	case *pg_query.Node_ImportForeignSchemaStmt:
		add(x.ImportForeignSchemaStmt.LocalSchema)
	case *pg_query.Node_ReindexStmt:
		if x.ReindexStmt.Kind == pg_query.ReindexObjectType_REINDEX_OBJECT_SCHEMA {
			add(x.ReindexStmt.Name)
		}
	case *pg_query.Node_GrantStmt:
		if t := x.GrantStmt.Objtype; t == pg_query.ObjectType_OBJECT_SCHEMA || x.GrantStmt.Targtype == pg_query.GrantTargetType_ACL_TARGET_ALL_IN_SCHEMA {
			add(names(x.GrantStmt.Objects)...)
		}
	}
	return out
}

func statementMessage(n *pg_query.Node) protoreflect.Message {
	m := n.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if f == nil {
		return nil
	}
	return m.Get(f).Message()
}

func nodesOf(l protoreflect.List) []*pg_query.Node {
	out := make([]*pg_query.Node, 0, l.Len())
	for i := range l.Len() {
		if n, ok := l.Get(i).Message().Interface().(*pg_query.Node); ok {
			out = append(out, n)
		}
	}
	return out
}

// kindOfVerb is what a verb such as CREATE DOMAIN defines.
func kindOfVerb(verb string) string {
	for _, k := range []struct{ word, kind string }{
		{"ENUM", "type"}, {"DOMAIN", "type"}, {"TYPE", "type"}, {"RANGE", "type"}, {"FUNCTION", "function"}, {"SEQ", "sequence"}, {"TRIG", "function"},
	} {
		if strings.Contains(verb, k.word) {
			return k.kind
		}
	}
	return "object"
}
