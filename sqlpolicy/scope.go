package sqlpolicy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// outOfScope says what the identity may not reach of what the statement
// names, reads, makes and runs; "" where it stays inside. Entries that name
// the identity count for the targets and databases that they list, and add
// up. Whoever no entry names may reach everything.
func (p *Policy) outOfScope(in *Input) string {
	open, named := p.scopesOf(&in.Identity, in.Session.Target, in.Session.Database)
	if !named {
		return ""
	}
	if in.Session.Protocol == "mysql" {
		open = databasesAsSchemas(open)
	}
	what := ""
	if len(open) == 0 {
		what = fmt.Sprintf("target %s, database %s", in.Session.Target, in.Session.Database)
	} else {
		what = p.outsideOf(open, in.Facts)
	}
	if what == "" {
		return ""
	}
	return fmt.Sprintf("identity %s may not reach this on target %s, database %s: %s", in.Identity.Name, in.Session.Target, in.Session.Database, what)
}

// databasesAsSchemas bounds schemas by the scopes' databases: on MySQL a session
// reaches those of other databases by their names.
func databasesAsSchemas(open []*Scope) []*Scope {
	out := make([]*Scope, len(open))
	for i, s := range open {
		out[i] = s
		if len(s.Databases) > 0 {
			bounded := *s
			bounded.also = s.Databases
			out[i] = &bounded
		}
	}
	return out
}

// scopesOf are those of an identity that count for a target and database, and
// whether any names the identity at all.
func (p *Policy) scopesOf(id *facts.Identity, target, database string) (open []*Scope, named bool) {
	for i := range p.Scopes {
		s := &p.Scopes[i]
		if !slices.Contains(s.Identities, id.Name) && !intersects(s.Groups, id.Groups) {
			continue
		}
		named = true
		if within(s.Targets, target) && within(s.Databases, database) {
			open = append(open, s)
		}
	}
	return open, named
}

// Reaches says whether an identity's scopes let it reach a collection, model,
// database or schema of a target.
func (p *Policy) Reaches(id *facts.Identity, target, database string, o facts.Object) bool {
	open, named := p.scopesOf(id, target, database)
	return !named || objectIn(open, o)
}

// outsideOf names the first thing that none of the scopes lists.
func (p *Policy) outsideOf(open []*Scope, f *facts.Facts) string {
	for _, t := range f.Tables {
		if t.Collection {
			if !objectIn(open, facts.Object{Kind: "collection", Name: t.Name}) {
				return "collection " + t.Name.String()
			}
			continue
		}
		if !t.System && !schemaIn(open, t.Schema) {
			return "table " + t.Name.String()
		}
	}
	for _, e := range f.Effects {
		for _, o := range e.Objects {
			if !objectIn(open, o) {
				return o.Kind + " " + o.Name.String()
			}
		}
		for _, name := range e.Functions {
			if i := strings.LastIndexByte(name, '.'); i > 0 && !schemaIn(open, name[:i]) {
				return "function " + name
			}
		}
	}
	if slices.ContainsFunc(open, func(s *Scope) bool { return len(s.Schemas)+len(s.also) == 0 }) {
		return ""
	}
	for _, u := range f.Uses { // nobody can say where code goes that cannot be read
		if u.Kind == facts.UseCode && !p.Functions[u.Name] {
			return "what " + u.Name + " runs"
		}
	}
	return ""
}

func objectIn(open []*Scope, o facts.Object) bool {
	list := func(of func(*Scope) []string) bool {
		return slices.ContainsFunc(open, func(s *Scope) bool { return within(of(s), o.Name.Name) })
	}
	switch o.Kind {
	case "collection":
		return slices.ContainsFunc(open, func(s *Scope) bool { return collectionIn(s.Collections, o.Name) })
	case "model":
		return list(func(s *Scope) []string { return s.Models })
	case "database":
		return list(func(s *Scope) []string { return s.Databases })
	case "schema":
		return schemaIn(open, o.Name.Name)
	}
	return o.Schema == "" || schemaIn(open, o.Schema)
}

// collectionIn says whether patterns name a collection: by its name, or by its
// database and name, as in *.notes.
func collectionIn(patterns []string, n facts.Name) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return wild(p, n.Name) || n.Schema != "" && wild(p, n.String()) })
}

// schemaIn says whether a schema may be reached. The store's own catalog
// always may: drivers need it.
func schemaIn(open []*Scope, schema string) bool {
	switch schema {
	case "pg_catalog", "information_schema", "pg_toast":
		return true
	}
	return slices.ContainsFunc(open, func(s *Scope) bool { return within(s.Schemas, schema) && within(s.also, schema) })
}

func within(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return wild(p, s) })
}
