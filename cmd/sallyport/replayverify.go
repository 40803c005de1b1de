package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/replay"
)

func (m *Main) replayVerifyCommand() *cobra.Command {
	v := verifying{m: m}
	var key string
	cmd := &cobra.Command{
		Use:   "verify [SESSION|FILE|FOLDER|BUCKET...]",
		Short: "Check transcripts: chain, signatures, order, end, and that none is missing",
		Long: `Checks that nothing was changed, cut, reordered or put in, and says which event
is wrong. With --config and no arguments it checks every transcript of the
configuration, in its folder or bucket, against the register of sessions in the
state: those that are missing, cut back to an earlier end, or put in are found too.
It prints the register's head; note it elsewhere and give it as --head later, and a
register that was itself cut or rewritten is found. A bucket is s3://NAME?region=…,
as storage.transcripts has it.

Encrypted transcripts are checked without opening them; with --unseal the order of
their events is, too. Exit code 3 means that something was found.`,
		Example: `  sallyport replay verify --config sallyport.yaml
  sallyport replay verify --config sallyport.yaml --head 1042:5f6b…
  sallyport replay verify --key sign.pub file.transcript
  sallyport replay verify --key sign.pub "s3://records?region=eu-central-1"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			defer v.close()
			if err := v.open(cmd.Context()); err != nil {
				return err
			}
			if key == "" && v.c != nil {
				key = filepath.Join(v.c.Keys, "sign.pub")
			}
			if key == "" || len(args) == 0 && v.c == nil {
				return &exitError{code: 2, err: errors.New("nothing to check, or no key to check by"), hint: "give --config FILE, or --key sign.pub and files"}
			}
			var err error
			if v.pub, err = proxy.ReadPublicKey(key); err != nil {
				return fail(err, "the key is sign.pub in the keys' folder of the proxy that recorded")
			}
			if len(args) == 0 {
				err = v.all(cmd.Context())
			} else {
				err = v.some(cmd.Context(), args)
			}
			if err != nil {
				return err
			}
			return v.end()
		},
	}
	v.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "the public key, sign.pub")
	f.StringVar(&v.head, "head", "", "a head of the register that was noted earlier")
	f.BoolVar(&v.asJSON, "json", false, "one report a line")
	_ = cmd.MarkFlagFilename("key", "pub")
	return cmd
}

// verifying is one run of the command.
type verifying struct {
	stored
	m      *Main
	pub    ed25519.PublicKey
	asJSON bool
	head   string

	transcripts, bad int
	events           int64
	register         *register.Book // nil where it was not asked
}

// some checks what was named: sessions of the configuration against its
// register, too.
func (v *verifying) some(ctx context.Context, args []string) error {
	for _, arg := range args {
		if _, err := os.Stat(arg); err != nil && v.c != nil && !isBucket(arg) {
			session, err := v.archive.Find(ctx, arg)
			if err != nil {
				return fail(err, "`sallyport sessions list` shows the sessions")
			}
			if v.register == nil {
				if err := v.readRegister(ctx); err != nil {
					return err
				}
			}
			if err := v.one(ctx, session); err != nil {
				return err
			}
			continue
		}
		paths, err := v.paths(ctx, []string{arg})
		if err != nil {
			return err
		}
		for _, p := range paths {
			r, err := replay.Verify(p, v.pub, v.identities)
			if err != nil {
				return fail(err, "")
			}
			v.report(r)
		}
	}
	return nil
}

// all checks the whole archive against the register.
func (v *verifying) all(ctx context.Context) error {
	// The sessions first: those that begin meanwhile are in the register alone,
	// and live.
	sessions, err := v.archive.Sessions(ctx)
	if err != nil {
		return fail(err, "")
	}
	if err := v.readRegister(ctx); err != nil {
		return err
	}
	all := map[string]bool{}
	for s := range v.register.Sessions {
		all[s] = true
	}
	unknown := false // a session's journal is there a moment before its entry
	for _, s := range sessions {
		all[s] = true
		unknown = unknown || !v.register.Sessions[s].Begun
	}
	if unknown {
		if v.register, err = v.book(ctx); err != nil {
			return err
		}
	}
	step, end := v.m.progress("transcripts checked")
	defer end()
	for i, session := range slices.Sorted(maps.Keys(all)) {
		if step != nil {
			step(i, len(all))
		}
		if err := v.one(ctx, session); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifying) book(ctx context.Context) (*register.Book, error) {
	db, err := store.Open(ctx, v.c.State, v.c.Dir)
	if err != nil {
		return nil, fail(err, "storage.state in the configuration names it")
	}
	defer db.Close()
	place, err := v.c.Registered()
	if err != nil {
		return nil, fail(err, "")
	}
	b, err := register.Read(ctx, db, v.pub, place)
	return b, fail(err, "")
}

func (v *verifying) readRegister(ctx context.Context) (err error) {
	if v.register, err = v.book(ctx); err != nil {
		return err
	}
	findings := v.register.Findings
	if v.head != "" {
		if why := v.register.Holds(v.head); why != "" {
			findings = append(findings, why)
		}
	}
	if len(findings) > 0 {
		v.bad++
	}
	for _, f := range findings {
		if v.asJSON {
			v.m.json(map[string]string{"register": f})
		} else {
			fmt.Fprintf(v.m.Stdout, "register of sessions: %s\n", replay.Safe(f))
		}
	}
	return nil
}

func (v *verifying) one(ctx context.Context, session string) error {
	var r *replay.Report
	err := v.archive.With(ctx, session, func(path string) (err error) {
		if _, err := replay.ReadHead(path); errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r, err = replay.Verify(path, v.pub, v.identities)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err, r = nil, nil
	}
	if err != nil {
		return fail(fmt.Errorf("session %s: %w", session, err), "")
	}
	why := v.register.Missing(session, r)
	if r == nil {
		if why == "" {
			return nil // it was removed when its time was over
		}
		r = &replay.Report{Session: session}
	}
	if r.Endless && v.register.OpenElsewhere(session) {
		r.Findings = nil
	}
	if why != "" {
		r.Findings = append(r.Findings, replay.Finding{Message: why})
	}
	v.report(r)
	return nil
}

func (v *verifying) report(r *replay.Report) {
	v.transcripts++
	v.events += r.Events
	if !r.OK() {
		v.bad++
	}
	if v.asJSON {
		v.m.json(r)
		return
	}
	for _, x := range r.Findings {
		fmt.Fprintf(v.m.Stdout, "%s: %s\n", replay.Safe(r.Session), replay.Safe(x.String()))
	}
}

func (v *verifying) end() error {
	if !v.asJSON {
		word := "all good"
		if v.bad > 0 {
			word = fmt.Sprintf("%d BAD", v.bad)
		}
		fmt.Fprintf(v.m.Stdout, "%d transcripts, %d sealed events, checked by key %s: %s\n", v.transcripts, v.events, replay.KeyID(v.pub), word)
	}
	if v.register != nil {
		if v.asJSON {
			v.m.json(map[string]any{"register_entries": v.register.Entries, "register_head": v.register.Head()})
		} else {
			fmt.Fprintf(v.m.Stdout, "register of sessions: %d entries, head %s\n", v.register.Entries, v.register.Head())
		}
	}
	if v.bad > 0 {
		return &exitError{code: 3}
	}
	return nil
}
