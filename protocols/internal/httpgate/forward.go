package httpgate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// keptBody bounds what a connection keeps of a request's body for the next.
const keptBody = 64 << 10

// canonical makes the canonical request, which the API says what it is of.
func (g *gate) canonical(s protocols.Session, limits protocols.Limits) (*Request, error) {
	h, q := &g.head, &g.request
	if h.refused != "" {
		return nil, Problem(http.StatusBadRequest, "the header "+http.CanonicalHeaderKey(h.refused)+" is not taken", "Send the method, path and protocol that are meant.")
	}
	if err := g.target.parse(h.target); err != nil {
		return nil, err
	}
	q.Method, q.Path, q.Query, q.ContentType = h.method, g.target.path, g.target.query, h.contentType
	q.Limits, q.Session = limits, s
	var err error
	q.Body, q.Type, err = g.readBody(limits.Message)
	return q, err
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
	m := message{method: op.Method, path: op.Path, query: op.Query, body: op.Body, contentType: op.Type, accept: op.Accept, ticket: t}
	resp, err := g.exchange(ctx, s, &m, onlyReads(op.Facts))
	if err != nil {
		return err
	}
	out.Status = resp.status
	err = g.answer(ctx, op, out, &Answer{
		Status: resp.status, Type: resp.contentType, Body: quietReader{g.up}, Ticket: t, Limits: limits, Out: out, Scrub: t.Decision().Scrub,
	})
	if err == nil {
		g.answered()
		return nil
	}
	late := g.up.late()
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
	if e := g.up.answer.encoding; e != "" && !strings.EqualFold(e, "identity") {
		return Broken("the upstream's answer has an encoding that was not asked for", errors.New("content encoding "+e))
	}
	out.fields = append(out.fields, g.up.answer.passed...)
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
