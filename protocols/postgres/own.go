package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// querier runs a query of the proxy's own. each gets a row's values as text,
// nil for NULL, valid during the call.
type querier interface {
	query(ctx context.Context, sql string, each func(cols [][]byte) error) error
}

// ownQuery is a query of ours on the session's own connection.
type ownQuery struct {
	what   string // it is for, in an error that the client is told
	each   func(cols [][]byte) error
	synced bool // a Sync follows it, of ours too
	closed int  // CloseCompletes
	err    error
}

func (o *ownQuery) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *ownQuery) row(body []byte) error {
	cols, err := parseRow(body)
	if err == nil && o.err == nil {
		o.err = o.each(cols)
	}
	return err
}

// parseRow splits a DataRow.
func parseRow(body []byte) ([][]byte, error) {
	f := fields{b: body}
	cols := make([][]byte, f.count(4))
	for i := range cols {
		if n := f.int32(); n >= 0 {
			if cols[i] = f.take(int(n)); cols[i] == nil {
				cols[i] = []byte{}
			}
		}
	}
	if !f.done() {
		return nil, errRow
	}
	return cols, nil
}

// sessionQuerier runs queries in the client's session, between its messages:
// by the extended protocol under names of our own, so that the client's
// unnamed statement and portal stay, and in mid-pipeline with Flush in place
// of Sync, so that its implicit transaction goes on.
type sessionQuerier struct{ s *session }

func (s *session) ownQuerier() querier { return sessionQuerier{s} }

func (q sessionQuerier) query(ctx context.Context, sql string, each func(cols [][]byte) error) error {
	return q.s.own(&ownQuery{what: "look up names", each: each}, sql, nil)
}

// own runs a query of ours with parameters as a client has bound them.
func (s *session) own(o *ownQuery, sql string, params []bound) error {
	o.synced = !s.unsynced
	name := appendString(nil, reserved+"_own")
	parse := appendString(append([]byte{}, name...), sql)
	parse = binary.BigEndian.AppendUint16(parse, uint16(len(params)))
	bind := append(append([]byte{}, name...), name...)
	bind = binary.BigEndian.AppendUint16(bind, uint16(len(params)))
	for _, p := range params {
		parse = binary.BigEndian.AppendUint32(parse, p.typ)
		bind = binary.BigEndian.AppendUint16(bind, uint16(p.format))
	}
	bind = binary.BigEndian.AppendUint16(bind, uint16(len(params)))
	for _, p := range params {
		if p.null {
			bind = binary.BigEndian.AppendUint32(bind, 0xffffffff)
			continue
		}
		bind = append(binary.BigEndian.AppendUint32(bind, uint32(len(p.value))), p.value...)
	}
	bind = append(bind, 0, 0)
	execute := binary.BigEndian.AppendUint32(append([]byte{}, name...), 0)
	end := message('H')
	if o.synced {
		end = message('S')
	}
	e := s.q.expect(expectOwn)
	e.own = o
	if !s.q.push(e) {
		return errors.New("the pipeline has failed")
	}
	// Closed before, too: one that failed has left its statement.
	for _, m := range [][]byte{message('C', []byte{'P'}, name), message('C', []byte{'S'}, name), message('P', parse), message('B', bind), message('E', execute),
		message('C', []byte{'P'}, name), message('C', []byte{'S'}, name), end} {
		if err := s.up.Control(protocols.ControlOwn, m); err != nil {
			return err
		}
	}
	if err := s.up.Flush(); err != nil {
		return err
	}
	if _, open := s.q.drain(); !open {
		return errUpstreamEnds
	}
	return o.err
}

// ownAnswer takes an answer to a query of ours but for its rows and errors.
func (s *session) ownAnswer(e *expect, typ byte, body []byte) error {
	switch typ {
	case '3':
		e.own.closed++
		if e.own.closed == 4 && !e.own.synced {
			s.q.pop()
		}
	case '1', '2', 'C', 'n', 'T', 'I':
	case 'Z':
		if !e.own.synced || len(body) != 1 {
			return errProtocol(typ, e)
		}
		s.status.Store(int32(body[0]))
		s.q.pop()
	default:
		return errProtocol(typ, e)
	}
	return nil
}

// names is what a session knows of how it resolves names.
type names struct {
	setting []string // search_path as set
	path    []string // as it takes effect
	role    string
	temp    string
}

// sessionSQL asks for them. It is in docs/upstream.md.
const sessionSQL = `SELECT pg_catalog.current_setting('search_path'), current_user,
	(SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()),
	pg_catalog.array_to_string(pg_catalog.current_schemas(true), E'\x01')`

func loadSession(ctx context.Context, q querier) (names, error) {
	var n names
	err := q.query(ctx, sessionSQL, func(cols [][]byte) error {
		if len(cols) != 4 {
			return fmt.Errorf("%d columns", len(cols))
		}
		n.setting = splitPath(string(cols[0]))
		n.role, n.temp = string(cols[1]), string(cols[2])
		n.path = strings.Split(string(cols[3]), "\x01")
		return nil
	})
	if err != nil {
		return names{}, fmt.Errorf("asking for the session's names: %w", err)
	}
	return n, nil
}
