package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/replay"
)

const llmPolicy = `version: 1
patterns: {employee: "EMP-[0-9]{4}"}
classes:
  mail:  {mask: partial, detect: [email]}
  pay:   {mask: redact, detect: [card]}
  ssn:   {mask: redact, detect: [ssn]}
  staff: {mask: redact, detect: [employee]}
unmask:
  - {classes: [mail, pay, ssn, staff], groups: [clear]}
rules:
  - {name: no-cards, when: 'stmt.model != "" && "pay" in stmt.classes', then: deny, reason: Card numbers stay here.}
  - {name: people-first, when: 'stmt.model != "" && "ssn" in stmt.classes', then: hold}
  - {name: nothing-stored, when: 'stmt.verb == "STORE" && "rag" in identity.groups', then: deny}
  - {name: destroys, when: stmt.destructive, then: deny}
  - {name: long, when: 'stmt.model == "tiny" && stmt.tokens > 9000 && stmt.tokens < 1000000', then: deny}
  - {name: shell, when: '"shell" in stmt.functions', then: deny}
  - {name: no-mcp, when: 'stmt.functions.exists(f, f.startsWith("mcp"))', then: deny}
scopes:
  - {groups: [rag], models: ["tiny*"]}
budgets:
  - {groups: [metered], tokens: 5000, per: 1h}
  - {groups: [clear], cost: 0.50, per: 1h}
prices:
  - {models: ["tiny", "other"], input: 100, output: 200}
`

// llmProxy is a proxy in front of an endpoint that speaks OpenAI's API.
type llmProxy struct {
	*testProxy
	url string // below which /v1 stands
}

// startLLM lets identities rag, clear and metered, each with NAME-token, reach
// the endpoint, whose key is backend-key.
func startLLM(t testing.TB, policy, upstream string) *llmProxy {
	t.Helper()
	p := &testProxy{dir: t.TempDir()}
	port := freePort(t)
	cfg := fmt.Sprintf("version: 1\npolicy: policy.yaml\nconsole: {listen: \"127.0.0.1:%d\"}\nidentities:\n", freePort(t))
	for _, name := range []string{"rag", "clear", "metered"} {
		cfg += fmt.Sprintf("  - {name: %s, kind: machine, token: {file: %s}, groups: [%s]}\n", name, p.write(t, name+".token", name+"-token\n"), name)
	}
	cfg += fmt.Sprintf(`targets:
  - name: llm
    protocol: openai
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    wait: 200ms
    upstream: {url: %q, password: {file: %s}}
`, port, upstream, p.write(t, "key", "backend-key\n"))
	p.config = p.write(t, "sallyport.yaml", cfg)
	p.write(t, "policy.yaml", policy)
	p.serve(t)
	return &llmProxy{testProxy: p, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// llmDouble is an endpoint that answers with what a test gives it and keeps
// what it was asked.
type llmDouble struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string // method, path and body
	header http.Header
	answer func(w http.ResponseWriter, path, body string)
}

func startDouble(t *testing.T) *llmDouble {
	t.Helper()
	d := &llmDouble{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		d.asked = append(d.asked, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		d.header = r.Header
		answer := d.answer
		d.mu.Unlock()
		if answer == nil {
			answer = say(`{"id":"c","object":"chat.completion","model":"tiny","choices":[{"index":0,"message":{"role":"assistant","content":"Ask ana@example.com."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}}`)
		}
		answer(w, r.URL.Path, string(body))
	}))
	t.Cleanup(d.Close)
	return d
}

func say(body string) func(http.ResponseWriter, string, string) {
	return func(w http.ResponseWriter, _, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

func (d *llmDouble) set(answer func(w http.ResponseWriter, path, body string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer, d.asked = answer, nil
}

// last is what came upstream last, "" for nothing since set.
func (d *llmDouble) last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 {
		return ""
	}
	return d.asked[len(d.asked)-1]
}

// ask sends a request as an identity.
func (p *llmProxy) ask(t *testing.T, who, method, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+who+"-token")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, string(b) + err.Error()
	}
	return resp.StatusCode, string(b)
}

