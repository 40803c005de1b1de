package myfacts

import (
	"slices"
	"strings"
	"testing"

	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

func TestLiterals(t *testing.T) {
	long := "'" + strings.Repeat("x", maxFree+1) + "'"
	for _, c := range []struct {
		text string
		want []string // nil: not taken apart
	}{
		{"SELECT a FROM t WHERE id = 42", []string{"42"}},
		{"SELECT a FROM t WHERE id=42 AND b='x' AND c = '9'", []string{"42", "'x'", "'9'"}},
		{"SELECT a1, `b'2`, 'it''s', 0, 007, 1.5, .5, 5., 1e5, 0x1F, 0b1, 1234567890, t.c, t.5, 5a, 1e5-6 FROM t", []string{"'it''s'", "6"}},
		{"SELECT '', 'é', " + long, []string{}},
		{"SELECT \"a\", 'b', \"c'd\", 'e\"f', \"\"\"\", 5", []string{"'b'", "'e\"f'", "5"}},
		{"SELECT @5, @a, @@sql_mode, @`b`, 6", []string{"6"}},
		{"SELECT 'a\\b'", nil},
		{"SELECT \"a\\b\", 5", nil},
		{"SELECT `a\\b`, 5", nil},
		{"SELECT 'a' 'b'", nil},
		{"SELECT 'a' \"b\"", nil},
		{"SELECT 'a'\n'b'", nil},
		{"SELECT 'a' `b`", nil},
		{"SELECT X'41'", nil},
		{"SELECT N'a'", nil},
		{"SELECT _utf8'a'", nil},
		{"SELECT _utf8 'a'", nil},
		{"SELECT _utf8\n\"a\"", nil},
		{"SELECT DATE'2024-01-01'", nil},
		{"SELECT DATE '2024-01-01'", []string{"'2024-01-01'"}}, // never free: the parser makes a call of it
		{"SELECT @'a'", nil},
		{"SELECT 'a", nil},
		{"SELECT `a", nil},
		{"SELECT \"a", nil},
		{"SELECT ?", nil},
		{"SELECT 1 -- 2", nil},
		{"SELECT 1--2", nil},
		{"SELECT 1 # 2", nil},
		{"SELECT /* 1 */ 2", nil},
		{"SELECT /*!50000 1 */", nil},
		{"SELECT 1\x00", nil},
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

// TestFree is which constants of a statement others may take the place of.
func TestFree(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"SELECT 5 FROM customers WHERE id = 7 AND name = 'x' LIMIT 9", []string{"7", "'x'"}},
		{"SELECT id FROM customers WHERE id BETWEEN 2 AND 3 AND 4 < id AND id IN (5, 6) ORDER BY 1", []string{"2", "3", "4", "5", "6"}},
		{"SELECT id FROM customers WHERE id = 1 OR name = 'x'", nil},
		{"SELECT id FROM customers WHERE NOT id = 1 AND id + 1 = 2 AND id = -3 AND abs(id) = 4", nil},
		{"SELECT id FROM customers WHERE name LIKE '%' AND id = 4", []string{"4"}},
		{"SELECT id FROM customers WHERE id = '5' AND id > '6' AND id IN ('7')", nil}, // numbers written as strings
		{"SELECT id FROM customers WHERE email = 5", nil},                             // no constant of the column's type
		{"SELECT id FROM customers WHERE name = _latin1 'x'", nil},
		{"SELECT id FROM customers WHERE name = 'x' COLLATE utf8mb4_bin", nil},
		{"SELECT count(*) FROM customers WHERE id = 1 GROUP BY city HAVING count(*) > 2 ORDER BY 1", []string{"1"}},
		{"UPDATE customers SET name = 'x', city = concat('y', 'z') WHERE id = 5", []string{"5", "'x'"}},
		{"DELETE FROM customers WHERE id = 5 LIMIT 2", []string{"5"}},
		{"INSERT INTO scratch (id, a) VALUES (1, 'x'), (-2, 'y') ON DUPLICATE KEY UPDATE a = 'z'", []string{"1", "'x'", "'y'"}},
		{"SELECT id FROM customers WHERE id = 1 UNION SELECT id FROM customers WHERE id = 2", nil},
		{"SELECT id FROM customers WHERE id = 1; SELECT 1", nil},
		{"SELECT id INTO @a FROM customers WHERE id = 1", nil},
		{"SET @a = 5", nil},
	} {
		list, err := Analyse(goldenView(t), c.text, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		l, err := lex(dialect{mariadb: true, version: 101119}, c.text, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, at := range list[0].Free {
			k := l.tokens[l.tokenAt(at)]
			got = append(got, c.text[k.from:k.to])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
}

// FuzzLiterals puts other constants in the places that Literals finds: to the
// lexer, under each sql_mode, each must be one constant, and all else must stay
// as it is.
func FuzzLiterals(f *testing.F) {
	for _, s := range []string{
		"SELECT a FROM t WHERE id = 42 AND b = 'it''s' AND c IN (1,2,'9')", "INSERT INTO t VALUES (1,'a',-5),(2, 'b' ,+6)", "SELECT 1e-5, 1.5, x.1, - 3, 5AS x, 'a'AS b",
		"SELECT 1..2, 3.4.5, 0b1, 1_0, \"a\"\"1\", `a``5`, b'1', 5'a', 5\"a\", 'a'5", "select 1;select 2;select 'é', 3", "SELECT @5, @ 5, @'a', _latin1 'a', _x.'a', \"a'\", 5, \"'\"",
		"SELECT 'a\\'', 5, 'b'", "SELECT 5e, 5e+, 5e-1, 0x5e-1, $5, a$5", "SELECT COUNT(5), COUNT (5)", "SELECT t.5, t .5, t. 5, `t`.5, \"t\".5, 5.`t`", "5'\f'\v5'\x7f'",
	} {
		f.Add(s, "7", "'z'")
	}
	f.Fuzz(func(t *testing.T, text, number, word string) {
		literals, ok := Literals(text, nil)
		if !ok || len(literals) == 0 {
			return
		}
		if number == "" || len(number) > 8 || !catalog.SmallInt("1"+number) {
			number = "23"
		}
		if l, ok := Literals(word, nil); !ok || len(l) != 1 || l[0].Kind != literalString || l[0].To != len(word) || l[0].From != 0 {
			word = "'what''s \"this'"
		}
		var other strings.Builder
		at, moved := 0, make([]catalog.Literal, len(literals))
		for i, l := range literals {
			other.WriteString(text[at:l.From])
			moved[i].From = other.Len()
			if l.Kind == literalInt {
				other.WriteString("1" + number)
			} else {
				other.WriteString(word)
			}
			moved[i].To, at = other.Len(), l.To
		}
		other.WriteString(text[at:])
		for _, mode := range []mysql.SQLMode{0, mysql.ModeANSIQuotes, mysql.ModeNoBackslashEscapes, mysql.ModeANSIQuotes | mysql.ModeNoBackslashEscapes | mysql.ModeIgnoreSpace} {
			d := dialect{mariadb: true, version: 101119, mode: mode}
			was, err1 := lex(d, text, Limits{})
			is, err2 := lex(d, other.String(), Limits{})
			if (err1 == nil) != (err2 == nil) {
				t.Fatalf("%q: %v\n%q: %v", text, err1, other.String(), err2)
			}
			if err1 == nil {
				sameButLiterals(t, was, is, literals, moved)
			}
		}
	})
}

func sameButLiterals(t *testing.T, was, is *lexed, literals, moved []catalog.Literal) {
	t.Helper()
	if len(was.tokens) != len(is.tokens) {
		t.Fatalf("%q has %d tokens\n%q has %d", was.text, len(was.tokens), is.text, len(is.tokens))
	}
	n := 0
	for i, a := range was.tokens {
		b := is.tokens[i]
		if a.kind != b.kind || a.depth != b.depth {
			t.Fatalf("%q: token %d is %v\n%q: %v", was.text, i, a, is.text, b)
		}
		if n < len(literals) && a.from == literals[n].From {
			if a.to != literals[n].To || b.from != moved[n].From || b.to != moved[n].To || a.kind != tokNumber && a.kind != tokString {
				t.Fatalf("%q: token %v, literal %v; %q: token %v, literal %v", was.text, a, literals[n], is.text, b, moved[n])
			}
			n++
		} else if was.text[a.from:a.to] != is.text[b.from:b.to] {
			t.Fatalf("%q: token %q\n%q: %q", was.text, was.text[a.from:a.to], is.text, is.text[b.from:b.to])
		}
	}
	if n != len(literals) {
		t.Fatalf("%q: %d of %d literals are tokens", was.text, n, len(literals))
	}
}
