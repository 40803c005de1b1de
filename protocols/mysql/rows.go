package mysql

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// result is one result's rows on their way. Its memory is reused by the next.
type result struct {
	ticket  protocols.Ticket
	columns []column
	binary  bool
	cells   []cellMask // nil for clear columns; nil as a whole where all are
	keep    [][]byte   // scratch
	render  []byte
	scratch []byte
	rows    int64
}

var errRow = errors.New("malformed row from the upstream")

// fixedSize is how many bytes a type's values have in a binary row; those that
// are not fixed have their length before them.
func fixedSize(typ byte) (n int, fixed bool) {
	switch typ {
	case typeNull:
		return 0, true
	case typeTiny:
		return 1, true
	case typeShort, typeYear:
		return 2, true
	case typeLong, typeInt24, typeFloat:
		return 4, true
	case typeLongLong, typeDouble:
		return 8, true
	}
	return 0, false
}

// cell reads the next value of a row. The content is valid as long as the row.
func (r *result) cell(f *fields, i int, nulls []byte) (cell []byte, null bool) {
	if !r.binary {
		if len(f.b) > 0 && f.b[0] == 0xfb {
			f.b = f.b[1:]
			return nil, true
		}
		return f.bytes(), false
	}
	if isNull(nulls, i+2) {
		return nil, true
	}
	if n, fixed := fixedSize(r.columns[i].typ); fixed {
		return f.take(n), false
	}
	return f.bytes(), false
}

func isNull(bits []byte, at int) bool { return bits[at/8]&(1<<(at%8)) != 0 }

// open begins to read a row; nulls is nil for text.
func (r *result) open(body []byte) (f fields, nulls []byte, err error) {
	f = fields{b: body}
	if r.binary {
		if f.byte() != 0 {
			return f, nil, errRow
		}
		if nulls = f.take((len(r.columns) + 9) / 8); f.bad {
			return f, nil, errRow
		}
	}
	return f, nulls, nil
}

// mask appends the row to dst with its classed cells masked.
func (r *result) mask(dst, body []byte) ([]byte, error) {
	f, nulls, err := r.open(body)
	if err != nil {
		return dst, err
	}
	bits := len(dst) + 1
	if r.binary {
		dst = append(append(dst, 0), nulls...)
	}
	for i := range r.columns {
		before := f.b
		cell, null := r.cell(&f, i, nulls)
		if f.bad {
			return dst, errRow
		}
		m := r.cells[i]
		if m == nil {
			dst = append(dst, before[:len(before)-len(f.b)]...)
			continue
		}
		if r.scratch, null, err = m(r.scratch[:0], cell, null); err != nil {
			return dst, err
		}
		switch _, fixed := fixedSize(r.columns[i].typ); {
		case r.binary && null:
			dst[bits+(i+2)/8] |= 1 << ((i + 2) % 8)
		case null:
			dst = append(dst, 0xfb)
		case r.binary:
			dst[bits+(i+2)/8] &^= 1 << ((i + 2) % 8)
			if fixed {
				dst = append(dst, r.scratch...)
			} else {
				dst = appendBytes(dst, r.scratch)
			}
		default:
			dst = appendBytes(dst, r.scratch)
		}
	}
	if len(f.b) != 0 {
		return dst, errRow
	}
	return dst, nil
}

// split reads a row's cells as text; nil is NULL. They are valid until the
// next call and as long as the row.
func (r *result) split(body []byte) ([][]byte, error) {
	f, nulls, err := r.open(body)
	if err != nil {
		return nil, err
	}
	r.keep, r.render = r.keep[:0], r.render[:0]
	for i := range r.columns {
		cell, null := r.cell(&f, i, nulls)
		switch {
		case f.bad:
			return nil, errRow
		case null:
			cell = nil
		case cell == nil:
			cell = []byte{}
		case r.binary:
			at := len(r.render)
			r.render = renderBinary(r.render, r.columns[i].typ, r.columns[i].flags&flagUnsigned != 0, cell)
			cell = r.render[at:len(r.render):len(r.render)]
		}
		r.keep = append(r.keep, cell)
	}
	if len(f.b) != 0 {
		return nil, errRow
	}
	return r.keep, nil
}

// renderBinary writes a value of a binary row as its text form.
func renderBinary(dst []byte, typ byte, unsigned bool, b []byte) []byte {
	if n, fixed := fixedSize(typ); fixed && len(b) != n {
		return append(dst, '?')
	}
	switch typ {
	case typeNull:
		return dst
	case typeTiny, typeShort, typeYear, typeLong, typeInt24, typeLongLong:
		n, u := integer(b)
		if unsigned || typ == typeYear {
			return strconv.AppendUint(dst, u, 10)
		}
		return strconv.AppendInt(dst, n, 10)
	case typeFloat:
		return strconv.AppendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 'g', -1, 32)
	case typeDouble:
		return strconv.AppendFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64)
	case typeDate, typeDatetime, typeTimestamp:
		return renderDate(dst, typ, b)
	case typeTime:
		return renderTime(dst, b)
	}
	return append(dst, b...)
}

// integer reads a little-endian number of 1, 2, 4 or 8 bytes, signed and not.
func integer(b []byte) (int64, uint64) {
	switch len(b) {
	case 1:
		return int64(int8(b[0])), uint64(b[0])
	case 2:
		v := binary.LittleEndian.Uint16(b)
		return int64(int16(v)), uint64(v)
	case 4:
		v := binary.LittleEndian.Uint32(b)
		return int64(int32(v)), uint64(v)
	case 8:
		v := binary.LittleEndian.Uint64(b)
		return int64(v), v
	}
	return 0, 0
}

func pad(dst []byte, n, width int) []byte {
	for ; width > 1 && n < pow10(width-1); width-- {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}

// renderDate writes DATE, DATETIME and TIMESTAMP: 0, 4, 7 or 11 bytes.
func renderDate(dst []byte, typ byte, b []byte) []byte {
	var v [11]byte
	copy(v[:], b)
	dst = append(pad(dst, int(binary.LittleEndian.Uint16(v[:])), 4), '-')
	dst = append(pad(dst, int(v[2]), 2), '-')
	dst = pad(dst, int(v[3]), 2)
	if typ == typeDate {
		return dst
	}
	dst = append(pad(append(dst, ' '), int(v[4]), 2), ':')
	dst = append(pad(dst, int(v[5]), 2), ':')
	dst = pad(dst, int(v[6]), 2)
	if len(b) > 7 {
		dst = pad(append(dst, '.'), int(binary.LittleEndian.Uint32(v[7:])), 6)
	}
	return dst
}

// renderTime writes TIME: 0, 8 or 12 bytes.
func renderTime(dst, b []byte) []byte {
	var v [12]byte
	copy(v[:], b)
	if v[0] == 1 {
		dst = append(dst, '-')
	}
	hours := int(binary.LittleEndian.Uint32(v[1:]))*24 + int(v[5])
	dst = append(pad(dst, hours, 2), ':')
	dst = append(pad(dst, int(v[6]), 2), ':')
	dst = pad(dst, int(v[7]), 2)
	if len(b) > 8 {
		dst = pad(append(dst, '.'), int(binary.LittleEndian.Uint32(v[8:])), 6)
	}
	return dst
}
