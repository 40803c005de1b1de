package myfacts

import (
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestSplit(t *testing.T) {
	d := dialect{mariadb: true, version: 101119}
	for _, c := range []struct {
		text string
		want []string // nil for a refusal
	}{
		{"SELECT 1", []string{"SELECT 1"}},
		{" SELECT 1 ; ", []string{"SELECT 1"}},
		{"SELECT 1; SELECT ';'; SELECT `;`", []string{"SELECT 1", "SELECT ';'", "SELECT `;`"}},
		{"SELECT 1 /* ; */; -- ;\nSELECT 2", []string{"SELECT 1", "SELECT 2"}},
		{"SELECT 1;; SELECT 2", nil},
		{"", nil}, {";", nil}, {"-- only\n", nil},
		{"CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END", []string{"CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END"}},
		{"CREATE PROCEDURE p() BEGIN IF 1 THEN SELECT 1; END IF; SELECT CASE 1 WHEN 1 THEN 2 END; END", []string{"CREATE PROCEDURE p() BEGIN IF 1 THEN SELECT 1; END IF; SELECT CASE 1 WHEN 1 THEN 2 END; END"}},
		{"CREATE PROCEDURE p() BEGIN END; DROP TABLE x; END", nil},
		{"CREATE PROCEDURE p() BEGIN SELECT 1 AS begin; END; DROP TABLE x; END", nil},
		{"CREATE PROCEDURE p() SELECT 1 AS begin; DROP TABLE x", []string{"CREATE PROCEDURE p() SELECT 1 AS begin", "DROP TABLE x"}},
		{"CREATE PROCEDURE p() SET @begin = 1; DROP TABLE x", []string{"CREATE PROCEDURE p() SET @begin = 1", "DROP TABLE x"}},
		{"CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN SET @a = 1; END", []string{"CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN SET @a = 1; END"}},
		{"BEGIN NOT ATOMIC SELECT 1; END", []string{"BEGIN NOT ATOMIC SELECT 1; END"}},
		{"BEGIN; SELECT 1", []string{"BEGIN", "SELECT 1"}},
	} {
		l, err := lex(d, c.text, Limits{})
		var pieces []piece
		if err == nil {
			pieces, err = split(l)
		}
		if (err != nil) != (c.want == nil) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		var got []string
		for _, p := range pieces {
			got = append(got, c.text[p.from:p.to])
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// TestRefusedTexts: what the server could read otherwise does not pass.
func TestRefusedTexts(t *testing.T) {
	for _, text := range []string{
		"SELECT 'a", "SELECT `a", "SELECT 1 /* a", "SELECT 1 /*! + 1", "SELECT 1 /*!99999 /* */ */", "SELECT 1 /*! /* */ */",
		"SELECT 1\x00", "SELECT \x01 1", "SELECT '\xff'", "SELECT \x85 1", "SELECT COUNT (*) FROM customers", "SELECT SUM (salary) FROM customers",
		"SELECT /*!1234567 1 */ 1", "SELECT 1.5x",
		"SELECT " + strings.Repeat("1+", 4000) + "1", "SELECT " + strings.Repeat("(", 4000) + "1" + strings.Repeat(")", 4000),
		"SELECT " + strings.Repeat("NOT ", 4000) + "1", "SELECT 1 " + strings.Repeat("UNION ALL SELECT 1 ", 4000),
		"SELECT " + strings.Repeat("-", 4000) + "1",
		"HANDLER customers OPEN", "SET STATEMENT max_statement_time = 1 FOR SELECT 1", "EXECUTE IMMEDIATE 'SELECT 1'", "INSTALL SONAME 'x'",
		"SELECT * FROM customers PROCEDURE ANALYSE()", "SELECT /*+ SET_VAR(sql_mode = 'ANSI_QUOTES') */ 1", "SELECT /*+ MAX_EXECUTION_TIME(1) */ 1",
		"SET NAMES gbk", "SET sql_mode = 'ORACLE'", "SET max_statement_time = 0.01", "KILL USER root", "KILL CONNECTION_ID()", "SELECT 1; KILL 7",
		"SET sql_mode = 'ANSI_QUOTES'; SELECT \"ssn\" FROM customers",
		"CREATE TABLE x (a INT); SELECT a FROM x",
	} {
		if _, err := Analyse(goldenView(t), text, Limits{}); err == nil {
			t.Errorf("%.60q passes", text)
		}
	}
}

func TestCharacterSets(t *testing.T) {
	for set, want := range map[string]bool{"utf8mb4": true, "utf8": true, "latin1": true, "gbk": false, "sjis": false, "big5": false, "ucs2": false, "swe7": false} {
		v := *goldenView(t)
		v.Settings = catalog.NewSettings(map[string]string{"character_set_client": set})
		if _, err := Analyse(&v, "SELECT 1", Limits{}); (err == nil) != want {
			t.Errorf("%s: %v", set, err)
		}
	}
	v := *goldenView(t)
	v.Settings = catalog.NewSettings(map[string]string{"character_set_client": "latin1"})
	if _, err := Analyse(&v, "SELECT 'é'", Limits{}); err == nil {
		t.Error("letters beyond ASCII pass under latin1")
	}
}

// TestStringParametersAreEqualities: what is bound otherwise is converted, and
// counts as a comparison.
func TestParametersDecideEquality(t *testing.T) {
	list, err := Analyse(goldenView(t), "SELECT id FROM customers WHERE email = ? AND id > ? LIMIT ?", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	kinds := func(p facts.Param) (out facts.UseKind) {
		f := list[0].Facts.Bind([]facts.Param{p, {Known: true, Kind: facts.KindInt, Text: "1"}, {Known: true, Kind: facts.KindInt, Text: "7"}})
		if f.Effects[0].Limit != 7 {
			t.Errorf("limit %d", f.Effects[0].Limit)
		}
		for _, u := range f.Uses {
			if c, _ := f.Column(u.Columns[0]); c.Name == "email" {
				out = u.Kind
			}
		}
		return out
	}
	for _, c := range []struct {
		p    facts.Param
		want facts.UseKind
	}{
		{facts.Param{Known: true, Kind: facts.KindText, Text: "a@b"}, facts.UseEqual},
		{facts.Param{Known: true, Null: true}, facts.UseEqual},
		{facts.Param{Known: true, Kind: facts.KindInt, Text: "0"}, facts.UseCompare},
		{facts.Param{Known: true, Kind: facts.KindFloat, Text: "0"}, facts.UseCompare},
		{facts.Param{Known: true, Text: "a@b"}, facts.UseCompare},
		{facts.Param{}, facts.UseCompare},
	} {
		if got := kinds(c.p); got != c.want {
			t.Errorf("%+v: %s, want %s", c.p, got, c.want)
		}
	}
}

func FuzzAnalyse(f *testing.F) {
	for _, s := range []string{
		"SELECT ssn FROM customers", "SELECT 1 /*!50000 + 1 */; SELECT 2", "WITH c AS (SELECT * FROM customers) SELECT * FROM c NATURAL JOIN accounts",
		"INSERT INTO scratch (a) VALUES ('x') ON DUPLICATE KEY UPDATE a = VALUES(a)", "UPDATE customers c JOIN orders o ON o.customer_id = c.id SET c.note = o.card",
		"DELETE FROM accounts WHERE id = ? RETURNING *", "CREATE PROCEDURE p() BEGIN SELECT 1; END", "SHOW FULL COLUMNS FROM customers LIKE 'x'",
		"SET @a := (SELECT 1), sql_mode = ''", "PREPARE p FROM 'SELECT 1'", "SELECT ssn INTO @a FROM customers", "EXPLAIN FORMAT=JSON SELECT 1",
		"ALTER TABLE customers ADD COLUMN x INT, DROP COLUMN ssn", "LOAD DATA LOCAL INFILE 'x' INTO TABLE scratch (a, @b) SET b = @b", "KILL QUERY 5",
		"SELECT GROUP_CONCAT(DISTINCT name ORDER BY id SEPARATOR ',') OVER w FROM customers WINDOW w AS (PARTITION BY city)",
	} {
		f.Add(s)
	}
	c, err := goldenCatalog()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := &catalog.View{Catalog: c, SearchPath: []string{"shop"}, Settings: catalog.NewSettings(map[string]string{"character_set_client": "utf8mb4"})}
		list, err := Analyse(v, text, Limits{Statement: 4096, Depth: 200})
		if err != nil {
			if _, ok := err.(*facts.Problem); !ok {
				t.Fatalf("%q: the error is a %T", text, err)
			}
			return
		}
		for _, st := range list {
			if len(st.Facts.Effects) == 0 {
				t.Fatalf("%q: no effect", text)
			}
			if text[st.Offset:st.Offset+len(st.Text)] != st.Text {
				t.Fatalf("%q: %q is not at %d", text, st.Text, st.Offset)
			}
			for _, k := range st.Facts.Constants {
				if k.From < 0 || k.From > k.To || k.To > len(st.Text) {
					t.Fatalf("%q: a constant from %d to %d", text, k.From, k.To)
				}
			}
			for _, o := range st.Facts.Outputs {
				for _, s := range o.Sources {
					if _, ok := st.Facts.Column(s.ColumnRef); !ok {
						t.Fatalf("%q: a source that is no column", text)
					}
				}
			}
		}
	})
}

func BenchmarkAnalyse(b *testing.B) {
	for name, text := range map[string]string{
		"point":  "SELECT id, name, email FROM customers WHERE id = 42",
		"join":   "SELECT c.name, SUM(o.total) AS spent FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.status = 'paid' GROUP BY c.id, c.name ORDER BY spent DESC LIMIT 10",
		"insert": "INSERT INTO scratch (id, a, b) VALUES " + strings.TrimSuffix(strings.Repeat("(1, 'x', 2),", 100), ","),
	} {
		b.Run(name, func(b *testing.B) {
			v := goldenView(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Analyse(v, text, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
