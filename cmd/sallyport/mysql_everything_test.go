package main

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
	"github.com/sallyport-proxy/sallyport/replay"
)

// myHoldPolicy holds every read of orders without a limit.
const myHoldPolicy = `version: 1
classes: {c: {mask: partial, compare: equality}}
columns: [{class: c, match: ['customers.email']}]
rules:
  - name: bulk
    when: stmt.action == "read" && stmt.objects.exists(o, o.endsWith(".orders")) && !stmt.limited
    then: hold
    reason: bulk reads are looked at
    approvers: {groups: [dba], count: 1, within: 1m}
`

// startMyHolding is startHolding before a MariaDB.
func startMyHolding(t *testing.T, policy string) (h *holding, database string) {
	t.Helper()
	s, database, port, p := startMySQL(t, policy)
	return &holding{p, s, port}, database
}

// errNumber is the number of a server's error, 0 for others.
func errNumber(err error) uint16 {
	var e *driver.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// startHeld runs a statement that will be held and returns the hold: MySQL's
// protocol cannot tell the client of it.
func (h *holding) startHeld(t *testing.T, c *stdsql.Conn, text string, args ...any) (id string, end chan error) {
	t.Helper()
	end = make(chan error, 1)
	known := h.waiting(t)
	go func() { _, err := c.ExecContext(context.Background(), text, args...); end <- err }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		for id := range h.waiting(t) {
			if !known[id] {
				return id, end
			}
		}
		select {
		case err := <-end:
			t.Fatalf("%s was not held: %v", text, err)
		default:
		}
	}
	t.Fatal("neither held nor ended")
	return "", nil
}

func (h *holding) waiting(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for line := range strings.Lines(h.approvals(t, 0, "list", "--json")) {
		var one approval.Hold
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if one.State == approval.Waiting {
			out[one.ID] = true
		}
	}
	return out
}

// TestMySQLHolds: a held statement waits with its connection, passes once
// granted and only as it was, and ends with whoever ends it.
func TestMySQLHolds(t *testing.T) {
	h, database := startMyHolding(t, myHoldPolicy)
	c := oneMySQL(t, h.port, database, "")
	const text = "SELECT * FROM orders WHERE id > ?"
	id, end := h.startHeld(t, c, text, 1)
	h.approvals(t, 0, "approve", "--as", "dana", id)
	if err := awaitEnd(t, end); err != nil {
		t.Errorf("granted: %v", err)
	}
	id, end = h.startHeld(t, c, text, 1) // used once
	h.approvals(t, 0, "deny", "--as", "dana", "--reason", "not today", id)
	if err := awaitEnd(t, end); errNumber(err) != 1227 || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "not today") {
		t.Errorf("denied: %v", err)
	}
	for _, again := range []struct {
		before string
		arg    any
	}{{"", 2}, {"SET sql_mode = 'ANSI_QUOTES'", 1}} {
		if again.before != "" {
			execMySQL(t, c, again.before)
		}
		id, end := h.startHeld(t, c, text, again.arg)
		h.approvals(t, 0, "deny", "--as", "dana", id)
		if err := awaitEnd(t, end); errNumber(err) != 1227 {
			t.Errorf("%v: %v", again, err)
		}
	}
	t.Run("KILL QUERY by another session of the identity", func(t *testing.T) {
		var number int
		if err := c.QueryRowContext(context.Background(), "SELECT CONNECTION_ID()").Scan(&number); err != nil {
			t.Fatal(err)
		}
		id, end := h.startHeld(t, c, "SELECT * FROM orders")
		execMySQL(t, oneMySQL(t, h.port, database, ""), fmt.Sprintf("KILL QUERY %d", number))
		if err := awaitEnd(t, end); errNumber(err) != 1317 {
			t.Errorf("%v", err)
		}
		if got := h.hold(t, id); got.State != approval.Cancelled {
			t.Errorf("the hold is %s", got.State)
		}
		execMySQL(t, c, "DO 1") // the session goes on
	})
	t.Run("the client goes away", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		gone := oneMySQL(t, h.port, database, "")
		known := h.waiting(t)
		end := make(chan error, 1)
		go func() { _, err := gone.ExecContext(ctx, "SELECT * FROM orders"); end <- err }()
		id := ""
		for id == "" {
			for k := range h.waiting(t) {
				if !known[k] {
					id = k
				}
			}
		}
		from := len(h.stderr.tail(1 << 20))
		cancel()
		<-end
		h.stderr.await(t, from, "session ended")
		if got := h.hold(t, id); got.State != approval.Cancelled {
			t.Errorf("the hold is %s", got.State)
		}
	})
	t.Run("in a transaction", func(t *testing.T) {
		execMySQL(t, c, "START TRANSACTION", "INSERT INTO orders (customer, total) VALUES (1, 77)")
		id, end := h.startHeld(t, c, "SELECT * FROM orders")
		h.approvals(t, 0, "deny", "--as", "dana", id)
		if err := awaitEnd(t, end); errNumber(err) != 1227 {
			t.Errorf("%v", err)
		}
		execMySQL(t, c, "COMMIT") // the transaction stays
		if got := printed(c, "SELECT COUNT(*) FROM orders WHERE total = 77 LIMIT 1"); got != "1|" {
			t.Errorf("after COMMIT: %s", got)
		}
	})
	t.Run("the schema changes", func(t *testing.T) {
		id, end := h.startHeld(t, c, "SELECT * FROM orders")
		throwtest.SQL(t, h.server, database, "ALTER TABLE orders ADD COLUMN more INT")
		h.approvals(t, 0, "approve", "--as", "dana", id)
		again := ""
		for again == "" {
			for k := range h.waiting(t) {
				again = k
			}
		}
		if again == id {
			t.Error("the grant was good for another table than it was given for")
		}
		h.approvals(t, 0, "deny", "--as", "dana", again)
		if err := awaitEnd(t, end); errNumber(err) != 1227 {
			t.Errorf("%v", err)
		}
	})
	t.Run("the session is killed", func(t *testing.T) {
		id, end := h.startHeld(t, c, "SELECT * FROM orders")
		if code, out := runMain(t, "sessions", "kill", "--config", h.config, h.hold(t, id).Session); code != 0 {
			t.Fatal(out)
		}
		if err := awaitEnd(t, end); err == nil {
			t.Error("it passed")
		}
	})
}

