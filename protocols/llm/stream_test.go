package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

func detector(t testing.TB) *mask.Detector {
	t.Helper()
	d, err := mask.NewDetector([]facts.Detect{{Class: "x", Forms: mask.Forms(), Mask: facts.Mask{Name: "redact"}}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func parse(t testing.TB, s string) *httpgate.Value {
	t.Helper()
	v, err := httpgate.ParseJSON([]byte(s), 100)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func events(t *testing.T, in string) ([]event, error) {
	t.Helper()
	r := newEventReader(iotest.OneByteReader(strings.NewReader(in)), 1000)
	var out []event
	for {
		ev, err := r.next()
		if err != nil {
			return out, err
		}
		out = append(out, *ev)
	}
}

func TestEventReader(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []event
		err  error
	}{
		{"data: a\n\n", []event{{Data: []byte("a")}}, io.EOF},
		{"\xef\xbb\xbfdata:a\r\n\r\n", []event{{Data: []byte("a")}}, io.EOF},
		{"data:  a\rdata:b\r\r", []event{{Data: []byte(" a\nb")}}, io.EOF},
		{"event: x\nid: 7\nretry: 10\ndata: {}\nwhat: ever\n\n", []event{{Name: "x", ID: "7", Retry: "10", Data: []byte("{}")}}, io.EOF},
		{": a secret\n\ndata\n\n", []event{{Comment: true}, {Data: []byte{}}}, io.EOF},
		{": c\ndata: a\n\n", []event{{Data: []byte("a")}}, io.EOF},
		{"\n\n\r\n", nil, io.EOF},
		{"data: a\n", nil, io.ErrUnexpectedEOF},
		{"data: a", nil, io.ErrUnexpectedEOF},
		{"retry: x\nid: a\x00b\n\n", []event{{}}, io.EOF},
		{"data: " + strings.Repeat("a", 1000) + "\n\n", nil, errEvent},
		{strings.Repeat("data: aaaaaaaa\n", 80) + "\n", nil, errEvent},
	} {
		got, err := events(t, tt.in)
		if !reflect.DeepEqual(got, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%.60q: %+v %v, want %+v %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

// FuzzEvents: what is read and written again is read as the same.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "event: x\r\ndata:a\r\ndata\r\n\r\n:c\n\n", "id: 1\rretry: 5\r\r"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(b []byte) (out []event) {
			r := newEventReader(bytes.NewReader(b), 4096)
			for {
				ev, err := r.next()
				if err != nil {
					return out
				}
				out = append(out, *ev)
			}
		}
		first := read(in)
		var b []byte
		for i := range first {
			b = first[i].appendTo(b)
		}
		var want []event
		for _, ev := range first { // an event of unknown fields alone is an empty line
			if ev.Comment || ev.Data != nil || ev.Name != "" || ev.ID != "" || ev.Retry != "" {
				want = append(want, ev)
			}
		}
		if got := read(b); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q became %q: %+v, want %+v", in, b, got, want)
		}
	})
}

// cut splits a text at random places, between characters.
func cut(r *rand.Rand, s string) []string {
	var out []string
	rest := []rune(s)
	for len(rest) > 0 {
		n := min(len(rest), 1+r.IntN(6))
		out = append(out, string(rest[:n]))
		rest = rest[n:]
	}
	return out
}

func quoted(s string) string { return string(httpgate.AppendQuote(nil, s)) }

var texts = []string{
	"Write to ana@example.com, her number is 078-05-1120.", "4111 1111 1111 1111", "key sk-abcdefghijklmnopqrst", "nothing here", "é字 ana@example.com 字",
	`{"to": "ana@example.com", "card": "4111-1111-1111-1111"}`, "ends in 078-05-11", "",
}

// TestChunks cuts several texts of several choices into chunks: what a client
// puts together is what masking each text as a whole gives.
func TestChunks(t *testing.T) {
	d := detector(t)
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		type text struct {
			choice int
			path   string // a format of the delta
			pieces []string
			want   string
		}
		var all []text
		for choice := range 2 {
			for _, p := range []string{`{"content":%s}`, `{"reasoning_content":%s}`, `{"tool_calls":[{"index":0,"function":{"arguments":%s}}]}`, `{"tool_calls":[{"index":1,"function":{"arguments":%s}}]}`} {
				s := texts[r.IntN(len(texts))]
				want, _ := d.Append(nil, []byte(s))
				all = append(all, text{choice, p, cut(r, s), string(want)})
			}
		}
		got := make([]string, len(all))
		c := &chunks{pieces: pieces{d: d}, stripUsage: true}
		take := func(in string) {
			for _, b := range c.rewrite(parse(t, in)) {
				collect(t, b, got)
			}
		}
		for left := true; left; {
			left = false
			for i := range all {
				if len(all[i].pieces) > 0 && r.IntN(2) == 0 {
					delta := fmt.Sprintf(all[i].path, quoted(all[i].pieces[0]))
					take(fmt.Sprintf(`{"id":"a","object":"chat.completion.chunk","choices":[{"index":%d,"delta":%s,"finish_reason":null}],"usage":null}`, all[i].choice, delta))
					all[i].pieces = all[i].pieces[1:]
				}
				left = left || len(all[i].pieces) > 0
			}
		}
		take(`{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`)
		for _, b := range c.close() { // choice 1 ends with the stream alone
			collect(t, b, got)
		}
		for i := range all {
			if got[i] != all[i].want {
				t.Fatalf("choice %d %s: %q, want %q", all[i].choice, all[i].path, got[i], all[i].want)
			}
		}
	}
}

