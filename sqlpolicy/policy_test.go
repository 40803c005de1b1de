package sqlpolicy

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func load(t testing.TB, src string) *Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const policy = `version: 1
classes:
  email:  {mask: partial, compare: equality}
  ssn:    {mask: redact, compare: none}
  notes:  {mask: {name: hash, length: 12}, compare: any}
columns:
  - {class: email, match: ["*.email"]}
  - {class: ssn, match: ["public.people.ssn"]}
  - {class: notes, match: ["people.notes"]}
unmask:
  - {classes: [email], groups: [support]}
functions: [app.ok]
rules:
  - name: no-ddl
    when: stmt.action == "ddl" && stmt.destructive
    then: deny
    reason: No.
  - name: big
    when: stmt.action == "read" && (!stmt.limited || stmt.limit > 1000) && plan.rows > 10000
    then: hold
`

// people is the table of the tests: id, email, ssn, notes.
func people() facts.Table {
	return facts.Table{Name: facts.Name{Database: "shop", Schema: "public", Name: "people"}, Columns: []facts.TableColumn{
		{Name: "id"}, {Name: "email"}, {Name: "ssn"}, {Name: "notes"},
	}}
}

const id, email, ssn, notes = 0, 1, 2, 3

func column(c int) facts.ColumnRef { return facts.ColumnRef{Column: c} }

func read(uses []facts.Use, outputs ...facts.Output) *facts.Facts {
	return &facts.Facts{Tables: []facts.Table{people()}, Outputs: outputs, Uses: uses,
		Effects: []facts.Effect{{Action: facts.Read, Verb: "SELECT", Limit: 10, Limited: true}}}
}

func TestUses(t *testing.T) {
	p := load(t, policy)
	ref := func(c int) []facts.ColumnRef { return []facts.ColumnRef{column(c)} }
	into := func(c int) *facts.ColumnRef { return &facts.ColumnRef{Column: c} }
	for _, c := range []struct {
		name   string
		use    facts.Use
		groups []string
		deny   bool
	}{
		{name: "equal email", use: facts.Use{Kind: facts.UseEqual, Columns: ref(email)}},
		{name: "equal ssn", use: facts.Use{Kind: facts.UseEqual, Columns: ref(ssn)}, deny: true},
		{name: "equal id", use: facts.Use{Kind: facts.UseEqual, Columns: ref(id)}},
		{name: "equal email to id", use: facts.Use{Kind: facts.UseEqual, Columns: ref(email), With: ref(id)}, deny: true},
		{name: "equal id to email", use: facts.Use{Kind: facts.UseEqual, Columns: ref(id), With: ref(email)}, deny: true},
		{name: "equal email to email", use: facts.Use{Kind: facts.UseEqual, Columns: ref(email), With: ref(email)}},
		{name: "compare email", use: facts.Use{Kind: facts.UseCompare, Columns: ref(email)}, deny: true},
		{name: "compare email, support", use: facts.Use{Kind: facts.UseCompare, Columns: ref(email)}, groups: []string{"support"}},
		{name: "compare ssn, support", use: facts.Use{Kind: facts.UseCompare, Columns: ref(ssn)}, groups: []string{"support"}, deny: true},
		{name: "compare notes", use: facts.Use{Kind: facts.UseCompare, Columns: ref(notes)}},
		{name: "opaque notes", use: facts.Use{Kind: facts.UseOpaque, Columns: ref(notes)}, deny: true},
		{name: "opaque notes in a predicate", use: facts.Use{Kind: facts.UseOpaque, Columns: ref(notes), InPredicate: true}},
		{name: "opaque email in a predicate", use: facts.Use{Kind: facts.UseOpaque, Columns: ref(email), InPredicate: true}, deny: true},
		{name: "write email to id", use: facts.Use{Kind: facts.UseWrite, Columns: ref(email), Into: into(id)}, deny: true},
		{name: "write email to email", use: facts.Use{Kind: facts.UseWrite, Columns: ref(email), Into: into(email)}},
		{name: "write ssn to email", use: facts.Use{Kind: facts.UseWrite, Columns: ref(ssn), Into: into(email)}, deny: true},
		{name: "write id to email", use: facts.Use{Kind: facts.UseWrite, Columns: ref(id), Into: into(email)}},
		{name: "code", use: facts.Use{Kind: facts.UseCode, Name: "app.evil"}, deny: true},
		{name: "vouched code", use: facts.Use{Kind: facts.UseCode, Name: "app.ok"}},
		{name: "vouched code with ssn", use: facts.Use{Kind: facts.UseCode, Name: "app.ok", Columns: ref(ssn)}, deny: true},
		{name: "broken reference", use: facts.Use{Kind: facts.UseEqual, Columns: []facts.ColumnRef{{Table: 9}}}, deny: true},
		{name: "unknown kind", use: facts.Use{Kind: "new", Columns: ref(ssn)}, deny: true},
	} {
		d := p.Decide(Input{Identity: facts.Identity{Name: "ana", Groups: c.groups}, Facts: read([]facts.Use{c.use}), Plan: &facts.Plan{Known: true}})
		if (d.Verdict != facts.Allow) != c.deny {
			t.Errorf("%s: %s %+v", c.name, d.Verdict, d.Refusals)
		}
		if c.deny && (len(d.Refusals) == 0 || d.Refusals[0].Hint == "") {
			t.Errorf("%s: no refusal with a hint: %+v", c.name, d.Refusals)
		}
	}
}

