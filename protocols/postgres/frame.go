package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// bufferSize is what one direction of a session holds while it streams.
const bufferSize = 64 << 10

// idleBuffer is what one direction holds while little comes.
const idleBuffer = 2 << 10

// largeBuffers lend a session what it needs while much comes.
var largeBuffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// sizeError is a message longer than its limit.
type sizeError struct {
	typ    byte
	length int
	max    int
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("message %q of %d bytes is over the limit of %d", e.typ, e.length, e.max)
}

// reader reads messages (one byte of type, four of length, the body). It
// checks a length against its limit before it allocates, and keeps one
// buffer that grows to the largest message held. Not safe for concurrent use.
type reader struct {
	r     io.Reader
	buf   []byte
	start int // of unread bytes
	end   int
	left  int  // of the current message's body, unread
	max   int  // of a body that is held
	full  bool // the last read filled the buffer
	small []byte
	large *[bufferSize]byte // buf, where it is lent
}

func newReader(r io.Reader, max int) *reader {
	b := make([]byte, idleBuffer)
	return &reader{r: r, buf: b, small: b, max: max}
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
	if n > len(r.buf) || r.full && len(r.buf) < bufferSize {
		r.grow(n)
	}
	var err error
	for err == nil && r.end-r.start < n {
		var got int
		got, err = r.r.Read(r.buf[r.end:])
		r.end += got
	}
	r.full = r.end == len(r.buf)
	switch {
	case r.end-r.start >= n:
		return nil
	case err == io.EOF && r.end > r.start:
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads a message's header. What is left of the message before is
// skipped.
func (r *reader) next() (typ byte, length int, err error) {
	if err := r.skip(); err != nil {
		return 0, 0, err
	}
	if r.start == r.end {
		r.rest()
	}
	if err := r.fill(5); err != nil {
		return 0, 0, err
	}
	typ = r.buf[r.start]
	n := binary.BigEndian.Uint32(r.buf[r.start+1:])
	if n < 4 || n > 1<<30+4 {
		return typ, 0, fmt.Errorf("message %q: %w", typ, &sizeError{typ: typ, length: int(n), max: 1 << 30})
	}
	r.start += 5
	r.left = int(n) - 4
	return typ, r.left, nil
}

// grow makes the buffer a large one, or one for n bytes where that is more.
func (r *reader) grow(n int) {
	unread := r.buf[r.start:r.end]
	if n > bufferSize {
		r.buf = make([]byte, n)
		r.end = copy(r.buf, unread)
		r.giveBack()
	} else {
		r.large = largeBuffers.Get().(*[bufferSize]byte)
		r.buf = r.large[:]
		r.end = copy(r.buf, unread)
	}
	r.start = 0
}

func (r *reader) giveBack() {
	if r.large != nil {
		largeBuffers.Put(r.large)
		r.large = nil
	}
}

// rest makes room anew where all has been read. No more than a small buffer
// stays with a session that has read what there was.
func (r *reader) rest() {
	r.start, r.end = 0, 0
	if len(r.buf) > idleBuffer && (!r.full || len(r.buf) > bufferSize) {
		r.buf = r.small
		r.giveBack()
	}
}

// body returns the whole body; it is valid until the next call.
func (r *reader) body() ([]byte, error) {
	n := r.left
	if n > r.max {
		return nil, &sizeError{length: n, max: r.max}
	}
	if err := r.fill(n); err != nil {
		return nil, err
	}
	b := r.buf[r.start : r.start+n : r.start+n]
	r.start += n
	r.left = 0
	return b, nil
}

// stream gives the body to w in pieces that are valid during the call.
func (r *reader) stream(w func([]byte) error) error {
	for r.left > 0 {
		if err := r.fill(1); err != nil {
			return err
		}
		n := min(r.left, r.end-r.start)
		if err := w(r.buf[r.start : r.start+n]); err != nil {
			return err
		}
		r.start += n
		r.left -= n
	}
	return nil
}

func (r *reader) skip() error {
	if r.left == 0 {
		return nil
	}
	return r.stream(func([]byte) error { return nil })
}

// appendMessage starts a message; endMessage fills in its length.
func appendMessage(dst []byte, typ byte) ([]byte, int) {
	return append(dst, typ, 0, 0, 0, 0), len(dst)
}

func endMessage(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

// message is a whole message of its own.
func message(typ byte, body ...[]byte) []byte {
	dst, at := appendMessage(nil, typ)
	for _, b := range body {
		dst = append(dst, b...)
	}
	return endMessage(dst, at)
}

func appendString(dst []byte, s string) []byte {
	return append(append(dst, s...), 0)
}

// fields reads the parts of a body that is all there; the first part that is
// missing makes it fail, and it stays failed.
type fields struct {
	b   []byte
	bad bool
	why string // it failed, in PostgreSQL's words; "" for what is missing
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

func (f *fields) int16() int {
	if v := f.take(2); v != nil {
		return int(int16(binary.BigEndian.Uint16(v)))
	}
	return 0
}

func (f *fields) int32() int32 {
	if v := f.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (f *fields) uint32() uint32 { return uint32(f.int32()) }

// text reads up to a NUL. It is the body's own bytes.
func (f *fields) text() []byte {
	if i := bytes.IndexByte(f.b, 0); i >= 0 {
		v := f.b[:i:i]
		f.b = f.b[i+1:]
		return v
	}
	if !f.bad {
		f.why = "invalid string in message"
	}
	f.bad, f.b = true, nil
	return nil
}

func (f *fields) string() string { return string(f.text()) }

// count reads a 16-bit count of things of at least size bytes each and checks
// that so many can follow.
func (f *fields) count(size int) int {
	n := int(uint16(f.int16()))
	if n*size > len(f.b) {
		f.bad, f.b = true, nil
		return 0
	}
	return n
}

func (f *fields) done() bool { return !f.bad && len(f.b) == 0 }

// malformed is PostgreSQL's error for a body that is not what its type says,
// nil where the body has been read to its end. It fails the message, not the
// session: the next one begins where the length said.
//
// Source: postgres/src/backend/libpq/pqformat.c.
func (f *fields) malformed() *wireError {
	switch {
	case f.done():
		return nil
	case !f.bad:
		return failure("08P01", "invalid message format")
	case f.why != "":
		return failure("08P01", f.why)
	}
	return failure("08P01", "insufficient data left in message")
}
