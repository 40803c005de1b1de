package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestReplayRun runs recorded sessions on a fresh copy of their database: no
// difference; then on one in which something was planted, which is found.
func TestReplayRun(t *testing.T) {
	h := recorded(t)
	fresh := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	t.Setenv("PGPASSWORD", "backend-secret")
	target := fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", fresh.Address())
	run := func(args ...string) (int, string, string) {
		t.Helper()
		code, out := runMain(t, append([]string{"replay", "run", "--config", h.config, "--target", target, "--json"}, args...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return code, out, lines[len(lines)-1]
	}
	code, out, sum := run()
	var s struct {
		Sessions, Statements, Differences int
		Skipped                           map[string]int
	}
	if err := json.Unmarshal([]byte(sum), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if code != 0 || s.Differences != 0 || s.Sessions != 2 || s.Statements < 10 || s.Skipped["refused"] == 0 || s.Skipped["it writes"] == 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	before := sql(t, fresh, "shop", "SELECT count(*), sum(id) FROM orders")
	if code, out, _ := run("--writes", "--rollback"); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	if after := sql(t, fresh, "shop", "SELECT count(*), sum(id) FROM orders"); after != before {
		t.Errorf("--rollback left %s where %s was", after, before)
	}
	for _, x := range []struct{ plant, what string }{
		{"UPDATE orders SET status = 'planted' WHERE id = 3", "values: row "},
		{"DELETE FROM orders WHERE id = 4", "tag"},
		{"ALTER TABLE orders RENAME TO gone", "error"},
	} {
		sql(t, fresh, "shop", x.plant)
		if code, out, _ := run(); code != 3 || !strings.Contains(out, `"what":"`+x.what) {
			t.Errorf("%s: exit %d: %s", x.plant, code, out)
		}
	}
	sql(t, fresh, "shop", "ALTER TABLE gone RENAME TO orders")
	if code, out := runMain(t, "replay", "run", "--config", h.config, "--target", target); code != 3 || !strings.Contains(out, "MEDIAN THEN") || !strings.Contains(out, "tag: recorded SELECT 4, now SELECT 3") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, out, _ := run("--target", "postgres://nobody@127.0.0.1:1/none"); code != 1 || !strings.Contains(out, "hint: is --target") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestReplayRunWrites runs two sessions that write and read the same rows, each
// in its turn, again on a fresh copy: each sees what it saw. Through the proxy
// the masked columns are the same, too.
func TestReplayRunWrites(t *testing.T) {
	const schema = "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int); INSERT INTO accounts SELECT n, 'o' || n, 100 FROM generate_series(1, 300) n;"
	s := startPostgreSQL(t, throwaway.Options{}, schema)
	port := freePort(t)
	upstream := fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())
	p := startProxy(t, "version: 1\nclasses: {name: {mask: hash}}\ncolumns: [{class: name, match: [accounts.owner]}]\nrecord: {rows: 5, hash: true}\n",
		target{name: "shop", port: port, password: "backend-secret", upstream: upstream})
	proxied := fmt.Sprintf("host=127.0.0.1 port=%d user=ana password=ana-secret dbname=shop sslmode=disable", port)
	a, b := connect(t, proxied), connect(t, proxied)
	for i := range 20 {
		must(t, a, fmt.Sprintf("UPDATE accounts SET balance = balance + %d WHERE id = 1", i))
		must(t, b, "SELECT balance FROM accounts WHERE id = 1")
		must(t, b, "BEGIN")
		must(t, b, fmt.Sprintf("UPDATE accounts SET balance = balance * 2 WHERE id = %d", i+2))
		must(t, a, fmt.Sprintf("SELECT balance FROM accounts WHERE id = %d", i+2)) // not committed yet
		must(t, b, "COMMIT")
		must(t, a, "SELECT id, balance FROM accounts ORDER BY id")
		must(t, a, "SELECT id, owner FROM accounts ORDER BY id")
	}
	p.stop()
	p.code <- <-p.code
	t.Setenv("PGPASSWORD", "backend-secret")
	run := func(want int, says, target string, args ...string) {
		t.Helper()
		code, out := runMain(t, append([]string{"replay", "run", "--config", p.config, "--target", target}, args...)...)
		if code != want || !strings.Contains(out, says) {
			t.Errorf("exit %d, want %d and %q: %s", code, want, says, out)
		}
	}
	direct := func() string {
		fresh := startPostgreSQL(t, throwaway.Options{}, schema)
		return fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", fresh.Address())
	}
	first := direct()
	run(0, " 0 differences", first, "--writes", "--speed", "1000")
	run(3, "values: row ", first, "--writes") // it was run already
	run(0, "60 results compared whole, 0 differences", direct(), "--writes")
	run(1, "2 sessions overlapped, 1 may run at once", first, "--sessions", "1")

	// Past the fifth row only the hash tells.
	planted := startPostgreSQL(t, throwaway.Options{}, schema, "UPDATE accounts SET balance = 7 WHERE id = 250;")
	run(3, "hash: recorded ", fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", planted.Address()), "--writes")

	// Through a proxy with the same policy and keys.
	again := startPostgreSQL(t, throwaway.Options{}, schema)
	config := strings.ReplaceAll(readFile(t, p.config), s.Address(), again.Address())
	p.write(t, "sallyport.yaml", config+"storage: {transcripts: \"file:./var/again\"}\n")
	p.serve(t)
	t.Setenv("PGPASSWORD", "ana-secret")
	served := p.config
	p.config = p.write(t, "first.yaml", config)
	run(0, "80 results compared whole, 0 differences", proxied, "--writes", "--masked")
	p.config = served
}

// TestReplayRunReads: without --writes nothing can be written, whatever a
// session says of its transactions.
func TestReplayRunReads(t *testing.T) {
	const schema = "CREATE TABLE counts (n int); CREATE FUNCTION count_up() RETURNS bigint LANGUAGE sql VOLATILE AS 'INSERT INTO counts VALUES (1) RETURNING 1::bigint';"
	s := startPostgreSQL(t, throwaway.Options{}, schema)
	port := freePort(t)
	p := startProxy(t, "version: 1\nfunctions: [public.count_up]\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	c := connect(t, fmt.Sprintf("host=127.0.0.1 port=%d user=ana password=ana-secret dbname=shop sslmode=disable", port))
	for _, text := range []string{"SELECT count_up()", "BEGIN READ WRITE", "SELECT count_up()", "COMMIT", "BEGIN", "SET TRANSACTION READ WRITE", "SELECT count_up()", "COMMIT",
		"SET default_transaction_read_only = off", "SELECT count_up()", "SELECT set_config('default_transaction_read_only', 'off', false)", "SELECT count_up()", "RESET ALL", "SELECT count_up()"} {
		_ = execute(t.Context(), c, "simple", text)
	}
	p.stop()
	p.code <- <-p.code
	before := sql(t, s, "shop", "SELECT count(*) FROM counts")
	if strings.TrimSpace(before) == "0" {
		t.Fatal("nothing was written when it was recorded")
	}
	t.Setenv("PGPASSWORD", "backend-secret")
	code, out := runMain(t, "replay", "run", "--config", p.config, "--target", fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address()))
	if after := sql(t, s, "shop", "SELECT count(*) FROM counts"); after != before {
		t.Errorf("%s rows where %s were: exit %d: %s", after, before, code, out)
	}
	if code != 3 || !strings.Contains(out, "error: recorded none, now 25006") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestReplayRunDemo runs the demo's recorded sessions on a fresh copy of the
// demo's database, of the version that they were recorded on: there is no
// difference.
func TestReplayRunDemo(t *testing.T) {
	fresh := startPostgreSQL(t, throwaway.Options{Vector: true}, readFile(t, filepath.Join("demo", "shop.sql")))
	t.Setenv("PGPASSWORD", "backend-secret")
	target := fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", fresh.Address())
	demo := filepath.Join("..", "..", "testdata", "transcripts", "demo")
	for _, args := range [][]string{{}, {"--writes", "--rollback"}, {"--writes"}} {
		code, out := runMain(t, append([]string{"replay", "run", "--target", target, demo}, args...)...)
		if code != 0 || !strings.Contains(out, "6 sessions, ") || !strings.Contains(out, " 0 differences") {
			t.Errorf("%q: exit %d: %s", args, code, out)
		}
		t.Log(out)
	}
	sql(t, fresh, "shop", "UPDATE orders SET status = 'planted' WHERE id = 118")
	if code, out := runMain(t, "replay", "run", "--target", target, demo); code != 3 || !strings.Contains(out, "now planted") {
		t.Errorf("exit %d: %s", code, out)
	}
}
