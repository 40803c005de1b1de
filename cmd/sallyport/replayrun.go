package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/rerun"
)

func (m *Main) replayRunCommand() *cobra.Command {
	var s stored
	var opt rerun.Options
	var asJSON bool
	var top int
	cmd := &cobra.Command{
		Use:   "run --target URL [SESSION|FILE|FOLDER...]",
		Short: "Run recorded sessions again on a database, and compare",
		Long: `Runs recorded sessions again, each over a connection of its own, and compares
command tags, row counts, errors, the rows that were recorded (but for masked
columns), the hash of the whole result where the policy has record.hash, and how
long statements took. A statement begins after those that had ended before it
began, whichever session they are of: sessions overlap as they did.

It runs reads only, in transactions that the server keeps read-only; --writes runs
everything, --rollback each session in one transaction that is taken back at its
end (then sessions do not see what others wrote). What was refused, has a constant
that the record hides, or copied rows in, is skipped and counted. Exit code 3 means
that something differs.

The target of PostgreSQL's sessions is what psql takes, with the password in
PGPASSWORD or the password file; of MySQL's and MariaDB's it is
mysql://USER@HOST:PORT/DATABASE?tls=verify-full&ca=FILE, with the password in
MYSQL_PWD. Give sessions of one target at a time.`,
		Example: `  sallyport replay run --target postgres://me@127.0.0.1:5432/copy --config sallyport.yaml
  sallyport replay run --target "host=127.0.0.1 port=6432 user=alice dbname=shop" --speed 1 recorded/
  sallyport replay run --target postgres://me@127.0.0.1/copy --writes --rollback recorded/one.transcript
  MYSQL_PWD=… sallyport replay run --target mysql://me@127.0.0.1:3306/copy --config sallyport.yaml last`,
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
				sessions = append(sessions, r)
			}
			var end func()
			opt.Progress, end = m.progress("sessions run")
			got, err := rerun.Run(cmd.Context(), sessions, opt)
			end()
			if got != nil {
				m.writeRun(got, asJSON, top)
			}
			if err != nil {
				return fail(err, "is --target a database that these sessions can run on, and does it take as many connections?")
			}
			if len(got.Differences) > 0 {
				return &exitError{code: 3}
			}
			return nil
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&opt.Target, "target", "", "the database: a URL, or libpq's key=value words")
	f.BoolVar(&opt.Writes, "writes", false, "run statements that write, too")
	f.BoolVar(&opt.Rollback, "rollback", false, "run each session in one transaction, and roll it back")
	f.Float64Var(&opt.Speed, "speed", 0, "run in the recorded rhythm: 1, or 10 for ten times as fast; 0 is as fast as possible")
	f.IntVar(&opt.Sessions, "sessions", 100, "at most so many sessions at once")
	f.BoolVar(&opt.Masked, "masked", false, "compare masked columns, too: --target is a proxy with the same policy and keys")
	f.Float64Var(&opt.Slower, "slower", 0, "statements of a shape that take so many times as long differ, too: 2, say; 0 for never")
	f.IntVar(&top, "top", 10, "show so many shapes of statements, from what took longest; 0 for none")
	f.BoolVar(&asJSON, "json", false, "one object a line")
	_ = cmd.MarkFlagRequired("target")
	return cmd
}

func (m *Main) writeRun(r *rerun.Result, asJSON bool, top int) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	shapes := r.Shapes[:min(top, len(r.Shapes))]
	if asJSON {
		for _, d := range r.Differences {
			m.json(d)
		}
		for _, s := range shapes {
			m.json(map[string]any{"shape": s.Text, "statements": s.Count, "differ": s.Differ, "recorded_ms": ms(s.Recorded), "now_ms": ms(s.Now)})
		}
		m.json(map[string]any{"sessions": r.Sessions, "statements": r.Statements, "skipped": r.Skipped, "hashed": r.Hashed, "differences": len(r.Differences),
			"recorded_ms": ms(r.Recorded), "now_ms": ms(r.Now)})
		return
	}
	for _, d := range r.Differences {
		fmt.Fprintf(m.Stdout, "%s, statement %d: %s\n    %s: recorded %s, now %s\n", d.Session, d.ID, replay.Safe(shorten(d.Text, 100)), replay.Safe(d.What), replay.Safe(d.Recorded), replay.Safe(d.Now))
	}
	if len(shapes) > 0 {
		tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(tw, "STATEMENTS\tDIFFER\tMEDIAN THEN\tNOW\t")
		for _, s := range shapes {
			then, now := fmt.Sprintf("%.1f ms", ms(s.Recorded)), fmt.Sprintf("%.1f ms", ms(s.Now))
			if s.Timed == 0 {
				then, now = "held", "-"
			}
			fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t  %s\n", s.Count, s.Differ, then, now, replay.Safe(shorten(s.Text, 80)))
		}
		_ = tw.Flush()
	}
	var skipped []string
	for _, why := range slices.Sorted(maps.Keys(r.Skipped)) {
		skipped = append(skipped, fmt.Sprintf("%d because %s", r.Skipped[why], why))
	}
	fmt.Fprintf(m.Stdout, "%d sessions, %d statements run again in %s (then %s), %d results compared whole, %d differences\n", r.Sessions, r.Statements,
		r.Now.Round(time.Millisecond), r.Recorded.Round(time.Millisecond), r.Hashed, len(r.Differences))
	if len(skipped) > 0 {
		fmt.Fprintf(m.Stdout, "skipped: %s\n", strings.Join(skipped, "; "))
	}
}
