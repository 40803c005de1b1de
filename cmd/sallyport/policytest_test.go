package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPolicyTestSchema runs cases over a schema in SQL, which a server reads,
// and counts the rules that recorded statements match.
func TestPolicyTestSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("schema.sql", "CREATE TABLE people (id int PRIMARY KEY, email text, note text); CREATE VIEW contacts AS SELECT id, lower(email) AS mail FROM people;")
	write("policy.yaml", `version: 1
classes: {email: {mask: partial}}
columns: [{class: email, match: [people.email]}]
rules:
  - {name: unfiltered, when: 'stmt.action == "delete" && !stmt.filtered', then: deny}
  - {name: held, when: 'plan.rows > 10000', then: hold}
  - {name: never, when: 'stmt.verb == "MERGE"', then: deny}
`)
	cases := write("cases.yaml", `version: 1
policy: policy.yaml
schema: schema.sql
cases:
  - {name: through a view, statement: SELECT mail FROM contacts, expect: allow, masks: {mail: redact}}
  - {name: all of them, statement: DELETE FROM people, expect: deny, rule: unfiltered}
  - {name: unknown, statement: SELECT nothing FROM people, expect: deny}
`)
	code, out := runMain(t, "policy", "test", cases)
	for _, want := range []string{"FAIL", "unknown", "3 cases, 1 failed", "no case makes these rules match: held, never"} {
		if code != 3 || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q: %s", code, want, out)
		}
	}
	code, out = runMain(t, "policy", "test", "--recorded", filepath.Join("..", "..", "testdata", "transcripts", "demo"), cases)
	if code != 3 || !strings.Contains(out, "no case and no recorded statement makes these rules match: never") {
		t.Errorf("exit %d: %s", code, out)
	}
	write("schema.sql", "CREATE TABLE people (id nonsense);")
	if code, out := runMain(t, "policy", "test", cases); code != 1 || !strings.Contains(out, "nonsense") {
		t.Errorf("exit %d: %s", code, out)
	}
}
