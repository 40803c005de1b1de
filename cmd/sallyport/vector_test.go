package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// vectorDir has the double, the clients' scripts, policies and requests.
var vectorDir = filepath.Join("..", "..", "testdata", "vector")

// vectorPython is the interpreter with the vector stores' clients, and the
// folder of Chroma's server.
func vectorPython(t testing.TB) (python, chroma string) {
	t.Helper()
	cache, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	python, chroma = filepath.Join(cache, "vector", "bin", "python"), filepath.Join(cache, "chroma")
	for _, path := range []string{python, chroma} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v: run `make setup-tests`", err)
		}
	}
	return python, chroma
}

// startQdrant starts the double of Qdrant and returns its address.
func startQdrant(t testing.TB) string {
	t.Helper()
	python, _ := vectorPython(t)
	cmd := exec.Command(python, filepath.Join(vectorDir, "qdrant_double.py"), "backend-key")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() }) // it ends with its input
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the double of Qdrant does not start: %v\n%s", err, stderr.String())
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}

// startChroma starts a Chroma server and returns its address.
func startChroma(t testing.TB) string {
	t.Helper()
	python, chroma := vectorPython(t)
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(python, "-c", "import sys, chromadb_rust_bindings as b; b.cli(['chroma'] + sys.argv[1:])",
		"run", "--path", t.TempDir(), "--host", "127.0.0.1", "--port", port)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+chroma, "ANONYMIZED_TELEMETRY=false")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := http.Get("http://" + address + "/api/v2/heartbeat")
		if err == nil {
			resp.Body.Close()
			return address
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("Chroma ended: %v\n%s", err, log.String())
		case <-time.After(20 * time.Millisecond): // until it listens
		}
		if time.Now().After(deadline) {
			t.Fatalf("Chroma does not answer: %v", err)
		}
	}
}

// vectorProxy is a proxy before stores; at is each target's address.
type vectorProxy struct {
	*testProxy
	at map[string]string
}

// startVector starts a proxy with a target for each store (a protocol, or a
// protocol and a digit) at its upstream's address.
func startVector(t testing.TB, policy string, upstreams map[string]string) *vectorProxy {
	t.Helper()
	p := &vectorProxy{testProxy: &testProxy{dir: t.TempDir()}, at: map[string]string{}}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "version: 1\npolicy: policy.yaml\nconsole: {listen: \"127.0.0.1:%d\"}\nlimits: {message: 2000000, row: 100000}\nidentities:\n", freePort(t))
	for _, id := range []struct{ name, group string }{{"worker", "rag"}, {"other", "rag"}, {"support", "support"}} {
		fmt.Fprintf(&cfg, "  - {name: %s, kind: machine, token: {file: %s}, groups: [%s]}\n", id.name, p.write(t, id.name+".token", id.name+"-token\n"), id.group)
	}
	fmt.Fprintf(&cfg, "  - {name: dana, password: {file: %s}, groups: [dba]}\ntargets:\n", p.write(t, "dana.secret", "dana-secret\n"))
	key := p.write(t, "backend.key", "backend-key\n")
	for name, upstream := range upstreams {
		p.at[name] = fmt.Sprintf("127.0.0.1:%d", freePort(t))
		fmt.Fprintf(&cfg, "  - {name: %s, protocol: %s, listen: %q, tls: {mode: disable}, wait: 100ms, upstream: {url: \"http://%s\", password: {file: %s}}}\n",
			name, strings.TrimRight(name, "0123456789"), p.at[name], upstream, key)
	}
	p.config = p.write(t, "sallyport.yaml", cfg.String())
	p.write(t, "policy.yaml", policy)
	p.serve(t)
	return p
}

// httpAnswer is what a request got.
type httpAnswer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with a token, "" for none.
func do(t testing.TB, method, url, token, body string, header ...string) httpAnswer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return httpAnswer{body: err.Error()}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return httpAnswer{status: -1, body: string(b) + err.Error()}
	}
	return httpAnswer{resp.StatusCode, resp.Header, string(b)}
}

