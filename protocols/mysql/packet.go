package mysql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// bufferSize is what one direction of a session holds while it streams.
const bufferSize = 64 << 10

// maxPacket is the longest payload of one packet; a message of that length
// and more goes on in the next packet.
const maxPacket = 1<<24 - 1

// sizeError is a message longer than its limit.
type sizeError struct{ length, max int }

func (e *sizeError) Error() string {
	return fmt.Sprintf("a message of %d bytes and more is over the limit of %d", e.length, e.max)
}

// errSequence is a packet out of order.
var errSequence = errors.New("packets out of order")

// reader reads messages: packets of three bytes of length, one of sequence
// number and a payload. A length is checked against the limit before anything
// is allocated for it; one buffer grows to the largest message held. Not safe
// for concurrent use.
type reader struct {
	r     io.Reader
	buf   []byte
	start int // of unread bytes
	end   int
	left  int  // of the current packet's payload, unread
	more  bool // the message goes on in another packet
	seq   byte // the next packet's
	max   int  // of a message that is held
	whole []byte
}

func newReader(r io.Reader, max int) *reader {
	return &reader{r: r, buf: make([]byte, bufferSize), max: max}
}

// buffered says how many bytes are at hand without reading.
func (r *reader) buffered() int { return r.end - r.start }

