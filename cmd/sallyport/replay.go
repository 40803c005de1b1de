package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/replay"
)

func (m *Main) replayCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Short: "Show, verify, re-decide, export and re-run recorded sessions"}
	cmd.AddCommand(m.replayShowCommand(), m.replayVerifyCommand(), m.replayCheckCommand(), m.replayExportCommand(), m.replayRunCommand())
	return cmd
}

// stored finds transcripts, by a configuration or as files.
type stored struct{ config string }

func (s *stored) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.config, "config", "c", "", "the proxy's configuration: transcripts and keys are found from it")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

func (s *stored) load() (*proxy.Config, error) {
	if s.config == "" {
		return nil, nil
	}
	c, err := proxy.LoadConfig(s.config, wires())
	if err != nil {
		return nil, broken(err)
	}
	return c, nil
}

// find resolves an argument: a file, or a session of the configuration's.
func find(c *proxy.Config, arg string) (string, error) {
	if _, err := os.Stat(arg); err == nil {
		return arg, nil
	}
	if c == nil {
		return "", fail(fmt.Errorf("there is no file %q", arg), "give --config FILE to name a session by its id, first or last")
	}
	path, err := replay.Find(c.Transcripts, arg)
	return path, fail(err, "`sallyport sessions list` shows the sessions")
}

func (m *Main) replayShowCommand() *cobra.Command {
	var s stored
	var opt replay.ShowOptions
	var color, unseal string
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
			c, err := s.load()
			if err != nil {
				return err
			}
			path, err := find(c, args[0])
			if err != nil {
				return err
			}
			if unseal != "" {
				if opt.Unseal, err = readIdentities(unseal); err != nil {
					return err
				}
			}
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
	f.StringVar(&unseal, "unseal", "", "a file of age identities (AGE-SECRET-KEY-1…): open the constants that are sealed to them")
	_ = cmd.MarkFlagFilename("unseal")
	return cmd
}

// readIdentities reads the secret keys that constants were sealed to.
func readIdentities(path string) ([]age.Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(fmt.Errorf("reading identities: %w", err), "")
	}
	defer f.Close()
	ids, err := age.ParseIdentities(f)
	return ids, fail(err, "age-keygen makes such a file")
}

func (m *Main) replayVerifyCommand() *cobra.Command {
	var s stored
	var key string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [SESSION|FILE|FOLDER...]",
		Short: "Check transcripts: chain, signatures, order, end",
		Long: `Checks that nothing was changed, cut, reordered or put in, and says which frame
and event is wrong. With --config and no arguments it checks every transcript of
the configuration. Exit code 3 means that something was found.`,
		Example: `  sallyport replay verify --config sallyport.yaml
  sallyport replay verify --key sign.pub file.transcript`,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			if key == "" && c != nil {
				key = filepath.Join(c.Keys, "sign.pub")
			}
			if key == "" || len(args) == 0 && c == nil {
				return &exitError{code: 2, err: errors.New("nothing to check, or no key to check by"), hint: "give --config FILE, or --key sign.pub and files"}
			}
			pub, err := proxy.ReadPublicKey(key)
			if err != nil {
				return fail(err, "the key is sign.pub in the keys' folder of the proxy that recorded")
			}
			files, err := transcripts(c, args)
			if err != nil {
				return err
			}
			return m.verify(files, pub, asJSON)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&key, "key", "", "the public key, sign.pub")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one report a line")
	return cmd
}

// transcripts resolves arguments; folders are searched.
func transcripts(c *proxy.Config, args []string) ([]string, error) {
	if len(args) == 0 {
		files, err := replay.Files(c.Transcripts)
		return files, fail(err, "")
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
	return out, nil
}

func (m *Main) verify(files []string, pub ed25519.PublicKey, asJSON bool) error {
	bad, events := 0, int64(0)
	for _, f := range files {
		r, err := replay.Verify(f, pub)
		if err != nil {
			return fail(err, "")
		}
		events += r.Events
		if !r.OK() {
			bad++
		}
		if asJSON {
			m.json(r)
			continue
		}
		for _, x := range r.Findings {
			fmt.Fprintf(m.Stdout, "%s: frame %d at byte %d, after event %d: %s\n", replay.Safe(r.Session), x.Frame, x.Offset, x.Event, replay.Safe(x.Message))
		}
	}
	if !asJSON {
		word := "all good"
		if bad > 0 {
			word = fmt.Sprintf("%d BAD", bad)
		}
		fmt.Fprintf(m.Stdout, "%d transcripts, %d sealed events, checked by key %s: %s\n", len(files), events, replay.KeyID(pub), word)
	}
	if bad > 0 {
		return &exitError{code: 3}
	}
	return nil
}
