package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport-proxy/sallyport/proxy/console"
	"github.com/sallyport-proxy/sallyport/replay"
)

// serveConsole starts the console and returns what ends it.
func (e *Engine) serveConsole() (end func(), err error) {
	l, err := net.Listen("tcp", e.config.Console)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	srv := console.Server(console.Handler(console.Options{
		Engine: consoleView{e}, Approvals: approvalsView{e}, Identities: identitiesView{e}, Transcripts: e.archive, Token: e.keys.AdminToken,
		Metrics: promhttp.HandlerFor(e.metrics.registry, promhttp.HandlerOpts{}),
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error().Err(err).Msg("the console ended")
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
		<-served
	}, nil
}

// consoleView is the engine as the console sees it.
type consoleView struct{ e *Engine }

var _ console.Engine = consoleView{}

func (v consoleView) Live() []replay.Summary {
	out := []replay.Summary{}
	for _, s := range v.e.all() {
		out = append(out, replay.Summary{ID: s.id, Identity: s.identity.Name, Target: s.target.config.Name, Database: s.database,
			Address: s.identity.Address, Started: s.started.UTC(), Live: true, Statements: s.statements.Load(), Rows: s.rows.Load()})
	}
	slices.SortFunc(out, func(a, b replay.Summary) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func (v consoleView) Kill(id, by string) bool {
	v.e.mu.Lock()
	s := v.e.sessions[id]
	v.e.mu.Unlock()
	if s == nil {
		return false
	}
	v.e.log.Warn().Str("session", id).Str("by", by).Msg("session killed")
	s.kill(killedDenial)
	return true
}

func (v consoleView) Status() console.Status {
	e := v.e
	st := console.Status{Program: e.program, Policy: e.policy.Load().Hash}
	for _, t := range e.targets {
		st.Targets = append(st.Targets, t.config.Name)
	}
	e.mu.Lock()
	st.Draining = e.draining
	e.mu.Unlock()
	if b := e.broken.Load(); b != nil {
		st.Broken = *b
	}
	return st
}

func (v consoleView) Changed(id string) <-chan struct{} { return v.e.dir.Changed(id) }
