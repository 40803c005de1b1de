package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

func stack() []byte { return debug.Stack() }

// host is the engine as one connection sees it.
type host struct {
	target  *target
	session *session // once logged in
	secret  string   // the last token, where the wire has no user names
	sum     [sha256.Size]byte
	failing string // its name for the limit on failures
}

// named is what a token that fails holds back on a wire without user names:
// itself. Requests of one connection mostly bring the same.
func (h *host) named(secret string) string {
	if h.failing == "" || secret != h.secret {
		h.secret, h.sum = secret, sha256.Sum256([]byte(secret))
		h.failing = "token " + string(h.sum[:])
	}
	return h.failing
}

var _ protocols.Host = (*host)(nil)

// TLS asks clients for a certificate where identities have one. What is given
// is looked at by Login, so that a refusal is said in the protocol's words.
func (h *host) TLS() (*tls.Config, bool) {
	conf := h.target.tls
	if conf != nil && h.target.engine.book.Load().WantsCertificates() {
		conf = conf.Clone()
		conf.ClientAuth = tls.RequestClientCert
	}
	return conf, conf != nil
}

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
	book := h.target.engine.book.Load()
	v := book.Verifier(name)
	if h.target.config.Bearer && v.Iterations == 0 && !v.Certificate && !book.Static(name) {
		i := book.Issuers()[0] // Verifier says so only where there is one
		v.Bearer = &protocols.Bearer{Discovery: i.Discovery(), Scope: i.Scope}
	}
	return v, nil
}

// identify checks a login, under the limit on failures, and writes the log of
// what was refused.
func (h *host) identify(ctx context.Context, l protocols.Login) (identity.Caller, *protocols.Denial) {
	t, e := h.target, h.target.engine
	denied := protocols.Denial{Kind: protocols.DenyLogin, At: -1}
	outcome, reason := "refused", ""
	who := l.User
	if who == "" {
		who = h.named(l.Secret)
	}
	var c identity.Caller
	if now := e.now(); !e.failures.MayTry(l.Address, who, now) {
		denied.Message, denied.Hint = "too many failed logins", "Wait a few seconds."
		outcome, reason = "limited", denied.Message
	} else if caller, err := e.book.Load().Identify(ctx, l); err == nil {
		if c = caller; !e.revoked.has(c.Name) {
			return c, nil
		}
		denied.Message, denied.Hint = fmt.Sprintf("identity %q is revoked", bound(c.Name, 64)), "An administrator can restore it."
		reason = denied.Message
	} else {
		r := toRefused(err)
		if reason = r.Reason; r.Unavailable {
			outcome, denied.Kind, denied.Message = "unavailable", protocols.DenyUnavailable, r.Reason
		} else {
			e.failures.Failed(l.Address, who, now)
			how := "password"
			if l.Method == "certificate" {
				how = l.Method
			}
			denied.Message, denied.Detail = fmt.Sprintf("%s authentication failed for user %q", how, bound(l.User, 64)), r.Reason
		}
		denied.Hint = r.Hint
	}
	e.metrics.logins.WithLabelValues(t.config.Name, outcome).Inc()
	e.refusals.Note(t.config.Name, bound(l.User, 64), l.Address, outcome, bound(reason, 200), e.now())
	e.log.Warn().Str("target", t.config.Name).Str("user", bound(l.User, 64)).Str("client", l.Address).Str("method", l.Method).Str("reason", reason).Msg("login refused")
	return c, &denied
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
	t := h.target
	caller, denied := h.identify(ctx, l)
	if denied != nil {
		return nil, denied
	}
	database := l.Database
	if database == "" {
		database = t.database()
	}
	if database != t.database() && !slices.Contains(t.config.Databases, database) {
		return nil, &protocols.Denial{Kind: protocols.DenyDatabase, Message: fmt.Sprintf("database %q does not exist on target %s", bound(database, 64), t.config.Name), At: -1}
	}
	if t.protocol.Requests {
		return t.join(ctx, caller, database, l, h.sum)
	}
	s, err := t.open(ctx, caller, database, l)
	if err != nil {
		return nil, err
	}
	h.session = s
	return s, nil
}

// open begins a session and its transcript.
func (t *target) open(ctx context.Context, caller identity.Caller, database string, l protocols.Login) (*session, error) {
	e, id := t.engine, caller.Identity
	if t.sessions.Add(1) > int64(e.config.Sessions) {
		t.sessions.Add(-1)
		e.metrics.logins.WithLabelValues(t.config.Name, "too many").Inc()
		return nil, &protocols.Denial{Kind: protocols.DenyTooMany, Message: fmt.Sprintf("target %s has too many sessions", t.config.Name), At: -1,
			Hint: "Close connections that are not used, or pool them; limits.sessions in the configuration is the limit."}
	}
	now := e.now()
	s := &session{
		engine: e, target: t, id: newSessionID(now), identity: id, caller: caller, database: database, started: now, done: make(chan struct{}),
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
	e.metrics.logins.WithLabelValues(t.config.Name, "accepted").Inc()
	e.metrics.sessions.WithLabelValues(t.config.Name).Inc()
	e.log.Info().Str("session", s.id).Str("identity", id.Name).Str("target", t.config.Name).Str("database", database).Str("client", l.Address).Str("by", caller.By).Msg("session began")
	if draining {
		s.kill(&protocols.Denial{Kind: protocols.DenyShutdown, Message: "the proxy is shutting down", At: -1})
	}
	if e.revoked.has(id.Name) { // since it was looked up
		s.kill(revokedDenial)
	}
	s.endWith(caller.Expires)
	return s, nil
}

// end closes a session that its protocol has not closed, after a panic.
func (h *host) end() {
	if h.session != nil {
		h.session.Close(fmt.Errorf("the connection's handler ended"))
	}
}

func (h *host) Wait() time.Duration { return h.target.config.Wait }

func (h *host) Timeout() time.Duration { return h.target.config.Timeout }

func (h *host) Draining() <-chan struct{} { return h.target.engine.drains }

func (h *host) Keep(make func() any) any { return h.target.keep.get(make) }

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
