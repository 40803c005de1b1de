package pgfacts

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

var update = flag.Bool("update", false, "rewrite the wants of testdata/lineage")

// goldenCatalog is what testdata/catalog.sql makes of PostgreSQL 15 with the
// schema of testdata/noninterference.
var goldenCatalog = sync.OnceValues(func() (*catalog.Catalog, error) {
	f, err := os.Open(filepath.Join("testdata", "catalog15.json.gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	c := &catalog.Catalog{}
	if err := json.NewDecoder(z).Decode(c); err != nil {
		return nil, err
	}
	return c.Index(), nil
})

func goldenView(t testing.TB) *catalog.View {
	t.Helper()
	c, err := goldenCatalog()
	if err != nil {
		t.Fatalf("reading the golden catalog: %v", err)
	}
	return &catalog.View{Catalog: c, SearchPath: []string{"pg_catalog", "public"}, Role: "app"}
}

// TestLineageCorpus analyses the statements of testdata/lineage. A case is a
// statement, a line "----" and what is said of it, up to an empty line.
func TestLineageCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "lineage", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
				if strings.HasPrefix(block, "#") {
					out.WriteString(block + "\n\n")
					continue
				}
				sql, want, _ := strings.Cut(block, "\n----\n")
				sql = strings.TrimSuffix(sql, "\n----")
				got := describe(goldenView(t), sql)
				fmt.Fprintf(&out, "%s\n----\n%s\n\n", sql, got)
				if !*update && got != want {
					t.Errorf("%s\ngot:\n%s\nwant:\n%s", sql, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// describe writes what analysis says of a statement, a line for each output,
// use, constant and problem.
func describe(view *catalog.View, sql string) string {
	tree, err := pg_query.Parse(sql)
	if err != nil {
		return "syntax: " + err.Error()
	}
	var lines []string
	for _, s := range tree.Stmts {
		a := newAnalysis(view, sql)
		outs, err := a.query(s.Stmt, nil)
		if err != nil {
			p := err.(*facts.Problem)
			lines = append(lines, fmt.Sprintf("problem %s at %d: %s", p.Code, p.At, p.Message))
			continue
		}
		for _, o := range outs {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("-> %s %s: %s", o.Name, strings.TrimPrefix(o.Type.Name, "pg_catalog."), sourcesText(a.f, o.Sources)), " "))
		}
		for _, u := range a.f.Uses {
			lines = append(lines, useText(a.f, u))
		}
		for _, c := range a.f.Constants {
			lines = append(lines, fmt.Sprintf("constant %s meets %s", sql[c.From:c.To], refsText(a.f, c.Columns)))
		}
		for _, c := range a.f.ParamUses {
			lines = append(lines, fmt.Sprintf("parameter $%d meets %s", c.Param, refsText(a.f, c.Columns)))
		}
		for _, m := range a.arms {
			lines = append(lines, armText(a.f, m))
		}
	}
	return strings.Join(lines, "\n")
}

func armText(f *facts.Facts, m *arm) string {
	var rels []string
	for _, r := range m.relations {
		rels = append(rels, r.Name)
	}
	s := "arm"
	if m.target != nil {
		s += " writes " + m.target.Name
	}
	if len(rels) > 0 {
		s += " reads " + strings.Join(rels, ",")
	}
	if len(m.columns) > 0 {
		s += " columns " + refsText(f, m.columns)
	}
	if len(m.functions) > 0 {
		s += " calls " + strings.ReplaceAll(strings.Join(m.functions, ","), "pg_catalog.", "")
	}
	return s
}

func useText(f *facts.Facts, u facts.Use) string {
	s := string(u.Kind)
	if u.Name != "" {
		s += " " + u.Name
	}
	if len(u.Columns) > 0 {
		s += " " + refsText(f, u.Columns)
	}
	if len(u.With) > 0 {
		s += " with " + refsText(f, u.With)
	}
	if u.Into != nil {
		s += " into " + refsText(f, []facts.ColumnRef{*u.Into})
	}
	s += " by " + u.What
	if u.InPredicate {
		s += " (in predicate)"
	}
	return s
}

func sourcesText(f *facts.Facts, sources []facts.Source) string {
	var out []string
	for _, s := range sources {
		name := refsText(f, []facts.ColumnRef{s.ColumnRef})
		if !s.Direct {
			name = "~" + name
		}
		out = append(out, name)
	}
	return strings.Join(out, ",")
}

func refsText(f *facts.Facts, refs []facts.ColumnRef) string {
	var out []string
	for _, r := range refs {
		t := f.Tables[r.Table]
		name := t.Name.Name
		if t.Schema != "public" && t.Schema != "pg_catalog" {
			name = t.Schema + "." + name
		}
		out = append(out, name+"."+t.Columns[r.Column].Name)
	}
	return strings.Join(out, ",")
}
