package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func (m *Main) policyTestCommand() *cobra.Command {
	var policy, schema, format, recorded string
	formats := []string{"text", "json", "junit"}
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run cases: who asks what, and what should become of it",
		Long: `Decides the statements of case files and compares what becomes of them with what
each case expects. The schema is SQL, which is run on a throwaway PostgreSQL (of this
machine's; the cases' statements never run), or a catalog file as it lies beside the
transcripts (catalogs/HASH.json.zst).

  version: 1
  policy: policy.yaml              # beside the file, or --policy
  schema: schema.sql               # beside the file, or --schema
  cases:
    - name: analysts see masked addresses
      groups: [analyst]            # and as: NAME, kind: machine
      statement: SELECT email FROM customers WHERE id = $1
      params: ["7"]
      expect: allow                # allow, hold or deny
      masks: {email: partial}
    - name: whole tables wait
      groups: [analyst]
      statement: SELECT * FROM orders
      plan_rows: 100000            # what the planner would say; 1 unless said
      expect: hold
      rule: bulk-read

Rules that no case makes match are listed; with --recorded those that neither a case
nor a recorded statement does. Exit code 3 means that a case failed.`,
		Example: `  sallyport policy test --policy new.yaml cases.yaml
  sallyport policy test --recorded recorded/ cases.yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(formats, format) {
				return fail(fmt.Errorf("there is no format %q", format), "there are "+strings.Join(formats, ", "))
			}
			run := &policyTest{matched: map[string]bool{}, recorded: recorded}
			for _, path := range args {
				if err := run.file(cmd.Context(), path, policy, schema); err != nil {
					return err
				}
			}
			if err := run.write(m, format); err != nil {
				return fail(err, "")
			}
			if run.failed() > 0 {
				return &exitError{code: 3}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&policy, "policy", "p", "", "the policy, instead of the files' own")
	f.StringVar(&schema, "schema", "", "the schema, instead of the files' own: SQL or a catalog file")
	f.StringVar(&recorded, "recorded", "", "a folder of transcripts: count the rules that their statements match, too")
	_ = cmd.MarkFlagDirname("recorded")
	f.StringVar(&format, "format", "text", strings.Join(formats, ", "))
	_ = cmd.MarkFlagFilename("policy", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// policyTest runs case files.
type policyTest struct {
	recorded string
	results  []caseResult
	rules    []string
	matched  map[string]bool
}

type caseResult struct {
	File    string `json:"file"`
	Name    string `json:"name"`
	Passed  bool   `json:"passed"`
	Problem string `json:"problem,omitempty"`
}

func (t *policyTest) failed() int {
	n := 0
	for _, r := range t.results {
		if !r.Passed {
			n++
		}
	}
	return n
}

func (t *policyTest) file(ctx context.Context, path, policy, schema string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return fail(fmt.Errorf("reading cases: %w", err), "")
	}
	file, err := readCases(filepath.Base(path), src)
	if err != nil {
		return broken(err)
	}
	beside := func(given, own string) string {
		if given != "" || own == "" || filepath.IsAbs(own) {
			return cmpOr(given, own)
		}
		return filepath.Join(filepath.Dir(path), own)
	}
	policy, schema = beside(policy, file.policy), beside(schema, file.schema)
	if policy == "" || schema == "" {
		return fail(fmt.Errorf("%s names no policy or no schema", path), "give --policy and --schema, or write them into the file")
	}
	p, err := sqlpolicy.Load(policy)
	if err != nil {
		return broken(err)
	}
	c, err := readSchema(ctx, schema)
	if err != nil {
		return fail(fmt.Errorf("reading the schema %s: %w", schema, err), "it is a file of SQL, or one of the transcripts' folder catalogs")
	}
	if err := t.countRecorded(ctx, p); err != nil {
		return err
	}
	for _, r := range p.Rules {
		if !slices.Contains(t.rules, r.Name) {
			t.rules = append(t.rules, r.Name)
		}
	}
	for i := range file.cases {
		problem := t.run(p, c, &file.cases[i])
		t.results = append(t.results, caseResult{File: path, Name: file.cases[i].name, Passed: problem == "", Problem: problem})
	}
	return nil
}

// readSchema reads a catalog file, or makes the schema of a file of SQL on a
// throwaway server.
func readSchema(ctx context.Context, path string) (*catalog.Catalog, error) {
	if !strings.HasSuffix(path, ".sql") {
		return proxy.ReadCatalog(ctx, nil, nil, nil, path)
	}
	script, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	opt := throwaway.Options{Password: "throwaway", // it has nothing in it
		Vector: strings.Contains(strings.ToLower(string(script)), "create extension") && strings.Contains(string(script), "vector")}
	s, err := throwaway.PostgreSQL(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	if _, err := s.SQL(ctx, "postgres", string(script)); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sallyport-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(opt.Password), 0o600); err != nil {
		return nil, err
	}
	target := &proxy.Target{Name: "schema", Protocol: "postgres", Upstream: proxy.Upstream{TLSMode: "disable"}}
	if target.Upstream.URL, err = url.Parse(fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", s.Address())); err != nil {
		return nil, err
	}
	target.Upstream.Password.File = password
	return proxy.ReadCatalog(ctx, &proxy.Config{}, target, wires(), "")
}

// countRecorded notes the rules that recorded statements match.
func (t *policyTest) countRecorded(ctx context.Context, p *sqlpolicy.Policy) error {
	if t.recorded == "" {
		return nil
	}
	files, err := replay.Files(t.recorded)
	if err != nil {
		return fail(err, "")
	}
	got, err := replay.Check(ctx, files, replay.CheckOptions{Policy: p})
	if err != nil {
		return fail(err, "`sallyport replay verify` says what is wrong with a transcript")
	}
	for i := range p.Rules {
		if name := p.Rules[i].Name; !slices.Contains(got.NeverMatched, name) {
			t.matched[name] = true
		}
	}
	return nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// dialectOf is the dialect of a schema, with the path that its sessions begin
// with.
func dialectOf(c *catalog.Catalog) (*proxy.Dialect, []string, error) {
	name, path := c.Dialect, []string{"public"}
	if name == "mariadb" {
		name = "mysql" // one dialect, told apart by the catalog
	}
	if name == "mysql" {
		path = []string{c.Database}
	}
	for _, d := range dialects() {
		if d.Name == name {
			return &d, path, nil
		}
	}
	return nil, nil, fmt.Errorf("the schema is one of %q, whose statements are not understood", c.Dialect)
}

// run decides one case and says what is not as expected, "" for nothing.
func (t *policyTest) run(p *sqlpolicy.Policy, c *catalog.Catalog, x *policyCase) string {
	dialect, path, err := dialectOf(c)
	if err != nil {
		return err.Error()
	}
	if x.path != nil {
		path = x.path
	}
	if dialect.Name == "postgres" {
		path = append([]string{"pg_catalog"}, path...)
	}
	list, err := dialect.Analyse(&catalog.View{Catalog: c, SearchPath: path}, x.statement, protocols.Limits{})
	var problem *facts.Problem
	if errors.As(err, &problem) && problem.Unparsed {
		list = []catalog.Statement{{Text: x.statement, Facts: &facts.Facts{Unparsed: problem.Message, Effects: []facts.Effect{{Action: facts.Unknown, Limit: facts.NoLimit}}}}}
	} else if err != nil {
		return "the statement is not understood: " + err.Error()
	}
	verdict, masks := facts.Allow, map[string]string{}
	by := []string{}
	for _, st := range list {
		f := st.Facts.Bind(x.params)
		d := p.Decide(sqlpolicy.Input{Identity: x.identity, Facts: f, Text: st.Text, Params: x.params, Plan: x.plan, Now: x.now,
			Session: facts.Session{Target: x.target, Database: c.Database, Started: x.now}})
		verdict = max(verdict, d.Verdict)
		for _, h := range d.Rules {
			t.matched[h.Rule] = true
			by = append(by, h.Rule)
		}
		for _, r := range d.Refusals {
			by = append(by, r.Message)
		}
		for _, k := range d.Masks {
			masks[f.Outputs[k.Output].Name] = k.Mask.Name
		}
	}
	switch {
	case verdict != x.expect:
		return fmt.Sprintf("it is %s (%s), want %s", verdict, strings.Join(by, "; "), x.expect)
	case x.rule != "" && !slices.Contains(by, x.rule):
		return fmt.Sprintf("it is by %s, want by %s", strings.Join(by, "; "), x.rule)
	case x.masks != nil && !maps.Equal(x.masks, masks):
		return fmt.Sprintf("its masks are %s, want %s", namedMasks(masks), namedMasks(x.masks))
	}
	return ""
}

func namedMasks(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+" "+m[k])
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

func (t *policyTest) unmatched() []string {
	var out []string
	for _, r := range t.rules {
		if !t.matched[r] {
			out = append(out, r)
		}
	}
	return out
}

func (t *policyTest) write(m *Main, format string) error {
	switch format {
	case "json":
		for _, r := range t.results {
			m.json(r)
		}
		m.json(map[string]any{"cases": len(t.results), "failed": t.failed(), "rules_never_matched": t.unmatched()})
		return nil
	case "junit":
		return t.junit(m.Stdout)
	}
	for _, r := range t.results {
		if !r.Passed {
			fmt.Fprintf(m.Stdout, "FAIL %s: %s\n     %s\n", replay.Safe(r.File), replay.Safe(r.Name), replay.Safe(r.Problem))
		}
	}
	fmt.Fprintf(m.Stdout, "%d cases, %d failed\n", len(t.results), t.failed())
	if never := t.unmatched(); len(never) > 0 {
		who := "no case makes"
		if t.recorded != "" {
			who = "no case and no recorded statement makes"
		}
		fmt.Fprintf(m.Stdout, "%s these rules match: %s\n", who, strings.Join(never, ", "))
	}
	return nil
}

func (t *policyTest) junit(w io.Writer) error {
	suite := replay.JUnit{Name: "sallyport policy test"}
	for _, r := range t.results {
		c := replay.JUnitCase{Class: r.File, Name: replay.Safe(r.Name)}
		if !r.Passed {
			c.Failure = &replay.JUnitFailure{Message: replay.Safe(r.Problem)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return suite.Write(w)
}

// caseTime is when cases happen that say nothing of time: the same for each
// run.
var caseTime = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
