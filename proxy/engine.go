package proxy

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/budget"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/proxy/socket"
	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/proxy/upstream"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/archive"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Dialect analyses statements. It is registered by a line in cmd.
type Dialect struct {
	Name    string
	Analyse func(view *catalog.View, text string, lim protocols.Limits) ([]catalog.Statement, error)
	Call    func(view *catalog.View, function uint32) (*facts.Facts, error)
	// Literals, if set, appends to dst the constants of a text for which
	// Analyse may say that they are free (catalog.Statement), in order; not ok
	// where the text cannot be taken apart so. A text it takes has no zero byte.
	Literals func(text string, dst []catalog.Literal) (literals []catalog.Literal, ok bool)
}

// Engine runs the proxy.
type Engine struct {
	config    *Config
	protocols []protocols.Protocol
	dialects  []Dialect
	log       zerolog.Logger
	program   string
	keys      *Keys
	dir       *replay.Dir
	archive   *archive.Archive
	register  *register.Register
	finished  chan struct{} // has an item when there may be something to ship
	state     *sql.DB
	approvals *approval.Book
	ledger    *budget.Ledger
	metrics   *metrics
	now       func() time.Time

	policy atomic.Pointer[sqlpolicy.Policy]
	book   atomic.Pointer[identity.Book]
	broken atomic.Pointer[string] // why the last reload was refused

	failures identity.Failures
	issuers  map[OIDC]*identity.Issuer // of whoever reloads
	reloads  sync.Mutex                // held to reload

	vault *upstream.Vault
	roles []*upstream.Role // logins that the secret store makes

	revocations *identity.Revocations
	revoked     revoked
	refusals    *identity.Refusals

	targets []*target

	mu       sync.Mutex
	sessions map[string]*session
	cancels  map[string]func()
	draining bool
	drains   chan struct{} // closed when draining begins
	units    atomic.Int64  // admitted or refused, ever
	stored   sync.Map      // hashes of catalogs that are on disk
	running  sync.WaitGroup
}

// Options wire an Engine.
type Options struct {
	Config    *Config
	Protocols []protocols.Protocol
	Dialects  []Dialect
	Log       zerolog.Logger
	Program   string // name and version, for the record
}

// New checks everything that can be checked before listening: policy, keys,
// secrets, certificates, the transcripts' folder. It recovers what a crash
// has left.
func New(o Options) (*Engine, error) {
	e := &Engine{
		config: o.Config, protocols: o.Protocols, dialects: o.Dialects, log: o.Log, program: o.Program, metrics: newMetrics(),
		now: time.Now, sessions: map[string]*session{}, cancels: map[string]func(){}, finished: make(chan struct{}, 1), drains: make(chan struct{}),
	}
	policy, err := sqlpolicy.Load(o.Config.Policy)
	if err != nil {
		return nil, err
	}
	e.policy.Store(policy)
	if e.keys, err = LoadKeys(o.Config.Keys); err != nil {
		return nil, err
	}
	book, err := e.newBook(o.Config)
	if err != nil {
		return nil, err
	}
	e.book.Store(book)
	if err := e.openTranscripts(); err != nil {
		return nil, err
	}
	if e.state, err = store.Open(context.Background(), o.Config.State, o.Config.Dir); err != nil {
		return nil, err
	}
	e.revocations = identity.NewRevocations(e.state)
	e.refusals = identity.NewRefusals(e.state)
	if err := e.loadRevoked(context.Background()); err != nil {
		return nil, err
	}
	e.approvals, e.ledger = approval.NewBook(e.state, e.now), budget.NewLedger(e.state, e.now)
	if err := e.approvals.Sweep(context.Background()); err != nil {
		return nil, fmt.Errorf("ending the holds whose time is over: %w", err)
	}
	if err := e.recover(context.Background()); err != nil {
		return nil, err
	}
	for i := range o.Config.Targets {
		t, err := e.newTarget(&o.Config.Targets[i])
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", o.Config.Targets[i].Name, err)
		}
		e.targets = append(e.targets, t)
	}
	return e, nil
}

// target is a configured target at work.
type target struct {
	engine   *Engine
	config   *Target
	protocol *protocols.Protocol
	dialect  *Dialect
	tls      *tls.Config
	upstream upstream.Options
	joints   joints
	keep     keep
	backends []backend
	listener net.Listener
	cache    *analyses
	counts   *counts
	// connections are those of clients, logged in or not, and sessions those
	// that are logged in.
	connections, sessions atomic.Int64

	mu       sync.Mutex
	catalogs map[string]*catalogs // by database
}

