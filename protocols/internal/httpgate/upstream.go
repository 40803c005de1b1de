package httpgate

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

const (
	// maxHead bounds an answer's status line and header.
	maxHead = 256 << 10
	// maxAsked bounds an answer to the proxy's own requests, and askTime how long
	// it may take.
	maxAsked = 32 << 20
	askTime  = 30 * time.Second
	// freshTime is how long a connection may have been idle and still takes a
	// request that must not be sent twice.
	freshTime = time.Second
)

// upstream is a connection to the store, of one session.
type upstream struct {
	conn    protocols.Upstream
	reader  *bufio.Reader
	head    *headReader
	fixed   []byte // the header that all requests have
	request []byte // the head that was sent last
	key     string // the proxy's, in fixed
	session string
	since   time.Time // of its last answer's end

	timeout time.Duration // how long the upstream may be silent within a request
	quiet   *time.Timer   // interrupts the connection, where the upstream is silent for too long
	late    atomic.Bool   // it was
	over    func() bool   // ends what the exchange began: an interrupt with its context
}

// expect makes the upstream's silence, and the context's end, interrupt the
// connection until the exchange is rested.
func (u *upstream) expect(ctx context.Context) {
	if u.quiet == nil {
		u.quiet = time.AfterFunc(u.timeout, func() { u.late.Store(true); u.conn.Interrupt() })
	} else {
		u.quiet.Reset(u.timeout)
	}
	u.over = context.AfterFunc(ctx, u.conn.Interrupt)
}

// rest ends what expect began. False says that the connection was interrupted,
// or may be.
func (u *upstream) rest() bool {
	running := u.quiet.Stop()
	return u.over() && running
}

// headReader bounds what is read before a head is whole.
type headReader struct {
	r    io.Reader
	left int64 // -1 for no bound
}

func (h *headReader) Read(b []byte) (int, error) {
	if h.left == 0 {
		return 0, errors.New("the head is too long")
	}
	if h.left > 0 && int64(len(b)) > h.left {
		b = b[:h.left]
	}
	n, err := h.r.Read(b)
	if h.left > 0 {
		h.left -= int64(n)
	}
	return n, err
}

// dial connects for a session.
func (g *gate) dial(ctx context.Context, s protocols.Session) error {
	g.hangUp()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	fail := func(err error) error {
		return &unavailable{status: http.StatusBadGateway, what: "the upstream of this target cannot be reached", err: err}
	}
	cred, err := s.Credential(ctx, false)
	if err != nil {
		return fail(err)
	}
	up, err := s.Dial(ctx)
	if err != nil {
		return fail(err)
	}
	if cred.TLSMode != "disable" {
		if err := up.StartTLS(ctx); err != nil {
			return fail(errors.Join(err, up.Close()))
		}
	}
	h := &headReader{r: up, left: -1}
	g.up = &upstream{conn: up, head: h, reader: bufio.NewReaderSize(h, 64<<10), fixed: fixedHeader(g.api, cred), key: cred.Password, session: s.ID(), timeout: g.host.Timeout()}
	return nil
}

func (g *gate) hangUp() {
	if g.up != nil {
		if g.up.over != nil {
			g.up.rest()
		}
		_ = g.up.conn.Close()
		g.up = nil
	}
}

// message is a request as it goes upstream.
type message struct {
	method, target, contentType, accept string
	body                                []byte
}

// fixedHeader is what all requests over a connection have in common.
func fixedHeader(api *API, cred protocols.Credential) []byte {
	h := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"sallyport"}}
	if cred.Password != "" {
		api.Key(h, cred.Password)
	}
	var b bytes.Buffer
	b.WriteString("Host: " + cred.Host + "\r\n")
	if err := h.Write(&b); err != nil { // to a Buffer: never fails
		panic(err)
	}
	return b.Bytes()
}

