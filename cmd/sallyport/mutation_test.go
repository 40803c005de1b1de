package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// lineageRule is one thing that analysis says of statements, and what
// analysis without it would say.
type lineageRule struct {
	name   string
	delete func(f *facts.Facts) (changed bool)
}

// uses is the rule that notes uses of a kind whose words begin so.
func uses(kind facts.UseKind, what string) lineageRule {
	return lineageRule{string(kind) + ": " + what, func(f *facts.Facts) bool {
		n := len(f.Uses)
		f.Uses = slices.DeleteFunc(f.Uses, func(u facts.Use) bool { return u.Kind == kind && strings.HasPrefix(u.What, what) })
		return len(f.Uses) < n
	}}
}

// sources is the rule that follows values into results.
func sources(name string, direct bool) lineageRule {
	return lineageRule{name, func(f *facts.Facts) bool {
		changed := false
		for i := range f.Outputs {
			n := len(f.Outputs[i].Sources)
			f.Outputs[i].Sources = slices.DeleteFunc(f.Outputs[i].Sources, func(s facts.Source) bool { return s.Direct == direct })
			changed = changed || len(f.Outputs[i].Sources) < n
		}
		return changed
	}}
}

// tables is a rule over the tables that a statement touches.
func tables(name string, change func(*facts.Table) bool) lineageRule {
	return lineageRule{name, func(f *facts.Facts) bool {
		changed := false
		for i := range f.Tables {
			changed = change(&f.Tables[i]) || changed
		}
		return changed
	}}
}

var lineageRules = []lineageRule{
	sources("columns that come as they are", true),
	sources("columns that come computed", false),
	tables("partitions and children share classes", func(t *facts.Table) bool {
		changed := len(t.Family) > 0
		t.Family = nil
		return changed
	}),
	tables("statistics are classed", func(t *facts.Table) bool {
		changed := t.System
		if t.System {
			t.Name.Name = "not_" + t.Name.Name
		}
		return changed
	}),
	{"diagnostics of classed tables are replaced", func(f *facts.Facts) bool {
		read := map[facts.ColumnRef]bool{}
		for _, o := range f.Outputs {
			for _, s := range o.Sources {
				read[s.ColumnRef] = true
			}
		}
		for _, u := range f.Uses {
			for _, c := range slices.Concat(u.Columns, u.With) {
				read[c] = true
			}
			if u.Into != nil {
				read[*u.Into] = true
			}
		}
		changed := false
		for i := range f.Tables {
			for j := range f.Tables[i].Columns {
				if !read[facts.ColumnRef{Table: i, Column: j}] {
					f.Tables[i].Columns[j].Name, changed = "unread", true
				}
			}
		}
		return changed
	}},
	{"plans are refused", func(f *facts.Facts) bool {
		changed := f.Explains
		f.Explains = false
		return changed
	}},
	uses(facts.UseEqual, "the operator"), uses(facts.UseEqual, "GROUP BY"), uses(facts.UseEqual, "DISTINCT"), uses(facts.UseEqual, "count("),
	uses(facts.UseEqual, "UNION"), uses(facts.UseEqual, "INTERSECT"), uses(facts.UseEqual, "EXCEPT"), uses(facts.UseEqual, "IS NULL"),
	uses(facts.UseEqual, "JOIN USING"), uses(facts.UseEqual, "the unique index"), uses(facts.UseEqual, "the bounds of a partition"),
	uses(facts.UseCompare, "the operator"), uses(facts.UseCompare, "ORDER BY"), uses(facts.UseCompare, "LIMIT"), uses(facts.UseCompare, "IS NULL"),
	uses(facts.UseCompare, "the aggregate"), uses(facts.UseCompare, "count("),
	uses(facts.UseCompare, "PARTITION BY"), uses(facts.UseCompare, "DISTINCT ON"), uses(facts.UseCompare, "GROUP BY, which"), uses(facts.UseCompare, "CLUSTER"),
	uses(facts.UsePlan, ""),
	uses(facts.UseOpaque, "the operator"), uses(facts.UseOpaque, "the cast"), uses(facts.UseOpaque, "the function"), uses(facts.UseOpaque, "the aggregate"),
	uses(facts.UseCompare, "a window frame"), uses(facts.UseOpaque, "a JSON key"),
	uses(facts.UseOpaque, "ALTER TABLE"),
	uses(facts.UseWrite, "storing"), uses(facts.UseWrite, "a rename"),
	uses(facts.UseCode, "the function"), uses(facts.UseCode, "the trigger"), uses(facts.UseCode, "the rewrite rules"), uses(facts.UseCode, "the operator"),
	uses(facts.UseCode, "an anonymous code block"),
}

