package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
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
	s.q.catchUp()
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
		return s.forward(protocols.ControlFlush, &expect{}, message('H'))
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

// forward sends a control message with what it will be answered with. Flush
// has no answer.
func (s *session) forward(kind protocols.Control, e *expect, msg []byte) error {
	if kind == protocols.ControlFlush {
		if err := s.up.Control(kind, msg); err != nil {
			return err
		}
		return s.up.Flush()
	}
	if !s.q.push(e) {
		return nil
	}
	return s.up.Control(kind, msg)
}

// settle waits for the answers of what is outstanding, where the next
// decision may depend on it. ok is false where the message is to be dropped:
// the pipeline has failed.
func (s *session) settle(all bool) (ok bool, err error) {
	s.q.mu.Lock()
	need := len(s.q.list) > 0 && (all || s.q.changes > 0)
	failed := s.q.failed
	s.q.mu.Unlock()
	if failed {
		return false, nil
	}
	if !need {
		return true, nil
	}
	if s.unsynced {
		if err := s.up.Control(protocols.ControlFlush, message('H')); err != nil {
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
	s.q.catchUp()
	return !failed, nil
}

// admit asks the engine, with a fresher schema once where a name was unknown.
func (s *session) admit(ctx context.Context, u protocols.Unit, params []bound) ([]protocols.Ticket, error) {
	u.Fresh = func(ctx context.Context) (*catalog.View, error) { return s.currentView(ctx, s.status.Load() != 'E') }
	u.Plan = func(ctx context.Context, text string) (facts.Plan, error) { return s.plan(text, params) }
	for fresh := false; ; fresh = true {
		view, err := s.currentView(ctx, fresh)
		if err != nil {
			return nil, err
		}
		u.View = view
		u.InTransaction, u.Pending = s.status.Load() != 'I', s.unsynced
		ctx, done := s.watchHold(ctx, &u)
		tickets, err := s.sess.Admit(ctx, u)
		done()
		var p *facts.Problem
		if fresh || !errors.As(err, &p) || !p.Undefined || s.status.Load() == 'E' {
			return tickets, err
		}
	}
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
	msg := message('Q', body) // what is decided on is what is sent: a hold reads the client ahead, over body
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Query, Text: text}, nil)
	if err != nil {
		return s.refuseQuery(err, text)
	}
	s.unsynced = false
	s.noteCopies(tickets)
	if len(tickets) == 0 { // nothing but comments: answered as the upstream would
		return s.answerHere(message('I'))
	}
	if err := s.expectTickets(&expect{kind: expectQuery, tickets: tickets}); err != nil {
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
	if err := s.expectTickets(&expect{kind: expectQuery, refused: w}); err != nil {
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
func (s *session) refuseBy(name string, err error, text string, undo func()) error {
	w := toWire(err, text)
	if w.severity == "FATAL" {
		return w
	}
	s.unsynced = true
	b := appendString(appendString(nil, name), refusedText)
	e := &expect{kind: expectParse, refused: w, undo: undo, failed: func() {}}
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
	return s.forward(protocols.ControlSync, &expect{kind: expectSync, turn: s.turn}, message('S'))
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
	msg := message('F', body) // as in query
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.FunctionCall, Function: oid}, nil)
	if err != nil {
		return s.refuseQuery(err, "")
	}
	if err := s.expectTickets(&expect{kind: expectCall, tickets: tickets}); err != nil {
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

// message16 reads a count and that many 16-bit numbers.
func message16(f *fields) []int16 {
	n := f.count(2)
	if n == 0 {
		return nil
	}
	out := make([]int16, n)
	b := f.take(2 * n)
	if b == nil {
		return nil
	}
	for i := range out {
		out[i] = int16(binary.BigEndian.Uint16(b[2*i:]))
	}
	return out
}
