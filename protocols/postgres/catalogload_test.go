package postgres

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

var changes = strings.Split(`CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'x' CHECK (a <> ''), b int GENERATED ALWAYS AS (id + 1) STORED);
CREATE TABLE u (id int REFERENCES t, w text COLLATE "C");
CREATE VIEW v AS SELECT t.id, t.a, u.w FROM t JOIN u USING (id);
CREATE VIEW vv AS SELECT * FROM v;
ALTER TABLE t RENAME COLUMN a TO a2;
ALTER TABLE t ADD COLUMN w int;
ALTER TABLE t DROP COLUMN w;
ALTER TABLE u RENAME TO u2;
CREATE SCHEMA other;
ALTER TABLE u2 SET SCHEMA other;
ALTER SCHEMA other RENAME TO another;
CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE VIEW vf AS SELECT f(id) AS f FROM t;
CREATE INDEX tf ON t (f(id)) WHERE id > 3;
ALTER FUNCTION f(int) RENAME TO g;
ALTER FUNCTION g(int) SET SCHEMA another;
ALTER INDEX tf RENAME TO tg;
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE DOMAIN small AS int CHECK (VALUE < 9);
ALTER TABLE t ADD COLUMN m mood DEFAULT 'a', ADD COLUMN s small;
ALTER TYPE mood RENAME TO moods;
ALTER DOMAIN small ADD CHECK (VALUE > 0);
CREATE POLICY p ON t USING (id IN (SELECT id FROM another.u2));
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
ALTER TABLE another.u2 RENAME COLUMN id TO id2;
ALTER POLICY p ON t USING (a2 = 'x');
CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tt BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tr();
ALTER TRIGGER tt ON t RENAME TO tt2;
ALTER FUNCTION tr() RENAME TO tr2;
ALTER TABLE t DISABLE TRIGGER tt2;
CREATE RULE r AS ON DELETE TO another.u2 DO INSTEAD NOTHING;
CREATE OR REPLACE VIEW v AS SELECT t.id, t.a2 AS a, u2.w, t.m FROM t JOIN another.u2 ON t.id = u2.id2;
CREATE TABLE part (id int, k text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (1) TO (10);
ALTER TABLE part DETACH PARTITION part1;
ALTER TABLE part ATTACH PARTITION part1 FOR VALUES FROM (1) TO (10);
ALTER TABLE part ADD COLUMN more text;
CREATE TABLE child () INHERITS (t);
ALTER TABLE child NO INHERIT t;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE VIEW vo AS SELECT id FROM t WHERE id OPERATOR(public.===) 1;
ALTER OPERATOR === (int, int) SET SCHEMA another;
CREATE COLLATION mine (provider = icu, locale = 'und', deterministic = false);
ALTER TABLE part ALTER k TYPE text COLLATE mine;
ALTER COLLATION mine RENAME TO mine2;
CREATE SEQUENCE sq;
ALTER TABLE part ALTER id SET DEFAULT nextval('sq');
ALTER SEQUENCE sq RENAME TO sq2;
CREATE TEMPORARY TABLE tmp (a int);
CREATE MATERIALIZED VIEW mv AS SELECT id, a2 FROM t;
ALTER TABLE t ALTER id SET DEFAULT 7, ALTER a2 DROP DEFAULT, ADD CONSTRAINT late CHECK (id < 100) NOT VALID;
ALTER TABLE t VALIDATE CONSTRAINT late;
ALTER TABLE t RENAME CONSTRAINT late TO later;
ALTER FUNCTION pg_catalog.lower(text) RENAME TO lower_one;
CREATE FUNCTION pg_catalog.lower(text) RETURNS text LANGUAGE internal IMMUTABLE STRICT AS 'lower';
CREATE CAST (moods AS int) WITH INOUT;
DROP VIEW vv;
DROP VIEW vo;
CREATE EXTENSION citext;
CREATE TABLE ci (a citext);
ALTER EXTENSION citext SET SCHEMA another;
DROP EXTENSION citext CASCADE;
DROP SCHEMA another CASCADE;
DROP TABLE t CASCADE`, ";\n")

// TestLoadOverBefore changes a schema and holds what is read over the one from
// before against what is read anew.
func TestLoadOverBefore(t *testing.T) {
	ctx := context.Background()
	s, err := throwaway.PostgreSQL(ctx, throwaway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	c, err := pgx.Connect(ctx, s.URL(s.User, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	committed := connQuerier{c}
	read := func(before *catalog.Catalog) *catalog.Catalog {
		t.Helper()
		got, err := loadCatalog(ctx, committed, before)
		if err != nil {
			t.Fatal(err)
		}
		return got.Index()
	}
	exec := func(text string) {
		t.Helper()
		if _, err := c.Exec(ctx, text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for _, x := range []struct {
		path   string
		inside bool // in one transaction
	}{{"", false}, {"public", true}} {
		exec("SELECT set_config('search_path', '', false)")
		start := read(nil)
		if x.inside {
			exec("BEGIN")
		}
		before, kept := start, 0
		for _, change := range changes {
			exec("SET search_path TO public")
			exec(change)
			exec("SELECT set_config('search_path', '" + x.path + "', false)")
			got := read(before)
			var bare *catalog.Catalog // with no relations to keep, and none of the server's own where those are changed
			if !strings.Contains(change, "pg_catalog") {
				b := *before
				b.Marks = nil
				bare = &b
			}
			if diff := diffCatalogs(read(bare), got); diff != "" {
				t.Fatalf("after %q, %+v (-from nothing +over before):\n%s", change, x, diff)
			}
			for i := range got.Relations {
				if r := before.RelationByOID(got.Relations[i].OID); r != nil && min(len(r.Columns), len(got.Relations[i].Columns)) > 0 && &r.Columns[0] == &got.Relations[i].Columns[0] {
					kept++
				}
			}
			before = got
		}
		t.Logf("%+v: %d relations kept in %d changes", x, kept, len(changes))
		if kept == 0 {
			t.Error("nothing is ever kept")
		}
		if x.inside {
			exec("ROLLBACK")
			if diff := diffCatalogs(start, read(before)); diff != "" {
				t.Fatalf("after the transaction:\n%s", diff)
			}
		} else {
			exec("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP TABLE tmp; DROP FUNCTION pg_catalog.lower(text); ALTER FUNCTION pg_catalog.lower_one(text) RENAME TO lower")
		}
	}
}

// diffCatalogs leaves out for which path a text was written: what is kept was
// written for none, and reads the same under a longer one.
func diffCatalogs(want, got *catalog.Catalog) string {
	plain := func(c *catalog.Catalog) *catalog.Catalog {
		d := &catalog.Catalog{Schemas: c.Schemas, Relations: slices.Clone(c.Relations), Functions: c.Functions, Operators: c.Operators, Casts: c.Casts, Types: c.Types}
		for i := range d.Relations {
			d.Relations[i].DefinitionPath = nil
		}
		return d
	}
	want, got = plain(want), plain(got)
	if reflect.DeepEqual(want, got) { // cmp is slow
		return ""
	}
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(catalog.Catalog{}))
}

type connQuerier struct{ c *pgx.Conn }

func (q connQuerier) query(ctx context.Context, sql string, each func(cols [][]byte) error) error {
	r := q.c.PgConn().Exec(ctx, sql)
	for r.NextResult() {
		for r.ResultReader().NextRow() {
			if err := each(r.ResultReader().Values()); err != nil {
				return err
			}
		}
	}
	return r.Close()
}
