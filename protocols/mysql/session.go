package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// session is one client with its upstream connection, after the login. One
// goroutine serves it.
type session struct {
	client net.Conn
	host   protocols.Host
	sess   protocols.Session
	up     protocols.Upstream
	cred   protocols.Credential
	user   string
	id     uint32 // as the client knows it
	limits protocols.Limits
	forget func() // the keys by which KILL finds the session

	caps   uint32 // agreed with the client
	upCaps uint32 // agreed with the upstream

	cr   *reader // the client's messages
	ur   *reader // the upstream's
	idle idle    // that ur reads by

	seq    byte // of the next packet to the client
	useq   byte // of the next packet to the upstream
	out    []byte
	whole  int // where the last whole message in out ends; -1 where half of one is with the client
	status uint16
	view   viewState

	stmts    map[uint32]*statement
	becomes  *loginPacket // of COM_CHANGE_USER, which ends the session
	lastStmt uint32       // the one prepared last, which MariaDB's clients may name -1
	longData int          // bytes that prepared statements hold for their parameters

	rows    result                 // the result that is coming; reused
	killed  atomic.Bool            // by a KILL of the connection
	wait    atomic.Pointer[func()] // ends the wait of a held statement
	holding *holding
	kill    func(query bool) // asks the upstream to interrupt
}

func newSession(c *client, sess protocols.Session, up protocols.Upstream, cred protocols.Credential, l *upstreamLogin) *session {
	limits := c.host.Limits()
	s := &session{
		client: c.conn, host: c.host, sess: sess, up: up, cred: cred, user: c.login.user, id: c.id, limits: limits,
		caps: c.login.caps, upCaps: l.caps, ur: l.r, status: l.ok.status, stmts: map[uint32]*statement{},
	}
	s.ur.max = limits.Row
	s.idle.up, s.idle.cut = up, s.hangUp
	s.ur.r = &s.idle
	s.view.set("lower_case_table_names", "0")
	return s
}

var (
	errQuit       = errors.New("the client said goodbye")
	errChangeUser = errors.New("the client becomes another user")
)

// run serves commands until either side ends or the engine ends the session.
func (s *session) run(ctx context.Context) error {
	defer s.forget()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.sess.Done():
			cancel(s.sess.Cause())
			s.interrupt()
		case <-ended:
		}
	}()
	err := s.commands(ctx)
	close(ended)
	<-watched
	if errors.Is(err, errQuit) || errors.Is(err, errChangeUser) || errors.Is(err, io.EOF) {
		s.useq = 0
		if s.up.Control(protocols.ControlTerminate, appendMessage(nil, &s.useq, []byte{comQuit})) == nil {
			_ = s.up.Flush()
		}
	}
	s.up.Interrupt()
	s.idle.wait()
	for _, st := range s.stmts {
		st.lose()
	}
	return s.farewell(err)
}

// interrupt makes the session's reads fail, whichever it waits in.
func (s *session) interrupt() {
	s.hangUp()
	s.up.Interrupt()
}

// hangUp makes the session's reads of the client fail.
func (s *session) hangUp() { _ = s.client.SetReadDeadline(time.Unix(1, 0)) }

// upstreamError is a failure of the upstream's connection.
type upstreamError struct{ err error }

func (e *upstreamError) Error() string { return "upstream: " + e.err.Error() }
func (e *upstreamError) Unwrap() error { return e.err }

// farewell tells the client why the session ends, where it can be told, and
// says what to log.
func (s *session) farewell(err error) error {
	cause := s.sess.Cause()
	var w *wireError
	var u *upstreamError
	switch {
	case errors.Is(err, errChangeUser) && cause == nil && !s.killed.Load():
		return err
	case cause != nil:
		s.say(toWire(cause))
		return fmt.Errorf("ended: %w", cause)
	case s.killed.Load():
		s.say(fatal(1927, "70100", "Connection was killed"))
		return errors.New("killed by another session of the same identity")
	case errors.As(err, &w):
		s.say(w)
		return w
	case errors.As(err, &u):
		s.say(fatal(1053, "08S01", "the upstream closed the connection or sent what is not MySQL's protocol"))
		return u
	case errors.Is(err, errQuit), errors.Is(err, io.EOF):
		return nil
	}
	return err
}

