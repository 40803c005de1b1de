package httpgate

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	// holdBack is how much of an answer is kept before its first byte leaves: a
	// failure up to then is a clean error.
	holdBack = 64 << 10
	// headRoom is kept free before an answer, for its head.
	headRoom = 512
)

// Out is the way of an answer to the client (RFC 9112). It keeps what is
// written until it has 64 KB, and then records before each write.
type Out struct {
	// Status and Type may be set until the first byte leaves.
	Status int
	Type   string // Content-Type

	w       io.Writer
	record  func() error
	ending  func() bool // asked when the head is made: the connection ends after this answer
	fields  []byte      // further lines of the head
	buf     []byte      // headRoom bytes, and what has not left
	head    []byte
	date    date
	bare    bool // no body: the answer to HEAD
	old     bool // to HTTP/1.0, which knows no chunks
	closes  bool // the head says that the connection ends
	chunked bool
	sent    bool
	err     error
}

// NewOut returns the way to w; record is called before each write to it.
func NewOut(w io.Writer, record func() error) *Out {
	o := &Out{w: w, ending: func() bool { return true }}
	o.start(record)
	return o
}

// start readies it for another answer.
func (o *Out) start(record func() error) {
	o.Status, o.Type, o.record = http.StatusOK, "", record
	o.fields, o.bare, o.old, o.closes, o.chunked, o.sent, o.err = o.fields[:0], false, false, false, false, false, nil
	if cap(o.buf) > holdBack+holdBack/2 || o.buf == nil {
		o.buf = make([]byte, headRoom, 2<<10)
	}
	o.buf = o.buf[:headRoom]
}

// field adds a line to the head.
func (o *Out) field(name, value string) {
	o.fields = append(append(append(append(o.fields, name...), ": "...), value...), "\r\n"...)
}

// Write takes bytes of the answer; they are copied.
func (o *Out) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	o.buf = append(o.buf, b...)
	if len(o.buf) >= headRoom+holdBack {
		o.send(false)
	}
	return len(b), o.err
}

// Flush hands what was written to the client: for answers that come in
// pieces.
func (o *Out) Flush() error {
	o.send(false)
	return o.err
}

// Sent says that something has left.
func (o *Out) Sent() bool { return o.sent }

// End sends what is left.
func (o *Out) End() error {
	o.send(true)
	return o.err
}

// send writes what is there, in one piece with the head where that has not
// left and with the chunk's size.
func (o *Out) send(last bool) {
	n := len(o.buf) - headRoom
	if o.err != nil || o.sent && n == 0 && !(last && o.chunked) {
		return
	}
	if o.err = o.record(); o.err != nil {
		return
	}
	head := o.head[:0]
	if !o.sent {
		head = o.appendHead(head, last, n)
	}
	if o.bare || o.Status == http.StatusNoContent {
		o.buf, n = o.buf[:headRoom], 0
	} else if o.chunked {
		if n > 0 {
			head = append(strconv.AppendInt(head, int64(n), 16), "\r\n"...)
			o.buf = append(o.buf, "\r\n"...)
		}
		if last {
			o.buf = append(o.buf, "0\r\n\r\n"...)
		}
	}
	o.head, o.sent = head, true
	if len(head) > headRoom {
		if _, o.err = o.w.Write(head); o.err != nil {
			return
		}
		head = nil
	}
	from := headRoom - len(head)
	copy(o.buf[from:], head)
	if from < len(o.buf) {
		_, o.err = o.w.Write(o.buf[from:])
	}
	o.buf = o.buf[:headRoom]
}

// appendHead appends the answer's head (RFC 9112 §4). whole says that its body
// is all there, of n bytes.
func (o *Out) appendHead(b []byte, whole bool, n int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = append(strconv.AppendInt(b, int64(o.Status), 10), ' ')
	b = append(append(b, http.StatusText(o.Status)...), "\r\nContent-Type: "...)
	if o.Type == "" {
		o.Type = jsonType
	}
	b = append(append(b, o.Type...), "\r\nX-Content-Type-Options: nosniff\r\nDate: "...)
	b = append(append(b, o.date.now()...), "\r\n"...)
	o.closes = o.ending()
	switch {
	case o.Status == http.StatusNoContent:
	case whole:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(n), 10), "\r\n"...)
	case o.old:
		o.closes = true
	default:
		o.chunked = !o.bare
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if o.closes {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(append(b, o.fields...), "\r\n"...)
}

// drop forgets what has not left.
func (o *Out) drop() { o.buf, o.fields = o.buf[:headRoom], o.fields[:0] }

// date is the time as an answer's Date has it (RFC 9110 §5.6.7).
type date struct {
	at   int64
	text []byte
}

func (d *date) now() []byte {
	if t := time.Now(); t.Unix() != d.at {
		d.at, d.text = t.Unix(), t.UTC().AppendFormat(d.text[:0], http.TimeFormat)
	}
	return d.text
}
