package httpgate

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// API is one HTTP API. It is used by many connections at once.
type API struct {
	Name string
	// KeyHeaders may bring the caller's token, beside Authorization: Bearer.
	KeyHeaders []string
	// Key puts the backend's key into a request's header.
	Key func(h http.Header, key string)
	// Route understands a request. Its error is a *facts.Problem, whose Code is
	// an HTTP status, or a *protocols.Denial.
	Route func(ctx context.Context, r *Request) (*Operation, error)
	// Fault writes an error as the API does: a JSON text.
	Fault func(f *Fault) []byte
	// Headers of an upstream's answer that are passed on, beside Content-Type.
	Headers []string
}

// Request is a client's request in its canonical form. It lasts as long as the
// request, and what it holds is not to be changed.
type Request struct {
	Method string
	Path   []string   // decoded; none is empty
	Query  url.Values // each name once
	// Body is the client's, out of its content encoding; nil for none. It lasts
	// as long as the request.
	Body []byte
	// Type is its media type without parameters, in lower case, and ContentType
	// the client's own word for it.
	Type, ContentType string

	Limits  protocols.Limits
	Session protocols.Session
	// Keep is the target's, as Host.Keep.
	Keep func(make func() any) any
	// Ask sends a request of the proxy's own upstream and returns the answer,
	// whole. It is for the closed list in docs/upstream.md.
	Ask func(ctx context.Context, method string, path []string, query url.Values) (status int, body []byte, err error)

	canonical *[]byte // the connection's buffer for the body's canonical text
}

// JSON reads the body as ParseJSON does. The result lasts as long as the
// request, and until JSON is called again.
func (r *Request) JSON() (*Value, error) {
	var buf []byte
	if r.canonical != nil {
		buf = *r.canonical
	}
	v, err := parseJSON(r.Body, r.Limits.Depth, buf)
	if err == nil && r.canonical != nil && cap(v.Raw) <= keptBody {
		*r.canonical = v.Raw[:0]
	}
	return v, err
}

// Operation is a request as an API understands it, and what is forwarded.
type Operation struct {
	// Text is what the record, approvers and grants see of it.
	Text  string
	Facts *facts.Facts

	Method string
	Path   []string
	Query  url.Values
	Body   []byte
	Type   string // of the body; "" is application/json
	Accept string // "" is application/json

	// Admitted, if set, is called once the operation may pass and before
	// anything is sent: it may change Body for what was decided, or refuse.
	Admitted func(t protocols.Ticket) error
	// Clean, if set, is an upstream's error as it may be passed on.
	Clean func(v *Value) []byte
	// Answer writes the upstream's answer to a.Out. An error before anything
	// has left is told to the client, and after that cuts its connection.
	Answer func(ctx context.Context, a *Answer) error
	// Done, if set, is called once the operation has ended.
	Done func()
}

// Answer is an upstream's answer on its way.
type Answer struct {
	Status int
	Type   string // its Content-Type
	Body   io.Reader
	Ticket protocols.Ticket
	Limits protocols.Limits
	Out    *Out
	// Scrub says that no word of the upstream's may pass: whatever an error says
	// could depend on values that the caller may not see.
	Scrub bool
}

// Fault is an error for a client.
type Fault struct {
	Status  int
	Kind    protocols.DenialKind
	Message string
	Detail  string
	Hint    string
	HoldID  string
	// Upstream says that the upstream answered so.
	Upstream bool
}

// Text is all of it, in sentences.
func (f *Fault) Text() string {
	s := f.Message
	if f.Detail != "" {
		s += ". " + strings.TrimSuffix(f.Detail, ".")
	}
	if f.Hint != "" {
		s += ". Hint: " + f.Hint
	}
	return s
}
