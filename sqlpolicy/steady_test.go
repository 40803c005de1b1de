package sqlpolicy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestSteady(t *testing.T) {
	for when, want := range map[string]bool{
		`stmt.action == "ddl" && stmt.destructive`:                      true,
		`stmt.objects.exists(o, o.startsWith("crm."))`:                  true,
		`identity.name == "ana" && session.target == "app"`:             true,
		`session.started < timestamp("2020-01-01T00:00:00Z")`:           true,
		`now > timestamp("2020-01-01T00:00:00Z")`:                       false,
		`stmt.objects.exists(o, now.getHours() > 6)`:                    false,
		`session.rows_read > 100`:                                       false,
		`stmt.text.contains("x")`:                                       false,
		`[stmt].exists(s, s.text.contains("x"))`:                        false,
		`[session].exists(s, s.rows_read > 1)`:                          false,
		`plan.rows > 10`:                                                false,
		`stmt.limit > 10 || stmt.in_transaction || "x" in stmt.classes`: true,
	} {
		p, err := Parse("policy.yaml", []byte("version: 1\nrules:\n  - name: r\n    when: '"+when+"'\n    then: deny\n"))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got := p.Rules[0].program.steady; got != want {
			t.Errorf("%s: steady %v, want %v", when, got, want)
		}
	}
}

// TestSteadyDecision asks again with all that a steady decision may not depend
// on changed.
func TestSteadyDecision(t *testing.T) {
	p, err := Parse("policy.yaml", []byte(`version: 1
classes: {email: {mask: partial}}
columns: [{class: email, match: ["*.email"]}]
budgets: [{classes: [email], rows: 10, per: 1h, then: deny}]
rules: [{name: r, when: 'stmt.action == "delete" && !stmt.filtered', then: deny}]
`))
	if err != nil {
		t.Fatal(err)
	}
	table := []facts.Table{{Name: facts.Name{Schema: "public", Name: "t"}, Columns: []facts.TableColumn{{Name: "id"}, {Name: "email"}}}}
	ref := func(c int) []facts.ColumnRef { return []facts.ColumnRef{{Column: c}} }
	read := facts.Effect{Action: facts.Read, Verb: "SELECT", Filtered: true, Limit: facts.NoLimit}
	for name, c := range map[string]struct {
		f    facts.Facts
		want bool
	}{
		"plain":             {facts.Facts{Effects: []facts.Effect{read}, Tables: table, Constants: []facts.Constant{{From: 0, To: 1, Columns: ref(0)}}}, true},
		"classed constant":  {facts.Facts{Effects: []facts.Effect{read}, Tables: table, Constants: []facts.Constant{{From: 0, To: 1, Columns: ref(1)}}}, false},
		"classed parameter": {facts.Facts{Effects: []facts.Effect{read}, Tables: table, ParamUses: []facts.ParamUse{{Param: 1, Columns: ref(1)}}}, false},
		"budget":            {facts.Facts{Effects: []facts.Effect{read}, Tables: table, Outputs: []facts.Output{{Name: "email", Sources: []facts.Source{{ColumnRef: ref(1)[0], Direct: true}}}}}, false},
		"denied":            {facts.Facts{Effects: []facts.Effect{{Action: facts.Delete}}, Tables: table}, false},
	} {
		in := Input{Facts: &c.f, Text: "1"}
		d := p.Decide(in)
		if got := p.Steady(&in, d); got != c.want {
			t.Errorf("%s: steady %v, want %v", name, got, c.want)
		} else if !got {
			continue
		}
		in.Text, in.Params, in.Session.RowsRead, in.Now = "[redacted]", []facts.Param{{Known: true, Text: "a***@b"}}, 1e6, time.Now()
		if diff := cmp.Diff(d, p.Decide(in)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
