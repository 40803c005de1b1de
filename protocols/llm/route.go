package llm

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// operation is a request on its way.
type operation struct {
	httpgate.Operation
	endpoint *endpoint
	body     *httpgate.Value // nil for none, or where it is no JSON
	effect   facts.Effect    // what the request itself does
	more     []facts.Effect  // and besides: what the server keeps, or reads of what it kept
	opaque   string          // what no detector can look into, "" for nothing
	stream   bool
	usage    bool // the client asked for usage in its stream
	texts    int  // bytes of the request's texts
	ticket   protocols.Ticket
	detector *mask.Detector // of the ticket
}

// queries are the names that a query may have.
var queries = []string{"after", "before", "limit", "order", "purpose", "filter", "include", "include[]"}

// route says what a request is.
func route(_ context.Context, r *httpgate.Request) (*httpgate.Operation, error) {
	if len(r.Path) < 2 || r.Path[0] != "v1" {
		return nil, httpgate.Problem(http.StatusNotFound, "this is no endpoint of OpenAI's API", "Endpoints stand below /v1.")
	}
	path := r.Path[1:]
	if why := refused[path[0]]; why != "" {
		return nil, httpgate.Problem(http.StatusForbidden, why, "")
	}
	e, id := find(r.Method, path)
	if e == nil {
		return nil, httpgate.Problem(http.StatusNotFound, "this endpoint is not known, and so not let pass", "docs/llm.md lists those that are.")
	}
	for name, values := range r.Query {
		if !slices.Contains(queries, name) {
			return nil, httpgate.Problem(http.StatusBadRequest, "a parameter of the query is not taken", "These are: "+strings.Join(queries, ", ")+".")
		}
		if strings.Contains(strings.Join(values, ","), "logprobs") {
			return nil, httpgate.Problem(http.StatusBadRequest, "log probabilities are not taken from what is stored", "")
		}
	}
	o := &operation{endpoint: e}
	o.effect = facts.Effect{Action: e.action, Verb: r.Method + " /" + e.path, Destructive: e.destructive, Limit: facts.NoLimit, Filtered: id != ""}
	if e.object != "" {
		if id == "" {
			id = "*"
		}
		o.effect.Objects = append(o.effect.Objects, object(e.object, id))
	}
	if n, ok := limitOf(r); ok {
		o.effect.Limited, o.effect.Limit = true, n
	}
	o.Method, o.Path, o.Query = r.Method, r.Path, r.Query
	if err := o.read(r); err != nil {
		return nil, err
	}
	o.Admitted, o.Answer = o.admitted, o.answerTo
	o.Clean = func(v *httpgate.Value) []byte { return masked(nil, v, o.detector) }
	return &o.Operation, o.describe(r)
}

func object(kind, name string) facts.Object {
	return facts.Object{Kind: kind, Name: facts.Name{Name: name}}
}

func limitOf(r *httpgate.Request) (int64, bool) {
	var n int64
	_, err := fmt.Sscanf(r.Query.Get("limit"), "%d", &n)
	return n, err == nil && n >= 0
}

// read takes the body as the endpoint has it.
func (o *operation) read(r *httpgate.Request) error {
	e := o.endpoint
	switch {
	case e.body == noBody && len(r.Body) > 0:
		return httpgate.Problem(http.StatusBadRequest, "this endpoint takes no body", "")
	case e.body == noBody:
		return nil
	case e.body == rawBody:
		o.opaque = "a file"
		o.Body, o.Type = r.Body, r.ContentType
		if r.Type != "multipart/form-data" {
			return httpgate.Problem(http.StatusUnsupportedMediaType, "a file comes as multipart/form-data", "")
		}
		return nil
	}
	if r.Type != "application/json" && (r.Type != "" || len(r.Body) > 0) {
		return httpgate.Problem(http.StatusUnsupportedMediaType, "the body must be application/json", "")
	}
	if len(r.Body) == 0 {
		if e.model {
			return httpgate.Problem(http.StatusBadRequest, "the request has no body", "")
		}
		return nil
	}
	v, err := r.JSON()
	if err != nil {
		return err
	}
	if v.Kind != '{' {
		return httpgate.Problem(http.StatusBadRequest, "the body must be an object", "")
	}
	o.body, o.Body = v, v.Raw
	o.look(v)
	if e.model {
		if err := o.model(); err != nil {
			return err
		}
	}
	switch e.body {
	case chatBody, completionBody, responseBody:
		return o.generation()
	case itemsBody:
		o.refers(v)
	case countBody:
		o.refers(v)
		o.continues(false)
		return o.tools()
	case embeddingBody:
		if hasNumbers(v.Get("input")) {
			o.opaque = "token numbers"
		}
	default:
		if wished(v.Get("stream")) {
			return httpgate.Problem(http.StatusBadRequest, "streams of this endpoint are not let pass", "Send stream: false.")
		}
	}
	return nil
}

