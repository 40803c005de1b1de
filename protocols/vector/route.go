package vector

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
)

// endpoint is one route of a store: what stands in braces is any one part.
type endpoint struct {
	method, path string
	query        []string // the query's names
	read         func(o *operation) error
}

func (e *endpoint) matches(path []string) bool {
	want := strings.Split(strings.TrimPrefix(e.path, "/"), "/")
	if e.path == "/" {
		want = nil
	}
	if len(want) != len(path) {
		return false
	}
	for i, w := range want {
		if w != path[i] && w[0] != '{' {
			return false
		}
	}
	return true
}

// route finds a request's endpoint and has it say what the request is.
func route(ctx context.Context, r *httpgate.Request, table []endpoint) (*httpgate.Operation, error) {
	var found *endpoint
	elsewhere := false
	for i := range table {
		e := &table[i]
		if !e.matches(r.Path) {
			continue
		}
		if e.method == r.Method {
			found = e
			break
		}
		elsewhere = true
	}
	switch {
	case found == nil && elsewhere:
		return nil, httpgate.Problem(http.StatusMethodNotAllowed, "the proxy does not know this method for this route", "docs/vector.md lists what it lets pass.")
	case found == nil:
		return nil, httpgate.Problem(http.StatusForbidden, "the proxy does not know this route, or lets nobody use it", "docs/vector.md lists what it lets pass.")
	}
	o := &operation{ctx: ctx, r: r, path: slices.Clone(r.Path)}
	if err := found.read(o); err != nil {
		return nil, err
	}
	return o.finish(found.query...)
}
