package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// reserved is the beginning of names that the proxy uses on the session.
const reserved = "sallyport"

// refusedText is always a syntax error: it goes in a refused statement's
// place, so that the upstream fails the transaction and skips to Sync as it
// would for an error of its own.
const refusedText = "sallyport refused this statement"

// ask reads the client, decides and forwards, until the client ends.
func (s *session) ask(ctx context.Context) error {
	for {
		if s.cr.buffered() == 0 {
			s.trim()
			if err := s.up.Flush(); err != nil {
				return err
			}
		}
		typ, n, err := s.cr.next()
		if err != nil {
			return s.askError(ctx, err)
		}
		if err := s.askOne(ctx, typ, n); err != nil {
			return err
		}
	}
}

// askError makes a client's broken message an error that it is told.
func (s *session) askError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var size *sizeError
	if errors.As(err, &size) {
		return fatal("08P01", "invalid message length", "A message may have up to "+strconv.Itoa(s.limits.Message)+" bytes.")
	}
	return err
}

func (s *session) askOne(ctx context.Context, typ byte, n int) error {
	s.q.catchUp(s)
	switch typ {
	case 'X':
		return errTerminate
	case 'S', 'H': // a COPY FROM ignores them
	default:
		if err := s.awaitCopy(); err != nil {
			return err
		}
	}
	if typ == 'd' {
		return s.copyData()
	}
	body, err := s.cr.body()
	if err != nil {
		return s.askError(ctx, err)
	}
	if s.copy.Load() != nil && !strings.ContainsRune("cfHS", rune(typ)) {
		return s.unexpectedInCopy(typ)
	}
	switch typ {
	case 'Q':
		return s.query(ctx, body)
	case 'P':
		return s.parse(ctx, body)
	case 'B':
		return s.bind(body)
	case 'D':
		return s.describe(body)
	case 'E':
		return s.execute(ctx, body)
	case 'C':
		return s.close(body)
	case 'H':
		if len(body) > 0 {
			return s.refuseExtended(failure("08P01", "invalid message format"), "")
		}
		if err := s.up.Control(protocols.ControlFlush, flushMessage); err != nil {
			return err
		}
		return s.up.Flush()
	case 'S':
		return s.sync(body)
	case 'F':
		return s.call(ctx, body)
	case 'c', 'f':
		return s.copyEnd(typ, body)
	}
	if _, err := s.settle(true); err != nil { // what was asked before is answered before
		return err
	}
	return fatal("08P01", "invalid frontend message type "+strconv.Itoa(int(typ)), "")
}

var (
	flushMessage = message('H')
	syncMessage  = message('S')
)

// forward sends a control message with what it will be answered with.
func (s *session) forward(kind protocols.Control, e *expect, msg []byte) error {
	if !s.q.push(e) {
		return nil
	}
	return s.up.Control(kind, msg)
}

// settle waits for the answers of what is outstanding, where the next
// decision may depend on it. ok is false where the message is to be dropped:
// the pipeline has failed.
func (s *session) settle(all bool) (ok bool, err error) {
	if s.q.failed.Load() {
		return false, nil
	}
	if s.q.head() == nil || !all && s.q.changes.Load() == 0 {
		s.q.catchUp(s) // what was outstanding a moment ago
		return true, nil
	}
	if s.unsynced {
		if err := s.up.Control(protocols.ControlFlush, flushMessage); err != nil {
			return false, err
		}
	}
	if err := s.up.Flush(); err != nil {
		return false, err
	}
	failed, open := s.q.drain()
	if !open {
		return false, errUpstreamEnds
	}
	s.q.catchUp(s)
	return !failed, nil
}

// admit asks the engine, with a fresher schema once where a name was unknown.
func (s *session) admit(ctx context.Context, u protocols.Unit, params []bound) ([]protocols.Ticket, error) {
	a := s.askWith(&u, params)
	for fresh := false; ; fresh = true {
		view, err := s.currentView(ctx, fresh)
		if err != nil {
			return nil, err
		}
		u.View = view
		u.InTransaction, u.Pending = s.status.Load() != 'I', s.unsynced
		tickets, err := s.sess.Admit(a.context(ctx), u)
		s.holdEnded(ctx)
		if err == nil || fresh || !undefined(err) || s.status.Load() == 'E' {
			return tickets, err
		}
	}
}

// undefined says that a name is not known, which a fresher schema may have.
func undefined(err error) bool {
	var p *facts.Problem
	return errors.As(err, &p) && p.Undefined
}