func (e *Engine) newTarget(c *Target) (*target, error) {
	t := &target{engine: e, config: c, catalogs: map[string]*catalogs{}, cache: newAnalyses(), counts: e.metrics.of(c.Name)}
	for i := range e.protocols {
		if e.protocols[i].Name == c.Protocol {
			t.protocol = &e.protocols[i]
		}
	}
	if t.protocol == nil {
		return nil, fmt.Errorf("protocol %q is not known", c.Protocol)
	}
	for i := range e.dialects {
		if e.dialects[i].Name == t.protocol.Dialect {
			t.dialect = &e.dialects[i]
		}
	}
	if c.TLS.Mode == "require" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("its certificate: %w", err)
		}
		t.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	u := c.Upstream.URL
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = fmt.Sprint(t.protocol.DefaultPort)
	}
	ca := c.Upstream.CA
	if ca == "" {
		ca = u.Query().Get("sslrootcert")
	}
	t.upstream = upstream.Options{Address: net.JoinHostPort(host, port), Host: host, Mode: c.Upstream.TLSMode, CA: ca, Cert: c.Upstream.Cert, Key: c.Upstream.Key, ALPN: t.protocol.ALPN}
	return t, t.openBackends()
}

// database is the target's own.
func (t *target) database() string { return strings.Trim(t.config.Upstream.URL.Path, "/") }

// Run listens, calls ready once every listener accepts, and serves until ctx
// ends; then it drains.
func (e *Engine) Run(ctx context.Context, ready func()) error {
	var listening listeners
	defer listening.closeAll()
	for _, t := range e.targets {
		l, err := net.Listen("tcp", t.config.Listen)
		if err != nil {
			return fmt.Errorf("target %s: %w", t.config.Name, err)
		}
		t.listener = l
		listening.closers = append(listening.closers, l)
	}
	background, stop := context.WithCancel(context.Background())
	var helpers sync.WaitGroup
	defer func() { stop(); helpers.Wait() }()
	helpers.Go(func() { e.dir.Sync(background) })
	endKeeping := e.startKeeping(background)
	defer endKeeping()
	helpers.Go(func() { e.giveBack(background) })
	helpers.Go(func() { e.watch(background) })
	helpers.Go(func() { e.warmIssuers(background) })
	helpers.Go(func() { e.watchRevoked(background) })
	helpers.Go(func() { e.keepRefusals(background) })
	for _, r := range e.roles {
		helpers.Go(func() { r.Keep(background) })
	}
	if e.config.Console != "" {
		end, err := e.serveConsole()
		if err != nil {
			return err
		}
		defer end()
	}
	for _, t := range e.targets {
		helpers.Go(func() { t.accept(background) })
	}
	ready()
	<-ctx.Done()
	e.log.Info().Msg("draining")
	listening.closeAll()
	e.drain()
	for _, t := range e.targets {
		t.joints.close()
		t.close()
	}
	endKeeping()
	e.shipLast()
	if err := e.refusals.Flush(context.WithoutCancel(ctx)); err != nil {
		e.log.Error().Err(err).Msg("refused logins are not written down")
	}
	if err := e.state.Close(); err != nil {
		return fmt.Errorf("closing the state: %w", err)
	}
	return nil
}

// listeners closes listeners once.
type listeners struct{ closers []net.Listener }

func (g *listeners) closeAll() {
	for _, l := range g.closers {
		_ = l.Close()
	}
	g.closers = nil
}

// accept takes connections until the listener is closed.
func (t *target) accept(ctx context.Context) {
	e := t.engine
	for {
		conn, err := t.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.log.Error().Err(err).Str("target", t.config.Name).Msg("accepting")
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors, say: let some be freed
			}
			continue
		}
		e.mu.Lock()
		// Strangers may be as many again as those who are logged in.
		if e.draining || t.connections.Load() >= 2*int64(e.config.Sessions) {
			e.mu.Unlock()
			_ = conn.Close()
			continue
		}
		t.connections.Add(1)
		e.running.Add(1)
		e.mu.Unlock()
		go t.serve(ctx, socket.Direct(conn))
	}
}

// serve runs one connection. A panic ends it and nothing else.
func (t *target) serve(ctx context.Context, conn net.Conn) {
	e := t.engine
	defer e.running.Done()
	defer t.connections.Add(-1)
	defer func() {
		if r := recover(); r != nil {
			e.metrics.panics.Inc()
			e.log.Error().Str("target", t.config.Name).Str("panic", fmt.Sprintf("%T", r)).Bytes("stack", stack()).Msg("a session panicked")
			_ = conn.Close()
		}
	}()
	h := &host{target: t}
	defer h.end()
	if err := t.protocol.Serve(ctx, conn, h); err != nil {
		e.log.Info().Err(err).Str("target", t.config.Name).Str("client", conn.RemoteAddr().String()).Msg("connection ended")
	}
}

// drain ends idle sessions at once and the others when their statement ends,
// or at the drain's time.
func (e *Engine) drain() {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	close(e.drains)
	done := make(chan struct{})
	go func() { e.running.Wait(); close(done) }()
	shutdown := &protocols.Denial{Kind: protocols.DenyShutdown, Message: "terminating connection: the proxy is shutting down", At: -1}
	deadline := time.NewTimer(e.config.Drain)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := false; ; {
		for _, s := range e.all() {
			if late || s.idle() {
				s.kill(shutdown)
			}
		}
		select {
		case <-done:
			return
		case <-deadline.C:
			late = true
		case <-tick.C:
		}
	}
}

func (e *Engine) all() []*session {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*session, 0, len(e.sessions))
	for _, s := range e.sessions {
		out = append(out, s)
	}
	return out
}

func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.catalogs {
		c.close()
	}
}
