package main

import (
	"errors"
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
	var policy, format, baseline string
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
out. Exit code 3 means that something changes.`,
		Example: `  sallyport replay check --policy new.yaml --config sallyport.yaml
  sallyport replay check --policy new.yaml --format markdown recorded/
  sallyport replay check --policy new.yaml --format json recorded/ > known.json
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
			paths, err := s.paths(args)
			if err != nil {
				return err
			}
			progress, end := m.progress("sessions decided again")
			got, err := replay.Check(cmd.Context(), paths, replay.CheckOptions{Policy: p, Progress: progress})
			end()
			if err != nil {
				return fail(err, "`sallyport replay verify` says what is wrong with a transcript")
			}
			got = got.Without(known, wanted)
			if err := got.Write(m.Stdout, format); err != nil {
				return fail(err, "")
			}
			if len(got.Groups) > 0 {
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
	f.StringSliceVar(&only, "only", only, "the changes that count")
	_ = cmd.MarkFlagRequired("policy")
	_ = cmd.MarkFlagFilename("policy", "yaml", "yml")
	_ = cmd.MarkFlagFilename("baseline", "json")
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

// paths resolves arguments to transcripts: files, folders and sessions of the
// configuration; without any, all of the configuration's.
func (s *stored) paths(args []string) ([]string, error) {
	c, err := s.load()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		if c == nil {
			return nil, fail(errors.New("which transcripts?"), "name files or folders, or give --config FILE for all of a proxy's")
		}
		args = []string{c.Transcripts}
	}
	var out []string
	for _, a := range args {
		if info, err := os.Stat(a); err == nil && info.IsDir() {
			files, err := replay.Files(a)
			if err != nil {
				return nil, fail(err, "")
			}
			out = append(out, files...)
			continue
		}
		path, err := find(c, a)
		if err != nil {
			return nil, err
		}
		out = append(out, path)
	}
	if len(out) == 0 {
		return nil, fail(fmt.Errorf("there are no transcripts in %s", strings.Join(args, ", ")), "transcripts are files that end in .transcript")
	}
	return out, nil
}

// progress shows how far long work is, on a terminal only.
func (m *Main) progress(what string) (step func(done, of int), end func()) {
	f, ok := m.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	return func(done, of int) { fmt.Fprintf(f, "\r%d of %d %s", done, of, what) }, func() { fmt.Fprint(f, "\r\x1b[K") }
}
