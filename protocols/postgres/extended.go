package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// parse prepares a statement: what lineage forbids is refused here, rules are
// asked at Execute.
func (s *session) parse(ctx context.Context, body []byte) error {
	f := fields{b: body}
	name, text := f.string(), f.string()
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
	if err := reservedName(name); err != nil {
		return s.refuseParse(name, err, text)
	}
	msg := message('P', body) // as in query
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Prepare, Text: text}, nil)
	if err != nil {
		return s.refuseParse(name, err, text)
	}
	if len(tickets) > 1 {
		return s.refuseParse(name, failure("42601", "cannot insert multiple commands into a prepared statement"), text)
	}
	st := &statement{name: name, text: text, types: types}
	e := &expect{kind: expectParse, stmt: st}
	var ticket protocols.Ticket
	if len(tickets) == 1 {
		ticket = tickets[0]
		st.ticket = ticket
		e.tickets = tickets
	}
	// A name that is taken makes the upstream refuse: the old one stays.
	if old, taken := s.stmts[name]; !taken || name == "" {
		s.stmts[name] = st
		s.view.dropPrepared(name) // it can only be a stale one
		e.undo = func() {
			if s.stmts[name] == st {
				s.restoreStatement(name, old)
			}
		}
		if name == "" {
			e.failed = s.forgetUnnamed
		}
	}
	s.unsynced = true
	if !s.q.push(e) {
		return nil
	}
	if ticket == nil {
		return s.up.Control(protocols.ControlOwn, msg) // an empty text: nothing to admit
	}
	return wire(s.up.Send(ticket, msg))
}

// refuseParse refuses a Parse. PostgreSQL forgets the unnamed statement before
// it looks at the text of the next one, so the upstream is made to.
func (s *session) refuseParse(name string, err error, text string) error {
	if name != "" {
		return s.refuseExtended(err, text)
	}
	old := s.stmts[""]
	s.forgetUnnamed()
	return s.refuseBy("", err, text, func() { s.restoreStatement("", old) })
}

func (s *session) forgetUnnamed() { delete(s.stmts, "") }

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

