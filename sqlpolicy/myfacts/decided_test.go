package myfacts

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// applied is the view after a statement has succeeded, as far as a client
// could tell without a server.
func applied(v *catalog.View, st catalog.Statement) {
	b := &batch{view: v, d: dialect{}}
	c := *st.Change
	c.ReloadSession, c.Settings = false, nil
	_ = b.simulate(&catalog.Statement{Change: &c}, 0)
	if c.Temporary != nil {
		next := maps.Clone(v.Temporary)
		if next == nil {
			next = map[[2]string]*catalog.Relation{}
		}
		maps.Copy(next, c.Temporary)
		v.Temporary = next
	}
}

// decided says whether the corpus' policy lets a statement pass.
func decided(t *testing.T, p *sqlpolicy.Policy, v *catalog.View, text string) (allowed bool, why string) {
	t.Helper()
	list, err := Analyse(v, text, Limits{})
	if err != nil {
		return false, err.Error()
	}
	for _, st := range list {
		d := p.Decide(sqlpolicy.Input{Identity: facts.Identity{Name: "ana", Kind: "human"}, Session: facts.Session{Database: "shop"}, Facts: st.Facts, Text: st.Text})
		if d.Verdict != facts.Allow {
			if len(d.Refusals) > 0 {
				return false, d.Refusals[0].Message
			}
			return false, d.Verdict.String()
		}
		if st.Change != nil {
			applied(v, st)
		}
	}
	return true, ""
}

// corpus reads a file of testdata/noninterference/mysql, as the test of the
// whole proxy does: cases of statements, each in a session of its own.
func corpus(t *testing.T, name string) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "noninterference", "mysql", name))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(strings.TrimRight(line, "\n"), " -- unordered")
		switch {
		case strings.HasPrefix(line, "### "):
			section = line[4:]
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " "):
			list := out[section]
			list[len(list)-1] += "\n" + line
		default:
			out[section] = append(out[section], line)
		}
	}
	return out
}

func corpusPolicy(t *testing.T) *sqlpolicy.Policy {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "noninterference", "mysql", "policy.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := sqlpolicy.Parse(path, b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestEverydayStatementsPass: refusing is not masking.
func TestEverydayStatementsPass(t *testing.T) {
	p := corpusPolicy(t)
	sent, passed := 0, 0
	for name, list := range corpus(t, "everyday.txt") {
		v := goldenView(t)
		for _, text := range list {
			if strings.Contains(text, "made") {
				continue // over a schema that the statement before it makes
			}
			sent++
			if ok, why := decided(t, p, v, text); ok {
				passed++
			} else {
				t.Logf("[%s] refused: %s\n    %s", name, text, why)
			}
		}
	}
	share := float64(passed) / float64(sent)
	t.Logf("%d statements, %d passed (%.1f %%)", sent, passed, 100*share)
	if share < 0.97 {
		t.Errorf("only %.1f %% pass", 100*share)
	}
}