func chat(content string) string {
	b, _ := json.Marshal(content)
	return `{"model":"tiny","messages":[{"role":"user","content":` + string(b) + `}]}`
}

func TestLLMRequests(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, strings.Replace(llmPolicy, "scopes:", `  - {name: kept, when: 'stmt.verb == "READ STORED" && "rag" in identity.groups', then: deny}
scopes:`, 1), d.URL)
	const post = "POST"
	for _, tt := range []struct {
		who, method, path, body string
		status                  int
		sent                    string // in what came upstream; "" is nothing came
		says                    string // in the answer
	}{
		{"rag", post, "/v1/chat/completions", chat("hello"), 200, `"content":"hello"`, "Ask a***@example.com."},
		{"clear", post, "/v1/chat/completions", chat("I am ana@example.com"), 200, "I am ana@example.com", "Ask ana@example.com."},
		{"rag", post, "/v1/chat/completions", chat("I am bob@example.com, EMP-1234"), 200, "I am b***@example.com, [redacted]", ""},
		{"rag", post, "/v1/chat/completions", chat("pay with 4111 1111 1111 1111"), 403, "", "no-cards"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[{"role":"user","content":"\u0034111 1111 1111 1111"}]}`, 403, "", "no-cards"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"4111111111111111"}]}]}`, 403, "", "no-cards"},
		{"rag", post, "/v1/chat/completions", chat("my number is 078-05-1120"), 403, "", "hold_id"},
		// models
		{"rag", post, "/v1/chat/completions", `{"model":"big","messages":[]}`, 403, "", "model big"},
		{"rag", post, "/v1/chat/completions", `{"model":"nope","MODEL":"tiny","messages":[]}`, 400, "", "differ only in case"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","model":"big","messages":[]}`, 400, "", "twice"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","mode\u006c":"big","messages":[]}`, 400, "", "twice"},
		{"rag", post, "/v1/chat/completions", `{"messages":[]}`, 400, "", "model"},
		{"rag", post, "/v1/responses", `{"input":"hello","store":false}`, 403, "", "model *"},
		{"rag", "DELETE", "/v1/models/tiny", "", 403, "", "destroys"},
		{"rag", "GET", "/v1/models/big", "", 403, "", "model big"},
		// paths
		{"rag", post, "/v1/ch%61t/completions", chat("hello"), 200, "POST /v1/chat/completions ", ""},
		{"rag", post, "/v1//chat/completions", chat("hello"), 400, "", ""},
		{"rag", post, "/v1/chat/../chat/completions", chat("hello"), 400, "", ""},
		{"rag", post, "/api/chat", chat("hello"), 404, "", "below /v1"},
		{"rag", post, "/v1/engines/tiny/completions", chat("hello"), 404, "", "not known"},
		{"rag", "GET", "/v1/chat/completions?include=logprobs", "", 400, "", ""},
		{"rag", "GET", "/v1/responses/r1?stream=true", "", 400, "", "parameter"},
		{"rag", post, "/v1/realtime/client_secrets", "{}", 403, "", "round the proxy"},
		{"rag", post, "/v1/threads/runs", `{"assistant_id":"a"}`, 403, "", "assistants"},
		{"rag", post, "/v1/organization/projects/p/service_accounts", "{}", 404, "", ""},
		{"clear", post, "/v1/organization/invites", "{}", 403, "", "destroys"},
		// state on the server, tools, limits
		{"rag", post, "/v1/responses", `{"model":"tiny","input":"hello"}`, 403, "", "nothing-stored"},
		{"rag", post, "/v1/responses", `{"model":"tiny","input":"hello","store":false}`, 200, `"store":false`, ""},
		{"rag", post, "/v1/responses", `{"model":"tiny","input":"x","store":false,"conversation":"c1"}`, 403, "", "kept"},
		{"clear", post, "/v1/responses", `{"model":"tiny","input":"x","background":true}`, 400, "", "background"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","tools":[{"type":"shell"}]}`, 403, "", "shell"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":5000,"n":2}`, 403, "", "long"},
		{"rag", post, "/v1/files", "x", 415, "", "multipart"},
		// limits of two names, in other forms, of many prompts
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":9500,"max_output_tokens":1}`, 403, "", "long"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":9500,"max_completion_tokens":1}`, 403, "", "long"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":1,"max_completion_tokens":9500}`, 403, "", "long"},
		{"rag", post, "/v1/completions", `{"model":"tiny","prompt":"x","max_tokens":9500,"max_completion_tokens":1}`, 403, "", "long"},
		{"rag", post, "/v1/responses", `{"model":"tiny","input":"x","store":false,"max_output_tokens":9500,"max_tokens":1}`, 403, "", "long"},
		{"rag", post, "/v1/completions", `{"model":"tiny","prompt":["a","b","c","d"],"max_tokens":2500}`, 403, "", "long"},
		{"rag", post, "/v1/completions", `{"model":"tiny","prompt":["a","b"],"max_tokens":2500}`, 200, `"max_tokens":2500`, ""},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":5000,"n":"2"}`, 400, "", "n must be a whole number"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":5000,"n":2.0}`, 400, "", "n must be a whole number"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":1,"max_completion_tokens":"9500"}`, 400, "", "max_completion_tokens"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":9.5e3}`, 400, "", "max_tokens"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":-1}`, 400, "", "max_tokens"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"max_tokens":null,"n":null}`, 200, `"max_tokens":null`, ""},
		// switches in other forms
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"store":1}`, 403, "", "nothing-stored"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"store":"true"}`, 403, "", "nothing-stored"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"store":null}`, 200, `"store":null`, ""},
		{"rag", post, "/v1/responses", `{"model":"tiny","input":"x","store":false,"background":"true"}`, 400, "", "background"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"modalities":"audio"}`, 403, "", "something else than text"},
		// tools within tools, among the input
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","tools":[{"type":"namespace","name":"n","tools":[{"type":"mcp","server_label":"l"}]}]}`, 403, "", "no-mcp"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":[{"type":"additional_tools","role":"developer","tools":[{"type":"shell"}]}]}`, 403, "", "shell"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":[{"type":"tool_search_output","tools":[{"type":"mcp","server_url":"http://x"}]}]}`, 403, "", "no-mcp"},
		{"rag", post, "/v1/responses/input_tokens", `{"model":"tiny","input":"x","tools":[{"type":"mcp"}]}`, 403, "", "no-mcp"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"tools":{"type":"array"},"file_id":{"type":"string"}}}}}]}`, 200, `"file_id"`, ""},
		// what the server has kept, by whatever names it
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":[{"id":"msg_1"}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":[{"type":null,"id":"msg_1"}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":[{"type":"item_reference","id":"msg_1"}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":[{"id":"msg_1","role":"user","content":"x"}]}`, 200, `"msg_1"`, ""},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","tools":[{"type":"code_interpreter","container":"cntr_1"}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","tools":[{"type":"x","environment":{"type":"container_reference","container_id":"cntr_1"}}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","tools":[{"type":"namespace","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses/input_tokens", `{"model":"tiny","previous_response_id":"resp_1"}`, 403, "", "kept"},
		{"rag", post, "/v1/responses/input_tokens", `{"model":"tiny","conversation":{"id":"conv_1"}}`, 403, "", "kept"},
		{"rag", post, "/v1/conversations/c/items", `{"items":[{"id":"msg_1"}]}`, 403, "", "kept"},
		{"rag", post, "/v1/responses", `{"model":"tiny","store":false,"input":"x","metadata":{"file_id":"file-1"}}`, 200, `"file-1"`, ""},
		{"clear", post, "/v1/batches", `{"input_file_id":"f"}`, 403, "", "destroys"},
		{"clear", post, "/v1/fine_tuning/jobs", `{"model":"tiny","training_file":"f"}`, 403, "", "destroys"},
		{"clear", "DELETE", "/v1/vector_stores/v", "", 403, "", "destroys"},
		// what no detector can look into
		{"rag", post, "/v1/embeddings", `{"model":"tiny","input":[1,2,3]}`, 403, "", "token numbers"},
		{"clear", post, "/v1/embeddings", `{"model":"tiny","input":[1,2,3]}`, 200, "[1,2,3]", ""},
		{"rag", post, "/v1/completions", `{"model":"tiny","prompt":[[1,2]]}`, 403, "", "token numbers"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}`, 403, "", "an image"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":[],"modalities":["text","audio"]}`, 403, "", "audio"},
		{"rag", "GET", "/v1/files/f/content", "", 403, "", "a file"},
		// bad input
		{"rag", post, "/v1/chat/completions", `{"model":`, 400, "", "not valid"},
		{"rag", post, "/v1/chat/completions", `[]`, 400, "", "must be an object"},
		{"rag", post, "/v1/chat/completions", ``, 400, "", "no body"},
		{"rag", post, "/v1/chat/completions", `{"model":"tiny","messages":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`, 400, "", "nests"},
		{"nobody", post, "/v1/chat/completions", chat("hello"), 401, "", "token"},
	} {
		d.set(nil)
		status, got := p.ask(t, tt.who, tt.method, tt.path, tt.body)
		name := fmt.Sprintf("%s %s %s %.80s", tt.who, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(got, tt.says) {
			t.Errorf("%s: %d %s, want %d with %q", name, status, got, tt.status, tt.says)
		}
		if sent := d.last(); (tt.sent == "") != (sent == "") || !strings.Contains(sent, tt.sent) {
			t.Errorf("%s: sent %q, want %q", name, sent, tt.sent)
		}
		if status >= 400 {
			var e struct {
				Error struct{ Message, Type, Code string }
			}
			if err := json.Unmarshal([]byte(got), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" || e.Error.Code == "" {
				t.Errorf("%s: not OpenAI's error object: %s", name, got)
			}
		}
	}
	if key := d.header.Get("Authorization"); key != "Bearer backend-key" {
		t.Errorf("the upstream got the key %q", key)
	}
	records := p.records(t)
	for _, secret := range []string{"bob@example.com", "4111 1111", "4111111111111111", "078-05-1120", "EMP-1234", "backend-key", "rag-token"} {
		if strings.Contains(records, secret) {
			t.Errorf("%s stands in a transcript", secret)
		}
	}
	for _, want := range []string{`"usage":{"input":12,"output":7}`, `POST /v1/chat/completions`, `\"content\":\"hello\"`, "a***@example.com"} {
		if !strings.Contains(records, want) {
			t.Errorf("%s stands in no transcript", want)
		}
	}
}