// vectorScript runs a client's script, of Python or JavaScript, against a
// store.
func vectorScript(t testing.TB, script string, args ...string) string {
	t.Helper()
	python, chroma := vectorPython(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	words := strings.Fields(script) // its own arguments come first
	args = slices.Concat([]string{filepath.Join(vectorDir, words[0])}, words[1:], args)
	cmd := exec.CommandContext(ctx, python, append([]string{"-W", "ignore"}, args...)...)
	if filepath.Ext(words[0]) == ".mjs" {
		cmd = exec.CommandContext(ctx, "node", args...)
	}
	cmd.Env = append(os.Environ(), "MODULES="+filepath.Join(filepath.Dir(chroma), "javascript"), "LANGSMITH_TRACING=false", "NO_PROXY=127.0.0.1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s\n%s", script, args, err, out, stderr.String())
	}
	return string(out)
}

// TestVectorClients runs the official clients direct and through the proxy,
// with their own token in the place of the store's key, and compares all that
// they are told.
func TestVectorClients(t *testing.T) {
	t.Parallel()
	qdrant, chroma := startQdrant(t), startChroma(t)
	p := startVector(t, permissive, map[string]string{"qdrant": qdrant, "chroma": chroma})
	for _, c := range []struct{ script, direct, key, proxy, last string }{
		{"qdrant_scenario.py", "http://" + qdrant, "backend-key", "http://" + p.at["qdrant"], "missing 404"},
		{"chroma_scenario.py", chroma, "none", p.at["chroma"], `missing "NotFoundError"`},
		{"qdrant_client.mjs", "http://" + qdrant, "backend-key", "http://" + p.at["qdrant"], "missing 404"},
		{"chroma_client.mjs", chroma, "none", p.at["chroma"], `missing "ChromaNotFoundError"`},
		{"langchain_store.py qdrant", qdrant, "backend-key", p.at["qdrant"], "end true"},
		{"langchain_store.py chroma", chroma, "none", p.at["chroma"], "end true"},
	} {
		direct := vectorScript(t, c.script, c.direct, c.key)
		through := vectorScript(t, c.script, c.proxy, "worker-token")
		if diff := cmp.Diff(direct, through); diff != "" {
			t.Errorf("%s differs through the proxy (-direct +proxy):\n%s", c.script, diff)
		}
		if !strings.Contains(through, c.last) {
			t.Errorf("%s did not get to its end:\n%s", c.script, through)
		}
	}
	if s := do(t, "GET", "http://"+p.at["qdrant"]+"/collections", "backend-key", ""); s.status != 401 || strings.Contains(s.body, "people") {
		t.Errorf("the backend's key opens the proxy: %d %s", s.status, s.body)
	}
	code, out := runMain(t, "sessions", "list", "--config", p.config, "--json")
	if code != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("each client's requests are not one session: %d\n%s", code, out)
	}
	for line := range strings.Lines(out) {
		var s struct {
			ID, Target string
			Statements int
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.Statements < 20 {
			t.Errorf("%s: %v", line, err)
		}
		code, shown := runMain(t, "replay", "show", "--config", p.config, s.ID)
		if code != 0 || !strings.Contains(shown, "DELETE /") || strings.Contains(shown, "backend-key") || strings.Contains(shown, "worker-token") {
			t.Errorf("replay show: %d\n%s", code, shown)
		}
	}
}

// storePolicy classes an e-mail address at every depth, a salary that may not
// be compared, documents and embeddings.
const storePolicy = `
version: 1
classes:
  email:    {mask: redact, compare: equality}
  salary:   {mask: redact, compare: none}
  document: {mask: redact, compare: none}
  vector:   {mask: redact}
payloads:
  - {class: email, match: ["people:email", "people:**.email"]}
  - {class: salary, match: ["people:salary", "people:home.lat"]}
  - {class: document, match: ["people:#document", "people:#uri"]}
unmask:
  - {classes: [email, salary, document, vector], groups: [support]}
rules:
  - name: no-destructive-ddl
    when: stmt.action == "ddl" && stmt.destructive
    then: deny
    reason: Dropping goes through a migration.
  - name: unfiltered-write
    when: stmt.action in ["update", "delete"] && !stmt.filtered
    then: deny
  - name: deep-search
    when: stmt.top_k > 1000
    then: deny
  - name: bulk-read
    when: stmt.action in ["read", "search"] && stmt.limit > 50
    then: hold
    approvers: {groups: [dba], count: 1, within: 1m}
scopes:
  - {groups: [rag], collections: [people, open]}
  - {groups: [support]}
`

