package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/console"
	"github.com/sallyport-proxy/sallyport/replay"
)

func (m *Main) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "List, show, follow and end sessions"}
	cmd.AddCommand(m.sessionsListCommand(), m.sessionsShowCommand(), m.sessionsTailCommand(), m.sessionsKillCommand())
	return cmd
}

func (m *Main) sessionsListCommand() *cobra.Command {
	var r remote
	var asJSON, liveOnly bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List sessions, live and recorded",
		Example: "  sallyport sessions list --config sallyport.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := r.list(cmd.Context(), liveOnly)
			if err != nil {
				return err
			}
			if asJSON {
				for _, s := range list {
					m.json(s)
				}
				return nil
			}
			tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "SESSION\tIDENTITY\tTARGET\tDATABASE\tSTATE\tSTATEMENTS\tREFUSED\tROWS")
			for _, s := range list {
				state := "ended"
				switch {
				case s.Live:
					state = "live"
				case s.End == replay.ErrEncrypted.Error():
					state = "encrypted" // who asked was the proxy, which has no identity that opens it
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", replay.Safe(s.ID), replay.Safe(s.Identity), replay.Safe(s.Target), replay.Safe(s.Database), state, s.Statements, s.Refused, s.Rows)
			}
			return tw.Flush()
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	cmd.Flags().BoolVar(&liveOnly, "live", false, "only sessions that are open")
	return cmd
}

// list asks the proxy, or reads the transcripts where it does not run and the
// configuration says where they are.
func (r *remote) list(ctx context.Context, liveOnly bool) ([]replay.Summary, error) {
	path := "/api/v1/sessions?all=true"
	if liveOnly {
		path = "/api/v1/sessions"
	}
	body, err := r.do(ctx, http.MethodGet, path, nil)
	if errors.Is(err, errDown) && r.config != "" && !liveOnly {
		c, lerr := proxy.LoadConfig(r.config, wires())
		if lerr != nil {
			return nil, broken(lerr)
		}
		a, lerr := c.Archive(ctx)
		if lerr != nil {
			return nil, fail(lerr, "")
		}
		defer a.Close()
		list, lerr := console.List(ctx, a, nil)
		return list, fail(lerr, "")
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var list []replay.Summary
	return list, fail(json.NewDecoder(body).Decode(&list), "")
}

func (m *Main) sessionsShowCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SESSION",
		Short: "Show a session's summary (replay show plays it)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := r.do(cmd.Context(), http.MethodGet, "/api/v1/sessions/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			defer body.Close()
			var s replay.Summary
			if err := json.NewDecoder(body).Decode(&s); err != nil {
				return fail(err, "")
			}
			if asJSON {
				m.json(s)
				return nil
			}
			tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintf(tw, "session\t%s\nidentity\t%s\ntarget\t%s\ndatabase\t%s\nfrom\t%s\nstarted\t%s\nlive\t%v\nstatements\t%d\nrefused\t%d\nrows\t%d\nend\t%s\n",
				replay.Safe(s.ID), replay.Safe(s.Identity), replay.Safe(s.Target), replay.Safe(s.Database), replay.Safe(s.Address), s.Started.Format("2006-01-02 15:04:05 MST"), s.Live, s.Statements, s.Refused, s.Rows, replay.Safe(s.End))
			return tw.Flush()
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object")
	return cmd
}

func (m *Main) sessionsTailCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "tail SESSION",
		Short: "Follow a session's events as they are recorded, one JSON object a line",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := r.do(cmd.Context(), http.MethodGet, "/api/v1/sessions/"+url.PathEscape(args[0])+"/events?follow=true", nil)
			if err != nil {
				return err
			}
			defer body.Close()
			lines := bufio.NewReader(body)
			for {
				line, err := lines.ReadBytes('\n')
				if len(line) > 0 {
					if _, werr := m.Stdout.Write(line); werr != nil {
						return fail(werr, "")
					}
				}
				if err != nil {
					return nil // the session, or the proxy, has ended
				}
			}
		},
	}
	r.flags(cmd)
	return cmd
}

func (m *Main) sessionsKillCommand() *cobra.Command {
	var r remote
	var identity string
	cmd := &cobra.Command{
		Use:   "kill SESSION | --identity NAME",
		Short: "End a session, or all of an identity's, at once, in mid-result too",
		Long: `Ends sessions at once. Who holds a good token or password can log in again:
` + "`sallyport identities revoke`" + ` keeps an identity out.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (identity != "") {
				return fail(errors.New("give a session or --identity"), "sallyport sessions list --live")
			}
			if identity != "" {
				return m.endIdentity(cmd.Context(), &r, identity, "kill", nil, "ended %d sessions of %s\n")
			}
			body, err := r.do(cmd.Context(), http.MethodPost, "/api/v1/sessions/"+url.PathEscape(args[0])+"/kill", nil)
			if err != nil {
				return err
			}
			defer body.Close()
			fmt.Fprintf(m.Stdout, "killed %s\n", args[0])
			return nil
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&identity, "identity", "", "end all sessions of this identity")
	return cmd
}
