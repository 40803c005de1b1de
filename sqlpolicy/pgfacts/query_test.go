package pgfacts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// analyseOne analyses the one statement of a text with a view of the golden
// catalog.
func analyseOne(t testing.TB, v *catalog.View, sql string, types ...string) (*analysis, []facts.Output, error) {
	t.Helper()
	tree, err := pg_query.Parse(sql)
	if err != nil || len(tree.Stmts) != 1 {
		t.Fatalf("%s: %v", sql, err)
	}
	a := newAnalysis(v, sql)
	outs, err := a.query(tree.Stmts[0].Stmt, types)
	return a, outs, err
}

// TestSearchPathDecides: a function or operator that hides the built-in one
// is code that cannot be read.
func TestSearchPathDecides(t *testing.T) {
	for _, c := range []struct {
		sql, code string
	}{
		{"SELECT lower(name) FROM customers", "other.lower"},
		{"SELECT id FROM customers WHERE email = 'x'", "app.same"},
		{"SELECT id FROM customers WHERE email IN ('x')", "app.same"},
		{"SELECT nullif(email, 'x') FROM customers", "app.same"},
		{"SELECT CASE email WHEN 'x' THEN 1 END FROM customers", "app.same"},
		{"SELECT a.id FROM scratch a JOIN scratch b USING (email)", "app.same"},
		{"SELECT id FROM customers WHERE (email, id) = ('x', 1)", "app.same"},
		{"SELECT id FROM customers WHERE email IN (SELECT mail FROM crm.contacts)", "app.same"},
		{"SELECT id FROM customers WHERE email = ANY ('{a}')", "app.same"},
	} {
		for _, path := range [][]string{{"other", "pg_catalog", "public"}, {"pg_catalog", "other", "public"}} {
			v := goldenView(t)
			v.SearchPath = path
			a, _, err := analyseOne(t, v, c.sql)
			if err != nil {
				t.Fatalf("%s: %v", c.sql, err)
			}
			got := ""
			for _, u := range a.f.Uses {
				if u.Kind == facts.UseCode {
					got = u.Name
				}
			}
			want := c.code
			if path[0] == "pg_catalog" {
				want = ""
			}
			if got != want {
				t.Errorf("%s with path %v runs code %q, want %q", c.sql, path, got, want)
			}
		}
	}
}

func TestParameterTypes(t *testing.T) {
	for _, c := range []struct {
		sql   string
		types []string
		kind  facts.UseKind
	}{
		{"SELECT id FROM customers WHERE email = $1", nil, facts.UseEqual},
		{"SELECT id FROM customers WHERE email = $1", []string{"pg_catalog.text"}, facts.UseEqual},
		{"SELECT id FROM customers WHERE email = $1", []string{"varchar"}, facts.UseEqual},
		{"SELECT id FROM customers WHERE email = $1", []string{"name"}, facts.UseCompare},
		{"SELECT id FROM customers WHERE email = $1", []string{"citext"}, facts.UseCompare},
		{"SELECT id FROM customers WHERE email = $1::text", nil, facts.UseEqual},
		{"SELECT id FROM customers WHERE email = $1::varchar(3)", nil, facts.UseCompare},
		{"SELECT $1::citext, id FROM customers WHERE email = $1", nil, facts.UseCompare},
		{"SELECT id FROM customers WHERE salary = $1", []string{"bigint"}, facts.UseEqual},
		{"SELECT id FROM customers WHERE salary = $1", []string{"numeric"}, facts.UseCompare},
		{"SELECT id FROM customers WHERE email = ANY ($1)", []string{"text[]"}, facts.UseEqual},
		{"SELECT id FROM customers WHERE email = ANY ($1::text[])", nil, facts.UseEqual},
	} {
		a, _, err := analyseOne(t, goldenView(t), c.sql, c.types...)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if len(a.f.Uses) != 1 || a.f.Uses[0].Kind != c.kind {
			t.Errorf("%s with %v: uses %+v, want one %s", c.sql, c.types, a.f.Uses, c.kind)
		}
		if len(a.f.ParamUses) != 1 || a.f.ParamUses[0].Param != 1 {
			t.Errorf("%s: parameter uses %+v", c.sql, a.f.ParamUses)
		}
	}
}

