package replay

import (
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestPlace(t *testing.T) {
	params := []facts.Param{{Known: true, Text: "it's"}, {Null: true, Known: true}, {Known: true, Text: `a\b`}}
	for in, want := range map[string]string{
		"SELECT $1, $2, $3":                      `SELECT 'it''s', NULL, E'a\\b'`,
		"SELECT '$1', \"$1\", $1":                `SELECT '$1', "$1", 'it''s'`,
		"SELECT '''$1' -- $1\n, $1":              "SELECT '''$1' -- $1\n, 'it''s'",
		"SELECT /* $1 /* $2 */ $1 */ $2":         "SELECT /* $1 /* $2 */ $1 */ NULL",
		"SELECT E'\\'$1', $2":                    "SELECT E'\\'$1', NULL",
		"SELECT $$ $1 $$, $tag$ $1 $2 $tag$, $2": "SELECT $$ $1 $$, $tag$ $1 $2 $tag$, NULL",
		"SELECT a$1, t.b FROM x$2":               "SELECT a$1, t.b FROM x$2",
		"SELECT $4, $0, $":                       "SELECT $4, $0, $",
		"SELECT 'open $1":                        "SELECT 'open $1",
		"SELECT $12":                             "SELECT $12",
		"":                                       "",
	} {
		if got := place(in, params); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("SELECT $1, '$2', $$x$$ /* */ -- \n E'\\''")
	f.Fuzz(func(t *testing.T, s string) {
		if got := place(s, nil); got != s {
			t.Errorf("%q without parameters becomes %q", s, got)
		}
		place(s, []facts.Param{{Known: true, Text: "x"}})
	})
}

func TestShape(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT  *\nFROM t WHERE a = 'it''s' AND b = 12.5": "SELECT * FROM t WHERE a = ? AND b = ?",
		"SELECT t1.c FROM t1 WHERE x = ‹hmac:0a› AND $1":   "SELECT t1.c FROM t1 WHERE x = ? AND ?",
		strings.Repeat("é", maxShape):                      strings.Repeat("é", maxShape/2) + "…",
	} {
		if got := Shape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
