package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// session is one client's session in the engine.
type session struct {
	engine   *Engine
	target   *target
	id       string
	identity facts.Identity
	caller   identity.Caller
	expiry   *time.Timer // nil for a login that does not end
	database string
	started  time.Time
	record   *replay.Writer

	statements atomic.Int64
	rows       atomic.Int64
	active     atomic.Int64 // statements that were let pass and have not ended
	// altering says that the session has changed the schema in a transaction
	// that may still be open: until it has ended nobody can know when the
	// change will be seen.
	altering   atomic.Bool
	lastScope  atomic.Pointer[viewScope]
	lastRead   atomic.Pointer[lastRead]
	catalogs   atomic.Pointer[catalogs] // of the database, once they were asked for
	lastSeen   *schemaSeen              // of the last unit with a view; of the goroutine that admits
	prepared   atomic.Pointer[ticket]   // of the last text that was prepared, under a steady decision
	decisions  map[decidedKey]*decided
	operations decidedOperations

	once   sync.Once
	done   chan struct{}
	mu     sync.Mutex
	cause  *protocols.Denial
	closed bool
	// release gives back the credential that the session is logged in with.
	release  func()
	password string // what it was logged in with last
	ended    func() // called once it is killed, if set
}

var _ protocols.Session = (*session)(nil)

func (s *session) ID() string { return s.id }

// Dial connects; the connection takes only this session's tickets.
func (s *session) Dial(ctx context.Context) (protocols.Upstream, error) {
	return s.target.upstream.DialGate(ctx, s)
}

// schema is where the database's schema is kept.
func (s *session) schema() *catalogs {
	c := s.catalogs.Load()
	if c == nil {
		c = s.target.catalog(s.database)
		s.catalogs.Store(c)
	}
	return c
}

func (s *session) Catalog(ctx context.Context, fresh bool) (*catalog.Catalog, error) {
	c, err := s.schema().get(ctx, fresh)
	if err != nil {
		s.engine.log.Error().Err(err).Str("target", s.target.config.Name).Msg("reading the schema")
		return nil, &protocols.Denial{Kind: protocols.DenyUnavailable, Message: "the schema of the upstream cannot be read",
			Hint: "The proxy's log has the reason.", At: -1}
	}
	return c, nil
}

// Pass refuses a ticket that is spent or another session's.
func (s *session) Pass(t protocols.Ticket) error {
	k, ok := t.(*ticket)
	switch {
	case !ok || k == nil:
		return errors.New("not a ticket of the engine's")
	case k.session != s:
		return errors.New("a ticket of another session")
	case k.spent.Load():
		return protocols.ErrSpent
	}
	return nil
}

func (s *session) Flush() error {
	if err := s.record.Flush(); err != nil {
		return s.engine.unrecorded(err)
	}
	return nil
}

func (s *session) Done() <-chan struct{} { return s.done }

func (s *session) Cause() *protocols.Denial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// kill makes the wire end the session.
func (s *session) kill(why *protocols.Denial) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = why
	}
	s.mu.Unlock()
	s.once.Do(func() {
		close(s.done)
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if ended != nil {
			ended()
		}
	})
}

// onEnd has f called when the session is killed, at once where it was.
func (s *session) onEnd(f func()) {
	s.mu.Lock()
	s.ended = f
	s.mu.Unlock()
	if s.over() {
		f()
	}
}

// over says that the session was killed.
func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// endWith ends the session with the token or certificate that opened it.
func (s *session) endWith(expires time.Time) {
	if expires.IsZero() {
		return
	}
	s.expiry = time.AfterFunc(expires.Sub(s.engine.now()), func() {
		what := "token"
		if s.caller.By == "certificate" {
			what = "certificate"
		}
		s.engine.log.Info().Str("session", s.id).Msg("the login has expired")
		s.kill(&protocols.Denial{Kind: protocols.DenyShutdown, Message: "terminating connection: the " + what + " of this session has expired", Hint: "Connect again with a new one.", At: -1})
	})
}

// altered notes that a statement of this session has changed the schema, and
// returns the generation that it made.
func (s *session) altered(c *catalogs) int64 {
	if !s.altering.Swap(true) {
		c.altering.Add(1)
	}
	return c.changed()
}

// settled notes that the session has no transaction open.
func (s *session) settled() {
	if s.altering.Swap(false) {
		c := s.schema()
		c.changed()
		c.altering.Add(-1)
	}
}

// idle says that no statement is at work.
func (s *session) idle() bool { return s.active.Load() == 0 }

// Close ends the session's record.
func (s *session) Close(err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	release := s.release
	s.mu.Unlock()
	if release != nil {
		defer release()
	}
	s.settled()
	if s.expiry != nil {
		s.expiry.Stop()
	}
	e := s.engine
	reason := "the client ended it"
	if err != nil {
		reason = err.Error()
	}
	last := &replay.Event{Type: replay.TypeClose, At: e.now(), Reason: reason, Statements: s.statements.Load(), Rows: s.rows.Load()}
	err = s.record.Close(last, func(head replay.Head) error { return e.register.Add(context.Background(), register.End, s.id, head) })
	if err != nil {
		e.metrics.unrecorded.Inc()
		e.log.Error().Err(err).Str("session", s.id).Msg("CANNOT RECORD the end of a session")
	}
	s.target.sessions.Add(-1)
	e.mu.Lock()
	delete(e.sessions, s.id)
	e.mu.Unlock()
	e.metrics.sessions.WithLabelValues(s.target.config.Name).Dec()
	e.log.Info().Str("session", s.id).Int64("statements", s.statements.Load()).Int64("rows", s.rows.Load()).Str("reason", reason).Msg("session ended")
}