// records stops the proxy and returns all its transcripts.
func (p *llmProxy) records(t *testing.T) string {
	t.Helper()
	p.stop()
	code := <-p.code
	p.code <- code
	var all bytes.Buffer
	files, err := replay.Files(filepath.Join(p.dir, "var", "transcripts"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		m := &Main{Stdin: strings.NewReader(""), Stdout: &all, Stderr: &all}
		if code := m.Run(context.Background(), []string{"replay", "show", "--json", f}); code != 0 {
			t.Fatalf("replay show ended with %d: %s", code, all.String())
		}
	}
	return all.String()
}

// events answers with an event stream, flushed event by event.
func sayEvents(events ...string) func(http.ResponseWriter, string, string) {
	return func(w http.ResponseWriter, _, _ string) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, e := range events {
			_, _ = io.WriteString(w, e)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func TestLLMStreams(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	stream := `{"model":"tiny","stream":true,"messages":[]}`
	chunk := func(text string) string {
		return `data:{"id":"c","choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\r\n\r\n"
	}
	const usage = `data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}` + "\n\n"
	const done = "data: [DONE]\n\n"
	d.set(sayEvents(": keep-alive ana@example.com\n\n", chunk("Write to an"), chunk("a@exam"), chunk("ple.com"), chunk(" now"), usage, done))
	status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", stream)
	if status != 200 || strings.Contains(got, "ana@") || !strings.Contains(got, `a***@example.com`) || !strings.HasSuffix(got, done) || strings.Contains(got, "usage") {
		t.Errorf("%d %s", status, got)
	}
	if !strings.Contains(d.last(), `"stream_options":{"include_usage":true}`) {
		t.Errorf("sent %s", d.last())
	}
	if _, got = p.ask(t, "rag", "POST", "/v1/chat/completions", `{"model":"tiny","stream":true,"stream_options":{"include_usage":true},"messages":[]}`); !strings.Contains(got, `"usage":{"prompt_tokens":3`) {
		t.Errorf("usage that was asked for is missing: %s", got)
	}

	// What breaks off, or is no stream of the API, cuts the connection.
	for name, events := range map[string][]string{
		"no end":       {chunk("half an ans")},
		"no JSON":      {chunk("x"), "data: {oops\n\n", done},
		"a bomb":       {chunk("x"), "data: " + strings.Repeat("[", 5000) + "\n\n", done},
		"broken event": {chunk("x"), "data: {}"},
		"odd name":     {"event: ana@example.com\ndata: {}\n\n", done},
	} {
		d.set(sayEvents(events...))
		status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", stream)
		if status == 200 || strings.Contains(got, "[DONE]") || strings.Contains(got, "ana@") {
			t.Errorf("%s: %d %s", name, status, got)
		}
	}
	// Nor does anything pass in another form than was promised.
	for name, answer := range map[string]func(http.ResponseWriter, string, string){
		"html": func(w http.ResponseWriter, _, _ string) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "ana@example.com")
		},
		"encoded": func(w http.ResponseWriter, _, _ string) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "ana@example.com")
		},
		"elsewhere": func(w http.ResponseWriter, _, _ string) {
			w.Header().Set("Location", "http://ana@example.com/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"an error that tells": func(w http.ResponseWriter, _, _ string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"message":"ana@example.com is not allowed"}}`)
		},
	} {
		d.set(answer)
		if status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", stream); status < 400 || strings.Contains(got, "ana@") {
			t.Errorf("%s: %d %s", name, status, got)
		}
	}
	records := p.records(t)
	if strings.Contains(records, "ana@") || !strings.Contains(records, `"usage":{"input":3,"output":4}`) || !strings.Contains(records, `"counted":true`) {
		t.Errorf("the record: %.3000s", records)
	}
}

