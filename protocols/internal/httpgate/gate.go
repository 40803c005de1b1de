package httpgate

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// headTime is how long a client may take for its TLS handshake and for each
// request's head, and idleTime how long its connection may be idle.
var (
	headTime = 15 * time.Second
	idleTime = 2 * time.Minute
)

// gate is one client's connection.
type gate struct {
	api  *API
	host protocols.Host
	conn net.Conn
	up   *upstream

	address string
	// One request at a time uses these: its body, as it came and in its canonical
	// form, and what is left of its answer.
	body, text, leaving []byte

	watch watch

	failed error // what ended it; of the handler, which is over when it is read
	panic  any
}

// Serve speaks HTTP/1.1 with a client until its connection ends. It takes conn
// over.
func Serve(ctx context.Context, conn net.Conn, host protocols.Host, api *API) error {
	g := &gate{api: api, host: host, conn: conn}
	g.address, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
	defer g.hangUp()
	defer g.watch.end()
	if conf, required := host.TLS(); required {
		conf = conf.Clone()
		conf.NextProtos = []string{"http/1.1"}
		g.conn = tls.Server(conn, conf)
	} else {
		g.conn = &bufferedConn{conn, bufio.NewReaderSize(conn, clientBuffer)}
	}
	l := &single{conn: g.conn, closed: make(chan struct{})}
	srv := &http.Server{
		Handler: g, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), BaseContext: func(net.Listener) context.Context { return ctx },
		DisableGeneralOptionsHandler: true,
	}
	var state atomic.Int32
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		state.Store(int32(s))
		if s == http.StateClosed || s == http.StateHijacked {
			l.end()
		}
	}
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ended:
		case <-host.Draining():
			srv.SetKeepAlivesEnabled(false) // closes it where it is idle
			if http.ConnState(state.Load()) == http.StateNew {
				_ = conn.Close()
			}
		}
	})
	_ = srv.Serve(l) // ends with the connection
	close(ended)
	watch.Wait()
	if g.panic != nil {
		panic(g.panic) // the engine counts it
	}
	return g.failed
}

// clientBuffer is how much of a plaintext connection is read at once: net/http
// itself reads 4 KB, and so most requests with a vector in two pieces.
const clientBuffer = 16 << 10

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// single is a listener of one connection.
type single struct {
	conn   net.Conn
	closed chan struct{}
	once   sync.Once
	taken  bool
}

func (l *single) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *single) end()           { l.once.Do(func() { close(l.closed) }) }
func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }

// ServeHTTP takes one request through the gate.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := NewOut(w, func() error { return nil })
	out.buf = g.leaving[:0]
	defer func() {
		if g.leaving = out.buf; cap(g.leaving) > holdBack+holdBack/2 {
			g.leaving = nil
		}
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
				g.panic = p
			}
			panic(http.ErrAbortHandler)
		}
	}()
	err := g.serve(r.Context(), w, r, out)
	if err == nil {
		if err = out.End(); err == nil {
			return
		}
	}
	if out.sent { // it cannot be said any more
		g.failed = err
		panic(http.ErrAbortHandler)
	}
	g.refuse(w, out, err)
}

// refuse tells the client why.
func (g *gate) refuse(w http.ResponseWriter, out *Out, err error) {
	f, after := faultOf(err)
	if f.Status >= 500 && f.Kind != protocols.DenyShutdown {
		g.failed = err
	}
	out.drop()
	out.err, out.Status, out.Type = nil, f.Status, "application/json"
	out.record = func() error { return nil }
	h := w.Header()
	h.Set("X-Sallyport", "refused")
	if f.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(after.Round(time.Second)/time.Second)))
	}
	_, _ = out.Write(g.api.Fault(f))
	_ = out.End()
}

// serve is the whole order of one request.
func (g *gate) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, out *Out) error {
	login := protocols.Login{Method: "token", Address: g.address, TLS: r.TLS}
	var err error
	if login.Secret, err = g.token(r.Header); errors.Is(err, errNoToken) && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		// What it is keeps sessions of different certificates apart.
		login.Method, login.Secret, err = "certificate", string(r.TLS.PeerCertificates[0].Raw), nil
	}
	if err != nil {
		return err
	}
	session, err := g.host.Login(ctx, login)
	if err != nil {
		return notLoggedIn(err)
	}
	defer session.Close(nil)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer g.watch.request(session, g.conn, cancel)()
	limits := g.host.Limits()
	q, err := g.canonical(w, r, session, limits)
	op, tickets, err := g.admit(ctx, r, session, q, err)
	if err != nil {
		return ended(session, err)
	}
	if op == nil || len(tickets) != 1 {
		return errors.New("admission answered something else than was asked")
	}
	if op.Done != nil {
		defer op.Done()
	}
	return g.forward(ctx, session, tickets[0], op, limits, out)
}

// admit has the API say what a request is, and asks whether it may pass. unfit
// is why there is no canonical request.
func (g *gate) admit(ctx context.Context, r *http.Request, s protocols.Session, q *Request, unfit error) (op *Operation, tickets []protocols.Ticket, err error) {
	for {
		unit := protocols.Unit{Kind: protocols.Operation, Wait: g.host.Wait()}
		if err = unfit; err == nil {
			op, err = g.api.Route(ctx, q)
		}
		if err != nil {
			var p *facts.Problem
			if !errors.As(err, &p) {
				return nil, nil, err
			}
			unit.Text, unit.Problem = r.Method+" "+printable(r.RequestURI), p
		} else {
			unit.Text, unit.Facts = op.Text, op.Facts
		}
		tickets, err = s.Admit(ctx, unit)
		if !errors.Is(err, protocols.ErrPolicyChanged) {
			return op, tickets, err
		}
	}
}

// printable is a request's target for the record.
func printable(s string) string {
	s, _, _ = strings.Cut(s, "?") // what it asks may be a value
	if len(s) > 512 {
		s = s[:512] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func notLoggedIn(err error) error {
	var d *protocols.Denial
	if errors.As(err, &d) && d.Kind == protocols.DenyLogin && d.Hint == "" {
		return &protocols.Denial{Kind: protocols.DenyLogin, Message: "the token is not known", Hint: "Give your Sallyport token as Authorization: Bearer TOKEN, or where the store's own key goes.", At: -1}
	}
	return err
}

// ended says why the session was ended, where it was.
func ended(s protocols.Session, err error) error {
	if cause := s.Cause(); cause != nil {
		return cause
	}
	return err
}

// errNoToken is a request that brings none: a client certificate may stand in
// its place.
var errNoToken = errors.New("a token is missing")

// token is the caller's: one, wherever it may be.
func (g *gate) token(h http.Header) (string, error) {
	var found []string
	for _, v := range h.Values("Authorization") {
		scheme, rest, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", &protocols.Denial{Kind: protocols.DenyLogin, Message: "only Authorization: Bearer is taken", Hint: "Give your Sallyport token so.", At: -1}
		}
		found = append(found, strings.TrimSpace(rest))
	}
	for _, name := range g.api.KeyHeaders {
		found = append(found, h.Values(name)...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	switch {
	case len(found) == 0 || found[0] == "":
		return "", errors.Join(errNoToken, &protocols.Denial{Kind: protocols.DenyLogin, Message: "a token is missing", At: -1,
			Hint: fmt.Sprintf("Give your Sallyport token as Authorization: Bearer TOKEN, or in %s.", strings.Join(g.api.KeyHeaders, ", "))})
	case len(found) > 1:
		return "", &protocols.Denial{Kind: protocols.DenyLogin, Message: "the request brings two different tokens", Hint: "Send one.", At: -1}
	}
	return found[0], nil
}
