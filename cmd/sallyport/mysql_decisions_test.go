package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	myclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/myfacts"
)

// TestMySQLDecisionsKeepSecrets sends what analysis and policy let pass, and
// nothing else, to two MariaDB servers that differ only in the values of
// classed columns, masks what comes back as decided, and fails on any
// difference. It shows that the decisions are enough, whatever the wire does
// beside them.
func TestMySQLDecisionsKeepSecrets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "testdata", "noninterference", "mysql")
	policy, err := sqlpolicy.Load(filepath.Join(dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file  string
		share float64 // of the statements that must pass
	}{{"everyday.txt", 0.97}, {"attacks.txt", 0}} {
		for _, prepared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/prepared=%v", c.file, prepared), func(t *testing.T) {
				a, b := mariaTwin(t, "", dir, "a.sql"), mariaTwin(t, "", dir, "b.sql")
				sent, passed, differed := 0, 0, 0
				for _, section := range readCorpus(t, filepath.Join(dir, c.file)) {
					if strings.HasPrefix(section.name, "schema changes") {
						continue // the schema of this test is a fixed one
					}
					s := newDecidedSession(t, policy, a, b, prepared)
					for _, st := range section.statements {
						sent++
						ok, why := s.send(t, st)
						switch {
						case why != "" && ok:
							differed++
							t.Errorf("%s:%d [%s] %s\n%s", c.file, st.line, section.name, st.text, why)
						case ok:
							passed++
						case c.share > 0:
							t.Logf("%s:%d refused: %s\n    %s", c.file, st.line, st.text, why)
						}
					}
					s.close()
				}
				t.Logf("%d statements, %d passed (%.1f %%), %d differ", sent, passed, 100*float64(passed)/float64(sent), differed)
				if float64(passed) < c.share*float64(sent) {
					t.Errorf("only %d of %d passed", passed, sent)
				}
			})
		}
	}
}

