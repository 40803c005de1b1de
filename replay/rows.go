package replay

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendRow adds a row to the record, without going through reflection. Rows of
// one result that follow each other and are handed over together share an
// event, whose time is the first one's. columns is set for a result's first
// row. Cells may be nil for NULL; bytes that are no UTF-8 become U+FFFD.
func (w *Writer) AppendRow(id int64, columns []string, cells [][]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	b := w.buf
	if w.rows.id == id && columns == nil && w.rows.end == len(b) && len(b)-w.rows.from < sharedRows {
		b = append(b[:len(b)-len(endRows)], "],["...)
	} else {
		w.rows.id, w.rows.from = id, len(b)
		b = w.beginRows(b, id, columns)
	}
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		if c == nil {
			b = append(b, "null"...)
		} else {
			b = appendJSON(b, c)
		}
	}
	w.buf = append(b, endRows...)
	w.rows.end = len(w.buf)
	return w.roll()
}

// rowsEvent is the last event of rows in the buffer, where another row may
// still go.
type rowsEvent struct {
	id        int64
	from, end int // in the buffer
}

const (
	// sharedRows bounds an event of rows to which rows are added, in bytes.
	sharedRows = 32 << 10
	endRows    = "]]}\n"
)

func (w *Writer) beginRows(b []byte, id int64, columns []string) []byte {
	w.number++
	b = append(b, `{"t":"rows","n":`...)
	b = strconv.AppendInt(b, w.number, 10)
	b = append(b, `,"at":"`...)
	b = w.dir.opt.Now().UTC().Truncate(time.Microsecond).AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","id":`...)
	b = strconv.AppendInt(b, id, 10)
	if columns != nil {
		b = append(b, `,"columns":[`...)
		for i, c := range columns {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, []byte(c))
		}
		b = append(b, ']')
	}
	return append(b, `,"rows":[[`...)
}

// appendJSON writes a JSON string.
func appendJSON(dst, s []byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for {
		n := plainLength(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			return append(dst, '"')
		}
		switch c := s[0]; {
		case c == '"' || c == '\\':
			dst, s = append(dst, '\\', c), s[1:]
		case c < 0x20:
			dst, s = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15]), s[1:]
		default:
			r, n := utf8.DecodeRune(s)
			dst, s = utf8.AppendRune(dst, r), s[n:]
		}
	}
}

// plainLength is how many bytes s begins with that are ASCII and stand for
// themselves in a JSON string. It looks at eight of them at once.
func plainLength(s []byte) (n int) {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; len(s)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(s[n:])
		quote, escape := x^each*'"', x^each*'\\'
		// The high bit of each byte that is not plain, and maybe of bytes above
		// the first of them.
		if m := (x | (x-each*0x20)&^x | (quote-each)&^quote | (escape-each)&^escape) & high; m != 0 {
			return n + bits.TrailingZeros64(m)/8
		}
	}
	for n < len(s) && s[n] >= 0x20 && s[n] < utf8.RuneSelf && s[n] != '"' && s[n] != '\\' {
		n++
	}
	return n
}
