package pgfacts

import (
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"
)

func TestLiteralEnd(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"SELECT 'a' x", "'a'"},
		{"SELECT 'it''s' x", "'it''s'"},
		{"SELECT e'it\\'s' x", "e'it\\'s'"},
		{"SELECT E'a\\\\' x", "E'a\\\\'"},
		{"SELECT U&'d\\0061t' x", "U&'d\\0061t'"},
		{"SELECT B'0101' x", "B'0101'"},
		{"SELECT $$a'b$$ x", "$$a'b$$"},
		{"SELECT $q$a$$b$q$ x", "$q$a$$b$q$"},
		{"SELECT 'a'\n 'b' x", "'a'\n 'b'"},
		{"SELECT 12 + 3", "12"},
		{"SELECT 1.5e-7 x", "1.5e-7"},
		{"SELECT -5 x", "-5"},
		{"SELECT true", "true"},
		{"SELECT 'é' x", "'é'"},
	} {
		tree, err := pg_query.Parse(c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		at := -1
		walk(tree.Stmts[0].Stmt, func(n *pg_query.Node) bool {
			if k := n.GetAConst(); k != nil && at < 0 {
				at = int(k.Location)
			}
			return true
		})
		if at < 0 {
			t.Fatalf("%s: no literal", c.text)
		}
		if got := c.text[at:literalEnd(c.text, at)]; got != c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
	}
}

func FuzzLiteralEnd(f *testing.F) {
	f.Add("'a' 'b'", 0)
	f.Add("$q$", 0)
	f.Add("u&'", 0)
	f.Fuzz(func(t *testing.T, text string, at int) {
		if end := literalEnd(text, at); end > len(text) || at >= 0 && at < len(text) && end <= at {
			t.Errorf("literalEnd(%q, %d) = %d", text, at, end)
		}
	})
}