// mariaTwin is a MariaDB, or another release, with the corpus' schema and one file's rows.
func mariaTwin(t *testing.T, release, dir, rows string) *throwaway.Server {
	t.Helper()
	s := throwtest.Maria(t, throwaway.MariaOptions{Password: "twin", Release: release})
	files := []string{"schema.sql", "common.sql", rows}
	if release == throwaway.MySQL8 {
		files = append(files, "schema_mysql8.sql")
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if release == throwaway.MySQL8 {
			b = bytes.ReplaceAll(b, []byte("CREATE SEQUENCE tickets;"), nil) // it has none
			// 8.0.15 shows a view's definition to its definer alone.
			b = bytes.ReplaceAll(b, []byte("CREATE VIEW"), []byte("CREATE DEFINER = root@127.0.0.1 VIEW"))
		}
		if _, err := s.SQL(context.Background(), "mysql", string(b)); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	return s
}

type decidedSession struct {
	policy   *sqlpolicy.Policy
	servers  [2]*throwaway.Server
	conns    [2]*myclient.Conn
	view     *catalog.View
	prepared bool
}

func newDecidedSession(t *testing.T, p *sqlpolicy.Policy, a, b *throwaway.Server, prepared bool) *decidedSession {
	t.Helper()
	s := &decidedSession{policy: p, servers: [2]*throwaway.Server{a, b}, prepared: prepared}
	for i, srv := range s.servers {
		c, err := myclient.Connect(net.JoinHostPort("127.0.0.1", strconv.Itoa(srv.Port)), "root", "twin", "shop", func(c *myclient.Conn) error {
			return c.SetCapability(mysql.CLIENT_MULTI_STATEMENTS)
		})
		if err != nil {
			t.Fatal(err)
		}
		s.conns[i] = c
	}
	s.view = &catalog.View{Catalog: goldenMaria(t), SearchPath: []string{"shop"}, Role: "root@localhost"}
	s.reload(t)
	return s
}

func (s *decidedSession) close() {
	for _, c := range s.conns {
		_, _ = c.Execute("ROLLBACK")
		c.Close()
	}
}

// goldenMaria is the schema as the tests of analysis have it.
func goldenMaria(t *testing.T) *catalog.Catalog {
	t.Helper()
	c := &catalog.Catalog{}
	if err := json.Unmarshal(gunzip(t, filepath.Join("..", "..", "sqlpolicy", "myfacts", "testdata", "catalog.json.gz")), c); err != nil {
		t.Fatal(err)
	}
	return c.Index()
}

// reload asks the servers for the session's settings.
func (s *decidedSession) reload(t *testing.T) {
	t.Helper()
	var r *mysql.Result
	for i := range s.conns { // both, as it has an effect of its own: FOUND_ROWS()
		var err error
		if r, err = s.conns[i].Execute("SELECT @@sql_mode, @@character_set_client, @@lower_case_table_names, DATABASE()"); err != nil {
			t.Fatal(err)
		}
	}
	text := func(i int) string { v, _ := r.GetString(0, i); return strings.Clone(v) }
	settings := map[string]string{"sql_mode": text(0), "character_set_client": text(1), "lower_case_table_names": text(2),
		"diagnostics": s.view.Settings.Get("diagnostics")}
	s.view.SearchPath = []string{text(3)}
	s.view.Settings = catalog.NewSettings(settings)
}

// send decides on a text and sends what passes to both. ok says that it
// passed; why is the refusal, or what differs.
func (s *decidedSession) send(t *testing.T, st corpusStatement) (ok bool, why string) {
	t.Helper()
	list, err := myfacts.Analyse(s.view, st.text, myfacts.Limits{})
	if err != nil {
		return false, err.Error()
	}
	var decisions []*facts.Decision
	scrub := false
	for _, one := range list {
		d := s.policy.Decide(sqlpolicy.Input{Identity: facts.Identity{Name: "ana", Kind: "human"}, Session: facts.Session{Database: "shop"},
			Facts: one.Facts, Text: one.Text})
		if d.Verdict != facts.Allow {
			if len(d.Refusals) > 0 {
				return false, d.Refusals[0].Message
			}
			return false, d.Verdict.String()
		}
		scrub = scrub || d.Scrub
		decisions = append(decisions, d)
	}
	answers := [2]string{}
	for i, c := range s.conns {
		answers[i] = s.run(c, st, list, decisions, scrub)
	}
	if scrub {
		s.diagnostics("classed")
	} else if len(list) > 0 && !strings.HasPrefix(list[0].Facts.Effects[0].Verb, "SHOW") {
		s.diagnostics("")
	}
	for _, one := range list {
		s.apply(one.Change)
	}
	s.reload(t)
	if answers[0] != answers[1] {
		return true, "A: " + answers[0] + "\nB: " + answers[1]
	}
	return true, ""
}

func (s *decidedSession) diagnostics(v string) {
	s.view.Settings = catalog.NewSettings(map[string]string{"diagnostics": v})
}

func (s *decidedSession) apply(c *catalog.Change) {
	if c == nil {
		return
	}
	v := *s.view
	v.Prepared, v.Variables = maps.Clone(v.Prepared), maps.Clone(v.Variables)
	if v.Prepared == nil {
		v.Prepared = map[string]catalog.Prepared{}
	}
	if v.Variables == nil {
		v.Variables = map[string]*string{}
	}
	for _, n := range c.Forget {
		if n == "" {
			clear(v.Variables)
		}
		delete(v.Variables, n)
	}
	maps.Copy(v.Variables, c.Variables)
	for _, n := range c.Deallocate {
		delete(v.Prepared, n)
	}
	maps.Copy(v.Prepared, c.Prepare)
	if c.Temporary != nil {
		v.Temporary = maps.Clone(v.Temporary)
		if v.Temporary == nil {
			v.Temporary = map[[2]string]*catalog.Relation{}
		}
		for k, r := range c.Temporary {
			if r == nil {
				delete(v.Temporary, k)
			} else {
				v.Temporary[k] = r
			}
		}
	}
	s.view = &v
}

// run sends a text to one server and writes down what a client would be told.
func (s *decidedSession) run(c *myclient.Conn, st corpusStatement, list []catalog.Statement, decisions []*facts.Decision, scrub bool) string {
	var out strings.Builder
	i := 0
	each := func(r *mysql.Result, err error) {
		if err != nil {
			var me *mysql.MyError
			if !errors.As(err, &me) {
				fmt.Fprintf(&out, "failed: %v\n", err)
				return
			}
			fmt.Fprintf(&out, "error %d %s", me.Code, me.State)
			if !scrub {
				out.WriteString(" " + me.Message)
			}
			out.WriteString("\n")
			return
		}
		if i >= len(decisions) {
			out.WriteString("more results than statements\n")
			return
		}
		fmt.Fprintf(&out, "ok %d affected, id %d, %d warnings\n", r.AffectedRows, r.InsertId, r.Warnings)
		if r.Resultset != nil && r.ColumnNumber() > 0 {
			out.WriteString(maskedRows(r, list[i].Facts, decisions[i], st.unordered))
		}
		i++
	}
	if s.prepared && len(list) == 1 {
		p, err := c.Prepare(st.text)
		if err == nil {
			defer p.Close()
			r, err := p.Execute()
			each(r, err)
			return out.String()
		}
		var me *mysql.MyError
		if !errors.As(err, &me) || me.Code != 1295 { // what cannot be prepared is sent as text
			each(nil, err)
			return out.String()
		}
	}
	if len(list) == 1 {
		r, err := c.Execute(st.text)
		each(r, err)
		return out.String()
	}
	if _, err := c.ExecuteMultiple(st.text, each); err != nil {
		fmt.Fprintf(&out, "failed: %v\n", err)
	}
	return out.String()
}

func maskedRows(r *mysql.Result, f *facts.Facts, d *facts.Decision, unordered bool) string {
	if n := len(f.Outputs); n != r.ColumnNumber() && !f.OpenResults {
		return fmt.Sprintf("the result has %d columns where %d were expected", r.ColumnNumber(), n)
	}
	masks := map[int]*mask.Mask{}
	for _, m := range d.Masks {
		compiled, err := mask.Compile(m.Mask, facts.KindText, []byte("key"))
		if err != nil {
			return err.Error()
		}
		masks[m.Output] = compiled
	}
	var rows []string
	for i := range r.RowNumber() {
		var b strings.Builder
		for j := range r.ColumnNumber() {
			v, err := r.GetString(i, j)
			null, _ := r.IsNull(i, j)
			switch m := masks[j]; {
			case err != nil:
				v = err.Error()
			case m == nil && null:
				v = "NULL"
			case m == nil:
			case m.Const != nil:
				v = "masked"
			case m.Text != nil && !null:
				v = string(m.Text(nil, []byte(v)))
			default:
				v = "NULL"
			}
			b.WriteString(v + "\t")
		}
		rows = append(rows, b.String())
	}
	if unordered {
		slices.Sort(rows)
	}
	return strings.Join(rows, "\n") + "\n"
}

func gunzip(t *testing.T, path string) []byte {
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
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
