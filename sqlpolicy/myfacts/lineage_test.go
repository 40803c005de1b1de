package myfacts

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

var update = flag.Bool("update", false, "rewrite the wants of testdata/lineage")

// TestLineageCorpus analyses the statements of testdata/lineage. A case is a
// text, a line "----" and what is said of it, up to an empty line.
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

// describe writes what analysis says of a text, a line for each output, use,
// constant, effect and problem.
func describe(view *catalog.View, sql string) string {
	list, err := Analyse(view, sql, Limits{})
	if err != nil {
		p := err.(*facts.Problem)
		return fmt.Sprintf("problem %s at %d: %s", p.Code, p.At, p.Message)
	}
	var lines []string
	for _, st := range list {
		f := st.Facts
		for _, o := range f.Outputs {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("-> %s %s: %s", o.Name, o.Type.Kind, sourcesText(f, o.Sources)), " "))
		}
		for _, u := range f.Uses {
			lines = append(lines, useText(f, u))
		}
		for _, c := range f.Constants {
			lines = append(lines, fmt.Sprintf("constant %s meets %s", st.Text[c.From:c.To], refsText(f, c.Columns)))
		}
		for _, c := range f.ParamUses {
			lines = append(lines, fmt.Sprintf("parameter %d meets %s", c.Param, refsText(f, c.Columns)))
		}
		for _, e := range f.Effects {
			lines = append(lines, effectText(f, e))
		}
	}
	return strings.Join(lines, "\n")
}

func effectText(f *facts.Facts, e facts.Effect) string {
	s := fmt.Sprintf("%s by %s", e.Action, e.Verb)
	var objects []string
	for _, o := range e.Objects {
		objects = append(objects, o.Kind+" "+o.String())
	}
	if len(objects) > 0 {
		s += " of " + strings.Join(objects, ", ")
	}
	if len(e.Columns) > 0 {
		s += " columns " + refsText(f, e.Columns)
	}
	if len(e.Functions) > 0 {
		s += " calls " + strings.Join(e.Functions, ",")
	}
	if e.Destructive {
		s += ", destructive"
	}
	if e.Filtered {
		s += ", filtered"
	}
	if e.Limited {
		s += fmt.Sprintf(", limited to %d", e.Limit)
	}
	if e.LimitParam > 0 {
		s += fmt.Sprintf(", limited by parameter %d", e.LimitParam)
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
	for _, p := range u.Params {
		s += fmt.Sprintf(" (parameter %d as %s)", p.Param, p.Kind)
	}
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
		if t.Schema != "shop" {
			name = t.Schema + "." + name
		}
		out = append(out, name+"."+t.Columns[r.Column].Name)
	}
	return strings.Join(out, ",")
}
