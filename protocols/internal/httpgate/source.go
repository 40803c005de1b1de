package httpgate

import (
	"bytes"
	"errors"
	"io"
)

// sourceSize is how much of a connection is read at once, and what is kept of
// its buffer from one message to the next: most requests with a vector, and
// most answers to searches, come in one piece.
const sourceSize = 16 << 10

// source reads a connection's messages (RFC 9112 §2.2). One goroutine uses it.
type source struct {
	conn     io.Reader
	buf      []byte
	from, to int // what has come and is not taken yet
}

var (
	errLongHead = errors.New("the head is too long")
	errBareLF   = errors.New("a line does not end with CR LF")
)

// ready makes room in the buffer, for a message that begins with what is
// there.
func (s *source) ready() {
	if s.from == s.to {
		s.from, s.to = 0, 0
		if s.buf == nil || len(s.buf) > sourceSize {
			s.buf = make([]byte, sourceSize)
		}
	}
}

// fill reads more behind what is there. What was taken may be overwritten.
func (s *source) fill() error {
	s.ready()
	if s.to == len(s.buf) {
		if s.from > 0 {
			s.to = copy(s.buf, s.buf[s.from:s.to])
			s.from = 0
		} else {
			s.buf = append(s.buf, make([]byte, len(s.buf))...)
		}
	}
	n, err := s.conn.Read(s.buf[s.to:])
	s.to += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head takes a message's first line and its fields, with the line that ends
// them, at most limit bytes. They are good until the source is used again.
// io.EOF says that nothing had come.
func (s *source) head(limit int) ([]byte, error) {
	looked, line := 0, 0 // up to which byte, and where the line begins, from s.from
	for {
		b := s.buf[s.from:s.to]
		for looked < len(b) {
			i := bytes.IndexByte(b[looked:], '\n')
			if i < 0 {
				looked = len(b)
				break
			}
			end := looked + i
			if end == line || b[end-1] != '\r' {
				return nil, errBareLF
			}
			if looked = end + 1; end-1 == line {
				if looked > limit {
					return nil, errLongHead
				}
				s.from += looked
				return b[:looked], nil
			}
			line = looked
		}
		if len(b) > limit {
			return nil, errLongHead
		}
		if err := s.fill(); err != nil {
			if err == io.EOF && s.from < s.to {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// line takes a line of at most limit bytes, without its end.
func (s *source) line(limit int) ([]byte, error) {
	for looked := 0; ; {
		b := s.buf[s.from:s.to]
		if i := bytes.IndexByte(b[looked:], '\n'); i >= 0 {
			end := looked + i
			if end == 0 || b[end-1] != '\r' {
				return nil, errBareLF
			}
			if end-1 > limit {
				return nil, errLongHead
			}
			s.from += end + 1
			return b[:end-1], nil
		}
		if looked = len(b); looked > limit+1 { // its CR may be there
			return nil, errLongHead
		}
		if err := s.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// Read takes what is there, or else reads the connection.
func (s *source) Read(p []byte) (int, error) {
	if s.from == s.to {
		if len(p) >= sourceSize {
			return s.conn.Read(p)
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.buf[s.from:s.to])
	s.from += n
	return n, nil
}

// put puts what was read past it back, before what is read next. There is
// nothing else.
func (s *source) put(b []byte) {
	if len(b) > 0 {
		s.ready()
		s.to = copy(s.buf, b)
	}
}

// buffered is how many bytes are there.
func (s *source) buffered() int { return s.to - s.from }

// How a message's body ends (RFC 9112 §6.3), where it has no length.
const (
	inChunks   = -1
	untilClose = -2
)

// body is a message's body on its way in. It ends with io.EOF, or with
// another error where it broke off.
type body struct {
	src    *source
	length int64 // inChunks, untilClose, or in bytes
	left   int64 // of the length, or of the chunk
	// extended says that chunks may have extensions, and trailers may follow:
	// they are dropped. Else they are errors.
	extended bool
	begun    bool // a chunk was begun: a line's end follows it
	err      error
}

// start readies a body for another message.
func (b *body) start(src *source, length int64, extended bool) {
	*b = body{src: src, length: length, left: max(length, 0), extended: extended}
	if length == 0 {
		b.err = io.EOF
	}
}

// Read reads on.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.length == untilClose {
		var n int
		n, b.err = b.src.Read(p)
		return n, b.err
	}
	if b.left == 0 { // only between chunks
		if b.err = b.chunk(); b.err != nil {
			return 0, b.err
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.Read(p)
	b.left -= int64(n)
	switch {
	case b.left == 0 && b.length >= 0:
		b.err = io.EOF
	case err == io.EOF:
		b.err = io.ErrUnexpectedEOF
	case err != nil:
		b.err = err
	}
	return n, b.err
}

// whole takes a body that is there already, without copying it.
func (b *body) whole() ([]byte, bool) {
	if b.length < 0 || b.err != nil || b.left != b.length || int64(b.src.buffered()) < b.length {
		return nil, false
	}
	from := b.src.from
	b.src.from += int(b.length)
	b.left, b.err = 0, io.EOF
	return b.src.buf[from:b.src.from:b.src.from], true
}

// over says that the body has been read to its end, and skips what is there
// already of one that has not.
func (b *body) over() bool {
	if b.err == nil && b.length >= 0 && int64(b.src.buffered()) >= b.left {
		b.src.from += int(b.left)
		b.left, b.err = 0, io.EOF
	}
	return b.err == io.EOF
}

const (
	// maxChunkLine bounds a chunk's size and its extensions, maxTrailers the
	// fields behind the last.
	maxChunkLine = 256
	maxTrailers  = 4 << 10
)

var (
	errChunk   = errors.New("a chunk is not as RFC 9112 has it")
	errTrailer = errors.New("fields follow the last chunk")
)

// chunk reads a chunk's size, after the end of the one before (RFC 9112 §7.1).
// It is io.EOF after the last.
func (b *body) chunk() error {
	if b.begun {
		end, err := b.src.line(0)
		if err != nil || len(end) > 0 {
			return errors.Join(errChunk, err)
		}
	}
	b.begun = true
	line, err := b.src.line(maxChunkLine)
	if err != nil {
		return errors.Join(errChunk, err)
	}
	digits := line
	if i := bytes.IndexAny(line, "; \t"); i >= 0 && b.extended {
		digits = line[:i]
	}
	if b.left, err = hexSize(digits); err != nil {
		return err
	}
	if b.left > 0 {
		return nil
	}
	for left := maxTrailers; ; left -= len(line) + 2 {
		if line, err = b.src.line(max(left, 0)); err != nil {
			return errors.Join(errChunk, err)
		}
		if len(line) == 0 {
			return io.EOF
		}
		if !b.extended {
			return errTrailer
		}
	}
}

// hexSize reads a chunk's size: hexadecimal digits and nothing else.
func hexSize(b []byte) (n int64, err error) {
	if len(b) == 0 || len(b) > 15 {
		return 0, errChunk
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, errChunk
		}
		n = n<<4 | int64(c)
	}
	return n, nil
}