var vectorHold = regexp.MustCompile(`held for approval: ([0-9a-f]{20})`)

// seedQdrant fills a store with people whose classed values are of a kind.
func seedQdrant(t testing.TB, address, kind string) {
	t.Helper()
	base := "http://" + address
	key := []string{"api-key", "backend-key"}
	for _, c := range []string{"people", "open", "secret"} {
		if s := do(t, "PUT", base+"/collections/"+c, "", `{"vectors":{"size":3,"distance":"Dot"}}`, key...); s.status != 200 {
			t.Fatal(s)
		}
	}
	var points []string
	for i := 1; i <= 12; i++ {
		points = append(points, fmt.Sprintf(`{"id":%d,"vector":[%d,1,0.5],"payload":{"n":%d,"city":"c%d","email":"%s%d@example.com","salary":%d,"home":{"lat":%d,"lon":2},"contact":[{"email":"%s-%d","kind":"home"}],"odd":{"a.b":1,"email":{"%s":%d}}}}`,
			i, i, i, i%3, kind, i, len(kind)*1000+i*(1-2*(len(kind)%2)), len(kind)+i, kind, i, kind, i))
	}
	for _, c := range []string{"people", "open", "secret"} {
		if s := do(t, "PUT", base+"/collections/"+c+"/points?wait=true", "", `{"points":[`+strings.Join(points, ",")+`]}`, key...); s.status != 200 {
			t.Fatal(s)
		}
	}
	for alias, c := range map[string]string{"folk": "people", "hidden": "secret"} {
		if s := do(t, "POST", base+"/collections/aliases", "", fmt.Sprintf(`{"actions":[{"create_alias":{"collection_name":%q,"alias_name":%q}}]}`, c, alias), key...); s.status != 200 {
			t.Fatal(s)
		}
	}
}

const chromaBase = "/api/v2/tenants/default_tenant/databases/default_database/collections"

// seedChroma is seedQdrant for Chroma; it returns the collections' IDs.
func seedChroma(t testing.TB, address, kind string) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for _, c := range []string{"people", "open", "secret"} {
		s := do(t, "POST", "http://"+address+chromaBase, "", fmt.Sprintf(`{"name":%q}`, c))
		var made struct{ ID string }
		if err := json.Unmarshal([]byte(s.body), &made); err != nil || s.status != 200 {
			t.Fatal(s, err)
		}
		ids[c] = made.ID
		var id, emb, doc, meta []string
		for i := 1; i <= 12; i++ {
			id, emb = append(id, fmt.Sprintf(`"i%02d"`, i)), append(emb, fmt.Sprintf("[%d,1,0.5]", i))
			doc = append(doc, fmt.Sprintf(`"document of %s%d@example.com"`, kind, i))
			meta = append(meta, fmt.Sprintf(`{"n":%d,"city":"c%d","email":"%s%d@example.com","a.email":"%s","a..email":"%s%d","salary":%d}`, i, i%3, kind, i, kind, kind, i, len(kind)*1000+i*(1-2*(len(kind)%2))))
		}
		body := fmt.Sprintf(`{"ids":[%s],"embeddings":[%s],"documents":[%s],"metadatas":[%s]}`, strings.Join(id, ","), strings.Join(emb, ","), strings.Join(doc, ","), strings.Join(meta, ","))
		if s := do(t, "POST", "http://"+address+chromaBase+"/"+made.ID+"/add", "", body); s.status != 201 {
			t.Fatal(s)
		}
	}
	return ids
}

