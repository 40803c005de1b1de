package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// result is one statement's rows on their way.
type result struct {
	ticket  protocols.Ticket
	columns []column
	cells   []cellMask // nil for clear columns; nil as a whole where all are
	keep    [][]byte   // scratch for the record
	render  []byte
	copy    *copyOut
}

// begin binds the masks of a result before its first row.
func (s *session) begin(e *expect, cols []column) error {
	t := e.ticket()
	if t == nil {
		return errors.New("the upstream sent rows for what was not admitted")
	}
	l := s.announce(cols)
	masks, err := t.Bind(l.announced)
	if err != nil {
		return wire(err)
	}
	if !same(masks, l.masks) || l.style != s.style {
		cells, err := s.cellMasks(masks, l.announced, cols)
		if err != nil {
			return err
		}
		l.masks, l.style, l.cells = masks, s.style, cells
	}
	s.room.ticket, s.room.columns, s.room.cells = t, cols, l.cells
	s.res = &s.room
	return nil
}

// endRows forgets the result that was coming, but for room for the next one.
func (s *session) endRows() {
	if r := s.res; r != nil {
		clear(r.keep[:cap(r.keep)]) // a reader's buffer is nobody's here any more
		s.room = result{keep: r.keep[:0], render: r.render[:0]}
		if cap(r.keep) > manyColumns || cap(r.render) > idleBuffer {
			s.room = result{}
		}
		if len(s.last.of) > manyColumns {
			s.last = lastRows{}
		}
	}
	s.res = nil
}

// row passes one DataRow on, masked.
func (s *session) row(n int) error {
	if s.res == nil {
		e := s.q.head()
		if e != nil && e.kind == expectOwn {
			body, err := s.ur.body()
			if err != nil {
				return err
			}
			return e.own.row(body)
		}
		if e == nil || e.kind != expectExecute || e.portal == nil {
			return errProtocol('D', e)
		}
		cols := e.portal.columns
		if cols == nil && e.portal.stmt.columns != nil {
			cols = e.portal.stmt.inFormats(e.portal.formats)
		}
		if cols == nil {
			return errors.New("the upstream sent rows that it had not described")
		}
		if err := s.begin(e, cols); err != nil {
			return err
		}
	}
	if s.res.cells == nil {
		return s.clearRow(n)
	}
	return s.maskedRow()
}

// clearRow passes a row on as it is.
func (s *session) clearRow(n int) error {
	keep, err := s.res.ticket.Row(n)
	if err != nil {
		return wire(err)
	}
	if !keep || n > s.ur.max {
		return s.relay('D', n)
	}
	body, err := s.ur.body()
	if err != nil {
		return err
	}
	at := len(s.out)
	if err := s.pass('D', body); err != nil {
		return err
	}
	return s.res.record(s.out[at+5:])
}

// maskedRow holds a row to mask it. It is counted as it is sent: its size
// upstream tells of the values.
func (s *session) maskedRow() error {
	body, err := s.ur.body()
	if err != nil {
		return s.overLimit(err)
	}
	at := len(s.out)
	if s.out, err = s.res.mask(s.out, body); err != nil {
		return err
	}
	keep, err := s.res.ticket.Row(len(s.out) - at - 5)
	if err != nil || !keep {
		return wire(err)
	}
	return s.res.record(s.out[at+5:])
}

// overLimit makes an error of a row that is too large to be masked.
func (s *session) overLimit(err error) error {
	var size *sizeError
	if !errors.As(err, &size) {
		return err
	}
	return &wireError{severity: "ERROR", code: "54000", message: fmt.Sprintf("a row with a masked column is over the limit of %d bytes", s.ur.max),
		hint: "limits.row in the policy or configuration is the limit."}
}

// relay passes a message on as it is, however large.
func (s *session) relay(typ byte, n int) error {
	var at int
	s.out, at = appendMessage(s.out, typ)
	binary.BigEndian.PutUint32(s.out[at+1:], uint32(n+4))
	err := s.ur.stream(func(b []byte) error {
		s.out = append(s.out, b...)
		if len(s.out) < bufferSize {
			return nil
		}
		s.whole = -1 // half a message is with the client
		return s.flush()
	})
	if err == nil {
		s.whole = len(s.out)
	}
	return err
}

var errRow = errors.New("malformed DataRow from the upstream")

// mask appends the row to dst with its classed cells masked.
func (r *result) mask(dst, body []byte) ([]byte, error) {
	dst, at := appendMessage(dst, 'D')
	if len(body) < 2 || int(binary.BigEndian.Uint16(body)) != len(r.columns) {
		return dst, errRow
	}
	dst = append(dst, body[:2]...)
	b := body[2:]
	for i := range r.columns {
		if len(b) < 4 {
			return dst, errRow
		}
		n := int32(binary.BigEndian.Uint32(b))
		if n < -1 || int(n) > len(b)-4 {
			return dst, errRow
		}
		var cell []byte
		if n >= 0 {
			cell = b[4 : 4+n : 4+n]
		}
		if m := r.cells[i]; m == nil {
			dst = append(dst, b[:4+max(n, 0)]...)
		} else {
			size := len(dst)
			dst = append(dst, 0, 0, 0, 0)
			var null bool
			var err error
			if dst, null, err = m(dst, cell, n < 0); err != nil {
				return dst, err
			}
			length := uint32(len(dst) - size - 4)
			if null {
				dst, length = dst[:size+4], 0xffffffff
			}
			binary.BigEndian.PutUint32(dst[size:], length)
		}
		b = b[4+max(n, 0):]
	}
	if len(b) != 0 {
		return dst, errRow
	}
	return endMessage(dst, at), nil
}

// record gives a row, as sent, to the transcript. Cells of binary columns are
// written as text where the type is known.
func (r *result) record(body []byte) error {
	f := fields{b: body}
	n := f.count(4)
	if n != len(r.columns) {
		return errRow
	}
	r.keep, r.render = r.keep[:0], r.render[:0]
	for i := range n {
		size := f.int32()
		if size < 0 {
			r.keep = append(r.keep, nil)
			continue
		}
		cell := f.take(int(size))
		if cell == nil && size > 0 {
			return errRow
		}
		if r.columns[i].format == 1 {
			at := len(r.render)
			r.render = renderBinary(r.render, r.columns[i].typ, cell)
			cell = r.render[at:len(r.render):len(r.render)]
		}
		if cell == nil {
			cell = []byte{}
		}
		r.keep = append(r.keep, cell)
	}
	if !f.done() {
		return errRow
	}
	return wire(r.ticket.Keep(r.keep))
}
