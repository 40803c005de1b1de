package sqlpolicy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// TestDefaultIsPerEffect: an effect that no rule matches gets the default,
// whatever matched another effect of the statement.
func TestDefaultIsPerEffect(t *testing.T) {
	p := load(t, "version: 1\ndefault: deny\nrules:\n  - {name: reads, when: 'stmt.action == \"read\"', then: allow}\n")
	for _, c := range []struct {
		actions []facts.Action
		want    facts.Verdict
	}{
		{[]facts.Action{facts.Read}, facts.Allow},
		{[]facts.Action{facts.Delete}, facts.Deny},
		{[]facts.Action{facts.Read, facts.Delete}, facts.Deny},
		{[]facts.Action{facts.Delete, facts.Read}, facts.Deny},
		{[]facts.Action{facts.Read, facts.Read}, facts.Allow},
		{nil, facts.Deny},
	} {
		f := &facts.Facts{}
		for _, a := range c.actions {
			f.Effects = append(f.Effects, facts.Effect{Action: a})
		}
		if d := p.Decide(Input{Facts: f}); d.Verdict != c.want {
			t.Errorf("%v: %s, want %s", c.actions, d.Verdict, c.want)
		}
	}
}

// TestDatabaseInPatterns: PostgreSQL's facts name no database; the session's
// stands in.
func TestDatabaseInPatterns(t *testing.T) {
	p := load(t, "version: 1\nclasses: {a: {}}\ncolumns: [{class: a, match: ['shop.public.t.c']}]\n")
	for db, want := range map[string]int{"shop": 1, "dev": 0} {
		for range 2 { // the second answer may be a remembered one
			f := &facts.Facts{Tables: []facts.Table{{Name: facts.Name{Schema: "public", Name: "t"}, Columns: []facts.TableColumn{{Name: "c"}}}},
				Outputs: []facts.Output{{Sources: []facts.Source{{Direct: true}}}, {Sources: []facts.Source{{}}}}}
			if d := p.Decide(Input{Facts: f, Session: facts.Session{Database: db}}); len(d.Masks) != 2*want {
				t.Errorf("in database %s: masks %v", db, d.Masks)
			}
		}
	}
}

// TestStatisticsOfExtensions: pg_stat_statements lives in any schema.
func TestStatisticsOfExtensions(t *testing.T) {
	p := load(t, policy)
	f := &facts.Facts{Tables: []facts.Table{{Name: facts.Name{Schema: "public", Name: "pg_stat_statements"}, Columns: []facts.TableColumn{{Name: "query"}}}},
		Outputs: []facts.Output{{Sources: []facts.Source{{Direct: true}}}}}
	if d := p.Decide(Input{Facts: f}); len(d.Masks) != 1 || d.Masks[0].Mask.Name != "redact" {
		t.Errorf("masks %v", d.Masks)
	}
}

// TestUnprovableIsNotForbidden: unprovable: hold is for what cannot be shown
// safe, not for what is known to tell.
func TestUnprovableIsNotForbidden(t *testing.T) {
	p := load(t, strings.Replace(policy, "rules:", "unprovable: hold\nrules:", 1))
	into := column(id)
	for name, c := range map[string]struct {
		uses []facts.Use
		want facts.Verdict
	}{
		"opaque":     {[]facts.Use{{Kind: facts.UseOpaque, Columns: []facts.ColumnRef{column(ssn)}}}, facts.Hold},
		"code":       {[]facts.Use{{Kind: facts.UseCode, Name: "app.other"}}, facts.Hold},
		"compare":    {[]facts.Use{{Kind: facts.UseCompare, Columns: []facts.ColumnRef{column(ssn)}}}, facts.Deny},
		"equal":      {[]facts.Use{{Kind: facts.UseEqual, Columns: []facts.ColumnRef{column(ssn)}}}, facts.Deny},
		"laundering": {[]facts.Use{{Kind: facts.UseWrite, Columns: []facts.ColumnRef{column(ssn)}, Into: &into}}, facts.Deny},
		"strange":    {[]facts.Use{{Kind: "strange", Columns: []facts.ColumnRef{column(ssn)}}}, facts.Deny},
		"both":       {[]facts.Use{{Kind: facts.UseOpaque, Columns: []facts.ColumnRef{column(ssn)}}, {Kind: facts.UseCompare, Columns: []facts.ColumnRef{column(ssn)}}}, facts.Deny},
	} {
		if d := p.Decide(Input{Facts: read(c.uses)}); d.Verdict != c.want {
			t.Errorf("%s: %s, want %s", name, d.Verdict, c.want)
		}
	}
}

