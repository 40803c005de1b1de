package pgfacts

import (
	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// walk calls visit for n and every node below it, parents first, in the order
// of the fields. Where visit returns false the node's children are left out.
func walk(n *pg_query.Node, visit func(*pg_query.Node) bool) {
	if n == nil || n.Node == nil || !visit(n) {
		return
	}
	walkMessage(n.ProtoReflect(), visit)
}

func walkMessage(m protoreflect.Message, visit func(*pg_query.Node) bool) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() != protoreflect.MessageKind {
			return true
		}
		if fd.IsList() {
			for i, l := 0, v.List(); i < l.Len(); i++ {
				walkChild(l.Get(i).Message(), visit)
			}
			return true
		}
		walkChild(v.Message(), visit)
		return true
	})
}

func walkChild(m protoreflect.Message, visit func(*pg_query.Node) bool) {
	if n, ok := m.Interface().(*pg_query.Node); ok {
		walk(n, visit)
		return
	}
	walkMessage(m, visit)
}

// same says whether two expressions are written alike, wherever they stand.
func same(a, b *pg_query.Node) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	return a == nil || proto.Equal(placeless(a), placeless(b))
}

// fingerprint is the same for two expressions that are written alike.
func fingerprint(n *pg_query.Node) string {
	if n == nil {
		return ""
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(placeless(n))
	if err != nil {
		return ""
	}
	return string(b)
}

func placeless(n *pg_query.Node) proto.Message {
	c := proto.Clone(n)
	clearPlaces(c.ProtoReflect())
	return c
}

func clearPlaces(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Name() == "location" && !fd.IsList():
			m.Clear(fd)
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i, l := 0, v.List(); i < l.Len(); i++ {
				clearPlaces(l.Get(i).Message())
			}
		default:
			clearPlaces(v.Message())
		}
		return true
	})
}

// names returns the strings of a list of String nodes.
func names(list []*pg_query.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		if s := n.GetString_(); s != nil {
			out = append(out, s.Sval)
		}
	}
	return out
}

// splitName is a qualified name's schema and last part; a database before
// them is left out.
func splitName(list []*pg_query.Node) (schema, name string) {
	parts := names(list)
	switch len(parts) {
	case 0:
		return "", ""
	case 1:
		return "", parts[0]
	}
	return parts[len(parts)-2], parts[len(parts)-1]
}
