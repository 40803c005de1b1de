package postgres

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// portal is a bound statement. Its ticket is that of its execution, which a
// suspended one continues.
type portal struct {
	name    string
	stmt    *statement
	params  []bound
	formats []int16
	view    *catalog.View // as of Bind
	turn    int
	ticket  protocols.Ticket
	done    bool // ran to its end

	described bool     // its columns, or its statement's, were asked for
	columns   []column // of the goroutine that answers, once described

	// Until BindComplete: what had its name.
	old      *portal
	cursor   *facts.Facts
	declared bool

	paramFormats []int16
	values       []byte        // where params are
	decoded      []facts.Param // as they were decided on last
}

// portals are a session's. Most clients know the unnamed one only.
type portals struct {
	unnamed *portal
	named   map[string]*portal
}

// get is nil where there is none.
func (p *portals) get(name []byte) *portal {
	if len(name) == 0 {
		return p.unnamed
	}
	return p.named[string(name)]
}

// set forgets the name where q is nil.
func (p *portals) set(name string, q *portal) {
	switch {
	case name == "":
		p.unnamed = q
	case q == nil:
		delete(p.named, name)
	default:
		if p.named == nil {
			p.named = map[string]*portal{}
		}
		p.named[name] = q
	}
}

// bind makes a portal. It goes under the ticket of its Parse.
func (s *session) bind(body []byte) error {
	f := fields{b: body}
	name, stmtName := f.string(), f.text()
	p := s.newPortal()
	p.read(&f)
	if e := f.malformed(); e != nil { // wrong counts and formats are for the upstream to refuse
		return s.refuseExtended(e, "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	if err := reservedName(name); err != nil {
		return s.refuseExtended(err, "")
	}
	st := s.stmts[string(stmtName)]
	if st == nil {
		return s.refuseExtended(missing("26000", "prepared statement", string(stmtName)), "")
	}
	if st.sql {
		return s.refuseExtended(&wireError{severity: "ERROR", code: "0A000", message: "a statement made by PREPARE can be run by EXECUTE only"}, "")
	}
	p.name, p.stmt, p.view, p.turn, p.described = name, st, s.view.view, s.turn, st.described && !st.fetches()
	p.keep()
	e := s.q.expect(expectBind)
	e.portal = p
	if old := s.portals.get([]byte(name)); old == nil || name == "" {
		p.old = old
		p.cursor, p.declared = s.view.dropCursor(name)
		s.portals.set(name, p)
		e.undo = (*unbind)(p)
	}
	s.unsynced = true
	if !s.q.push(e) {
		return nil
	}
	if st.ticket == nil {
		return s.up.Control(protocols.ControlOwn, s.message('B', body))
	}
	return wire(s.up.Send(st.ticket, s.message('B', body)))
}

// read takes what a Bind says of parameters and formats. The values are the
// body's own until keep.
func (p *portal) read(f *fields) {
	p.paramFormats = numbers(p.paramFormats[:0], f)
	p.params = p.params[:0]
	for range f.count(4) {
		b := bound{}
		if size := f.int32(); size >= 0 {
			b.value = f.take(int(size))
		} else if b.null = true; size != -1 {
			f.bad = true
		}
		if f.bad {
			return
		}
		p.params = append(p.params, b)
	}
	p.formats = numbers(p.formats[:0], f)
}

// numbers appends a count's 16-bit numbers to dst.
func numbers(dst []int16, f *fields) []int16 {
	b := f.take(2 * f.count(2))
	for ; len(b) >= 2; b = b[2:] {
		dst = append(dst, int16(binary.BigEndian.Uint16(b)))
	}
	return dst
}

// keep copies the parameters' values, and puts together what Parse and Bind say
// of them.
func (p *portal) keep() {
	p.values = p.values[:0]
	types, formats := p.stmt.types, p.paramFormats
	for i := range p.params {
		b := &p.params[i]
		at := len(p.values)
		p.values = append(p.values, b.value...)
		b.value = p.values[at:len(p.values):len(p.values)]
		if len(formats) == 1 {
			b.format = formats[0]
		} else if i < len(formats) {
			b.format = formats[i]
		}
		if i < len(types) {
			b.typ = types[i]
		}
	}
}

// unbind takes a Bind back.
type unbind portal

func (u *unbind) do(s *session) {
	p := (*portal)(u)
	if s.portals.get([]byte(p.name)) == p {
		s.portals.set(p.name, p.old)
	}
	if p.declared {
		s.view.declare(p.name, p.cursor)
	}
}

// newPortal is a portal without anything.
func (s *session) newPortal() *portal {
	p := s.spare
	if s.spare = nil; p == nil {
		p = &portal{}
	}
	return p
}

// Bounds of what a portal keeps to be used again: values in bytes, parameters.
const (
	maxValues = 512
	maxParams = 16
)

// reuse keeps a portal that has ended for the next one, where no answer can
// concern it any more.
func (s *session) reuse(p *portal) {
	if s.spare != nil || s.q.head() != nil || cap(p.values) > maxValues || cap(p.params) > maxParams || cap(p.formats) > manyColumns {
		return
	}
	clear(p.params[:cap(p.params)])
	clear(p.decoded[:cap(p.decoded)])
	*p = portal{params: p.params[:0], formats: p.formats[:0], paramFormats: p.paramFormats[:0], values: p.values[:0], decoded: p.decoded[:0]}
	s.spare = p
}

// execute decides with the bound values and runs the portal.
func (s *session) execute(ctx context.Context, body []byte) error {
	f := fields{b: body}
	name := f.text()
	f.int32()
	if e := f.malformed(); e != nil {
		return s.refuseExtended(e, "")
	}
	if ok, err := s.settle(false); !ok {
		return err
	}
	p := s.portals.get(name)
	if p == nil {
		return s.refuseExtended(missing("34000", "portal", string(name)), "")
	}
	msg := s.askFor('E', body)
	s.unsynced = true
	ran := p.done
	if ran {
		p.ticket, p.done = nil, false
	}
	if p.ticket != nil { // suspended: the same statement goes on
		e := s.q.expect(expectExecute)
		e.portal, e.tickets = p, []protocols.Ticket{p.ticket}
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
	p.decoded = decodeParams(p.decoded[:0], p.params)
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Execute, Text: p.stmt.text, Params: p.decoded}, p.params)
	if err != nil {
		return s.refuseExtended(err, p.stmt.text)
	}
	s.noteCopies(tickets)
	if len(tickets) == 0 {
		e := s.q.expect(expectExecute)
		if e.portal = p; !s.q.push(e) {
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
	if err := s.describePortal(p); err != nil {
		return err
	}
	p.ticket = tickets[0]
	e := s.q.expect(expectExecute)
	e.portal, e.tickets, e.undo = p, tickets, (*unexecute)(p)
	if !s.q.push(e) {
		return tickets[0].Done(protocols.Outcome{Skipped: true})
	}
	return wire(s.up.Send(tickets[0], msg))
}

// describePortal asks for the portal's columns where the client did not: the
// rows' types decide how they are masked, and their origin is checked.
func (s *session) describePortal(p *portal) error {
	if p.described {
		return nil
	}
	p.described = true
	e := s.q.expect(expectDescribe)
	e.portal, e.swallow = p, true
	return s.forward(protocols.ControlDescribe, e, message('D', []byte{'P'}, appendString(nil, p.name)))
}

// unexecute takes an Execute back.
type unexecute portal

func (u *unexecute) do(*session) { u.ticket = nil }

// finished is a portal that has run to its end.
type finished portal

func (f *finished) do(*session) { f.done = true }
