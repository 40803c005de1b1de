package catalog

import (
	"slices"
	"sync"
)

type index struct {
	hashed    sync.Once
	hash      string
	relations map[[2]string]*Relation
	byOID     map[uint32]*Relation
	functions map[string][]*Function
	operators map[string][]*Operator
	types     map[[2]string]*Type
	typeOID   map[uint32]*Type
	schemas   map[string]*Schema
	children  map[uint32][]uint32
}

// Index prepares c for look-ups. It must be called once, before c is shared.
func (c *Catalog) Index() *Catalog {
	x := &index{
		relations: make(map[[2]string]*Relation, len(c.Relations)),
		byOID:     make(map[uint32]*Relation, len(c.Relations)),
		functions: make(map[string][]*Function, len(c.Functions)),
		operators: make(map[string][]*Operator),
		types:     make(map[[2]string]*Type, len(c.Types)),
		typeOID:   make(map[uint32]*Type, len(c.Types)),
		schemas:   make(map[string]*Schema, len(c.Schemas)),
		children:  make(map[uint32][]uint32),
	}
	for i := range c.Schemas {
		x.schemas[c.Schemas[i].Name] = &c.Schemas[i]
	}
	for i := range c.Relations {
		r := &c.Relations[i]
		x.relations[[2]string{r.Schema, r.Name}] = r
		if r.OID != 0 {
			x.byOID[r.OID] = r
		}
		for _, p := range r.Parents {
			x.children[p] = append(x.children[p], r.OID)
		}
	}
	for i := range c.Functions {
		f := &c.Functions[i]
		x.functions[f.Name] = append(x.functions[f.Name], f)
	}
	for i := range c.Operators {
		o := &c.Operators[i]
		x.operators[o.Name] = append(x.operators[o.Name], o)
	}
	for i := range c.Types {
		t := &c.Types[i]
		x.types[[2]string{t.Schema, t.Name}] = t
		if t.OID != 0 {
			x.typeOID[t.OID] = t
		}
	}
	c.idx = x
	return c
}

// Schema returns the schema of that name, or nil.
func (c *Catalog) Schema(name string) *Schema { return c.idx.schemas[name] }

// RelationByOID returns the relation, or nil.
func (c *Catalog) RelationByOID(oid uint32) *Relation { return c.idx.byOID[oid] }

// RelationIn returns the relation of that exact name in that schema, or nil.
func (c *Catalog) RelationIn(schema, name string) *Relation {
	return c.idx.relations[[2]string{schema, name}]
}

// TypeIn returns the type of that exact name in that schema, or nil.
func (c *Catalog) TypeIn(schema, name string) *Type { return c.idx.types[[2]string{schema, name}] }

// TypeByOID returns the type, or nil.
func (c *Catalog) TypeByOID(oid uint32) *Type { return c.idx.typeOID[oid] }

// Children returns the OIDs of the relations that inherit from oid directly.
func (c *Catalog) Children(oid uint32) []uint32 { return c.idx.children[oid] }

// Relation finds a relation as the session would: in schema where given
// ("pg_temp" means the session's own), else along the search path. It returns
// nil where there is none.
func (v *View) Relation(schema, name string) *Relation {
	if schema != "" {
		if schema == "pg_temp" {
			schema = v.TempSchema
		}
		return v.relationIn(schema, name)
	}
	for _, s := range v.SearchPath {
		if r := v.relationIn(s, name); r != nil {
			return r
		}
	}
	return nil
}

func (v *View) relationIn(schema, name string) *Relation {
	if r := v.Temporary[[2]string{schema, name}]; r != nil {
		return r
	}
	return v.RelationIn(schema, name)
}

// Type finds a type as the session would.
func (v *View) Type(schema, name string) *Type {
	if schema != "" {
		if schema == "pg_temp" {
			schema = v.TempSchema
		}
		return v.TypeIn(schema, name)
	}
	for _, s := range v.SearchPath {
		if t := v.TypeIn(s, name); t != nil {
			return t
		}
	}
	return nil
}

// FunctionsNamed returns every function that a call by that name could mean:
// all overloads in schema where given, else in all schemas of the search path
// (never the temporary one, which PostgreSQL does not search for functions).
func (v *View) FunctionsNamed(schema, name string) []*Function {
	var out []*Function
	for _, f := range v.idx.functions[name] {
		if schema != "" {
			if f.Schema == schema || schema == "pg_temp" && f.Schema == v.TempSchema {
				out = append(out, f)
			}
		} else if f.Schema != v.TempSchema && slices.Contains(v.SearchPath, f.Schema) {
			out = append(out, f)
		}
	}
	return out
}

// OperatorsNamed is FunctionsNamed for operators.
func (v *View) OperatorsNamed(schema, name string) []*Operator {
	var out []*Operator
	for _, o := range v.idx.operators[name] {
		if schema != "" {
			if o.Schema == schema {
				out = append(out, o)
			}
		} else if slices.Contains(v.SearchPath, o.Schema) {
			out = append(out, o)
		}
	}
	return out
}

// Family returns the relations whose rows or classes r shares: all its
// ancestors and descendants by inheritance or partitioning, without itself.
func (c *Catalog) Family(r *Relation) []*Relation {
	if r.OID == 0 || (len(r.Parents) == 0 && len(c.Children(r.OID)) == 0) {
		return nil
	}
	seen := map[uint32]bool{r.OID: true}
	queue := []uint32{r.OID}
	var out []*Relation
	for len(queue) > 0 {
		at := c.RelationByOID(queue[0])
		queue = queue[1:]
		if at == nil {
			continue
		}
		for _, o := range append(slices.Clone(at.Parents), c.Children(at.OID)...) {
			if !seen[o] {
				seen[o] = true
				queue = append(queue, o)
				if m := c.RelationByOID(o); m != nil {
					out = append(out, m)
				}
			}
		}
	}
	return out
}
