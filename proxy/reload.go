package proxy

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
)

// watch reloads on SIGHUP and when the policy or the configuration changes.
func (e *Engine) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w, err := fsnotify.NewWatcher()
	var events chan fsnotify.Event
	if err == nil {
		defer w.Close()
		// The folders: editors put a new file in the old one's place.
		for _, dir := range []string{filepath.Dir(e.config.Policy), e.config.Dir} {
			if err := w.Add(dir); err != nil {
				e.log.Warn().Err(err).Msg("watching for changes; SIGHUP still reloads")
			}
		}
		events = w.Events
	} else {
		e.log.Warn().Err(err).Msg("watching for changes; SIGHUP still reloads")
	}
	var settle <-chan time.Time // a file is written in several steps
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			e.Reload()
		case ev := <-events:
			if ev.Name == e.config.Policy || ev.Name == e.config.Path {
				settle = time.After(50 * time.Millisecond)
			}
		case <-settle:
			settle = nil
			e.Reload()
		}
	}
}

// Reload reads policy and configuration again. A broken file is refused with
// its reason, and what is in force stays. Policy and identities take effect
// at the next statement and login; other changes of the configuration at the
// next start. It is safe for concurrent use.
func (e *Engine) Reload() {
	e.reloads.Lock()
	defer e.reloads.Unlock()
	policy, err := sqlpolicy.Load(e.config.Policy)
	if err != nil {
		e.refuseReload(err)
		return
	}
	config, err := LoadConfig(e.config.Path, e.protocols)
	if err != nil {
		e.refuseReload(err)
		return
	}
	book, err := e.newBook(config)
	if err != nil {
		e.refuseReload(err)
		return
	}
	e.policy.Store(policy)
	e.book.Store(book)
	e.broken.Store(nil)
	e.metrics.reloads.WithLabelValues("taken").Inc()
	for _, s := range e.all() {
		if why := book.Holds(s.caller); why != "" {
			s.kill(&protocols.Denial{Kind: protocols.DenyShutdown, Message: "terminating connection: " + why, At: -1})
		}
	}
	e.log.Info().Str("policy", policy.Hash[:12]).Msg("reloaded")
}

func (e *Engine) refuseReload(err error) {
	text := err.Error()
	e.broken.Store(&text)
	e.metrics.reloads.WithLabelValues("refused").Inc()
	e.log.Error().Err(err).Msg("reload refused; what was in force stays")
}
