package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// pending are the tickets whose results are coming, in order.
type pending struct {
	tickets []protocols.Ticket
	at      int
	binary  bool
	text    string
	st      *statement // of a prepared execution
	// fetching says that the rows are a part of an open cursor's.
	fetching bool
}

func (p *pending) ticket() protocols.Ticket {
	if p.at < len(p.tickets) {
		return p.tickets[p.at]
	}
	return nil
}

// open says that the current ticket may have further results.
func open(t protocols.Ticket) bool { return t.Facts().OpenResults || t.Facts().Unparsed != "" }

// done ends the current ticket.
func (p *pending) done(o protocols.Outcome) error {
	t := p.ticket()
	if t == nil {
		return nil
	}
	p.at++
	return t.Done(o)
}

// fail ends the current ticket with an error and the rest as not run.
func (p *pending) fail(o protocols.Outcome) error {
	for err := p.done(o); ; err = p.done(protocols.Outcome{Skipped: true}) {
		if err != nil || p.ticket() == nil {
			return err
		}
	}
}

// results relays all that a command is answered with, masked. Its error ends
// the session.
func (s *session) results(ctx context.Context, p *pending) error {
	for {
		more, err := s.oneResult(p)
		if err != nil {
			for p.ticket() != nil {
				_ = p.done(protocols.Outcome{Lost: true})
			}
			return err
		}
		if !more {
			return nil
		}
		if p.ticket() == nil {
			return &upstreamError{errors.New("results for what was not admitted")}
		}
	}
}

// oneResult relays one result; more says that another one follows.
func (s *session) oneResult(p *pending) (more bool, err error) {
	b, err := s.message()
	if err != nil {
		return false, err
	}
	switch b[0] {
	case headErr:
		return false, s.failed(p, b)
	case headOK:
		return s.finished(p, b)
	case headLocal:
		return s.localFile(p, string(b[1:]))
	}
	n, err := columnCount(b)
	if err != nil {
		return false, &upstreamError{err}
	}
	return s.resultSet(p, n)
}

// failed answers with the upstream's error.
func (s *session) failed(p *pending, b []byte) error {
	r, err := parseErr(b)
	if err != nil {
		return &upstreamError{err}
	}
	t := p.ticket()
	w := &wireError{code: r.code, state: r.state, message: r.message}
	if t == nil || t.Decision().Scrub {
		w = scrubbed(r)
	}
	if t != nil {
		s.diagnose(t)
		s.unsettle(t, r.code)
	}
	if err := p.fail(protocols.Outcome{Code: w.state, Message: w.message}); err != nil {
		return err
	}
	s.status &^= statusMoreResults
	s.reply(appendErr(nil, w, s.caps))
	return nil
}

// finished answers with the upstream's OK.
func (s *session) finished(p *pending, b []byte) (more bool, err error) {
	e, err := parseOK(b, s.upCaps)
	if err != nil {
		return false, &upstreamError{err}
	}
	if err := s.ends(p, &e, "", true); err != nil {
		return false, err
	}
	s.reply(appendOK(nil, headOK, &e, s.caps))
	return e.status&statusMoreResults != 0, nil
}

// ends takes the end of a result: what it says of the session, and what of it
// may be told. The tag is for the record, "" for how many rows are affected, as
// the client is told.
func (s *session) ends(p *pending, e *ended, tag string, whole bool) error {
	if err := s.track(e); err != nil {
		return err
	}
	t := p.ticket()
	if t == nil {
		return &upstreamError{errors.New("an answer to what was not admitted")}
	}
	if t.Decision().Scrub {
		hide(e)
	}
	s.diagnose(t)
	if open(t) && e.status&statusMoreResults != 0 && (!whole || p.at == len(p.tickets)-1) {
		return nil
	}
	s.succeed(t)
	if tag == "" {
		tag = "affected " + strconv.FormatUint(e.affected, 10)
	}
	return p.done(protocols.Outcome{Tag: tag})
}