func TestMasks(t *testing.T) {
	p := load(t, policy)
	out := func(sources ...facts.Source) facts.Output { return facts.Output{Name: "x", Sources: sources} }
	direct := func(c int) facts.Source { return facts.Source{ColumnRef: column(c), Direct: true} }
	computed := func(c int) facts.Source { return facts.Source{ColumnRef: column(c)} }
	f := read(nil, out(direct(id)), out(direct(email)), out(computed(email)), out(direct(email), direct(ssn)), out(), out(direct(notes)), out(direct(id), direct(email)))
	d := p.Decide(Input{Facts: f, Plan: &facts.Plan{Known: true}})
	got := map[int]string{}
	for _, m := range d.Masks {
		got[m.Output] = m.Mask.Name
	}
	want := map[int]string{1: "partial", 2: "redact", 3: "redact", 5: "hash", 6: "partial"}
	for i := range f.Outputs {
		if got[i] != want[i] {
			t.Errorf("output %d: mask %q, want %q", i, got[i], want[i])
		}
	}
	if !d.Scrub {
		t.Error("diagnostics of a classed table are not scrubbed")
	}
	d = p.Decide(Input{Identity: facts.Identity{Groups: []string{"support"}}, Facts: read(nil, out(direct(email))), Plan: &facts.Plan{Known: true}})
	if len(d.Masks) != 0 {
		t.Errorf("support does not see e-mail: %+v", d.Masks)
	}
}

func TestRulesStrictestWins(t *testing.T) {
	rules := []string{
		"  - {name: a, when: 'true', then: allow}\n", "  - {name: h, when: 'true', then: hold}\n", "  - {name: d, when: 'true', then: deny}\n",
		"  - {name: e, when: 'identity.claims[\"x\"] == 1', then: allow}\n",
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {2, 1, 0, 3}, {3, 1, 2, 0}, {1, 0, 3, 2}} {
		src := "version: 1\nrules:\n"
		for _, i := range order {
			src += rules[i]
		}
		if d := load(t, src).Decide(Input{Facts: read(nil)}); d.Verdict != facts.Deny || len(d.Rules) != 3 {
			t.Errorf("%v: %+v", order, d)
		}
	}
	if d := load(t, "version: 1\ndefault: deny\nrules:\n"+rules[3]).Decide(Input{Facts: read(nil)}); d.Verdict != facts.Deny {
		t.Errorf("an error allowed: %+v", d)
	}
	if d := load(t, "version: 1\nrules:\n  - {name: e, when: 'identity.claims[\"x\"] == 1', then: deny}\n").Decide(Input{Facts: read(nil)}); d.Verdict != facts.Deny {
		t.Errorf("an error did not deny: %+v", d)
	}
}

func TestPlan(t *testing.T) {
	p := load(t, policy)
	f := read(nil)
	f.Effects[0].Limited, f.Effects[0].Limit = false, facts.NoLimit
	for _, c := range []struct {
		plan *facts.Plan
		want facts.Verdict
	}{
		{nil, facts.Hold}, {&facts.Plan{}, facts.Hold}, {&facts.Plan{Known: true, Rows: 10}, facts.Allow}, {&facts.Plan{Known: true, Rows: 100000}, facts.Hold},
	} {
		if d := p.Decide(Input{Facts: f, Plan: c.plan}); d.Verdict != c.want {
			t.Errorf("%+v: %s, want %s", c.plan, d.Verdict, c.want)
		}
	}
	if d := p.Decide(Input{Facts: read(nil)}); d.Verdict != facts.Allow {
		t.Errorf("a limited read does not depend on the plan: %+v", d)
	}
}

// TestBroken: every problem of a file at once, each with its place.
func TestBroken(t *testing.T) {
	src := `version: 2
classes:
  email: {mask: nonsense}
  ssn: {compare: sometimes, colour: red}
columns:
  - {class: nobody, match: ["*.email"]}
  - {class: ssn, match: ["ssn", "a.b.c.d.e"]}
unmask:
  - {classes: [email]}
rules:
  - name: one
    when: stmt.foo == 1
    then: deny
  - name: one
    when: stmt.limit
    then: perhaps
  - name: three
    when: |
      stmt.action == "read" &&
        identity.nme == "x"
    then: deny
functions: [plain]
`
	_, err := Parse("policy.yaml", []byte(src))
	if err == nil {
		t.Fatal("it was loaded")
	}
	got := err.Error()
	for _, want := range []string{
		"policy.yaml:1:10: version: must be a whole number from 1 to 1", "no mask \"nonsense\"", "policy.yaml:4:18: classes.ssn.compare",
		"unknown key \"colour\"", "class \"nobody\" is not defined", "pattern \"ssn\": needs at least table.column", "more parts", "groups or identities",
		"policy.yaml:12:15: rules[0].when: rule \"one\": undefined field 'foo'", "another rule is named", "must be one of allow, hold, deny",
		"it must give true or false", "policy.yaml:20:", "undefined field 'nme'", "name the function with its schema",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	p := load(t, policy)
	text := "UPDATE people SET ssn = '[redacted]' WHERE id = 1"
	f := read(nil)
	f.Constants = []facts.Constant{{From: 24, To: 36, Columns: []facts.ColumnRef{column(ssn)}}}
	d := p.Decide(Input{Facts: f, Text: text, Plan: &facts.Plan{Known: true}})
	if d.Verdict != facts.Deny || len(d.SecretConstants) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestFactsReference(t *testing.T) {
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range FactsReference() {
		if v.Meaning == "" || v.Example == "" {
			t.Errorf("%s is not documented", v.Name)
		}
		if _, issues := env.Compile(v.Example); issues.Err() != nil {
			t.Errorf("%s: the example %s: %v", v.Name, v.Example, issues.Err())
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := load(b, policy)
	in := Input{Facts: read([]facts.Use{{Kind: facts.UseEqual, Columns: []facts.ColumnRef{column(email)}}}), Plan: &facts.Plan{Known: true}, Now: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(in)
	}
}
