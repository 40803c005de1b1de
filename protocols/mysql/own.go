package mysql

import (
	"errors"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// maxColumns is the most columns that a result can have, with room: MySQL's
// own bound is 4096.
const maxColumns = 1 << 14

// ownQuery runs a query of ours, of the closed list in docs/upstream.md, and
// gives its rows to each. An error that the server reports is a *report.
func ownQuery(up protocols.Upstream, r *reader, caps uint32, sql string, each func(cells [][]byte) error) (ended, error) {
	var seq byte
	if err := up.Control(protocols.ControlOwn, appendMessage(nil, &seq, append([]byte{comQuery}, sql...))); err != nil {
		return ended{}, err
	}
	if err := up.Flush(); err != nil {
		return ended{}, err
	}
	r.seq = seq
	return ownAnswer(r, caps, false, each)
}

// ownAnswer reads one result.
func ownAnswer(r *reader, caps uint32, binary bool, each func(cells [][]byte) error) (ended, error) {
	b, err := message(r)
	if err != nil {
		return ended{}, err
	}
	switch b[0] {
	case headOK:
		return parseOK(b, caps)
	case headErr:
		return ended{}, asReport(b)
	}
	n, err := columnCount(b)
	if err != nil {
		return ended{}, err
	}
	columns := make([]column, n)
	for i := range columns {
		if b, err = message(r); err == nil {
			columns[i], err = parseColumn(b)
		}
		if err != nil {
			return ended{}, err
		}
	}
	if caps&capDeprecateEOF == 0 {
		if b, err = message(r); err != nil || !isEnd(b[0], len(b)) {
			return ended{}, errors.Join(errAnswer, err)
		}
	}
	return ownRows(r, caps, binary, columns, each)
}

func ownRows(r *reader, caps uint32, binary bool, columns []column, each func(cells [][]byte) error) (ended, error) {
	var failed error
	res := result{columns: columns, binary: binary}
	for {
		b, err := message(r)
		switch {
		case err != nil:
			return ended{}, err
		case b[0] == headErr:
			return ended{}, errors.Join(failed, asReport(b))
		case isEnd(b[0], len(b)):
			e, err := parseEnd(b, caps)
			return e, errors.Join(failed, err)
		}
		cells, err := res.split(b)
		if err != nil {
			return ended{}, err
		}
		if failed == nil && each != nil {
			failed = each(cells)
		}
	}
}

// message reads a message that is not empty.
func message(r *reader) ([]byte, error) {
	if _, err := r.next(); err != nil {
		return nil, err
	}
	b, err := r.body()
	if err == nil && len(b) == 0 {
		err = errAnswer
	}
	return b, err
}

func asReport(b []byte) error {
	r, err := parseErr(b)
	if err != nil {
		return err
	}
	return fmt.Errorf("the server answers with error %d: %w", r.code, r)
}

// columnCount reads the message that begins a result with rows.
func columnCount(b []byte) (int, error) {
	f := fields{b: b}
	n := f.int()
	if !f.done() || n == 0 || n > maxColumns {
		return 0, errAnswer
	}
	return int(n), nil
}

// own runs a query of ours in the client's session, between its commands.
func (s *session) own(sql string, each func(cells [][]byte) error) error {
	e, err := ownQuery(s.up, s.ur, s.upCaps, sql, each)
	var r *report
	if err != nil && !errors.As(err, &r) {
		return &upstreamError{err}
	}
	if err != nil {
		return err
	}
	return s.track(&e)
}
