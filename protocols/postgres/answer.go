package postgres

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// answer reads the upstream, masks, records and writes to the client, until
// the upstream ends. It holds outMu except while it waits.
func (s *session) answer() error {
	defer s.q.end()
	s.outMu.Lock()
	defer s.outMu.Unlock()
	for {
		if s.ur.buffered() < 5 || len(s.out) >= bufferSize {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if s.ur.buffered() < 5 {
			if cap(s.out) > idleBuffer && s.q.head() == nil {
				s.out = nil // an idle session holds little
			}
			s.outMu.Unlock()
			err := s.ur.skip()
			if err == nil {
				err = s.ur.fill(5)
			}
			s.outMu.Lock()
			if err != nil {
				return err
			}
		}
		typ, n, err := s.ur.next()
		if err != nil {
			return err
		}
		s.whole = len(s.out)
		if s.stopping && (typ == 'D' || typ == 'd') {
			err = s.ur.skip()
		} else if typ == 'D' {
			err = s.row(n)
		} else if typ == 'd' {
			err = s.copyRow(n)
		} else {
			err = s.answerOne(typ)
		}
		if err != nil {
			if err = errors.Join(s.ur.skip(), s.stop(err)); err != nil {
				if s.whole >= 0 && s.whole <= len(s.out) {
					s.out = s.out[:s.whole] // no half message before the farewell
				}
				return errors.Join(s.flush(), err)
			}
		}
	}
}

// errProtocol is an upstream that answers what was not asked.
func errProtocol(typ byte, e *expect) error {
	if e == nil {
		return fmt.Errorf("the upstream sent %q where nothing was outstanding", typ)
	}
	return fmt.Errorf("the upstream sent %q for an expectation of kind %d", typ, e.kind)
}

func (s *session) answerOne(typ byte) error {
	body, err := s.ur.body()
	if err != nil {
		return err
	}
	if s.stopping {
		return s.drained(typ, body)
	}
	switch typ {
	case 'S':
		return s.parameterStatus(body)
	case 'A':
		return s.pass(typ, body)
	case 'N':
		if s.scrubbing() {
			s.out = scrub(s.out, body, 'N')
			return nil
		}
		return s.pass(typ, body)
	case 'E':
		return s.failed(body)
	}
	e := s.q.head()
	if e == nil {
		return errProtocol(typ, e)
	}
	if e.kind == expectOwn {
		return s.ownAnswer(e, typ, body)
	}
	switch typ {
	case '1':
		return s.acknowledged(e, expectParse, typ, body)
	case '2':
		return s.acknowledged(e, expectBind, typ, body)
	case '3':
		return s.acknowledged(e, expectClose, typ, body)
	case 't':
		return s.parameterTypes(e, body)
	case 'T', 'n':
		return s.description(e, typ, body)
	case 'C', 'I', 's':
		return s.completed(e, typ, body)
	case 'V':
		if e.kind != expectCall {
			return errProtocol(typ, e)
		}
		if err := s.finish(e, protocols.Outcome{Tag: "FUNCTION CALL"}); err != nil {
			return err
		}
		return s.pass(typ, body)
	case 'G', 'H', 'c', 'W':
		return s.copyMessage(e, typ, body)
	case 'Z':
		return s.ready(e, body)
	}
	return errProtocol(typ, e)
}

// acknowledged passes on that a message of the extended protocol was done.
func (s *session) acknowledged(e *expect, want expectKind, typ byte, body []byte) error {
	if e.kind != want {
		return errProtocol(typ, e)
	}
	if e.stmt != nil {
		e.stmt.old = nil // nothing is undone any more
	}
	if e.portal != nil {
		e.portal.old, e.portal.cursor = nil, nil
	}
	swallow := e.swallow
	if s.q.pop(); swallow {
		return nil
	}
	return s.pass(typ, body)
}

func (s *session) pass(typ byte, body []byte) error {
	var at int
	s.out, at = appendMessage(s.out, typ)
	s.out = endMessage(append(s.out, body...), at)
	return nil
}

func (s *session) parameterStatus(body []byte) error {
	f := fields{b: body}
	name, value := f.string(), f.string()
	if !f.done() {
		return errors.New("malformed ParameterStatus from the upstream")
	}
	if e := s.parameter(name, value); e != nil {
		return e
	}
	if name == "session_authorization" {
		return s.pass('S', appendString(appendString(nil, name), s.user))
	}
	return s.pass('S', body)
}

// ticket is that of the result which is coming.
func (e *expect) ticket() protocols.Ticket {
	if (e.kind == expectQuery || e.kind == expectExecute || e.kind == expectCall) && e.at < len(e.tickets) {
		return e.tickets[e.at]
	}
	return nil
}

// scrubbing says that what the upstream reports now may speak of classed
// values.
func (s *session) scrubbing() bool {
	if s.scrub {
		return true
	}
	e := s.q.head()
	if e == nil {
		return false
	}
	for _, t := range e.tickets {
		if t.Decision().Scrub {
			return true
		}
	}
	if e.portal != nil && e.portal.stmt.ticket != nil {
		return e.portal.stmt.ticket.Decision().Scrub
	}
	return false
}

// finish ends the ticket of the result that has come.
func (s *session) finish(e *expect, o protocols.Outcome) error {
	s.endRows()
	t := e.ticket()
	if t == nil {
		return nil
	}
	if t.Decision().Scrub {
		s.scrub = true // until the transaction ends: constraints may be deferred
	}
	if t.Change() != nil {
		var then effect = noEffect{}
		if o.Code == "" && !o.Skipped && !o.Lost {
			then = effectFunc(func() { s.succeed(t) })
		}
		s.q.later(then, true)
	}
	s.q.advance(e)
	s.executed++
	return wire(t.Done(o))
}

// largestTag bounds a command tag, in bytes: PostgreSQL's are shorter.
//
// Source: COMPLETION_TAG_BUFSIZE in postgres/src/include/tcop/cmdtag.h.
const largestTag = 64

// completed ends one statement's result.
func (s *session) completed(e *expect, typ byte, body []byte) error {
	if e.kind != expectQuery && e.kind != expectExecute {
		return errProtocol(typ, e)
	}
	if e.kind == expectQuery && e.at >= len(e.tickets) {
		return errors.New("the upstream sent more results than statements were admitted")
	}
	s.copy.Store(nil)
	if typ == 's' {
		s.endRows()
		s.q.pop()
		return s.pass(typ, body)
	}
	if tag := bytes.TrimSuffix(body, []byte{0}); string(tag) != s.tag {
		s.tag = string(tag[:min(len(tag), largestTag)])
	}
	if err := s.finish(e, protocols.Outcome{Tag: s.tag}); err != nil {
		return err
	}
	if e.kind == expectExecute {
		if p := e.portal; p != nil {
			s.q.popWith(outcome{effect: (*finished)(p)})
		} else {
			s.q.pop()
		}
	}
	return s.pass(typ, body)
}

// failed passes an error on, ends what it concerns, and skips to the next
// Sync as the upstream does.
func (s *session) failed(body []byte) error {
	e := s.q.head()
	r := readReport(body)
	s.copy.Store(nil)
	sent := r.message
	switch {
	case e != nil && e.swallow && e.kind == expectQuery:
	case e != nil && e.refused != nil && r.code == "42601":
		s.out = appendError(s.out, e.refused)
		sent = e.refused.message
	case e != nil && e.kind == expectOwn:
		own := &wireError{severity: "ERROR", code: r.code, message: "the proxy could not " + e.own.what + ": " + condition(r.code)}
		e.own.fail(own)
		if e.own.synced {
			return nil // its ReadyForQuery follows
		}
		s.out = appendError(s.out, own)
	case s.scrubbing():
		s.out = scrub(s.out, body, 'E')
		sent = condition(r.code)
	default:
		if err := s.pass('E', body); err != nil {
			return err
		}
	}
	if r.severity == "FATAL" || r.severity == "PANIC" {
		s.told = true
		return nil // the connection's end follows
	}
	if e == nil {
		return nil
	}
	if err := s.finish(e, protocols.Outcome{Code: r.code, Message: sent}); err != nil {
		return err
	}
	skipped := append(s.q.fail(), e)
	for _, x := range skipped {
		for x.ticket() != nil {
			if err := s.finish(x, protocols.Outcome{Skipped: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ready passes ReadyForQuery on.
func (s *session) ready(e *expect, body []byte) error {
	if len(body) != 1 || e.kind != expectSync && e.kind != expectQuery && e.kind != expectCall {
		return errProtocol('Z', e)
	}
	for e.kind == expectQuery && e.ticket() != nil { // nothing came for them: not run
		if err := s.finish(e, protocols.Outcome{Skipped: true}); err != nil {
			return err
		}
	}
	s.status.Store(int32(body[0]))
	s.executed = 0
	if body[0] == 'I' {
		s.scrub = false
		s.q.popWith(outcome{turn: e.turn})
	} else {
		s.q.pop()
	}
	return s.pass('Z', body)
}

// parameterTypes notes the types of a statement's parameters.
func (s *session) parameterTypes(e *expect, body []byte) error {
	if e.kind != expectDescribe {
		return errProtocol('t', e)
	}
	f := fields{b: body}
	types := make([]uint32, f.count(4))
	for i := range types {
		types[i] = f.uint32()
	}
	if !f.done() {
		return errors.New("malformed ParameterDescription from the upstream")
	}
	if st := e.stmt; st != nil {
		s.q.later(effectFunc(func() { st.types = types }), false)
	}
	return s.pass('t', body)
}

// description notes a result's columns. In a simple query it starts the
// result.
func (s *session) description(e *expect, typ byte, body []byte) error {
	var cols []column
	if typ == 'T' {
		var err error
		if cols, err = s.last.read(body); err != nil {
			return err
		}
	} else {
		cols = []column{}
	}
	switch e.kind {
	case expectDescribe:
		if e.stmt != nil {
			e.stmt.columns, e.stmt.formatted = cols, nil
		}
		if e.portal != nil {
			e.portal.columns = cols
		}
		swallow := e.swallow
		if s.q.pop(); swallow {
			return nil
		}
	case expectQuery:
		if typ != 'T' {
			return errProtocol(typ, e)
		}
		if err := s.begin(e, cols); err != nil {
			return err
		}
	default:
		return errProtocol(typ, e)
	}
	return s.pass(typ, body)
}
