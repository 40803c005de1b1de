package proxy

import (
	"compress/gzip"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/myfacts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/pgfacts"
)

// others are constants of each kind to put in one's place: values that some
// rule somewhere might look at, and lengths that move what follows.
var (
	others = map[byte][]string{
		'i': {"1", "2", "7", "10", "42", "99", "1000", "4999", "99999", "32768", "123456789", "999999999"},
		's': otherWords, 'd': otherDigits, 'q': slices.Concat(otherWords, otherDigits, []string{"'" + strings.Repeat("y", 200) + "'"}),
	}
	otherWords = []string{"'a'", "'t'", "'true'", "'off'", "'now'", "'today'", "'infinity'", "'epoch'", "'%'", "'%%'", "'_'", "'{}'", "'{1,2}'", "'()'", "'a''b'", "''''''", "' '", "'NULL'",
		"'public'", "'customers'", "'-1'", "'[redacted]'", "'a***@example.com'", "'someone@example.com'", "'" + strings.Repeat("x", 48) + "'", "'SELECT 1'", "'e\"x'", "'--'", "'/*'"}
	otherDigits = []string{"'0'", "'1'", "'2024-02-30'", "'2024-01-01 10:00'", "'10:00'", "'99999999999999999999'", "'1 day'", "'0x1f'", "'1e999'", "'4111 1111 1111 1111'", "'" + strings.Repeat("9", 48) + "'"}
)

