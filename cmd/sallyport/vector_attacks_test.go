package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeStore is an upstream that answers by path, and remembers what came.
type fakeStore struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

// startFake answers /aliases as Qdrant does, and gives all else to h.
func startFake(t testing.TB, h http.HandlerFunc) *fakeStore {
	t.Helper()
	f := &fakeStore{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/aliases" {
			fmt.Fprint(w, `{"result":{"aliases":[{"alias_name":"folk","collection_name":"people"}]},"status":"ok"}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.seen = append(f.seen, fmt.Sprintf("%s %s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Api-Key"), r.Header.Get("Content-Type"), body))
		f.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeStore) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

func address(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

const noPoints = `{"result":{"points":[],"next_page_offset":null},"status":"ok","time":0}`

// raw sends bytes and returns what comes back until the connection ends or the
// answer is whole.
func raw(t testing.TB, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		return err.Error()
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

// TestVectorCanonicalRequest sends requests in every form that two readers
// could read differently: each is refused, or reaches the store in the one
// form that was decided on.
func TestVectorCanonicalRequest(t *testing.T) {
	t.Parallel()
	store := startFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, noPoints) })
	p := startVector(t, storePolicy, map[string]string{"qdrant": address(store.Server)})
	at := p.at["qdrant"]
	const scroll = "/collections/people/points/scroll"
	request := func(head, body string, headers ...string) string {
		h := fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer worker-token\r\nConnection: close\r\nContent-Type: application/json\r\n", head)
		for _, x := range headers {
			h += x + "\r\n"
		}
		return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", h, len(body), body)
	}
	// What passes, and as what.
	for in, want := range map[string]string{
		request("POST "+scroll, `{"limit": 3}`):                                             "POST " + scroll + ` backend-key application/json {"limit":3}`,
		request("POST "+scroll+"/", `{"l\u0069mit": 3 }`):                                   "POST " + scroll + ` backend-key application/json {"limit":3}`,
		request("POST /collect%69ons/%70eople/points/scroll", `{}`):                         "POST " + scroll + ` backend-key application/json {}`,
		request("POST /collections/folk/points/scroll", `{}`):                               "POST " + scroll + ` backend-key application/json {}`, // an alias
		request("POST "+scroll+"?timeout=5", `{}`, "Api-Key: worker-token"):                 "POST " + scroll + `?timeout=5 backend-key application/json {}`,
		request("POST "+scroll, `{}`, "X-Forwarded-For: 1.2.3.4", "X-Api-Version: 3"):       "POST " + scroll + ` backend-key application/json {}`,
		strings.Replace(request("POST "+scroll, `{}`), "Bearer worker", "bearer worker", 1): "POST " + scroll + ` backend-key application/json {}`,
	} {
		got := raw(t, at, in)
		seen := store.take()
		if !strings.HasPrefix(got, "HTTP/1.1 200") || len(seen) != 1 || seen[0] != want {
			t.Errorf("%s\nreached the store as %q, want %q:\n%s", in, seen, want, got)
		}
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(`{"limit": 4}`))
	_ = z.Close()
	if got := raw(t, at, request("POST "+scroll, zipped.String(), "Content-Encoding: gzip")); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Error(got)
	} else if seen := store.take(); len(seen) != 1 || !strings.HasSuffix(seen[0], `application/json {"limit":4}`) {
		t.Errorf("gzip reached the store as %q", seen)
	}
	var bomb bytes.Buffer
	z = gzip.NewWriter(&bomb)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 50<<20))
	_ = z.Close()
	deep := strings.Repeat(`{"must":[`, 100) + strings.Repeat(`]}`, 100)
	// What is refused, with the status that says why. Nothing reaches the store.
	for name, c := range map[string]struct {
		status  int
		request string
	}{
		"no token":             {401, strings.Replace(request("POST "+scroll, `{}`), "Authorization: Bearer worker-token\r\n", "", 1)},
		"another token":        {401, request("POST "+scroll, `{}`, "Api-Key: other-token")},
		"unknown token":        {401, strings.Replace(request("POST "+scroll, `{}`), "worker-token", "nobody", 1)},
		"basic":                {401, strings.Replace(request("POST "+scroll, `{}`), "Bearer worker-token", "Basic d29ya2VyOng=", 1)},
		"a password as token":  {401, strings.Replace(request("POST "+scroll, `{}`), "worker-token", "dana-secret", 1)},
		"encoded slash":        {400, request("POST /collections/people%2fpoints/scroll", `{}`)},
		"twice encoded":        {400, request("POST /collections/%2570eople/points/scroll", `{}`)},
		"dots":                 {400, request("POST /collections/x/../people/points/scroll", `{}`)},
		"encoded dots":         {400, request("POST /collections/x/%2e%2e/people/points/scroll", `{}`)},
		"double slash":         {400, request("POST //collections/people/points/scroll", `{}`)},
		"matrix parameter":     {400, request("POST /collections/people;x=1/points/scroll", `{}`)},
		"zero":                 {400, request("POST /collections/people%00/points/scroll", `{}`)},
		"absolute form":        {400, request("POST http://other"+scroll, `{}`)},
		"two query values":     {400, request("POST "+scroll+"?timeout=1&timeout=2", `{}`)},
		"query in other case":  {400, request("POST "+scroll+"?TIMEOUT=1", `{}`)},
		"method override":      {400, request("POST "+scroll, `{}`, "X-HTTP-Method-Override: DELETE")},
		"method in the query":  {400, request("POST "+scroll+"?_method=DELETE", `{}`)},
		"another path":         {400, request("POST "+scroll, `{}`, "X-Original-URL: /collections/secret/points/scroll")},
		"upgrade":              {400, request("POST "+scroll, `{}`, "Upgrade: h2c")},
		"yaml":                 {415, strings.Replace(request("POST "+scroll, `limit: 3`), "application/json", "application/yaml", 1)},
		"form":                 {415, strings.Replace(request("POST "+scroll, `{}`), "application/json", "application/x-www-form-urlencoded", 1)},
		"utf-16":               {415, strings.Replace(request("POST "+scroll, `{}`), "application/json", "application/json; charset=utf-16", 1)},
		"brotli":               {415, request("POST "+scroll, `{}`, "Content-Encoding: br")},
		"not gzip":             {400, request("POST "+scroll, `{}`, "Content-Encoding: gzip")},
		"decompression bomb":   {413, request("POST "+scroll, bomb.String(), "Content-Encoding: gzip")},
		"too large":            {413, request("POST "+scroll, `{"filter":"`+strings.Repeat("x", 2_100_000)+`"}`)},
		"too deep":             {400, request("POST "+scroll, `{"filter":`+deep+`}`)},
		"not JSON":             {400, request("POST "+scroll, `{"limit":}`)},
		"cut JSON":             {400, request("POST "+scroll, `{"limit":3`)},
		"BOM":                  {400, request("POST "+scroll, "\xef\xbb\xbf{}")},
		"not UTF-8":            {400, request("POST "+scroll, "{\"shard_key\":\"\xff\"}")},
		"zero character":       {400, request("POST "+scroll, `{"shard_key":"\u0000"}`)},
		"names equal but case": {400, request("POST "+scroll, `{"shard_\u212aey":1,"shard_key":2}`)},
		"huge number":          {400, request("POST "+scroll, `{"limit":1e400}`)},
		"body of a GET":        {400, request("GET /collections/people", `{"limit":3}`)},
		"two lengths":          {400, "POST " + scroll + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer worker-token\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"},
		"no host":              {400, "POST " + scroll + " HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"},
		"not HTTP":             {400, "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"},
		"long head":            {431, "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80_000) + "\r\n\r\n"},
		"CONNECT":              {400, "CONNECT other:80 HTTP/1.1\r\nHost: other\r\nAuthorization: Bearer worker-token\r\nConnection: close\r\n\r\n"},
	} {
		got := raw(t, at, c.request)
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d", c.status)) && got != "" {
			t.Errorf("%s: %.300s, want %d", name, got, c.status)
		}
		if seen := store.take(); len(seen) != 0 {
			t.Errorf("%s reached the store: %q", name, seen)
		}
	}
	// Chunked and with a length: it could be read as two requests.
	got := raw(t, at, "POST "+scroll+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer worker-token\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	if seen := store.take(); !strings.HasPrefix(got, "HTTP/1.1 400") || len(seen) > 0 {
		t.Errorf("both lengths: %q %s", seen, got)
	}
}

// TestVectorBadUpstream: an answer that is not what the store's API promises
// is an error in the store's own form, or cuts the connection; no classed
// value is in what left.
func TestVectorBadUpstream(t *testing.T) {
	t.Parallel()
	point := `{"id":1,"payload":{"email":"ana1@example.com"}}`
	var behave atomic.Pointer[http.HandlerFunc]
	store := startFake(t, func(w http.ResponseWriter, r *http.Request) { (*behave.Load())(w, r) })
	p := startVector(t, storePolicy, map[string]string{"qdrant": address(store.Server)})
	url := "http://" + p.at["qdrant"] + "/collections/people/points/scroll"
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	cut := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"result":{"points":[`+strings.Repeat(point+",", n))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	status := func(code int, header, value, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(header, value)
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	for name, c := range map[string]struct {
		behave http.HandlerFunc
		status int // -1 for a cut connection
	}{
		"not JSON":             {text("<html>ana1@example.com</html>"), 502},
		"a list":               {text(`["ana1@example.com"]`), 502},
		"another shape":        {text(`{"result":{"points":{"ana1@example.com":1}}}`), 502},
		"payload is a string":  {text(`{"result":{"points":[{"payload":"ana1@example.com"}]}}`), 502},
		"two documents":        {text(noPoints + noPoints), 502},
		"a name twice":         {text(`{"result":{"points":[{"payload":{"email":"ana1@example.com","email":"ana1@example.com"}}]}}`), 200},
		"an escaped name":      {text(`{"result":{"points":[{"payload":{"em\u0061il":"ana1@example.com"}}]}}`), 200},
		"a new member":         {text(`{"result":{"points":[{"payload":{},"source":"ana1@example.com"}],"debug":"ana1@example.com"},"debug":"ana1@example.com"}`), 200},
		"cut at its start":     {cut(3), 502},
		"cut later":            {cut(10_000), -1},
		"nothing":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502},
		"gzip":                 {status(200, "Content-Encoding", "gzip", "x"), 502},
		"redirect":             {status(302, "Location", "http://other/?ana1@example.com", ""), 502},
		"an error with values": {status(400, "X-Debug", "ana1@example.com", `{"status":{"error":"bad value ana1@example.com"}}`), 400},
		"an error in text":     {status(500, "X-Debug", "ana1@example.com", `panic: ana1@example.com`), 500},
		"a long value":         {text(`{"result":{"points":[{"payload":{"n":"` + strings.Repeat("x", 300_000) + `"}}]}}`), 413},
		"a deep value":         {text(`{"result":{"points":[{"payload":{"n":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}]}}`), 502},
	} {
		behave.Store(&c.behave)
		got := do(t, "POST", url, "worker-token", `{}`)
		if got.status != c.status && !(c.status == -1 && got.status <= 0) {
			t.Errorf("%s: %d %.200s, want %d", name, got.status, got.body, c.status)
		}
		if strings.Contains(fmt.Sprint(got.header)+got.body, "ana1") {
			t.Errorf("%s shows a classed value: %v %.200s", name, got.header, got.body)
		}
		if c.status >= 400 && !strings.Contains(got.body, `"status":{"error":`) {
			t.Errorf("%s is not in the store's form: %s", name, got.body)
		}
	}
	fine := text(noPoints)
	behave.Store(&fine)
	if got := do(t, "POST", url, "worker-token", `{}`); got.status != 200 {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
	store.Close()
	if got := do(t, "POST", url, "worker-token", `{}`); got.status != 502 {
		t.Errorf("without an upstream: %d %s", got.status, got.body)
	}
}

// TestVectorClientGone: a client that goes away in the midst ends its request
// upstream, and what it was sent is recorded.
func TestVectorClientGone(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	store := startFake(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		fmt.Fprint(w, `{"result":{"points":[`)
		for r.Context().Err() == nil {
			if _, err := fmt.Fprintf(w, `{"id":1,"payload":{"n":%q}},`, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	})
	p := startVector(t, permissive, map[string]string{"qdrant": address(store.Server)})
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+p.at["qdrant"]+"/collections/people/points/scroll", strings.NewReader(`{"limit":9}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Api-Key", "worker-token")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the request goes on upstream")
	}
	p.stop()
	code := <-p.code
	p.code <- code
	if code != 0 {
		t.Errorf("serve ended with %d", code)
	}
	if code, out := runMain(t, "replay", "verify", "--config", p.config); code != 0 {
		t.Errorf("replay verify: %d %s", code, out)
	}
}

// TestVectorKilled: an administrator's kill ends a request in the midst and a
// session without one; the next request is a new session.
func TestVectorKilled(t *testing.T) {
	t.Parallel()
	working := make(chan struct{})
	store := startFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/collections/people/points/scroll" {
			close(working)
			fmt.Fprint(w, `{"result":{"points":[`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, `{"result":{"exists":true},"status":"ok"}`)
	})
	p := startVector(t, permissive, map[string]string{"qdrant": address(store.Server)})
	base := "http://" + p.at["qdrant"] + "/collections/people"
	exists := func() {
		t.Helper()
		if got := do(t, "GET", base+"/exists", "worker-token", ""); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	kill := func(from int) int {
		t.Helper()
		at := p.stderr.await(t, from, "session began")
		_, out := runMain(t, "sessions", "list", "--config", p.config, "--live", "--json")
		id := strings.Split(out, `"`)[3]
		if code, out := runMain(t, "sessions", "kill", "--config", p.config, id); code != 0 {
			t.Fatalf("%s: %s", id, out)
		}
		return p.stderr.await(t, at, "session ended")
	}
	exists()
	from := kill(0)
	exists()
	got := make(chan httpAnswer, 1)
	go func() { got <- do(t, "POST", base+"/points/scroll", "worker-token", `{}`) }()
	<-working
	kill(from)
	select {
	case a := <-got:
		if a.status == 200 || strings.Contains(a.body, "points") {
			t.Errorf("%d %s", a.status, a.body)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the request goes on")
	}
	exists()
}

// TestVectorSessions: requests of one token are one session, over all its
// connections and at the same time; a slow body is cut off.
func TestVectorSessions(t *testing.T) {
	t.Parallel()
	store := startFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, noPoints) })
	p := startVector(t, storePolicy, map[string]string{"qdrant": address(store.Server)})
	url := "http://" + p.at["qdrant"] + "/collections/people/points/scroll"
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				token := []string{"worker-token", "other-token"}[i%2]
				if got := do(t, "POST", url, token, `{"limit":5}`); got.status != 200 {
					t.Errorf("%d %s", got.status, got.body)
				}
			}
		})
	}
	wg.Wait()
	_, out := runMain(t, "sessions", "list", "--config", p.config, "--json")
	if strings.Count(out, "\n") != 2 || strings.Count(out, `"statements":80`) != 2 {
		t.Errorf("not two sessions of 80 statements:\n%s", out)
	}
	p.stop() // idle connections do not keep it from ending
	code := <-p.code
	p.code <- code
	if code, out := runMain(t, "replay", "verify", "--config", p.config); code != 0 {
		t.Errorf("replay verify: %d %s", code, out)
	}
}
