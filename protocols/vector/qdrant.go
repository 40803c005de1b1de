package vector

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func qdrantAPI() *httpgate.API {
	return &httpgate.API{
		Name: "qdrant", KeyHeaders: []string{"Api-Key"},
		Key:   func(h http.Header, key string) { h.Set("Api-Key", key) },
		Route: newTable(qdrantEndpoints).route,
		Fault: func(f *httpgate.Fault) []byte {
			b, err := json.Marshal(map[string]any{"time": 0, "status": map[string]string{"error": f.Text()}, "result": nil})
			if err != nil { // of strings: never fails
				panic(err)
			}
			return b
		},
	}
}

// writeQuery are the query's names of a write, readQuery those of a read.
var (
	writeQuery = []string{"wait", "ordering", "timeout"}
	readQuery  = []string{"consistency", "timeout"}
	ddlQuery   = []string{"timeout"}
)

// qdrantEndpoints is Qdrant's table (docs/redoc of versions 1.17 and 1.19 of
// its OpenAPI description).
var qdrantEndpoints = []endpoint{
	{"GET", "/", nil, qdrantMeta("VERSION", obj(map[string]*shape{"title": passed, "version": passed, "commit": passed}))},
	{"GET", "/healthz", nil, health}, {"GET", "/livez", nil, health}, {"GET", "/readyz", nil, health},
	{"GET", "/collections", nil, qdrantMeta("LIST COLLECTIONS", envelope(obj(map[string]*shape{"collections": collections("name", facts.Name{})})))},
	{"GET", "/aliases", nil, qdrantMeta("LIST ALIASES", envelope(obj(map[string]*shape{"aliases": collections("collection_name", facts.Name{})})))},
	{"POST", "/collections/aliases", ddlQuery, qdrantAliases},
	{"GET", "/collections/{c}", nil, qdrantInfo},
	{"GET", "/collections/{c}/exists", nil, qdrantExists},
	{"GET", "/collections/{c}/aliases", nil, qdrantExists},
	{"PUT", "/collections/{c}", ddlQuery, qdrantCreate},
	{"PATCH", "/collections/{c}", ddlQuery, qdrantAlter},
	{"DELETE", "/collections/{c}", ddlQuery, qdrantDrop},
	{"PUT", "/collections/{c}/index", writeQuery, qdrantIndex},
	{"DELETE", "/collections/{c}/index/{f}", writeQuery, qdrantDropIndex},
	{"POST", "/collections/{c}/points", readQuery, qdrantGet},
	{"GET", "/collections/{c}/points/{id}", readQuery, qdrantGetOne},
	{"POST", "/collections/{c}/points/scroll", readQuery, qdrantScroll},
	{"POST", "/collections/{c}/points/count", readQuery, qdrantCount},
	{"POST", "/collections/{c}/facet", readQuery, qdrantFacet},
	{"POST", "/collections/{c}/points/query", readQuery, qdrantSearch("QUERY", queryMembers, false)},
	{"POST", "/collections/{c}/points/query/batch", readQuery, qdrantSearch("QUERY", queryMembers, true)},
	{"POST", "/collections/{c}/points/query/groups", readQuery, qdrantGroups("QUERY GROUPS", queryMembers)},
	{"POST", "/collections/{c}/points/search", readQuery, qdrantSearch("SEARCH", searchMembers, false)},
	{"POST", "/collections/{c}/points/search/batch", readQuery, qdrantSearch("SEARCH", searchMembers, true)},
	{"POST", "/collections/{c}/points/search/groups", readQuery, qdrantGroups("SEARCH GROUPS", searchMembers)},
	{"POST", "/collections/{c}/points/recommend", readQuery, qdrantSearch("RECOMMEND", recommendMembers, false)},
	{"POST", "/collections/{c}/points/recommend/batch", readQuery, qdrantSearch("RECOMMEND", recommendMembers, true)},
	{"POST", "/collections/{c}/points/recommend/groups", readQuery, qdrantGroups("RECOMMEND GROUPS", recommendMembers)},
	{"POST", "/collections/{c}/points/discover", readQuery, qdrantSearch("DISCOVER", discoverMembers, false)},
	{"POST", "/collections/{c}/points/discover/batch", readQuery, qdrantSearch("DISCOVER", discoverMembers, true)},
	{"POST", "/collections/{c}/points/search/matrix/pairs", readQuery, qdrantMatrix},
	{"POST", "/collections/{c}/points/search/matrix/offsets", readQuery, qdrantMatrix},
	{"PUT", "/collections/{c}/points", writeQuery, qdrantWrite("upsert")},
	{"POST", "/collections/{c}/points/delete", writeQuery, qdrantWrite("delete")},
	{"POST", "/collections/{c}/points/payload", writeQuery, qdrantWrite("set_payload")},
	{"PUT", "/collections/{c}/points/payload", writeQuery, qdrantWrite("overwrite_payload")},
	{"POST", "/collections/{c}/points/payload/delete", writeQuery, qdrantWrite("delete_payload")},
	{"POST", "/collections/{c}/points/payload/clear", writeQuery, qdrantWrite("clear_payload")},
	{"PUT", "/collections/{c}/points/vectors", writeQuery, qdrantWrite("update_vectors")},
	{"POST", "/collections/{c}/points/vectors/delete", writeQuery, qdrantWrite("delete_vectors")},
	{"POST", "/collections/{c}/points/batch", writeQuery, qdrantBatch},
}

