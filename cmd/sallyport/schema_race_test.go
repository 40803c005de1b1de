package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestSchemaRace: one session changes a view in a transaction while another
// reads it. The reader's statement was decided over the old definition and
// waits for the lock; when it runs, the view shows a classed column. Nothing
// of it may leave.
func TestSchemaRace(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")),
		"CREATE VIEW moving AS SELECT id, name AS what FROM customers;")
	port := freePort(t)
	startProxy(t, readFile(t, filepath.Join("demo", "policy.yaml")), target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	ctx := context.Background()
	for _, expression := range []string{"ssn", "lower(ssn)", "ssn || ''"} {
		alter, reader := connect(t, twinConn(port)), connect(t, twinConn(port))
		must(t, reader, "SELECT id, what FROM moving ORDER BY id LIMIT 1")
		must(t, alter, "BEGIN")
		must(t, alter, "CREATE OR REPLACE VIEW moving AS SELECT id, "+expression+" AS what FROM customers")
		got := make(chan string, 1)
		go func() {
			rows, err := reader.Query(ctx, "SELECT id, what FROM moving ORDER BY id LIMIT 1", pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				got <- err.Error()
				return
			}
			defer rows.Close()
			for rows.Next() {
				v, err := rows.Values()
				got <- fmt.Sprint(v, err)
				return
			}
			got <- fmt.Sprint(rows.Err())
		}()
		// The reader waits for the lock: PostgreSQL says so.
		for !strings.Contains(sql(t, s, "shop", "SELECT count(*) FROM pg_locks WHERE NOT granted"), "1") {
			continue
		}
		must(t, alter, "COMMIT")
		if answer := <-got; strings.Contains(answer, "137-21-6151") {
			t.Errorf("%s: %s", expression, answer)
		} else {
			t.Logf("%s: %s", expression, answer)
		}
		must(t, connect(t, twinConn(port)), "CREATE OR REPLACE VIEW moving AS SELECT id, name AS what FROM customers")
	}
}

// TestBatchWithDDL: a text that creates what it then uses passes, and so does
// a transaction that does.
func TestBatchWithDDL(t *testing.T) {
	t.Parallel()
	_, _, conn := shopProxy(t)
	c := connect(t, conn)
	must(t, c, "CREATE TABLE made (id serial PRIMARY KEY, v text); INSERT INTO made (v) VALUES ('x'); SELECT v FROM made LIMIT 10")
	must(t, c, "BEGIN")
	must(t, c, "CREATE TABLE made2 (id int, v text)")
	must(t, c, "INSERT INTO made2 VALUES (1, 'y')")
	var v string
	if err := c.QueryRow(context.Background(), "SELECT v FROM made2 WHERE id = $1", 1).Scan(&v); err != nil || v != "y" {
		t.Errorf("%q, %v", v, err)
	}
	must(t, c, "COMMIT")
	if err := c.QueryRow(context.Background(), "SELECT v FROM made2").Scan(&v); err != nil || v != "y" {
		t.Errorf("%q, %v", v, err)
	}
}
