package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// shopProxy is the demo's shop behind the demo's policy.
func shopProxy(t *testing.T) (*testProxy, *throwaway.Server, string) {
	t.Helper()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	port := freePort(t)
	p := startProxy(t, readFile(t, filepath.Join("demo", "policy.yaml")), target{
		name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address()),
	})
	return p, s, twinConn(port)
}

func connect(t testing.TB, conn string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

var destructive = []string{
	"DROP TABLE orders",
	"drop/**/table if exists orders cascade",
	"DROP SCHEMA public CASCADE",
	"DROP VIEW customer_totals",
	"TRUNCATE orders",
	"TRUNCATE TABLE ONLY orders CASCADE",
	"ALTER TABLE orders DROP COLUMN total",
	"DELETE FROM orders",
	"DELETE FROM orders -- WHERE id = 1",
	"DELETE FROM orders WHERE true",
	"DELETE FROM orders WHERE 1 = 1 OR id = 1",
	"DELETE FROM orders WHERE id = id",
	"DELETE FROM orders WHERE id IS NOT NULL",
	"UPDATE orders SET total = 0",
	"UPDATE orders SET total = 0 WHERE 'a' = 'a'",
	"WITH gone AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM gone",
	"WITH x AS (SELECT 1) UPDATE orders SET status = 'x'",
	"SELECT 1; DROP TABLE orders",
	"SELECT 1; DELETE FROM orders",
	"BEGIN; TRUNCATE orders; COMMIT",
	"PREPARE bye AS DELETE FROM orders; EXECUTE bye",
	"EXPLAIN ANALYZE DELETE FROM orders",
	"COPY (DELETE FROM orders RETURNING id) TO STDOUT",
}

// TestDestructiveStatements sends them in and out of transactions, simple and
// prepared: each is refused with 42501 and the rule's name, nothing is lost,
// and the connection goes on.
func TestDestructiveStatements(t *testing.T) {
	t.Parallel()
	_, s, conn := shopProxy(t)
	c := connect(t, conn)
	ctx := context.Background()
	for _, text := range destructive {
		for _, inTransaction := range []bool{false, true} {
			for _, way := range []string{"simple", "extended"} {
				if way == "extended" && strings.Contains(text, ";") {
					continue
				}
				t.Run(fmt.Sprintf("%s/tx=%v/%s", way, inTransaction, text), func(t *testing.T) {
					if inTransaction {
						must(t, c, "BEGIN")
						must(t, c, "UPDATE orders SET status = 'lost' WHERE id = 1")
					}
					err := execute(ctx, c, way, text)
					wantRefusal(t, err)
					if inTransaction {
						if got := c.PgConn().TxStatus(); got != 'E' {
							t.Errorf("transaction status %c, want E", got)
						}
						if err := execute(ctx, c, way, "SELECT 1"); !hasCode(err, "25P02") {
							t.Errorf("in the failed transaction: %v, want 25P02", err)
						}
						tag, err := c.Exec(ctx, "COMMIT")
						if err != nil || tag.String() != "ROLLBACK" {
							t.Errorf("COMMIT: %v %v, want the tag ROLLBACK", tag, err)
						}
					}
					var n int
					if err := c.QueryRow(ctx, "SELECT count(*)::int FROM orders").Scan(&n); err != nil || n != 20000 {
						t.Errorf("after the refusal: %d rows, %v", n, err)
					}
				})
			}
		}
	}
	if got := sql(t, s, "shop", "SELECT count(*) FROM orders WHERE status = 'lost'"); got != "0\n" {
		t.Errorf("%s rows of failed transactions were committed", strings.TrimSpace(got))
	}
}

// TestRefusedPrepared: a statement prepared by name is refused at Execute, as
// often as it is executed.
func TestRefusedPrepared(t *testing.T) {
	t.Parallel()
	_, _, conn := shopProxy(t)
	c := connect(t, conn)
	ctx := context.Background()
	for _, text := range []string{"DELETE FROM orders", "DROP TABLE orders", "UPDATE orders SET total = $1"} {
		_, err := c.PgConn().Prepare(ctx, "st", text, nil)
		for range 2 {
			if err == nil {
				_, err = c.PgConn().ExecPrepared(ctx, "st", paramsFor(text), nil, nil).Close()
			}
			wantRefusal(t, err)
			err = nil
		}
		must(t, c, "DEALLOCATE ALL")
	}
}

func paramsFor(text string) [][]byte {
	if strings.Contains(text, "$1") {
		return [][]byte{[]byte("1")}
	}
	return nil
}

// TestRefusalInPipeline: what was sent before the refused statement in a
// pipeline is answered, what comes after is skipped up to Sync.
func TestRefusalInPipeline(t *testing.T) {
	t.Parallel()
	_, _, conn := shopProxy(t)
	c := connect(t, conn)
	ctx := context.Background()
	batch := &pgx.Batch{}
	batch.Queue("SELECT 1")
	batch.Queue("SELECT name FROM customers WHERE id = 1")
	batch.Queue("DELETE FROM orders")
	batch.Queue("SELECT 3")
	conf := c.Config().Copy()
	conf.DefaultQueryExecMode = pgx.QueryExecModeExec
	x, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(ctx)
	res := x.SendBatch(ctx, batch)
	var one string
	if err := res.QueryRow().Scan(&one); err != nil || one != "1" {
		t.Errorf("first: %q, %v", one, err)
	}
	if err := res.QueryRow().Scan(&one); err != nil || one == "" {
		t.Errorf("second: %q, %v", one, err)
	}
	_, err = res.Exec()
	wantRefusal(t, err)
	res.Close()
	if got := x.PgConn().TxStatus(); got != 'I' {
		t.Errorf("status %c after the pipeline", got)
	}
	must(t, x, "SELECT 1")
}

func execute(ctx context.Context, c *pgx.Conn, way, text string) error {
	if way == "simple" {
		_, err := c.PgConn().Exec(ctx, text).ReadAll()
		return err
	}
	_, err := c.PgConn().ExecParams(ctx, text, nil, nil, nil, nil).Close()
	return err
}

func must(t testing.TB, c *pgx.Conn, text string) {
	t.Helper()
	if _, err := c.PgConn().Exec(context.Background(), text).ReadAll(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func hasCode(err error, code string) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == code
}

// wantRefusal checks that a refusal reads as one: code, rule and hint.
func wantRefusal(t testing.TB, err error) {
	t.Helper()
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		t.Errorf("got %v, want a refusal", err)
		return
	}
	if pe.Code != "42501" || !strings.Contains(pe.Detail, "rule") || pe.Hint == "" {
		t.Errorf("got %s %q, detail %q, hint %q; want 42501 with the rule and a hint", pe.Code, pe.Message, pe.Detail, pe.Hint)
	}
}