// query is a simple query: all its statements are decided before any is
// forwarded.
func (s *session) query(ctx context.Context, body []byte) error {
	f := fields{b: body}
	text := f.string()
	if ok, err := s.settle(true); !ok {
		return err
	}
	if e := f.malformed(); e != nil {
		return s.refuseQuery(e, "")
	}
	msg := s.askFor('Q', body)
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Query, Text: text}, nil)
	if err != nil {
		return s.refuseQuery(err, text)
	}
	s.unsynced = false
	s.noteCopies(tickets)
	if len(tickets) == 0 { // nothing but comments: answered as the upstream would
		return s.answerHere(message('I'))
	}
	e := s.q.expect(expectQuery)
	e.tickets = tickets
	if err := s.expectTickets(e); err != nil {
		return err
	}
	for _, t := range tickets[1:] { // first: once the text is out, they may be spent at any time
		if err := s.up.Send(t, nil); err != nil {
			return toWire(err, text)
		}
	}
	if err := s.up.Send(tickets[0], msg); err != nil {
		return toWire(err, text)
	}
	return nil
}

// expectTickets pushes what takes the place of a pipeline and its Sync.
func (s *session) expectTickets(e *expect) error {
	s.turn++
	e.turn = s.turn
	if !s.q.push(e) {
		return errors.New("a simple query in a failed pipeline")
	}
	return nil
}

// refuseQuery answers a refused simple query. In a transaction or a pipeline
// the upstream must fail too.
func (s *session) refuseQuery(err error, text string) error {
	w := toWire(err, text)
	if w.severity == "FATAL" {
		return w
	}
	if s.status.Load() == 'I' && !s.unsynced {
		return s.answerHere(appendError(nil, w))
	}
	s.unsynced = false
	e := s.q.expect(expectQuery)
	e.refused = w
	if err := s.expectTickets(e); err != nil {
		return err
	}
	return s.up.Control(protocols.ControlRefuse, message('Q', appendString(nil, refusedText)))
}

// answerHere answers without the upstream; nothing is outstanding.
func (s *session) answerHere(msg []byte) error {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	s.out = append(s.out, msg...)
	s.out = append(s.out, message('Z', []byte{byte(s.status.Load())})...)
	return s.flush()
}

// refuseExtended puts a Parse that always fails in the refused message's
// place.
func (s *session) refuseExtended(err error, text string) error {
	return s.refuseBy(reserved, err, text, nil)
}

// refuseBy does so under a statement's name; undo is for where the upstream
// does not get as far.
func (s *session) refuseBy(name string, err error, text string, undo effect) error {
	w := toWire(err, text)
	if w.severity == "FATAL" {
		return w
	}
	s.unsynced = true
	b := appendString(appendString(nil, name), refusedText)
	e := s.q.expect(expectParse)
	e.refused, e.undo, e.failed = w, undo, noEffect{}
	return s.forward(protocols.ControlRefuse, e, message('P', append(b, 0, 0)))
}

func (s *session) sync(body []byte) error {
	if len(body) > 0 && s.copy.Load() == nil {
		if _, err := s.settle(true); err != nil {
			return err
		}
		return s.refuseQuery(failure("08P01", "invalid message format"), "")
	}
	s.unsynced = false
	if c := s.copy.Load(); c != nil {
		return nil // as PostgreSQL does while it copies in
	}
	s.turn++
	e := s.q.expect(expectSync)
	e.turn = s.turn
	return s.forward(protocols.ControlSync, e, syncMessage)
}

// call is the function-call fast path.
func (s *session) call(ctx context.Context, body []byte) error {
	f := fields{b: body}
	oid := f.uint32()
	if ok, err := s.settle(true); !ok {
		return err
	}
	if f.bad {
		return s.refuseQuery(f.malformed(), "")
	}
	msg := s.askFor('F', body)
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.FunctionCall, Function: oid}, nil)
	if err != nil {
		return s.refuseQuery(err, "")
	}
	e := s.q.expect(expectCall)
	e.tickets = tickets
	if err := s.expectTickets(e); err != nil {
		return err
	}
	if err := s.up.Send(tickets[0], msg); err != nil {
		return toWire(err, "")
	}
	return nil
}

// reservedName refuses names that the proxy uses itself.
func reservedName(name string) error {
	if strings.HasPrefix(name, reserved) {
		return &wireError{severity: "ERROR", code: "42939", message: "names that begin with " + reserved + " are the proxy's own"}
	}
	return nil
}
