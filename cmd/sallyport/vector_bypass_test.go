package main

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// bypasses are the ways round a gate for HTTP stores that are known, and what
// shows that each is closed: a test, or lines of a file of requests, which
// TestVectorNonInterference sends.
var bypasses = []struct{ way, in, shown string }{
	{"paths encoded, twice encoded, with dots, slashes, parameters", "../../protocols/internal/httpgate/canonical_test.go", "func TestParseTarget"},
	{"the same, before a store", "vector_attacks_test.go", `"twice encoded"`},
	{"methods and paths that headers override", "vector_attacks_test.go", `"method override"`},
	{"a method in the query", "../../testdata/vector/qdrant_requests.txt", "?_method=GET => 400"},
	{"upgrades, CONNECT, TRACE", "vector_attacks_test.go", `"upgrade"`},
	{"two lengths of a body", "vector_attacks_test.go", `"two lengths"`},
	{"a body where none belongs", "../../testdata/vector/qdrant_requests.txt", `DELETE /collections/people {"a":1} => 400`},
	{"headers that choose another answer, or come back", "vector_bypass_test.go", "func TestVectorHeaders"},
	{"compressed bodies, bombs", "vector_bypass_test.go", "func TestVectorEncodings"},
	{"other content types and charsets", "vector_attacks_test.go", `"utf-16"`},
	{"another form of the answer", "../../testdata/vector/qdrant_requests.txt", "?format=yaml {} => 400"},
	{"names twice, equal but for case, escaped", "../../protocols/internal/httpgate/canonical_test.go", `{"s":1,"ſ":2}`},
	{"numbers that readers read differently", "../../testdata/vector/qdrant_requests.txt", `{"limit":10.0} => 400`},
	{"depth, size, zero characters, byte order marks", "vector_attacks_test.go", `"zero character"`},
	{"members that are not known", "../../testdata/vector/qdrant_requests.txt", `{"limit":3,"limitt":4} => 400`},
	{"aliases, made, moved and renamed", "vector_bypass_test.go", "func TestVectorNames"},
	{"IDs in other forms, of other databases", "../../testdata/vector/chroma_requests.txt", "C/urn:uuid:{secret}/get"},
	{"lists of what is out of scope", "vector_bypass_test.go", "func TestVectorLists"},
	{"batches with one item that may not pass", "../../testdata/vector/qdrant_requests.txt", `{"operations":[{"delete":{"points":[99]}},{"delete":{"filter":{}}}]} => 403`},
	{"other collections read from within a search", "../../testdata/vector/qdrant_requests.txt", `"lookup_from":{"collection":"secret"}`},
	{"how much: groups, prefetches, batches, lists of queries", "../../testdata/vector/qdrant_requests.txt", `"group_size":100} => 403`},
	{"no limit at all", "../../testdata/vector/chroma_requests.txt", `C/{people}/get {} => 403 held`},
	{"classed values compared, sorted, counted, scored", "../../testdata/vector/qdrant_requests.txt", `"formula":{"exp":"contact[].email"}`},
	{"the same by nested, quoted, escaped and indexed keys", "../../testdata/vector/qdrant_requests.txt", `"key":"salary[0]"`},
	{"embeddings by whatever member asks for them", "vector_test.go", "shows embeddings"},
	{"what cannot be masked: snapshots, exports", "../../testdata/vector/qdrant_requests.txt", "GET /collections/people/snapshots/x.snapshot => 403"},
	{"answers that are not what the API promises", "vector_attacks_test.go", "func TestVectorBadUpstream"},
	{"errors, redirects and headers that tell", "vector_attacks_test.go", `"an error with values"`},
	{"writes that are filtered by what may not be compared", "../../testdata/vector/qdrant_requests.txt", `"update_filter":{"must":[{"key":"salary"`},
	{"masked values written back", "../../testdata/vector/qdrant_requests.txt", `=> 403 masked`},
	{"another door: addresses of peers, other ports", "../../testdata/vector/qdrant_requests.txt", "GET /cluster => 403"},
	{"another door: tokens that lead round the proxy", "llm_test.go", "/v1/realtime/client_secrets"},
}