// TestMySQLPlan asks the planner, as text and prepared, in transactions and
// between other statements.
func TestMySQLPlan(t *testing.T) {
	h, database := startMyHolding(t, planPolicy)
	throwtest.SQL(t, h.server, database, `CREATE TABLE wide (id INT PRIMARY KEY, k INT, v VARCHAR(20));
		INSERT INTO wide SELECT seq, seq % 10, CONCAT('v', seq) FROM mysql.seq_1_to_50000; ANALYZE TABLE wide;`)
	ctx := context.Background()
	for _, options := range []string{"", "?interpolateParams=true"} {
		c := oneMySQL(t, h.port, database, options)
		for _, q := range []struct {
			text    string
			args    []any
			refused bool
		}{
			{"SELECT * FROM wide", nil, true},
			{"SELECT * FROM wide WHERE id = 7", nil, false},
			{"SELECT * FROM wide WHERE id = ?", []any{7}, false},
			{"SELECT * FROM wide WHERE id < ?", []any{10}, false},
			{"SELECT * FROM wide WHERE id < ?", []any{49000}, true},
			{"SELECT COUNT(*) FROM wide", nil, false},
			{"SELECT * FROM wide LIMIT 10", nil, false},
			{"WITH x AS (SELECT * FROM wide) SELECT * FROM x", nil, true},
			{"SELECT 1", nil, false},
		} {
			rows, err := c.QueryContext(ctx, q.text, q.args...)
			if err == nil {
				got := allOf(rows)
				if q.refused {
					t.Errorf("%s %v passed with %d bytes", q.text, q.args, len(got))
				}
			} else if !q.refused || errNumber(err) != 1227 {
				t.Errorf("%s %v: %v", q.text, q.args, err)
			}
		}
		execMySQL(t, c, "START TRANSACTION", "SELECT * FROM wide WHERE id = 8")
		if _, err := c.ExecContext(ctx, "SELECT * FROM wide"); errNumber(err) != 1227 {
			t.Errorf("in a transaction: %v", err)
		}
		execMySQL(t, c, "SELECT * FROM wide WHERE id = 9", "ROLLBACK")
	}
	c := oneMySQL(t, h.port, database, "?multiStatements=true")
	execMySQL(t, c, "SELECT 1; SELECT * FROM wide WHERE id = 5")
	if _, err := c.ExecContext(ctx, "UPDATE wide SET v = v WHERE id = 1; SELECT * FROM wide WHERE id = 5"); errNumber(err) != 1227 {
		t.Errorf("what follows a write has no known plan: %v", err)
	}
}

