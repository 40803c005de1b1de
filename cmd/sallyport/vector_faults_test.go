package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// startRobust starts a proxy before one Qdrant, with keys of its upstream and
// target as given.
func startRobust(t testing.TB, policy, url, upstreamKeys, targetKeys string) *vectorProxy {
	t.Helper()
	p := &vectorProxy{testProxy: &testProxy{dir: t.TempDir()}, at: map[string]string{"qdrant": fmt.Sprintf("127.0.0.1:%d", freePort(t))}}
	p.config = p.write(t, "sallyport.yaml", fmt.Sprintf(`version: 1
policy: policy.yaml
console: {listen: "127.0.0.1:%d"}
limits: {message: 2000000, row: 100000}
identities:
  - {name: worker, kind: machine, token: {file: %q}, groups: [rag]}
targets:
  - {name: qdrant, protocol: qdrant, listen: %q, tls: {mode: disable}, %supstream: {url: %q, password: {file: %q}%s}}
`, freePort(t), p.write(t, "worker.token", "worker-token\n"), p.at["qdrant"], targetKeys, url, p.write(t, "backend.key", "backend-key\n"), upstreamKeys))
	p.write(t, "policy.yaml", policy)
	p.serve(t)
	return p
}

func (p *vectorProxy) scroll(t testing.TB, body string) httpAnswer {
	t.Helper()
	return do(t, "POST", "http://"+p.at["qdrant"]+"/collections/people/points/scroll", "worker-token", body)
}

// inForm says that an answer is an error in Qdrant's own form.
func inForm(a httpAnswer, status int) bool {
	var e struct{ Status struct{ Error string } }
	return a.status == status && json.Unmarshal([]byte(a.body), &e) == nil && e.Status.Error != "" && a.header.Get("Content-Type") == "application/json"
}

// outcomes are the ends of a session's statements, as the record has them.
func (p *vectorProxy) outcomes(t *testing.T) string {
	t.Helper()
	_, out := runMain(t, "sessions", "list", "--config", p.config, "--json")
	var all string
	for line := range strings.Lines(out) {
		var s struct{ ID string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		code, shown := runMain(t, "replay", "show", "--config", p.config, s.ID, "--json")
		if code != 0 {
			t.Fatal(shown)
		}
		all += shown
	}
	return all
}

// TestVectorBudgets: rows and bytes of answers are charged to budgets as rows
// of results are. What crosses one is a 429, or cut where it has begun.
func TestVectorBudgets(t *testing.T) {
	points := func(n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":%d,"payload":{"n":"%s","email":"ana@example.com"}}`, i, strings.Repeat("x", 100))
		}
		return `{"result":{"points":[` + b.String() + `],"next_page_offset":null},"status":"ok","time":0}`
	}
	answer := points(8)
	store := startFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
	p := startRobust(t, `
version: 1
classes: {email: {mask: redact}}
payloads: [{class: email, match: ["people:email"]}]
budgets:
  - {classes: [email], rows: 20, per: 1h, then: deny}
  - {bytes: 400000, per: 1h, then: hold, approvers: {groups: [dba]}}
`, store.URL, "", "wait: 100ms, ")
	for i := range 2 {
		if got := p.scroll(t, `{"limit":8}`); got.status != 200 || strings.Count(got.body, `"id"`) != 8 {
			t.Fatalf("%d: %d %s", i, got.status, got.body)
		}
	}
	if got := p.scroll(t, `{"limit":8}`); !inForm(got, 429) || strings.Contains(got.body, `"id"`) {
		t.Errorf("the answer that crosses a budget: %d %s", got.status, got.body)
	}
	got := p.scroll(t, `{"limit":8}`)
	store.take()
	for got.status == 200 { // a part of the last answer was not charged
		got = p.scroll(t, `{"limit":1}`)
	}
	if !inForm(got, 429) && !inForm(got, 403) {
		t.Errorf("a used-up budget: %d %s", got.status, got.body)
	}
	// A collection without the class is charged for its bytes alone, and a long
	// answer is cut where it has begun.
	answer = points(8000)
	open := "http://" + p.at["qdrant"] + "/collections/open/points/scroll"
	long := do(t, "POST", open, "worker-token", `{"limit":8000}`)
	if long.status == 200 || len(long.body) > 500_000 {
		t.Errorf("a long answer: %d, %d bytes", long.status, len(long.body))
	}
	held := do(t, "POST", open, "worker-token", `{"limit":1}`)
	if !inForm(held, 403) || vectorHold.FindString(held.body) == "" {
		t.Errorf("a used-up budget of bytes: %d %s", held.status, held.body)
	}
}

