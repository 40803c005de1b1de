package postgres

import (
	"errors"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// copyMessage is the upstream's part of COPY but for its rows.
func (s *session) copyMessage(e *expect, typ byte, body []byte) error {
	t := e.ticket()
	if t == nil || t.Facts().Copy == nil {
		return errProtocol(typ, e)
	}
	switch {
	case typ == 'G' && t.Facts().Copy.In:
		s.copy.Store(&copyIn{ticket: t})
		s.q.wake()
	case typ == 'H' && !t.Facts().Copy.In:
		if err := s.beginCopy(t); err != nil {
			return err
		}
	case typ == 'c' && s.res != nil:
	default: // W, too: rows of a replication stream cannot be masked
		return errProtocol(typ, e)
	}
	return s.pass(typ, body)
}

// beginCopy binds masks to the columns that analysis gave: COPY does not
// announce them.
func (s *session) beginCopy(t protocols.Ticket) error {
	f := t.Facts()
	format := int16(0)
	if f.Copy.Format == "binary" {
		format = 1
	}
	announced := make([]protocols.ResultColumn, len(f.Outputs))
	for i, o := range f.Outputs {
		announced[i] = protocols.ResultColumn{Name: o.Name, Type: o.Type.Name, Kind: o.Type.Kind}
		if o.Type.Kind == "" {
			announced[i].Kind = kindOf(o.Type.Name)
		}
	}
	masks, err := t.Bind(announced)
	if err != nil {
		return wire(err)
	}
	c := &copyOut{f: f.Copy, cells: make([]cellMask, len(masks))}
	for i, m := range masks {
		if m == nil {
			continue
		}
		c.masked = true
		if c.cells[i], err = newCellMask(m, announced[i].Type, format, s.style); err != nil {
			return &wireError{severity: "ERROR", code: "0A000", message: "the mask of column " + quote(announced[i].Name) + " cannot be applied: " + err.Error()}
		}
	}
	s.res = &result{ticket: t, copy: c}
	return nil
}

// copyRow passes one CopyData of COPY TO on. PostgreSQL sends each row in one
// of its own, a binary header with the first.
func (s *session) copyRow(n int) error {
	if s.res == nil || s.res.copy == nil {
		return errProtocol('d', s.q.head())
	}
	r := s.res
	keep := true
	var err error
	if !r.copy.masked { // else it is counted as it is sent
		if keep, err = r.ticket.Row(n); err != nil {
			return wire(err)
		}
		if !keep || n > s.ur.max {
			return s.relay('d', n)
		}
	}
	body, err := s.ur.body()
	if err != nil {
		return s.overLimit(err)
	}
	var at int
	s.out, at = appendMessage(s.out, 'd')
	if s.out, err = r.copy.row(s.out, body); err != nil {
		return err
	}
	if r.copy.masked {
		if keep, err = r.ticket.Row(len(s.out) - at - 5); err != nil {
			return wire(err)
		}
	}
	s.out = endMessage(s.out, at)
	if keep && r.copy.kept != nil {
		return wire(r.ticket.Keep(r.copy.kept))
	}
	return nil
}

// copyData forwards a piece of COPY FROM under its ticket. Outside a COPY it
// is ignored, as PostgreSQL does.
func (s *session) copyData() error {
	c := s.copy.Load()
	if c == nil {
		return s.cr.skip()
	}
	s.startCopy(c)
	head, at := appendMessage(nil, 'd')
	head = endMessage(head, at)
	putLength(head[1:], s.cr.left+4)
	switch err := s.up.Send(c.ticket, head); {
	case errors.Is(err, protocols.ErrSpent): // the COPY has failed: ignored, as PostgreSQL does
		return s.cr.skip()
	case err != nil:
		return wire(err)
	}
	return s.cr.stream(func(b []byte) error {
		err := s.up.Send(c.ticket, b)
		if errors.Is(err, protocols.ErrSpent) { // in mid-message: the rest must be something
			return s.up.Control(protocols.ControlCopyAbort, make([]byte, len(b)))
		}
		return wire(err)
	})
}

// copyEnd is CopyDone or CopyFail.
func (s *session) copyEnd(typ byte, body []byte) error {
	c := s.copy.Load()
	if c == nil {
		return nil
	}
	s.startCopy(c)
	s.copy.CompareAndSwap(c, nil)
	if typ == 'f' {
		return s.up.Control(protocols.ControlCopyAbort, message('f', body))
	}
	if err := s.up.Send(c.ticket, message('c')); !errors.Is(err, protocols.ErrSpent) {
		return wire(err)
	}
	return nil
}

// noteCopies remembers that a COPY FROM is on its way.
func (s *session) noteCopies(tickets []protocols.Ticket) {
	for _, t := range tickets {
		if c := t.Facts().Copy; c != nil && c.In {
			s.copies = true
		}
	}
}

// awaitCopy returns once a COPY FROM that is on its way has asked for data, or
// will not: what a client sends after it means something else then. A client
// need not wait for the request itself.
func (s *session) awaitCopy() error {
	if !s.copies || s.copy.Load() != nil {
		return nil
	}
	if err := s.up.Flush(); err != nil {
		return err
	}
	s.copies = s.q.awaitCopy(func() bool { return s.copy.Load() != nil })
	s.q.catchUp(s)
	return nil
}

// unexpectedInCopy ends the session as PostgreSQL does when it is told
// something else while it copies in: it fails at the message's type, of which
// the upstream is told, and closes.
//
// Source: CopyGetData in postgres/src/backend/commands/copyfromparse.c.
func (s *session) unexpectedInCopy(typ byte) error {
	if err := send(s.up, protocols.ControlCopyAbort, message(typ)); err != nil {
		return err
	}
	if _, open := s.q.drain(); !open {
		return errUpstreamEnds
	}
	return fatal("08P01", fmt.Sprintf("unexpected message type 0x%02X during COPY from stdin", typ), "")
}

// startCopy takes out of the queue the Syncs that went before the first data:
// the upstream reads them while it copies in, and ignores them.
func (s *session) startCopy(c *copyIn) {
	if c.started {
		return
	}
	c.started = true
	s.q.dropSyncs()
}

func putLength(b []byte, n int) {
	b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
}

// copyOut rewrites the rows of COPY TO.
type copyOut struct {
	f      *facts.CopyFormat
	cells  []cellMask
	masked bool
	begun  bool // the header has passed
	field  []byte
	value  []byte
	kept   [][]byte // the row just written, for the record; nil for a header
}

var errCopy = errors.New("malformed COPY data from the upstream")

// row appends one row to dst.
func (c *copyOut) row(dst, b []byte) ([]byte, error) {
	c.kept = nil
	if c.f.Format == "binary" {
		return c.binary(dst, b)
	}
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return dst, errCopy
	}
	if c.f.Header && !c.begun {
		c.begun = true
		return append(dst, b...), nil
	}
	c.kept = make([][]byte, 0, len(c.cells))
	b = b[:len(b)-1]
	eol := "\n"
	if len(b) > 0 && b[len(b)-1] == '\r' && c.f.Format == "csv" {
		b, eol = b[:len(b)-1], "\r\n"
	}
	for i := range c.cells {
		if i > 0 {
			dst = append(dst, c.f.Delimiter)
		}
		var null, last bool
		var err error
		if c.f.Format == "csv" {
			c.field, null, b, last, err = c.csvField(c.field[:0], b)
		} else {
			c.field, null, b, last = c.textField(c.field[:0], b)
		}
		if err != nil || last != (i == len(c.cells)-1) {
			return dst, errors.Join(errCopy, err)
		}
		v := c.field
		if m := c.cells[i]; m != nil {
			if c.value, null, err = m(c.value[:0], c.field, null); err != nil {
				return dst, err
			}
			v = c.value
		}
		dst = c.write(dst, i, v, null)
	}
	return append(dst, eol...), nil
}

func (c *copyOut) write(dst []byte, i int, v []byte, null bool) []byte {
	if null {
		c.kept = append(c.kept, nil)
		return append(dst, c.f.Null...)
	}
	c.kept = append(c.kept, append([]byte{}, v...))
	if c.f.Format == "csv" {
		return c.writeCSV(dst, i, v)
	}
	return c.writeText(dst, v)
}
