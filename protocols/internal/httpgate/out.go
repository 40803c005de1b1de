package httpgate

import (
	"net/http"
	"strconv"
)

// holdBack is how much of an answer is kept before its first byte leaves: a
// failure up to then is a clean error.
const holdBack = 64 << 10

// Out is the way of an answer to the client. It keeps what is written until it
// has 64 KB, and then records before each write.
type Out struct {
	// Status and Type may be set until the first byte leaves.
	Status int
	Type   string // Content-Type

	w      http.ResponseWriter
	record func() error
	buf    []byte
	sent   bool
	err    error
}

// NewOut returns the way to w; record is called before each write to it.
func NewOut(w http.ResponseWriter, record func() error) *Out {
	return &Out{w: w, Status: http.StatusOK, record: record}
}

// Write takes bytes of the answer; they are copied.
func (o *Out) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	o.buf = append(o.buf, b...)
	if len(o.buf) >= holdBack {
		o.send()
	}
	return len(b), o.err
}

// Flush hands what was written to the client: for answers that come in
// pieces.
func (o *Out) Flush() error {
	if o.send(); o.err == nil {
		o.err = http.NewResponseController(o.w).Flush()
	}
	return o.err
}

// Sent says that something has left.
func (o *Out) Sent() bool { return o.sent }

func (o *Out) send() {
	if o.err != nil || o.err == nil && o.sent && len(o.buf) == 0 {
		return
	}
	if o.err = o.record(); o.err != nil {
		return
	}
	if !o.sent {
		o.head()
	}
	_, o.err = o.w.Write(o.buf)
	o.buf = o.buf[:0]
}

func (o *Out) head() {
	o.sent = true
	if o.Type == "" {
		o.Type = "application/json"
	}
	h := o.w.Header()
	h.Set("Content-Type", o.Type)
	h.Set("X-Content-Type-Options", "nosniff")
	o.w.WriteHeader(o.Status)
}

// End sends what is left.
func (o *Out) End() error {
	if !o.sent && o.err == nil {
		o.w.Header().Set("Content-Length", strconv.Itoa(len(o.buf)))
	}
	o.send()
	return o.err
}

// drop forgets what has not left.
func (o *Out) drop() { o.buf = o.buf[:0] }
