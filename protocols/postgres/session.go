package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// session is one client with its upstream connection, after the login.
type session struct {
	client net.Conn
	host   protocols.Host
	sess   protocols.Session
	up     protocols.Upstream
	cred   protocols.Credential
	user   string
	limits protocols.Limits
	forget func() // the cancel key

	cr *reader // the client's messages; of the goroutine that decides
	ur *reader // the upstream's; of the goroutine that answers
	q  *queue

	// status is the transaction status that the upstream last reported.
	status atomic.Int32
	// unsynced says that extended messages went out since the last Sync.
	unsynced bool

	// out collects what goes to the client. The answering goroutine holds
	// the lock except while it waits for the upstream.
	outMu sync.Mutex
	out   []byte

	// Of the goroutine that decides: room for what is sent at once, and for what
	// waits for admission.
	scratch []byte
	asked   []byte
	asking  asking

	// Of the goroutine that decides: what the upstream's session has, as far
	// as forwarded messages are assumed to succeed (expect.undo takes it back).
	stmts   map[string]*statement
	portals portals
	spare   *portal // that has ended, to be used again
	view    viewState
	turn    int // Syncs and simple queries so far

	res   *result // the result that is coming; of the answering goroutine, as the next three
	room  result  // where res is
	last  lastRows
	tag   string                          // that a statement has ended with last
	types atomic.Pointer[catalog.Catalog] // for the names of types
	copy  atomic.Pointer[copyIn]
	// copies, of the goroutine that decides, says that a COPY FROM was
	// forwarded that may still ask for data.
	copies bool
	style  string // DateStyle

	// Of the answering goroutine, for a statement that is stopped in the midst
	// of its result: what comes is thrown away until ReadyForQuery, and an open
	// transaction is then made to fail.
	stopping  bool
	spoil     bool
	cancelled chan struct{} // closed when the cancel request has been sent
	cancel    func()        // asks the upstream to cancel
	// waiting, while a statement is held, ends the wait.
	waiting  atomic.Pointer[context.CancelFunc]
	executed int  // statements ended since the last ReadyForQuery
	whole    int  // where the last whole message in out ends; -1 where half a one was sent
	broken   bool // a write to the client has failed

	// told says that the upstream has told the client why it ends the session.
	told bool

	// scrub says that a statement of the open transaction touched a classed
	// table: what the transaction still reports may speak of its values.
	scrub bool
}

// statement is a prepared one.
type statement struct {
	name      string
	text      string
	types     []uint32
	ticket    protocols.Ticket
	sql       bool     // made by PREPARE
	described bool     // its columns were asked for
	columns   []column // of the goroutine that answers, as the next two, once described
	formatted []column // in the formats that rows were asked for in last
	formats   []int16

	old *statement // that had the name, until ParseComplete
}

// copyIn is a COPY FROM STDIN that takes data.
type copyIn struct {
	ticket  protocols.Ticket
	started bool // the client has answered
}

func newSession(c *client, sess protocols.Session, up protocols.Upstream, cred protocols.Credential, l *upstreamLogin) *session {
	limits := c.host.Limits()
	s := &session{
		client: c.conn, host: c.host, sess: sess, up: up, cred: cred, user: c.up.get("user"), limits: limits,
		cr: newReader(c.conn, limits.Message), ur: l.reader, q: newQueue(),
		stmts: map[string]*statement{},
	}
	s.ur.max = limits.Row
	s.status.Store('I')
	s.view.staleSession = true
	return s
}

// lastWrite is how long a session that must end waits for its client to take
// what is on its way.
const lastWrite = 300 * time.Millisecond

var (
	errTerminate    = errors.New("the client said goodbye")
	errUpstreamEnds = errors.New("the upstream ended the session")
)

