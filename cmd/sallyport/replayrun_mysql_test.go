package main

import (
	stdsql "database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// myRun is what sessions are recorded on, and copies of it are made of.
const myRun = myShop + `
CREATE TABLE kinds (id INT PRIMARY KEY, f FLOAT, d DOUBLE, n DECIMAL(20,8), u BIGINT UNSIGNED, t TINYINT, y YEAR, day DATE, at DATETIME(6), span TIME(3), j JSON, b VARBINARY(20), bits BIT(9), e ENUM('a','b'));
INSERT INTO kinds VALUES (1, 0.1, 0.1, 1.5, 18446744073709551615, -7, 2026, '2026-11-25', '2026-11-25 01:02:03.000004', '-12:34:56.789', '{"a": 1}', X'00ff27', b'101', 'a'),
  (2, 16777217, 1e300, -0.00000001, 0, 127, 1999, '0001-01-01', '1000-01-01 00:00:00', '838:59:59', '[]', '', b'0', 'b'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE numbers (n INT PRIMARY KEY); INSERT INTO numbers SELECT seq FROM seq_1_to_400;
CREATE TABLE counts (n INT);
DELIMITER //
CREATE PROCEDURE two() BEGIN SELECT id FROM orders ORDER BY id; SELECT name, total FROM totals ORDER BY name; END //
DELIMITER ;
`

const myRunPolicy = `version: 1
classes:
  email: {mask: hash}
columns:
  - {class: email, match: ["*.email"]}
functions: [DATABASE.two]
record: {rows: 5, hash: true}
rules:
  - {name: no-drop, when: 'stmt.destructive', then: deny, reason: Not here.}
`

// recordMySQL has two clients do what clients do, texts and prepared statements of every type, reads, writes and errors.
func recordMySQL(t *testing.T, port int, database string) {
	t.Helper()
	dial := func(options string) *stdsql.DB {
		db, err := stdsql.Open("mysql", fmt.Sprintf("ana:ana-secret@tcp(127.0.0.1:%d)/%s?%s", port, database, options))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		db.SetMaxOpenConns(1)
		return db
	}
	a, b := dial("multiStatements=true"), dial("clientFoundRows=true&collation=utf8mb4_bin")
	drain := func(db *stdsql.DB, fails bool, text string, args ...any) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), text, args...)
		if err == nil {
			for more := true; more; more = rows.NextResultSet() {
				for rows.Next() {
				}
			}
			err = rows.Err()
			rows.Close()
		}
		if (err != nil) != fails {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"SELECT * FROM kinds ORDER BY id", "SELECT n FROM numbers ORDER BY n", "SELECT id, name, email FROM customers ORDER BY id", "SELECT 1 AS a; SELECT 2.50, NULL, 'x''y?'",
		"CALL two()", "SHOW TABLES", "DESCRIBE orders", "SET @x = 3", "SELECT @x + 1", "SELECT f * 3, d / 7 FROM kinds WHERE id = 1",
	} {
		drain(a, false, text)
	}
	for _, text := range []string{"SELECT nothing FROM orders", "DROP TABLE orders", "SELEC 1", "SELECT * FROM nowhere"} {
		drain(a, true, text)
	}
	for _, db := range []*stdsql.DB{a, b} {
		drain(db, false, "SELECT * FROM kinds WHERE id > ? ORDER BY id", 0)
		drain(db, false, "SELECT n FROM numbers WHERE n BETWEEN ? AND ? AND n <> ? ORDER BY n", int64(3), uint64(300), 7.5)
		drain(db, false, "SELECT id, email FROM customers WHERE name = ? OR note = ? ORDER BY id", "Łucja", []byte("fir'st"))
		drain(db, false, "SELECT ?, ?, ?, ?", nil, "it's \\ a ?", []byte{0, 0xff, 39}, -1)
		drain(db, false, "SELECT id FROM kinds WHERE day = ?", "2026-11-25")
		drain(db, false, "UPDATE orders SET total = ? WHERE id = 1", "10.50") // found, and not changed
		drain(db, false, "UPDATE customers SET note = ? WHERE id = 2", "n")   // the second time not changed: classed
		drain(db, false, "START TRANSACTION")
		drain(db, false, "INSERT INTO orders (customer, total) VALUES (?, ?)", 2, "5.25")
		drain(db, false, "SELECT COUNT(*) FROM orders WHERE id < 4") // reads alone find the same
		drain(db, false, "ROLLBACK")
		drain(db, true, "INSERT INTO plain VALUES (?)", 1)
		drain(db, false, "DELETE FROM plain WHERE id = ?", 77)
	}
}

