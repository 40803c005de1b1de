package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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

// remote is a running proxy's console.
type remote struct {
	config, server, token string
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&r.config, "config", "c", "", "the proxy's configuration: the console and admin.token are found from it")
	f.StringVar(&r.server, "server", "", "the console's URL, instead of --config")
	f.StringVar(&r.token, "token", "", "the admin token, with --server")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.MarkFlagsOneRequired("config", "server")
	cmd.MarkFlagsMutuallyExclusive("config", "server")
}

// errDown is a console that nothing listens on.
var errDown = errors.New("the proxy does not answer")

// do sends a request. The caller closes the body.
func (r *remote) do(ctx context.Context, method, path string) (io.ReadCloser, error) {
	server, token := r.server, r.token
	if r.config != "" {
		c, err := proxy.LoadConfig(r.config, wires())
		if err != nil {
			return nil, broken(err)
		}
		if c.Console == "" {
			return nil, fail(errors.New("the configuration has no console"), "add console: {listen: \"127.0.0.1:7070\"}")
		}
		b, err := os.ReadFile(filepath.Join(c.Keys, "admin.token"))
		if err != nil {
			return nil, fail(fmt.Errorf("reading the admin token: %w", err), "the proxy makes it at its first start")
		}
		server, token = "http://"+c.Console, strings.TrimSpace(string(b))
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(server, "/")+path, nil)
	if err != nil {
		return nil, fail(err, "")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fail(fmt.Errorf("%w at %s", errDown, server), "is `sallyport serve` running?")
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error string `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e)
	return nil, fail(fmt.Errorf("the proxy says: %s (%s)", e.Error, resp.Status), "")
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
				if s.Live {
					state = "live"
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
	body, err := r.do(ctx, http.MethodGet, path)
	if errors.Is(err, errDown) && r.config != "" && !liveOnly {
		c, lerr := proxy.LoadConfig(r.config, wires())
		if lerr != nil {
			return nil, broken(lerr)
		}
		list, lerr := console.List(c.Transcripts, nil)
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
			body, err := r.do(cmd.Context(), http.MethodGet, "/api/v1/sessions/"+url.PathEscape(args[0]))
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
			body, err := r.do(cmd.Context(), http.MethodGet, "/api/v1/sessions/"+url.PathEscape(args[0])+"/events?follow=true")
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
	cmd := &cobra.Command{
		Use:   "kill SESSION",
		Short: "End a session at once, in mid-result too",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := r.do(cmd.Context(), http.MethodPost, "/api/v1/sessions/"+url.PathEscape(args[0])+"/kill")
			if err != nil {
				return err
			}
			defer body.Close()
			fmt.Fprintf(m.Stdout, "killed %s\n", args[0])
			return nil
		},
	}
	r.flags(cmd)
	return cmd
}
