package mysql_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/mysql"
	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestMain(m *testing.M) { throwtest.Main(m) }

// outline is analysis enough to test the wire: it knows a statement's verb and, of a plain SELECT from one
// table, the columns. It proves nothing of what it lets pass.
var outline = proxy.Dialect{Name: "mysql", Analyse: func(v *catalog.View, text string, _ protocols.Limits) ([]catalog.Statement, error) {
	var out []catalog.Statement
	for _, part := range strings.Split(text, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		out = append(out, catalog.Statement{Text: part, Facts: outlineFacts(v, part), Change: &catalog.Change{}, Volatile: true})
		if verb := out[len(out)-1].Facts.Effects[0].Verb; verb == "CREATE" || verb == "DROP" || verb == "ALTER" {
			out[len(out)-1].Change.ReloadSchema = true
		}
	}
	return out, nil
}}

var plainSelect = regexp.MustCompile(`(?i)^\s*select ([\w, ]+) from (\w+)\b`)

func outlineFacts(v *catalog.View, text string) *facts.Facts {
	verb := strings.ToUpper(strings.Fields(text)[0])
	actions := map[string]facts.Action{"SELECT": facts.Read, "SHOW": facts.Read, "INSERT": facts.Insert, "UPDATE": facts.Update, "SET": facts.SessionSet, "USE": facts.SessionSet}
	e := facts.Effect{Action: actions[verb], Verb: verb, Limit: facts.NoLimit}
	if e.Action == "" {
		e.Action = facts.Unknown
	}
	if verb == "LOAD" {
		e.Verb = "LOAD DATA LOCAL"
	}
	f := &facts.Facts{Effects: []facts.Effect{e}, OpenResults: verb == "CALL"}
	m := plainSelect.FindStringSubmatch(text)
	var rel *catalog.Relation
	if m != nil {
		rel = v.Relation("", m[2])
	}
	if rel == nil {
		f.OpenResults = f.OpenResults || verb == "SELECT" || verb == "SHOW" || verb == "WITH"
		if strings.Contains(text, "people") {
			rel = v.Relation("", "people")
		}
		if rel == nil {
			return f
		}
	}
	t := facts.Table{Name: facts.Name{Schema: rel.Schema, Name: rel.Name}}
	for _, c := range rel.Columns {
		t.Columns = append(t.Columns, facts.TableColumn{Name: c.Name, Origin: c.Num})
	}
	f.Tables = []facts.Table{t}
	if m == nil {
		if strings.Contains(text, "AS blind") { // what a mistake in lineage would give
			f.OpenResults, f.Outputs = false, []facts.Output{{Name: "blind"}}
		}
		return f
	}
	for _, name := range strings.Split(m[1], ",") {
		o := facts.Output{Name: strings.TrimSpace(name)}
		for i, c := range rel.Columns {
			if c.Name == o.Name {
				o.Sources = []facts.Source{{ColumnRef: facts.ColumnRef{Column: i}, Direct: true}}
			}
		}
		f.Outputs = append(f.Outputs, o)
	}
	return f
}

// running is a proxy in front of a MariaDB.
type running struct {
	server   *throwaway.Server
	database string
	address  string
	dir      string
}

type setup struct {
	policy string
	server *throwaway.Server // the shared one if nil
	user   string            // upstream; root if empty
	secret string
	query  string // of the upstream's URL
	extra  string // of the configuration
	target string // of the target
	script string
	// through, if set, gives the address of what stands between the proxy and the server.
	through func(testing.TB, *throwaway.Server) string
}

// start runs the engine with the outline of a dialect.
func start(t testing.TB, o setup) *running {
	t.Helper()
	r := &running{server: o.server, dir: t.TempDir()}
	if r.server == nil {
		r.server = throwtest.SharedMaria(t, throwaway.MariaOptions{Settings: map[string]string{"local-infile": "1"}})
	}
	r.database = throwtest.Database(t, r.server, o.script)
	if o.user == "" {
		o.user, o.secret = "root", r.server.Password
	}
	if o.query == "" {
		o.query = "?tls=disable"
	}
	if o.target == "" {
		o.target = "    tls: {mode: disable}\n"
	}
	r.address = freeAddress(t)
	upstream := r.server.Address()
	if o.through != nil {
		upstream = o.through(t, r.server)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("policy.yaml", "version: 1\n"+o.policy)
	write("alice", "wonderland")
	write("token", token)
	write("upstream", o.secret)
	write("sallyport.yaml", fmt.Sprintf(`version: 1
policy: policy.yaml
identities:
  - {name: alice, password: {file: alice}}
  - {name: bob, password: {file: alice}}
  - {name: worker, kind: machine, token: {file: token}}
targets:
  - name: app
    protocol: mysql
    listen: %q
%s    upstream: {url: "mysql://%s@%s/%s%s", password: {file: upstream}}
%s`, r.address, o.target, o.user, upstream, r.database, o.query, o.extra))
	c, err := proxy.LoadConfig(filepath.Join(r.dir, "sallyport.yaml"), []protocols.Protocol{mysql.New()})
	if err != nil {
		t.Fatal(err)
	}
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel)
	e, err := proxy.New(proxy.Options{Config: c, Protocols: []protocols.Protocol{mysql.New()}, Dialects: []proxy.Dialect{outline}, Log: log, Program: "test"})
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
	return r
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
