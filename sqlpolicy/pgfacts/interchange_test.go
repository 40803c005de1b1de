package pgfacts

import (
	"slices"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

func TestLiterals(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // nil: not taken apart
	}{
		{"SELECT a FROM t WHERE id = 42", []string{"42"}},
		{"SELECT a FROM t WHERE id=42 AND b='x' AND c = '9'", []string{"42", "'x'", "'9'"}},
		{"SELECT a1, \"b'2\", 'it''s', 0, 007, 1.5, .5, 5., 1e5, 0x1F, 1_000, 1234567890, t.c FROM t", []string{"'it''s'"}},
		{"SELECT '', 'é', 'a\\b', '" + string(make([]byte, 0)) + "0123456789012345678901234567890123456789012345678'", []string{}},
		{"SELECT 'a'\n'b'", nil},
		{"SELECT 'a' 'b'", nil},
		{"SELECT E'a'", nil},
		{"SELECT U&'a'", nil},
		{"SELECT U&\"a\"", nil},
		{"SELECT 'a", nil},
		{"SELECT \"a", nil},
		{"SELECT $1", nil},
		{"SELECT '$1'", nil},
		{"SELECT $$a$$", nil},
		{"SELECT 1 -- 2", nil},
		{"SELECT /* 1 */ 2", nil},
		{"SELECT 1\x00", nil},
		{"SELECT \"a\x00\", 1", nil},
		{"SELECT é5, 5é, 5a", []string{}},
	} {
		got, ok := Literals(c.text, nil)
		if ok != (c.want != nil) {
			t.Errorf("%q: ok %v", c.text, ok)
			continue
		}
		var texts []string
		for _, l := range got {
			texts = append(texts, c.text[l.From:l.To])
		}
		if !slices.Equal(texts, c.want) {
			t.Errorf("%q: %q, want %q", c.text, texts, c.want)
		}
	}
}

// FuzzLiterals puts other constants in the places that Literals finds: to
// PostgreSQL's own lexer each must be one constant, and all else must stay as
// it is.
func FuzzLiterals(f *testing.F) {
	for _, s := range []string{
		"SELECT a FROM t WHERE id = 42 AND b = 'it''s' AND c IN (1,2,'9')", "INSERT INTO t VALUES (1,'a',-5),(2, 'b' ,+6)", "SELECT 1e-5, 1.5, x.1, a[1:2], 'a'::text, - 3, 5AS x",
		"SELECT 1..2, 3.4.5, 0b1, 1_0, \"a\"\"1\", 'a'AS b, b'1', 5'a', 5\"a\", 'a'5", "select 1;select 2;select 'é', 3", "SELECT @5, #5, 5!, 5::int, a->5, a->>'b', 5e, 5e+",
	} {
		f.Add(s, "7", "'z'")
	}
	f.Fuzz(func(t *testing.T, text, number, word string) {
		literals, ok := Literals(text, nil)
		if !ok || len(literals) == 0 {
			return
		}
		if len(number) > 9 || !catalog.SmallInt("1"+number) && number != "" {
			number = "23"
		}
		if l, ok := Literals(word, nil); !ok || len(l) != 1 || l[0].Kind != literalString || l[0].To != len(word) || l[0].From != 0 {
			word = "'what''s this'"
		}
		var other string
		at, moved := 0, make([]catalog.Literal, len(literals))
		for i, l := range literals {
			other += text[at:l.From]
			moved[i].From = len(other)
			switch l.Kind {
			case literalInt:
				other += ("1" + number)[:min(9, 1+len(number))]
			case literalString:
				other += word
			case literalDigits:
				other += "'2024-01-01'"
			}
			moved[i].To, at = len(other), l.To
		}
		other += text[at:]
		was, err1 := pg_query.Scan(text)
		is, err2 := pg_query.Scan(other)
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("%q: %v\n%q: %v", text, err1, other, err2)
		}
		if err1 != nil {
			return
		}
		if len(was.Tokens) != len(is.Tokens) {
			t.Fatalf("%q has %d tokens\n%q has %d", text, len(was.Tokens), other, len(is.Tokens))
		}
		n := 0
		for i, a := range was.Tokens {
			b := is.Tokens[i]
			if a.Token != b.Token {
				t.Fatalf("%q: token %d is %v\n%q: %v", text, i, a.Token, other, b.Token)
			}
			if n < len(literals) && int(a.Start) == literals[n].From {
				if int(a.End) != literals[n].To || int(b.Start) != moved[n].From || int(b.End) != moved[n].To ||
					a.Token != pg_query.Token_ICONST && a.Token != pg_query.Token_SCONST {
					t.Fatalf("%q: token %v from %d to %d, literal %v; %q: from %d to %d, %v", text, a.Token, a.Start, a.End, literals[n], other, b.Start, b.End, moved[n])
				}
				n++
			} else if text[a.Start:a.End] != other[b.Start:b.End] {
				t.Fatalf("%q: token %q\n%q: %q", text, text[a.Start:a.End], other, other[b.Start:b.End])
			}
		}
		if n != len(literals) {
			t.Fatalf("%q: %d of %d literals are tokens", text, n, len(literals))
		}
	})
}
