package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestLLMNested: values in JSON that stands in a string (a tool call's
// arguments, what a tool has answered), in numbers, in names and in every
// corner of a request are found; what holds them in a form that nobody can look
// into is refused.
func TestLLMNested(t *testing.T) {
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	message := func(m string) string { return `{"model":"tiny","messages":[` + m + `]}` }
	for _, tt := range []struct {
		path, body string
		status     int
		sent, says string
	}{
		{"chat/completions", message(`{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"to\":\"bob@example.com\",\"note\":\"of\\nEMP-1234\"}"}}]}`), 200, `\"to\":\"b***@example.com\",\"note\":\"of\\n[redacted]\"`, ""},
		{"chat/completions", message(`{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"to\":\"bob\\u0040example.com\"}"}}]}`), 200, `{\"to\":\"b***@example.com\"}`, ""},
		{"chat/completions", message(`{"role":"assistant","function_call":{"name":"f","arguments":"{\"card\":\"\\u0034111 1111 1111 1111\"}"}}`), 403, "", "no-cards"},
		{"chat/completions", message(`{"role":"tool","tool_call_id":"1","content":"{\"rows\":\"[{\\\"note\\\":\\\"pay\\\\n4111111111111111\\\"}]\"}"}`), 403, "", "no-cards"},
		{"chat/completions", message(`{"role":"user","content":4111111111111111}`), 403, "", "no-cards"},
		{"chat/completions", `{"model":"tiny","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"enum":[4111111111111111]}}}}`, 403, "", "no-cards"},
		{"chat/completions", `{"model":"tiny","messages":[],"metadata":{"bob@example.com":"EMP-1234"},"user":"bob@example.com","stop":["EMP-1234"],"prediction":{"type":"content","content":"EMP-1234"}}`, 200, `"metadata":{"b***@example.com":"[redacted]"},"user":"b***@example.com","stop":["[redacted]"]`, ""},
		{"chat/completions", `{"model":"tiny","messages":[],"tools":[{"type":"function","function":{"name":"f","description":"asks EMP-1234","parameters":{"type":"object","properties":{"EMP-1234":{"type":"string"}}}}}]}`, 200, `asks [redacted]`, ""},
		{"chat/completions", `{"model":"tiny","messages":[],"logit_bias":{"4111111111111111":1}}`, 403, "", "no-cards"},
		{"responses", `{"model":"tiny","store":false,"input":[{"type":"function_call_output","call_id":"1","output":"{\"to\":\"bob\\u0040example.com\"}"}]}`, 200, `{\"to\":\"b***@example.com\"}`, ""},
		{"responses", `{"model":"tiny","store":false,"input":[],"instructions":"ask EMP-1234","prompt":{"id":"p","variables":{"who":"EMP-1234"}}}`, 200, "ask [redacted]", ""},
		{"chat/completions", `{"model":"tiny-bob@example.com","messages":[]}`, 403, "", "model's name"},
		{"chat/completions/EMP-1234", `{"metadata":{}}`, 403, "", "detectors look for"},
		{"chat/completions/x?after=bob%40example.com", `{"metadata":{}}`, 403, "", "detectors look for"},
		{"embeddings", `{"model":"tiny","input":["EMP-1234","bob@example.com"]}`, 200, `["[redacted]","b***@example.com"]`, ""},
		{"embeddings", `{"model":"tiny","input":["a",7]}`, 403, "", "token numbers"},
		{"embeddings", `{"model":"tiny","input":[["a",1,2]]}`, 403, "", "token numbers"},
		{"embeddings", `{"model":"tiny","input":[` + strings.Repeat("1,", 5000) + `1]}`, 403, "", "token numbers"},
		{"completions", `{"model":"tiny","prompt":[[1],"x"]}`, 403, "", "token numbers"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"video_url","video_url":{"url":"http://x/y"}}]}`), 403, "", "a video"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"audio_url","audio_url":{"url":"http://x/y"}}]}`), 403, "", "audio"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"something_new","of":{"url":"DATA:text/plain;base64,YW5h"}}]}`), 403, "", "base64"},
		{"moderations", `{"model":"tiny","input":[{"type":"image_url","image_url":{"url":"http://x/y.png"}}]}`, 403, "", "an image"},
		{"responses/input_tokens", `{"model":"tiny","input":[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"http://x"}]}]}`, 403, "", "an image"},
		{"conversations", `{"items":[{"type":"message","role":"user","content":[{"type":"input_file","file_data":"x"}]}]}`, 403, "", "a file"},
	} {
		d.set(nil)
		status, got := p.ask(t, "rag", "POST", "/v1/"+tt.path, tt.body)
		if sent := d.last(); status != tt.status || !strings.Contains(got, tt.says) || !strings.Contains(sent, tt.sent) || tt.status != 200 && sent != "" {
			t.Errorf("%s %.200s: %d %s, sent %s", tt.path, tt.body, status, got, sent)
		}
	}

	// And in answers: whole, and in pieces however they are cut.
	const secret = `{"to":"ana\u0040example.com","note":"of\nEMP-1234","x":"{\"to\":\"bob\\u0040example.com\"}"}`
	const masked = `{"to":"a***@example.com","note":"of\n[redacted]","x":"{\"to\":\"b***@example.com\"}"}`
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	d.set(say(`{"choices":[{"index":0,"message":{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":` + quoted(secret) + `}}]}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`))
	if status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", chat("hello")); status != 200 || !strings.Contains(got, quoted(masked)) {
		t.Errorf("%d %s, want %s", status, got, quoted(masked))
	}
	for _, size := range []int{1, 2, 5, 11} {
		var events []string
		for rest := secret; rest != ""; {
			n := min(size, len(rest))
			for i := range 2 { // two calls of two choices at once
				events = append(events, fmt.Sprintf(`data: {"id":"c","choices":[{"index":%d,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}}]}`+"\n\n", i, 1-i, quoted(rest[:n])))
			}
			rest = rest[n:]
		}
		events = append(events, `data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"},{"index":1,"delta":{},"finish_reason":"tool_calls"}]}`+"\n\n", "data: [DONE]\n\n")
		d.set(sayEvents(events...))
		_, got := p.ask(t, "rag", "POST", "/v1/chat/completions", `{"model":"tiny","stream":true,"n":2,"messages":[]}`)
		texts := map[int]string{}
		for line := range strings.Lines(got) {
			var e struct {
				Choices []struct {
					Index int
					Delta struct {
						Calls []struct {
							Index    int
							Function struct{ Arguments string }
						} `json:"tool_calls"`
					}
				}
			}
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok || json.Unmarshal([]byte(data), &e) != nil {
				continue
			}
			for _, c := range e.Choices {
				for _, call := range c.Delta.Calls {
					if call.Index != 1-c.Index {
						t.Errorf("a piece of another call: %s", line)
					}
					texts[c.Index] += call.Function.Arguments
				}
			}
		}
		if texts[0] != masked || texts[1] != masked {
			t.Errorf("in pieces of %d: %v, want %s", size, texts, masked)
		}
	}
	if status, _ := p.ask(t, "rag", "GET", "/v1/nowhere/EMP-1234", ""); status != 404 {
		t.Errorf("an unknown route: %d", status)
	}
	records := p.records(t)
	for _, secret := range []string{"bob", "ana", "EMP-1234", "EMP\\u", "4111", "u0034111"} {
		if i := strings.Index(records, secret); i >= 0 {
			t.Errorf("%s stands in a transcript: …%s…", secret, records[max(0, i-200):min(len(records), i+60)])
		}
	}
}

// TestLLMModels: the list has the models that the identity may use.
func TestLLMModels(t *testing.T) {
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	const all = `{"object":"list","data":[{"id":"tiny","object":"model","created":1},{"id":"big","object":"model","created":2},{"id":"tiny-2","object":"model","created":3},{"object":"model"}]}`
	for who, want := range map[string]string{
		"rag":     `{"object":"list","data":[{"id":"tiny","object":"model","created":1},{"id":"tiny-2","object":"model","created":3}]}`,
		"metered": all,
	} {
		d.set(say(all))
		if status, got := p.ask(t, who, "GET", "/v1/models", ""); who == "rag" && got != want || status != 200 || strings.Contains(got, "big") != (who == "metered") {
			t.Errorf("%s: %d %s, want %s", who, status, got, want)
		}
	}
	d.set(say(`{"object":"list","data":[{"id":"big"}]}`))
	if _, got := p.ask(t, "rag", "GET", "/v1/models", ""); got != `{"object":"list","data":[]}` {
		t.Error(got)
	}
}

// responseStream is a stream of the responses API as its description has it:
// a text in pieces, and again whole in its part, its item and the response.
func responseStream(text string) []string {
	quoted, _ := json.Marshal(text)
	part := fmt.Sprintf(`{"type":"output_text","text":%s,"annotations":[]}`, quoted)
	item := func(status, content string) string {
		return `{"id":"msg_1","type":"message","status":"` + status + `","role":"assistant","content":[` + content + `]}`
	}
	response := func(status, output, usage string) string {
		return `{"id":"resp_1","object":"response","created_at":1741476777,"status":"` + status + `","error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":"tiny","output":[` + output +
			`],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":false,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":` + usage + `,"user":null,"metadata":{}}`
	}
	var out []string
	event := func(kind, rest string) {
		out = append(out, fmt.Sprintf("event: %s\ndata: {\"type\":%q,\"sequence_number\":%d%s}\n\n", kind, kind, len(out), rest))
	}
	event("response.created", `,"response":`+response("in_progress", "", "null"))
	event("response.output_item.added", `,"output_index":0,"item":`+item("in_progress", ""))
	event("response.content_part.added", `,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}`)
	for rest := text; rest != ""; {
		n := min(4, len(rest))
		piece, _ := json.Marshal(rest[:n])
		event("response.output_text.delta", fmt.Sprintf(`,"item_id":"msg_1","output_index":0,"content_index":0,"delta":%s,"logprobs":[]`, piece))
		rest = rest[n:]
	}
	event("response.output_text.done", fmt.Sprintf(`,"item_id":"msg_1","output_index":0,"content_index":0,"text":%s,"logprobs":[]`, quoted))
	event("response.content_part.done", `,"item_id":"msg_1","output_index":0,"content_index":0,"part":`+part)
	event("response.output_item.done", `,"output_index":0,"item":`+item("completed", part))
	event("response.completed", `,"response":`+response("completed", item("completed", part), `{"input_tokens":3,"input_tokens_details":{"cached_tokens":0},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":12}`))
	return out
}

// TestLLMResponsesSDK: the official SDKs read a stream of the responses API.
// The endpoint is a double: Ollama as it can be built here has none.
func TestLLMResponsesSDK(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	d.set(sayEvents(responseStream("Write to ana@example.com or EMP-1234, she's in.")...))
	p := startLLM(t, llmPolicy, d.URL)
	cache, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	run := func(base, token, program, name string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, filepath.Join("..", "..", "testdata", "clients", name))
		cmd.Env = append(os.Environ(), "BASE_URL="+base+"/v1", "TOKEN="+token, "MODULES="+filepath.Join(cache, "javascript"), "NO_PROXY=127.0.0.1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	for program, name := range map[string]string{filepath.Join(cache, "python", "bin", "python"): "openai_responses.py", "node": "openai_responses.mjs"} {
		direct := run(d.URL, "backend-key", program, name)
		if !strings.Contains(direct, "ana@example.com or EMP-1234") {
			t.Errorf("%s direct:\n%s", name, direct)
		}
		want := strings.NewReplacer("ana@example.com", "a***@example.com", "EMP-1234", "[redacted]").Replace(direct)
		if got := run(p.url, "rag-token", program, name); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
		}
		if got := run(p.url, "clear-token", program, name); got != direct {
			t.Errorf("%s in the clear:\n%s\ndirect:\n%s", name, got, direct)
		}
	}
}
