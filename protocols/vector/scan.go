package vector

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// scanner reads JSON (RFC 8259) piece by piece and copies it, checked, to out.
// Its memory is its buffer and what the caller leaves in out.
type scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int
	eof      bool
	out      []byte
	depth    int
	scratch  []byte
	limit    int // of out and of one string, in bytes; 0 is none
}

// maxAnswerDepth bounds how deep an answer may nest.
const maxAnswerDepth = 200

var (
	errCut   = errors.New("the JSON ends early")
	errJSON  = errors.New("the JSON is not valid")
	errLong  = errors.New("a part of the answer is too long")
	errDepth = fmt.Errorf("the JSON nests deeper than %d", maxAnswerDepth)
)

// scanBuffer is how much a scanner reads at once.
const scanBuffer = 64 << 10

// fill reads more; false at the end.
func (s *scanner) fill() (bool, error) {
	if s.pos < s.end {
		return true, nil
	}
	if s.limit > 0 && len(s.out) > s.limit {
		return false, errLong
	}
	for !s.eof {
		n, err := s.r.Read(s.buf)
		s.pos, s.end = 0, n
		if err == io.EOF {
			s.eof = true
		} else if err != nil {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}

// peek is the next byte that is no space.
func (s *scanner) peek() (byte, error) {
	if s.pos < s.end && s.buf[s.pos] > ' ' {
		return s.buf[s.pos], nil
	}
	return s.seek()
}

// seek is peek where that byte is not the next.
func (s *scanner) seek() (byte, error) {
	for {
		for s.pos < s.end {
			switch c := s.buf[s.pos]; c {
			case ' ', '\n', '\r', '\t':
				s.pos++
			default:
				return c, nil
			}
		}
		if ok, err := s.fill(); err != nil || !ok {
			return 0, errors.Join(err, errCut)
		}
	}
}

// take expects c.
func (s *scanner) take(c byte) error {
	if s.pos < s.end && s.buf[s.pos] == c {
		s.pos++
		return nil
	}
	got, err := s.peek()
	if err == nil && got != c {
		err = errJSON
	}
	s.pos++
	return err
}

// finish expects nothing more.
func (s *scanner) finish() error {
	_, err := s.peek()
	switch {
	case err == nil:
		return errJSON
	case errors.Is(err, errCut) && s.eof:
		return nil
	}
	return err
}

// shortString is how long a string may be that is read byte by byte.
const shortString = 32

// str appends a string to dst, as it stands, with its quotes.
func (s *scanner) str(dst []byte) ([]byte, error) {
	if err := s.take('"'); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, '"')
	near := s.buf[s.pos:min(s.end, s.pos+shortString)]
	for i, c := range near { // most are short, and have nothing to look at closer
		if c == '"' {
			s.pos += i + 1
			return append(dst, near[:i+1]...), nil
		}
		if c < ' ' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	for {
		if ok, err := s.fill(); err != nil || !ok {
			return dst, errors.Join(err, errCut)
		}
		if s.limit > 0 && len(dst)-start > s.limit {
			return dst, errLong
		}
		rest := s.buf[s.pos:s.end]
		i := bytes.IndexByte(rest, '"')
		part := rest
		if i >= 0 {
			part = rest[:i]
		}
		if e := bytes.IndexByte(part, '\\'); e >= 0 {
			dst = append(dst, part[:e]...)
			s.pos += e
			var err error
			if dst, err = s.escape(dst); err != nil {
				return dst, err
			}
			continue
		}
		dst = append(dst, part...)
		s.pos += len(part)
		if i >= 0 {
			s.pos++
			dst = append(dst, '"')
			return dst, checkString(dst[start+1 : len(dst)-1])
		}
	}
}

// checkString refuses control characters and what is no UTF-8.
func checkString(b []byte) error {
	const high, spaces = 0x8080808080808080, 0x2020202020202020
	for rest := b; ; rest = rest[8:] {
		if len(rest) < 8 {
			b = rest
			break
		}
		// A byte below a space, or above ASCII, shows in its highest bit.
		if w := binary.LittleEndian.Uint64(rest); (w|(w-spaces))&high != 0 {
			b = rest
			break
		}
	}
	for _, c := range b {
		if c < ' ' {
			return errJSON
		}
	}
	if !utf8.Valid(b) {
		return errJSON
	}
	return nil
}

// escape appends one escape sequence.
func (s *scanner) escape(dst []byte) ([]byte, error) {
	next := func() (byte, error) {
		if ok, err := s.fill(); err != nil || !ok {
			return 0, errors.Join(err, errCut)
		}
		s.pos++
		return s.buf[s.pos-1], nil
	}
	_, err := next()
	if err != nil {
		return dst, err
	}
	c, err := next()
	if err != nil {
		return dst, err
	}
	dst = append(dst, '\\', c)
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return dst, nil
	case 'u':
		for range 4 {
			if c, err = next(); err != nil {
				return dst, err
			}
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return dst, errJSON
			}
			dst = append(dst, c)
		}
		return dst, nil
	}
	return dst, errJSON
}

