package mysql

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
)

var emptyQuery = &wireError{code: 1065, state: "42000", message: "Query was empty"}

// command answers one command of the client's. Its error ends the session.
func (s *session) command(ctx context.Context, command byte, body []byte) error {
	switch command {
	case comQuit:
		return errQuit
	case comQuery:
		return s.query(ctx, body)
	case comInitDB:
		return s.admitted(ctx, "USE "+quoteName(string(body)), append([]byte{comInitDB}, body...))
	case comFieldList:
		return s.fieldList(ctx, body)
	case comStmtPrepare:
		return s.prepare(ctx, string(body))
	case comStmtExecute:
		return s.execute(ctx, body)
	case comStmtLongData:
		s.longDataPart(body)
		return nil
	case comStmtClose:
		return s.closeStatement(body)
	case comStmtReset:
		return s.resetStatement(body)
	case comStmtFetch:
		return s.fetch(ctx, body)
	case comPing:
		return s.passOn(protocols.ControlKeepalive, command, body)
	case comStatistics:
		return s.statistics()
	case comSetOption:
		return s.setOption(body)
	case comResetConnection:
		return s.resetConnection(ctx)
	case comProcessKill:
		f := fields{b: body}
		id := f.uint32()
		if !f.done() {
			return s.replyErr(malformed)
		}
		return s.admitted(ctx, "KILL "+strconv.FormatUint(uint64(id), 10), nil)
	case comChangeUser:
		return s.changeUser(body)
	}
	return s.replyErr(&wireError{code: 1047, state: "08S01", message: "the proxy does not pass command " + strconv.Itoa(int(command)) + " on"})
}

// listen has what was sent answered.
func (s *session) listen() error {
	s.ur.seq = s.useq
	if err := s.up.Flush(); err != nil {
		return &upstreamError{err}
	}
	return nil
}

// query is COM_QUERY: all its statements are decided before any is forwarded.
func (s *session) query(ctx context.Context, body []byte) error {
	text, err := queryText(body, s.caps)
	if err != nil {
		return s.replyErr(err)
	}
	command := append([]byte{comQuery}, body...)
	if s.caps&capQueryAttributes != 0 && s.upCaps&capQueryAttributes == 0 {
		command = appendQuery(text, s.upCaps)
	}
	return s.admitted(ctx, text, command)
}