func TestLLMTokenBudget(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	d.set(say(`{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":1500}}`))
	for i, want := range []int{200, 200, 403} {
		status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", chat("hello"))
		if status != want {
			t.Fatalf("request %d: %d %s", i, status, got)
		}
		if status == 403 && !strings.Contains(got, "5000 of 5000 tokens") {
			t.Errorf("%s", got)
		}
	}
	if status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", chat("hello")); status != 200 {
		t.Errorf("who has no budget: %d %s", status, got)
	}
}

// TestLLMReservations: requests at the same time cannot all have the last
// tokens.
func TestLLMReservations(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	d.set(func(w http.ResponseWriter, _, _ string) {
		arrived <- struct{}{}
		<-release
		say(`{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":10}}`)(w, "", "")
	})
	body := `{"model":"tiny","max_tokens":4900,"messages":[]}`
	first := make(chan int)
	go func() { status, _ := p.ask(t, "metered", "POST", "/v1/chat/completions", body); first <- status }()
	<-arrived
	second := make(chan int) // it gets what is left
	go func() { status, _ := p.ask(t, "metered", "POST", "/v1/chat/completions", body); second <- status }()
	<-arrived
	if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", body); status != 403 || !strings.Contains(got, "5000 of 5000 tokens") {
		t.Errorf("with all tokens reserved: %d %s", status, got)
	}
	close(release)
	if a, b := <-first, <-second; a != 200 || b != 200 {
		t.Errorf("%d %d", a, b)
	}
	if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", body); status != 200 {
		t.Errorf("after the reservations were given back: %d %s", status, got)
	}
}

