package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

const people = `CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40), email VARCHAR(80), born DATE, salary BIGINT UNSIGNED, ssn CHAR(11) NOT NULL);
INSERT INTO people VALUES (1, 'Ada', 'ada@example.org', '1815-12-10', 9000, '111-11-1111'), (2, 'Bob', NULL, NULL, NULL, '222-22-2222');`

const classes = `classes:
  email: {mask: partial}
  ssn: {mask: redact}
  salary: {mask: {name: bucket, width: 1000}}
columns:
  - {class: email, match: ["people.email"]}
  - {class: ssn, match: ["people.ssn"]}
  - {class: salary, match: ["people.salary"]}
`

// connect opens a pool as alice.
func (r *running) connect(t testing.TB, change func(*driver.Config)) *sql.DB {
	t.Helper()
	c := driver.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = "alice", "wonderland", "tcp", r.address, r.database
	if change != nil {
		change(c)
	}
	connector, err := driver.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

func query(t testing.TB, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, text string, args ...any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	var out []string
	for more := true; more; more = rows.NextResultSet() {
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			cells, to := make([]sql.NullString, len(names)), make([]any, len(names))
			for i := range cells {
				to[i] = &cells[i]
			}
			if err := rows.Scan(to...); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			var line []string
			for _, c := range cells {
				if !c.Valid {
					c.String = "NULL"
				}
				line = append(line, c.String)
			}
			out = append(out, strings.Join(line, "|"))
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return strings.Join(out, "\n")
}

// TestMasks: text and binary rows are masked alike.
func TestMasks(t *testing.T) {
	r := start(t, setup{policy: classes, script: people})
	db := r.connect(t, nil)
	want := "1|Ada|a***@example.org|1815-12-10|9000|[redacted]\n2|Bob|NULL|NULL|NULL|[redacted]"
	if got := query(t, db, "SELECT id, name, email, born, salary, ssn FROM people"); got != want {
		t.Errorf("text rows:\n%s\nwant\n%s", got, want)
	}
	if got := query(t, db, "SELECT id, name, email, born, salary, ssn FROM people WHERE id > ?", 0); got != want {
		t.Errorf("binary rows:\n%s\nwant\n%s", got, want)
	}
	if got := query(t, db, "SELECT name, id FROM people"); got != "Ada|1\nBob|2" {
		t.Errorf("clear rows:\n%s", got)
	}
}

// TestOrigin: a classed column that analysis did not see is caught on the wire.
func TestOrigin(t *testing.T) {
	r := start(t, setup{policy: classes, script: people})
	db := r.connect(t, nil)
	var e *driver.MySQLError
	if _, err := db.Query("SELECT p.ssn AS blind FROM people AS p"); !errors.As(err, &e) || e.Number != 1412 {
		t.Errorf("it passes: %v", err)
	}
	if got := query(t, db, "SELECT 1"); got != "1" {
		t.Errorf("the session does not go on: %s", got)
	}
}

// TestRefusal: a refused statement is an error, and the transaction stays.
func TestRefusal(t *testing.T) {
	r := start(t, setup{script: people, policy: `rules:
  - {name: no-drop, when: 'stmt.verb == "DROP"', then: deny, reason: Not here.}
`})
	db := r.connect(t, nil)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("UPDATE people SET name = 'Eve' WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	var e *driver.MySQLError
	if _, err := tx.Exec("DROP TABLE people"); !errors.As(err, &e) || e.Number != 1227 || string(e.SQLState[:]) != "42000" || !strings.Contains(e.Message, "no-drop") {
		t.Errorf("refused by %v", err)
	}
	if got := query(t, tx, "SELECT name FROM people WHERE id = 1"); got != "Eve" {
		t.Errorf("the transaction is gone: %s", got)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE people SET ssn = 'x' WHERE id = 1; DROP TABLE people"); err == nil {
		t.Error("a batch with a refused statement passes")
	}
	if got := query(t, db, "SELECT ssn FROM people WHERE id = 1"); got != "111-11-1111" {
		t.Errorf("half of a batch ran: %s", got)
	}
}

// TestResults: several statements and several results, in order.
func TestResults(t *testing.T) {
	r := start(t, setup{policy: classes, script: people + `
DELIMITER $$
CREATE PROCEDURE two() BEGIN SELECT id FROM people; SELECT name FROM people; END$$
DELIMITER ;`})
	db := r.connect(t, func(c *driver.Config) { c.MultiStatements = true })
	if got := query(t, db, "SELECT id FROM people; SELECT email FROM people; SELECT 3"); got != "1\n2\na***@example.org\nNULL\n3" {
		t.Errorf("several statements: %s", got)
	}
	if got := query(t, db, "CALL two(); SELECT 5"); got != "1\n2\nAda\nBob\n5" {
		t.Errorf("a procedure's: %s", got)
	}
	if got := query(t, db, "CALL two()"); got != "1\n2\nAda\nBob" {
		t.Errorf("a procedure's: %s", got)
	}
	var e *driver.MySQLError
	if _, err := db.Exec("SELECT id FROM people; SELECT nothing FROM nowhere; SELECT 1"); !errors.As(err, &e) || e.Number != 1146 {
		t.Errorf("a failing one in the midst: %v", err)
	}
}

// TestLarge: messages over 16 MB pass both ways, and rows stream.
func TestLarge(t *testing.T) {
	r := start(t, setup{policy: classes, script: "CREATE TABLE big (id INT, body LONGTEXT)"})
	db := r.connect(t, func(c *driver.Config) { c.MaxAllowedPacket = 1 << 30 })
	for _, n := range []int{1<<24 - 1, 1<<24 - 2, 1 << 24, 40 << 20} {
		body := strings.Repeat("x", n-1) + "y"
		if _, err := db.Exec("INSERT INTO big VALUES (?, ?)", n, body); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		var got string
		if err := db.QueryRow("SELECT body FROM big WHERE id = ?", n).Scan(&got); err != nil || got != body {
			t.Errorf("%d bytes come back as %d: %v", n, len(got), err)
		}
	}
}

// TestState: the state that drivers and analysis depend on.
func TestState(t *testing.T) {
	r := start(t, setup{script: people})
	db := r.connect(t, nil)
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("USE mysql"); err != nil {
		t.Fatal(err)
	}
	if got := query(t, db, "SELECT DATABASE(), @@autocommit"); got != "mysql|1" {
		t.Error(got)
	}
	res, err := db.Exec("UPDATE " + r.database + ".people SET name = 'X'")
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n != 2 {
		t.Errorf("%d rows affected", n)
	}
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}

// TestKill: KILL finds sessions of the same identity alone, by CONNECTION_ID().
func TestKill(t *testing.T) {
	r := start(t, setup{script: people})
	alice, bob := r.connect(t, nil), r.connect(t, func(c *driver.Config) { c.User = "bob" })
	conn, err := alice.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := query(t, conn, "SELECT CONNECTION_ID()")
	var e *driver.MySQLError
	if _, err := bob.Exec("KILL QUERY " + id); !errors.As(err, &e) || e.Number != 1094 {
		t.Errorf("another identity's KILL: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		var n int
		ended <- conn.QueryRowContext(t.Context(), "SELECT SLEEP(30) + 1").Scan(&n)
	}()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(query(t, alice, "SELECT info FROM information_schema.processlist WHERE info LIKE '%SLEEP(30)%' AND id = "+id), "SLEEP") {
		if time.Now().After(deadline) {
			t.Fatal("the statement never began")
		}
	}
	if _, err := alice.Exec("KILL QUERY " + id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: // SLEEP returns 1 where it is interrupted, or an error
	case <-time.After(20 * time.Second):
		t.Fatal("it was not interrupted")
	}
	if _, err := alice.Exec("KILL " + id); err != nil {
		t.Fatal(err)
	}
	if err := conn.PingContext(t.Context()); err == nil {
		t.Error("a killed connection answers")
	}
}

// TestLoadLocal: a client's file passes where the policy says so, and nowhere else.
func TestLoadLocal(t *testing.T) {
	driver.RegisterReaderHandler("rows", func() io.Reader { return strings.NewReader("7\tGil\n8\tHal\n") })
	load := "LOAD DATA LOCAL INFILE 'Reader::rows' INTO TABLE people (id, name)"
	r := start(t, setup{script: people})
	var e *driver.MySQLError
	if _, err := r.connect(t, nil).Exec(load); !errors.As(err, &e) || e.Number != 1227 {
		t.Errorf("without load_local: %v", err)
	}
	r = start(t, setup{script: people, policy: "load_local: true\n"})
	db := r.connect(t, nil)
	if _, err := db.Exec(load); err != nil {
		t.Fatal(err)
	}
	if got := query(t, db, "SELECT name FROM people WHERE id > 6"); got != "Gil\nHal" {
		t.Errorf("the file came as %q", got)
	}
}