// corpusOf are the statements of a lineage corpus and of one of attacks.
func corpusOf(t testing.TB, lineage, attacks string) []string {
	t.Helper()
	var out []string
	files, err := filepath.Glob(filepath.Join(lineage, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, f := range files {
		for _, block := range strings.Split(read(t, f), "\n\n") {
			if sql, _, _ := strings.Cut(block, "\n----"); !strings.HasPrefix(block, "#") {
				out = append(out, sql)
			}
		}
	}
	for _, f := range []string{"everyday.txt", "attacks.txt"} {
		for _, line := range strings.Split(read(t, filepath.Join(attacks, f)), "\n") {
			line = strings.TrimSuffix(line, " -- unordered")
			switch {
			case line == "" || line[0] == '#':
			case line[0] == ' ':
				out[len(out)-1] += "\n" + line
			default:
				out = append(out, line)
			}
		}
	}
	return out
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// schema is the golden catalog of the lineage corpus.
func schema(t testing.TB) *catalog.View {
	t.Helper()
	return &catalog.View{Catalog: golden(t, "../sqlpolicy/pgfacts/testdata/catalog15.json.gz"), SearchPath: []string{"pg_catalog", "public"}, Role: "app"}
}

func golden(t testing.TB, path string) *catalog.Catalog {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	c := &catalog.Catalog{}
	if err := json.NewDecoder(z).Decode(c); err != nil {
		t.Fatal(err)
	}
	return c.Index()
}

// mysqlSchema is that of the lineage corpus of MySQL's dialect.
func mysqlSchema(t testing.TB, mode, charset string) *catalog.View {
	t.Helper()
	return &catalog.View{Catalog: golden(t, "../sqlpolicy/myfacts/testdata/catalog.json.gz"), SearchPath: []string{"shop"}, Role: "app@localhost", Settings: catalog.NewSettings(map[string]string{
		"sql_mode": mode, "character_set_client": charset, "collation_connection": "utf8mb4_general_ci", "lower_case_table_names": "0"})}
}

var (
	postgresDialect = Dialect{Literals: pgfacts.Literals, Analyse: func(v *catalog.View, text string, _ protocols.Limits) ([]catalog.Statement, error) {
		return pgfacts.Analyse(v, text, pgfacts.Limits{})
	}}
	mysqlDialect = Dialect{Literals: myfacts.Literals, Analyse: func(v *catalog.View, text string, _ protocols.Limits) ([]catalog.Statement, error) {
		return myfacts.Analyse(v, text, myfacts.Limits{})
	}}
)

// TestSharedAnalyses analyses each statement of the corpora and then variants
// of it with other constants, through the cache and anew: whatever the cache
// has made of one from another must be what an analysis of its own finds.
func TestSharedAnalyses(t *testing.T) {
	shareAll(t, postgresDialect, schema(t), 40, append(corpusOf(t, "../sqlpolicy/pgfacts/testdata/lineage", "../testdata/noninterference"),
		"INSERT INTO customers (id, name, city, email, phone, ssn) VALUES (901, 'Eva', 'Rome', 'eva@example.com', '555-1', '123-45-6789'), (902, 'Ian', 'Oslo', 'ian@example.com', '555-2', '987-65-4321')",
		"UPDATE customers SET name = 'Eva', email = 'eva@example.com' WHERE id = 3 AND ssn = '123-45-6789'",
		"UPDATE orders SET total = 12 WHERE id = 5 AND placed >= '2024-01-01'",
		"DELETE FROM orders WHERE customer_id IN (1, 2, 3) AND 10 <= id",
		"SELECT id FROM customers WHERE id BETWEEN 1 AND 5 AND name = 'x' AND city <> 'y' LIMIT 10",
		"SELECT id FROM customers WHERE (id = 1 OR id <> 1) AND name = 'x' ORDER BY 1",
		"SELECT id FROM customers WHERE id = 5 AND NOT name = 'x' GROUP BY 1 HAVING count(*) > 2",
		"  SELECT id, 5 FROM customers WHERE 'Ana' = name AND id >= 1e-5 AND id<-5 AND id =- 5 ;  ",
	))
}

// TestSharedAnalysesMySQL does so for MySQL's dialect, under settings of a
// session that change what a constant is.
func TestSharedAnalysesMySQL(t *testing.T) {
	corpus := append(corpusOf(t, "../sqlpolicy/myfacts/testdata/lineage", "../testdata/noninterference/mysql"),
		"INSERT INTO customers (id, name, city, email, phone, ssn) VALUES (901, 'Eva', 'Rome', 'eva@example.com', '555-1', '123-45-6789'), (902, 'Ian', 'Oslo', 'ian@example.com', '555-2', '987-65-4321')",
		"INSERT INTO customers SET id = 901, name = 'Eva', email = 'eva@example.com' ON DUPLICATE KEY UPDATE email = VALUES(email), name = 'Eva'",
		"REPLACE INTO scratch (id, a, b) VALUES (1, 'x', 2), ('3', 4, '5')",
		"UPDATE customers SET name = 'Eva', email = 'eva@example.com' WHERE id = 3 AND ssn = '123-45-6789'",
		"UPDATE orders SET total = 12, placed = '2024-01-01' WHERE id = '5' AND placed >= '2024-01-01'",
		"DELETE FROM orders WHERE customer_id IN (1, 2, 3) AND 10 <= id LIMIT 5",
		"SELECT id FROM customers WHERE id BETWEEN 1 AND 5 AND name = 'x' AND city <> 'y' ORDER BY id LIMIT 10",
		"SELECT id FROM customers WHERE id BETWEEN '1' AND 5 AND name BETWEEN 'a' AND 5 AND email BETWEEN 1 AND 'x'",
		"SELECT id FROM customers WHERE (id = 1 OR id <> 1) AND name = 'x' AND id <=> 5 ORDER BY 1",
		"SELECT id FROM customers WHERE id = 5 AND NOT name = 'x' GROUP BY 1 HAVING count(*) > 2 ORDER BY 1",
		"SELECT id FROM customers WHERE email = 0 AND ssn = 5 AND phone IN (1, 'x') AND id IN (1, '2')",
		"SELECT id FROM customers WHERE email = 'x' AND ssn = '5' AND id = '5' AND id > '7' AND email > 'x'",
		"SELECT id FROM orders WHERE placed = '2024-01-01' AND placed < '2024-01-01' AND placed IN ('2024-01-01', '2024-01-02') AND total = '5' AND total = 5 AND total > 'x'",
		"SELECT id FROM customers WHERE email = _latin1 'x' AND email = _utf8mb4'x' AND email = N'x'",
		"SELECT id FROM customers WHERE email = _latin1 'x' AND ssn = 'y' COLLATE utf8mb4_bin AND name = 'z'",
		"SELECT id FROM customers WHERE ssn = 'y' COLLATE utf8mb4_bin AND name = BINARY 'z' AND city = 'x'",
		"SELECT id FROM customers WHERE email = 'a' 'b' AND name = 'x'",
		`SELECT id, "x", 'y' FROM customers WHERE email = "x" AND name = 'x' AND ssn = "5"`,
		`SELECT id, "email" FROM customers WHERE "email" = 'x' AND `+"`name` = 'x'",
		"SELECT id FROM customers WHERE email = 'it''s' AND name = '''' AND id = 0x41 AND id = 1e1 AND id = 1.0 AND id = TRUE AND id = NULL AND id = 5",
		"SELECT id FROM customers WHERE @a = 5 AND @`b` = 6 AND @'c' = 7 AND id = 8",
		"SELECT id FROM customers WHERE (id, name) = (5, 'x') AND id = (5) AND (('x')) = name",
		"  SELECT id, 5 FROM customers WHERE 'Ana' = name AND id >= 1e-5 AND id<-5 AND id =- 5 ;  ",
		"SELECT id FROM customers /*!50000 WHERE id = 5 */", "SELECT id FROM customers WHERE id = 5 -- 6", "SELECT id FROM customers WHERE name = 'é' AND id = 5",
		"SELECT email FROM customers WHERE id = 5 UNION SELECT email FROM accounts WHERE id = 6", "SELECT (SELECT email FROM customers WHERE id = 5) FROM accounts WHERE id = 6",
	)
	for _, s := range []struct {
		mode, charset string
		times         int
	}{{"STRICT_TRANS_TABLES", "utf8mb4", 40}, {"ANSI_QUOTES,PIPES_AS_CONCAT", "utf8mb4", 8}, {"NO_BACKSLASH_ESCAPES", "latin1", 8}} {
		t.Run(s.mode+" "+s.charset, func(t *testing.T) {
			shareAll(t, mysqlDialect, mysqlSchema(t, s.mode, s.charset), s.times, corpus)
		})
	}
}

// shareAll compares shared analyses of a corpus with analyses of their own,
// over a number of variants of each statement.
func shareAll(t *testing.T, d Dialect, view *catalog.View, times int, corpus []string) {
	r := rand.New(rand.NewPCG(1, 2))
	statements, variants, shared := 0, 0, 0
	for _, sql := range corpus {
		statements++
		c, s := newAnalyses(), scopeOf(view)
		fresh := func(text string) func() ([]catalog.Statement, error) {
			return func() ([]catalog.Statement, error) { return d.Analyse(view, text, protocols.Limits{}) }
		}
		_, _ = c.analyse(s, sql, &d, fresh(sql))
		literals, ok := d.Literals(sql, nil)
		if !ok || len(literals) == 0 {
			continue
		}
		for range times {
			text, at := "", 0
			only := r.IntN(2 * len(literals)) // this one, or any
			for i, l := range literals {
				text += sql[at:l.From]
				if o := others[l.Kind]; i == only || only >= len(literals) && r.IntN(3) > 0 {
					text += o[r.IntN(len(o))]
				} else {
					text += sql[l.From:l.To]
				}
				at = l.To
			}
			text += sql[at:]
			variants++
			anew := false
			got, err := c.analyse(s, text, &d, func() ([]catalog.Statement, error) { anew = true; return fresh(text)() })
			if anew {
				continue
			}
			shared++
			want, wantErr := fresh(text)()
			if wantErr != nil || err != nil {
				t.Errorf("%s\nfrom %s\nshared: %v; of its own: %v", text, sql, err, wantErr)
				continue
			}
			same(t, sql, text, got, want)
		}
	}
	t.Logf("%d statements, %d variants of which %d were shared", statements, variants, shared)
	if shared < variants/5 {
		t.Errorf("%d of %d variants were shared: the test shows little", shared, variants)
	}
}

func same(t *testing.T, from, text string, got *analysed, want []catalog.Statement) {
	t.Helper()
	if len(want) != 1 || len(got.statements) != 1 {
		t.Fatalf("%s: %d statements, want %d", text, len(got.statements), len(want))
	}
	g, w := got.statements[0], want[0]
	if got.text(0, text) != w.Text || g.Offset != w.Offset {
		t.Errorf("%s\nfrom %s\nis taken for %q at %d, want %q at %d", text, from, got.text(0, text), g.Offset, w.Text, w.Offset)
	}
	wantFacts, err := json.Marshal(w.Facts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wantFacts), string(got.facts[0])); diff != "" {
		t.Errorf("%s\nfrom %s\n%s", text, from, diff)
	}
	if diff := cmp.Diff(w.Facts, g.Facts); diff != "" {
		t.Errorf("%s\nfrom %s\n%s", text, from, diff)
	}
	if g.Change != nil || w.Change != nil {
		t.Errorf("%s: shared, and changes its session's view", text)
	}
}

// BenchmarkAnalyse is a known statement with a constant that is new.
func BenchmarkAnalyse(b *testing.B) {
	analyseOthers(b, postgresDialect, schema(b), "SELECT name, city FROM customers WHERE id = ")
}

// BenchmarkAnalyseMySQL is the same in MySQL's dialect.
func BenchmarkAnalyseMySQL(b *testing.B) {
	analyseOthers(b, mysqlDialect, mysqlSchema(b, "STRICT_TRANS_TABLES", "utf8mb4"), "SELECT name, city FROM customers WHERE id = ")
}

func analyseOthers(b *testing.B, d Dialect, view *catalog.View, sql string) {
	c, s := newAnalyses(), scopeOf(view)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		text := sql + strconv.Itoa(100_000+i%900_000)
		if _, err := c.analyse(s, text, &d, func() ([]catalog.Statement, error) { return d.Analyse(view, text, protocols.Limits{}) }); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAnalysesLetCatalogsGo: each DDL makes a new catalog of megabytes, which what is remembered
// of statements under the old one must not keep.
func TestAnalysesLetCatalogsGo(t *testing.T) {
	view := schema(t)
	d := &Dialect{Literals: pgfacts.Literals}
	c := newAnalyses()
	gone := make(chan struct{})
	func() {
		old := *view
		old.Catalog = new(*view.Catalog)
		runtime.AddCleanup(old.Catalog, func(gone chan struct{}) { close(gone) }, gone)
		for _, text := range []string{"SELECT name FROM customers WHERE id = 1", "SELECT count(*) FROM customers", "CREATE TABLE made (a int)"} {
			if _, err := c.analyse(scopeOf(&old), text, d, func() ([]catalog.Statement, error) { return pgfacts.Analyse(&old, text, pgfacts.Limits{}) }); err != nil {
				t.Fatal(err)
			}
		}
	}()
	deadline := time.After(30 * time.Second)
	for {
		runtime.GC()
		select {
		case <-gone:
			if c.bytes == 0 {
				t.Error("nothing was remembered")
			}
			return
		case <-deadline:
			t.Fatal("what is remembered of its statements keeps a catalog")
		default:
		}
	}
}