// TestReplayRunMySQL runs sessions of MariaDB again on fresh copies of their database: nothing differs, past the proxy
// and through it; and what was planted is found.
func TestReplayRunMySQL(t *testing.T) {
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, port := throwtest.Database(t, s, myRun), freePort(t)
	p := startProxy(t, strings.ReplaceAll(myRunPolicy, "DATABASE", database), target{name: "shop", port: port, protocol: "mysql", upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	recordMySQL(t, port, database)
	p.stop()
	p.code <- <-p.code
	t.Setenv("MYSQL_PWD", s.Password)
	run := func(want int, says, database string, args ...string) string {
		t.Helper()
		target := fmt.Sprintf("mysql://root@%s/%s", s.Address(), database)
		code, out := runMain(t, append([]string{"replay", "run", "--config", p.config, "--target", target}, args...)...)
		if code != want || !strings.Contains(out, says) {
			t.Errorf("exit %d, want %d and %q: %s", code, want, says, out)
		}
		return out
	}
	fresh := func(more ...string) string { return throwtest.Database(t, s, append([]string{myRun}, more...)...) }
	t.Log(run(0, " 0 differences", fresh(), "--writes"))
	copied := fresh()
	before := throwtest.SQL(t, s, copied, "SELECT COUNT(*), SUM(id), SUM(total) FROM orders; SELECT note FROM customers ORDER BY id")
	t.Log(run(0, " 0 differences", copied))
	run(0, " 0 differences", copied, "--writes", "--rollback")
	if after := throwtest.SQL(t, s, copied, "SELECT COUNT(*), SUM(id), SUM(total) FROM orders; SELECT note FROM customers ORDER BY id"); after != before {
		t.Errorf("left %s where %s was", after, before)
	}
	for _, x := range []struct{ plant, says string }{
		{"UPDATE kinds SET f = 0.2 WHERE id = 1", "values: row 1, f: recorded 0.1, now 0.2"},
		{"UPDATE numbers SET n = 1000 WHERE n = 350", "hash: recorded "},
		{"DELETE FROM numbers WHERE n = 350", "tag: recorded rows 400, now rows 399"},
		{"RENAME TABLE kinds TO gone", "error: recorded none, now 42S02"},
	} {
		run(3, x.says, fresh(x.plant))
	}

	// Through a proxy with the same policy and keys masked columns are the same, too.
	again := fresh()
	p.write(t, "policy.yaml", strings.ReplaceAll(myRunPolicy, "DATABASE", again))
	config := strings.ReplaceAll(readFile(t, p.config), "/"+database+"?", "/"+again+"?")
	p.write(t, "sallyport.yaml", config+"storage: {transcripts: \"file:./var/again\"}\n")
	p.serve(t)
	t.Setenv("MYSQL_PWD", "ana-secret")
	first := p.write(t, "first.yaml", config)
	code, out := runMain(t, "replay", "run", "--config", first, "--target", fmt.Sprintf("mysql://ana@127.0.0.1:%d/%s", port, again), "--writes", "--masked")
	if code != 0 || !strings.Contains(out, " 0 differences") {
		t.Errorf("exit %d: %s", code, out)
	}
	t.Log(out)
}

// TestReplayRunMySQLReads: without --writes nothing can be written, whatever a session says of its transactions, and
// with --rollback nothing is left.
func TestReplayRunMySQLReads(t *testing.T) {
	const schema = "CREATE TABLE counts (n INT); CREATE FUNCTION count_up() RETURNS INT BEGIN INSERT INTO counts VALUES (1); RETURN 1; END"
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, port := throwtest.Database(t, s, "DELIMITER //\n"+strings.ReplaceAll(schema, "; CREATE", "// CREATE")+"//"), freePort(t)
	p := startProxy(t, fmt.Sprintf("version: 1\nfunctions: [%s.count_up]\n", database), target{name: "shop", port: port, protocol: "mysql",
		upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	db, err := stdsql.Open("mysql", fmt.Sprintf("ana:ana-secret@tcp(127.0.0.1:%d)/%s", port, database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	passed := 0
	for _, text := range []string{
		"SELECT count_up()", "START TRANSACTION READ/**/WRITE", "SELECT count_up()", "COMMIT", "SET SESSION TRANSACTION READ WRITE", "SELECT count_up()",
		"SET TRANSACTION /* */ READ WRITE", "SELECT count_up()", "SET @@session.`tx_read_only` = 0", "SELECT count_up()", "/*!START TRANSACTION READ WRITE*/", "SELECT count_up()", "COMMIT",
		"PREPARE p FROM 'SET SESSION TRANSACTION READ WRITE'", "EXECUTE p", "SELECT count_up()", "SET @v = 0x53544152542052454144205752495445", "PREPARE q FROM @v", "EXECUTE q",
		"PREPARE q FROM 'START TRANSACTION READ WRITE'", "EXECUTE q", "SELECT count_up()", "COMMIT", "SET autocommit = 0", "SELECT count_up()", "COMMIT", "SET autocommit = 1",
		"INSERT INTO counts VALUES (2)", "CREATE TABLE more (n INT)", "SELECT 1 INTO OUTFILE '/nowhere/at/all'", "LOCK TABLES counts WRITE", "UNLOCK TABLES",
	} {
		if _, err := db.Exec(text); err == nil {
			passed++
		}
	}
	p.stop()
	p.code <- <-p.code
	if passed < 20 {
		t.Fatalf("only %d of the statements passed when they were recorded", passed)
	}
	throwtest.SQL(t, s, database, "DROP TABLE more")
	const state = "SELECT COUNT(*), SUM(n) FROM counts; SHOW TABLES"
	before := throwtest.SQL(t, s, database, state)
	t.Setenv("MYSQL_PWD", s.Password)
	for _, args := range [][]string{nil, {"--rollback"}, {"--writes", "--rollback"}} {
		code, out := runMain(t, append([]string{"replay", "run", "--config", p.config, "--top", "0", "--target", fmt.Sprintf("mysql://root@%s/%s", s.Address(), database)}, args...)...)
		if after := throwtest.SQL(t, s, database, state); after != before {
			t.Errorf("%v: %s where %s was: exit %d: %s", args, after, before, code, out)
		}
		if len(args) < 2 && (code != 3 || !strings.Contains(out, "error: recorded none, now 25006")) {
			t.Errorf("%v: exit %d: %s", args, code, out)
		}
		if !strings.Contains(out, "statements run again") {
			t.Errorf("%v: exit %d: %s", args, code, out)
		}
	}
	for target, says := range map[string]string{
		"mysql://root@10.0.0.1/shop?tls=disable": "a password would cross in the clear",
		"postgres://root@127.0.0.1/shop":         "the target of sessions of MySQL's is mysql://USER@HOST",
		"mysql://root@127.0.0.1:1/shop":          "connecting: ",
		"mysql://root@127.0.0.1/shop?ssl=1":      "no parameter \"ssl\"",
	} {
		if code, out := runMain(t, "replay", "run", "--config", p.config, "--target", target); code != 1 || !strings.Contains(out, says) {
			t.Errorf("%s: exit %d: %s", target, code, out)
		}
	}
}

// TestReplayExportMySQL: MariaDB's own client runs what is exported, and it does what the sessions did.
func TestReplayExportMySQL(t *testing.T) {
	t.Parallel()
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, port := throwtest.Database(t, s, myRun), freePort(t)
	p := startProxy(t, strings.ReplaceAll(myRunPolicy, "DATABASE", database), target{name: "shop", port: port, protocol: "mysql",
		upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	recordMySQL(t, port, database)
	p.stop()
	p.code <- <-p.code
	code, script := runMain(t, "replay", "export", "--format", "sql", "--config", p.config)
	if code != 0 || !strings.Contains(script, "-- refused: DROP TABLE orders") || !strings.Contains(script, `SELECT NULL, 'it''s \\ a ?', 0x00ff27, -1;`) {
		t.Fatalf("exit %d: %s", code, script)
	}
	copied := throwtest.Database(t, s, myRun)
	cmd := exec.CommandContext(t.Context(), "mariadb", "--no-defaults", "--host=127.0.0.1", fmt.Sprintf("--port=%d", s.Port), "--user=root", "--default-character-set=utf8mb4", "--force", copied)
	cmd.Env, cmd.Stdin = append(os.Environ(), "MYSQL_PWD="+s.Password), strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	// What failed then fails again: a key that is there already, once a session.
	if strings.Count(string(out), "ERROR ") != 2 || strings.Count(string(out), "ERROR 1062") != 2 {
		t.Errorf("%v: %s\n%s", err, script, out)
	}
	const state = "SELECT * FROM orders ORDER BY id; SELECT * FROM customers ORDER BY id; SELECT * FROM plain"
	if got, want := throwtest.SQL(t, s, copied, state), throwtest.SQL(t, s, database, state); got != want {
		t.Errorf("it left %s, and the sessions %s", got, want)
	}
}
