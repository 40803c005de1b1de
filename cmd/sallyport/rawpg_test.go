package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// rawSession sends messages and returns what comes back byte by byte. The
// login is pgconn's, so that authentication is not written twice.
type rawSession struct {
	conn net.Conn
}

// frame is one message from the server: type, length and body.
type frame []byte

func dialRaw(t testing.TB, connString string) *rawSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgconn.Connect(ctx, connString)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	h, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	return &rawSession{conn: h.Conn}
}

func (s *rawSession) send(msgs ...pgproto3.FrontendMessage) error {
	var buf []byte
	for _, m := range msgs {
		var err error
		if buf, err = m.Encode(buf); err != nil {
			return err
		}
	}
	_, err := s.conn.Write(buf)
	return err
}

func (s *rawSession) read() (frame, error) {
	var head [5]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 64<<20 {
		return nil, fmt.Errorf("message %q of %d bytes", head[0], n)
	}
	f := make(frame, 1+n)
	copy(f, head[:])
	_, err := io.ReadFull(s.conn, f[5:])
	return f, err
}

// until collects messages up to and with the next ReadyForQuery. A request to
// copy in is answered with CopyFail.
func (s *rawSession) until(extended bool) ([]frame, error) {
	var out []frame
	if err := s.conn.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return nil, err
	}
	for {
		f, err := s.read()
		if err != nil {
			return out, err
		}
		out = append(out, f)
		switch f[0] {
		case 'Z':
			return out, nil
		case 'G':
			msgs := []pgproto3.FrontendMessage{&pgproto3.CopyFail{Message: "no data"}}
			if extended {
				msgs = append(msgs, &pgproto3.Sync{}) // the first Sync was swallowed by the copy
			}
			if err := s.send(msgs...); err != nil {
				return out, err
			}
		}
	}
}

// rawMode is a way of sending one statement.
type rawMode struct {
	name string
	run  func(s *rawSession, text string) ([]frame, error)
}

var rawModes = []rawMode{
	{"simple", func(s *rawSession, text string) ([]frame, error) {
		if err := s.send(&pgproto3.Query{String: text}); err != nil {
			return nil, err
		}
		return s.until(false)
	}},
	{"extended", func(s *rawSession, text string) ([]frame, error) { return runExtended(s, text, 0, true) }},
	{"binary", func(s *rawSession, text string) ([]frame, error) { return runExtended(s, text, 1, true) }},
	// Nothing is described before the rows come: masks must not depend on it.
	{"undescribed", func(s *rawSession, text string) ([]frame, error) { return runExtended(s, text, 0, false) }},
	// Described in one round trip, executed in another, in two steps.
	{"suspended", func(s *rawSession, text string) ([]frame, error) {
		err := s.send(&pgproto3.Parse{Name: "st", Query: text}, &pgproto3.Describe{ObjectType: 'S', Name: "st"}, &pgproto3.Sync{})
		if err != nil {
			return nil, err
		}
		out, err := s.until(false)
		if err != nil {
			return out, err
		}
		err = s.send(&pgproto3.Bind{PreparedStatement: "st", DestinationPortal: "po"}, &pgproto3.Execute{Portal: "po", MaxRows: 2},
			&pgproto3.Execute{Portal: "po"}, &pgproto3.Close{ObjectType: 'S', Name: "st"}, &pgproto3.Sync{})
		if err != nil {
			return out, err
		}
		more, err := s.until(true)
		if err != nil {
			return append(out, more...), err
		}
		// After an error the Close was skipped.
		if err := s.send(&pgproto3.Close{ObjectType: 'S', Name: "st"}, &pgproto3.Sync{}); err != nil {
			return append(out, more...), err
		}
		last, err := s.until(false)
		return append(append(out, more...), last...), err
	}},
}

// ask sends a statement.
func (m rawMode) ask(s *rawSession, text string, unordered bool) answer {
	frames, err := m.run(s, text)
	return collect(frames, err, unordered)
}

func runExtended(s *rawSession, text string, format int16, describe bool) ([]frame, error) {
	msgs := []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: text},
		&pgproto3.Bind{ResultFormatCodes: []int16{format}},
	}
	if describe {
		msgs = append(msgs, &pgproto3.Describe{ObjectType: 'P'})
	}
	msgs = append(msgs, &pgproto3.Execute{}, &pgproto3.Sync{})
	if err := s.send(msgs...); err != nil {
		return nil, err
	}
	return s.until(true)
}

// answer is what one statement got, made comparable.
type answer struct {
	bytes     []byte
	forwarded bool // not refused by the proxy
	died      bool
	problem   string // the first error's code and message
}

func collect(frames []frame, err error, unordered bool) answer {
	var a answer
	a.forwarded = true
	if err != nil {
		a.died = true
	}
	for _, f := range frames {
		if f[0] != 'E' {
			continue
		}
		var m pgproto3.ErrorResponse
		if m.Decode(f[5:]) == nil && a.problem == "" {
			a.problem = m.Code + " " + m.Message
			if m.Detail != "" {
				a.problem += " / " + m.Detail
			}
		}
		// The routine tells our errors from PostgreSQL's. Names that do not
		// exist are answered here as the server would.
		if m.Routine == "sallyport" && !slices.Contains([]string{"42P01", "42703", "42883", "42601", "26000", "34000"}, m.Code) {
			a.forwarded = false
		}
	}
	if unordered {
		sort.SliceStable(frames, func(i, j int) bool { return bytes.Compare(frames[i], frames[j]) < 0 })
	}
	for _, f := range frames {
		if f[0] == 'A' && len(f) > 9 {
			clear(f[5:9]) // the notifying process, which differs between servers
		}
		if f[0] == 'T' {
			clearOIDs(f)
		}
		a.bytes = append(a.bytes, f...)
	}
	return a
}

// clearOIDs blanks the identifiers of user tables and types in a
// RowDescription. Those of tables made in mid-run depend on timing: a backend
// that gets a slot which never had a temporary schema draws two identifiers
// from the counter.
func clearOIDs(f frame) {
	for b := f[7:]; ; {
		end := bytes.IndexByte(b, 0)
		if end < 0 || len(b) < end+19 {
			return
		}
		for _, oid := range [][]byte{b[end+1 : end+5], b[end+7 : end+11]} {
			if binary.BigEndian.Uint32(oid) >= 16384 {
				clear(oid)
			}
		}
		b = b[end+19:]
	}
}

// describeFrames writes frames for a person.
func describeFrames(b []byte) string {
	var out strings.Builder
	for len(b) >= 5 {
		n := int(binary.BigEndian.Uint32(b[1:])) + 1
		if n > len(b) {
			break
		}
		fmt.Fprintf(&out, "    %c %q\n", b[0], b[5:min(n, 400)])
		b = b[n:]
		if out.Len() > 4000 {
			out.WriteString("    …\n")
			break
		}
	}
	return out.String()
}
