package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

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

// TestSchemaPinned: a schema that is read again takes the server's own objects
// from the one before only while they are the same, within a transaction too.
func TestSchemaPinned(t *testing.T) {
	s := startPostgreSQL(t, throwaway.Options{})
	sql(t, s, "postgres", "ALTER ROLE backend SUPERUSER")
	port := freePort(t)
	startProxy(t, permissive, target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	c := connect(t, twinConn(port))
	called := func(want string) {
		t.Helper()
		for _, name := range []string{"initcap", "initcap_one", "initcap_two"} {
			must(t, c, "SAVEPOINT called")
			_, err := c.Exec(context.Background(), "SELECT "+name+"('A')")
			if name == want && err != nil || name != want && !hasCode(err, "42883") {
				t.Errorf("%s where the name is %s: %v", name, want, err)
			}
			must(t, c, "ROLLBACK TO called")
		}
	}
	must(t, c, "BEGIN")
	called("initcap")
	must(t, c, "CREATE TABLE one (a int)")
	called("initcap")
	must(t, c, "ALTER FUNCTION pg_catalog.initcap(text) RENAME TO initcap_one")
	called("initcap_one")
	must(t, c, "ALTER FUNCTION pg_catalog.initcap_one(text) RENAME TO initcap_two")
	called("initcap_two")
	must(t, c, "COMMIT")
	must(t, c, "CREATE TABLE two (a int)")
	must(t, c, "BEGIN")
	called("initcap_two")
	must(t, c, "CREATE TABLE three (a int)")
	must(t, c, "ALTER FUNCTION pg_catalog.initcap_two(text) RENAME TO initcap")
	must(t, c, "ROLLBACK")
	must(t, c, "BEGIN")
	called("initcap_two")
	must(t, c, "ROLLBACK")
}

// TestPortalWhileSchemaChanges: what others change of a schema between a
// portal's Bind and its Execute does not concern it, unless its own names mean
// something else: then it is decided on as they are.
func TestPortalWhileSchemaChanges(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	port := freePort(t)
	startProxy(t, readFile(t, filepath.Join("demo", "policy.yaml")), target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	alter := connect(t, twinConn(port))
	reader := dialRaw(t, twinConn(port))
	defer reader.conn.Close()
	for i, portal := range []string{"", "p", "p"} {
		// begun by an own transaction, so that the named portal stays taken over a Sync
		steps := [][]pgproto3.FrontendMessage{
			{&pgproto3.Query{String: "BEGIN"}},
			{&pgproto3.Parse{Query: "SELECT id, ssn FROM customers WHERE id = $1 ORDER BY id"},
				&pgproto3.Bind{DestinationPortal: portal, Parameters: [][]byte{[]byte("1")}, ResultFormatCodes: []int16{0}}, &pgproto3.Sync{}},
		}
		for _, step := range steps {
			if err := reader.send(step...); err != nil {
				t.Fatal(err)
			}
			if _, err := reader.until(true); err != nil {
				t.Fatal(err)
			}
		}
		must(t, alter, fmt.Sprintf("CREATE TABLE meanwhile_%d (a int)", i))
		if err := reader.send(&pgproto3.Describe{ObjectType: 'P', Name: portal}, &pgproto3.Execute{Portal: portal}, &pgproto3.Sync{}); err != nil {
			t.Fatal(err)
		}
		frames, err := reader.until(true)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []byte
		for _, f := range frames {
			kinds = append(kinds, f[0])
		}
		if all := string(slices.Concat(frames...)); string(kinds) != "TDCZ" || !strings.Contains(all, "[redacted]") || strings.Contains(all, "137-21") {
			t.Errorf("portal %q: %s %q", portal, kinds, frames)
		}
		if err := reader.send(&pgproto3.Query{String: "ROLLBACK"}); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.until(false); err != nil {
			t.Fatal(err)
		}
	}
}
