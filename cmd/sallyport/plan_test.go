package main

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// planPolicy refuses reads that the planner expects to be large.
const planPolicy = `version: 1
classes: {c: {mask: redact, compare: equality}}
columns: [{class: c, match: ['customers.ssn']}]
rules:
  - name: large
    when: stmt.action == "read" && plan.rows > 1000
    then: deny
`

// TestPlan asks the planner wherever a statement can stand.
func TestPlan(t *testing.T) {
	t.Parallel()
	h := startHolding(t, planPolicy)
	sql(t, h.server, "shop", `CREATE TABLE wide AS SELECT i AS id, i % 10 AS k, 'v' || i AS v FROM generate_series(1, 50000) i;
		CREATE INDEX ON wide (id); ANALYZE wide; GRANT ALL ON wide TO backend;
		CREATE FUNCTION mine(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE NOTICE ''planned''; RETURN $1; END';`)
	ctx := context.Background()
	c := h.client(t)
	for _, way := range []string{"simple", "prepared"} {
		run := func(text string) error { return execute(ctx, c.Conn, way, text) }
		for text, refused := range map[string]bool{
			"SELECT * FROM wide":                             true,
			"SELECT * FROM wide WHERE id = 7":                false,
			"SELECT count(*) FROM wide":                      false, // one row leaves
			"SELECT * FROM wide LIMIT 10":                    false,
			"WITH x AS (SELECT * FROM wide) SELECT * FROM x": true,
			"SELECT 1": false,
			"INSERT INTO wide SELECT id + 100000, k, v FROM wide WHERE id < 5": false,
			"SELECT * FROM wide WHERE id = mine(7)":                            true, // planning would run it: not asked
		} {
			err := run(text)
			if refused {
				wantRefusal(t, err)
			} else if err != nil {
				t.Errorf("%s, %s: %v", way, text, err)
			}
		}
		// A transaction can still be made serializable before its first statement.
		must(t, c.Conn, "BEGIN")
		must(t, c.Conn, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
		if err := run("SELECT * FROM wide WHERE id = 8"); err != nil {
			t.Errorf("%s, in a transaction: %v", way, err)
		}
		// A planner that refuses does not fail the transaction by itself; the
		// plan is then unknown, which counts as large.
		// In a pipeline the statement's own error comes at once.
		if err := run("SELECT v::int FROM wide WHERE id = 1/0"); way == "simple" {
			wantRefusal(t, err)
		} else if !hasCode(err, "22012") {
			t.Errorf("%s, a planner that refuses: %v", way, err)
		}
		if got := c.PgConn().TxStatus(); got != 'E' {
			t.Errorf("%s: status %c after a refusal", way, got)
		}
		// In a failed transaction nothing is asked and nothing runs.
		if err := run("SELECT * FROM wide"); !hasCode(err, "25P02") {
			t.Errorf("%s, in a failed transaction: %v", way, err)
		}
		must(t, c.Conn, "ROLLBACK")
		// Temporary tables and settings are those of the session.
		must(t, c.Conn, "CREATE TEMP TABLE mine_"+way+" (i int)")
		must(t, c.Conn, "INSERT INTO mine_"+way+" SELECT i FROM generate_series(1, 20000) i")
		must(t, c.Conn, "ANALYZE mine_"+way)
		wantRefusal(t, run("SELECT * FROM mine_"+way))
	}
	select {
	case n := <-c.notices:
		t.Errorf("planning ran user code: %s", n)
	default:
	}
	// Parameters count: the plan is that of the values.
	for id, refused := range map[int]bool{10: false, 49000: true} {
		rows, err := c.Query(ctx, "SELECT * FROM wide WHERE id < $1", id)
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		if refused {
			wantRefusal(t, err)
		} else if err != nil {
			t.Errorf("id < %d: %v", id, err)
		}
	}
	// In a pipeline, between other statements.
	b := &pgx.Batch{}
	b.Queue("SELECT 1")
	b.Queue("SELECT * FROM wide WHERE id = 3")
	b.Queue("UPDATE wide SET v = v WHERE id = 3")
	b.Queue("SELECT * FROM wide WHERE id = 4")
	if err := c.SendBatch(ctx, b).Close(); err != nil {
		t.Errorf("pipeline: %v", err)
	}
	b = &pgx.Batch{}
	b.Queue("UPDATE wide SET v = 'lost' WHERE id = 3")
	b.Queue("SELECT * FROM wide")
	wantRefusal(t, c.SendBatch(ctx, b).Close())
	if got := sql(t, h.server, "shop", "SELECT v FROM wide WHERE id = 3"); strings.TrimSpace(got) == "lost" {
		t.Error("half of a pipeline was committed")
	}
	// A text of several statements: the second cannot be planned before the
	// first has run, unless that only reads.
	if err := execute(ctx, c.Conn, "simple", "SELECT 1; SELECT * FROM wide WHERE id = 5"); err != nil {
		t.Error(err)
	}
	wantRefusal(t, execute(ctx, c.Conn, "simple", "UPDATE wide SET v = v WHERE id = 1; SELECT * FROM wide WHERE id = 5"))
	wantRefusal(t, execute(ctx, c.Conn, "simple", "COPY wide TO STDOUT"))
	wantRefusal(t, execute(ctx, c.Conn, "simple", "COPY (SELECT * FROM wide) TO STDOUT"))
	if err := execute(ctx, c.Conn, "simple", "COPY (SELECT * FROM wide WHERE id = 1) TO STDOUT"); err != nil {
		t.Error(err)
	}
	must(t, c.Conn, "PREPARE p AS SELECT * FROM wide WHERE id < $1")
	must(t, c.Conn, "EXECUTE p(5)")
	wantRefusal(t, execute(ctx, c.Conn, "simple", "EXECUTE p(49000)"))
	must(t, c.Conn, "BEGIN")
	wantRefusal(t, execute(ctx, c.Conn, "simple", "DECLARE k CURSOR FOR SELECT * FROM wide"))
	must(t, c.Conn, "ROLLBACK")
}

// TestBudgets counts rows over statements, sessions and restarts, and stops a
// result in its midst.
func TestBudgets(t *testing.T) {
	t.Parallel()
	h := startHolding(t, `version: 1
classes: {c: {mask: partial, compare: equality}}
columns: [{class: c, match: ['many.secret']}]
budgets:
  - {classes: [c], rows: 1000, per: 1h, then: deny}
  - {classes: [c], groups: [analyst], bytes: 100000000, per: 1h, then: hold, approvers: {groups: [dba]}}
`)
	sql(t, h.server, "shop", "CREATE TABLE many AS SELECT i AS id, 'secret' || i AS secret FROM generate_series(1, 5000) i; GRANT ALL ON many TO backend")
	ctx := context.Background()
	read := func(c *client, text string) (n int, err error) {
		rows, err := c.Query(ctx, text)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}
	c := h.client(t)
	if n, err := read(c, "SELECT id FROM many"); n != 5000 || err != nil {
		t.Fatalf("what has no class: %d %v", n, err)
	}
	if n, err := read(c, "SELECT secret FROM many LIMIT 300"); n != 300 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	if n, err := read(c, "SELECT count(*) FROM many WHERE secret = 'secret7'"); n != 1 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	other := h.client(t)
	if n, err := read(other, "SELECT secret FROM many"); n != 699 || !hasCode(err, "53400") {
		t.Errorf("%d rows, %v; want 699 and a stop", n, err)
	}
	if _, err := read(c, "SELECT secret FROM many LIMIT 1"); !hasCode(err, "42501") || !strings.Contains(err.Error(), "SELECT refused by policy") {
		t.Errorf("a budget that is used up: %v", err)
	}
	must(t, c.Conn, "SELECT 1")
	h.stop()
	code := <-h.code
	h.code <- code
	h.serve(t)
	c = h.client(t)
	if _, err := read(c, "SELECT secret FROM many LIMIT 1"); !hasCode(err, "42501") {
		t.Errorf("after a restart: %v", err)
	}
	if n, err := read(c, "SELECT id FROM many"); n != 5000 || err != nil {
		t.Errorf("what has no class: %d %v", n, err)
	}
}

// TestBudgetHeld: beyond a budget people can let pass a statement, whole.
func TestBudgetHeld(t *testing.T) {
	t.Parallel()
	h := startHolding(t, `version: 1
classes: {c: {mask: partial}}
columns: [{class: c, match: ['many.secret']}]
budgets: [{classes: [c], bytes: 2000, per: 1h, then: hold, approvers: {groups: [dba]}}]
`)
	sql(t, h.server, "shop", "CREATE TABLE many AS SELECT i AS id, 'secret' || i AS secret FROM generate_series(1, 5000) i; GRANT ALL ON many TO backend")
	c := h.client(t)
	if _, err := c.Exec(context.Background(), "SELECT secret FROM many"); !hasCode(err, "53400") {
		t.Errorf("%v", err)
	}
	id, end := c.start(t, "SELECT secret FROM many")
	h.approvals(t, 0, "approve", "--as", "dana", id)
	if err := awaitEnd(t, end); err != nil {
		t.Error(err)
	}
}

// TestBudgetTellsNoSizes: rows are counted as they are sent, so that a budget
// of bytes stops at the same row whatever the masked values are.
func TestBudgetTellsNoSizes(t *testing.T) {
	t.Parallel()
	h := startHolding(t, `version: 1
classes: {c: {mask: redact}, d: {mask: redact}}
columns: [{class: c, match: ['short.secret']}, {class: d, match: ['long.secret']}]
budgets:
  - {classes: [c], bytes: 5000, per: 1h, then: deny}
  - {classes: [d], bytes: 5000, per: 1h, then: deny}
`)
	sql(t, h.server, "shop", `CREATE TABLE short AS SELECT i AS id, 'x' AS secret FROM generate_series(1, 1000) i; GRANT ALL ON short TO backend;
		CREATE TABLE long AS SELECT i AS id, repeat('y', i % 300) AS secret FROM generate_series(1, 1000) i; GRANT ALL ON long TO backend`)
	var got []int
	for _, text := range []string{"SELECT secret FROM short ORDER BY id", "SELECT secret FROM long ORDER BY id"} {
		rows, err := h.client(t).Query(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		if !hasCode(rows.Err(), "53400") {
			t.Errorf("%s: %v", text, rows.Err())
		}
		got = append(got, n)
	}
	if got[0] != got[1] || got[0] == 0 {
		t.Errorf("stopped after %d rows", got)
	}
}
