package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/replay"
)

// reported is a policy with something to read in every way.
const reported = `version: 1
classes: {email: {mask: partial}, ssn: {mask: redact, compare: none}}
columns: [{class: email, match: ["*.email"]}, {class: ssn, match: ["*.ssn"]}]
unmask: [{classes: [email], groups: [support]}]
scopes:
  - {groups: [support], targets: [shop], schemas: [public]}
budgets: [{classes: [email], rows: 1000, per: 1h, then: deny}]
rules:
  - {name: no-ddl, when: 'stmt.action == "ddl"', then: deny}
  - {name: never-met, when: 'stmt.action == "admin"', then: deny}
  - {name: writes, when: 'stmt.action in ["delete", "update"]', then: hold, approvers: {groups: [dba], within: 1s}}
`

// TestReport: who read what, in each way and format.
func TestReport(t *testing.T) {
	t.Parallel()
	h := startHolding(t, reported)
	conn := twinConn(h.port)
	ana, sam := connect(t, conn), connect(t, strings.ReplaceAll(conn, "ana", "sam"))
	must(t, ana, "SELECT id, email, ssn FROM customers ORDER BY id LIMIT 3")
	must(t, ana, "SELECT id FROM customers WHERE email = 'nobody@example.com'")
	must(t, sam, "SELECT email FROM customers ORDER BY id LIMIT 2")
	if _, err := sam.Exec(context.Background(), "SELECT email FROM customers ORDER BY id LIMIT 1"); err != nil { // prepared and executed
		t.Fatal(err)
	}
	for _, refused := range []string{"DROP TABLE orders", "SELECT id FROM customers WHERE ssn = '1'", "DELETE FROM orders WHERE id < 0", "SELECT FROM WHERE"} {
		if err := execute(context.Background(), ana, "simple", refused); err == nil {
			t.Errorf("%s passed", refused)
		}
	}
	ana.Close(context.Background())
	sam.Close(context.Background())
	awaitSessions(t, h.testProxy, 0)
	code, out := runMain(t, "report", "--config", h.config, "--format", "json")
	var got replay.Access
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	type read struct {
		identity, class, object, how string
		statements                   int
		rows                         int64
	}
	var reads []read
	for _, r := range got.Reads {
		reads = append(reads, read{r.Identity, r.Class, r.Object, r.How, r.Statements, r.Rows})
		if r.Target != "shop" || r.Database != "shop" || r.First.IsZero() || r.Last.Before(r.First) || r.Bytes == 0 && r.Rows > 0 {
			t.Errorf("%+v", r)
		}
	}
	want := []read{
		{"ana", "email", "public.customers", "compared", 1, 0},
		{"ana", "email", "public.customers", "masked", 1, 3},
		{"ana", "ssn", "public.customers", "masked", 1, 3},
		{"sam", "email", "public.customers", "clear", 2, 3},
	}
	if !slices.Equal(reads, want) {
		t.Errorf("reads\n%+v, want\n%+v", reads, want)
	}
	var why []string
	for _, r := range got.Refused {
		why = append(why, r.Identity+" "+r.Outcome+" "+r.Why)
	}
	if want := []string{"ana held writes", "ana refused class ssn", "ana refused no-ddl", "ana refused not understood: 42601"}; !slices.Equal(why, want) {
		t.Errorf("refused %q, want %q", why, want)
	}
	if !slices.Equal(got.UnusedIdentities, []string{"dana", "erik"}) || !slices.Equal(got.UnusedRules, []string{"never-met"}) {
		t.Errorf("unused %v, %v", got.UnusedIdentities, got.UnusedRules)
	}
	code, out = runMain(t, "report", "--config", h.config, "--format", "csv", "--identity", "sam")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if code != 0 || err != nil || len(rows) < 2 || rows[1][0] != "read" || rows[1][1] != "sam" || strings.Contains(out, ",ana,") {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
	code, out = runMain(t, "report", "--config", h.config)
	for _, s := range []string{"public.customers", "masked", "held", "Identities without a session: dana, erik.", "Rules that no statement met: never-met."} {
		if code != 0 || !strings.Contains(out, s) {
			t.Errorf("exit %d, no %q in %s", code, s, out)
		}
	}
	if code, out := runMain(t, "report", "--config", h.config, "--until", "2020-01-01"); code != 0 || !strings.Contains(out, "0 statements in 0 sessions") {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, bad := range [][]string{{"--format", "xml"}, {"--since", "yesterday"}} {
		if code, out := runMain(t, append([]string{"report", "--config", h.config}, bad...)...); code == 0 || !strings.Contains(out, "hint: ") {
			t.Errorf("%v: exit %d: %s", bad, code, out)
		}
	}
	h.rights(t)
	h.refusedLogins(t)
}

// refusedLogins: who was refused a login, in each format; a name of a stranger's is no formula.
func (h *holding) refusedLogins(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ana", "ana", "=HYPERLINK(1)", "nobody"} {
		if err := tryConnect(strings.Replace(strings.ReplaceAll(twinConn(h.port), "user=ana", "user='"+name+"'"), "password=ana-secret", "password=wrong-secret", 1)); err == nil {
			t.Fatalf("%s got in with a wrong password", name)
		}
	}
	h.stop()
	h.code <- <-h.code // what waited is written down
	code, out := runMain(t, "report", "--config", h.config, "--format", "json")
	var got replay.Access
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	logins := map[string]int64{}
	for _, r := range got.RefusedLogins {
		logins[r.Identity+" "+r.Outcome] += r.Logins
		if r.Target != "shop" || r.Address != "127.0.0.1" || r.Why == "" || r.First.IsZero() || r.Last.Before(r.First) {
			t.Errorf("%+v", r)
		}
	}
	if len(logins) != 3 || logins["ana refused"] != 2 || logins["nobody refused"] != 1 || logins["=HYPERLINK(1) refused"] != 1 {
		t.Errorf("refused logins %v", logins)
	}
	code, out = runMain(t, "report", "--config", h.config, "--format", "csv")
	if code != 0 || !strings.Contains(out, "login refused,'=HYPERLINK(1),,shop,,127.0.0.1,") || strings.Contains(out, ",=") || strings.Contains(out, "wrong-secret") {
		t.Errorf("exit %d: %s", code, out)
	}
	code, out = runMain(t, "report", "--config", h.config, "--identity", "ana")
	if code != 0 || !strings.Contains(out, "LOGIN AS") || !strings.Contains(out, "ana       shop") || strings.Contains(out, "nobody") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// rights: what an identity may do, without a statement.
func (h *holding) rights(t *testing.T) {
	t.Helper()
	for _, x := range []struct {
		args []string
		want []string
	}{
		{[]string{"--identity", "sam"}, []string{"identity   sam (human) [support]", "reaches    targets shop; schemas public", "class      email: sees clear", "class      ssn: sees redact, compares none", "rule       no-ddl: deny when", "otherwise  allow", "shop: the backend sees backend"}},
		{[]string{"--identity", "dana"}, []string{"reaches    everything", "email: sees partial", "approves   writes"}},
		{[]string{"--identity", "anyone", "--groups", "support,x"}, []string{"[support x]", "email: sees clear"}},
		{[]string{"--identity", "sam", "--json"}, []string{`"scoped":true`, `"class":"email","sees":"clear"`}},
	} {
		code, out := runMain(t, append([]string{"policy", "explain", "--config", h.config}, x.args...)...)
		for _, want := range x.want {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("%v: exit %d, no %q in\n%s", x.args, code, want, out)
			}
		}
	}
	if code, out := runMain(t, "policy", "explain", "--config", h.config); code != 1 || !strings.Contains(out, "--identity NAME") {
		t.Errorf("exit %d: %s", code, out)
	}
}
