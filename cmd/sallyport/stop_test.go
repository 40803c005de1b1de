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

// TestStoppedInResult: a result that must not go on ends its statement, fails
// the transaction that it is in, and leaves the connection usable; whatever
// the client would wrongly take as undone ends the session instead.
func TestStoppedInResult(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")),
		"CREATE TABLE big (id int, secret text); INSERT INTO big SELECT i, repeat('x', CASE i WHEN 30000 THEN 5000 ELSE 10 END) FROM generate_series(1, 60000) i; CREATE TABLE log (v int)")
	port := freePort(t)
	startProxy(t, "version: 1\nclasses: {c: {mask: partial}}\ncolumns: [{class: c, match: ['big.secret']}]\nlimits: {row: 2048}\n",
		target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	ctx := context.Background()
	read := func(c *pgx.Conn, mode pgx.QueryExecMode, text string) error {
		rows, err := c.Query(ctx, text, mode)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return rows.Err()
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
		c := connect(t, twinConn(port))
		for range 3 {
			if err := read(c, mode, "SELECT id, secret FROM big ORDER BY id"); !hasCode(err, "54000") {
				t.Fatalf("%v: %v", mode, err)
			}
			must(t, c, "SELECT 1")
		}
		must(t, c, "BEGIN")
		must(t, c, "INSERT INTO log VALUES (1)")
		if err := read(c, mode, "SELECT id, secret FROM big ORDER BY id"); !hasCode(err, "54000") {
			t.Fatalf("%v: %v", mode, err)
		}
		if got := c.PgConn().TxStatus(); got != 'E' {
			t.Errorf("%v: status %c in the transaction, want E", mode, got)
		}
		if err := read(c, mode, "SELECT 1"); !hasCode(err, "25P02") {
			t.Errorf("%v: after the stop in a transaction: %v", mode, err)
		}
		must(t, c, "COMMIT") // which rolls back
		must(t, c, "SELECT 1")

		// A write cannot be taken back: the client must not believe that.
		if err := read(c, mode, "INSERT INTO big SELECT id, secret FROM big WHERE id = 30000 RETURNING secret"); err == nil {
			t.Errorf("%v: a row over the limit was sent", mode)
		}
		if err := c.Ping(ctx); err == nil {
			t.Errorf("%v: the session went on after a write whose result was stopped", mode)
		}
	}
	if got := sql(t, s, "shop", "SELECT count(*) FROM log"); strings.TrimSpace(got) != "0" {
		t.Errorf("%s rows of transactions that failed", got)
	}
	// Statements of one pipeline before the stop would be committed by its Sync.
	c := connect(t, twinConn(port))
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO log VALUES (2)")
	batch.Queue("SELECT id, secret FROM big ORDER BY id")
	if err := c.SendBatch(ctx, batch).Close(); err == nil {
		t.Error("a batch whose result was stopped succeeded")
	}
	copied, err := connect(t, twinConn(port)).PgConn().CopyTo(ctx, discard{}, "COPY (SELECT id, secret FROM big ORDER BY id) TO STDOUT")
	if !hasCode(err, "54000") {
		t.Errorf("COPY: %v %v", copied, err)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
