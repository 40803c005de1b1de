package httpgate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

const (
	// maxHead bounds an answer's status line and header.
	maxHead = 256 << 10
	// maxAsked bounds an answer to the proxy's own requests.
	maxAsked = 32 << 20
	// freshTime is how long a connection may have been idle and still takes a
	// request that must not be sent twice.
	freshTime = time.Second
)

// quietTime is how long an upstream may be silent within a request.
var quietTime = 5 * time.Minute

// upstream is a connection to the store, of one session.
type upstream struct {
	conn    protocols.Upstream
	reader  *bufio.Reader
	head    *headReader
	host    string
	key     string
	session string
	used    bool
	since   time.Time // of its last answer's end
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
	cred, err := s.Credential(ctx)
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
	g.up = &upstream{conn: up, head: h, reader: bufio.NewReaderSize(h, 64<<10), host: cred.Host, key: cred.Password, session: s.ID()}
	return nil
}

func (g *gate) hangUp() {
	if g.up != nil {
		_ = g.up.conn.Close()
		g.up = nil
	}
}

// message is a request as it goes upstream.
type message struct {
	method, target, contentType, accept string
	header                              http.Header
	body                                []byte
}

// bytes is the head (RFC 9112 §3).
func (m *message) bytes(api *API, up *upstream) []byte {
	h := http.Header{}
	for k, v := range m.header {
		h[k] = v
	}
	h.Set("Accept", "application/json")
	if m.accept != "" {
		h.Set("Accept", m.accept)
	}
	h.Set("Accept-Encoding", "identity")
	h.Set("User-Agent", "sallyport")
	if up.key != "" {
		api.Key(h, up.key)
	}
	if m.body != nil {
		h.Set("Content-Type", "application/json")
		if m.contentType != "" {
			h.Set("Content-Type", m.contentType)
		}
	}
	if m.body != nil || m.method != http.MethodGet {
		h.Set("Content-Length", strconv.Itoa(len(m.body)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", m.method, m.target, up.host)
	if err := h.Write(&b); err != nil { // to a Builder: never fails
		panic(err)
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// exchange sends a request and reads the answer's head. The caller reads the
// body to its end, or hangs up.
func (g *gate) exchange(ctx context.Context, s protocols.Session, m *message, send func(up protocols.Upstream, b []byte) error, again bool) (*http.Response, error) {
	if g.up != nil && (g.up.session != s.ID() || !again && time.Since(g.up.since) > freshTime) {
		g.hangUp()
	}
	for {
		reused := g.up != nil
		if !reused {
			if err := g.dial(ctx, s); err != nil {
				return nil, err
			}
		}
		resp, err := g.try(ctx, m, send)
		if err == nil {
			return resp, nil
		}
		g.hangUp()
		var d *protocols.Denial
		var timeout net.Error
		switch {
		case errors.As(err, &d):
			return nil, err
		case reused && again && ctx.Err() == nil:
			continue // it was closed while it was idle
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil, &unavailable{status: http.StatusGatewayTimeout, what: "the upstream did not answer in time", err: err}
		}
		return nil, &unavailable{status: http.StatusBadGateway, what: "the upstream did not answer as HTTP asks", err: err}
	}
}

func (g *gate) try(ctx context.Context, m *message, send func(up protocols.Upstream, b []byte) error) (*http.Response, error) {
	up := g.up
	up.used = true
	quiet := time.AfterFunc(quietTime, up.conn.Interrupt)
	defer quiet.Stop()
	stop := context.AfterFunc(ctx, up.conn.Interrupt)
	defer stop()
	err := send(up.conn, m.bytes(g.api, up))
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
	if g.up == nil {
		return
	}
	if n, err := io.CopyN(io.Discard, resp.Body, 4<<10); resp.Close || err != io.EOF || n > 0 || g.up.reader.Buffered() > 0 {
		g.hangUp()
		return
	}
	g.up.since = time.Now()
}

// ask sends a request of the proxy's own.
func (g *gate) ask(ctx context.Context, s protocols.Session, method string, path []string, query url.Values) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	send := func(up protocols.Upstream, b []byte) error { return up.Control(protocols.ControlOwn, b) }
	resp, err := g.exchange(ctx, s, &message{method: method, target: targetOf(path, query)}, send, true)
	if err != nil {
		return 0, nil, err
	}
	stop := context.AfterFunc(ctx, g.up.conn.Interrupt)
	defer stop()
	body, err := readAll(nil, io.LimitReader(resp.Body, maxAsked+1))
	if err == nil && len(body) > maxAsked {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		g.hangUp()
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

// quietReader ends a body that is silent for too long.
type quietReader struct {
	r     io.Reader
	timer *time.Timer
}

func (q *quietReader) Read(b []byte) (int, error) {
	n, err := q.r.Read(b)
	q.timer.Reset(quietTime)
	return n, err
}
