package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/archive"
)

func (m *Main) replayCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Short: "Show, verify, re-decide, export and re-run recorded sessions"}
	cmd.AddCommand(m.replayShowCommand(), m.replayVerifyCommand(), m.replayCheckCommand(), m.replayExportCommand(), m.replayRunCommand())
	return cmd
}

// stored finds transcripts, by a configuration or as files.
type stored struct {
	config string
	unseal string

	c          *proxy.Config // nil where there is none
	archive    *archive.Archive
	identities []age.Identity
	copies     string // a folder of what was in buckets, "" for none
}

// isBucket tells a bucket from a file or session.
func isBucket(arg string) bool { return strings.HasPrefix(arg, "s3://") }

func (s *stored) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.config, "config", "c", "", "the proxy's configuration: transcripts and keys are found from it")
	f.StringVar(&s.unseal, "unseal", "", "a file of age identities (AGE-SECRET-KEY-1…): open what is sealed to them")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagFilename("unseal")
}

// open reads what the flags name. The caller closes it.
func (s *stored) open(ctx context.Context) error {
	if s.unseal != "" {
		f, err := os.Open(s.unseal)
		if err != nil {
			return fail(fmt.Errorf("reading identities: %w", err), "")
		}
		defer f.Close()
		if s.identities, err = age.ParseIdentities(f); err != nil {
			return fail(err, "age-keygen makes such a file")
		}
	}
	if s.config == "" {
		return nil
	}
	var err error
	if s.c, err = proxy.LoadConfig(s.config, wires()); err != nil {
		return broken(err)
	}
	s.archive, err = s.c.Archive(ctx)
	return fail(err, "storage.transcripts in the configuration names it")
}

// close removes the copies.
func (s *stored) close() {
	if s.archive != nil {
		_ = s.archive.Close()
	}
	if s.copies != "" {
		_ = os.RemoveAll(s.copies)
	}
}

// paths resolves arguments to transcripts: files, folders and sessions of the
// configuration's; without any, all of the configuration's. What is in a
// bucket is copied, until close.
func (s *stored) paths(ctx context.Context, args []string) ([]string, error) {
	if len(args) == 0 {
		if s.c == nil {
			return nil, fail(errors.New("which transcripts?"), "name files or folders, or give --config FILE for all of a proxy's")
		}
		var err error
		if args, err = s.archive.Sessions(ctx); err != nil {
			return nil, fail(err, "")
		}
		if len(args) == 0 {
			return nil, fail(fmt.Errorf("there are no transcripts in %s", s.c.Transcripts.Place), "the proxy writes one for each session")
		}
	}
	var out []string
	for _, a := range args {
		if isBucket(a) {
			paths, err := s.bucket(ctx, a)
			if err != nil {
				return nil, err
			}
			out = append(out, paths...)
			continue
		}
		if info, err := os.Stat(a); err == nil && info.IsDir() {
			files, err := replay.Files(a)
			if err == nil && len(files) == 0 {
				err = fmt.Errorf("there are no transcripts in %s", a)
			}
			if err != nil {
				return nil, fail(err, "transcripts are files that end in .transcript")
			}
			out = append(out, files...)
			continue
		}
		path, err := s.path(ctx, a)
		if err != nil {
			return nil, err
		}
		out = append(out, path)
	}
	return out, nil
}

// path resolves an argument: a file, or a session of the configuration's.
func (s *stored) path(ctx context.Context, arg string) (string, error) {
	if _, err := os.Stat(arg); err == nil {
		return arg, nil
	}
	if s.c == nil {
		return "", fail(fmt.Errorf("there is no file %q", arg), "give --config FILE to name a session by its id, first or last")
	}
	session, err := s.archive.Find(ctx, arg)
	if err != nil {
		return "", fail(err, "`sallyport sessions list` shows the sessions")
	}
	path := s.archive.Local(session)
	if _, err := replay.ReadHead(path); !s.archive.Remote() || !errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	dir, err := s.copy()
	if err != nil {
		return "", err
	}
	path, err = s.archive.Copy(ctx, session, dir)
	return path, fail(err, "")
}

// copy is the folder for copies.
func (s *stored) copy() (string, error) {
	if s.copies == "" {
		var err error
		if s.copies, err = os.MkdirTemp("", "sallyport-"); err != nil {
			return "", fail(err, "")
		}
	}
	return s.copies, nil
}

// bucket copies all that is in one.
func (s *stored) bucket(ctx context.Context, place string) ([]string, error) {
	const hint = "a bucket is s3://NAME?region=…&endpoint=…; credentials come from the environment"
	copies, err := s.copy()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(copies, "")
	if err != nil {
		return nil, fail(err, "")
	}
	a, err := archive.Open(ctx, place, dir)
	if err != nil {
		return nil, fail(err, hint)
	}
	defer a.Close()
	sessions, err := a.Sessions(ctx)
	if err == nil && len(sessions) == 0 {
		err = errors.New("there are no transcripts in the bucket")
	}
	if err != nil {
		return nil, fail(err, hint)
	}
	var out []string
	for _, session := range sessions {
		path, err := a.Copy(ctx, session, dir)
		if err != nil {
			return nil, fail(err, "")
		}
		out = append(out, path)
	}
	return out, nil
}

func (m *Main) replayShowCommand() *cobra.Command {
	var s stored
	var opt replay.ShowOptions
	var color string
	cmd := &cobra.Command{
		Use:   "show SESSION|FILE",
		Short: "Play a session: statements, decisions and what the client was sent",
		Long: `Plays a recorded session. SESSION is its id, the beginning or end of it, or
first or last. What is shown is what the client was sent, so masked values stay
masked. It reads sessions that are still open, too.`,
		Example: `  sallyport replay show --config sallyport.yaml last
  sallyport replay show --config sallyport.yaml --speed 1 20261124T093000Z-4f
  sallyport replay show file.transcript --json | jq .`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer s.close()
			if err := s.open(cmd.Context()); err != nil {
				return err
			}
			path, err := s.path(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			opt.Unseal = s.identities
			f, ok := m.Stdout.(*os.File)
			opt.Color = color == "always" || color == "auto" && ok && term.IsTerminal(int(f.Fd()))
			opt.Wait = func(d time.Duration) {
				select {
				case <-cmd.Context().Done():
				case <-time.After(d):
				}
			}
			return fail(replay.Show(m.Stdout, path, opt), "")
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.Float64Var(&opt.Speed, "speed", 0, "play in the recorded rhythm: 1, or 10 for ten times as fast; 0 shows all at once")
	f.BoolVar(&opt.JSON, "json", false, "one event a line")
	f.IntVar(&opt.Rows, "rows", 10, "show at most so many rows of a result; 0 for all that are recorded")
	f.BoolVar(&opt.Refused, "refused", false, "only what was refused or failed")
	f.StringVar(&color, "color", "auto", "auto, always or never")
	return cmd
}