// model notes the model. Where the request leaves the choice to the server,
// any model may answer.
func (o *operation) model() error {
	m := o.body.Get("model")
	name := "*"
	switch {
	case m.Kind == '"' && m.Text != "" && m.Text != "*" && len(m.Text) <= 256:
		name = m.Text
	case m.Has() || o.endpoint.body == chatBody || o.endpoint.body == completionBody || o.endpoint.body == embeddingBody:
		return httpgate.Problem(http.StatusBadRequest, "model must be a model's name", "")
	}
	o.effect.Objects = append([]facts.Object{object("model", name)}, o.effect.Objects...)
	return nil
}

// describe makes the facts, with what detectors find in the request's texts,
// and the text that is recorded.
func (o *operation) describe(r *httpgate.Request) error {
	all, err := detectorOf(r.Session)
	if err != nil {
		return err
	}
	if all != nil && o.named(all) {
		return httpgate.Problem(http.StatusForbidden, "the path, the query or the model's name holds a value that the policy's detectors look for", "Values belong into the body.")
	}
	o.Facts = &facts.Facts{Texts: true, Outputs: []facts.Output{{Name: "answer", Type: facts.Type{Kind: facts.KindJSON}}}}
	text := []byte(r.Method + " /" + strings.Join(r.Path, "/"))
	if len(r.Query) > 0 {
		text = append(append(text, '?'), r.Query.Encode()...)
	}
	if o.endpoint.body == rawBody {
		text = fmt.Appendf(text, " (%d bytes)", len(r.Body))
	}
	var constants []facts.Constant
	note := func(at int, s string, length int) {
		found := all.FindNested([]byte(s))
		for _, f := range found {
			c := facts.Constant{From: at, To: at + length, Forms: f.Forms}
			if length == len(s) { // nothing of it is escaped
				c.From, c.To = at+f.From, at+f.To
			}
			constants = append(constants, c)
		}
	}
	note(0, string(text), len(text)) // the path and the query
	if o.body != nil {
		text = append(text, '\n')
		w := rewriter{text: func(dst []byte, path []string, s string, _ bool) []byte { o.texts += len(s); return append(dst, s...) }}
		w.value(nil, o.body)
		text = o.appendNoted(text, o.body, note)
	}
	o.Facts.Constants = constants
	o.Facts.Effects = append([]facts.Effect{o.effect}, o.more...)
	o.Text = string(text)
	return nil
}

// appendNoted appends a document as it is, and notes each of its strings with
// where it stands.
func (o *operation) appendNoted(dst []byte, v *httpgate.Value, note func(at int, s string, length int)) []byte {
	str := func(s string) {
		at := len(dst) + 1
		dst = httpgate.AppendQuote(dst, s)
		note(at, s, len(dst)-1-at)
	}
	switch {
	case v.Kind == '"':
		str(v.Text)
	case v.Kind == '{':
		dst = append(dst, '{')
		for i, name := range v.Names {
			if i > 0 {
				dst = append(dst, ',')
			}
			str(name)
			dst = o.appendNoted(append(dst, ':'), &v.Items[i], note)
		}
		dst = append(dst, '}')
	case v.Kind == '[' && v.Items != nil:
		dst = append(dst, '[')
		for i := range v.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = o.appendNoted(dst, &v.Items[i], note)
		}
		dst = append(dst, ']')
	default:
		if at := len(dst); long(v) {
			note(at, string(v.Raw), len(v.Raw))
		}
		dst = append(dst, v.Raw...)
	}
	return dst
}

