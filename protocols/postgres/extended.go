package postgres

import (
	"context"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// parse prepares a statement: what lineage forbids is refused here, rules are
// asked at Execute.
func (s *session) parse(ctx context.Context, body []byte) error {
	f := fields{b: body}
	name, words := f.string(), f.text()
	types := make([]uint32, f.count(4))
	for i := range types {
		types[i] = f.uint32()
	}
	if e := f.malformed(); e != nil {
		return s.refuseExtended(e, "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	old, taken := s.stmts[name]
	text := ""
	if taken && old.text == string(words) {
		text = old.text // the same again
	} else {
		text = string(words)
	}
	if err := reservedName(name); err != nil {
		return s.refuseParse(name, err, text)
	}
	msg := s.askFor('P', body)
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Prepare, Text: text}, nil)
	if err != nil {
		return s.refuseParse(name, err, text)
	}
	if len(tickets) > 1 {
		return s.refuseParse(name, failure("42601", "cannot insert multiple commands into a prepared statement"), text)
	}
	st := &statement{name: name, text: text, types: types}
	e := s.q.expect(expectParse)
	e.stmt = st
	if len(tickets) == 1 {
		st.ticket, e.tickets = tickets[0], tickets
	}
	s.prepare(e)
	s.unsynced = true
	if !s.q.push(e) {
		return nil
	}
	if st.ticket == nil {
		return s.up.Control(protocols.ControlOwn, msg) // an empty text: nothing to admit
	}
	return wire(s.up.Send(st.ticket, msg))
}

// prepare gives a statement its name. A name that is taken makes the upstream
// refuse: the old one stays.
func (s *session) prepare(e *expect) {
	st := e.stmt
	old, taken := s.stmts[st.name]
	if taken && st.name != "" {
		return
	}
	st.old = old
	s.stmts[st.name] = st
	s.view.dropPrepared(st.name) // it can only be a stale one
	e.undo = (*unparse)(st)
	if st.name == "" {
		e.failed = forgetUnnamed{}
	}
}

// unparse takes a Parse back.
type unparse statement

func (u *unparse) do(s *session) {
	if st := (*statement)(u); s.stmts[st.name] == st {
		s.restoreStatement(st.name, st.old)
	}
}

// forgetUnnamed is what PostgreSQL does with the unnamed statement before it
// looks at the text of the next one.
type forgetUnnamed struct{}

func (forgetUnnamed) do(s *session) { delete(s.stmts, "") }

// refuseParse refuses a Parse. Where it was to make the unnamed statement the
// upstream is made to forget the one before.
func (s *session) refuseParse(name string, err error, text string) error {
	if name != "" {
		return s.refuseExtended(err, text)
	}
	old := s.stmts[""]
	forgetUnnamed{}.do(s)
	return s.refuseBy("", err, text, effectFunc(func() { s.restoreStatement("", old) }))
}

func (s *session) restoreStatement(name string, old *statement) {
	if old == nil {
		delete(s.stmts, name)
	} else {
		s.stmts[name] = old
	}
}

// wire makes an error of the engine's one that the client can be told.
func wire(err error) error {
	if err == nil {
		return nil
	}
	return toWire(err, "")
}

// fetches says that the statement's columns are a cursor's: which one's, is
// known once a portal is bound.
func (st *statement) fetches() bool {
	if st.ticket == nil || len(st.ticket.Facts().Effects) == 0 {
		return false
	}
	verb := st.ticket.Facts().Effects[0].Verb
	return verb == "FETCH" || verb == "MOVE"
}

func missing(code, what, name string) *wireError {
	if name == "" && what != "portal" { // as PostgreSQL says it
		return failure(code, "unnamed "+what+" does not exist")
	}
	return failure(code, what+" "+quote(name)+" does not exist")
}

// describe asks for the columns of what was admitted.
func (s *session) describe(body []byte) error {
	f := fields{b: body}
	kind, name := f.byte(), f.text()
	if e := f.malformed(); e != nil {
		return s.refuseExtended(e, "")
	}
	if kind != 'S' && kind != 'P' {
		return s.refuseExtended(failure("08P01", fmt.Sprintf("invalid DESCRIBE message subtype %d", kind)), "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	e := s.q.expect(expectDescribe)
	if kind == 'S' {
		if e.stmt = s.stmts[string(name)]; e.stmt != nil {
			e.stmt.described = true
		}
	} else if e.portal = s.portals.get(name); e.portal != nil {
		e.portal.described = true
	}
	s.unsynced = true
	return s.forward(protocols.ControlDescribe, e, s.message('D', body))
}

// close forgets a statement or portal.
func (s *session) close(body []byte) error {
	f := fields{b: body}
	kind, name := f.byte(), f.string()
	if e := f.malformed(); e != nil {
		return s.refuseExtended(e, "")
	}
	if kind != 'S' && kind != 'P' {
		return s.refuseExtended(failure("08P01", fmt.Sprintf("invalid CLOSE message subtype %d", kind)), "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	e := s.q.expect(expectClose)
	if kind == 'S' {
		if old, ok := s.stmts[name]; ok {
			delete(s.stmts, name)
			s.view.dropPrepared(name)
			e.undo = effectFunc(func() { s.stmts[name] = old })
		}
	} else {
		old := s.portals.get([]byte(name))
		s.portals.set(name, nil)
		cursor, declared := s.view.dropCursor(name)
		e.undo = effectFunc(func() {
			if old != nil {
				s.portals.set(name, old)
			}
			if declared {
				s.view.declare(name, cursor)
			}
		})
	}
	s.unsynced = true
	return s.forward(protocols.ControlClose, e, s.message('C', body))
}