// TestMySQLBudgets counts rows over statements and sessions, and stops a
// result in its midst.
func TestMySQLBudgets(t *testing.T) {
	h, database := startMyHolding(t, `version: 1
classes: {c: {mask: partial, compare: equality}}
columns: [{class: c, match: ['many.secret']}]
budgets: [{classes: [c], rows: 1000, per: 1h, then: deny}]
`)
	throwtest.SQL(t, h.server, database, "CREATE TABLE many (id INT PRIMARY KEY, secret VARCHAR(20)); INSERT INTO many SELECT seq, CONCAT('secret', seq) FROM mysql.seq_1_to_5000;")
	read := func(c *stdsql.Conn, text string) (n int, err error) {
		rows, err := c.QueryContext(context.Background(), text)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}
	c, other := oneMySQL(t, h.port, database, ""), oneMySQL(t, h.port, database, "")
	if n, err := read(c, "SELECT id FROM many"); n != 5000 || err != nil {
		t.Fatalf("what has no class: %d %v", n, err)
	}
	if n, err := read(c, "SELECT secret FROM many ORDER BY id LIMIT 300"); n != 300 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	if n, err := read(other, "SELECT secret FROM many ORDER BY id"); n != 700 || errNumber(err) != 1226 {
		t.Errorf("%d rows, %v; want 700 and a stop", n, err)
	}
	if _, err := read(c, "SELECT secret FROM many ORDER BY id LIMIT 1"); errNumber(err) != 1227 {
		t.Errorf("a budget that is used up: %v", err)
	}
	for _, session := range []*stdsql.Conn{c, other} { // both go on
		if n, err := read(session, "SELECT id FROM many WHERE id < 3"); n != 2 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
	}
}