func detectorOf(x any) (*mask.Detector, error) {
	d, ok := x.(protocols.Detecting)
	if !ok {
		return nil, fmt.Errorf("a %T has no detectors", x)
	}
	return d.Detector()
}

// admitted masks the request's texts, refuses what cannot be looked into, and
// reserves tokens.
func (o *operation) admitted(t protocols.Ticket) error {
	var err error
	o.ticket = t
	if o.detector, err = detectorOf(t); err != nil {
		return err
	}
	if o.detector != nil && o.opaque != "" {
		return blind("the request holds "+o.opaque+", which no detector can look into", t)
	}
	if o.detector != nil && o.endpoint.answer == rawAnswer {
		return blind("the answer is a file, which no detector can look into", t)
	}
	if o.body != nil {
		o.Body = o.forwarded()
	}
	if m, ok := t.(protocols.Metered); ok && o.endpoint.model {
		answer := o.effect.Tokens
		if answer == facts.NoLimit {
			answer = usualAnswer
		}
		return m.Reserve(facts.Usage{Input: int64(o.texts / 4), Output: answer})
	}
	return nil
}

// named says that a value stands where it names what is asked for: there it
// could neither be masked nor kept out of the facts, which are recorded.
func (o *operation) named(d *mask.Detector) bool {
	words := append([]string{}, o.Path...)
	for name, values := range o.Query {
		words = append(append(words, name), values...)
	}
	if o.body != nil {
		words = append(words, o.body.Get("model").Text)
	}
	return slices.ContainsFunc(words, func(w string) bool { return len(d.FindNested([]byte(w))) > 0 })
}

// usualAnswer is what is reserved for an answer of which nobody says how long
// it may be, in tokens.
const usualAnswer = 4096

// blind refuses what cannot be masked.
func blind(what string, t protocols.Ticket) error {
	var classes []string
	for _, d := range t.Decision().Detect {
		classes = append(classes, d.Class)
	}
	return &protocols.Denial{Kind: protocols.DenyPolicy, At: -1, Message: what,
		Detail: "The policy looks for values of " + strings.Join(classes, ", ") + " in what this identity sends and is sent",
		Hint:   "Who may see those classes (unmask) may send and read it."}
}

// forwarded is the body that is sent: texts masked, usage asked for.
func (o *operation) forwarded() []byte {
	w := rewriter{}
	if o.detector != nil {
		w.text = func(dst []byte, path []string, s string, name bool) []byte {
			if !name && len(path) == 1 && path[0] == "model" {
				return append(dst, s...) // it was decided on
			}
			return o.detector.AppendNested(dst, []byte(s))
		}
		w.number = o.detector
	}
	if o.stream && (o.endpoint.body == chatBody || o.endpoint.body == completionBody) {
		w.member = func(dst []byte, path []string, v *httpgate.Value) ([]byte, bool) {
			if len(path) != 1 || path[0] != "stream_options" {
				return dst, false
			}
			return dst, true // written below
		}
	}
	b := w.value(make([]byte, 0, len(o.body.Raw)+64), o.body)
	if w.member != nil {
		b = append(b[:len(b)-1], `,"stream_options":{"include_usage":true`...)
		for i, name := range o.body.Get("stream_options").Names {
			if v := &o.body.Get("stream_options").Items[i]; name != "include_usage" && (v.Kind == 't' || v.Kind == 'f') {
				b = append(append(httpgate.AppendQuote(append(b, ','), name), ':'), v.Raw...)
			}
		}
		b = append(b, "}}"...)
	}
	return b
}

// hasNumbers says that there is a number somewhere: tokens.
func hasNumbers(v *httpgate.Value) bool {
	return v.Kind == '0' || v.Kind == '[' && len(v.Items) != v.Count || slices.ContainsFunc(v.Items, func(i httpgate.Value) bool { return hasNumbers(&i) })
}

// times is a product of counts that does not overflow.
func times(a, b int64) int64 {
	if a > 0 && b > math.MaxInt64/a {
		return facts.NoLimit
	}
	return a * b
}