// TestScopesCoverObjects: a scope bounds what is named, made and run, not only
// the tables that are read.
func TestScopesCoverObjects(t *testing.T) {
	p := load(t, "version: 1\nfunctions: [app.read]\nscopes: [{groups: [c], schemas: [app]}]\n")
	object := func(kind, schema, name string) *facts.Facts {
		return &facts.Facts{Effects: []facts.Effect{{Action: facts.DDL, Objects: []facts.Object{{Kind: kind, Name: facts.Name{Schema: schema, Name: name}}}}}}
	}
	for name, c := range map[string]struct {
		f    *facts.Facts
		want facts.Verdict
	}{
		"its own":           {object("table", "app", "t"), facts.Allow},
		"the catalog":       {object("table", "pg_catalog", "pg_class"), facts.Allow},
		"another table":     {object("table", "hr", "t"), facts.Deny},
		"a schema":          {object("schema", "", "hr"), facts.Deny},
		"a function called": {&facts.Facts{Effects: []facts.Effect{{Functions: []string{"hr.f"}}}}, facts.Deny},
		"code":              {&facts.Facts{Uses: []facts.Use{{Kind: facts.UseCode, Name: "DO"}}}, facts.Deny},
		"vouched code":      {&facts.Facts{Uses: []facts.Use{{Kind: facts.UseCode, Name: "app.read"}}}, facts.Allow},
		"a table read":      {&facts.Facts{Tables: []facts.Table{{Name: facts.Name{Schema: "hr", Name: "t"}}}}, facts.Deny},
	} {
		if d := p.Decide(Input{Facts: c.f, Identity: facts.Identity{Groups: []string{"c"}}}); d.Verdict != c.want {
			t.Errorf("%s: %s, want %s", name, d.Verdict, c.want)
		}
		if d := p.Decide(Input{Facts: c.f}); d.Verdict != facts.Allow {
			t.Errorf("%s, by whom no scope names: %s", name, d.Verdict)
		}
	}
}

// TestScopesOnMySQL: databases are MySQL's schemas, which a session of another
// one reaches by their names.
func TestScopesOnMySQL(t *testing.T) {
	p := load(t, "version: 1\nscopes: [{groups: [c], databases: [shop, \"shop_*\"]}, {groups: [d], databases: [shop], schemas: [\"*\"]}]\n")
	read := func(schema string) *facts.Facts {
		return &facts.Facts{Tables: []facts.Table{{Name: facts.Name{Schema: schema, Name: "t"}}}}
	}
	use := func(schema string) *facts.Facts {
		return &facts.Facts{Effects: []facts.Effect{{Action: facts.SessionSet, Objects: []facts.Object{{Kind: "schema", Name: facts.Name{Name: schema}}}}}}
	}
	code := &facts.Facts{Uses: []facts.Use{{Kind: facts.UseCode, Name: "hr.f"}}}
	for _, c := range []struct {
		f     *facts.Facts
		group string
		want  facts.Verdict
	}{
		{read("shop"), "c", facts.Allow}, {read("shop_eu"), "c", facts.Allow}, {read("information_schema"), "c", facts.Allow}, {read("hr"), "c", facts.Deny},
		{read("Shop"), "c", facts.Deny}, {read("ѕhop"), "c", facts.Deny}, {use("shop"), "c", facts.Allow}, {use("hr"), "c", facts.Deny}, {code, "c", facts.Deny},
		{read("shop"), "d", facts.Allow}, {read("hr"), "d", facts.Deny},
	} {
		in := Input{Facts: c.f, Identity: facts.Identity{Groups: []string{c.group}}, Session: facts.Session{Protocol: "mysql", Database: "shop"}}
		if d := p.Decide(in); d.Verdict != c.want {
			t.Errorf("%+v of %s: %s, want %s", c.f, c.group, d.Verdict, c.want)
		}
	}
}

// TestNoFacts: facts that are missing are denied, not a panic.
func TestNoFacts(t *testing.T) {
	p := load(t, policy)
	if d := p.Decide(Input{}); d.Verdict != facts.Deny || len(d.Refusals) != 1 {
		t.Errorf("%+v", d)
	}
}

// TestMasksThatDiffer: of two masks of one name neither hides what the other
// shows, in whatever order the classes come.
func TestMasksThatDiffer(t *testing.T) {
	for _, order := range []string{"[{class: a, match: ['t.e']}, {class: b, match: ['t.e']}]", "[{class: b, match: ['t.e']}, {class: a, match: ['t.e']}]"} {
		for masks, want := range map[string]string{
			"a: {mask: {name: bucket, width: 100000}}, b: {mask: {name: bucket, width: 10}}": "redact",
			"a: {mask: partial}, b: {mask: {name: partial, keep: 4}}":                        "partial", // the default, written out
			"a: {mask: partial}, b: {mask: hash}":                                            "hash",
		} {
			p := load(t, "version: 1\nclasses: {"+masks+"}\ncolumns: "+order+"\n")
			f := &facts.Facts{Tables: []facts.Table{{Name: facts.Name{Schema: "public", Name: "t"}, Columns: []facts.TableColumn{{Name: "e"}}}},
				Outputs: []facts.Output{{Sources: []facts.Source{{Direct: true}}}}}
			if d := p.Decide(Input{Facts: f}); len(d.Masks) != 1 || d.Masks[0].Mask.Name != want {
				t.Errorf("%s: %v, want %s", masks, d.Masks, want)
			}
		}
	}
}

