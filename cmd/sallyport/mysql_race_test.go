package main

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

const racingShop = `CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40), ssn VARCHAR(40));
INSERT INTO people VALUES (1, 'Ada', 'secret-1'), (2, 'Bob', 'secret-2');`

const racingPolicy = `version: 1
classes:
  ssn: {mask: redact, compare: none}
columns:
  - {class: ssn, match: ["*.ssn"]}
`

// one is a connection of ana's through the proxy, of its own.
func oneMySQL(t *testing.T, port int, database, options string) *stdsql.Conn {
	t.Helper()
	db, err := stdsql.Open("mysql", fmt.Sprintf("ana:ana-secret@tcp(127.0.0.1:%d)/%s%s", port, database, options))
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); db.Close() })
	return c
}

func execMySQL(t *testing.T, c *stdsql.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := c.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// printed is all that a query's rows say, or its error.
func printed(c interface {
	QueryContext(context.Context, string, ...any) (*stdsql.Rows, error)
}, query string) string {
	rows, err := c.QueryContext(context.Background(), query)
	if err != nil {
		return err.Error()
	}
	return allOf(rows)
}

func allOf(rows *stdsql.Rows) string {
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for rows.Next() {
		cells, into := make([]stdsql.NullString, len(names)), make([]any, len(names))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err.Error()
		}
		for _, c := range cells {
			out.WriteString(c.String + "|")
		}
	}
	if err := rows.Err(); err != nil {
		out.WriteString(err.Error())
	}
	return out.String()
}

// hidesOrigin reads a table in a way that leaves its columns' origins unsaid.
const hidesOrigin = "SELECT * FROM (SELECT * FROM people UNION ALL SELECT * FROM people) d"

// TestMySQLSchemaRace: one session swaps two columns while another one's
// statement, decided over the old schema, waits for the table. Nothing classed
// may leave, whichever of the two answers comes first.
func TestMySQLSchemaRace(t *testing.T) {
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, port := throwtest.Database(t, s, racingShop), freePort(t)
	startProxy(t, racingPolicy, target{name: "shop", port: port, protocol: "mysql", upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	alter, reader, holder := oneMySQL(t, port, database, ""), oneMySQL(t, port, database, ""), oneMySQL(t, port, database, "")
	prepared, err := reader.PrepareContext(context.Background(), hidesOrigin)
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	waiting := func(what string) {
		for !strings.Contains(throwtest.SQL(t, s, "mysql", "SELECT GROUP_CONCAT(INFO) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock' AND DB = '"+database+"'"), what) {
			continue
		}
	}
	for round := range 6 {
		place := []string{"AFTER ssn", "AFTER id"}[round%2]
		execMySQL(t, holder, "START TRANSACTION")
		printed(holder, "SELECT id FROM people ORDER BY id")
		altered := make(chan error, 1)
		go func() {
			_, err := alter.ExecContext(context.Background(), "ALTER TABLE people MODIFY COLUMN name VARCHAR(40) "+place)
			altered <- err
		}()
		waiting("ALTER TABLE")
		got := make(chan string, 1)
		go func() {
			if round%3 == 2 {
				rows, err := prepared.QueryContext(context.Background())
				if err != nil {
					got <- err.Error()
					return
				}
				got <- allOf(rows)
				return
			}
			got <- printed(reader, hidesOrigin)
		}()
		waiting("SELECT")
		execMySQL(t, holder, "COMMIT")
		if err := <-altered; err != nil {
			t.Fatal(err)
		}
		if answer := <-got; strings.Contains(answer, "secret") {
			t.Errorf("round %d: %s", round, answer)
		} else {
			t.Logf("round %d: %s", round, answer)
		}
	}
	// What was prepared before goes on over the table as it is.
	execMySQL(t, alter, "ALTER TABLE people MODIFY COLUMN name VARCHAR(40) AFTER ssn")
	rows, err := prepared.QueryContext(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := allOf(rows); strings.Contains(got, "secret") || !strings.Contains(got, "Ada") {
		t.Errorf("prepared before: %s", got)
	}
}

// TestMySQLPreparedElsewhere: the server goes on reading a prepared statement
// by the sql_mode and the database that it was prepared under.
func TestMySQLPreparedElsewhere(t *testing.T) {
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, port := throwtest.Database(t, s, racingShop), freePort(t)
	other := throwtest.Database(t, s, "CREATE TABLE people (id INT PRIMARY KEY, plain VARCHAR(40), name VARCHAR(40)); INSERT INTO people VALUES (1, 'x', 'other');")
	startProxy(t, racingPolicy, target{name: "shop", port: port, protocol: "mysql", upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	c := oneMySQL(t, port, database, "")
	execMySQL(t, c, "SET sql_mode = 'ANSI_QUOTES'")
	quoted, err := c.PrepareContext(context.Background(), `SELECT x FROM (SELECT "ssn" AS x FROM people UNION ALL SELECT "ssn" FROM people) d`)
	if err != nil {
		t.Fatal(err)
	}
	execMySQL(t, c, "SET sql_mode = ''")
	rows, err := quoted.QueryContext(context.Background())
	if err == nil {
		t.Errorf("prepared under ANSI_QUOTES: %s", allOf(rows))
	} else if !strings.Contains(err.Error(), "Prepare it again") {
		t.Error(err)
	}
	here, err := c.PrepareContext(context.Background(), hidesOrigin)
	if err != nil {
		t.Fatal(err)
	}
	execMySQL(t, c, "USE "+other)
	rows, err = here.QueryContext(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := allOf(rows); strings.Contains(got, "secret") || !strings.Contains(got, "Ada") {
		t.Errorf("prepared in the first database: %s", got)
	}
	if got := printed(c, hidesOrigin); !strings.Contains(got, "other") {
		t.Errorf("in the second database: %s", got)
	}
}

// TestMySQLGapLocks shows what docs/threat-model.md says is not held: InnoDB
// locks the gap between two values of an index, and another session's waiting
// tells which values lie around a third.
func TestMySQLGapLocks(t *testing.T) {
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	waits := map[string]bool{}
	for _, secret := range []string{"g", "t"} {
		database, port := throwtest.Database(t, s, "CREATE TABLE people (id INT PRIMARY KEY, email VARCHAR(40), KEY (email)); INSERT INTO people VALUES (1, 'a'), (2, '"+secret+"'), (3, 'z');"), freePort(t)
		startProxy(t, "version: 1\nclasses:\n  email: {mask: redact, compare: equality}\ncolumns:\n  - {class: email, match: [\"*.email\"]}\n",
			target{name: "shop", port: port, protocol: "mysql", upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
		locker, prober := oneMySQL(t, port, database, ""), oneMySQL(t, port, database, "")
		execMySQL(t, locker, "START TRANSACTION")
		printed(locker, "SELECT id FROM people WHERE email = 'm' FOR UPDATE")
		execMySQL(t, prober, "SET innodb_lock_wait_timeout = 1")
		_, err := prober.ExecContext(context.Background(), "INSERT INTO people VALUES (9, 'u')")
		waits[secret] = err != nil && strings.Contains(err.Error(), "1205")
		execMySQL(t, locker, "ROLLBACK")
	}
	// The gap around 'm' ends at 'z' where the secret is 'g', and before 'u' where
	// it is 't'.
	if !waits["g"] || waits["t"] {
		t.Errorf("waits %v: if gaps tell nothing any more, docs/threat-model.md can lose a row", waits)
	}
}
