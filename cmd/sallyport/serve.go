package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/llm"
	"github.com/sallyport-proxy/sallyport/protocols/mysql"
	"github.com/sallyport-proxy/sallyport/protocols/postgres"
	"github.com/sallyport-proxy/sallyport/protocols/vector"
	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/myfacts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/pgfacts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// wires are the protocols that a target can have: a new one is a line here.
func wires() []protocols.Protocol {
	return append([]protocols.Protocol{postgres.New(), mysql.New(), llm.New()}, vector.Stores()...)
}

// dialects are how statements are understood: a new one is a line here.
func dialects() []proxy.Dialect {
	return []proxy.Dialect{{
		Name: "postgres",
		Analyse: func(v *catalog.View, text string, l protocols.Limits) ([]catalog.Statement, error) {
			return pgfacts.Analyse(v, text, pgfacts.Limits{Statement: l.Statement, Depth: l.Depth})
		},
		Call:     pgfacts.Call,
		Literals: pgfacts.Literals,
	}, {
		Name: "mysql",
		Analyse: func(v *catalog.View, text string, l protocols.Limits) ([]catalog.Statement, error) {
			return myfacts.Analyse(v, text, myfacts.Limits{Statement: l.Statement, Depth: l.Depth})
		},
		Literals: myfacts.Literals,
	}}
}

func (m *Main) serveCommand() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the proxy",
		Long: `Runs the proxy until SIGTERM or Ctrl-C, which drain it. It prints one line,
ready, on standard error once every listener accepts; everything else there is
its log, one JSON object a line. SIGHUP, or a changed policy or configuration
file, reloads; a broken file is refused and what is in force stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), config, m.Stderr, func() { fmt.Fprintln(m.Stderr, "ready") })
		},
	}
	configFlag(cmd, &config)
	return cmd
}

func configFlag(cmd *cobra.Command, config *string) {
	cmd.Flags().StringVarP(config, "config", "c", "", "the configuration file")
	_ = cmd.MarkFlagRequired("config")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// serve runs the proxy of a configuration until ctx ends.
func serve(ctx context.Context, config string, log io.Writer, ready func()) error {
	c, err := proxy.LoadConfig(config, wires())
	if err != nil {
		return broken(err)
	}
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return err
	}
	logger := zerolog.New(zerolog.SyncWriter(log)).Level(level).With().Timestamp().Logger()
	e, err := proxy.New(proxy.Options{Config: c, Protocols: wires(), Dialects: dialects(), Log: logger, Program: "sallyport " + version()})
	if err != nil {
		return broken(err)
	}
	return fail(e.Run(ctx, ready), "")
}

// broken is a file that was not taken, with what to do.
func broken(err error) error {
	if errors.Is(err, strictyaml.ErrProblems) {
		return &exitError{code: 1, err: fmt.Errorf("the file has problems:\n%w", err), hint: "mend each line above; `sallyport policy check FILE` checks a policy by itself"}
	}
	return fail(err, "")
}
