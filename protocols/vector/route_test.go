package vector

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// FuzzRoute: whatever a request is, it is refused or understood: it has an
// effect, a limit that is none or not below nothing, and a body that is the
// canonical form of what came. The seeds are the corpus of requests.
func FuzzRoute(f *testing.F) {
	const id = "cb1d5660-a4b8-46c6-85c6-3175c7b016b8"
	const base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
	for _, name := range []string{"qdrant_requests.txt", "chroma_requests.txt"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vector", name))
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			request, _, ok := strings.Cut(line, " => ")
			if !ok || line[0] == '#' {
				continue
			}
			method, rest, _ := strings.Cut(request, " ")
			path, body, _ := strings.Cut(rest, " ")
			if strings.HasPrefix(path, "C") {
				path = base + strings.NewReplacer("{people}", id, "{open}", id, "{secret}", id).Replace(path[1:])
			}
			f.Add(name[0] == 'q', method, path, body)
		}
	}
	f.Fuzz(func(t *testing.T, qdrant bool, method, path, body string) {
		endpoints, kept := chromaEndpoints, any(&ids{})
		answer := `{"id":"` + id + `","name":"people","tenant":"default_tenant","database":"default_database"}`
		if qdrant {
			endpoints, kept = qdrantEndpoints, &aliases{}
			answer = `{"result":{"aliases":[{"alias_name":"folk","collection_name":"people"}]}}`
		}
		path, query, _ := strings.Cut(path, "?")
		values, err := url.ParseQuery(query)
		if err != nil || strings.Contains(path, "//") {
			return
		}
		for name, v := range values {
			values[name] = v[:1]
		}
		r := &httpgate.Request{
			Method: method, Query: values, Body: []byte(body), Type: "application/json", Limits: protocols.Limits{Depth: 127, Message: 1 << 20, Row: 1 << 20},
			Keep: func(func() any) any { return kept },
			Ask: func(context.Context, string, []string, url.Values) (int, []byte, error) {
				return 200, []byte(answer), nil
			},
		}
		if trimmed := strings.Trim(path, "/"); trimmed != "" {
			r.Path = strings.Split(trimmed, "/")
		}
		op, err := newTable(endpoints).route(t.Context(), r)
		if err != nil {
			return
		}
		if op.Facts == nil || len(op.Facts.Effects) == 0 || op.Text == "" || op.Answer == nil {
			t.Fatalf("%s %s %s is nothing: %+v", method, path, body, op)
		}
		for _, e := range op.Facts.Effects {
			if e.Limit < 0 || e.TopK < 0 || !e.Limited && e.Limit != facts.NoLimit || e.Verb == "" {
				t.Errorf("%s %s %s: %+v", method, path, body, e)
			}
		}
		for _, c := range op.Facts.Constants {
			if c.From < 0 || c.To > len(op.Text) || c.From > c.To {
				t.Errorf("%s %s %s: a constant is nowhere: %+v", method, path, body, c)
			}
		}
		if len(op.Body) > 0 {
			v, err := httpgate.ParseJSON(op.Body, 127)
			if err != nil || string(v.Raw) != string(op.Body) {
				t.Errorf("%s %s: %s is forwarded as %s: %v", method, path, body, op.Body, err)
			}
		}
	})
}
