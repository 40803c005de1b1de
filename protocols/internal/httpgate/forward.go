package httpgate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// refusedHeaders could make the upstream read another request than was
// decided on. None is forwarded; a client that sends one is told.
var refusedHeaders = []string{"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Original-Uri", "X-Rewrite-Url", "Upgrade", "Trailer"}

// keptBody bounds what a connection keeps of a request's body for the next.
const keptBody = 64 << 10

// canonical makes the canonical request, which the API says what it is of.
func (g *gate) canonical(w http.ResponseWriter, r *http.Request, s protocols.Session, limits protocols.Limits) (*Request, error) {
	for _, name := range refusedHeaders {
		if len(r.Header.Values(name)) > 0 {
			return nil, Problem(http.StatusBadRequest, "the header "+name+" is not taken", "Send the method, path and protocol that are meant.")
		}
	}
	path, query, err := parseTarget(r.RequestURI)
	if err != nil {
		return nil, err
	}
	q := &Request{Method: r.Method, Path: path, Query: query, Header: r.Header, Limits: limits, Session: s, Keep: g.host.Keep}
	if q.Body, q.Type, err = readBody(w, r, limits.Message, g.body); err != nil {
		return nil, err
	}
	if q.Body != nil && cap(q.Body) <= keptBody {
		g.body = q.Body
	}
	q.canonical = &g.text
	q.Ask = func(ctx context.Context, method string, path []string, query url.Values) (int, []byte, error) {
		return g.ask(ctx, s, method, path, query)
	}
	return q, nil
}

// forward sends what was admitted and writes the answer.
func (g *gate) forward(ctx context.Context, s protocols.Session, t protocols.Ticket, op *Operation, limits protocols.Limits, out *Out) (err error) {
	out.record = s.Flush
	whole := false // false where it panics
	defer func() {
		if !whole {
			_ = g.done(s, t, out, errors.New("the handler ended"))
			return
		}
		err = g.done(s, t, out, err)
	}()
	err = g.pass(ctx, s, t, op, limits, out)
	whole = true
	return err
}

// pass is forward without its record.
func (g *gate) pass(ctx context.Context, s protocols.Session, t protocols.Ticket, op *Operation, limits protocols.Limits, out *Out) error {
	if op.Admitted != nil {
		if err := op.Admitted(t); err != nil {
			return err
		}
	}
	m := &message{method: op.Method, target: op.target(), body: op.Body, contentType: op.Type, accept: op.Accept}
	send := func(up protocols.Upstream, b []byte) error { return up.Send(t, b) }
	resp, err := g.exchange(ctx, s, m, send, onlyReads(op.Facts))
	if err != nil {
		return err
	}
	out.Status = resp.StatusCode
	err = g.answer(ctx, op, out, &Answer{
		Status: resp.StatusCode, Header: resp.Header, Body: &quietReader{r: resp.Body, up: g.up}, Ticket: t, Limits: limits, Out: out, Scrub: t.Decision().Scrub,
	})
	if err == nil {
		g.answered(resp)
		return nil
	}
	late := g.up.late.Load()
	g.hangUp()
	switch {
	case ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), err)
	case late:
		return silent(err)
	}
	return err
}

// maxFault bounds an upstream's error that is passed on.
const maxFault = 64 << 10

// answer has the operation write an answer, or passes an error on.
func (g *gate) answer(ctx context.Context, op *Operation, out *Out, a *Answer) error {
	if e := a.Header.Values("Content-Encoding"); len(e) > 0 && !(len(e) == 1 && strings.EqualFold(e[0], "identity")) {
		return Broken("the upstream's answer has an encoding that was not asked for", errors.New("content encoding "+e[0]))
	}
	h := out.w.Header()
	for _, name := range g.api.Headers {
		if v := a.Header.Values(name); len(v) > 0 {
			h[http.CanonicalHeaderKey(name)] = slices.Clone(v)
		}
	}
	switch {
	case a.Status >= 300 && a.Status < 400:
		return Broken("the upstream sends the client elsewhere", errors.New("status "+http.StatusText(a.Status)))
	case a.Status == http.StatusUnauthorized:
		// It is not the client's key that is wrong, and the words may quote the
		// proxy's.
		return Broken("the upstream refuses the proxy's own credential", errors.New("status "+http.StatusText(a.Status)))
	case a.Status == http.StatusForbidden:
		_, err := out.Write(g.api.Fault(&Fault{Status: a.Status, Upstream: true, Message: "the upstream refused the request: " + http.StatusText(a.Status),
			Detail: "Its words are not passed on, since they may quote the proxy's credential"}))
		return err
	case a.Status >= 400:
		return g.upstreamFault(op, a, out)
	}
	return op.Answer(ctx, a)
}

// upstreamFault passes an upstream's error on, without its words where they
// could depend on values.
func (g *gate) upstreamFault(op *Operation, a *Answer, out *Out) error {
	body, err := readAll(nil, io.LimitReader(a.Body, maxFault+1))
	if err != nil {
		return Broken("the upstream's error broke off", err)
	}
	text := &Fault{Status: a.Status, Upstream: true, Message: "the upstream refused the request: " + http.StatusText(a.Status)}
	if a.Scrub {
		text.Detail = "Its words are not passed on, since the collection has classed values"
	}
	if !a.Scrub && len(body) <= maxFault {
		if v, err := ParseJSON(body, maxDepth); err == nil {
			words := v.Raw
			if op.Clean != nil {
				words = op.Clean(v)
			}
			_, err = out.Write(words)
			return err
		}
	}
	_, err = out.Write(g.api.Fault(text))
	return err
}

// done records how the operation ended.
func (g *gate) done(s protocols.Session, t protocols.Ticket, out *Out, err error) error {
	o := protocols.Outcome{Tag: strconv.Itoa(out.Status)}
	switch {
	case err != nil:
		f, _ := faultOf(ended(s, err))
		o = protocols.Outcome{Code: strconv.Itoa(f.Status), Message: f.Message, Lost: s.Cause() != nil || errors.Is(err, context.Canceled)}
	case out.Status >= 400:
		o = protocols.Outcome{Code: strconv.Itoa(out.Status), Message: "the upstream refused the request"}
	}
	if failed := t.Done(o); failed != nil && err == nil {
		err = failed
	}
	if err != nil {
		return ended(s, err)
	}
	return s.Flush()
}