// appendHead appends the head (RFC 9112 §3).
func (m *message) appendHead(b, fixed []byte) []byte {
	line := func(name, value string) {
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	b = append(append(append(append(b, m.method...), ' '), m.target...), " HTTP/1.1\r\n"...)
	b = append(b, fixed...)
	line("Accept", cmp.Or(m.accept, jsonType))
	if m.body != nil {
		line("Content-Type", oneLine.Replace(cmp.Or(m.contentType, jsonType)))
	}
	if m.body != nil || m.method != http.MethodGet {
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(m.body)), 10), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

const jsonType = "application/json"

// oneLine keeps a client's own words in one header.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// exchange sends a request and reads the answer's head. The caller reads the
// body and calls answered, or hangs up. Until then the connection is
// interrupted with the context, or where the upstream is silent for too long.
func (g *gate) exchange(ctx context.Context, s protocols.Session, m *message, send func(up protocols.Upstream, b []byte) error, again bool) (*http.Response, error) {
	if g.up != nil && (g.up.session != s.ID() || !again && time.Since(g.up.since) > freshTime) {
		g.hangUp()
	}
	renewed := false
	for {
		reused := g.up != nil
		if !reused {
			if err := g.dial(ctx, s); err != nil {
				return nil, err
			}
		}
		resp, err := g.try(ctx, m, send)
		if err == nil && !renewed && g.rotated(ctx, s, resp) {
			renewed = true
			g.hangUp()
			continue
		}
		if err == nil {
			return resp, nil
		}
		late := g.up.late.Load()
		g.hangUp()
		var d *protocols.Denial
		switch {
		case errors.As(err, &d):
			return nil, err
		case late:
			return nil, silent(err)
		case reused && again && ctx.Err() == nil:
			continue // it was closed while it was idle
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		return nil, &unavailable{status: http.StatusBadGateway, what: "the upstream did not answer as HTTP asks", err: err}
	}
}

func silent(err error) error {
	return &unavailable{status: http.StatusGatewayTimeout, what: "the upstream did not answer in time", err: err}
}

// rotated says that the store refused the proxy's key and that there is another
// one by now: the request was not looked at, and is sent once more.
func (g *gate) rotated(ctx context.Context, s protocols.Session, resp *http.Response) bool {
	if g.up.key == "" || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return false
	}
	cred, err := s.Credential(ctx, true)
	return err == nil && cred.Password != g.up.key
}

func (g *gate) try(ctx context.Context, m *message, send func(up protocols.Upstream, b []byte) error) (*http.Response, error) {
	up := g.up
	up.expect(ctx)
	up.request = m.appendHead(up.request[:0], up.fixed)
	err := send(up.conn, up.request)
	if err == nil && len(m.body) > 0 {
		err = send(up.conn, m.body)
	}
	if err == nil {
		err = up.conn.Flush()
	}
	if err != nil {
		return nil, err
	}
	for range 5 {
		up.head.left = maxHead
		resp, err := http.ReadResponse(up.reader, &http.Request{Method: m.method})
		if err != nil {
			return nil, err
		}
		up.head.left = -1
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, errors.New("the upstream switches protocols")
		}
		if resp.StatusCode >= 200 {
			return resp, nil
		}
	}
	return nil, errors.New("more than 5 interim answers")
}

// answered ends an exchange: what is whole is used again.
func (g *gate) answered(resp *http.Response) {
	n, err := io.CopyN(io.Discard, resp.Body, 4<<10)
	if !g.up.rest() || resp.Close || err != io.EOF || n > 0 || g.up.reader.Buffered() > 0 {
		g.hangUp()
		return
	}
	g.up.since = time.Now()
}

// ask sends a request of the proxy's own.
func (g *gate) ask(ctx context.Context, s protocols.Session, method string, path []string, query url.Values) (int, []byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTime, silent(errors.New("the proxy's own request took too long")))
	defer cancel()
	send := func(up protocols.Upstream, b []byte) error { return up.Control(protocols.ControlOwn, b) }
	resp, err := g.exchange(ctx, s, &message{method: method, target: targetOf(path, query)}, send, true)
	if err != nil {
		return 0, nil, err
	}
	body, err := readAll(nil, io.LimitReader(resp.Body, maxAsked+1))
	if err == nil && len(body) > maxAsked {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		late := g.up.late.Load()
		g.hangUp()
		switch {
		case ctx.Err() != nil:
			return 0, nil, context.Cause(ctx)
		case late:
			return 0, nil, silent(err)
		}
		return 0, nil, Broken("the upstream's answer to the proxy's own request broke off", err)
	}
	g.answered(resp)
	return resp.StatusCode, body, nil
}

// onlyReads says that an operation may be sent twice.
func onlyReads(f *facts.Facts) bool {
	for i := range f.Effects {
		if a := f.Effects[i].Action; a != facts.Read && a != facts.Search {
			return false
		}
	}
	return true
}

// quietReader reads an answer's body, which may be silent for so long.
type quietReader struct {
	r  io.Reader
	up *upstream
}

func (q *quietReader) Read(b []byte) (int, error) {
	n, err := q.r.Read(b)
	if err == nil {
		q.up.quiet.Reset(q.up.timeout)
	}
	return n, err
}
