package pgfacts

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// effects writes a statement's effects in one line: action, what is set, and
// the objects.
func effects(f *facts.Facts) string {
	var out []string
	for _, e := range f.Effects {
		s := string(e.Action)
		if e.Destructive {
			s += "!"
		}
		if e.Filtered {
			s += " filtered"
		}
		if e.Limited {
			s += fmt.Sprintf(" limit %d", e.Limit)
		}
		if e.LimitParam > 0 {
			s += fmt.Sprintf(" limit $%d", e.LimitParam)
		}
		for _, o := range e.Objects {
			s += " " + o.Kind + ":" + o.Name.Name
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestEffects(t *testing.T) {
	view := goldenView(t)
	for _, c := range []struct{ sql, want string }{
		{"SELECT * FROM orders", "read table:orders"},
		{"SELECT * FROM orders LIMIT 10", "read limit 10 table:orders"},
		{"SELECT * FROM orders LIMIT ALL", "read table:orders"},
		{"SELECT * FROM orders WHERE id = 1 LIMIT $1", "read filtered limit $1 table:orders"},
		{"SELECT count(*) FROM orders", "read limit 1 table:orders"},
		{"TABLE orders", "read table:orders"},
		{"DELETE FROM orders", "delete table:orders"},
		{"DELETE FROM orders WHERE id = 1", "delete filtered table:orders"},
		{"DELETE FROM orders WHERE 1 = 1", "delete table:orders"},
		{"DELETE FROM orders WHERE id = id OR true", "delete table:orders"},
		{"DELETE FROM orders WHERE id > -1 RETURNING id", "delete filtered table:orders; read filtered table:orders"},
		{"UPDATE orders SET total = 0", "update table:orders"},
		{"WITH d AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM d", "read limit 1; delete table:orders; read table:orders"},
		{"INSERT INTO scratch (id) SELECT id FROM orders", "insert table:scratch; read table:orders"},
		{"COPY orders TO STDOUT", "copy table:orders; read table:orders"},
		{"COPY (SELECT 1) TO STDOUT", "copy; read limit 1"},
		{"COPY scratch FROM STDIN", "copy table:scratch; insert table:scratch"},
		{"DROP TABLE orders", "ddl! table:orders"},
		{"DROP TABLE IF EXISTS nowhere, orders CASCADE", "ddl! table:nowhere table:orders"},
		{"TRUNCATE orders", "ddl! table:orders"},
		{"ALTER TABLE orders DROP COLUMN total", "ddl! table:orders"},
		{"ALTER TABLE orders ADD COLUMN x int", "ddl table:orders"},
		{"CREATE TABLE x AS SELECT 1 AS a", "read limit 1; ddl table:x; insert table:x"},
		{"SELECT 1 AS a INTO x", "read limit 1; ddl table:x; insert table:x"},
		{"EXPLAIN DELETE FROM orders", "read table:orders"},
		{"EXPLAIN ANALYZE DELETE FROM orders", "delete table:orders"},
		{"EXPLAIN (ANALYZE false) DELETE FROM orders", "read table:orders"},
		{"GRANT SELECT ON orders TO PUBLIC", "privilege table:orders"},
		{"SET search_path = crm", "session"},
		{"BEGIN", "transaction"}, {"ROLLBACK TO s", "transaction"},
		{"VACUUM orders", "admin table:orders"},
		{"DO $$BEGIN END$$", "call"},
		{"CALL app.dump_all()", "call"}, {"CALL app.dump_all(1, NULL)", "call"},
		{"PREPARE p AS DELETE FROM orders", "session"},
		{"MERGE INTO scratch s USING orders o ON s.id = o.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (o.id)",
			"delete filtered table:scratch table:orders; insert filtered table:scratch table:orders"},
	} {
		st, err := Analyse(view, c.sql, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if got := effects(st[0].Facts); got != c.want {
			t.Errorf("%s\n got  %s\n want %s", c.sql, got, c.want)
		}
	}
}

func TestBatches(t *testing.T) {
	view := goldenView(t)
	for _, c := range []struct {
		sql  string
		want string // the effects of the last statement, or the error's code
	}{
		{"SELECT 1; DROP TABLE orders", "ddl! table:orders"},
		{"  /* a */ SELECT 1 ;; DELETE FROM orders ; ", "delete table:orders"},
		{"PREPARE p AS DELETE FROM orders; EXECUTE p", "delete table:orders"},
		{"PREPARE p (int) AS SELECT id FROM orders LIMIT $1; EXECUTE p (5)", "read limit 5 limit $1 table:orders"},
		{"DECLARE c CURSOR FOR SELECT id FROM orders; FETCH 7 FROM c", "read limit 7 table:orders"},
		{"SET search_path = crm; SELECT topic FROM contacts", "read table:contacts"},
		{"CREATE TABLE fresh (a int); SELECT a FROM fresh", "read table:fresh"},
		{"CREATE TEMP TABLE fresh (a int); SELECT a FROM fresh", "read table:fresh"},
		{"CREATE TEMP TABLE customers (a int); SELECT a FROM customers", "0A000"},
		{"CREATE VIEW v AS SELECT 1 AS a; SELECT a FROM v", "0A000"},
		{"ALTER TABLE customers RENAME COLUMN ssn TO q; SELECT q FROM customers", "0A000"},
		{"SELECT * FROM nowhere", "42P01"}, {"SELECT nothing FROM orders", "42703"}, {"SELECT f(1) FROM orders", "42883"},
		{"SELEC 1", "42601"}, {"SELECT 'a\x00b'", "22021"}, {"SELECT '\xe9\x28'", "22021"}, {"\xf0", "22021"}, {"EXECUTE nope", "26000"}, {"FETCH nope", "34000"}, {"CALL nope(1)", "42883"}, {"CALL app.dump_all(nope)", "42703"},
		{"SET standard_conforming_strings = off", "0A000"}, {"SET client_encoding = 'SJIS'", "0A000"}, {"SET client_min_messages = debug1", "0A000"},
		{"SELECT set_config('standard_conforming_strings', 'off', false)", "0A000"},
	} {
		st, err := Analyse(view, c.sql, Limits{})
		got := ""
		var p *facts.Problem
		switch {
		case errors.As(err, &p):
			got = p.Code
		case err != nil:
			t.Errorf("%s: %v", c.sql, err)
			continue
		case st[len(st)-1].Unready != nil:
			got = st[len(st)-1].Unready.Code
		default:
			got = effects(st[len(st)-1].Facts)
		}
		if got != c.want {
			t.Errorf("%s\n got  %s\n want %s", c.sql, got, c.want)
		}
	}
}

// TestEveryStatementKind: no kind of statement that the parser knows is
// without an effect.
func TestEveryStatementKind(t *testing.T) {
	view := goldenView(t)
	fields := (&pg_query.Node{}).ProtoReflect().Descriptor().Fields()
	kinds := 0
	for i := range fields.Len() {
		f := fields.Get(i)
		name := string(f.Message().Name())
		if !strings.HasSuffix(name, "Stmt") || name == "RawStmt" || name == "ReturnStmt" || name == "PLAssignStmt" || name == "SetOperationStmt" {
			continue
		}
		kinds++
		n := &pg_query.Node{}
		n.ProtoReflect().Set(f, protoreflect.ValueOfMessage(n.ProtoReflect().NewField(f).Message()))
		o := &one{analysis: newAnalysis(view, "")}
		func() {
			defer func() {
				if r := recover(); r != nil {
					o.f.Effects = append(o.f.Effects, facts.Effect{}) // an empty node of a kind that is handled
				}
			}()
			if err := o.dispatch(n); err == nil && len(o.f.Effects) == 0 && o.f.Copy == nil {
				t.Errorf("%s has no effect", name)
			}
		}()
	}
	if kinds < 100 {
		t.Errorf("only %d kinds", kinds)
	}
}

func FuzzAnalyse(f *testing.F) {
	view := goldenView(f)
	for _, s := range []string{
		"SELECT c.*, lower(ssn) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE email = 'x' LIMIT 3",
		"WITH x AS (DELETE FROM orders RETURNING *) INSERT INTO scratch SELECT id FROM x", "COPY customers (id) TO STDOUT WITH (FORMAT csv)",
		"PREPARE p AS SELECT 1; EXECUTE p", "CREATE TABLE a (b int); SELECT b FROM a", "EXPLAIN ANALYZE SELECT 1", "DROP FUNCTION app.read_ssn(int)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		st, err := Analyse(view, sql, Limits{Statement: 1 << 16})
		var p *facts.Problem
		if err != nil {
			if !errors.As(err, &p) {
				t.Errorf("%q: %T %v", sql, err, err)
			}
			return
		}
		for _, s := range st {
			if len(s.Facts.Effects) == 0 {
				t.Errorf("%q has no effect", sql)
			}
			for _, u := range s.Facts.Uses {
				for _, c := range append(u.Columns, u.With...) {
					if _, ok := s.Facts.Column(c); !ok {
						t.Errorf("%q: a reference out of range", sql)
					}
				}
			}
		}
	})
}