// TestVectorBypasses: what the table names is there.
func TestVectorBypasses(t *testing.T) {
	for _, b := range bypasses {
		if !strings.Contains(readFile(t, filepath.FromSlash(b.in)), b.shown) {
			t.Errorf("%s: %s has no %s", b.way, b.in, b.shown)
		}
	}
}

// TestVectorHeaders: of a client's headers none is forwarded, and of a store's
// none comes back.
func TestVectorHeaders(t *testing.T) {
	var seen atomic.Pointer[http.Header]
	var status atomic.Int32
	store := startFake(t, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		seen.Store(&h)
		for _, name := range []string{"ETag", "Content-MD5", "Set-Cookie", "WWW-Authenticate", "X-Debug", "Server", "Location", "Link"} {
			w.Header().Set(name, "ana1@example.com")
		}
		w.Header().Set("Trailer", "X-Late")
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, noPoints)
		w.Header().Set("X-Late", "ana1@example.com")
	})
	p := startVector(t, storePolicy, map[string]string{"qdrant": address(store.Server)})
	for _, want := range []int{200, 401, 403, 404, 409, 429, 503} {
		status.Store(int32(want))
		if want == 401 { // of the proxy's own key, which is none of the client's business
			want = 502
		}
		got := do(t, "POST", "http://"+p.at["qdrant"]+"/collections/people/points/scroll", "worker-token", `{}`,
			"Accept", "application/cbor", "Accept-Encoding", "br", "Cookie", "a=b", "X-Forwarded-For", "1.2.3.4", "Range", "bytes=0-3", "If-None-Match", "x", "Te", "trailers", "X-Request-Id", "x")
		if got.status != want {
			t.Errorf("%d: %d %s", want, got.status, got.body)
		}
		if strings.Contains(fmt.Sprint(got.header), "ana1") {
			t.Errorf("%d: headers come back: %v", want, got.header)
		}
		h := *seen.Load()
		if h.Get("Accept") != "application/json" || h.Get("Api-Key") != "backend-key" || strings.Contains(fmt.Sprint(h), "worker-token") {
			t.Errorf("the store got %v", h)
		}
		for _, name := range []string{"Cookie", "X-Forwarded-For", "Range", "If-None-Match", "Te", "X-Request-Id", "Authorization"} {
			if h.Get(name) != "" {
				t.Errorf("the store got %s: %v", name, h)
			}
		}
		if e := h.Get("Accept-Encoding"); e != "" && e != "identity" {
			t.Errorf("the store may answer in %s", e)
		}
	}
}

// TestVectorEncodings: what was decided on is forwarded, out of its encoding.
func TestVectorEncodings(t *testing.T) {
	store := startFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, noPoints) })
	p := startVector(t, storePolicy, map[string]string{"qdrant": address(store.Server)})
	url := "http://" + p.at["qdrant"] + "/collections/people/points/scroll"
	pack := func(name string, body []byte) string {
		var b bytes.Buffer
		switch name {
		case "deflate":
			z := zlib.NewWriter(&b)
			_, _ = z.Write(body)
			_ = z.Close()
		case "zstd":
			z, err := zstd.NewWriter(&b)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = z.Write(body)
			_ = z.Close()
		}
		return b.String()
	}
	for _, name := range []string{"deflate", "zstd"} {
		got := do(t, "POST", url, "worker-token", pack(name, []byte(`{"limit": 4}`)), "Content-Encoding", name)
		if seen := store.take(); got.status != 200 || len(seen) != 1 || !strings.HasSuffix(seen[0], ` application/json {"limit":4}`) {
			t.Errorf("%s: %d %s, the store got %q", name, got.status, got.body, seen)
		}
		got = do(t, "POST", url, "worker-token", pack(name, []byte(`{"limit": 99}`)), "Content-Encoding", name)
		if seen := store.take(); got.status != 403 || len(seen) != 0 {
			t.Errorf("%s hides a limit: %d %s, the store got %q", name, got.status, got.body, seen)
		}
		for what, body := range map[string]string{"a bomb": pack(name, bytes.Repeat([]byte(" "), 20<<20)), "half of it": pack(name, []byte(`{"limit": 4}`))[:8], "plain": `{}`} {
			if got := do(t, "POST", url, "worker-token", body, "Content-Encoding", name); got.status != 400 && got.status != 413 {
				t.Errorf("%s, %s: %d %s", name, what, got.status, got.body)
			}
		}
		if got := do(t, "POST", url, "worker-token", pack(name, []byte(`{}`)), "Content-Encoding", name+", gzip"); got.status != 415 {
			t.Errorf("%s twice: %d %s", name, got.status, got.body)
		}
		if seen := store.take(); len(seen) != 0 {
			t.Errorf("%s: the store got %q", name, seen)
		}
	}
}

