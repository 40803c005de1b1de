package mysql

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// statement is a prepared one, under the number that the upstream gave it.
type statement struct {
	id     uint32
	text   string
	params int
	// path and settings are those of the session when it was prepared: the
	// server goes on reading it by them.
	path     []string
	settings catalog.Settings
	under    *catalog.View  // of the session, that it was last found to be read by
	view     *catalog.View  // the same in its own database
	types    []paramType    // as last bound
	long     map[int][]byte // COM_STMT_SEND_LONG_DATA, kept for the next execution
	tooBig   bool           // more of it was sent than may be held
	cursor   *cursor
}

// cursor is an execution whose rows COM_STMT_FETCH takes.
type cursor struct {
	ticket  protocols.Ticket
	columns []column
	cells   []cellMask
	rows    int64
}

// lose ends the ticket of an open cursor.
func (st *statement) lose() {
	if st.cursor != nil {
		_ = st.cursor.ticket.Done(protocols.Outcome{Lost: true})
		st.cursor = nil
	}
}

// closeCursor ends an open cursor as a success: the client wants no more rows.
func (st *statement) closeCursor() error {
	c := st.cursor
	if c == nil {
		return nil
	}
	st.cursor = nil
	return c.ticket.Done(protocols.Outcome{Tag: "closed"})
}

// prepare is COM_STMT_PREPARE.
func (s *session) prepare(ctx context.Context, text string) error {
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Prepare, Text: text})
	if err != nil {
		return s.replyErr(err)
	}
	if len(tickets) == 0 {
		return s.replyErr(emptyQuery)
	}
	if err := s.send(tickets[0], append([]byte{comStmtPrepare}, text...)); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	b, err := s.message()
	if err != nil {
		return err
	}
	if b[0] == headErr {
		return s.failed(&pending{tickets: tickets}, b)
	}
	f := fields{b: b}
	ok := f.byte()
	st := &statement{id: f.uint32(), text: text}
	if v := s.view.view; v != nil { // what it was analysed over
		st.path, st.settings = v.SearchPath, v.Settings
	}
	columns := int(f.uint16())
	st.params = int(f.uint16())
	f.byte()
	warnings := f.uint16()
	if f.bad || ok != headOK {
		return &upstreamError{errAnswer}
	}
	if tickets[0].Decision().Scrub {
		warnings = 0
	}
	if old := s.stmts[st.id]; old != nil {
		return &upstreamError{errors.New("a statement's number was given twice")}
	}
	out := binary.LittleEndian.AppendUint32([]byte{headOK}, st.id)
	out = binary.LittleEndian.AppendUint16(out, uint16(columns))
	out = binary.LittleEndian.AppendUint16(out, uint16(st.params))
	s.reply(binary.LittleEndian.AppendUint16(append(out, 0), warnings))
	for _, n := range []int{st.params, columns} {
		if err := s.relayDefinitions(n); err != nil {
			return err
		}
	}
	s.stmts[st.id], s.lastStmt = st, st.id
	return tickets[0].Done(protocols.Outcome{})
}

// relayDefinitions relays n column definitions and the EOF after them.
func (s *session) relayDefinitions(n int) error {
	if n == 0 {
		return nil
	}
	for range n {
		b, err := s.message()
		if err != nil {
			return err
		}
		if _, err := parseColumn(b); err != nil {
			return &upstreamError{err}
		}
		s.reply(b)
	}
	if s.upCaps&capDeprecateEOF == 0 {
		if _, err := s.readEOF(); err != nil {
			return err
		}
	}
	if s.caps&capDeprecateEOF == 0 {
		s.reply(appendEOF(nil, &ended{status: s.status}))
	}
	return nil
}

// find returns a prepared statement. MariaDB's clients may name the last one
// -1.
func (s *session) find(id uint32) *statement {
	if id == 0xffffffff {
		id = s.lastStmt
	}
	return s.stmts[id]
}

var unknownStatement = &wireError{code: 1243, state: "HY000", message: "Unknown prepared statement handler"}

// execute is COM_STMT_EXECUTE.
func (s *session) execute(ctx context.Context, body []byte) error {
	f := fields{b: body}
	id, flags := f.uint32(), f.byte()
	f.uint32() // how many times: always 1
	st := s.find(id)
	if f.bad {
		return s.replyErr(malformed)
	}
	if st == nil {
		return s.replyErr(unknownStatement)
	}
	binary.LittleEndian.PutUint32(body, st.id)
	if err := st.closeCursor(); err != nil {
		return err
	}
	long, tooBig := st.long, st.tooBig
	s.dropLong(st)
	if tooBig {
		return s.replyErr(&wireError{code: 1153, state: "08S01", message: "the parameters sent by COM_STMT_SEND_LONG_DATA are over limits.message"})
	}
	params, err := st.parseParams(&f, flags, s.caps, long)
	if err != nil {
		return s.replyErr(err)
	}
	u := protocols.Unit{Kind: protocols.Execute, Text: st.text, Params: params, Plan: s.planExecute(body, long)}
	tickets, err := s.admitIn(ctx, u, st)
	if err != nil {
		return s.replyErr(err)
	}
	if len(tickets) == 0 {
		return s.replyErr(emptyQuery)
	}
	if isKill(tickets) {
		return s.killStatement(tickets, st.text, params)
	}
	for n, data := range long {
		head := binary.LittleEndian.AppendUint32([]byte{comStmtLongData}, st.id)
		head = binary.LittleEndian.AppendUint16(head, uint16(n))
		if err := s.send(tickets[0], append(head, data...)); err != nil {
			return err
		}
	}
	if err := s.send(tickets[0], append([]byte{comStmtExecute}, body...)); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	return s.results(ctx, &pending{tickets: tickets, binary: true, text: st.text, st: st})
}

