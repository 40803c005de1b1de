package main

import (
	"context"
	gosql "database/sql"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// connString is a connection string of what an environment says to libpq.
func connString(env []string) string {
	keys := map[string]string{"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname", "PGSSLMODE": "sslmode", "PGSSLROOTCERT": "sslrootcert"}
	var out []string
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if key := keys[name]; key != "" {
			out = append(out, key+"="+value)
		}
	}
	return strings.Join(out, " ")
}

var pgxModes = []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}

const typesQuery = `SELECT 1::int2, 2::int8, 1.5::numeric::text, 'x'::text, '\x00ff'::bytea, true, '2026-01-02'::date, ARRAY[1,2,NULL]::int[],
	'{"a": [1]}'::jsonb, '1 day'::interval::text, int4range(1, 5)::text, '10.0.0.1'::inet::text, NULL::text`

// scenarioSteps are the lines of a scenario in this package.
type scenarioSteps struct {
	t     *testing.T
	lines []string
}

func (s *scenarioSteps) step(name string, f func(ctx context.Context) (any, error)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seen, err := f(ctx)
	if err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	s.lines = append(s.lines, said(name, fmt.Sprint(seen)))
}

// sqlState is an error's code, and what else drivers say of it.
func sqlState(err error) string {
	var p *pgconn.PgError
	var q *pq.Error
	switch {
	case errors.As(err, &p):
		return p.Code + " " + p.Message
	case errors.As(err, &q):
		return string(q.Code) + " " + q.Message
	}
	return fmt.Sprint(err)
}

func pgxScenario(t *testing.T, env []string, mode string) []string {
	s := &scenarioSteps{t: t}
	c := connect(t, connString(env))
	if mode == "policy" {
		pgxGuarded(s, c)
		return s.lines
	}
	s.step("connect", func(ctx context.Context) (any, error) {
		return []string{c.PgConn().ParameterStatus("server_version"), c.PgConn().ParameterStatus("client_encoding")}, c.Ping(ctx)
	})
	for _, m := range pgxModes {
		s.step("prepare", func(ctx context.Context) (any, error) {
			var out []any
			for _, id := range []int{1, 2, 1} {
				var title string
				if err := c.QueryRow(ctx, "SELECT title FROM products WHERE id = $1", m, id).Scan(&title); err != nil {
					return nil, err
				}
				out = append(out, title)
			}
			_, err := c.Exec(ctx, "SELECT 1 / $1::int", m, 0)
			return append(out, m, sqlState(err)), nil
		})
	}
	s.step("transact", func(ctx context.Context) (any, error) {
		tx, err := c.Begin(ctx)
		if err != nil {
			return nil, err
		}
		defer tx.Rollback(ctx)
		inner, err := tx.Begin(ctx)
		if err != nil {
			return nil, err
		}
		_, failed := inner.Exec(ctx, "INSERT INTO products (id) VALUES (1)")
		if err := inner.Rollback(ctx); err != nil {
			return nil, err
		}
		tag, err := tx.Exec(ctx, "INSERT INTO scratch (id, a) VALUES ($1, $2)", 5001, "x")
		return []any{sqlState(failed), tag}, err
	})
	s.step("pipeline", func(ctx context.Context) (any, error) {
		b := &pgx.Batch{}
		b.Queue("SELECT $1::int", 1)
		b.Queue("SELECT title FROM products WHERE id = $1", 2)
		b.Queue("SELECT 1 / $1::int", 0)
		b.Queue("SELECT 4")
		r := c.SendBatch(ctx, b)
		defer r.Close()
		var one int
		var title string
		err := errors.Join(r.QueryRow().Scan(&one), r.QueryRow().Scan(&title))
		_, failed := r.Exec()
		_, after := r.Exec()
		return []any{one, title, sqlState(failed), after != nil}, err
	})
	s.step("cancel", func(ctx context.Context) (any, error) {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		other, err := pgx.Connect(ctx, connString(env))
		if err != nil {
			return nil, err
		}
		defer other.Close(ctx)
		go func() {
			<-short.Done()
			_ = other.PgConn().CancelRequest(ctx)
		}()
		_, err = other.Exec(ctx, "SELECT pg_sleep(60)")
		return sqlState(err), other.Ping(ctx)
	})
	s.step("copy", func(ctx context.Context) (any, error) {
		n, err := c.CopyFrom(ctx, pgx.Identifier{"scratch"}, []string{"id", "a"}, pgx.CopyFromRows([][]any{{5200, "a\tb"}, {5201, nil}}))
		if err != nil {
			return nil, err
		}
		var out strings.Builder
		if _, err := c.PgConn().CopyTo(ctx, &out, "COPY (SELECT id, a FROM scratch WHERE id >= 5200 ORDER BY id) TO STDOUT"); err != nil {
			return nil, err
		}
		_, bad := c.PgConn().CopyFrom(ctx, strings.NewReader("bad\n"), "COPY scratch (id, a) FROM STDIN")
		tag, err := c.Exec(ctx, "DELETE FROM scratch WHERE id >= 5200")
		return []any{n, out.String(), sqlState(bad), tag}, err
	})
	s.step("stream", func(ctx context.Context) (any, error) {
		rows, _ := c.Query(ctx, "SELECT generate_series(1, 10000)")
		all, err := pgx.CollectRows(rows, pgx.RowTo[int])
		return len(all), err
	})
	s.step("listen", func(ctx context.Context) (any, error) {
		if _, err := c.Exec(ctx, "LISTEN news"); err != nil {
			return nil, err
		}
		if _, err := c.Exec(ctx, "SELECT pg_notify('news', 'hello')"); err != nil {
			return nil, err
		}
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return nil, err
		}
		_, err = c.Exec(ctx, "UNLISTEN news")
		return n.Payload, err
	})
	s.step("error", func(ctx context.Context) (any, error) {
		var out []any
		for _, text := range []string{"SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"} {
			_, err := c.Exec(ctx, text)
			var p *pgconn.PgError
			if !errors.As(err, &p) {
				return nil, err
			}
			out = append(out, p.Code, p.Message, p.Position, p.ColumnName)
		}
		return out, nil
	})
	for _, m := range pgxModes {
		s.step("types", func(ctx context.Context) (any, error) {
			rows, err := c.Query(ctx, typesQuery, m)
			if err != nil {
				return nil, err
			}
			return pgx.CollectOneRow(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
		})
	}
	return s.lines
}