func TestSettingsAreNoted(t *testing.T) {
	a, _, err := analyseOne(t, goldenView(t), "SELECT set_config('search_path', 'x, y', true), set_config('a' || 'b', name, false) FROM customers")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.settings) != 2 || a.settings[0].name != "search_path" || a.settings[0].value == nil || !a.settings[0].local ||
		a.settings[1].name != "" || a.settings[1].value != nil || a.settings[1].local {
		t.Errorf("settings: %+v", a.settings)
	}
}

func TestCopiedRows(t *testing.T) {
	v := goldenView(t)
	a := newAnalysis(v, "")
	a.copied(v.Relation("", "customers"), []string{"id", "ssn"})
	if a.problem != nil {
		t.Fatal(a.problem)
	}
	found := false
	for _, u := range a.f.Uses {
		found = found || u.Kind == facts.UseEqual && strings.Contains(u.What, "customers_ssn")
	}
	if !found {
		t.Errorf("copying into a unique column: %+v", a.f.Uses)
	}
	a = newAnalysis(v, "")
	a.copied(v.Relation("", "triggered"), []string{"id", "v"})
	if len(a.f.Uses) != 1 || a.f.Uses[0].Kind != facts.UseCode {
		t.Errorf("copying into a table with a trigger: %+v", a.f.Uses)
	}
}

// TestNestedRecursionEnds: rounds within rounds are bounded.
func TestNestedRecursionEnds(t *testing.T) {
	sql := "SELECT 1 AS a"
	for range 12 {
		sql = "WITH RECURSIVE r(a) AS (SELECT a FROM (" + sql + ") q UNION ALL SELECT a + 1 FROM r, (" + "SELECT 1" + ") z) SELECT a FROM r"
	}
	if _, _, err := analyseOne(t, goldenView(t), sql); err != nil {
		t.Logf("refused: %v", err)
	}
}

// FuzzQuery holds analysis to its promises on whatever parses: no panic, and
// every column it speaks of is there.
func FuzzQuery(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "lineage", "*.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, block := range strings.Split(string(b), "\n\n") {
			sql, _, _ := strings.Cut(block, "\n----")
			f.Add(sql)
		}
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if guard(sql, Limits{Statement: 1 << 16, Depth: 200}) != nil {
			return
		}
		tree, err := pg_query.Parse(sql)
		if err != nil {
			return
		}
		for _, s := range tree.Stmts {
			switch s.Stmt.GetNode().(type) {
			case *pg_query.Node_SelectStmt, *pg_query.Node_InsertStmt, *pg_query.Node_UpdateStmt, *pg_query.Node_DeleteStmt, *pg_query.Node_MergeStmt:
			default:
				continue
			}
			a := newAnalysis(goldenView(t), sql)
			outs, err := a.query(s.Stmt, nil)
			if err != nil {
				continue
			}
			checkFacts(t, a.f, outs, len(sql))
		}
	})
}

func checkFacts(t *testing.T, f *facts.Facts, outs []facts.Output, size int) {
	t.Helper()
	check := func(refs []facts.ColumnRef) {
		for _, r := range refs {
			if r.Table < 0 || r.Table >= len(f.Tables) || r.Column < 0 || r.Column >= len(f.Tables[r.Table].Columns) {
				t.Fatalf("no such column: %+v", r)
			}
		}
	}
	for _, o := range outs {
		for _, s := range o.Sources {
			check([]facts.ColumnRef{s.ColumnRef})
		}
	}
	for _, u := range f.Uses {
		check(u.Columns)
		check(u.With)
		if u.Into != nil {
			check([]facts.ColumnRef{*u.Into})
		}
		if u.At < -1 || u.At > size || u.What == "" {
			t.Fatalf("use %+v", u)
		}
	}
	for _, c := range f.Constants {
		check(c.Columns)
		if c.From < 0 || c.To <= c.From || c.To > size {
			t.Fatalf("constant %+v in %d bytes", c, size)
		}
	}
}