// TestLLMStreamGivesBack: a client that has read a stream's end finds given
// back what it had reserved, also where the backend is slow to end its answer.
func TestLLMStreamGivesBack(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	release := make(chan struct{})
	defer close(release)
	d.set(func(w http.ResponseWriter, _, _ string) {
		sayEvents(`data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":10}}`+"\n\n", "data: [DONE]\n\n")(w, "", "")
		<-release
	})
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/v1/chat/completions", strings.NewReader(`{"model":"tiny","max_tokens":6000,"stream":true,"messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer metered-token")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for in := bufio.NewScanner(resp.Body); in.Text() != "data: [DONE]"; {
		if !in.Scan() {
			t.Fatalf("the stream ended before its end: %v", in.Err())
		}
	}
	d.set(say(`{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":10}}`))
	if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", `{"model":"tiny","max_tokens":6000,"messages":[]}`); status != 200 {
		t.Errorf("%d %s", status, got)
	}
}

// TestLLMUpstreamGone: a backend that is not there, and one that hangs up.
func TestLLMUpstreamGone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := startLLM(t, llmPolicy, "http://"+l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", chat("hello"))
	if status != 502 || !strings.Contains(got, "server_error") {
		t.Errorf("%d %s", status, got)
	}
}

// TestLLMHold: a held prompt passes once it is granted, masked all the same.
func TestLLMHold(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	body := chat("my number is 078-05-1120")
	status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", body)
	var e struct {
		Error struct {
			Code string
			Hold string `json:"hold_id"`
		}
	}
	if err := json.Unmarshal([]byte(got), &e); err != nil || status != 403 || e.Error.Code != "sallyport_held" || e.Error.Hold == "" || d.last() != "" {
		t.Fatalf("%d %s, sent %q", status, got, d.last())
	}
	var out bytes.Buffer
	m := &Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
	if code := m.Run(t.Context(), []string{"approvals", "list", "--config", p.config, "--json"}); code != 0 || strings.Contains(out.String(), "078-05-1120") || !strings.Contains(out.String(), "my number is") {
		t.Errorf("%d: approvers see %s", code, out.String())
	}
	if code := m.Run(t.Context(), []string{"approvals", "approve", "--config", p.config, "--as", "dana", e.Error.Hold}); code != 0 {
		t.Fatalf("approve ended with %d: %s", code, out.String())
	}
	if status, got = p.ask(t, "rag", "POST", "/v1/chat/completions", body); status != 200 || !strings.Contains(d.last(), "my number is [redacted]") {
		t.Errorf("granted: %d %s, sent %q", status, got, d.last())
	}
	if status, _ = p.ask(t, "rag", "POST", "/v1/chat/completions", body); status != 403 {
		t.Errorf("a second time: %d", status)
	}
}

// TestLLMCostBudget: 1000 tokens in and 1000 out cost 0.30 of 0.50.
func TestLLMCostBudget(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	d.set(say(`{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":1000}}`))
	body := `{"model":"tiny","max_tokens":1000,"messages":[]}`
	for i, want := range []string{"200", "200", "403 cost 0.6 of 0.5 in 1h0m0s"} {
		status, got := p.ask(t, "clear", "POST", "/v1/chat/completions", body)
		code, says, _ := strings.Cut(want, " ")
		if fmt.Sprint(status) != code || !strings.Contains(got, says) {
			t.Errorf("request %d: %d %s, want %s", i, status, got, want)
		}
	}
	d.set(nil)
	p = startLLM(t, llmPolicy, d.URL)
	status, got := p.ask(t, "clear", "POST", "/v1/chat/completions", `{"model":"dear","messages":[]}`)
	if status != 403 || !strings.Contains(got, "has no price") || d.last() != "" {
		t.Errorf("a model without a price: %d %s, sent %q", status, got, d.last())
	}
}
