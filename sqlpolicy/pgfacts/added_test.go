package pgfacts

import (
	"encoding/json"
	"strings"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// changedView is a view of the golden catalog after a change.
func changedView(t *testing.T, change func(c *catalog.Catalog)) *catalog.View {
	t.Helper()
	c, err := goldenCatalog()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out := &catalog.Catalog{}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	change(out)
	return &catalog.View{Catalog: out.Index(), SearchPath: []string{"pg_catalog", "public"}, Role: "app"}
}

func relationOf(c *catalog.Catalog, name string) *catalog.Relation {
	for i := range c.Relations {
		if c.Relations[i].Name == name && c.Relations[i].Schema == "public" {
			return &c.Relations[i]
		}
	}
	panic("no relation " + name)
}

// TestHiddenCode: casts, domains and conversions run functions that nobody
// names.
func TestHiddenCode(t *testing.T) {
	v := changedView(t, func(c *catalog.Catalog) {
		c.Casts = append(c.Casts,
			catalog.Cast{From: "public.order_status", To: "pg_catalog.text", Function: "app.noisy", Method: "f", Context: "i"},
			catalog.Cast{From: "public.order_status", To: "pg_catalog.json", Function: "app.noisy", Method: "f", Context: "a"})
		for i := range c.Types {
			if c.Types[i].Name == "positive_int" {
				c.Types[i].Check = "app.lies(VALUE) > 0"
			}
		}
		relationOf(c, "scratch").Constraints = append(relationOf(c, "scratch").Constraints,
			catalog.Constraint{Name: "ck", Kind: "c", Columns: []int32{3}, Expr: "(app.lies(b) > 0)"})
		relationOf(c, "events").Indexes = append(relationOf(c, "events").Indexes,
			catalog.IndexDef{Name: "ix", Columns: []int32{0}, Exprs: []string{"app.noisy(kind)"}})
	})
	for _, c := range []struct{ sql, code string }{
		{"SELECT status::text FROM orders", "app.noisy"},
		{"SELECT status || 'x'::text FROM orders", "app.noisy"},
		{"SELECT id FROM orders WHERE status = 'x'::text", "app.noisy"},
		{"SELECT id FROM orders WHERE status LIKE 'x'", "app.noisy"},
		{"SELECT status FROM orders UNION SELECT 'x'::text", "app.noisy"},
		{"SELECT CASE WHEN true THEN status ELSE title END FROM orders, products", "app.noisy"},
		{"SELECT ARRAY[status]::text[] FROM orders", "app.noisy"},
		{"SELECT to_json(status) FROM orders", "app.noisy"},
		{"SELECT json_agg(o) FROM orders o", "app.noisy"},
		{"SELECT upper(status) FROM orders", "app.noisy"},
		{"SELECT 5::positive_int", "app.lies"},
		{"UPDATE scratch SET a = 'paid'::order_status", "app.noisy"},
		{"INSERT INTO products (id, tags[1]) VALUES (900, 'paid'::order_status)", "app.noisy"},
		{"UPDATE products SET tags[1] = 'paid'::order_status", "app.noisy"},
		{"SELECT NULL::products", "app.lies"},
		{"SELECT * FROM json_to_recordset('[]') AS t(a positive_int)", "app.lies"},
		{"UPDATE products SET stock = 5", "app.lies"},
		{"INSERT INTO products (id, title, price, stock) VALUES (1, 'x', 1, $1)", "app.lies"},
		{"INSERT INTO scratch (b) VALUES (1)", "app.lies"},
		{"UPDATE scratch SET b = 1", "app.lies"},
		{"UPDATE scratch SET a = 'x'", ""},
		{"UPDATE events SET kind = 'x'", "app.noisy"},
		{"UPDATE events SET payload = NULL", ""},
		{"SELECT status FROM orders", ""},
	} {
		a, _, err := analyseOne(t, v, c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		got := ""
		for _, u := range a.f.Uses {
			if u.Kind == facts.UseCode {
				got = u.Name
			}
		}
		if got != c.code {
			t.Errorf("%s runs %q, want %q", c.sql, got, c.code)
		}
	}
}

// TestTightRows: what does not fit tells how long the rest is.
func TestTightRows(t *testing.T) {
	v := changedView(t, func(c *catalog.Catalog) {
		r := relationOf(c, "scratch")
		r.Indexes = append(r.Indexes, catalog.IndexDef{Name: "both", Columns: []int32{2, 5}})
		d := relationOf(c, "documents")
		d.Columns[1].Inline = true
		k := relationOf(c, "customers")
		k.Constraints = append(k.Constraints, catalog.Constraint{Name: "later", Kind: "c", Columns: []int32{7}, Expr: "(salary > 100)", NotValid: true})
		k.Columns[2].Collation = "pg_catalog.C"
		k.Columns[9].Collation = "pg_catalog.POSIX"
	})
	for _, c := range []struct{ sql, what string }{
		{"UPDATE scratch SET a = $1", "both"},
		{"UPDATE scratch SET a = '" + strings.Repeat("x", 300) + "'", "both"},
		{"UPDATE scratch SET a = 'short'", ""},
		{"UPDATE scratch SET id = 1", ""},
		{"UPDATE documents SET id = 1", "too long"},
		{"UPDATE customers SET city = 'x'", "later"},
		{"SELECT upper(ssn || city || note) FROM customers", "upper()"},
		{"SELECT upper(ssn || city) FROM customers", ""},
		{"SELECT max(city || note) FROM customers", "max()"},
	} {
		a, _, err := analyseOne(t, v, c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		got := ""
		for _, u := range a.f.Uses {
			if u.Kind == facts.UseOpaque || u.Kind == facts.UseCompare && strings.Contains(u.What, ">") {
				got += u.What + " "
			}
		}
		want := c.what
		if want == "later" {
			want = "the operator >"
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", c.sql, got, c.what)
		}
	}
}

// TestComputedParameters: what EXECUTE computes is not what the client sent.
func TestComputedParameters(t *testing.T) {
	a := newAnalysis(goldenView(t), "SELECT id FROM customers WHERE email = $1")
	a.computedParams = map[int]bool{1: true}
	tree, err := pg_query.Parse(a.text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.query(tree.Stmts[0].Stmt, nil); err != nil {
		t.Fatal(err)
	}
	if len(a.f.Uses) != 1 || a.f.Uses[0].Kind != facts.UseCompare {
		t.Errorf("uses: %+v", a.f.Uses)
	}
}

func TestOverTable(t *testing.T) {
	v := goldenView(t)
	for _, c := range []struct {
		expr string
		kind facts.UseKind
	}{
		{"app.lies(id)", facts.UseCode}, {"1 / salary", facts.UseOpaque}, {"salary > 100", facts.UseCompare}, {"email IS NULL", facts.UseEqual},
	} {
		a := newAnalysis(v, "")
		a.overTable(v.Relation("", "customers"), a.parseExprs(c.expr)...)
		a.finish()
		if a.problem != nil || len(a.f.Uses) == 0 || a.f.Uses[0].Kind != c.kind {
			t.Errorf("%s: %v, %+v", c.expr, a.problem, a.f.Uses)
		}
	}
	a := newAnalysis(v, "")
	a.references(v.Relation("", "scratch"), []string{"a"}, v.Relation("", "customers"), []string{"ssn"})
	a.finish()
	if len(a.f.Uses) != 2 || a.f.Uses[0].Kind != facts.UseEqual {
		t.Errorf("a foreign key: %+v", a.f.Uses)
	}
}

// TestTexts: which statements of a text pass over what the earlier ones have
// made of names.
func TestTexts(t *testing.T) {
	v := changedView(t, func(*catalog.Catalog) {})
	for text, passes := range map[string]bool{
		"CREATE TABLE fresh (a int PRIMARY KEY, b text NOT NULL DEFAULT 'x', UNIQUE (b)); INSERT INTO fresh VALUES (1); SELECT * FROM fresh":              true,
		"CREATE TEMPORARY TABLE fresh (id text primary key, n int not null, unique (n) deferrable initially deferred); INSERT INTO fresh VALUES ('a', 1)": true,
		"CREATE TEMP TABLE fresh (a timestamptz DEFAULT now()); INSERT INTO fresh DEFAULT VALUES RETURNING a":                                             true,
		"BEGIN; CREATE TABLE fresh (a int); COMMIT; SELECT a FROM fresh":                                                                                  true,
		"BEGIN; CREATE TABLE fresh (a int); ROLLBACK; SELECT a FROM fresh":                                                                                false,
		"BEGIN; CREATE TABLE fresh (a int); ROLLBACK":                                                                                                     true,
		"BEGIN; SAVEPOINT s; CREATE TABLE fresh (a int); ROLLBACK TO s; SELECT 1 FROM customers":                                                          false,
		"BEGIN; SET LOCAL search_path = app; COMMIT; SELECT 1 FROM customers":                                                                             false,
		"BEGIN; UPDATE scratch SET a = 'x' WHERE id = 1; ROLLBACK; SELECT 1 FROM customers":                                                               true,
		"CREATE TEMP TABLE fresh (a int) ON COMMIT DROP; SELECT a FROM fresh":                                                                             false,
		"CREATE TEMP TABLE customers (a int); SELECT a FROM customers":                                                                                    false,
		"CREATE TABLE fresh (a int CHECK (a > 0)); INSERT INTO fresh VALUES (1)":                                                                          false,
		"CREATE TABLE fresh (a int); DROP TABLE fresh; SELECT 1 FROM customers":                                                                           false,
	} {
		_, err := Analyse(v, text, Limits{Statement: 1 << 20, Depth: 100})
		if (err == nil) != passes {
			t.Errorf("%s: %v, want it to pass: %v", text, err, passes)
		}
	}
	v.Reverting = true
	if _, err := Analyse(v, "ROLLBACK; SELECT 1 FROM customers", Limits{Statement: 1 << 20, Depth: 100}); err == nil {
		t.Error("a text passes that ends a transaction which has changed what names mean, and uses one")
	}
}