func (s *session) say(e *wireError) {
	_ = s.client.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if s.whole >= 0 && s.whole <= len(s.out) {
		s.out = s.out[:s.whole]
		s.out = appendMessage(s.out, &s.seq, appendErr(nil, e, s.caps))
	}
	_ = s.flush()
}

// commands reads the client's commands and answers each.
func (s *session) commands(ctx context.Context) error {
	for {
		s.cr.seq = 0
		if s.cr.buffered() == 0 && s.idle.begin() {
			return errUpstreamEnded
		}
		_, err := s.cr.next()
		var body []byte
		if err == nil {
			body, err = s.cr.body()
		}
		s.idle.end()
		if err != nil {
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case s.idle.over():
				return errUpstreamEnded
			}
			return s.broken(err)
		}
		if len(body) == 0 {
			return fatal(1047, "08S01", "a command is missing")
		}
		s.seq = s.cr.seq
		if err := s.command(ctx, body[0], body[1:]); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
}

// broken makes a client's malformed message the error that it is told last.
func (s *session) broken(err error) error {
	s.seq = s.cr.seq
	var size *sizeError
	switch {
	case errors.As(err, &size):
		return fatal(1153, "08S01", fmt.Sprintf("Got a packet bigger than 'max_allowed_packet' bytes; a message through the proxy may have %d", s.limits.Message))
	case errors.Is(err, errSequence):
		return fatal(1156, "08S01", "Got packets out of order")
	}
	return err
}

// reply appends a message to what goes to the client.
func (s *session) reply(payload []byte) {
	s.out = appendMessage(s.out, &s.seq, payload)
	s.whole = len(s.out)
}

// replyErr answers with an error of ours. A fatal one is returned.
func (s *session) replyErr(err error) error {
	w := toWire(err)
	if w.fatal {
		return w
	}
	s.reply(appendErr(nil, w, s.caps))
	return nil
}

// replyOK answers a command that did nothing to rows.
func (s *session) replyOK() {
	s.reply(appendOK(nil, headOK, &ended{status: s.status &^ (statusMoreResults | statusCursor | statusLastRow)}, s.caps))
}

// flush records, then writes to the client.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	if err := s.sess.Flush(); err != nil {
		s.out, s.whole = s.out[:0], 0 // nothing that is not recorded leaves
		w := *toWire(err)
		w.fatal = true
		return &w
	}
	_, err := s.client.Write(s.out)
	s.out = s.out[:0]
	if s.whole >= 0 {
		s.whole = 0
	}
	if cap(s.out) > 4*bufferSize {
		s.out = nil
	}
	return err
}

// send writes a command upstream under a ticket.
func (s *session) send(t protocols.Ticket, command []byte) error {
	s.useq = 0
	if err := s.up.Send(t, appendMessage(nil, &s.useq, command)); err != nil {
		return &upstreamError{err}
	}
	return nil
}

// control writes a command of the wire's own.
func (s *session) control(kind protocols.Control, command []byte) error {
	s.useq = 0
	if err := s.up.Control(kind, appendMessage(nil, &s.useq, command)); err != nil {
		return &upstreamError{err}
	}
	s.ur.seq = s.useq
	if err := s.up.Flush(); err != nil {
		return &upstreamError{err}
	}
	return nil
}

// next reads the header of the upstream's next message.
func (s *session) next() (int, error) {
	n, err := s.ur.next()
	if err != nil {
		return 0, &upstreamError{err}
	}
	return n, nil
}

// message reads the upstream's next message whole.
func (s *session) message() ([]byte, error) {
	_, err := s.ur.next()
	if err == nil {
		var b []byte
		if b, err = s.ur.body(); err == nil && len(b) > 0 {
			return b, nil
		} else if err == nil {
			err = errAnswer
		}
	}
	return nil, &upstreamError{err}
}
