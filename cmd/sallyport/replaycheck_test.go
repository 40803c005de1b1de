package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/replay"
)

// recorded is a proxy whose sessions have everything in them: statements that
// pass, are masked, refused, held, planned, counted, prepared and not understood.
func recorded(t *testing.T) *holding {
	t.Helper()
	h := startHolding(t, checkPolicy)
	ctx := context.Background()
	c := h.client(t)
	for _, way := range []string{"simple", "prepared"} {
		for _, text := range []string{
			"SELECT id, email, ssn FROM customers WHERE id = 7", "SELECT id FROM customers WHERE email = 'somebody@example.com'",
			"SELECT id FROM customers WHERE ssn = '1'", "DELETE FROM orders", "DELETE FROM orders WHERE id = -1", "SELECT * FROM orders WHERE id < 5",
			"SELECT * FROM orders", "SELECT FROM WHERE", "UPDATE customers SET email = 'a***@example.com' WHERE id = 3", "BEGIN", "SELECT 1 / 0", "ROLLBACK",
			"SELECT count(*) FROM customers WHERE email = 'x@example.com'", "DROP TABLE orders", "SET search_path = public",
		} {
			_ = execute(ctx, c.Conn, way, text)
		}
	}
	for _, id := range []int{1, 2} {
		if _, err := c.Exec(ctx, "SELECT email FROM customers WHERE id = $1 AND email <> $2", id, "q@example.com"); err != nil {
			t.Fatal(err)
		}
	}
	if err := execute(ctx, c.Conn, "simple", "COPY (SELECT email FROM customers WHERE id < 10) TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	other := h.client(t)
	if _, err := other.Query(ctx, "SELECT email FROM customers", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.code <- <-h.code
	return h
}

// agrees decides all that the proxy has recorded again, under its policy: each
// decision must be the live one.
func (p *testProxy) agrees(t *testing.T) {
	t.Helper()
	code, out := runMain(t, "replay", "check", "--config", p.config, "--policy", filepath.Join(p.dir, "policy.yaml"), "--format", "json")
	var c replay.Checked
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatalf("exit %d: %v\n%s", code, err, out)
	}
	for _, g := range c.Groups {
		if g.Change != replay.Undecidable {
			t.Errorf("live and replay disagree: %s, %s: %s → %s %s", g.Change, g.Shape, g.Example.Before, g.Example.After, g.Example.Why)
		}
	}
	t.Logf("%d statements of %d sessions were decided again: %d unchanged, %d undecidable", c.Statements, c.Sessions, c.Unchanged, c.Counts[replay.Undecidable])
}

const checkPolicy = `version: 1
classes: {email: {mask: partial}, ssn: {mask: redact, compare: none}}
columns: [{class: email, match: ["*.email"]}, {class: ssn, match: ["*.ssn"]}]
rules:
  - {name: unfiltered, when: 'stmt.action in ["update", "delete"] && !stmt.filtered', then: deny}
  - {name: no-ddl, when: 'stmt.destructive', then: deny}
  - {name: large, when: 'stmt.action == "read" && plan.rows > 10000', then: deny}
  - {name: busy, when: 'session.rows_read > 100000 || now < session.started', then: deny}
budgets: [{classes: [email], rows: 100, per: 1h}]
`

// TestReplayAgrees: the same policy decides every recorded statement as it was
// decided live, and another policy's differences are found.
func TestReplayAgrees(t *testing.T) {
	t.Parallel()
	h := recorded(t)
	check := func(policy string, args ...string) (int, *replay.Checked, string) {
		t.Helper()
		path := h.write(t, "new.yaml", policy)
		code, out := runMain(t, append([]string{"replay", "check", "--config", h.config, "--policy", path, "--format", "json"}, args...)...)
		var c replay.Checked
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return code, &c, out
	}
	code, same, out := check(checkPolicy)
	if same.Statements < 30 || same.Sessions != 2 || same.Unchanged+same.Counts[replay.Undecidable] != same.Statements {
		t.Errorf("exit %d, live and replay disagree: %s", code, out)
	}
	if n := same.Counts[replay.Undecidable]; n > 2 { // the masked value written back, whose words the record hides
		t.Errorf("%d statements are undecidable: %s", n, out)
	}
	for name, x := range map[string]struct {
		policy string
		change replay.Change
		shape  string
	}{
		"a rule more":     {strings.Replace(checkPolicy, "budgets:", "  - {name: filtered-too, when: 'stmt.action == \"delete\"', then: deny}\nbudgets:", 1), replay.NewlyRefused, "DELETE FROM orders WHERE id = -?"},
		"a rule less":     {strings.Replace(checkPolicy, "!stmt.filtered", "false", 1), replay.NewlyAllowed, "DELETE FROM orders"},
		"a hold":          {strings.Replace(checkPolicy, "'stmt.destructive', then: deny", "'stmt.action == \"transaction\"', then: hold", 1), replay.NewlyHeld, "BEGIN"},
		"a class more":    {strings.Replace(checkPolicy, `["*.ssn"]`, `["*.ssn", "orders.status"]`, 1), replay.MasksGained, "SELECT * FROM orders WHERE id < ?"},
		"a class less":    {strings.Replace(checkPolicy, `["*.ssn"]`, `["other.ssn"]`, 1), replay.MasksLost, "SELECT id, email, ssn FROM customers WHERE id = ?"},
		"another mask":    {strings.Replace(checkPolicy, "mask: partial", "mask: hash", 1), replay.MasksOther, "SELECT id, email, ssn FROM customers WHERE id = ?"},
		"a rule on words": {strings.Replace(checkPolicy, "'stmt.destructive'", "'stmt.text.contains(\"q\")'", 1), replay.Undecidable, "SELECT id FROM customers WHERE email = ?"},
	} {
		t.Run(name, func(t *testing.T) {
			code, got, out := check(x.policy)
			found := false
			for _, g := range got.Groups {
				found = found || g.Change == x.change && g.Shape == x.shape
			}
			if code != 3 || !found {
				t.Errorf("exit %d, no %q of %q: %s", code, x.change, x.shape, out)
			}
			if _, _, again := check(x.policy); again != out {
				t.Error("the same input gave other bytes")
			}
			known := h.write(t, "known.json", out)
			if code, left, _ := check(x.policy, "--baseline", known); code != 0 || len(left.Groups) != 0 {
				t.Errorf("with all of it known: exit %d, %+v", code, left.Groups)
			}
		})
	}
	for _, format := range replay.Formats {
		path := h.write(t, "new.yaml", strings.Replace(checkPolicy, "!stmt.filtered", "true", 1))
		code, out := runMain(t, "replay", "check", "--config", h.config, "--policy", path, "--format", format)
		if code != 3 || !strings.Contains(out, "DELETE FROM orders") || strings.Contains(out, "somebody@example.com") {
			t.Errorf("%s: exit %d\n%s", format, code, out)
		}
		none := h.write(t, "none.yaml", checkPolicy)
		_, nothing := runMain(t, "replay", "check", "--config", h.config, "--policy", none, "--only", "newly-allowed", "--format", format)
		unmet := h.write(t, "expect.yaml", "version: 1\nexpect: [{change: newly-held, rule: nobody, count: 2}]\n")
		code, missed := runMain(t, "replay", "check", "--config", h.config, "--policy", none, "--only", "newly-allowed", "--format", format, "--expect", unmet)
		if code != 3 || !strings.Contains(missed, "expected, and did not happen: newly held by nobody") {
			t.Errorf("%s: exit %d, an expectation that is not met: %s", format, code, missed)
		}
		for _, report := range []string{out, nothing, missed} {
			switch format {
			case "sarif":
				validSARIF(t, report)
			case "junit":
				validJUnit(t, report)
			}
		}
	}
	if code, out := runMain(t, "replay", "check", "--policy", h.write(t, "new.yaml", checkPolicy), filepath.Join(h.dir, "nowhere")); code != 1 || !strings.Contains(out, "hint:") {
		t.Errorf("exit %d: %s", code, out)
	}
	if _, err := os.Stat(h.config); err != nil {
		t.Fatal(err)
	}
}
