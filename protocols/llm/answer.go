package llm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// answerTo writes an upstream's answer.
func (o *operation) answerTo(_ context.Context, a *httpgate.Answer) error {
	kind, _, err := mime.ParseMediaType(a.Type)
	switch {
	case err == nil && kind == "text/event-stream" && o.stream:
		return o.events(a)
	case o.endpoint.answer == rawAnswer:
		return o.raw(a)
	case err == nil && kind == "application/json":
		return o.document(a)
	}
	return httpgate.Broken("the upstream's answer is not what its API promises", fmt.Errorf("content type %q", a.Type))
}

// document is an answer in one piece.
func (o *operation) document(a *httpgate.Answer) error {
	body, err := io.ReadAll(io.LimitReader(a.Body, int64(a.Limits.Message)+1))
	if err == nil && len(body) > a.Limits.Message {
		err = errors.New("it is longer than limits.message")
	}
	if err != nil {
		return httpgate.Broken("the upstream's answer broke off, or is too long", err)
	}
	v, err := httpgate.ParseJSON(body, 127)
	if err != nil {
		return httpgate.Broken("the upstream's answer is no JSON", err)
	}
	if o.endpoint.model {
		u, ok := usageOf(v.Get("usage"))
		if !ok {
			u = o.counted(len(body))
		}
		if err := used(a.Ticket, u); err != nil {
			return err
		}
	}
	if o.endpoint.lists == "model" {
		v = reached(v, a.Ticket)
	}
	out := masked(nil, v, o.detector)
	if err := sent(a.Ticket, out); err != nil {
		return err
	}
	_, err = a.Out.Write(out)
	return err
}

// reached is a list of models without those that the identity may not use.
func reached(v *httpgate.Value, t protocols.Ticket) *httpgate.Value {
	scoped, ok := t.(protocols.Scoped)
	list := v.Get("data")
	own := []httpgate.Value{}
	for i := range list.Items {
		id := list.Items[i].Get("id")
		if ok && id.Kind == '"' && scoped.Reaches(object("model", id.Text)) {
			own = append(own, list.Items[i])
		}
	}
	if len(own) == list.Count {
		return v
	}
	short := *v
	short.Items = slices.Clone(v.Items)
	*short.Get("data") = httpgate.Value{Kind: '[', Items: own, Count: len(own)}
	short.Raw = (&rewriter{}).value(nil, &short)
	return &short
}

// raw is a file, for whom no class binds.
func (o *operation) raw(a *httpgate.Answer) error {
	a.Out.Type = "application/octet-stream"
	buf := make([]byte, 32<<10)
	for {
		n, err := a.Body.Read(buf)
		if n > 0 {
			if _, err := a.Ticket.Row(n); err != nil {
				return err
			}
			if _, err := a.Out.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return httpgate.Broken("the upstream's answer broke off", err)
		}
	}
}

// sent counts and records a part of the answer before it leaves.
func sent(t protocols.Ticket, b []byte) error {
	keep, err := t.Row(len(b))
	if err != nil || !keep {
		return err
	}
	return t.Keep([][]byte{b})
}

func used(t protocols.Ticket, u facts.Usage) error {
	if m, ok := t.(protocols.Metered); ok {
		return m.Used(u)
	}
	return nil
}

// usageOf reads a usage object, as chat completions or responses have it.
func usageOf(v *httpgate.Value) (facts.Usage, bool) {
	for _, names := range [][2]string{{"prompt_tokens", "completion_tokens"}, {"input_tokens", "output_tokens"}} {
		if in, ok := v.Get(names[0]).Int(); ok {
			out, _ := v.Get(names[1]).Int() // embeddings have none
			return facts.Usage{Input: in, Output: out}, true
		}
	}
	return facts.Usage{}, false
}

// counted is a usage that the upstream did not tell: bytes, of which no token
// has less than one.
func (o *operation) counted(answer int) facts.Usage {
	return facts.Usage{Input: int64(o.texts), Output: int64(answer), Counted: true}
}