// hide takes from a result's end what depends on values: counts of warnings,
// and how many of the rows that an UPDATE found were other before it.
func hide(e *ended) {
	e.warnings = 0
	if len(e.info) == 0 {
		return
	}
	var matched, changed, warnings uint64
	if n, _ := fmt.Sscanf(string(e.info), "Rows matched: %d  Changed: %d  Warnings: %d", &matched, &changed, &warnings); n == 3 {
		e.affected = matched
		e.info = fmt.Appendf(nil, "Rows matched: %d  Changed: %d  Warnings: 0", matched, matched)
		return
	}
	if at := bytes.LastIndex(e.info, []byte("Warnings: ")); at >= 0 {
		e.info = append(append([]byte(nil), e.info[:at]...), "Warnings: 0"...)
	}
}

// resultSet relays columns and rows.
func (s *session) resultSet(p *pending, n int) (more bool, err error) {
	t := p.ticket()
	if t == nil {
		return false, &upstreamError{errors.New("rows for what was not admitted")}
	}
	if err := s.readColumns(n, p.binary); err != nil {
		return false, err
	}
	var end *ended
	if s.upCaps&capDeprecateEOF == 0 {
		if end, err = s.readEOF(); err != nil {
			return false, err
		}
	}
	s.rows.ticket = t
	if err := s.bind(t); err != nil {
		return s.stop(p, err, end)
	}
	s.writeColumns()
	if cursor, err := s.cursor(p, end); cursor || err != nil {
		return false, err
	}
	if s.caps&capDeprecateEOF == 0 {
		status := s.status
		if end != nil {
			status = end.status &^ statusOfPlan
		}
		s.reply(appendEOF(nil, &ended{status: status}))
	}
	return s.relayRows(p)
}

// readColumns reads a result's column definitions.
func (s *session) readColumns(n int, inBinary bool) error {
	r := &s.rows
	r.columns, r.binary, r.cells, r.rows = r.columns[:0], inBinary, nil, 0
	for range n {
		b, err := s.message()
		if err != nil {
			return err
		}
		c, err := parseColumn(b)
		if err != nil {
			return &upstreamError{err}
		}
		r.columns = append(r.columns, c)
	}
	return nil
}

func (s *session) readEOF() (*ended, error) {
	b, err := s.message()
	if err != nil {
		return nil, err
	}
	if !isEnd(b[0], len(b)) {
		return nil, &upstreamError{errAnswer}
	}
	e, err := parseEnd(b, s.upCaps)
	if err != nil {
		return nil, &upstreamError{err}
	}
	return &e, nil
}

// bind asks for the masks of the columns.
func (s *session) bind(t protocols.Ticket) error {
	r := &s.rows
	announced := make([]protocols.ResultColumn, len(r.columns))
	for i := range r.columns {
		c := &r.columns[i]
		announced[i] = protocols.ResultColumn{Name: c.name, Kind: c.kind(), Type: typeNames[c.typ]}
		if c.orgName != "" && c.orgTable != "" {
			announced[i].Origin, announced[i].OriginColumn = facts.Name{Database: c.schema, Schema: c.schema, Name: c.orgTable}, c.orgName
		}
	}
	masks, err := t.Bind(announced)
	if err != nil {
		return err
	}
	for i, m := range masks {
		if m == nil {
			continue
		}
		if r.cells == nil {
			r.cells = make([]cellMask, len(r.columns))
		}
		c := &r.columns[i]
		if r.cells[i], err = newCellMask(m, c, r.binary); err != nil {
			return &wireError{code: 1235, state: "42000", message: fmt.Sprintf("the mask of column %s cannot be applied: %v", quote(c.name), err)}
		}
		if m.Const == nil || m.Const.Null || m.Micros != nil {
			c.flags &^= flagNotNull
		}
	}
	return nil
}

func (s *session) writeColumns() {
	s.reply(appendInt(nil, uint64(len(s.rows.columns))))
	for i := range s.rows.columns {
		s.reply(appendColumn(nil, &s.rows.columns[i]))
	}
}