// TestVectorNames: a name that is made, moved or renamed through the proxy
// means what it means in the store, at once, and past it within a second.
func TestVectorNames(t *testing.T) {
	t.Parallel()
	qdrant, chroma := startQdrant(t), startChroma(t)
	seedQdrant(t, qdrant, "ana")
	ids := seedChroma(t, chroma, "ana")
	p := startVector(t, strings.Replace(storePolicy, "when: stmt.action == \"ddl\" && stmt.destructive", `when: stmt.action == "ddl" && stmt.destructive && !("support" in identity.groups)`, 1),
		map[string]string{"qdrant": qdrant, "chroma": chroma})
	q, c := "http://"+p.at["qdrant"], "http://"+p.at["chroma"]+chromaBase
	expect := func(what string, got httpAnswer, status int, says string) {
		t.Helper()
		if got.status != status || !strings.Contains(got.body, says) || strings.Contains(got.body, "ana1@") {
			t.Errorf("%s: %d %s, want %d %s", what, got.status, got.body, status, says)
		}
	}
	scroll := func(name string) httpAnswer {
		return do(t, "POST", q+"/collections/"+name+"/points/scroll", "worker-token", `{"limit":1}`)
	}
	alias := func(actions string) httpAnswer {
		return do(t, "POST", q+"/collections/aliases", "support-token", `{"actions":[`+actions+`]}`)
	}
	expect("before", scroll("folk"), 200, "[redacted]")
	expect("a new alias", alias(`{"create_alias":{"collection_name":"people","alias_name":"crowd"}}`), 200, "true")
	expect("of people", scroll("crowd"), 200, "[redacted]")
	expect("moved", alias(`{"delete_alias":{"alias_name":"crowd"}},{"create_alias":{"collection_name":"secret","alias_name":"crowd"}}`), 200, "true")
	expect("to what is out of scope", scroll("crowd"), 403, "secret")
	expect("renamed", alias(`{"rename_alias":{"old_alias_name":"crowd","new_alias_name":"crowd2"}}`), 200, "true")
	expect("out of scope still", scroll("crowd2"), 403, "secret")
	// Past the proxy: until it is seen, the collection that was meant before is read.
	past := do(t, "POST", "http://"+qdrant+"/collections/aliases", "", `{"actions":[{"delete_alias":{"alias_name":"folk"}},{"create_alias":{"collection_name":"secret","alias_name":"folk"}}]}`, "api-key", "backend-key")
	if past.status != 200 {
		t.Fatal(past)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		got := scroll("folk")
		if got.status == 403 {
			break
		}
		if expect("moved past the proxy", got, 200, "[redacted]"); time.Now().After(deadline) {
			t.Fatal("an alias that was moved past the proxy is never seen")
		}
	}

	get := func() httpAnswer {
		return do(t, "POST", c+"/"+ids["open"]+"/get", "worker-token", `{"limit":1}`)
	}
	if got := get(); got.status != 200 {
		t.Errorf("before: %d %s", got.status, got.body)
	}
	expect("renamed", do(t, "PUT", c+"/"+ids["open"], "support-token", `{"new_name":"private"}`), 200, "{}")
	expect("its ID names what is out of scope", get(), 403, "private")
	expect("under the name of a class", do(t, "PUT", c+"/"+ids["open"], "support-token", `{"new_name":"people2"}`), 200, "{}")
	expect("a classed collection under another name", do(t, "PUT", c+"/"+ids["people"], "worker-token", `{"new_name":"open"}`), 403, "renaming")
}

