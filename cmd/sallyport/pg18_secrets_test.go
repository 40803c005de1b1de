package main

import (
	"bytes"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestNonInterferenceOnNewer is TestNonInterference for what PostgreSQL 18 has
// and 15 has not: columns that are computed when they are read, and keys by
// time, which tell of overlaps.
func TestNonInterferenceOnNewer(t *testing.T) {
	t.Parallel()
	const schema = `CREATE TABLE people (id integer PRIMARY KEY, name text, salary integer,
			ratio integer GENERATED ALWAYS AS (1000 / (salary - 39000)) VIRTUAL, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL);
		CREATE TABLE choosy (id integer PRIMARY KEY, ssn text, pick integer GENERATED ALWAYS AS (CASE WHEN ssn LIKE '1%' THEN 1 / (id - id) ELSE 1 END) VIRTUAL);
		CREATE TABLE calm (id integer PRIMARY KEY, ssn text, tail text GENERATED ALWAYS AS (right(ssn, 4)) VIRTUAL);
		CREATE TABLE stays (room int4range, span daterange, guest text, UNIQUE (room, span WITHOUT OVERLAPS));`
	rows := map[string]string{
		"a": `INSERT INTO people VALUES (1, 'Ana', 39000), (2, 'Bo', 1); INSERT INTO calm VALUES (1, '111-11-1111'); INSERT INTO choosy VALUES (1, '111-11-1111');
			INSERT INTO stays VALUES ('[1,1]', '[2026-01-01,2026-01-05)', 'Ana');`,
		"b": `INSERT INTO people VALUES (1, 'Ana', 50000), (2, 'Bo', 39000); INSERT INTO calm VALUES (1, '999-99-9999'); INSERT INTO choosy VALUES (1, '999-99-9999');
			INSERT INTO stays VALUES ('[1,1]', '[2026-02-01,2026-02-05)', 'Ana');`,
	}
	const policy = `version: 1
classes:
  salary: {mask: redact, compare: none}
  ssn:    {mask: redact, compare: none}
  span:   {mask: redact, compare: equality}
columns:
  - {class: salary, match: ["people.salary"]}
  - {class: ssn,    match: ["*.ssn"]}
  - {class: span,   match: ["stays.span"]}
`
	tw := startTwinsOf(t, policy, func(t *testing.T, side string) *throwaway.Server {
		t.Helper()
		return startPostgreSQL(t, throwaway.Options{Version: "18"}, schema, rows[side])
	})
	statements := []struct {
		text    string
		forward bool
	}{
		{"SELECT id, name, salary FROM people WHERE id = 1", false}, // the table has a column that may fail
		{"SELECT ratio FROM people WHERE id = 1", false},
		{"SELECT * FROM people WHERE id = 2", false},
		{"SELECT count(ratio) FROM people", false},
		{"SELECT id FROM people WHERE ratio > 0", false},
		{"UPDATE people SET name = 'x' WHERE id = 1 RETURNING ratio", false},
		{"SELECT pick FROM choosy", false},
		{"SELECT * FROM choosy WHERE id = 1", false},
		{"SELECT id, ssn, tail FROM calm", true},
		{"SELECT tail FROM calm WHERE id = 1", true},
		{"SELECT id FROM calm WHERE tail = '1111'", false},
		{"UPDATE calm SET id = id WHERE id = 1 RETURNING OLD.ssn, NEW.tail", true}, // an error: the parser is PostgreSQL 17's
		{"INSERT INTO stays VALUES ('[1,1]', '[2026-01-03,2026-01-09)', 'Bo')", false},
		{"INSERT INTO stays VALUES ('[1,1]', '[2026-02-03,2026-02-09)', 'Bo') ON CONFLICT DO NOTHING", false},
		{"UPDATE stays SET span = '[2026-01-04,2026-02-04)' WHERE guest = 'Bo'", false},
		{"SELECT guest, span FROM stays", true},
		{"SELECT guest FROM stays WHERE span = '[2026-01-01,2026-01-05)' AND guest = 'Cy'", false}, // equality of ranges is not exact
		{"SELECT guest FROM stays WHERE span && '[2026-01-01,2026-01-05)'", false},
		{"SELECT uuidv7() IS NOT NULL, uuid_extract_version(uuidv7())", true},
		{"SELECT count(*) FROM pg_aios WHERE false", true},
	}
	for _, mode := range rawModes {
		c := corpusCase{name: mode.name}
		for i, s := range statements {
			c.statements = append(c.statements, corpusStatement{text: s.text, line: i})
		}
		for _, r := range tw.run(t, mode, c) {
			if !bytes.Equal(r.a.bytes, r.b.bytes) || r.a.died != r.b.died {
				t.Errorf("%s differs: %s\n  A%s\n%s  B%s\n%s", mode.name, r.statement.text, ended(r.a), describeFrames(r.a.bytes), ended(r.b), describeFrames(r.b.bytes))
			}
			if want := statements[r.statement.line].forward; r.a.forwarded != want {
				t.Errorf("%s: %s: forwarded is %v, %s", mode.name, r.statement.text, r.a.forwarded, r.a.problem)
			}
		}
	}
}