// vectorRequest is one line of a file of requests.
type vectorRequest struct {
	line, method, path, body string
	status                   int
	says                     string
}

// vectorRequests reads a file; ids stand for {name}.
func vectorRequests(t testing.TB, file string) []vectorRequest {
	t.Helper()
	var out []vectorRequest
	for line := range strings.Lines(readFile(t, filepath.Join(vectorDir, file))) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		request, want, ok := strings.Cut(line, " => ")
		r := vectorRequest{line: line}
		if n, err := fmt.Sscanf(want, "%d %s", &r.status, &r.says); !ok || n != 2 || err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		_, r.says, _ = strings.Cut(want, " ")
		r.method, request, _ = strings.Cut(request, " ")
		r.path, r.body, _ = strings.Cut(request, " ")
		if strings.HasPrefix(r.path, "C") {
			r.path = chromaBase + r.path[1:]
		}
		out = append(out, r)
	}
	return out
}

var changing = regexp.MustCompile(`"time":[0-9.e-]+|"nanosecond heartbeat":[0-9]+|[0-9a-f]{20}|[0-9a-f]{8}-[0-9a-f-]{27}|(qdrant|chroma)[12]`)

// canonical is an answer without what changes with each request, and with its
// members in order: Chroma's are in none.
func canonical(body string) string {
	var v any
	if err := json.Unmarshal([]byte(body), &v); err == nil {
		if b, err := json.Marshal(v); err == nil {
			body = string(b)
		}
	}
	return changing.ReplaceAllString(body, "")
}

// TestVectorNonInterference sends a corpus of requests to two stores that
// differ only in classed values, under one policy, and compares all that a
// caller sees who may not see them. Each request says what becomes of it.
func TestVectorNonInterference(t *testing.T) {
	t.Parallel()
	up := map[string]string{"qdrant1": startQdrant(t), "qdrant2": startQdrant(t), "chroma1": startChroma(t), "chroma2": startChroma(t)}
	ids := map[string]map[string]string{}
	for name, address := range up {
		kind := map[bool]string{true: "ana", false: "bert"}[strings.HasSuffix(name, "1")]
		if strings.HasPrefix(name, "chroma") {
			ids[name] = seedChroma(t, address, kind)
		} else {
			seedQdrant(t, address, kind)
		}
	}
	p := startVector(t, storePolicy, up)
	for _, store := range []string{"qdrant", "chroma"} {
		forwarded, all := 0, vectorRequests(t, store+"_requests.txt")
		for _, r := range all {
			var got [2]httpAnswer
			for i := range got {
				name := fmt.Sprintf("%s%d", store, i+1)
				path := r.path
				for c, id := range ids[name] {
					path = strings.NewReplacer("{"+c+"}", id, "{"+strings.ToUpper(c)+"}", strings.ToUpper(id)).Replace(path)
				}
				got[i] = do(t, r.method, "http://"+p.at[name]+path, "worker-token", r.body)
			}
			a := got[0]
			if a.status != r.status || !strings.Contains(a.body, r.says) {
				t.Errorf("%s\n%s: %d %s", store, r.line, a.status, a.body)
			}
			if a.status < 300 {
				forwarded++
			}
			if x, y := canonical(got[0].body), canonical(got[1].body); !strings.Contains(r.line, "open") && r.path != chromaBase && (got[0].status != got[1].status || x != y) {
				t.Errorf("%s tells two stores apart:\n%s\n%d %s\n%d %s", store, r.line, got[0].status, x, got[1].status, y)
			}
			if !strings.Contains(r.line, "open") && (strings.Contains(a.body, "ana1") || strings.Contains(canonical(a.body), "2999")) {
				t.Errorf("%s shows a classed value:\n%s\n%s", store, r.line, a.body)
			}
			if strings.Contains(r.line, "GET /collections/people => ") && strings.Contains(a.body, "email") {
				t.Errorf("%s tells of indexes on classed paths:\n%s", store, a.body)
			}
			if strings.Contains(a.body, `"vector":`) || strings.Contains(a.body, `"embeddings":[`) {
				t.Errorf("%s shows embeddings:\n%s\n%s", store, r.line, a.body)
			}
		}
		t.Logf("%s: %d of %d requests were forwarded", store, forwarded, len(all))
		if forwarded*5 < len(all) {
			t.Errorf("%s: only %d of %d requests were forwarded: refusing is no proof", store, forwarded, len(all))
		}
	}
	// By identity the same is seen in the clear.
	s := do(t, "POST", "http://"+p.at["qdrant1"]+"/collections/people/points/scroll", "support-token", `{"limit":2,"with_vector":true,"order_by":"salary"}`)
	if s.status != 200 || !strings.Contains(s.body, "@example.com") || !strings.Contains(s.body, `"vector"`) || strings.Contains(s.body, "redacted") {
		t.Errorf("unmasked: %d %s", s.status, s.body)
	}
	s = do(t, "POST", "http://"+p.at["chroma1"]+chromaBase+"/"+ids["chroma1"]["people"]+"/get", "support-token", `{"limit":2,"include":["embeddings","documents"],"where":{"salary":{"$gt":0}}}`)
	if s.status != 200 || !strings.Contains(s.body, "document of ana") || !strings.Contains(s.body, `"embeddings":[[`) {
		t.Errorf("unmasked: %d %s", s.status, s.body)
	}
	testVectorRecord(t, p)
	testVectorHolds(t, p, "http://"+p.at["qdrant1"]+"/collections/people/points/scroll")
	testVectorHolds(t, p, "http://"+p.at["chroma1"]+chromaBase+"/"+ids["chroma1"]["people"]+"/get")
}