// envelope is what all of Qdrant's answers stand in.
func envelope(result *shape) *shape {
	return obj(map[string]*shape{"result": result, "status": passed, "time": passed})
}

// point is a Record or ScoredPoint of a collection.
func point(collection, orderBy string) *shape {
	s := obj(map[string]*shape{
		"id": passed, "version": passed, "score": passed, "shard_key": passed,
		"payload": {kind: payload, collection: collection}, "vector": {kind: vector, collection: collection},
	})
	if orderBy != "" {
		s.set("order_value", &shape{kind: value, collection: collection, path: orderBy})
	}
	return s
}

func qdrantMeta(verb string, s *shape) func(o *operation) error {
	return func(o *operation) error {
		e := o.effect(facts.Read, verb)
		e.Limited, e.Limit = true, 0
		o.shape = s
		return o.noBody()
	}
}

func health(o *operation) error {
	e := o.effect(facts.Read, "HEALTH")
	e.Limited, e.Limit, o.plain = true, 0, true
	return o.noBody()
}

// collection is the one that the path names, by its real name, which is what
// is forwarded.
func (o *operation) collection() (facts.Name, error) {
	name, err := o.qdrantName(o.path[1])
	if err != nil {
		return facts.Name{}, err
	}
	o.path[1] = name
	return facts.Name{Name: name}, nil
}

// aliases are a target's names, read again when they are older than a second, and
// after each request that changes them.
type aliases struct {
	mu   sync.Mutex
	to   map[string]string
	read time.Time

	shapes map[shapeKey]*shape // of searches' answers
}

// shapeKey is what the shape of a search's answer depends on.
type shapeKey struct {
	collection, orderBy string
	bare, batch         bool
}

// maxShapes bounds what is remembered.
const maxShapes = 256

// searched is the shape of a search's answer, which requests share.
func (o *operation) searched(k shapeKey) *shape {
	a := o.aliases()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shapes[k]
	if s != nil {
		return s
	}
	if s = (&shape{kind: array, row: true, elem: point(k.collection, k.orderBy)}); !k.bare {
		s = obj(map[string]*shape{"points": s})
	}
	if k.batch {
		s = list(s)
	}
	s = envelope(s)
	if a.shapes == nil || len(a.shapes) >= maxShapes {
		a.shapes = map[shapeKey]*shape{}
	}
	a.shapes[k] = s
	return s
}

// namesAge is how soon a name changed past the proxy is seen.
const namesAge = time.Second

func (a *aliases) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.read = time.Time{}
}

func (o *operation) aliases() *aliases {
	return o.r.Keep(func() any { return &aliases{} }).(*aliases)
}

// qdrantName is a collection's real name: aliases come first, as they do in
// the store.
func (o *operation) qdrantName(name string) (string, error) {
	a := o.aliases()
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.read) > namesAge {
		at := time.Now()
		var answer struct {
			Result struct {
				Aliases []struct {
					Alias      string `json:"alias_name"`
					Collection string `json:"collection_name"`
				} `json:"aliases"`
			} `json:"result"`
		}
		if err := o.ask(&answer, "aliases"); err != nil {
			return "", err
		}
		to := make(map[string]string, len(answer.Result.Aliases))
		for _, x := range answer.Result.Aliases {
			to[x.Alias] = x.Collection
		}
		a.to, a.read = to, at
	}
	if real, ok := a.to[name]; ok {
		return real, nil
	}
	return name, nil
}

// ask reads what the proxy itself must know of the store.
func (o *operation) ask(into any, path ...string) error {
	status, body, err := o.r.Ask(o.ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return &protocols.Denial{Kind: protocols.DenyUnavailable, At: -1, Message: "the store does not tell the proxy what its collections' real names are",
			Hint: "The target's key must be allowed to list aliases and collections."}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return httpgate.Broken("the store's list of names cannot be read", errors.Join(err))
	}
	return nil
}
