package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/proxy/console"
	"github.com/sallyport-proxy/sallyport/replay"
)

func (m *Main) identitiesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "identities", Short: "Revoke and restore identities"}
	cmd.AddCommand(m.identitiesRevokeCommand(), m.identitiesRestoreCommand(), m.identitiesRevokedCommand())
	return cmd
}

func (m *Main) identitiesRevokeCommand() *cobra.Command {
	var r remote
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Keep an identity from logging in, whatever it proves, and end its sessions",
		Long: `The list of revoked names is in the state: it outlives restarts, and every proxy
on the same state follows it within a second.`,
		Example: `  sallyport identities revoke --config sallyport.yaml rag-worker --reason "token in a public log"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return m.endIdentity(cmd.Context(), &r, args[0], "revoke", console.Revocation{Reason: reason}, "revoked; ended %d sessions of %s\n")
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the list and the log")
	return cmd
}

// endIdentity asks for something that ends an identity's sessions.
func (m *Main) endIdentity(ctx context.Context, r *remote, name, what string, body any, said string) error {
	answer, err := r.do(ctx, http.MethodPost, "/api/v1/identities/"+url.PathEscape(name)+"/"+what, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	var ended console.Ended
	if err := json.NewDecoder(answer).Decode(&ended); err != nil {
		return fail(err, "")
	}
	fmt.Fprintf(m.Stdout, said, ended.Ended, ended.Identity)
	return nil
}

func (m *Main) identitiesRestoreCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "restore NAME",
		Short: "Let a revoked identity log in again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := r.do(cmd.Context(), http.MethodPost, "/api/v1/identities/"+url.PathEscape(args[0])+"/restore", nil)
			if err != nil {
				return err
			}
			fmt.Fprintf(m.Stdout, "restored %s\n", args[0])
			return answer.Close()
		},
	}
	r.flags(cmd)
	return cmd
}

func (m *Main) identitiesRevokedCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "revoked",
		Short: "List revoked identities",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := r.do(cmd.Context(), http.MethodGet, "/api/v1/identities/revoked", nil)
			if err != nil {
				return err
			}
			defer answer.Close()
			var list []struct {
				Name   string    `json:"name"`
				At     time.Time `json:"at"`
				By     string    `json:"by"`
				Reason string    `json:"reason,omitempty"`
			}
			if err := json.NewDecoder(answer).Decode(&list); err != nil {
				return fail(err, "")
			}
			tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			if !asJSON {
				fmt.Fprintln(tw, "IDENTITY\tSINCE\tBY\tREASON")
			}
			for _, e := range list {
				if asJSON {
					m.json(e)
					continue
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", replay.Safe(e.Name), e.At.Format("2006-01-02 15:04:05 MST"), replay.Safe(e.By), replay.Safe(e.Reason))
			}
			return tw.Flush()
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	return cmd
}