// testVectorRecord looks at the transcripts of the corpus.
func testVectorRecord(t *testing.T, p *vectorProxy) {
	code, out := runMain(t, "sessions", "list", "--config", p.config, "--json")
	if code != 0 {
		t.Fatal(out)
	}
	for line := range strings.Lines(out) {
		var s struct{ ID, Identity string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		code, shown := runMain(t, "replay", "show", "--config", p.config, s.ID)
		if code != 0 {
			t.Errorf("replay show: %s", shown)
		}
		if s.Identity == "worker" {
			if strings.Contains(shown, "nobody@example.com") {
				t.Errorf("the record of %s holds a constant that meets a class", s.ID)
			}
			if !strings.Contains(shown, "no-destructive-ddl") {
				t.Errorf("the record of %s does not hold what was refused", s.ID)
			}
		}
	}
}

// testVectorHolds: a held scroll is told to come again, and passes once it is
// granted, once.
func testVectorHolds(t *testing.T, p *vectorProxy, url string) {
	const body = `{"limit":100}`
	first := do(t, "POST", url, "worker-token", body)
	m := vectorHold.FindStringSubmatch(first.body)
	if first.status != 403 || m == nil || first.header.Get("Retry-After") == "" {
		t.Fatalf("not held: %d %v %s", first.status, first.header, first.body)
	}
	if again := do(t, "POST", url, "worker-token", body); !strings.Contains(again.body, m[1]) {
		t.Errorf("the same request is another hold: %s", again.body)
	}
	if other := do(t, "POST", url, "other-token", body); strings.Contains(other.body, m[1]) || other.status != 403 {
		t.Errorf("another identity has the same hold: %s", other.body)
	}
	code, out := runMain(t, "approvals", "approve", "--config", p.config, "--as", "dana", m[1])
	if code != 0 {
		t.Fatal(out)
	}
	if else_ := do(t, "POST", url, "worker-token", `{"limit":101}`); else_.status != 403 {
		t.Errorf("a grant is good for another request: %d", else_.status)
	}
	if granted := do(t, "POST", url, "worker-token", body); granted.status != 200 || strings.Contains(granted.body, "ana1") || !strings.Contains(granted.body, "[redacted]") {
		t.Errorf("granted: %d %s", granted.status, granted.body)
	}
	if spent := do(t, "POST", url, "worker-token", body); spent.status != 403 {
		t.Errorf("a grant is used twice: %d", spent.status)
	}
}