// admitted decides a text and sends the command that stands for it.
func (s *session) admitted(ctx context.Context, text string, command []byte) error {
	tickets, err := s.admit(ctx, protocols.Unit{Kind: protocols.Query, Text: text, Plan: s.planQuery})
	if err != nil {
		return s.replyErr(err)
	}
	if len(tickets) == 0 {
		return s.replyErr(emptyQuery)
	}
	if isKill(tickets) {
		return s.killStatement(tickets, text, nil)
	}
	if command == nil {
		return errors.New("a command that is not understood as one")
	}
	for i, t := range tickets {
		var err error
		if i == 0 {
			err = s.send(t, command)
		} else if err = s.up.Send(t, nil); err != nil {
			err = &upstreamError{err}
		}
		if err != nil {
			return err
		}
	}
	if err := s.listen(); err != nil {
		return err
	}
	if command[0] == comFieldList {
		return s.fields(&pending{tickets: tickets})
	}
	return s.results(ctx, &pending{tickets: tickets, text: text})
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// fieldList is COM_FIELD_LIST, which is SHOW COLUMNS in another form.
func (s *session) fieldList(ctx context.Context, body []byte) error {
	f := fields{b: body}
	table := f.string()
	if f.bad {
		return s.replyErr(malformed)
	}
	return s.admitted(ctx, "SHOW COLUMNS FROM "+quoteName(table), append([]byte{comFieldList}, body...))
}

// fields relays the answer to COM_FIELD_LIST: definitions until an EOF.
func (s *session) fields(p *pending) error {
	for {
		b, err := s.message()
		if err != nil {
			return err
		}
		switch {
		case b[0] == headErr:
			return s.failed(p, b)
		case isEnd(b[0], len(b)):
			e, err := parseEnd(b, s.upCaps)
			if err != nil {
				return &upstreamError{err}
			}
			if err := s.ends(p, &e, "columns", true); err != nil {
				return err
			}
			s.reply(appendEnd(nil, &e, s.caps))
			return nil
		}
		if _, err := parseColumn(b); err != nil {
			return &upstreamError{err}
		}
		s.reply(b)
		if len(s.out) >= bufferSize {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}

// passOn sends a command that concerns no data and relays its OK.
func (s *session) passOn(kind protocols.Control, command byte, body []byte) error {
	if err := s.control(kind, append([]byte{command}, body...)); err != nil {
		return err
	}
	return s.simple()
}

// simple relays an OK, an EOF or an error to a command that concerns no data.
func (s *session) simple() error {
	b, err := s.message()
	if err != nil {
		return err
	}
	switch {
	case b[0] == headErr:
		return s.failed(&pending{}, b)
	case b[0] != headOK && !isEnd(b[0], len(b)):
		return &upstreamError{errAnswer}
	}
	parse := parseOK
	if b[0] == headEOF {
		parse = parseEnd
	}
	e, err := parse(b, s.upCaps)
	if err != nil {
		return &upstreamError{err}
	}
	if err := s.track(&e); err != nil {
		return err
	}
	if s.view.settings["diagnostics"] != "" {
		e.warnings = 0
	}
	if b[0] == headEOF {
		s.reply(appendEnd(nil, &e, s.caps))
	} else {
		s.reply(appendOK(nil, headOK, &e, s.caps))
	}
	return nil
}

// statistics is COM_STATISTICS: a line about the server as a whole.
func (s *session) statistics() error {
	if err := s.control(protocols.ControlKeepalive, []byte{comStatistics}); err != nil {
		return err
	}
	b, err := s.message()
	if err != nil {
		return err
	}
	if b[0] == headErr {
		return s.failed(&pending{}, b)
	}
	s.reply(b)
	return nil
}

// setOption is COM_SET_OPTION: whether a text may have several statements.
func (s *session) setOption(body []byte) error {
	f := fields{b: body}
	option := f.uint16()
	if !f.done() || option > 1 {
		return s.replyErr(&wireError{code: 1047, state: "08S01", message: "Unknown command"})
	}
	return s.passOn(protocols.ControlSession, comSetOption, body)
}

// resetConnection is COM_RESET_CONNECTION: the session begins anew.
func (s *session) resetConnection(ctx context.Context) error {
	for id, st := range s.stmts {
		if err := st.closeCursor(); err != nil {
			return err
		}
		delete(s.stmts, id)
	}
	s.longData = 0
	if err := s.control(protocols.ControlSession, []byte{comResetConnection}); err != nil {
		return err
	}
	b, err := s.message()
	if err != nil {
		return err
	}
	if b[0] == headErr {
		return s.failed(&pending{}, b)
	}
	s.view.set("diagnostics", "")
	if err := s.prepareSession(ctx); err != nil {
		return err
	}
	s.replyOK()
	return nil
}

// changeUser is COM_CHANGE_USER: the session ends, and the connection goes on
// with a login. What the client proves its password by was made for the nonce
// of its last login; it is asked for a new proof.
func (s *session) changeUser(body []byte) error {
	f := fields{b: body}
	l := &loginPacket{user: f.string()}
	f.take(int(f.byte()))
	l.database = f.string()
	if f.bad {
		return s.replyErr(malformed)
	}
	if len(f.b) > 0 { // a character set, and what came later to the protocol
		l.charset = byte(f.uint16())
		if s.caps&capPluginAuth != 0 && len(f.b) > 0 {
			f.string() // the plugin of the proof
		}
		if s.caps&capConnectAttrs != 0 && len(f.b) > 0 {
			l.attributes = append([]byte(nil), f.bytes()...)
		}
		if f.bad {
			return s.replyErr(malformed)
		}
	}
	if s.caps&capPluginAuth == 0 {
		return s.replyErr(&wireError{code: 1235, state: "42000", message: "COM_CHANGE_USER needs a client that knows plugins of authentication"})
	}
	for _, st := range s.stmts {
		if err := st.closeCursor(); err != nil {
			return err
		}
	}
	s.becomes = l
	return errChangeUser
}