// run serves the session until either side ends or the engine ends it.
func (s *session) run(ctx context.Context) error {
	defer s.forget()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answered := make(chan error, 1)
	go func() {
		err := s.answer()
		cancel(errUpstreamEnds)
		// The client may be silent for ever: its read must end with the upstream.
		_ = s.client.SetReadDeadline(time.Unix(1, 0))
		answered <- err
	}()
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.sess.Done():
			cancel(s.sess.Cause())
			_ = s.client.SetReadDeadline(time.Unix(1, 0))
			// A client that does not take its result must not keep the session.
			_ = s.client.SetWriteDeadline(time.Now().Add(lastWrite))
			s.up.Interrupt()
		case <-ended:
		}
	}()
	asked := s.ask(ctx)
	close(ended)
	if errors.Is(asked, errTerminate) || errors.Is(asked, io.EOF) {
		_ = send(s.up, protocols.ControlTerminate, message('X'))
	}
	s.up.Interrupt()
	answer := <-answered
	<-watched
	s.lose()
	return s.farewell(asked, answer)
}

// lose ends the tickets of what was still outstanding.
func (s *session) lose() {
	for _, e := range s.q.close() {
		for _, t := range e.tickets[min(e.at, len(e.tickets)):] {
			if e.kind != expectParse {
				_ = t.Done(protocols.Outcome{Lost: true})
			}
		}
	}
}

// farewell tells the client why the session ends, where it can be told, and
// says what to log.
func (s *session) farewell(asked, answered error) error {
	cause := s.sess.Cause()
	var w *wireError
	switch {
	case cause != nil:
		s.say(toLogin(cause))
		return fmt.Errorf("ended: %w", cause)
	case errors.As(asked, &w), errors.As(answered, &w):
		w := *w
		w.severity = "FATAL"
		s.say(&w)
		return &w
	case errors.Is(asked, errTerminate), errors.Is(asked, io.EOF):
		return nil
	case s.told: // by the upstream itself
		return fmt.Errorf("upstream: %w", answered)
	case errors.Is(answered, io.EOF), errors.Is(answered, io.ErrUnexpectedEOF):
		s.say(fatal("08006", "the upstream closed the connection", ""))
		return fmt.Errorf("upstream: %w", answered)
	}
	s.say(fatal("08006", "the connection to the upstream failed", "The proxy's log has the reason."))
	return errors.Join(asked, answered)
}

func (s *session) say(e *wireError) {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	if s.broken || s.whole < 0 {
		return // half a message is with the client: more would be taken for its rest
	}
	wait := 5 * time.Second
	if s.sess.Cause() != nil {
		wait = lastWrite
	}
	_ = s.client.SetWriteDeadline(time.Now().Add(wait))
	s.out = appendError(s.out, e)
	_ = s.flush()
}

// flush records, then writes to the client. The caller holds outMu.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	if err := s.sess.Flush(); err != nil {
		s.out = s.out[:0] // nothing that is not recorded leaves
		return toWire(err, "")
	}
	_, err := s.client.Write(s.out)
	s.broken = s.broken || err != nil
	s.out = s.out[:0]
	if cap(s.out) > 4*bufferSize {
		s.out = nil
	}
	return err
}

// message is one that is sent at once: it is valid until the next.
func (s *session) message(typ byte, body []byte) []byte {
	s.scratch = copyMessage(s.scratch, typ, body)
	return s.scratch
}

// askFor is a message that waits for admission, while a hold may read the client
// ahead, over body: what is decided on is what is sent.
func (s *session) askFor(typ byte, body []byte) []byte {
	s.asked = copyMessage(s.asked, typ, body)
	return s.asked
}

func copyMessage(dst []byte, typ byte, body []byte) []byte {
	dst, at := appendMessage(dst[:0], typ)
	return endMessage(append(dst, body...), at)
}

// trim gives up room that a large message has taken.
func (s *session) trim() {
	if cap(s.scratch) > idleBuffer {
		s.scratch = nil
	}
	if cap(s.asked) > idleBuffer {
		s.asked = nil
	}
}

// parameter notes a ParameterStatus and refuses those under which texts would
// mean something else.
func (s *session) parameter(name, value string) *wireError {
	switch name {
	case "standard_conforming_strings":
		if value != "on" {
			return fatal("0A000", "standard_conforming_strings must be on through the proxy", "")
		}
	case "client_encoding":
		if value != "UTF8" && value != "UNICODE" { // the one other name that is reported as it was set
			return fatal("0A000", "client_encoding must be UTF8 through the proxy", "")
		}
	case "DateStyle":
		s.style = value
	}
	return nil
}