// TestMySQLOperations: a policy's reload counts in open sessions, a session
// is killed in mid-result, metrics count, and the record holds no constants
// that meet a class.
func TestMySQLOperations(t *testing.T) {
	h, database := startMyHolding(t, myPolicy)
	c, victim := oneMySQL(t, h.port, database, ""), oneMySQL(t, h.port, database, "")
	if _, err := c.ExecContext(context.Background(), "DROP TABLE plain"); errNumber(err) != 1227 {
		t.Errorf("%v", err)
	}
	h.write(t, "policy.yaml", "version: 1\nrules: [{name: x, when: nonsense, then: deny}]\n")
	h.stderr.await(t, 0, "reload refused")
	if _, err := c.ExecContext(context.Background(), "DROP TABLE plain"); errNumber(err) != 1227 {
		t.Errorf("a broken policy: %v", err)
	}
	h.reload(t, "version: 1\n")
	execMySQL(t, c, "DROP TABLE plain")
	h.reload(t, myPolicy)

	rows, err := victim.QueryContext(context.Background(), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT a.i, REPEAT('x', 1000) FROM n a, n b")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	_, list := runMain(t, "sessions", "list", "--config", h.config, "--live", "--json")
	for line := range strings.Lines(list) {
		var s replay.Summary
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if s.Statements == 1 {
			if code, out := runMain(t, "sessions", "kill", "--config", h.config, s.ID); code != 0 {
				t.Fatal(out)
			}
		}
	}
	n := 0
	for rows.Next() {
		n++
	}
	if rows.Err() == nil {
		t.Errorf("%d rows and no error", n)
	}
	rows.Close()

	execMySQL(t, c, "SELECT id FROM customers WHERE email = 'quite.secret@example.com'",
		"PREPARE q FROM 'SELECT id FROM customers WHERE email = \\'prepared.secret@example.com\\''", "EXECUTE q",
		"UPDATE customers SET email = 'written.secret@example.com' WHERE id = 99")
	printed(c, "SELECT id FROM customers WHERE email = 'printed.secret@example.com'")
	if _, err := c.ExecContext(context.Background(), "SELECT id FROM customers WHERE email = ?", "bound.secret@example.com"); err != nil {
		t.Error(err)
	}
	_, _ = c.ExecContext(context.Background(), "SELECT FROM customers WHERE WHERE email = 'broken.secret@example.com'")
	if got := metric(t, h, "sallyport_statements_total"); !strings.Contains(got, `target="shop"`) {
		t.Errorf("metrics: %s", got)
	}
	c.Close()
	_, list = runMain(t, "sessions", "list", "--config", h.config, "--json")
	all := ""
	for line := range strings.Lines(list) {
		var s replay.Summary
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		_, events := runMain(t, "replay", "show", "--config", h.config, "--json", s.ID)
		all += events
	}
	for _, secret := range []string{"quite.secret", "prepared.secret", "written.secret", "printed.secret", "bound.secret", "broken.secret", h.server.Password, "ana-secret"} {
		if strings.Contains(all, secret) {
			t.Errorf("the record holds %s", secret)
		}
	}
	if !strings.Contains(all, "‹hmac:") {
		t.Error("nothing was hidden")
	}
}

// metric is what /metrics says of a name.
func metric(t *testing.T, h *holding, name string) string {
	t.Helper()
	_, rest, _ := strings.Cut(readFile(t, h.config), "console: {listen: \"")
	address, _, _ := strings.Cut(rest, "\"")
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, name) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// TestMySQLKill9 kills the proxy while clients run through it: every statement
// in MariaDB's general log stands in a transcript, and they verify.
func TestMySQLKill9(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{Settings: map[string]string{"general-log": "1", "log-output": "FILE", "general-log-file": "general.log"}})
	throwtest.SQL(t, s, "mysql", "CREATE DATABASE shop")
	throwtest.SQL(t, s, "shop", "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t SELECT seq, 0 FROM mysql.seq_1_to_1000;")
	port := freePort(t)
	proxy := startProxy(t, "version: 1\n", target{name: "shop", port: port, protocol: "mysql", password: s.Password,
		upstream: fmt.Sprintf("mysql://root@%s/shop?tls=disable", s.Address())})
	proxy.stop() // startProxy wrote the files; the process to kill is a child
	proxy.code <- <-proxy.code

	cmd := serveChild(t, proxy.config)
	var clients sync.WaitGroup
	for n := range 6 {
		clients.Go(func() {
			db, err := stdsql.Open("mysql", fmt.Sprintf("ana:ana-secret@tcp(127.0.0.1:%d)/shop", port))
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			db.SetMaxOpenConns(1)
			for i := 0; err == nil; i++ {
				_, err = db.Exec(fmt.Sprintf("UPDATE t SET v = v + 1 WHERE id = %d AND v <> -%d", i%1000+1, n+1))
			}
		})
	}
	deadline := time.Now().Add(30 * time.Second)
	for len(generalLog(t, s)) < 2000 { // the event to wait for is the server's own log
		if time.Now().After(deadline) {
			t.Fatal("the statements do not arrive")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	clients.Wait()

	cmd = serveChild(t, proxy.config) // recovers what the killed one left
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the recovery serve ended with %v", err)
	}
	mustBeRecorded(t, "MariaDB", generalLog(t, s), transcriptTexts(t, proxy.config))
	if code, out := runMain(t, "replay", "verify", "--config", proxy.config); code != 0 {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
}

// generalLog are the clients' statements in the server's log, in order.
func generalLog(t *testing.T, s *throwaway.Server) (out []string) {
	t.Helper()
	b, err := os.ReadFile(s.DataDir + "/general.log")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if _, text, ok := bytes.Cut(line, []byte("\tUPDATE t SET")); ok && bytes.HasSuffix(line, []byte("\n")) {
			out = append(out, "UPDATE t SET"+strings.TrimSuffix(string(text), "\n"))
		}
	}
	return out
}

// TestMySQLRestart: the upstream goes away in mid-session and in mid-result,
// and comes back: clients are told, nothing hangs, and new sessions work.
func TestMySQLRestart(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{})
	throwtest.SQL(t, s, "mysql", "CREATE DATABASE shop")
	throwtest.SQL(t, s, "shop", myShop)
	port := freePort(t)
	p := startProxy(t, myPolicy, target{name: "shop", port: port, protocol: "mysql", password: s.Password, upstream: fmt.Sprintf("mysql://root@%s/shop?tls=disable", s.Address())})
	idle, reading := oneMySQL(t, port, "shop", ""), oneMySQL(t, port, "shop", "")
	rows, err := reading.QueryContext(context.Background(), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT a.i, REPEAT('x', 1000) FROM n a, n b")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	if err := s.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
	}
	if rows.Err() == nil {
		t.Error("half a result came without an error")
	}
	rows.Close()
	if _, err := idle.ExecContext(context.Background(), "SELECT 1"); err == nil {
		t.Error("a statement passed without an upstream")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	// Where the first statement was refused for want of a schema, its session is there
	// still; its connection to the upstream is not.
	if _, err := idle.ExecContext(context.Background(), "SELECT 1"); err == nil {
		t.Error("a statement passed by a connection that has ended")
	}
	fresh := oneMySQL(t, port, "shop", "")
	if got := printed(fresh, "SELECT email FROM customers WHERE id = 1"); got != "a***@example.org|" {
		t.Errorf("after the restart: %s", got)
	}
	awaitSessions(t, p, 1)
	if code, out := runMain(t, "replay", "verify", "--config", p.config); code != 0 {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
}