// mutant is an analysis without one of the rules. Without a rule to delete it
// notes which rules speak.
type mutant struct {
	mu    sync.Mutex
	rule  *lineageRule
	spoke map[string]bool
}

func (m *mutant) set(r *lineageRule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rule, m.spoke = r, map[string]bool{}
}

func (m *mutant) said() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.spoke
}

// dialect is d without the rule. Its answers are not remembered.
func (m *mutant) dialect(d proxy.Dialect) proxy.Dialect {
	analyse := d.Analyse
	d.Analyse = func(v *catalog.View, text string, l protocols.Limits) ([]catalog.Statement, error) {
		list, err := analyse(v, text, l)
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := range list {
			list[i].Volatile = true
			if m.rule != nil {
				list[i].Facts = copyFacts(list[i].Facts)
				m.rule.delete(list[i].Facts)
				continue
			}
			for r := range lineageRules {
				if lineageRules[r].delete(copyFacts(list[i].Facts)) {
					m.spoke[lineageRules[r].name] = true
				}
			}
		}
		return list, err
	}
	return d
}

// copyFacts copies what rules change.
func copyFacts(f *facts.Facts) *facts.Facts {
	c := *f
	c.Uses, c.Outputs, c.Tables = slices.Clone(f.Uses), slices.Clone(f.Outputs), slices.Clone(f.Tables)
	for i := range c.Outputs {
		c.Outputs[i].Sources = slices.Clone(c.Outputs[i].Sources)
	}
	for i := range c.Tables {
		c.Tables[i].Columns = slices.Clone(c.Tables[i].Columns)
	}
	return &c
}

// TestEachLineageRuleIsNeeded deletes the rules of analysis one by one and
// sends the statements that each of them speaks of: without it some answer
// must differ between the two databases. A rule that no statement needs either
// says too much or is not tested.
func TestEachLineageRuleIsNeeded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "testdata", "noninterference")
	cases := readCorpus(t, filepath.Join(dir, "attacks.txt"))
	tw := startMutants(t)
	speaks := map[string][]corpusCase{} // by rule
	m, stop := tw.serve(t)
	for _, c := range cases {
		m.set(nil)
		tw.run(t, rawModes[0], c)
		for name := range m.said() {
			speaks[name] = append(speaks[name], c)
		}
	}
	stop()
	for i := range lineageRules {
		r := &lineageRules[i]
		t.Run(r.name, func(t *testing.T) {
			tw.restore(t)
			m, stop := tw.serve(t)
			defer stop()
			m.set(r)
			for _, c := range speaks[r.name] {
				for _, p := range tw.run(t, rawModes[0], c) {
					if !bytes.Equal(p.a.bytes, p.b.bytes) || p.a.died != p.b.died {
						t.Logf("%s:%d needs it: %.100s", c.name, p.statement.line, p.statement.text)
						return
					}
				}
			}
			t.Errorf("the rule speaks in %d cases and no answer differs without it", len(speaks[r.name]))
		})
	}
}

// mutants are twins whose databases can be put back.
type mutants struct {
	twins
	servers []*throwaway.Server
	config  string
}

func startMutants(t *testing.T) *mutants {
	t.Helper()
	tw := &mutants{}
	var targets []target
	dir := filepath.Join("..", "..", "testdata", "noninterference")
	for _, side := range []string{"a", "b"} {
		s := startTwin(t, side)
		sql(t, s, "postgres", "ALTER DATABASE shop RENAME TO pristine; CREATE DATABASE shop OWNER backend TEMPLATE pristine")
		tw.servers = append(tw.servers, s)
		targets = append(targets, target{name: "twin-" + side, port: freePort(t), password: "backend-secret",
			upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	}
	p := writeProxy(t, readFile(t, filepath.Join(dir, "policy.yaml")), targets...)
	tw.config = p.config
	tw.a, tw.b = twinConn(targets[0].port), twinConn(targets[1].port)
	return tw
}

// restore puts both databases back.
func (tw *mutants) restore(t *testing.T) {
	t.Helper()
	for _, s := range tw.servers {
		sql(t, s, "postgres", "DROP DATABASE shop WITH (FORCE)")
		sql(t, s, "postgres", "CREATE DATABASE shop OWNER backend TEMPLATE pristine")
	}
}

// serve runs a proxy with a mutant analysis until stop.
func (tw *mutants) serve(t *testing.T) (m *mutant, stop func()) {
	t.Helper()
	m = &mutant{spoke: map[string]bool{}}
	c, err := proxy.LoadConfig(tw.config, wires())
	if err != nil {
		t.Fatal(err)
	}
	all := dialects()
	for i := range all {
		all[i] = m.dialect(all[i])
	}
	e, err := proxy.New(proxy.Options{Config: c, Protocols: wires(), Dialects: all, Log: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- e.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return m, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
