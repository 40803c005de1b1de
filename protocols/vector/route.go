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

// table is a store's endpoints, by how many parts their paths have.
type table map[int][]row

type row struct {
	*endpoint
	parts []string
}

func newTable(endpoints []endpoint) table {
	t := table{}
	for i := range endpoints {
		e := &endpoints[i]
		var parts []string
		if e.path != "/" {
			parts = strings.Split(strings.TrimPrefix(e.path, "/"), "/")
		}
		t[len(parts)] = append(t[len(parts)], row{e, parts})
	}
	return t
}

func (r *row) matches(path []string) bool {
	for i, w := range r.parts {
		if w != path[i] && w[0] != '{' {
			return false
		}
	}
	return true
}

// route finds a request's endpoint and has it say what the request is.
func (t table) route(ctx context.Context, r *httpgate.Request) (*httpgate.Operation, error) {
	var found *endpoint
	elsewhere := false
	for _, e := range t[len(r.Path)] {
		if !e.matches(r.Path) {
			continue
		}
		if e.method == r.Method {
			found = e.endpoint
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
