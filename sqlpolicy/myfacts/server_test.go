package myfacts

import (
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/client"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// TestTheServerReadsItAlike asks a MariaDB whether it makes the same of a text
// and of the text without comments that analysis is given.
func TestTheServerReadsItAlike(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{Password: "alike"})
	// Not MariaDB's command line, which has a reading of its own.
	conn, err := client.Connect(s.Address(), "root", "alike", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run := func(mode, text string) string {
		if _, err := conn.Execute("SET sql_mode = '" + mode + "'"); err != nil {
			t.Fatal(err)
		}
		r, err := conn.Execute(text)
		if err != nil {
			return "failed"
		}
		var out []string
		for i := range r.ColumnNumber() {
			v, err := r.GetString(0, i)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		return strings.Join(out, "|")
	}
	version := conn.GetServerVersion()
	for _, c := range []struct{ mode, text string }{
		{"", "SELECT 1 /* a */ + 1"},
		{"", "SELECT 1 /*! + 1 */"},
		{"", "SELECT 1 /*!50000 + 1 */"},
		{"", "SELECT 1 /*!50699 + 1 */"},
		{"", "SELECT 1 /*!50700 + 1 */"},
		{"", "SELECT 1 /*!80000 + 1 */"},
		{"", "SELECT 1 /*!99999 + 1 */"},
		{"", "SELECT 1 /*!100000 + 1 */"},
		{"", "SELECT 1 /*!101100 + 1 */"},
		{"", "SELECT 1 /*!999999 + 1 */"},
		{"", "SELECT 1 /*M! + 1 */"},
		{"", "SELECT 1 /*M!50700 + 1 */"},
		{"", "SELECT 1 /*M!100100 + 1 */"},
		{"", "SELECT 1 /*M!999999 + 1 */"},
		{"", "SELECT 1 /*m! + 1 */"},
		{"", "SELECT 1 /*T! + 1 */"},
		{"", "SELECT 1 /*+ hint */ + 1"},
		{"", "SELECT 1 /*!1 + 1 */"},
		{"", "SELECT 1 /*!12 + 1 */"},
		{"", "SELECT 1 /*!1234 + 1 */"},
		{"", "SELECT '/*' , 2 /* ' */"},
		{"", "SELECT 1 /*! , '*/' */"},
		{"", "SELECT 1 /*!99999 , ' */, 3 -- ' */"},
		{"", "SELECT 1 # rest\n + 1"},
		{"", "SELECT 1 -- rest\n + 1"},
		{"", "SELECT 1 --1"},
		{"", "SELECT 1 --\t2\n+ 5"},
		{"", "SELECT 1 --"},
		{"", "SELECT 5-- 2\n"},
		{"", "SELECT/**/1"},
		{"", "SELECT /*/ 1 /*/ 2"},
		{"", "SELECT /**/ 3 /***/ + /****/ 4"},
		{"", "SELECT 'a\\'', 'b'"},
		{"", "SELECT 'a'', ''b'"},
		{"", `SELECT "a\"", 'b'`},
		{"NO_BACKSLASH_ESCAPES", "SELECT 'a\\', 'b'"},
		{"NO_BACKSLASH_ESCAPES", "SELECT 'a\\' -- ', 'b'\n"},
		{"ANSI_QUOTES", `SELECT 1 AS "a -- b", 2`},
		{"ANSI_QUOTES", `SELECT 1 AS "a""b", '"'`},
		{"", `SELECT "a -- b", 2`},
		{"", "SELECT 1 AS `a -- ``b`, 2"},
		{"", "SELECT 1 AS `/*!` , 2 /*! , 3 */"},
		{"PIPES_AS_CONCAT", "SELECT 1 || 2"},
		{"", "SELECT 1 || 2"},
		{"", "SELECT N'x', X'41', b'1', _utf8mb4'y', 0x41, 0b1"},
		{"", "SELECT 1.5e3, .5, 5., 1e-2"},
		{"", "SELECT @`a -- b`, @'c /* d', @e"},
	} {
		d := dialect{mariadb: true, version: versionNumber(version)}
		if d.mode, err = parseMode(c.mode); err != nil {
			t.Fatal(err)
		}
		l, err := lex(d, c.text, Limits{})
		if err != nil {
			t.Errorf("%s [%s]: %v", c.text, c.mode, err)
			continue
		}
		if whole, plain := run(c.mode, c.text), run(c.mode, string(l.plain)); whole != plain {
			t.Errorf("%s [%s]: the server makes %q of it, and %q of %q", c.text, c.mode, whole, plain, l.plain)
		}
		if strings.Contains(string(l.plain), "*/") && !strings.Contains(c.text, "'*/'") {
			t.Errorf("%s: a comment is left in %q", c.text, l.plain)
		}
		pieces, err := split(l)
		if err != nil || len(pieces) != 1 {
			t.Errorf("%s: %d statements, %v", c.text, len(pieces), err)
			continue
		}
		if _, err := parse(d, l, pieces[0]); err != nil && !strings.Contains(run(c.mode, c.text), "failed") {
			t.Errorf("%s: the server takes it, and it was not understood: %v", c.text, err)
		}
	}
}
