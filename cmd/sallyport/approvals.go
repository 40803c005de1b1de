package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/console"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func (m *Main) approvalsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List held statements, and let them pass or not",
		Long: `A statement that a rule with "then: hold" speaks of waits for people. Its client
is told the hold's id and goes on waiting; an approval lets that statement pass,
once, and no other: another text, other parameters, another role or search path
need another approval.

Answer as yourself with --user and your password or token in SALLYPORT_PASSWORD,
or as the administrator with --as NAME: the admin token is one approver,
whatever name is given with it. Nobody approves their own statement.`,
		Example: `  sallyport approvals list --config sallyport.yaml
  sallyport approvals approve --config sallyport.yaml --as dana --reason "month end" ID
  SALLYPORT_PASSWORD=… sallyport approvals deny --server http://127.0.0.1:7070 --user dana ID`,
	}
	cmd.AddCommand(m.approvalsListCommand(), m.approvalsShowCommand(), m.approvalsAnswerCommand(true), m.approvalsAnswerCommand(false))
	return cmd
}

func (r *remote) approverFlags(cmd *cobra.Command) {
	r.flags(cmd)
	cmd.Flags().StringVar(&r.user, "user", "", "log in as this identity, with its password or token in "+passwordVariable)
	cmd.MarkFlagsMutuallyExclusive("user", "token")
}

func (r *remote) holds(ctx context.Context, state string) ([]approval.Hold, error) {
	body, err := r.do(ctx, http.MethodGet, "/api/v1/approvals?state="+url.QueryEscape(state), nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var list []approval.Hold
	return list, fail(json.NewDecoder(body).Decode(&list), "")
}

func (m *Main) approvalsListCommand() *cobra.Command {
	var r remote
	var asJSON bool
	state := "waiting"
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List held statements, newest first",
		Example: "  sallyport approvals list --config sallyport.yaml --state all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := r.holds(cmd.Context(), strings.TrimSuffix(state, "all"))
			if err != nil {
				return err
			}
			if asJSON {
				for i := range list {
					m.json(&list[i])
				}
				return nil
			}
			if len(list) == 0 {
				fmt.Fprintln(m.Stdout, "No statement is held.")
				return nil
			}
			tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(tw, "HOLD\tSTATE\tIDENTITY\tTARGET\tSINCE\tLEFT\tRULES\tSTATEMENT")
			for _, h := range list {
				left := ""
				if h.State == approval.Waiting {
					left = time.Until(h.Expires).Round(time.Second).String()
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.ID, h.State, replay.Safe(h.Identity), replay.Safe(h.Target),
					h.Created.Local().Format("15:04:05"), left, replay.Safe(strings.Join(h.Rules, ", ")), replay.Safe(shorten(h.Text, 60)))
			}
			return tw.Flush()
		},
	}
	r.approverFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	cmd.Flags().StringVar(&state, "state", state, "waiting, granted, denied, expired, cancelled or all")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"waiting", "granted", "denied", "expired", "cancelled", "all"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func (m *Main) approvalsShowCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show ID",
		Short:             "Show a held statement whole: its text, why it is held, who has answered",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.completeHolds,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := r.do(cmd.Context(), http.MethodGet, "/api/v1/approvals/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			defer body.Close()
			var h approval.Hold
			if err := json.NewDecoder(body).Decode(&h); err != nil {
				return fail(err, "")
			}
			if asJSON {
				m.json(&h)
				return nil
			}
			return m.showHold(&h)
		},
	}
	r.approverFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object")
	return cmd
}

func (m *Main) showHold(h *approval.Hold) error {
	tw := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", name, replay.Safe(value))
		}
	}
	line("hold", h.ID)
	line("state", string(h.State))
	line("why", h.Why)
	line("identity", h.Identity)
	line("groups", strings.Join(h.Groups, ", "))
	line("target", h.Target)
	line("database", h.Database)
	line("session", h.Session)
	line("held", h.Created.Local().Format(time.DateTime))
	line("until", h.Expires.Local().Format(time.DateTime))
	line("reason", h.Reason)
	for _, n := range h.Needs {
		line("needs", describeNeed(n))
	}
	if h.Plan != nil {
		line("plan", fmt.Sprintf("up to %d rows, cost up to %.0f", h.Plan.Rows, h.Plan.Cost))
	}
	for _, p := range h.Params {
		line("parameter", p)
	}
	for _, v := range h.Votes {
		word := "denied"
		if v.Yes {
			word = "approved"
		}
		line(word, strings.TrimSuffix(fmt.Sprintf("by %s at %s: %s", v.Name, v.At.Local().Format(time.DateTime), v.Reason), ": "))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for text := range strings.Lines(h.Text) {
		fmt.Fprintf(m.Stdout, "  %s\n", replay.Safe(strings.TrimRight(text, "\n")))
	}
	return nil
}

func describeNeed(n facts.Need) string {
	who := "the administrator"
	if len(n.Groups) > 0 {
		who = strings.Join(n.Groups, " or ")
	}
	return fmt.Sprintf("%d of %s, for %s", n.Count, who, n.Rule)
}

func (m *Main) approvalsAnswerCommand(yes bool) *cobra.Command {
	var r remote
	var a console.Answer
	verb, short := "deny", "End a held statement: its client gets an error"
	if yes {
		verb, short = "approve", "Let a held statement pass, as it is"
	}
	cmd := &cobra.Command{
		Use:               verb + " ID",
		Short:             short,
		Example:           "  sallyport approvals " + verb + " --config sallyport.yaml --as dana 5f0c1e…",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.completeHolds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.As == "" && r.user == "" {
				return fail(fmt.Errorf("who answers?"), "give --as NAME with the admin token, or --user NAME to log in")
			}
			body, err := r.do(cmd.Context(), http.MethodPost, "/api/v1/approvals/"+url.PathEscape(args[0])+"/"+verb, &a)
			if err != nil {
				return err
			}
			defer body.Close()
			var h approval.Hold
			if err := json.NewDecoder(body).Decode(&h); err != nil {
				return fail(err, "")
			}
			fmt.Fprintf(m.Stdout, "%s %s\n", h.ID, h.State)
			if h.State == approval.Waiting {
				fmt.Fprintln(m.Stdout, "It waits for more approvers.")
			}
			return nil
		},
	}
	r.approverFlags(cmd)
	cmd.Flags().StringVar(&a.As, "as", "", "whose answer it is, with the admin token")
	cmd.Flags().StringVar(&a.Reason, "reason", "", "why, for the record")
	cmd.MarkFlagsMutuallyExclusive("as", "user")
	if yes {
		cmd.Flags().IntVar(&a.Uses, "uses", 1, "how often the same statement may pass")
		cmd.Flags().DurationVar(&a.For, "for", time.Hour, "for how long")
	}
	return cmd
}

// completeHolds completes the ids of what waits.
func (r *remote) completeHolds(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || r.config == "" && r.server == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := r.holds(cmd.Context(), string(approval.Waiting))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, h := range list {
		out = append(out, h.ID+"\t"+h.Identity+": "+shorten(h.Text, 40))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