// bare appends a number or a word.
func (s *scanner) bare(dst []byte) ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return dst, err
	}
	start := len(dst)
	for {
		i := s.pos
		for i < s.end && bareByte[s.buf[i]] {
			i++
		}
		if w := s.buf[s.pos:i]; i < s.end && start == len(dst) && isNumber(w) { // most are, and whole
			s.pos = i
			return append(dst, w...), nil
		}
		dst = append(dst, s.buf[s.pos:i]...)
		s.pos = i
		if i < s.end || len(dst)-start > 4096 {
			break
		}
		if ok, err := s.fill(); err != nil {
			return dst, err
		} else if !ok {
			break
		}
	}
	switch w := dst[start:]; string(w) {
	case "true", "false", "null":
		return dst, nil
	default:
		if !isNumber(w) {
			return dst, errJSON
		}
		return dst, nil
	}
}

// bareByte are those that numbers and words are of.
var bareByte = func() (t [256]bool) {
	for _, c := range "+-.0123456789Eabcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

// isNumber says that b is a number, all of it (RFC 8259 §6).
func isNumber(b []byte) bool {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	from := i
	if i = digitsFrom(b, i); i == from || b[from] == '0' && i > from+1 {
		return false
	}
	if i < len(b) && b[i] == '.' {
		if from, i = i+1, digitsFrom(b, i+1); i == from {
			return false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if from, i = i, digitsFrom(b, i); i == from {
			return false
		}
	}
	return i == len(b)
}

// digitsFrom is where b's digits from i end.
func digitsFrom(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

func (s *scanner) enter() error {
	s.pos++
	if s.depth++; s.depth > maxAnswerDepth {
		return errDepth
	}
	return nil
}

// each goes through the members of an array or object, whose opening byte is
// next; member is called before each, first or not, and reads it.
func (s *scanner) each(closing byte, member func(first bool) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.peek()
		if err != nil {
			return err
		}
		if c == closing && first {
			break
		}
		if !first {
			if c == closing {
				break
			}
			if err := s.take(','); err != nil {
				return err
			}
		}
		if err := member(first); err != nil {
			return err
		}
	}
	s.pos++
	s.depth--
	return nil
}

// copy copies a value to out.
func (s *scanner) copy() error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	switch c {
	case '"':
		s.out, err = s.str(s.out)
	case '{':
		s.out = append(s.out, '{')
		err = s.each('}', func(first bool) error {
			if !first {
				s.out = append(s.out, ',')
			}
			if s.out, err = s.str(s.out); err != nil {
				return err
			}
			if err := s.take(':'); err != nil {
				return err
			}
			s.out = append(s.out, ':')
			return s.copy()
		})
		s.out = append(s.out, '}')
	case '[':
		s.out = append(s.out, '[')
		err = s.each(']', func(first bool) error {
			if !first {
				s.out = append(s.out, ',')
			}
			return s.copy()
		})
		s.out = append(s.out, ']')
	default:
		s.out, err = s.bare(s.out)
	}
	return err
}

// skip reads a value and forgets it. Of a scalar it keeps nothing longer than
// itself; of the others, nothing at all.
func (s *scanner) skip() error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	switch c {
	case '"':
		s.scratch, err = s.str(s.scratch[:0])
		return err
	case '{':
		return s.each('}', func(bool) error {
			if s.scratch, err = s.str(s.scratch[:0]); err != nil {
				return err
			}
			if err := s.take(':'); err != nil {
				return err
			}
			return s.skip()
		})
	case '[':
		return s.each(']', func(bool) error { return s.skip() })
	}
	s.scratch, err = s.bare(s.scratch[:0])
	return err
}
