package mysql

import (
	"encoding/binary"
	"errors"
)

// ended is how a result ends: an OK packet, or an EOF packet, which has status
// and warnings only.
type ended struct {
	affected, insertID uint64
	status, warnings   uint16
	info               []byte
	state              []byte // changes of the session
}

var errAnswer = errors.New("malformed answer from the upstream")

// parseOK reads an OK packet, whatever its first byte.
func parseOK(b []byte, caps uint32) (ended, error) {
	f := fields{b: b}
	f.byte()
	var e ended
	e.affected, e.insertID = f.int(), f.int()
	e.status, e.warnings = f.uint16()&^statusOfPlan, f.uint16()
	if caps&capSessionTrack != 0 {
		if len(f.b) > 0 {
			e.info = f.bytes()
		}
		if e.status&statusSessionChanged != 0 && len(f.b) > 0 {
			e.state = f.bytes()
		}
	} else if len(f.b) > 0 {
		// Servers write it with its length, the protocol's page has it without.
		with := fields{b: f.b}
		if e.info = with.bytes(); !with.done() {
			e.info = f.rest()
		}
	}
	if f.bad {
		return e, errAnswer
	}
	return e, nil
}

// parseEnd reads what ends columns or rows: EOF, or OK where EOF is deprecated.
func parseEnd(b []byte, caps uint32) (ended, error) {
	if caps&capDeprecateEOF != 0 && len(b) > 5 {
		return parseOK(b, caps)
	}
	f := fields{b: b}
	f.byte()
	e := ended{warnings: f.uint16(), status: f.uint16() &^ statusOfPlan}
	if !f.done() {
		return e, errAnswer
	}
	return e, nil
}

// isEnd says whether a packet of that first byte and length ends columns or
// rows. A row may begin with the same byte, but is then longer than a packet.
func isEnd(first byte, n int) bool { return first == headEOF && n < maxPacket }

// appendOK appends an OK packet's payload.
func appendOK(dst []byte, head byte, e *ended, caps uint32) []byte {
	status := e.status
	if caps&capSessionTrack == 0 || len(e.state) == 0 {
		status &^= statusSessionChanged
	}
	dst = appendInt(appendInt(append(dst, head), e.affected), e.insertID)
	dst = binary.LittleEndian.AppendUint16(dst, status)
	dst = binary.LittleEndian.AppendUint16(dst, e.warnings)
	if len(e.info) > 0 || status&statusSessionChanged != 0 {
		dst = appendBytes(dst, e.info)
	}
	if status&statusSessionChanged != 0 {
		dst = appendBytes(dst, e.state)
	}
	return dst
}

// appendEOF appends an EOF packet's payload.
func appendEOF(dst []byte, e *ended) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, headEOF), e.warnings)
	return binary.LittleEndian.AppendUint16(dst, e.status&^statusSessionChanged)
}

// appendEnd appends what ends rows for a client.
func appendEnd(dst []byte, e *ended, caps uint32) []byte {
	if caps&capDeprecateEOF != 0 {
		return appendOK(dst, headEOF, e, caps)
	}
	return appendEOF(dst, e)
}

// report is an upstream's error.
type report struct {
	code    uint16
	state   string
	message string
}

func (r *report) Error() string { return r.message }

func parseErr(b []byte) (*report, error) {
	f := fields{b: b}
	f.byte()
	r := &report{code: f.uint16(), state: "HY000"}
	if f.bad {
		return nil, errAnswer
	}
	if len(f.b) > 0 && f.b[0] == '#' {
		f.byte()
		r.state = string(f.take(5))
		if f.bad {
			return nil, errAnswer
		}
	}
	r.message = string(f.rest())
	return r, nil
}

// column is a result column as its definition says.
type column struct {
	schema, table, orgTable, name, orgName string
	collation                              uint16
	length                                 uint32
	typ                                    byte
	flags                                  uint16
	decimals                               byte
}

// parseColumn reads a column definition. after holds what follows it, for
// COM_FIELD_LIST a default.
func parseColumn(b []byte) (c column, err error) {
	f := fields{b: b}
	f.bytes() // the catalog, "def"
	c.schema, c.table, c.orgTable = string(f.bytes()), string(f.bytes()), string(f.bytes())
	c.name, c.orgName = string(f.bytes()), string(f.bytes())
	if n := f.int(); n != 12 && !f.bad {
		return c, errAnswer
	}
	c.collation, c.length, c.typ, c.flags, c.decimals = f.uint16(), f.uint32(), f.byte(), f.uint16(), f.byte()
	f.take(2)
	if f.bad {
		return c, errAnswer
	}
	return c, nil
}

func appendColumn(dst []byte, c *column) []byte {
	dst = appendString(dst, "def")
	for _, s := range []string{c.schema, c.table, c.orgTable, c.name, c.orgName} {
		dst = appendString(dst, s)
	}
	dst = binary.LittleEndian.AppendUint16(append(dst, 12), c.collation)
	dst = binary.LittleEndian.AppendUint32(dst, c.length)
	dst = binary.LittleEndian.AppendUint16(append(dst, c.typ), c.flags)
	return append(dst, c.decimals, 0, 0)
}

// changes calls each with the system variables and the current database that
// a session's state says have changed ("" is the database's name).
func changes(state []byte, each func(name, value string)) error {
	f := fields{b: state}
	for len(f.b) > 0 && !f.bad {
		kind := f.byte()
		d := fields{b: f.bytes()}
		switch kind {
		case 0: // MariaDB puts several variables in one
			for len(d.b) > 0 && !d.bad {
				name := string(d.bytes())
				if len(d.b) > 0 && d.b[0] == 0xfb { // NULL
					d.byte()
					each(name, "")
				} else if value := string(d.bytes()); !d.bad {
					each(name, value)
				}
			}
		case 1:
			if name := string(d.bytes()); !d.bad {
				each("", name)
			}
		}
		f.bad = f.bad || d.bad
	}
	if f.bad {
		return errAnswer
	}
	return nil
}