// TestVectorTLSUpstream: an https upstream is verified by its authority and
// name before it is sent anything.
func TestVectorTLSUpstream(t *testing.T) {
	for name, c := range map[string]struct {
		ca, host string
		status   int
	}{
		"its authority":      {"its own", "127.0.0.1", 200},
		"another name":       {"its own", "localhost", 502},
		"another authority":  {"another", "127.0.0.1", 502},
		"the system's":       {"", "127.0.0.1", 502},
		"plaintext upstream": {"its own", "plain", 502},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []string
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header.Get("Api-Key"))
				if r.URL.Path == "/aliases" {
					fmt.Fprint(w, `{"result":{"aliases":[]},"status":"ok"}`)
					return
				}
				fmt.Fprint(w, noPoints)
			})
			store := httptest.NewTLSServer(h)
			t.Cleanup(store.Close)
			store.Config.ErrorLog = log.New(io.Discard, "", 0)
			_, port, _ := strings.Cut(strings.TrimPrefix(store.URL, "https://"), ":")
			if c.host == "plain" {
				plain := httptest.NewServer(h)
				t.Cleanup(plain.Close)
				_, port, _ = strings.Cut(strings.TrimPrefix(plain.URL, "http://"), ":")
				c.host = "127.0.0.1"
			}
			keys := ""
			if c.ca != "" {
				path := filepath.Join(t.TempDir(), "ca.pem")
				pem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: store.Certificate().Raw})
				if c.ca == "another" {
					other := &testProxy{dir: t.TempDir()}
					newAuthority(t, other, "other")
					pem = []byte(readFile(t, filepath.Join(other.dir, "other.pem")))
				}
				if err := os.WriteFile(path, pem, 0o600); err != nil {
					t.Fatal(err)
				}
				keys = fmt.Sprintf(", ca: %q", path)
			}
			p := startRobust(t, permissive, "https://"+c.host+":"+port, keys, "")
			got := p.scroll(t, `{}`)
			if c.status == 200 && (got.status != 200 || len(seen) != 2 || seen[1] != "backend-key") {
				t.Errorf("%d %s, the upstream saw %q", got.status, got.body, seen)
			}
			if c.status != 200 && (!inForm(got, c.status) || len(seen) != 0) {
				t.Errorf("%d %s, the upstream saw %q", got.status, got.body, seen)
			}
		})
	}
}

// script is an upstream that does as it is told on each connection.
func script(t testing.TB, serve func(c net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return "http://" + l.Addr().String()
}

// readRequest reads a request, and answers it where it is for aliases. False is
// the end of the connection.
func readRequest(c net.Conn, r *bytes.Buffer) (path string, ok bool) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		r.Write(b[:n])
		if err != nil {
			return "", false
		}
		head, body, whole := strings.Cut(r.String(), "\r\n\r\n")
		var length int
		if _, rest, has := strings.Cut(head, "Content-Length: "); has {
			fmt.Sscanf(rest, "%d", &length)
		}
		if !whole || len(body) < length {
			continue
		}
		r.Reset()
		path = strings.Fields(head)[1]
		if path != "/aliases" {
			return path, true
		}
		const none = `{"result":{"aliases":[]},"status":"ok"}`
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(none), none); err != nil {
			return "", false
		}
	}
}

// TestVectorHalfAnswers: whatever an upstream leaves out, the client is told in
// time and in the store's form, or its connection is cut, and the end is
// recorded.
func TestVectorHalfAnswers(t *testing.T) {
	long := strings.Repeat(`{"id":1,"payload":{"n":"x"}},`, 10_000)
	for name, c := range map[string]struct {
		says   string
		silent bool // instead of hanging up
		status int
	}{
		"says nothing of aliases":     {"aliases", true, 504},
		"accepts and says nothing":    {"", true, 504},
		"hangs up":                    {"", false, 502},
		"half a status line":          {"HTTP/1.1 2", false, 502},
		"half a head":                 {"HTTP/1.1 200 OK\r\nContent-Le", false, 502},
		"half a head, then silence":   {"HTTP/1.1 200 OK\r\nContent-Le", true, 504},
		"a head without end":          {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100_000), true, 502},
		"no body":                     {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", false, 502},
		"half a body":                 {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + noPoints[:40], false, 502},
		"half a body, then silence":   {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + noPoints[:40], true, 504},
		"half a chunk":                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n" + noPoints[:40], false, 502},
		"broken chunks":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + noPoints, false, 502},
		"a long half, then silence":   {"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n{\"result\":{\"points\":[" + long, true, -1},
		"a long half":                 {"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n{\"result\":{\"points\":[" + long, false, -1},
		"interim answers without end": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20), true, 502},
		"half an error":               {"HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\n{\"status\":", false, 502},
		"something else than HTTP":    {"SSH-2.0-OpenSSH_9.2\r\n\r\n", true, 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first atomic.Bool
			first.Store(true)
			url := script(t, func(conn net.Conn) {
				var in bytes.Buffer
				for {
					if c.says == "aliases" && first.Swap(false) {
						_, _ = io.Copy(io.Discard, conn)
						return
					}
					path, ok := readRequest(conn, &in)
					if !ok {
						return
					}
					if strings.Contains(path, "/fine/") {
						fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(noPoints), noPoints)
						continue
					}
					io.WriteString(conn, c.says)
					if !c.silent {
						return
					}
				}
			})
			p := startRobust(t, permissive, url, "", "timeout: 1s, ")
			began := time.Now()
			got := p.scroll(t, `{"limit":5}`)
			if c.status == -1 {
				if got.status > 0 {
					t.Errorf("%d, %d bytes", got.status, len(got.body))
				}
			} else if !inForm(got, c.status) {
				t.Errorf("%d %s, want %d", got.status, got.body, c.status)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			if fine := do(t, "POST", "http://"+p.at["qdrant"]+"/collections/fine/points/scroll", "worker-token", `{}`); fine.status != 200 {
				t.Errorf("afterwards: %d %s", fine.status, fine.body)
			}
			want := 1
			if c.says == "aliases" { // nothing was asked of it yet
				want = 0
			}
			if all := p.outcomes(t); strings.Count(all, `"t":"error"`) != want {
				t.Errorf("the end is not in the record:\n%s", all)
			}
		})
	}
}