func pgxGuarded(s *scenarioSteps, c *pgx.Conn) {
	for _, m := range pgxModes {
		s.step("masked", func(ctx context.Context) (any, error) {
			var email string
			err := c.QueryRow(ctx, "SELECT email FROM customers WHERE id = $1", m, 1).Scan(&email)
			return email, err
		})
		s.step("refused", func(ctx context.Context) (any, error) {
			tx, err := c.Begin(ctx)
			if err != nil {
				return nil, err
			}
			_, refused := tx.Exec(ctx, "SELECT id FROM customers WHERE ssn = $1", m, "1")
			_, after := tx.Exec(ctx, "SELECT 1")
			return []string{sqlState(refused), sqlState(after)}, tx.Rollback(ctx)
		})
	}
	s.step("tls", func(ctx context.Context) (any, error) {
		return c.Config().TLSConfig != nil && c.Config().TLSConfig.ServerName == "localhost", c.Ping(ctx)
	})
}

func pqScenario(t *testing.T, env []string, mode string) []string {
	s := &scenarioSteps{t: t}
	db, err := gosql.Open("postgres", connString(env))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if mode == "policy" {
		pqGuarded(s, db)
		return s.lines
	}
	s.step("connect", func(ctx context.Context) (any, error) {
		var version string
		err := db.QueryRowContext(ctx, "SHOW server_version").Scan(&version)
		return version, err
	})
	s.step("prepare", func(ctx context.Context) (any, error) {
		st, err := db.PrepareContext(ctx, "SELECT title FROM products WHERE id = $1")
		if err != nil {
			return nil, err
		}
		defer st.Close()
		var one, two string
		err = errors.Join(st.QueryRowContext(ctx, 1).Scan(&one), st.QueryRowContext(ctx, 2).Scan(&two))
		return []string{one, two}, err
	})
	s.step("transact", func(ctx context.Context) (any, error) {
		tx, err := db.BeginTx(ctx, &gosql.TxOptions{Isolation: gosql.LevelSerializable})
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		_, failed := tx.ExecContext(ctx, "INSERT INTO products (id) VALUES (1)")
		_, after := tx.ExecContext(ctx, "SELECT 1")
		return []string{sqlState(failed), sqlState(after), sqlState(tx.Commit())}, nil
	})
	s.step("cancel", func(ctx context.Context) (any, error) {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(short, "SELECT pg_sleep(60)")
		return sqlState(err), db.PingContext(ctx)
	})
	s.step("copy", func(ctx context.Context) (any, error) { return pqCopy(ctx, db) })
	s.step("stream", func(ctx context.Context) (any, error) {
		rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 10000)")
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		n := 0
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	})
	s.step("listen", func(ctx context.Context) (any, error) {
		l := pq.NewListener(connString(env), time.Second, time.Minute, nil)
		defer l.Close()
		if err := l.Listen("news"); err != nil {
			return nil, err
		}
		if _, err := db.ExecContext(ctx, "SELECT pg_notify('news', 'hello')"); err != nil {
			return nil, err
		}
		select {
		case n := <-l.Notify:
			return n.Extra, l.Ping()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	s.step("error", func(ctx context.Context) (any, error) {
		var out []any
		for _, text := range []string{"SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"} {
			_, err := db.ExecContext(ctx, text)
			var p *pq.Error
			if !errors.As(err, &p) {
				return nil, err
			}
			out = append(out, p.Code, p.Message, p.Position, p.Column)
		}
		return out, nil
	})
	s.step("types", func(ctx context.Context) (any, error) {
		values := make([]any, 13)
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		err := db.QueryRowContext(ctx, typesQuery).Scan(into...)
		return values, err
	})
	return s.lines
}

func pqCopy(ctx context.Context, db *gosql.DB) (any, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	st, err := tx.PrepareContext(ctx, "COPY scratch (id, a) FROM STDIN")
	if err != nil {
		return nil, err
	}
	for i := range 3 {
		if _, err := st.ExecContext(ctx, 5300+i, fmt.Sprint("a\t", i)); err != nil {
			return nil, err
		}
	}
	if _, err := st.ExecContext(ctx); err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	var n int
	var last string
	err = tx.QueryRowContext(ctx, "SELECT count(*), max(a) FROM scratch WHERE id >= 5300").Scan(&n, &last)
	return []any{n, last}, err
}

func pqGuarded(s *scenarioSteps, db *gosql.DB) {
	s.step("masked", func(ctx context.Context) (any, error) {
		var text, params string
		err := errors.Join(db.QueryRowContext(ctx, "SELECT email FROM customers WHERE id = 1").Scan(&text), db.QueryRowContext(ctx, "SELECT email FROM customers WHERE id = $1", 1).Scan(&params))
		return []string{text, params}, err
	})
	s.step("refused", func(ctx context.Context) (any, error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		_, refused := tx.ExecContext(ctx, "SELECT id FROM customers WHERE ssn = $1", "1")
		_, after := tx.ExecContext(ctx, "SELECT 1")
		return []string{sqlState(refused), sqlState(after)}, tx.Rollback()
	})
	s.step("tls", func(ctx context.Context) (any, error) { return "verify-full", db.PingContext(ctx) })
}

// oauthScenario is libpq 18 with a token in place of a password. PostgreSQL
// 15 has no such login, so it is only ever compared with itself.
func oauthScenario(t *testing.T, env []string, mode string) []string {
	policy := permissive
	if mode == "policy" {
		policy = "version: 1\nclasses: {email: {mask: partial}, ssn: {mask: redact, compare: none}}\ncolumns: [{class: email, match: ['*.email']}, {class: ssn, match: ['*.ssn']}]\n"
	}
	c := startCalling(t, policy)
	run := func(statement string) string {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, throwtest.Python(t), clientFile("oauthbearer.py"),
			fmt.Sprintf("host=127.0.0.1 port=%d user=rag dbname=shop sslmode=disable require_auth=oauth oauth_issuer=%s oauth_client_id=x", c.bearer, c.idp.Issuer), statement)
		cmd.Env = append(slices.Clone(env), "TOKEN="+c.idp.Token(t, "rag"), "PGSSLMODE=disable", "PGCHANNELBINDING=prefer", "PGHOSTADDR=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			out = fmt.Appendf(out, "[%v]", err)
		}
		return strings.ReplaceAll(string(out), c.idp.Issuer, "ISSUER")
	}
	if mode == "policy" {
		return []string{said("masked", run("SELECT email FROM customers ORDER BY id LIMIT 1")), said("refused", run("SELECT id FROM customers WHERE ssn = '1'"))}
	}
	return []string{said("connect", run("SELECT current_user"))}
}