// collect puts a chunk's pieces to the texts, as an SDK does.
func collect(t *testing.T, b []byte, got []string) {
	t.Helper()
	var c struct {
		Choices []struct {
			Index int
			Delta struct {
				Content          string
				ReasoningContent string `json:"reasoning_content"`
				ToolCalls        []struct {
					Index    int
					Function struct{ Arguments string }
				} `json:"tool_calls"`
			}
		}
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if bytes.Contains(b, []byte(`"usage"`)) {
		t.Errorf("usage, which nobody asked for: %s", b)
	}
	for _, ch := range c.Choices {
		got[ch.Index*4] += ch.Delta.Content
		got[ch.Index*4+1] += ch.Delta.ReasoningContent
		for _, tc := range ch.Delta.ToolCalls {
			got[ch.Index*4+2+tc.Index] += tc.Function.Arguments
		}
	}
}

func TestChunksKeepTheRest(t *testing.T) {
	c := &chunks{pieces: pieces{d: detector(t)}, stripUsage: true}
	for _, tt := range []struct{ in, want string }{
		{`{"id":"x","choices":[{"index":0,"text":"a 078-05-","logprobs":{"tokens":["078"]}}]}`, `{"id":"x","choices":[{"index":0,"text":"a ","logprobs":null}]}`},
		{`{"id":"x","choices":[{"index":0,"text":"1120","finish_reason":"stop"}]}`, `{"id":"x","choices":[{"index":0,"text":"[redacted]","finish_reason":"stop"}]}`},
		{`{"id":"x","choices":[],"usage":{"prompt_tokens":1}}`, ``},
	} {
		if got := string(bytes.Join(c.rewrite(parse(t, tt.in)), []byte("\n"))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
	c = &chunks{stripUsage: false}
	in := `{"choices":[],"usage":{"prompt_tokens":1}}`
	if got := c.rewrite(parse(t, in)); len(got) != 1 || string(got[0]) != in {
		t.Errorf("%s", got)
	}
}

// TestResponseEvents: the same text comes as pieces, as a whole, in its part, in
// its item and in the response, and is masked everywhere, in order.
func TestResponseEvents(t *testing.T) {
	d := detector(t)
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		s := texts[r.IntN(len(texts))]
		masked, _ := d.Append(nil, []byte(s))
		re := &respEvents{pieces: pieces{d: d}}
		n, deltas, last := 0, "", int64(-1)
		var wholes []string
		take := func(in string) {
			for _, b := range re.rewrite(parse(t, fmt.Sprintf(in, n))) {
				var e struct {
					Type     string
					Delta    string
					Text     string
					Sequence int64 `json:"sequence_number"`
					Part     struct{ Text string }
					Item     struct{ Content []struct{ Text string } }
					Response struct {
						Output []struct{ Content []struct{ Text string } }
					}
				}
				if err := json.Unmarshal(b, &e); err != nil {
					t.Fatalf("%s: %v", b, err)
				}
				if e.Sequence != last+1 {
					t.Fatalf("event %d after %d", e.Sequence, last)
				}
				last = e.Sequence
				deltas += e.Delta
				switch e.Type {
				case "response.output_text.done":
					if deltas != string(masked) {
						t.Fatalf("pieces %q, whole %q", deltas, masked)
					}
					wholes = append(wholes, e.Text)
				case "response.content_part.done":
					wholes = append(wholes, e.Part.Text)
				case "response.output_item.done":
					wholes = append(wholes, e.Item.Content[0].Text)
				case "response.completed":
					wholes = append(wholes, e.Response.Output[0].Content[0].Text)
				}
			}
			n++
		}
		const at = `"item_id":"m","output_index":0,"content_index":0,"logprobs":[]`
		for _, p := range cut(r, s) {
			take(`{"type":"response.output_text.delta",` + at + `,"sequence_number":%d,"delta":` + strings.ReplaceAll(quoted(p), "%", "%%") + `}`)
		}
		take(`{"type":"response.output_text.done",` + at + `,"sequence_number":%d,"text":` + quoted(s) + `}`)
		take(`{"type":"response.content_part.done",` + at + `,"sequence_number":%d,"part":{"text":` + quoted(s) + `}}`)
		take(`{"type":"response.output_item.done","output_index":0,"sequence_number":%d,"item":{"content":[{"text":` + quoted(s) + `}]}}`)
		take(`{"type":"response.completed","sequence_number":%d,"response":{"output":[{"content":[{"text":` + quoted(s) + `}]}]}}`)
		if len(wholes) != 4 {
			t.Fatalf("%q", wholes)
		}
		for _, w := range wholes {
			if w != string(masked) {
				t.Fatalf("%q, want %q", w, masked)
			}
		}
	}
}

// FuzzStream: whatever an upstream says in events of two or three pieces, what is
// sent is JSON, and no value that is whole in it leaves.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		`{"id":"c","choices":[{"index":0,"delta":{"content":"078-05-"}}]}`, `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":3,"function":{"arguments":"a"}}]}}]}`,
		`{"choices":[{"delta":{"#1,\"content\":\"078-05-1120\"":"4111 1111 "}}]}`, `{"choices":[["078-05-"],{"a":[["078"]]}]}`, `{"choices":[{"index":9,"text":["ana@"],"finish_reason":"x"}],"usage":null}`,
		`{"type":"response.output_text.delta","item_id":"i","delta":"ana@exam","sequence_number":3}`, `{"type":"response.output_text.done","text":"078-05-1120","logprobs":[{"token":"0"}]}`,
	} {
		f.Add([]byte(s), []byte(s))
	}
	d := detector(f)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		c, r := &chunks{pieces: pieces{d: d}, stripUsage: true}, &respEvents{pieces: pieces{d: d}}
		var out [][]byte
		for _, in := range [][]byte{a, b} {
			if v, err := httpgate.ParseJSON(in, 100); err == nil && v.Kind == '{' {
				out = append(append(out, c.rewrite(v)...), r.rewrite(v)...)
			}
		}
		for _, e := range append(out, c.close()...) {
			v, err := httpgate.ParseJSON(e, 127)
			if err != nil && json.Valid(e) {
				continue // masking can make two names one
			}
			if err != nil {
				t.Fatalf("%q and %q: %q: %v", a, b, e, err)
			}
			w := rewriter{text: func(dst []byte, _ []string, s string, _ bool) []byte {
				if found := d.Find([]byte(s)); len(found) > 0 && !strings.Contains(s, "[redacted]") {
					t.Errorf("%q and %q: %q left", a, b, s)
				}
				return dst
			}}
			w.value(nil, v)
		}
	})
}
