package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
)

func (m *Main) reportCommand() *cobra.Command {
	var s stored
	var policy, format, since, until string
	var opt replay.AccessOptions
	cmd := &cobra.Command{
		Use:   "report --config FILE [SESSION|FILE|FOLDER...]",
		Short: "Say who read which class from which table or collection, when and how much",
		Long: `Reads transcripts and says which identity read which class from which table or
collection, when, in how many statements and rows: in the clear, masked, or compared
only (a condition used it). Then what was refused or held and by what; with --config and
no transcripts named, which logins were refused, from where and why; and which of the
configuration's identities and the policy's rules were not used.

Classes are those of the policy as it is now, or of --policy; what was read, masked and
refused is what the record says. Rows and bytes are those of the whole results. Who was
refused a login is as the client said, not who it was; an hour tells 1000 apart, and
what is older than 90 days is gone.

In CSV the first column says what a row is: read, refused, held, login refused, login
limited, login unavailable, unused identity or unused rule. For logins the column object
is the address and the column statements their number.`,
		Example: `  sallyport report --config sallyport.yaml --since 720h
  sallyport report --config sallyport.yaml --identity rag-worker --format json
  sallyport report --policy policy.yaml --format csv recorded/ > access.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(replay.AccessFormats, format) {
				return fail(fmt.Errorf("there is no format %q", format), "there are "+strings.Join(replay.AccessFormats, ", "))
			}
			var err error
			if opt.Since, err = moment(since); err == nil {
				opt.Until, err = moment(until)
			}
			if err != nil {
				return fail(err, "give a time as 2026-11-25 or 2026-11-25T12:00:00Z, or how long ago as 720h")
			}
			defer s.close()
			if err := s.open(cmd.Context()); err != nil {
				return err
			}
			if s.c != nil {
				opt.Known = knownIdentities(s.c)
				if policy == "" {
					policy = s.c.Policy
				}
			}
			if policy == "" {
				return fail(errors.New("which classes there are is not known"), "give --config or --policy")
			}
			if opt.Policy, err = sqlpolicy.Load(policy); err != nil {
				return broken(err)
			}
			paths, err := s.paths(cmd.Context(), args)
			if err != nil {
				return err
			}
			opt.Identities = s.identities
			got, err := replay.ReadAccess(cmd.Context(), paths, opt)
			if err != nil {
				return fail(err, "`sallyport replay verify` says what is wrong with a transcript")
			}
			if s.c != nil && len(args) == 0 {
				if got.RefusedLogins, err = refusedLogins(cmd.Context(), s.c, &opt); err != nil {
					return fail(err, "storage.state in the configuration names where they are")
				}
			}
			return fail(got.Write(m.Stdout, format), "")
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&policy, "policy", "p", "", "the policy that binds classes, where it is not the configuration's")
	f.StringVar(&format, "format", "text", strings.Join(replay.AccessFormats, ", "))
	f.StringVar(&since, "since", "", "from when on: a time, or how long ago")
	f.StringVar(&until, "until", "", "until when")
	f.StringVar(&opt.Identity, "identity", "", "of this identity only")
	f.StringVar(&opt.Target, "target", "", "of this target only")
	_ = cmd.MarkFlagFilename("policy", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(replay.AccessFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// refusedLogins are those of the configuration's state.
func refusedLogins(ctx context.Context, c *proxy.Config, opt *replay.AccessOptions) ([]replay.RefusedLogin, error) {
	db, err := store.Open(ctx, c.State, c.Dir)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	list, err := identity.ReadRefusals(ctx, db, opt.Since, opt.Until)
	out := []replay.RefusedLogin{}
	for _, r := range list {
		if (opt.Identity == "" || opt.Identity == r.Name) && (opt.Target == "" || opt.Target == r.Target) {
			out = append(out, replay.RefusedLogin{Identity: r.Name, Target: r.Target, Address: r.Address, Outcome: r.Outcome, Why: r.Reason, Logins: r.Count, First: r.First, Last: r.Last})
		}
	}
	return out, err
}

// moment reads a time, a day in UTC, or a duration before now.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time", s)
}

// knownIdentities are those that the configuration names.
func knownIdentities(c *proxy.Config) []string {
	var out []string
	for _, id := range c.Identities {
		out = append(out, id.Name)
	}
	for _, a := range c.Authorities {
		for _, id := range a.Identities {
			out = append(out, id.Identity.Name)
		}
	}
	return out
}
