package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/replay"
)

func (m *Main) replayExportCommand() *cobra.Command {
	var s stored
	var format, output string
	cmd := &cobra.Command{
		Use:   "export --format FORMAT [SESSION|FILE|FOLDER...]",
		Short: "Write sessions as a page, SQL, JSON lines or CSV",
		Long: `Writes recorded sessions in another form:

  html   one page that opens offline: statements, decisions, rows as they were sent
  sql    what psql runs again: statements that passed, with their parameters in
         place; what was refused or has a hidden constant stands in comments
  jsonl  every event, one a line, with its session
  csv    one line a statement

What stands in them is what the client was sent: masked values stay masked.`,
		Example: `  sallyport replay export --format html --config sallyport.yaml -o monday.html last
  sallyport replay export --format sql recorded/one.transcript | psql -d copy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(replay.ExportFormats, format) {
				return fail(fmt.Errorf("there is no format %q", format), "there are "+strings.Join(replay.ExportFormats, ", "))
			}
			defer s.close()
			if err := s.open(cmd.Context()); err != nil {
				return err
			}
			paths, err := s.paths(cmd.Context(), args)
			if err != nil {
				return err
			}
			w := io.WriteCloser(nopCloser{m.Stdout})
			if output != "" {
				if w, err = os.OpenFile(output, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
					return fail(err, "")
				}
			}
			err = replay.Export(w, format, paths, s.identities)
			if cerr := w.Close(); err == nil {
				err = cerr
			}
			return fail(err, "`sallyport replay verify` says what is wrong with a transcript")
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&format, "format", "", strings.Join(replay.ExportFormats, ", "))
	f.StringVarP(&output, "output", "o", "", "the file to write; standard output without it")
	_ = cmd.MarkFlagRequired("format")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(replay.ExportFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
