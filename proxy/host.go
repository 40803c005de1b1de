package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

func stack() []byte { return debug.Stack() }

// host is the engine as one connection sees it.
type host struct {
	target  *target
	session *session // once logged in
}

var _ protocols.Host = (*host)(nil)

func (h *host) TLS() (*tls.Config, bool) { return h.target.tls, h.target.tls != nil }

// Limits are the configuration's, or the policy's where it is stricter.
func (h *host) Limits() protocols.Limits {
	l, p := h.target.engine.config.Limits, h.target.engine.policy.Load().Limits
	tighter := func(a *int, b int) {
		if b > 0 && b < *a {
			*a = b
		}
	}
	tighter(&l.Row, p.Row)
	tighter(&l.Statement, p.Statement)
	tighter(&l.Message, p.Message)
	tighter(&l.Depth, p.Depth)
	return l
}

func (h *host) Verifier(_ context.Context, name string) (protocols.Verifier, error) {
	return h.target.engine.book.Load().Verifier(name), nil
}

// Server answers strangers too, so that it asks the upstream only where
// nothing is at hand.
func (h *host) Server(ctx context.Context) (*catalog.Catalog, error) {
	c := h.target.catalog(h.target.database())
	if cur := c.current.Load(); cur != nil {
		return cur, nil
	}
	return c.get(ctx, false)
}

// Login opens a session and its transcript.
func (h *host) Login(ctx context.Context, l protocols.Login) (protocols.Session, error) {
	t, e := h.target, h.target.engine
	book := e.book.Load()
	denied := &protocols.Denial{Kind: protocols.DenyLogin, Message: fmt.Sprintf("password authentication failed for user %q", bound(l.User, 64)), At: -1}
	if !book.MayTry(l.Address, l.User) {
		denied.Message, denied.Hint = "too many failed logins", "Wait a few seconds."
		return nil, denied
	}
	id, ok := book.Check(l)
	if !ok {
		book.Failed(l.Address, l.User)
		e.metrics.logins.WithLabelValues(t.config.Name, "refused").Inc()
		return nil, denied
	}
	database := l.Database
	if database == "" {
		database = t.database()
	}
	if database != t.database() && !slices.Contains(t.config.Databases, database) {
		return nil, &protocols.Denial{Kind: protocols.DenyDatabase, Message: fmt.Sprintf("database %q does not exist on target %s", bound(database, 64), t.config.Name), At: -1}
	}
	if t.sessions.Add(1) > int64(e.config.Sessions) {
		t.sessions.Add(-1)
		e.metrics.logins.WithLabelValues(t.config.Name, "too many").Inc()
		return nil, &protocols.Denial{Kind: protocols.DenyTooMany, Message: fmt.Sprintf("target %s has too many sessions", t.config.Name), At: -1,
			Hint: "Close connections that are not used, or pool them; limits.sessions in the configuration is the limit."}
	}
	now := e.now()
	s := &session{
		engine: e, target: t, id: newSessionID(now), identity: id, database: database, started: now, done: make(chan struct{}),
	}
	var err error
	s.record, err = e.dir.Create(&replay.Event{
		Type: replay.TypeOpen, At: now, Session: s.id, Identity: &id, Target: t.config.Name, Protocol: t.protocol.Name, Database: database,
		Address: l.Address, Options: l.Options, Policy: e.policy.Load().Hash, Program: e.program,
	}, func() error { return e.register.Add(ctx, register.Begin, s.id, replay.Head{}) })
	if err != nil {
		t.sessions.Add(-1)
		return nil, e.unrecorded(err)
	}
	e.mu.Lock()
	e.sessions[s.id] = s
	draining := e.draining
	e.mu.Unlock()
	h.session = s
	e.metrics.logins.WithLabelValues(t.config.Name, "accepted").Inc()
	e.metrics.sessions.WithLabelValues(t.config.Name).Inc()
	e.log.Info().Str("session", s.id).Str("identity", id.Name).Str("target", t.config.Name).Str("database", database).Str("client", l.Address).Msg("session began")
	if draining {
		s.kill(&protocols.Denial{Kind: protocols.DenyShutdown, Message: "the proxy is shutting down", At: -1})
	}
	return s, nil
}

// end closes a session that its protocol has not closed, after a panic.
func (h *host) end() {
	if h.session != nil {
		h.session.Close(fmt.Errorf("the connection's handler ended"))
	}
}

func (h *host) Canceller() protocols.Canceller { return canceller{h.target.engine} }

// unrecorded makes a failure to record the client's error, loudly.
func (e *Engine) unrecorded(err error) *protocols.Denial {
	e.metrics.unrecorded.Inc()
	e.log.Error().Err(err).Msg("CANNOT RECORD: refusing statements")
	return &protocols.Denial{Kind: protocols.DenyRecord, Message: "the statement cannot be recorded, and so is not run",
		Hint: "The proxy's operator must look at its storage.", At: -1}
}

// newSessionID sorts by time and cannot be guessed.
func newSessionID(at time.Time) string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	at = at.UTC()
	return fmt.Sprintf("%s%06dZ-%x", at.Format("20060102T150405"), at.Nanosecond()/1000, b)
}

// bound limits what is told back of a client's input.
func bound(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// canceller maps cancel keys to sessions.
type canceller struct{ e *Engine }

func (c canceller) Register(key string, cancel func()) (forget func()) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.e.cancels[key] = cancel
	var once sync.Once
	return func() {
		once.Do(func() {
			c.e.mu.Lock()
			defer c.e.mu.Unlock()
			delete(c.e.cancels, key)
		})
	}
}

func (c canceller) Cancel(key string) bool {
	c.e.mu.Lock()
	cancel := c.e.cancels[key]
	c.e.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return cancel != nil
}