// relayRows passes a result's rows on until its end.
func (s *session) relayRows(p *pending) (more bool, err error) {
	for {
		n, err := s.next()
		if err != nil {
			return false, err
		}
		first, empty, err := s.ur.first()
		if err != nil {
			return false, &upstreamError{err}
		}
		switch {
		case empty:
			return false, &upstreamError{errRow}
		case first == headErr && n < maxPacket:
			b, err := s.ur.body()
			if err != nil {
				return false, &upstreamError{err}
			}
			return false, s.failed(p, b)
		case isEnd(first, n):
			return s.rowsEnd(p)
		}
		if err := s.row(n); err != nil {
			return s.stop(p, err, nil)
		}
		if len(s.out) >= bufferSize {
			if err := s.flush(); err != nil {
				return false, err
			}
		}
	}
}

// rowsEnd relays the end of rows.
func (s *session) rowsEnd(p *pending) (more bool, err error) {
	b, err := s.ur.body()
	if err != nil {
		return false, &upstreamError{err}
	}
	e, err := parseEnd(b, s.upCaps)
	if err != nil {
		return false, &upstreamError{err}
	}
	if p.fetching && e.status&statusLastRow == 0 {
		if err := s.track(&e); err != nil {
			return false, err
		}
		if p.ticket().Decision().Scrub {
			hide(&e)
		}
	} else if err := s.ends(p, &e, "rows "+strconv.FormatInt(s.rows.rows, 10), false); err != nil {
		return false, err
	}
	s.reply(appendEnd(nil, &e, s.caps))
	return e.status&statusMoreResults != 0, nil
}

// row passes one row on, masked.
func (s *session) row(n int) error {
	r := &s.rows
	r.rows++
	if r.cells != nil {
		return s.maskedRow()
	}
	keep, err := r.ticket.Row(n)
	if err != nil {
		return err
	}
	if s.ur.more || n > s.ur.max {
		return s.relay(n)
	}
	body, err := s.ur.body()
	if err != nil {
		return &upstreamError{err}
	}
	s.out = appendMessage(s.out, &s.seq, body)
	s.whole = len(s.out)
	if !keep {
		return nil
	}
	return r.record(body)
}

// maskedRow holds a row to mask it. It is counted as it is sent: its size
// upstream tells of the values.
func (s *session) maskedRow() error {
	r := &s.rows
	body, err := s.ur.body()
	var size *sizeError
	if errors.As(err, &size) {
		return &wireError{code: 1104, state: "54000", message: fmt.Sprintf("a row with a masked column is over the limit of %d bytes (limits.row)", s.ur.max)}
	}
	if err != nil {
		return &upstreamError{err}
	}
	var at int
	s.out, at = beginPacket(s.out)
	if s.out, err = r.mask(s.out, body); err != nil {
		s.out = s.out[:at]
		return &upstreamError{err}
	}
	size2 := len(s.out) - at - 4
	keep, err := r.ticket.Row(size2)
	if err != nil {
		s.out = s.out[:at]
		return err
	}
	if keep {
		if err := r.record(s.out[at+4:]); err != nil {
			s.out = s.out[:at]
			return err
		}
	}
	s.out = endPacket(s.out, at, &s.seq)
	s.whole = len(s.out)
	return nil
}

// record gives a row, as sent, to the transcript.
func (r *result) record(body []byte) error {
	cells, err := r.split(body)
	if err != nil {
		return &upstreamError{err}
	}
	return r.ticket.Keep(cells)
}

// relay passes a message on as it is, however large, packet by packet.
func (s *session) relay(n int) error {
	var head [4]byte
	for {
		putHeader(head[:], n, &s.seq)
		s.out = append(s.out, head[:]...)
		for left := n; left > 0; {
			if err := s.ur.fill(1); err != nil {
				return &upstreamError{err}
			}
			k := min(left, s.ur.end-s.ur.start)
			s.out = append(s.out, s.ur.buf[s.ur.start:s.ur.start+k]...)
			s.ur.start += k
			s.ur.left -= k
			left -= k
			if len(s.out) >= bufferSize {
				s.whole = -1 // half a message is with the client
				if err := s.flush(); err != nil {
					return err
				}
			}
		}
		if !s.ur.more {
			s.whole = len(s.out)
			return nil
		}
		if err := s.ur.packet(); err != nil {
			return &upstreamError{err}
		}
		n = s.ur.left
	}
}