// TestVectorLists: a list has the collections that the identity may reach.
func TestVectorLists(t *testing.T) {
	t.Parallel()
	qdrant, chroma := startQdrant(t), startChroma(t)
	seedQdrant(t, qdrant, "ana")
	seedChroma(t, chroma, "ana")
	p := startVector(t, storePolicy, map[string]string{"qdrant": qdrant, "chroma": chroma})
	for url, names := range map[string]string{
		"http://" + p.at["qdrant"] + "/collections":                "people open secret",
		"http://" + p.at["qdrant"] + "/aliases":                    "folk people hidden secret",
		"http://" + p.at["qdrant"] + "/collections/people/aliases": "folk people",
		"http://" + p.at["chroma"] + chromaBase:                    "people open secret",
		"http://" + p.at["chroma"] + chromaBase + "?limit=9":       "people open secret",
	} {
		for _, who := range []string{"worker", "support"} {
			got := do(t, "GET", url, who+"-token", "")
			if !json.Valid([]byte(got.body)) || got.status != 200 {
				t.Errorf("%s: %d %s", url, got.status, got.body)
			}
			for _, name := range strings.Fields(names) {
				want := who == "support" || name != "secret" && name != "hidden"
				if strings.Contains(got.body, `"`+name+`"`) != want {
					t.Errorf("%s to %s: %s is there: %v, want %v\n%s", url, who, name, !want, want, got.body)
				}
			}
		}
	}
}

// TestVectorWhatIsNotHeld shows the channels of vector stores that
// docs/threat-model.md names: each of these answers differs between two stores
// that differ only in what nobody may see. One that does not any more is held
// now, and the document says too little.
func TestVectorWhatIsNotHeld(t *testing.T) {
	t.Parallel()
	up := map[string]string{"qdrant1": startQdrant(t), "qdrant2": startQdrant(t)}
	for name, address := range up {
		base, key := "http://"+address+"/collections/people", []string{"api-key", "backend-key"}
		if s := do(t, "PUT", base, "", `{"vectors":{"size":2,"distance":"Dot"}}`, key...); s.status != 200 {
			t.Fatal(s)
		}
		points := `{"points":[{"id":1,"vector":[1,2],"payload":{"email":"a@example.com"}},{"id":2,"vector":[3,1],"payload":{}}]}`
		if name == "qdrant2" {
			points = `{"points":[{"id":1,"vector":[5,2],"payload":{"email":"b@example.com"}},{"id":2,"vector":[3,1],"payload":{"email":"c@example.com"}}]}`
		}
		if s := do(t, "PUT", base+"/points?wait=true", "", points, key...); s.status != 200 {
			t.Fatal(s)
		}
	}
	p := startVector(t, storePolicy, up)
	for what, r := range map[string][2]string{
		"scores tell what embeddings are":   {"/points/query", `{"query":[1,0]}`},
		"which points have a classed key":   {"/points/scroll", `{"with_payload":true}`},
		"a count of what is not empty":      {"/points/count", `{"filter":{"must_not":[{"is_empty":{"key":"email"}}]}}`},
		"order by similarity to each other": {"/points/query", `{"query":1}`},
	} {
		var got [2]string
		for i := range got {
			a := do(t, "POST", fmt.Sprintf("http://%s/collections/people%s", p.at[fmt.Sprintf("qdrant%d", i+1)], r[0]), "worker-token", r[1])
			if got[i] = canonical(a.body); a.status != 200 || strings.Contains(a.body, "@example.com") || strings.Contains(a.body, `"vector"`) {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
		}
		if got[0] == got[1] {
			t.Errorf("%s: both stores answer alike: %s", what, got[0])
		}
	}
}
