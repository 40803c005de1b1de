package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	myclient "github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/rs/zerolog"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/mysql"
	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestMySQLNonInterference is TestNonInterference for MySQL's wire: the corpus
// goes through the whole proxy to two MariaDB servers that differ only in the
// values of classed columns, and a client must be told the same by both.
func TestMySQLNonInterference(t *testing.T) {
	t.Parallel()
	playMariaTwins(t, "", 0.97, false, true)
}

// TestMySQLNonInterferenceOnOthers is the same, as texts, on a newer MariaDB and on MySQL 8, which does not
// know all statements of the corpus: RETURNING and sequences are MariaDB's.
func TestMySQLNonInterferenceOnOthers(t *testing.T) {
	t.Parallel()
	for release, share := range map[string]float64{throwaway.MariaDB11: 0.97, throwaway.MySQL8: 0.97} {
		t.Run(release, func(t *testing.T) { playMariaTwins(t, release, share, false) })
	}
}

// playMariaTwins sends the corpora to two servers of a release, as texts or prepared. everyday is the share of the
// everyday statements that the proxy must forward.
func playMariaTwins(t *testing.T, release string, everyday float64, ways ...bool) {
	dir := filepath.Join("..", "..", "testdata", "noninterference", "mysql")
	for _, c := range []struct {
		file  string
		share float64 // of the statements that the proxy must forward
	}{{"everyday.txt", everyday}, {"attacks.txt", 0}} {
		for _, prepared := range ways {
			t.Run(fmt.Sprintf("%s/prepared=%v", c.file, prepared), func(t *testing.T) {
				a, b := proxiedMaria(t, mariaTwin(t, release, dir, "a.sql"), dir), proxiedMaria(t, mariaTwin(t, release, dir, "b.sql"), dir)
				sent, forwarded, differed := 0, 0, 0
				for _, section := range corpusOf(t, release, dir, c.file) {
					ca, cb := dialMaria(t, a), dialMaria(t, b)
					for _, st := range section.statements {
						sent++
						ra, ok := askMaria(ca, st, prepared)
						rb, _ := askMaria(cb, st, prepared)
						if ok {
							forwarded++
						} else if c.share > 0 {
							t.Logf("%s:%d failed: %s\n    %s", c.file, st.line, st.text, ra)
						}
						if release == throwaway.MySQL8 { // whose flags of keys go by the plan: docs/mysql.md
							ra, rb = columnFlags.ReplaceAllString(ra, ""), columnFlags.ReplaceAllString(rb, "")
						}
						if ra != rb {
							differed++
							t.Errorf("%s:%d [%s] %s\nA: %s\nB: %s", c.file, st.line, section.name, st.text, ra, rb)
						}
					}
					ca.Close()
					cb.Close()
				}
				t.Logf("%d statements, %d forwarded (%.1f %%), %d differ", sent, forwarded, 100*float64(forwarded)/float64(sent), differed)
				if float64(forwarded) < c.share*float64(sent) {
					t.Errorf("only %d of %d were forwarded", forwarded, sent)
				}
			})
		}
	}
}

// corpusOf is a file of the corpus as a release is sent it: cases of MariaDB's own are not MySQL's, which has a file
// of its own beside it.
func corpusOf(t *testing.T, release, dir, file string) []corpusCase {
	cases := readCorpus(t, filepath.Join(dir, file))
	if release != throwaway.MySQL8 {
		return cases
	}
	cases = slices.DeleteFunc(cases, func(c corpusCase) bool { return strings.HasPrefix(c.name, "MariaDB") })
	return append(cases, readCorpus(t, filepath.Join(dir, strings.TrimSuffix(file, ".txt")+"_mysql8.txt"))...)
}

var columnFlags = regexp.MustCompile(` flags \d+`)

// proxiedMaria runs the proxy before a server and returns where it listens.
func proxiedMaria(t *testing.T, s *throwaway.Server, corpus string) string {
	t.Helper()
	policy, err := filepath.Abs(filepath.Join(corpus, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	for name, text := range map[string]string{"secret": "ana-secret", "upstream": s.Password, "sallyport.yaml": fmt.Sprintf(`version: 1
policy: %q
identities:
  - {name: ana, password: {file: secret}}
targets:
  - name: app
    protocol: mysql
    listen: %q
    tls: {mode: disable}
    upstream: {url: "mysql://root@%s/shop?tls=disable", password: {file: upstream}}
`, policy, address, s.Address())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wires := []protocols.Protocol{mysql.New()}
	c, err := proxy.LoadConfig(filepath.Join(dir, "sallyport.yaml"), wires)
	if err != nil {
		t.Fatal(err)
	}
	e, err := proxy.New(proxy.Options{Config: c, Protocols: wires, Dialects: dialects(), Log: zerolog.New(io.Discard), Program: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- e.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return address
}

func dialMaria(t *testing.T, address string) *myclient.Conn {
	t.Helper()
	c, err := myclient.Connect(address, "ana", "ana-secret", "shop", func(c *myclient.Conn) error {
		return c.SetCapability(gomysql.CLIENT_MULTI_STATEMENTS)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// askMaria sends a statement and writes down what the client was told; ok says
// that it was no error.
func askMaria(c *myclient.Conn, st corpusStatement, prepared bool) (told string, ok bool) {
	var out strings.Builder
	ok = true
	each := func(r *gomysql.Result, err error) {
		var me *gomysql.MyError
		switch {
		case errors.As(err, &me):
			ok = false
			fmt.Fprintf(&out, "error %d %s %s\n", me.Code, me.State, me.Message)
		case err != nil:
			ok = false
			fmt.Fprintf(&out, "failed: %v\n", err)
		default:
			fmt.Fprintf(&out, "ok %d affected, id %d, %d warnings, status %d\n", r.AffectedRows, r.InsertId, r.Warnings, r.Status)
			out.WriteString(rowsOf(r, st.unordered))
		}
	}
	if prepared && !strings.Contains(st.text, ";") {
		p, err := c.Prepare(st.text)
		if err == nil {
			defer p.Close()
			each(p.Execute())
			return out.String(), ok
		}
		var me *gomysql.MyError
		if !errors.As(err, &me) || me.Code != 1295 { // what cannot be prepared is sent as text
			each(nil, err)
			return out.String(), ok
		}
	}
	if strings.Contains(st.text, ";") {
		if _, err := c.ExecuteMultiple(st.text, each); err != nil {
			each(nil, err)
		}
		return out.String(), ok
	}
	each(c.Execute(st.text))
	return out.String(), ok
}

func rowsOf(r *gomysql.Result, unordered bool) string {
	if r.Resultset == nil {
		return ""
	}
	var rows, columns []string
	for _, f := range r.Fields {
		columns = append(columns, fmt.Sprintf("%s.%s type %d length %d decimals %d flags %d charset %d", f.Table, f.Name, f.Type, f.ColumnLength, f.Decimal, f.Flag, f.Charset))
	}
	for i := range r.RowNumber() {
		var b strings.Builder
		for j := range r.ColumnNumber() {
			v, err := r.GetString(i, j)
			if null, _ := r.IsNull(i, j); null {
				v = "NULL"
			} else if err != nil {
				v = err.Error()
			}
			b.WriteString(v + "\t")
		}
		rows = append(rows, b.String())
	}
	if unordered {
		slices.Sort(rows)
	}
	return strings.Join(append(columns, rows...), "\n") + "\n"
}