// bind makes a portal. It goes under the ticket of its Parse.
func (s *session) bind(body []byte) error {
	f := fields{b: body}
	name, stmtName := f.string(), f.string()
	paramFormats := message16(&f)
	n := f.count(4)
	raw := make([][]byte, n)
	for i := range raw {
		if size := f.int32(); size >= 0 {
			raw[i] = f.take(int(size))
		} else if size != -1 {
			f.bad = true
		}
	}
	formats := message16(&f)
	if e := f.malformed(); e != nil { // wrong counts and formats are for the upstream to refuse
		return s.refuseExtended(e, "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	if err := reservedName(name); err != nil {
		return s.refuseExtended(err, "")
	}
	st := s.stmts[stmtName]
	if st == nil {
		return s.refuseExtended(missing("26000", "prepared statement", stmtName), "")
	}
	if st.sql {
		return s.refuseExtended(&wireError{severity: "ERROR", code: "0A000", message: "a statement made by PREPARE can be run by EXECUTE only"}, "")
	}
	p := &portal{name: name, stmt: st, formats: formats, params: bindParams(st.types, paramFormats, raw), view: s.view.view,
		turn: s.turn, described: st.described && !st.fetches()}
	e := &expect{kind: expectBind, portal: p}
	old, taken := s.portals[name]
	if !taken || name == "" {
		cursor, declared := s.view.dropCursor(name)
		s.portals[name] = p
		e.undo = func() {
			if s.portals[name] == p {
				delete(s.portals, name)
				if old != nil {
					s.portals[name] = old
				}
			}
			if declared {
				s.view.declare(name, cursor)
			}
		}
	}
	s.unsynced = true
	if !s.q.push(e) {
		return nil
	}
	if st.ticket == nil {
		return s.up.Control(protocols.ControlOwn, message('B', body))
	}
	return wire(s.up.Send(st.ticket, message('B', body)))
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
	kind, name := f.byte(), f.string()
	if e := f.malformed(); e != nil {
		return s.refuseExtended(e, "")
	}
	if kind != 'S' && kind != 'P' {
		return s.refuseExtended(failure("08P01", fmt.Sprintf("invalid DESCRIBE message subtype %d", kind)), "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	e := &expect{kind: expectDescribe}
	if kind == 'S' {
		if e.stmt = s.stmts[name]; e.stmt != nil {
			e.stmt.described = true
		}
	} else if e.portal = s.portals[name]; e.portal != nil {
		e.portal.described = true
	}
	s.unsynced = true
	return s.forward(protocols.ControlDescribe, e, message('D', body))
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
	e := &expect{kind: expectClose}
	if kind == 'S' {
		if old, ok := s.stmts[name]; ok {
			delete(s.stmts, name)
			s.view.dropPrepared(name)
			e.undo = func() { s.stmts[name] = old }
		}
	} else {
		old, ok := s.portals[name]
		delete(s.portals, name)
		cursor, declared := s.view.dropCursor(name)
		e.undo = func() {
			if ok {
				s.portals[name] = old
			}
			if declared {
				s.view.declare(name, cursor)
			}
		}
	}
	s.unsynced = true
	return s.forward(protocols.ControlClose, e, message('C', body))
}

// execute decides with the bound values and runs the portal.
func (s *session) execute(ctx context.Context, body []byte) error {
	f := fields{b: body}
	name := f.string()
	f.int32()
	if e := f.malformed(); e != nil {
		return s.refuseExtended(e, "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	p := s.portals[name]
	if p == nil {
		return s.refuseExtended(missing("34000", "portal", name), "")
	}
	msg := message('E', body) // as in query
	s.unsynced = true
	ran := p.done
	if ran {
		p.ticket, p.done = nil, false
	}
	if p.ticket != nil { // suspended: the same statement goes on
		e := &expect{kind: expectExecute, portal: p, tickets: []protocols.Ticket{p.ticket}}
		if !s.q.push(e) {
			return nil
		}
		if err := s.up.Send(p.ticket, msg); !errors.Is(err, protocols.ErrSpent) {
			return wire(err)
		}
		// Its end has come just now: what follows is a run of its own.
		s.q.drop(e)
		p.ticket, ran = nil, true
	}
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Execute, Text: p.stmt.text, Params: decodeParams(p.params)}, p.params)
	if err != nil {
		return s.refuseExtended(err, p.stmt.text)
	}
	s.noteCopies(tickets)
	if len(tickets) == 0 {
		if !s.q.push(&expect{kind: expectExecute, portal: p}) {
			return nil
		}
		return s.up.Control(protocols.ControlOwn, msg)
	}
	if v := s.view.view; p.view != nil && v != p.view && !sameNames(v, p.view) {
		if ran || !s.rebinds(p, v) {
			_ = tickets[0].Done(protocols.Outcome{Skipped: true})
			return s.refuseExtended(&wireError{severity: "ERROR", code: "40001", message: "the portal was bound when names meant something else",
				hint: "Bind again: the search path, the role or the schema has changed since."}, "")
		}
		if pushed, err := s.rebind(p, v); err != nil || !pushed {
			return errors.Join(err, tickets[0].Done(protocols.Outcome{Skipped: true}))
		}
	}
	if !p.described {
		p.described = true
		// The rows' types decide how they are masked, and their origin is
		// checked: ask, whether or not the client did.
		e := &expect{kind: expectDescribe, portal: p, swallow: true}
		if err := s.forward(protocols.ControlDescribe, e, message('D', []byte{'P'}, appendString(nil, name))); err != nil {
			return err
		}
	}
	p.ticket = tickets[0]
	e := &expect{kind: expectExecute, portal: p, tickets: tickets, undo: func() { p.ticket = nil }}
	if !s.q.push(e) {
		return tickets[0].Done(protocols.Outcome{Skipped: true})
	}
	return wire(s.up.Send(tickets[0], msg))
}
