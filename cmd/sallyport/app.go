package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Main is the program with its surroundings, so that tests run it whole.
type Main struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// Run executes one command line and returns the exit code: 0 for success, 1
// for a failure, 2 for a command line that was not understood, and 3 where a
// check found something (policy check, replay verify).
func (m *Main) Run(ctx context.Context, args []string) int {
	root := m.command()
	root.SetArgs(args)
	root.SetIn(m.Stdin)
	root.SetOut(m.Stdout)
	root.SetErr(m.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{code: 2, err: err, hint: "run `sallyport --help`, or --help after a command"}
	}
	if e.err != nil {
		fmt.Fprintf(m.Stderr, "sallyport: %v\n", e.err)
	}
	if e.hint != "" {
		fmt.Fprintf(m.Stderr, "hint: %s\n", e.hint)
	}
	return e.code
}

// exitError is a command's failure with what to do about it.
type exitError struct {
	code int
	err  error // nil: the command has said all
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "failed"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// fail is a failure with a hint.
func fail(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &exitError{code: 1, err: err, hint: hint}
}

func (m *Main) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "A data-access proxy: parses, decides, masks and records every statement",
		Long: `Sallyport stands between clients and the stores they query. It parses every
statement, refuses or holds what the policy says, masks classed columns row by
row, and records sessions that replay.

Start with:   sallyport demo
Then:         sallyport serve --config sallyport.yaml`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetVersionTemplate("sallyport {{.Version}}\n")
	root.AddCommand(m.serveCommand(), m.demoCommand(), m.policyCommand(), m.sessionsCommand(), m.identitiesCommand(), m.approvalsCommand(), m.replayCommand(), m.reportCommand())
	return root
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
