package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
)

func (m *Main) replayCheckCommand() *cobra.Command {
	var s stored
	var policy, format, baseline, expect string
	only := changeNames(replay.Changes)
	cmd := &cobra.Command{
		Use:   "check --policy FILE [SESSION|FILE|FOLDER...]",
		Short: "Decide recorded statements again under another policy, and say what changes",
		Long: `Decides every recorded statement again, as the proxy would under another policy,
and says what would be different: newly refused, newly held, newly allowed, masks
gained or lost. No database is asked: what the decision was taken on stands in
the record. A statement whose record lacks what the policy asks for (a plan, the
words of a hidden constant) is undecidable, never unchanged.

Changes are grouped by rule and by the statement's shape, with one example each.
With --baseline, what an earlier check wrote with --format json is known and left
out. With --expect, a file names the changes that are wanted; they are left out,
and one that does not happen counts as a change:

  version: 1
  expect:
    - change: newly-refused       # as --only has them
      rule: unfiltered-write      # optional, as are shape and count
      shape: delete from orders
      count: 3

Budgets that are new are charged anew, from nothing, with what the recorded
statements returned. Exit code 3 means that something changes.`,
		Example: `  sallyport replay check --policy new.yaml --config sallyport.yaml
  sallyport replay check --policy new.yaml --format markdown recorded/
  sallyport replay check --policy new.yaml --format json recorded/ > known.json
  sallyport replay check --policy new.yaml --expect wanted.yaml recorded/
  sallyport replay check --policy new.yaml --baseline known.json --only newly-refused,masks-lost recorded/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(replay.Formats, format) {
				return fail(fmt.Errorf("there is no format %q", format), "there are "+strings.Join(replay.Formats, ", "))
			}
			p, err := sqlpolicy.Load(policy)
			if err != nil {
				return broken(err)
			}
			wanted, err := changesNamed(only)
			if err != nil {
				return err
			}
			known, err := readBaseline(baseline)
			if err != nil {
				return err
			}
			expected, err := readExpectations(expect)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.open(cmd.Context()); err != nil {
				return err
			}
			paths, err := s.paths(cmd.Context(), args)
			if err != nil {
				return err
			}
			progress, end := m.progress("sessions decided again")
			got, err := replay.Check(cmd.Context(), paths, replay.CheckOptions{Policy: p, File: policy, Identities: s.identities, Progress: progress})
			end()
			if err != nil {
				return fail(err, "`sallyport replay verify` says what is wrong with a transcript")
			}
			got = got.Without(known, wanted).Against(expected)
			if err := got.Write(m.Stdout, format); err != nil {
				return fail(err, "")
			}
			if !got.OK() {
				return &exitError{code: 3}
			}
			return nil
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&policy, "policy", "p", "", "the policy to decide by")
	f.StringVar(&format, "format", "text", strings.Join(replay.Formats, ", "))
	f.StringVar(&baseline, "baseline", "", "what is known: the JSON of an earlier check")
	f.StringVar(&expect, "expect", "", "a file of changes that are wanted")
	f.StringSliceVar(&only, "only", only, "the changes that count")
	_ = cmd.MarkFlagRequired("policy")
	_ = cmd.MarkFlagFilename("policy", "yaml", "yml")
	_ = cmd.MarkFlagFilename("baseline", "json")
	_ = cmd.MarkFlagFilename("expect", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(replay.Formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(only, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func changeNames(list []replay.Change) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.ReplaceAll(string(c), " ", "-"))
	}
	return out
}

func changesNamed(names []string) ([]replay.Change, error) {
	var out []replay.Change
	for _, n := range names {
		c := replay.Change(strings.ReplaceAll(n, "-", " "))
		if !slices.Contains(replay.Changes, c) {
			return nil, fail(fmt.Errorf("there is no change %q", n), "there are "+strings.Join(changeNames(replay.Changes), ", "))
		}
		out = append(out, c)
	}
	return out, nil
}

func readBaseline(path string) (replay.Baseline, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(fmt.Errorf("reading the baseline: %w", err), "write one with --format json")
	}
	defer f.Close()
	b, err := replay.ReadBaseline(f)
	return b, fail(err, "write one with --format json")
}

// progress shows how far long work is, on a terminal only.
func (m *Main) progress(what string) (step func(done, of int), end func()) {
	f, ok := m.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	return func(done, of int) { fmt.Fprintf(f, "\r%d of %d %s", done, of, what) }, func() { fmt.Fprint(f, "\r\x1b[K") }
}
