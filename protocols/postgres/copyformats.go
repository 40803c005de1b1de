package postgres

import (
	"bytes"
	"encoding/binary"
)

// textField takes one field off a line of COPY's text format.
//
// Source: CopyAttributeOutText in postgres/src/backend/commands/copyto.c.
func (c *copyOut) textField(dst, b []byte) (field []byte, null bool, rest []byte, last bool) {
	raw := len(b)
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		} else if b[i] == c.f.Delimiter {
			raw = i
			break
		}
	}
	last = raw >= len(b)
	raw = min(raw, len(b))
	text := b[:raw]
	if !last {
		rest = b[raw+1:]
	}
	if string(text) == c.f.Null {
		return dst, true, rest, last
	}
	for i := 0; i < len(text); i++ {
		ch := text[i]
		if ch == '\\' && i+1 < len(text) {
			i++
			if at := bytes.IndexByte([]byte("bfnrtv"), text[i]); at >= 0 {
				ch = "\b\f\n\r\t\v"[at]
			} else {
				ch = text[i]
			}
		}
		dst = append(dst, ch)
	}
	return dst, false, rest, last
}

func (c *copyOut) writeText(dst, v []byte) []byte {
	for _, ch := range v {
		if at := bytes.IndexByte([]byte("\b\f\n\r\t\v"), ch); at >= 0 {
			dst = append(dst, '\\', "bfnrtv"[at])
			continue
		}
		if ch == '\\' || ch == c.f.Delimiter {
			dst = append(dst, '\\')
		}
		dst = append(dst, ch)
	}
	return dst
}

// csvField takes one field off a row of COPY's CSV format.
//
// Source: CopyAttributeOutCSV in postgres/src/backend/commands/copyto.c.
func (c *copyOut) csvField(dst, b []byte) (field []byte, null bool, rest []byte, last bool, err error) {
	if len(b) == 0 || b[0] != c.f.Quote {
		i := bytes.IndexByte(b, c.f.Delimiter)
		if i < 0 {
			return append(dst, b...), string(b) == c.f.Null, nil, true, nil
		}
		return append(dst, b[:i]...), string(b[:i]) == c.f.Null, b[i+1:], false, nil
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == c.f.Escape && i+1 < len(b) && (b[i+1] == c.f.Quote || b[i+1] == c.f.Escape):
			i++
			dst = append(dst, b[i])
		case b[i] == c.f.Quote:
			rest = b[i+1:]
			if len(rest) == 0 {
				return dst, false, nil, true, nil
			}
			if rest[0] != c.f.Delimiter {
				return dst, false, nil, false, errCopy
			}
			return dst, false, rest[1:], false, nil
		default:
			dst = append(dst, b[i])
		}
	}
	return dst, false, nil, true, errCopy
}

func (c *copyOut) writeCSV(dst []byte, i int, v []byte) []byte {
	quote := string(v) == c.f.Null || len(c.cells) == 1 && string(v) == `\.` || i < len(c.f.ForceQuote) && c.f.ForceQuote[i]
	for _, ch := range v {
		quote = quote || ch == c.f.Delimiter || ch == c.f.Quote || ch == '\n' || ch == '\r'
	}
	if !quote {
		return append(dst, v...)
	}
	dst = append(dst, c.f.Quote)
	for _, ch := range v {
		if ch == c.f.Quote || ch == c.f.Escape {
			dst = append(dst, c.f.Escape)
		}
		dst = append(dst, ch)
	}
	return append(dst, c.f.Quote)
}

// binarySignature begins COPY's binary format.
const binarySignature = "PGCOPY\n\xff\r\n\x00"

// binary rewrites what one CopyData holds of the binary format: the header
// with what follows it, a row, or the trailer.
func (c *copyOut) binary(dst, b []byte) ([]byte, error) {
	if !c.begun {
		if len(b) < 19 || string(b[:11]) != binarySignature {
			return dst, errCopy
		}
		n := 19 + uint64(binary.BigEndian.Uint32(b[15:]))
		if n > uint64(len(b)) || b[13] != 0 || b[12] != 0 {
			return dst, errCopy
		}
		c.begun = true
		dst, b = append(dst, b[:n]...), b[n:]
	}
	for len(b) > 0 {
		if len(b) < 2 {
			return dst, errCopy
		}
		n := int16(binary.BigEndian.Uint16(b))
		dst, b = append(dst, b[:2]...), b[2:]
		if n == -1 {
			if len(b) != 0 {
				return dst, errCopy
			}
			return dst, nil
		}
		if int(n) != len(c.cells) {
			return dst, errCopy
		}
		var err error
		if dst, b, err = c.tuple(dst, b); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (c *copyOut) tuple(dst, b []byte) (out, rest []byte, err error) {
	for _, m := range c.cells {
		if len(b) < 4 {
			return dst, nil, errCopy
		}
		n := int32(binary.BigEndian.Uint32(b))
		if n < -1 || int(n) > len(b)-4 {
			return dst, nil, errCopy
		}
		size := int(max(n, 0))
		if m == nil {
			dst = append(dst, b[:4+size]...)
		} else {
			at := len(dst)
			dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			var null bool
			if dst, null, err = m(dst, b[4:4+size], n < 0); err != nil {
				return dst, nil, err
			}
			if null {
				dst = dst[:at+4]
			} else {
				binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
			}
		}
		b = b[4+size:]
	}
	return dst, b, nil
}