// TestVectorClientGoneEarly: a client that goes away before the answer begins
// ends its request upstream, and that it was lost is recorded.
func TestVectorClientGoneEarly(t *testing.T) {
	came, gone := make(chan struct{}), make(chan struct{})
	url := script(t, func(c net.Conn) {
		var in bytes.Buffer
		if _, ok := readRequest(c, &in); !ok {
			return
		}
		close(came)
		_, err := c.Read(make([]byte, 1))
		if err != nil {
			close(gone)
		}
	})
	p := startRobust(t, permissive, url, "", "")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+p.at["qdrant"]+"/collections/people/points/scroll", strings.NewReader(`{"limit":9}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Api-Key", "worker-token")
	req.Header.Set("Content-Type", "application/json")
	ended := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	<-came
	cancel()
	if err := <-ended; err == nil {
		t.Error("the request was answered")
	}
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		t.Fatal("the request goes on upstream")
	}
	p.stop()
	code := <-p.code
	p.code <- code
	if all := p.outcomes(t); !strings.Contains(all, "lost") {
		t.Errorf("the record does not say so:\n%s", all)
	}
}

// TestVectorBombs: requests that cost more than they say are refused in time.
func TestVectorBombs(t *testing.T) {
	store := startFake(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, noPoints) })
	p := startVector(t, permissive, map[string]string{"qdrant": address(store.Server)})
	spaces := bytes.Repeat([]byte(" "), 100<<20)
	pack := func(w io.WriteCloser, b []byte) {
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var gz, zl, zs, twice bytes.Buffer
	pack(gzip.NewWriter(&gz), spaces)
	pack(zlib.NewWriter(&zl), spaces)
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	pack(z, spaces)
	pack(gzip.NewWriter(&twice), gz.Bytes())
	var window bytes.Buffer // a frame that asks for a window of 512 MB
	if z, err = zstd.NewWriter(&window, zstd.WithWindowSize(512<<20)); err != nil {
		t.Fatal(err)
	}
	pack(z, append(bytes.Clone(spaces[:32<<20]), bytes.Repeat([]byte("ab"), 16<<20)...))
	names := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":1`, i)
		}
		return `{"limit":1` + b.String() + `}`
	}
	for name, c := range map[string]struct {
		body, encoding string
		status         []int
	}{
		"gzip":             {gz.String(), "gzip", []int{413}},
		"deflate":          {zl.String(), "deflate", []int{413}},
		"zstd":             {zs.String(), "zstd", []int{413}},
		"gzip in gzip":     {twice.String(), "gzip", []int{400}},
		"two encodings":    {twice.String(), "gzip, gzip", []int{415}},
		"zstd's window":    {window.String(), "zstd", []int{400, 413}},
		"arrays":           {strings.Repeat("[", 1_900_000), "", []int{400}},
		"objects":          {strings.Repeat(`{"a":`, 300_000), "", []int{400}},
		"closed arrays":    {`{"filter":` + strings.Repeat("[", 900_000) + strings.Repeat("]", 900_000) + `}`, "", []int{400}},
		"empty arrays":     {`{"filter":{"must":[` + strings.Repeat("[],", 600_000) + `[]]}}`, "", []int{400}},
		"names":            {names(150_000), "", []int{400}},
		"numbers":          {`{"shard_key":[` + strings.Repeat("1,", 900_000) + `"a"]}`, "", []int{400}},
		"numbers in part":  {`{"shard_key":` + strings.Repeat("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,", 50_000), "", []int{400}},
		"a long number":    {`{"limit":` + strings.Repeat("1", 1_900_000) + `}`, "", []int{400}},
		"escapes":          {`{"shard_key":"` + strings.Repeat(`\u0041`, 300_000) + `"}`, "", []int{200, 400}},
		"a string unended": {`{"shard_key":"` + strings.Repeat(`\\`, 900_000), "", []int{400}},
	} {
		began := time.Now()
		header := []string{}
		if c.encoding != "" {
			header = []string{"Content-Encoding", c.encoding}
		}
		got := do(t, "POST", "http://"+p.at["qdrant"]+"/collections/people/points/scroll", "worker-token", c.body, header...)
		fits := false
		for _, s := range c.status {
			fits = fits || got.status == s
		}
		if !fits || got.status != 200 && !inForm(got, got.status) {
			t.Errorf("%s: %d %.300s, want %d", name, got.status, got.body, c.status)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
	if got := p.scroll(t, `{}`); got.status != 200 {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
}
