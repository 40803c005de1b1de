package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

func (m *Main) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Check and explain policies"}
	cmd.AddCommand(m.policyCheckCommand(), m.policyExplainCommand(), m.policyTestCommand(), m.policyFactsCommand())
	return cmd
}

func (m *Main) policyCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "check FILE...",
		Short:   "Load policies and report every problem with its place",
		Example: "  sallyport policy check policy.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			bad := false
			for _, file := range files {
				p, err := sqlpolicy.Load(file)
				var problems strictyaml.Problems
				switch {
				case err == nil && asJSON:
					m.json(map[string]any{"file": file, "ok": true, "hash": p.Hash})
				case err == nil:
					fmt.Fprintf(m.Stdout, "%s: ok: %d classes, %d column bindings, %d rules\n", file, len(p.Classes), len(p.Columns), len(p.Rules))
				case errors.As(err, &problems) && asJSON:
					for _, x := range problems {
						m.json(x)
					}
				default:
					fmt.Fprintln(m.Stdout, err)
				}
				bad = bad || err != nil
			}
			if bad {
				return &exitError{code: 3}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	return cmd
}

// json writes one object a line.
func (m *Main) json(v any) { _ = json.NewEncoder(m.Stdout).Encode(v) }

func (m *Main) policyFactsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "facts",
		Short: "List every variable that a rule's condition can use",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			for _, v := range sqlpolicy.FactsReference() {
				if asJSON {
					m.json(v)
					continue
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\n\t\t  e.g. %s\n", v.Name, v.Type, v.Meaning, v.Example)
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	return cmd
}

// explaining are the flags of policy explain.
type explaining struct {
	config, policy, target, identity, schema, searchPath string
	groups                                               []string
	json                                                 bool
}

func (m *Main) policyExplainCommand() *cobra.Command {
	var x explaining
	cmd := &cobra.Command{
		Use:   "explain --config FILE --identity NAME [STATEMENT]",
		Short: "Say what would become of a statement, and why, without running it",
		Long: `Analyses a statement as a session of that identity would send it and shows its
facts, what each rule makes of them, the masks, and the verdict. The schema is
read from the target; no data is. With --schema it is taken from a catalog that
a transcript refers to (catalogs/HASH.json.zst), and nothing is connected to.

Without a statement it shows the identity's effective rights: what it may reach, what it
sees of each class, its budgets, the rules, and whose holds it may answer. The groups
of an identity whose token says them are given by --groups.`,
		Example: `  sallyport policy explain --config sallyport.yaml --identity alice "SELECT email FROM customers"
  sallyport policy explain --config sallyport.yaml --identity alice --policy new.yaml "DELETE FROM orders"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return m.explainRights(x)
			}
			return m.explain(cmd.Context(), x, args[0])
		},
	}
	configFlag(cmd, &x.config)
	f := cmd.Flags()
	f.StringVar(&x.policy, "policy", "", "another policy than the configuration's")
	f.StringVar(&x.target, "target", "", "the target; the first one if not given")
	f.StringVar(&x.identity, "identity", "", "who asks")
	f.StringSliceVar(&x.groups, "groups", nil, "groups, where the identity is not in the configuration")
	f.StringVar(&x.schema, "schema", "", "a catalog file instead of the target's schema")
	f.StringVar(&x.searchPath, "search-path", "public", "the session's search path, with commas")
	f.BoolVar(&x.json, "json", false, "one object")
	return cmd
}

// asked loads what explain is about.
func (x *explaining) asked() (*proxy.Config, *sqlpolicy.Policy, facts.Identity, error) {
	id := facts.Identity{Name: x.identity, Kind: "human", Groups: x.groups}
	c, err := proxy.LoadConfig(x.config, wires())
	if err != nil {
		return nil, nil, id, broken(err)
	}
	path := c.Policy
	if x.policy != "" {
		path = x.policy
	}
	p, err := sqlpolicy.Load(path)
	if err != nil {
		return nil, nil, id, broken(err)
	}
	if len(x.groups) == 0 {
		for _, known := range c.Identities {
			if known.Name == x.identity {
				id.Groups, id.Kind = known.Groups, known.Kind
			}
		}
		for _, a := range c.Authorities {
			for _, known := range a.Identities {
				if known.Identity.Name == x.identity {
					id = known.Identity
				}
			}
		}
	}
	return c, p, id, nil
}

// explainRights shows what an identity may do, whatever it asks.
func (m *Main) explainRights(x explaining) error {
	if x.identity == "" {
		return fail(errors.New("whose rights?"), "give --identity NAME, and --groups where a token says them")
	}
	c, p, id, err := x.asked()
	if err != nil {
		return err
	}
	r := p.Rights(id)
	if x.json {
		m.json(r)
		return nil
	}
	if err := r.WriteText(m.Stdout); err != nil {
		return err
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		user := t.Upstream.UserOf(&id)
		if user == "" {
			user = "the target's key"
		}
		fmt.Fprintf(m.Stdout, "target     %s: the backend sees %s\n", t.Name, user)
	}
	return nil
}

func (m *Main) explain(ctx context.Context, x explaining, text string) error {
	c, p, id, err := x.asked()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	target, err := pick(c, x.target)
	if err != nil {
		return fail(err, "")
	}
	cat, err := proxy.ReadCatalog(ctx, c, target, wires(), x.schema)
	if err != nil {
		return fail(fmt.Errorf("reading the schema: %w", err), "is the upstream up? --schema FILE needs no upstream")
	}
	view := &catalog.View{Catalog: cat, Role: target.Upstream.URL.User.Username(), SearchPath: append([]string{"pg_catalog"}, strings.Split(x.searchPath, ",")...)}
	statements, err := dialects()[0].Analyse(view, text, c.Limits)
	if err != nil {
		var problem *facts.Problem
		if errors.As(err, &problem) {
			return &exitError{code: 1, err: fmt.Errorf("the statement is not understood: %s", problem.Message), hint: problem.Hint}
		}
		return fail(err, "")
	}
	for _, st := range statements {
		e := p.Explain(sqlpolicy.Input{Identity: id, Facts: st.Facts, Text: st.Text, Now: time.Now(),
			Session: facts.Session{Target: target.Name, Protocol: target.Protocol, Database: cat.Database, Started: time.Now()}})
		if x.json {
			m.json(e)
		} else if err := e.WriteText(m.Stdout); err != nil {
			return err
		}
	}
	return nil
}

func pick(c *proxy.Config, name string) (*proxy.Target, error) {
	for i := range c.Targets {
		if name == "" || c.Targets[i].Name == name {
			return &c.Targets[i], nil
		}
	}
	return nil, fmt.Errorf("there is no target %q in %s", name, filepath.Base(c.Path))
}