// longDataPart is COM_STMT_SEND_LONG_DATA, which has no answer. The data goes
// upstream with the execution that it belongs to, under its ticket.
func (s *session) longDataPart(body []byte) {
	f := fields{b: body}
	st := s.find(f.uint32())
	n := int(f.uint16())
	if f.bad || st == nil || n >= st.params {
		return // the execution fails, as it does on the server
	}
	if s.longData+len(f.b) > s.limits.Message {
		st.tooBig = true
		return
	}
	if st.long == nil {
		st.long = map[int][]byte{}
	}
	st.long[n] = append(st.long[n], f.b...)
	s.longData += len(f.b)
}

func (s *session) dropLong(st *statement) {
	for _, b := range st.long {
		s.longData -= len(b)
	}
	st.long, st.tooBig = nil, false
}

// closeStatement is COM_STMT_CLOSE, which has no answer.
func (s *session) closeStatement(body []byte) error {
	f := fields{b: body}
	st := s.find(f.uint32())
	if f.bad || st == nil {
		return nil
	}
	s.dropLong(st)
	delete(s.stmts, st.id)
	if err := st.closeCursor(); err != nil {
		return err
	}
	return s.control(protocols.ControlClose, binary.LittleEndian.AppendUint32([]byte{comStmtClose}, st.id))
}

// resetStatement is COM_STMT_RESET: it closes the cursor and forgets long data.
func (s *session) resetStatement(body []byte) error {
	f := fields{b: body}
	st := s.find(f.uint32())
	if !f.done() {
		return s.replyErr(malformed)
	}
	if st == nil {
		return s.replyErr(unknownStatement)
	}
	s.dropLong(st)
	if err := st.closeCursor(); err != nil {
		return err
	}
	if err := s.control(protocols.ControlClose, binary.LittleEndian.AppendUint32([]byte{comStmtReset}, st.id)); err != nil {
		return err
	}
	return s.simple()
}

// cursor sees whether the rows of an execution are to be fetched. end is what
// followed the columns, where EOF is not deprecated.
func (s *session) cursor(p *pending, end *ended) (bool, error) {
	if p.st == nil {
		return false, nil
	}
	if end == nil {
		n, err := s.ur.peek()
		if err != nil {
			return false, &upstreamError{err}
		}
		if !isEnd(n.first, n.length) || n.status(s.upCaps)&statusCursor == 0 {
			return false, nil
		}
		if end, err = s.readEOF(); err != nil {
			return false, err
		}
	}
	if end.status&statusCursor == 0 {
		return false, nil
	}
	if err := s.track(end); err != nil {
		return false, err
	}
	r := &s.rows
	p.st.cursor = &cursor{ticket: p.ticket(), columns: append([]column(nil), r.columns...), cells: r.cells}
	p.at = len(p.tickets)
	if p.st.cursor.ticket.Decision().Scrub {
		hide(end)
	}
	s.reply(appendEnd(nil, end, s.caps))
	return true, nil
}

// fetch is COM_STMT_FETCH: the execution's ticket goes on.
func (s *session) fetch(ctx context.Context, body []byte) error {
	f := fields{b: body}
	st := s.find(f.uint32())
	f.uint32()
	if !f.done() {
		return s.replyErr(malformed)
	}
	if st == nil {
		return s.replyErr(unknownStatement)
	}
	c := st.cursor
	if c == nil {
		return s.replyErr(&wireError{code: 1326, state: "24000", message: "Cursor is not open"})
	}
	binary.LittleEndian.PutUint32(body, st.id)
	if err := s.send(c.ticket, append([]byte{comStmtFetch}, body...)); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	r := &s.rows
	r.columns, r.cells, r.binary, r.rows, r.ticket = append(r.columns[:0], c.columns...), c.cells, true, c.rows, c.ticket
	p := &pending{tickets: []protocols.Ticket{c.ticket}, binary: true, st: st, fetching: true}
	_, err := s.relayRows(p)
	c.rows = r.rows
	if p.ticket() == nil { // it ended, or failed
		st.cursor = nil
	}
	return err
}
