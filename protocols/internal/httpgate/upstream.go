package httpgate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
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
	// maxAsked bounds an answer to the proxy's own requests, and askTime how long
	// it may take.
	maxAsked = 32 << 20
	askTime  = 30 * time.Second
	// freshTime is how long a connection may have been idle and still takes a
	// request that must not be sent twice.
	freshTime = time.Second
)

// upstream is a connection to the store, of one session. All but silence is
// of the goroutine that takes the requests.
type upstream struct {
	conn    protocols.Upstream
	in      source
	answer  answerHead
	body    body   // of the answer
	fixed   []byte // the header that all requests have
	request []byte // the head that was sent last
	key     string // the proxy's, in fixed
	session string
	since   time.Time // of its last answer's end

	silence
	cut  func() bool // ends the interrupt with the requests' context
	over func() bool // ends the interrupt with an exchange's own context; nil for none
}

// expect makes the upstream's silence, and the end of a context of the
// exchange's own, interrupt the connection until the exchange is rested.
func (u *upstream) expect(own context.Context) {
	u.silence.begin()
	if own != nil {
		u.over = context.AfterFunc(own, u.conn.Interrupt)
	}
}

// rest ends what expect began. False says that the connection was interrupted,
// or may be.
func (u *upstream) rest() bool {
	whole := u.silence.end()
	if u.over != nil {
		whole = u.over() && whole
		u.over = nil
	}
	return whole
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
	g.up = &upstream{conn: up, in: source{conn: up}, fixed: fixedHeader(g.api, cred), key: cred.Password, session: s.ID()}
	g.up.silence.set(g.host.Timeout(), up.Interrupt)
	g.up.cut = context.AfterFunc(g.ctx, up.Interrupt)
	return nil
}

func (g *gate) hangUp() {
	if g.up != nil {
		g.up.rest()
		g.up.silence.timer.Stop()
		g.up.cut()
		_ = g.up.conn.Close()
		g.up = nil
	}
}

// message is a request as it goes upstream.
type message struct {
	method, contentType, accept string
	path                        []string
	query                       url.Values
	body                        []byte
	ticket                      protocols.Ticket // nil for a request of the proxy's own
	own                         context.Context  // of the exchange alone; nil for the request's
}

// send writes a part of it.
func (m *message) send(up protocols.Upstream, b []byte) error {
	if m.ticket == nil {
		return up.Control(protocols.ControlOwn, b)
	}
	return up.Send(m.ticket, b)
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
	b = append(appendTarget(append(append(b, m.method...), ' '), m.path, m.query), " HTTP/1.1\r\n"...)
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

// exchange sends a request and reads the answer's head, which is good until
// the next. The caller reads the body and calls answered, or hangs up. Until
// then the connection is interrupted with the context, or where the upstream
// is silent for too long.
func (g *gate) exchange(ctx context.Context, s protocols.Session, m *message, again bool) (*answerHead, error) {
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
		resp, err := g.try(m)
		if err == nil && !renewed && g.rotated(ctx, s, resp) {
			renewed = true
			g.hangUp()
			continue
		}
		if err == nil {
			return resp, nil
		}
		late := g.up.late()
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
func (g *gate) rotated(ctx context.Context, s protocols.Session, resp *answerHead) bool {
	if g.up.key == "" || resp.status != http.StatusUnauthorized && resp.status != http.StatusForbidden {
		return false
	}
	cred, err := s.Credential(ctx, true)
	return err == nil && cred.Password != g.up.key
}

func (g *gate) try(m *message) (*answerHead, error) {
	up := g.up
	up.expect(m.own)
	up.request = m.appendHead(up.request[:0], up.fixed)
	err := m.send(up.conn, up.request)
	if err == nil && len(m.body) > 0 {
		err = m.send(up.conn, m.body)
	}
	if err == nil {
		err = up.conn.Flush()
	}
	if err != nil {
		return nil, err
	}
	for range 5 {
		b, err := up.in.head(maxHead)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = up.answer.read(b, m.method, g.api.Headers)
		}
		if err != nil {
			return nil, err
		}
		if up.answer.status >= 200 {
			up.body.start(&up.in, up.answer.length, true)
			return &up.answer, nil
		}
	}
	return nil, errors.New("more than 5 interim answers")
}

// answered ends an exchange: what is whole is used again.
func (g *gate) answered() {
	up := g.up
	if !up.body.over() {
		_, _ = io.CopyN(io.Discard, &up.body, 4<<10)
	}
	if !up.rest() || up.answer.close || !up.body.over() || up.in.buffered() > 0 {
		g.hangUp()
		return
	}
	up.since = time.Now()
}

// ask sends a request of the proxy's own, for the request that is at work.
func (g *gate) ask(ctx context.Context, method string, path []string, query url.Values) (int, []byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTime, silent(errors.New("the proxy's own request took too long")))
	defer cancel()
	resp, err := g.exchange(ctx, g.request.Session, &message{method: method, path: path, query: query, own: ctx}, true)
	if err != nil {
		return 0, nil, err
	}
	body, err := readAll(nil, io.LimitReader(&g.up.body, maxAsked+1))
	if err == nil && len(body) > maxAsked {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		late := g.up.late()
		g.hangUp()
		switch {
		case ctx.Err() != nil:
			return 0, nil, context.Cause(ctx)
		case late:
			return 0, nil, silent(err)
		}
		return 0, nil, Broken("the upstream's answer to the proxy's own request broke off", err)
	}
	g.answered()
	return resp.status, body, nil
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
type quietReader struct{ up *upstream }

func (q quietReader) Read(b []byte) (int, error) {
	n, err := q.up.body.Read(b)
	if err == nil {
		q.up.silence.broken()
	}
	return n, err
}
