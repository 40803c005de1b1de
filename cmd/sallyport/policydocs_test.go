package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/pgfacts"
)

// TestPolicyDocs runs the examples of docs/policy.md: each block of YAML is a
// policy, each line of the SQL below it a statement with who asks and what
// becomes of it.
func TestPolicyDocs(t *testing.T) {
	t.Parallel()
	view := shopView(t)
	var policy *sqlpolicy.Policy
	policies, statements := 0, 0
	for _, b := range fencedBlocks(readFile(t, filepath.Join("..", "..", "docs", "policy.md"))) {
		switch b.info {
		case "yaml":
			var err error
			if policy, err = sqlpolicy.Parse("docs/policy.md", []byte(b.text)); err != nil {
				t.Fatalf("%v\n%s", err, b.text)
			}
			policies++
		case "sql":
			for line := range strings.Lines(b.text) {
				statements++
				text, want, ok := strings.Cut(line, "--")
				if !ok {
					t.Errorf("%q says nothing of what becomes of it", line)
					continue
				}
				if got := decided(t, policy, view, strings.TrimSpace(text), want); got != "" {
					t.Errorf("%s\n  %s", strings.TrimSpace(line), got)
				}
			}
		}
	}
	if policies < 8 || statements < 35 {
		t.Errorf("%d policies and %d statements: the examples are gone", policies, statements)
	}
}

type block struct{ info, text string }

func fencedBlocks(markdown string) []block {
	var out []block
	parts := strings.Split("\n"+markdown, "\n```")
	for i := 1; i < len(parts); i += 2 {
		info, text, _ := strings.Cut(parts[i], "\n")
		out = append(out, block{info, text})
	}
	return out
}

// shopView is the demo's shop as a session sees it.
func shopView(t *testing.T) *catalog.View {
	t.Helper()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")),
		"CREATE FUNCTION loyalty(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; CREATE FUNCTION unread(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'")
	u, err := url.Parse(fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address()))
	if err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("backend-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := &proxy.Target{Name: "shop", Protocol: "postgres", Upstream: proxy.Upstream{TLSMode: "disable"}}
	target.Upstream.URL, target.Upstream.Password.File = u, password
	c, err := proxy.ReadCatalog(context.Background(), &proxy.Config{}, target, wires(), "")
	if err != nil {
		t.Fatal(err)
	}
	return &catalog.View{Catalog: c, SearchPath: []string{"pg_catalog", "public"}, Role: "backend"}
}

// decided compares a decision with an example's words: WHO[, plan N rows|plan
// unknown|spent N rows|spent N bytes]: VERDICT [RULE][; COLUMN MASK, …]. It
// returns what differs.
func decided(t *testing.T, policy *sqlpolicy.Policy, view *catalog.View, text, want string) string {
	t.Helper()
	who, outcome, ok := strings.Cut(want, ":")
	if !ok {
		return "no verdict"
	}
	list, err := pgfacts.Analyse(view, text, pgfacts.Limits{})
	if err != nil {
		return err.Error()
	}
	in := sqlpolicy.Input{Facts: list[0].Facts, Text: text, Plan: &facts.Plan{}, Session: facts.Session{Target: "shop", Database: "shop"}}
	for i, word := range strings.Split(who, ",") {
		f := strings.Fields(word)
		switch {
		case i == 0:
			in.Identity = facts.Identity{Name: "someone", Kind: "human", Groups: f}
			if f[0] == "machine" {
				in.Identity.Kind = "machine"
			}
		case f[0] == "plan" && f[1] != "unknown":
			in.Plan = &facts.Plan{Known: true, Rows: number(t, f[1])}
		case f[0] == "spent":
			for range policy.Budgets {
				s := facts.Spent{Rows: number(t, f[1])}
				if f[2] == "bytes" {
					s = facts.Spent{Bytes: s.Rows}
				}
				in.Spent = append(in.Spent, s)
			}
		}
	}
	d := policy.Decide(in)
	verdict, masks, _ := strings.Cut(strings.TrimSpace(outcome), ";")
	words := strings.Fields(verdict)
	if d.Verdict.String() != words[0] {
		return fmt.Sprintf("it is %s, %+v %+v", d.Verdict, d.Rules, d.Refusals)
	}
	if len(words) > 1 {
		by := func(name string) bool { return strings.HasPrefix(name, words[1]) }
		if !slices.ContainsFunc(d.Rules, func(h facts.RuleHit) bool { return by(h.Rule) }) && !slices.ContainsFunc(d.Needs, func(n facts.Need) bool { return by(n.Rule) }) {
			return fmt.Sprintf("it is by %+v %+v", d.Rules, d.Needs)
		}
	}
	if d.Verdict == facts.Deny {
		return ""
	}
	var got []string
	for _, m := range d.Masks {
		got = append(got, list[0].Facts.Outputs[m.Output].Name+" "+m.Mask.Name)
	}
	if s := strings.Join(got, ", "); d.Verdict == facts.Allow && s != strings.TrimSpace(masks) {
		return "masks: " + s
	}
	return ""
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