// TestVouchedStaysWhatWasRead: no way of changing what stands behind a
// vouched name is open to those whom a class binds.
func TestVouchedStaysWhatWasRead(t *testing.T) {
	p := load(t, "version: 1\nclasses: {a: {}}\ncolumns: [{class: a, match: ['*.a']}]\nunmask: [{classes: [a], groups: [all]}]\nfunctions: [app.f]\n")
	for _, c := range []struct {
		verb string
		o    *facts.Object
		want facts.Verdict
	}{
		{"CREATE FUNCTION", &facts.Object{Kind: "function", Name: facts.Name{Schema: "app", Name: "f"}}, facts.Deny},
		{"CREATE FUNCTION", &facts.Object{Kind: "function", Name: facts.Name{Schema: "app", Name: "g"}}, facts.Allow},
		{"DROP PROCEDURE", &facts.Object{Kind: "procedure", Name: facts.Name{Schema: "app", Name: "f"}}, facts.Deny},
		{"DROP FUNCTION", &facts.Object{Kind: "function", Name: facts.Name{Name: "f"}}, facts.Deny},
		{"ALTER FUNCTION RENAME", nil, facts.Deny},
		{"ALTER OBJECT SCHEMA", nil, facts.Deny},
		{"ALTER SCHEMA RENAME", nil, facts.Deny},
		{"DROP SCHEMA", &facts.Object{Kind: "schema", Name: facts.Name{Name: "app"}}, facts.Deny},
		{"DROP SCHEMA", &facts.Object{Kind: "schema", Name: facts.Name{Name: "other"}}, facts.Allow},
		{"CREATE SCHEMA", nil, facts.Allow},
		{"ALTER TYPE RENAME", nil, facts.Allow},
		{"ALTER OBJECT SCHEMA", &facts.Object{Kind: "table", Name: facts.Name{Schema: "app", Name: "t"}}, facts.Allow},
	} {
		e := facts.Effect{Action: facts.DDL, Verb: c.verb}
		if c.o != nil {
			e.Objects = []facts.Object{*c.o}
		}
		in := Input{Facts: &facts.Facts{Effects: []facts.Effect{e}}}
		if d := p.Decide(in); d.Verdict != c.want {
			t.Errorf("%s %v: %s, want %s", c.verb, c.o, d.Verdict, c.want)
		}
		in.Identity.Groups = []string{"all"}
		if d := p.Decide(in); d.Verdict != facts.Allow {
			t.Errorf("%s %v, by whom no class binds: %s", c.verb, c.o, d.Verdict)
		}
	}
}

// TestPlacesInConditions: a mistake in a condition is told where it stands in
// the file, through indentation, folding, quotes and escapes.
func TestPlacesInConditions(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"literal":     {"    when: |\n      stmt.action ==\n        nowhere\n", "5:9"},
		"folded":      {"    when: >-\n      stmt.limited &&\n\n      nowhere\n", "6:7"},
		"plain":       {"    when: stmt.limited &&\n        nowhere\n", "4:9"},
		"double":      {"    when: \"stmt.action == \\\"x\\\" && nowhere\"\n", "3:36"},
		"single":      {"    when: 'stmt.text == ''x'' && nowhere'\n", "3:34"},
		"on one line": {"    when: nowhere\n", "3:11"},
		"accents":     {"    when: stmt.text == \"é\" && nowhere\n", "3:31"},
	} {
		_, err := Parse("p", []byte("version: 1\nrules:\n"+strings.Replace(c.src, "    when", "  - when", 1)+"    name: r\n    then: deny\n"))
		if err == nil || !strings.HasPrefix(err.Error(), "p:"+c.want+":") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestDeepFiles: what nests is refused before the parser recurses into it.
func TestDeepFiles(t *testing.T) {
	for name, src := range map[string]string{
		"dashes": strings.Repeat("- ", 200_000) + "a", "brackets": strings.Repeat("[", 40_000), "indentation": func() string {
			s := ""
			for i := range 200 {
				s += strings.Repeat(" ", i) + "a:\n"
			}
			return s
		}(),
		"anchors": strings.Repeat("&a ", 50_000) + "x",
	} {
		f, root := strictyaml.Parse("p", []byte(src))
		if root != nil || f.Err() == nil {
			t.Errorf("%s were taken", name)
		}
	}
}

// TestCacheIsBoundedByNames: deciding about new facts of a known table does
// not keep those facts.
func TestCacheIsBoundedByNames(t *testing.T) {
	p := load(t, policy)
	for i := range 500 {
		f := read(nil)
		f.Tables[0].Columns = append(f.Tables[0].Columns, facts.TableColumn{Name: fmt.Sprint("c", i%3)})
		p.Decide(Input{Facts: f})
	}
	if n := len(p.cache.tables); n > 20 {
		t.Errorf("%d entries for one table", n)
	}
}
