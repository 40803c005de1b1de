package httpgate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// refuse tells the client why.
func (g *gate) refuse(out *Out, err error) {
	f, after := faultOf(err)
	if f.Status >= 500 && f.Kind != protocols.DenyShutdown {
		g.failed = err
	}
	out.drop()
	out.err, out.Status, out.Type = nil, f.Status, jsonType
	out.record = nothing
	out.field("X-Sallyport", "refused")
	if f.Status == http.StatusUnauthorized {
		out.field("WWW-Authenticate", "Bearer")
	}
	if after > 0 {
		out.field("Retry-After", strconv.Itoa(int(after.Round(time.Second)/time.Second)))
	}
	_, _ = out.Write(g.api.Fault(f))
	_ = out.End()
}

// serve is the whole order of one request.
func (g *gate) serve(ctx context.Context, out *Out) error {
	login := protocols.Login{Method: "token", Address: g.address, TLS: g.tls}
	var err error
	if login.Secret, err = g.token(); errors.Is(err, errNoToken) && g.tls != nil && len(g.tls.PeerCertificates) > 0 {
		// What it is keeps sessions of different certificates apart.
		login.Method, login.Secret, err = "certificate", string(g.tls.PeerCertificates[0].Raw), nil
	}
	if err != nil {
		return err
	}
	session, err := g.host.Login(ctx, login)
	if err != nil {
		return notLoggedIn(err)
	}
	defer session.Close(nil)
	g.watch.begin(session, g.cancel)
	defer g.unwatch()
	limits := g.host.Limits()
	q, err := g.canonical(session, limits)
	if g.in.buffered() == 0 && g.body.over() {
		g.watch.attend()
	}
	op, tickets, err := g.admit(ctx, session, q, err)
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

// unwatch ends the watch over a request.
func (g *gate) unwatch() {
	next, moved := g.watch.finished()
	if moved {
		g.deadline = time.Time{}
	}
	g.in.put(next)
}

// admit has the API say what a request is, and asks whether it may pass. unfit
// is why there is no canonical request.
func (g *gate) admit(ctx context.Context, s protocols.Session, q *Request, unfit error) (op *Operation, tickets []protocols.Ticket, err error) {
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
			unit.Text, unit.Problem = g.head.method+" "+printable(g.head.target), p
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
func (g *gate) token() (string, error) {
	h := &g.head
	switch {
	case h.otherScheme:
		return "", &protocols.Denial{Kind: protocols.DenyLogin, Message: "only Authorization: Bearer is taken", Hint: "Give your Sallyport token so.", At: -1}
	case h.tokens == 0 || h.empty:
		return "", errors.Join(errNoToken, &protocols.Denial{Kind: protocols.DenyLogin, Message: "a token is missing", At: -1,
			Hint: fmt.Sprintf("Give your Sallyport token as Authorization: Bearer TOKEN, or in %s.", strings.Join(g.api.KeyHeaders, ", "))})
	case h.other:
		return "", &protocols.Denial{Kind: protocols.DenyLogin, Message: "the request brings two different tokens", Hint: "Send one.", At: -1}
	}
	return h.token, nil
}
