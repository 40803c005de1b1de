package throwaway

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Points is a stand-in for a Qdrant server, of which no registry has one: it
// keeps points in memory and answers the routes of Qdrant's REST API that the
// demo needs (https://api.qdrant.tech), with exact cosine similarity. What it
// does not know (filters, named vectors, …) it refuses. It is no vector store.
// It may be used concurrently.
type Points struct {
	key    string
	server *http.Server
	listen net.Listener
	ended  chan error

	mu          sync.Mutex
	collections map[string]map[uint64]point
}

type point struct {
	ID      uint64         `json:"id"`
	Vector  []float64      `json:"vector"`
	Payload map[string]any `json:"payload"`
}

// StartPoints listens on a free port of loopback and takes requests that bring
// the key as their api-key. Stop ends it.
func StartPoints(key string) (*Points, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Points{key: key, listen: l, ended: make(chan error, 1), collections: map[string]map[uint64]point{}}
	mux := http.NewServeMux()
	for route, answer := range map[string]func(*http.Request) (any, error){
		"GET /aliases":     func(*http.Request) (any, error) { return map[string]any{"aliases": []any{}}, nil },
		"GET /collections": p.list, "PUT /collections/{c}": p.create, "DELETE /collections/{c}": p.drop,
		"PUT /collections/{c}/points": p.upsert, "POST /collections/{c}/points/delete": p.remove,
		"POST /collections/{c}/points/scroll": p.scroll, "POST /collections/{c}/points/query": p.query,
	} {
		mux.HandleFunc(route, p.handler(answer))
	}
	p.server = &http.Server{Handler: mux}
	go func() { p.ended <- p.server.Serve(l) }()
	return p, nil
}

// Address is its host and port.
func (p *Points) Address() string { return p.listen.Addr().String() }

// Stop ends it, with all that it keeps.
func (p *Points) Stop() error {
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// Upsert puts points into a collection, as JSON in Qdrant's form.
func (p *Points) Upsert(collection string, points []byte) error {
	var in []point
	if err := json.Unmarshal(points, &in); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.collections[collection] == nil {
		p.collections[collection] = map[uint64]point{}
	}
	for _, x := range in {
		p.collections[collection][x.ID] = x
	}
	return nil
}

// Len is how many points a collection has, and whether there is one.
func (p *Points) Len(collection string) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.collections[collection]
	return len(c), ok
}

var errNoCollection = errors.New("not found: the collection does not exist")

// handler answers in Qdrant's envelope.
func (p *Points) handler(answer func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusUnauthorized
		var out any = map[string]any{"status": map[string]string{"error": "Must provide an API key"}, "time": 0}
		if r.Header.Get("Api-Key") == p.key {
			status = http.StatusOK
			p.mu.Lock()
			result, err := answer(r)
			p.mu.Unlock()
			out = map[string]any{"result": result, "status": "ok", "time": 0}
			if err != nil {
				status = http.StatusBadRequest
				if errors.Is(err, errNoCollection) {
					status = http.StatusNotFound
				}
				out = map[string]any{"status": map[string]string{"error": err.Error()}, "time": 0}
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out) // the client may have gone
	}
}

// read reads a body that has nothing else than into, of a collection that is
// there.
func (p *Points) read(r *http.Request, into any) (map[uint64]point, error) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return nil, fmt.Errorf("format error: the stand-in does not know this: %w", err)
	}
	c, ok := p.collections[r.PathValue("c")]
	if !ok {
		return nil, errNoCollection
	}
	return c, nil
}

func (p *Points) list(*http.Request) (any, error) {
	out := []map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(p.collections)) {
		out = append(out, map[string]string{"name": name})
	}
	return map[string]any{"collections": out}, nil
}

func (p *Points) create(r *http.Request) (any, error) {
	name := r.PathValue("c")
	if p.collections[name] != nil {
		return nil, errors.New("wrong input: the collection already exists")
	}
	p.collections[name] = map[uint64]point{}
	return true, nil
}

func (p *Points) drop(r *http.Request) (any, error) {
	_, ok := p.collections[r.PathValue("c")]
	delete(p.collections, r.PathValue("c"))
	return ok, nil
}

func (p *Points) upsert(r *http.Request) (any, error) {
	var in struct{ Points []point }
	c, err := p.read(r, &in)
	for _, x := range in.Points {
		if err == nil {
			c[x.ID] = x
		}
	}
	return completed, err
}

func (p *Points) remove(r *http.Request) (any, error) {
	var in struct{ Points []uint64 }
	c, err := p.read(r, &in)
	for _, id := range in.Points {
		delete(c, id)
	}
	return completed, err
}

var completed = map[string]any{"operation_id": 1, "status": "completed"}

// shown is a point as an answer has it.
type shown struct {
	ID      uint64         `json:"id"`
	Version *int           `json:"version,omitempty"`
	Score   *float64       `json:"score,omitempty"`
	Payload map[string]any `json:"payload,omitempty"`
	Vector  []float64      `json:"vector,omitempty"`
}

func (x point) shown(payload, vector bool) shown {
	out := shown{ID: x.ID}
	if payload {
		out.Payload = x.Payload
	}
	if vector {
		out.Vector = x.Vector
	}
	return out
}

func (p *Points) scroll(r *http.Request) (any, error) {
	in := struct {
		Limit       int
		Offset      uint64
		WithPayload bool `json:"with_payload"`
		WithVector  bool `json:"with_vector"`
	}{Limit: 10, WithPayload: true}
	c, err := p.read(r, &in)
	out := []shown{}
	var next any
	for _, id := range slices.Sorted(maps.Keys(c)) {
		if id < in.Offset {
			continue
		}
		if len(out) == in.Limit {
			next = id
			break
		}
		out = append(out, c[id].shown(in.WithPayload, in.WithVector))
	}
	return map[string]any{"points": out, "next_page_offset": next}, err
}

func (p *Points) query(r *http.Request) (any, error) {
	in := struct {
		Query       []float64
		Limit       int
		WithPayload bool `json:"with_payload"`
		WithVector  bool `json:"with_vector"`
	}{Limit: 10}
	c, err := p.read(r, &in)
	out := []shown{}
	for _, x := range c {
		s, score, version := x.shown(in.WithPayload, in.WithVector), cosine(in.Query, x.Vector), 0
		s.Score, s.Version = &score, &version
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b shown) int {
		return cmp.Or(cmp.Compare(*b.Score, *a.Score), cmp.Compare(a.ID, b.ID))
	})
	return map[string]any{"points": out[:min(max(in.Limit, 0), len(out))]}, err
}

// cosine is the similarity of two vectors, 0 where they have none.
func cosine(a, b []float64) float64 {
	var dot, aa, bb float64
	for i := range min(len(a), len(b)) {
		dot += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return dot / math.Sqrt(aa*bb)
}