// fill makes at least n bytes available.
func (r *reader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	if r.start > 0 && len(r.buf)-r.start < n {
		copy(r.buf, r.buf[r.start:r.end])
		r.end -= r.start
		r.start = 0
	}
	if n > len(r.buf) {
		grown := make([]byte, n)
		r.end = copy(grown, r.buf[r.start:r.end])
		r.start = 0
		r.buf = grown
	}
	got, err := io.ReadAtLeast(r.r, r.buf[r.end:], n-(r.end-r.start))
	r.end += got
	if err == io.EOF && r.end > r.start {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// next reads the header of a message's first packet and returns the packet's
// length. What is left of the message before is skipped.
func (r *reader) next() (int, error) {
	if err := r.stream(func([]byte) error { return nil }); err != nil {
		return 0, err
	}
	if r.start == r.end {
		r.start, r.end = 0, 0
		if len(r.buf) > bufferSize { // one huge message does not stay with the session
			r.buf = make([]byte, bufferSize)
		}
	}
	if cap(r.whole) > bufferSize {
		r.whole = nil
	}
	err := r.packet()
	return r.left, err
}

// packet reads a packet's header.
func (r *reader) packet() error {
	if err := r.fill(4); err != nil {
		return err
	}
	h := r.buf[r.start : r.start+4]
	r.left = int(h[0]) | int(h[1])<<8 | int(h[2])<<16
	r.more = r.left == maxPacket
	if h[3] != r.seq {
		return errSequence
	}
	r.seq++
	r.start += 4
	return nil
}

// first is the message's first byte; empty says that it has none.
func (r *reader) first() (b byte, empty bool, err error) {
	if r.left == 0 {
		return 0, true, nil
	}
	if err := r.fill(1); err != nil {
		return 0, false, err
	}
	return r.buf[r.start], false, nil
}

// ahead is the beginning of a message that has not been read.
type ahead struct {
	first  byte
	length int
	body   []byte
}

// peek looks at the next message without reading it. It sees the whole of a
// short one.
func (r *reader) peek() (ahead, error) {
	if err := r.stream(func([]byte) error { return nil }); err != nil {
		return ahead{}, err
	}
	if err := r.fill(5); err != nil {
		return ahead{}, err
	}
	h := r.buf[r.start:]
	a := ahead{length: int(h[0]) | int(h[1])<<8 | int(h[2])<<16}
	a.first = h[4]
	if a.length < bufferSize/2 {
		if err := r.fill(4 + a.length); err != nil {
			return ahead{}, err
		}
		a.body = r.buf[r.start+4 : r.start+4+a.length]
	}
	return a, nil
}

// status is that of what ends columns or rows, 0 for a malformed one.
func (a *ahead) status(caps uint32) uint16 {
	e, err := parseEnd(a.body, caps)
	if err != nil {
		return 0
	}
	return e.status
}

// body returns the whole message; it is valid until the next call.
func (r *reader) body() ([]byte, error) {
	if !r.more {
		return r.take()
	}
	r.whole = r.whole[:0]
	for {
		more := r.more
		if len(r.whole)+r.left > r.max {
			return nil, &sizeError{length: len(r.whole) + r.left, max: r.max}
		}
		b, err := r.take()
		if err != nil {
			return nil, err
		}
		r.whole = append(r.whole, b...)
		if !more {
			return r.whole, nil
		}
		if err := r.packet(); err != nil {
			return nil, err
		}
	}
}

// take returns the rest of the packet.
func (r *reader) take() ([]byte, error) {
	n := r.left
	if n > r.max {
		return nil, &sizeError{length: n, max: r.max}
	}
	if err := r.fill(n); err != nil {
		return nil, err
	}
	b := r.buf[r.start : r.start+n : r.start+n]
	r.start += n
	r.left, r.more = 0, false
	return b, nil
}

// stream gives the rest of the message to w in pieces that are valid during
// the call.
func (r *reader) stream(w func([]byte) error) error {
	for {
		for r.left > 0 {
			if err := r.fill(1); err != nil {
				return err
			}
			n := min(r.left, r.end-r.start)
			b := r.buf[r.start : r.start+n]
			r.start += n
			r.left -= n
			if err := w(b); err != nil {
				return err
			}
		}
		if !r.more {
			return nil
		}
		if err := r.packet(); err != nil {
			return err
		}
	}
}

// beginPacket starts a message; endPacket fills in its header.
func beginPacket(dst []byte) ([]byte, int) { return append(dst, 0, 0, 0, 0), len(dst) }

// endPacket ends the message that begins at at, in as many packets as it
// takes.
func endPacket(dst []byte, at int, seq *byte) []byte {
	n := len(dst) - at - 4
	if n < maxPacket {
		putHeader(dst[at:], n, seq)
		return dst
	}
	payload := append([]byte(nil), dst[at+4:]...)
	dst = dst[:at]
	for {
		part := payload[:min(len(payload), maxPacket)]
		payload = payload[len(part):]
		var at int
		dst, at = beginPacket(dst)
		putHeader(dst[at:], len(part), seq)
		dst = append(dst, part...)
		if len(part) < maxPacket {
			return dst
		}
	}
}

func putHeader(b []byte, n int, seq *byte) {
	b[0], b[1], b[2], b[3] = byte(n), byte(n>>8), byte(n>>16), *seq
	*seq++
}

// appendMessage appends a whole message.
func appendMessage(dst []byte, seq *byte, payload []byte) []byte {
	dst, at := beginPacket(dst)
	return endPacket(append(dst, payload...), at, seq)
}

// appendInt appends a length-encoded integer.
func appendInt(dst []byte, n uint64) []byte {
	switch {
	case n < 251:
		return append(dst, byte(n))
	case n < 1<<16:
		return append(dst, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(dst, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(dst, 0xfe), n)
}

// appendBytes appends a length-encoded string.
func appendBytes(dst, b []byte) []byte { return append(appendInt(dst, uint64(len(b))), b...) }

func appendString(dst []byte, s string) []byte { return append(appendInt(dst, uint64(len(s))), s...) }

// fields reads the parts of a message that is all there; the first part that
// is missing makes it fail, and it stays failed.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if v := f.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if v := f.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if v := f.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

// int reads a length-encoded integer. NULL (0xfb) and ERR (0xff) are none.
func (f *fields) int() uint64 {
	switch c := f.byte(); c {
	case 0xfb, 0xff:
		f.bad, f.b = true, nil
		return 0
	case 0xfc:
		return uint64(f.uint16())
	case 0xfd:
		if v := f.take(3); v != nil {
			return uint64(v[0]) | uint64(v[1])<<8 | uint64(v[2])<<16
		}
		return 0
	case 0xfe:
		if v := f.take(8); v != nil {
			return binary.LittleEndian.Uint64(v)
		}
		return 0
	default:
		return uint64(c)
	}
}

// bytes reads a length-encoded string.
func (f *fields) bytes() []byte {
	n := f.int()
	if n > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	return f.take(int(n))
}

// string reads up to a NUL.
func (f *fields) string() string {
	for i, c := range f.b {
		if c == 0 {
			s := string(f.b[:i])
			f.b = f.b[i+1:]
			return s
		}
	}
	f.bad, f.b = true, nil
	return ""
}

// rest reads what is left.
func (f *fields) rest() []byte { return f.take(len(f.b)) }

func (f *fields) done() bool { return !f.bad && len(f.b) == 0 }
