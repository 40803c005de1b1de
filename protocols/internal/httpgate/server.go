package httpgate

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// How long a client may take: headTime for its TLS handshake and for each
// request's head, bodyTime for a body, idleTime between requests, and
// lingerTime to read an answer before it has sent all of its request.
var (
	headTime   = 15 * time.Second
	bodyTime   = time.Minute
	idleTime   = 2 * time.Minute
	lingerTime = 500 * time.Millisecond
)

// maxLinger bounds what is read of a request that was answered already.
const maxLinger = 256 << 10

// gate is one client's connection. One goroutine takes its requests, one after
// the other.
type gate struct {
	api  *API
	host protocols.Host
	raw  net.Conn
	conn net.Conn // with TLS, where there is; else raw
	tls  *tls.ConnectionState
	up   *upstream

	address string
	keys    []string // of the API's KeyHeaders, in lower case

	// The client's side of the connection:
	in       source
	allowed  time.Duration // for what is read next; 0 where its deadline stands
	deadline time.Time     // for reads
	last     remembered
	target   target
	request  Request

	// One request at a time uses these: its head and body, its body in its
	// canonical form, and its answer.
	head      head
	body      body
	buf       []byte
	text      []byte
	continues bool // 100 is to be said before the body is read
	out       Out

	// The requests' context, until one is cancelled.
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  watch

	failed error // what ended it
}

// Serve speaks HTTP/1.1 with a client until its connection ends. It takes conn
// over.
func Serve(ctx context.Context, conn net.Conn, host protocols.Host, api *API) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := &gate{api: api, host: host, raw: conn, conn: conn, keys: lowered(api.KeyHeaders)}
	defer func() { _ = g.conn.Close() }()
	g.address, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
	g.in.conn = reader{g}
	g.out.w, g.out.ending = g.conn, g.ends
	g.request.Keep, g.request.Ask, g.request.canonical = host.Keep, g.ask, &g.text
	defer g.hangUp()
	g.watch.start(conn, host.Draining())
	defer g.watch.end()
	if conf, required := host.TLS(); required && !g.shakeHands(ctx, conf) {
		return nil
	}
	for first := true; g.next(ctx, first); first = false {
	}
	return g.failed
}

// shakeHands begins TLS.
func (g *gate) shakeHands(ctx context.Context, conf *tls.Config) bool {
	conf = conf.Clone()
	conf.NextProtos = []string{"http/1.1"}
	c := tls.Server(g.raw, conf)
	_ = g.raw.SetDeadline(time.Now().Add(headTime))
	if !g.watch.waits(true) {
		return false
	}
	err := c.HandshakeContext(ctx)
	g.watch.waits(false)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil {
		g.misread(badHead("comes without TLS, which this port asks for"))
	}
	if err != nil {
		return false
	}
	_ = g.raw.SetDeadline(time.Time{})
	state := c.ConnectionState()
	g.conn, g.out.w, g.tls = c, c, &state
	g.watch.use(c)
	return true
}

// reader is the client's side of the connection, within the time that a client
// may take.
type reader struct{ g *gate }

func (r reader) Read(p []byte) (int, error) {
	r.g.arm()
	return r.g.conn.Read(p)
}

// arm sets the deadline for what is read next, once. One that is nearly the
// same is left as it is: it costs a timer.
func (g *gate) arm() {
	if g.allowed == 0 {
		return
	}
	if want := time.Now().Add(g.allowed); want.Before(g.deadline) || want.Sub(g.deadline) > g.allowed/64 {
		g.deadline = want
		_ = g.conn.SetReadDeadline(want)
	}
	g.allowed = 0
}

// next takes a request and answers it. False says that it was the last.
func (g *gate) next(ctx context.Context, first bool) bool {
	if g.in.buffered() == 0 && !g.await(first) {
		return false
	}
	g.allowed = headTime
	b, err := g.in.head(maxRequestHead)
	switch {
	case errors.Is(err, errLongHead):
		g.misread(Problem(http.StatusRequestHeaderFieldsTooLarge, "the request's head has more than 64 KB", ""))
		return false
	case errors.Is(err, errBareLF):
		g.misread(badHead("has a line that does not end with CR LF"))
		return false
	case err != nil:
		return false // it is gone, or too slow
	}
	if err := g.head.readHead(b, g.keys, &g.last); err != nil {
		g.misread(err)
		return false
	}
	g.body.start(&g.in, g.head.length, false)
	g.continues, g.allowed = g.head.expects, bodyTime
	return g.answerNext(ctx)
}

// await waits for a request's first bytes.
func (g *gate) await(first bool) bool {
	if g.allowed = idleTime; first {
		g.allowed = headTime
	}
	g.arm() // before a drain may move it
	if !g.watch.waits(true) {
		return false
	}
	err := g.in.fill()
	g.watch.waits(false)
	return err == nil
}

// ends says that the connection ends after this answer: the client or the
// proxy wants it, or nobody knows where the next request begins.
func (g *gate) ends() bool { return g.head.close || !g.body.over() || g.watch.draining() }

// answerNext takes the request that was read through the gate.
func (g *gate) answerNext(ctx context.Context) bool {
	if g.ctx == nil || g.ctx.Err() != nil {
		g.hangUp() // it is interrupted with the context
		g.ctx, g.cancel = context.WithCancelCause(ctx)
	}
	out := &g.out
	out.start(nothing)
	out.bare, out.old = g.head.method == http.MethodHead, g.head.old
	err := g.serve(g.ctx, out)
	if err == nil {
		err = out.End()
	}
	switch {
	case err == nil:
	case out.sent: // it cannot be said any more
		g.failed = err
		g.abort()
		return false
	default:
		g.refuse(out, err)
	}
	if out.err != nil {
		return false
	}
	if out.closes {
		g.linger()
	}
	return !out.closes
}

func nothing() error { return nil }

// misread answers what is no request, and is the end of its connection.
func (g *gate) misread(err error) {
	g.head = head{close: true, length: untilClose}
	g.body.start(&g.in, untilClose, false)
	g.out.start(nothing)
	g.refuse(&g.out, err)
	g.failed = nil // it is the client's
	g.linger()
}

// linger has a client that may still be sending read its answer: closing a
// connection on which unread bytes come would take the answer away with it
// (RFC 9112 §9.6).
func (g *gate) linger() {
	if g.body.over() {
		return
	}
	if c, ok := g.conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	g.in.from, g.in.to = 0, 0
	g.allowed, g.deadline = lingerTime, time.Time{}
	_, _ = io.CopyN(io.Discard, g.in.conn, maxLinger)
}

// abort ends the connection in the midst of an answer, so that the client
// cannot take it for a whole one: HTTP/1.0 knows it by the connection's end
// alone.
func (g *gate) abort() {
	if c, ok := g.raw.(interface{ SetLinger(seconds int) error }); ok && g.head.old {
		_ = c.SetLinger(0)
		_ = g.raw.Close()
	}
}
