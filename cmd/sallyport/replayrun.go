package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/rerun"
)

func (m *Main) replayRunCommand() *cobra.Command {
	var s stored
	var opt rerun.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "run --target URL [SESSION|FILE|FOLDER...]",
		Short: "Run recorded sessions again on a database, and compare",
		Long: `Runs recorded sessions again, each over a connection of its own, and compares
command tags, row counts, errors and the rows that were recorded (but for masked
columns). It runs reads only, in transactions that the server keeps read-only;
--writes runs everything, --rollback takes all of it back at the end.

What was refused, has a constant that the record hides, or copied rows in, is
skipped and counted. Passwords come from PGPASSWORD or the password file, as for
psql. Exit code 3 means that something differs.`,
		Example: `  sallyport replay run --target postgres://me@127.0.0.1:5432/copy --config sallyport.yaml
  sallyport replay run --target "host=127.0.0.1 port=6432 user=alice dbname=shop" --speed 1 recorded/
  sallyport replay run --target postgres://me@127.0.0.1/copy --writes --rollback recorded/one.transcript`,
		RunE: func(cmd *cobra.Command, args []string) error {
			defer s.close()
			if err := s.open(cmd.Context()); err != nil {
				return err
			}
			paths, err := s.paths(cmd.Context(), args)
			if err != nil {
				return err
			}
			var sessions []*replay.Recorded
			for _, p := range paths {
				r, err := replay.Load(p, s.identities)
				if err != nil {
					return fail(fmt.Errorf("%s: %w", p, err), "`sallyport replay verify` says what is wrong with a transcript")
				}
				if r.Protocol != "postgres" {
					return fail(fmt.Errorf("session %s is one of %s", r.ID, r.Protocol), "only sessions of PostgreSQL can be run again")
				}
				sessions = append(sessions, r)
			}
			var end func()
			opt.Progress, end = m.progress("sessions run")
			got, err := rerun.Run(cmd.Context(), sessions, opt)
			end()
			if got != nil {
				m.writeRun(got, asJSON)
			}
			if err != nil {
				return fail(err, "is --target a database that these sessions can run on?")
			}
			if len(got.Differences) > 0 {
				return &exitError{code: 3}
			}
			return nil
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&opt.Target, "target", "", "the database: a URL or libpq's key=value words")
	f.BoolVar(&opt.Writes, "writes", false, "run statements that write, too")
	f.BoolVar(&opt.Rollback, "rollback", false, "run each session in one transaction, and roll it back")
	f.Float64Var(&opt.Speed, "speed", 0, "run in the recorded rhythm: 1, or 10 for ten times as fast; 0 is as fast as possible")
	f.IntVar(&opt.Sessions, "sessions", 16, "at most so many sessions at once")
	f.BoolVar(&asJSON, "json", false, "one object a line")
	_ = cmd.MarkFlagRequired("target")
	return cmd
}

func (m *Main) writeRun(r *rerun.Result, asJSON bool) {
	if asJSON {
		for _, d := range r.Differences {
			m.json(d)
		}
		m.json(map[string]any{"sessions": r.Sessions, "statements": r.Statements, "skipped": r.Skipped, "differences": len(r.Differences),
			"recorded_ms": r.Recorded.Milliseconds(), "now_ms": r.Now.Milliseconds()})
		return
	}
	for _, d := range r.Differences {
		fmt.Fprintf(m.Stdout, "%s, statement %d: %s\n    %s: recorded %s, now %s\n", d.Session, d.ID, replay.Safe(shorten(d.Text, 100)), replay.Safe(d.What), replay.Safe(d.Recorded), replay.Safe(d.Now))
	}
	var skipped []string
	for _, why := range slices.Sorted(maps.Keys(r.Skipped)) {
		skipped = append(skipped, fmt.Sprintf("%d because %s", r.Skipped[why], why))
	}
	fmt.Fprintf(m.Stdout, "%d sessions, %d statements run again in %s (then %s), %d differ\n", r.Sessions, r.Statements,
		r.Now.Round(time.Millisecond), r.Recorded.Round(time.Millisecond), len(r.Differences))
	if len(skipped) > 0 {
		fmt.Fprintf(m.Stdout, "skipped: %s\n", strings.Join(skipped, "; "))
	}
}
