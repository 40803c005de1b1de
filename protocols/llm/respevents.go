package llm

import (
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
)

// respEvents rewrites the events of the responses API. The same text comes in
// pieces (….delta), and then whole in ….done, in its part, in its item and in
// the response: each is masked in its own way and all tell the same.
type respEvents struct {
	pieces
	inserted int64 // events that the upstream did not send
}

// identity names the text that an event is about.
func (r *respEvents) identity(base string, v *httpgate.Value) string {
	key := base
	for _, name := range []string{"item_id", "output_index", "content_index", "summary_index"} {
		key += "\x00" + string(v.Get(name).Raw)
	}
	return key
}

// terminal says that nothing of the response comes after.
func terminal(kind string) bool {
	switch kind {
	case "response.completed", "response.incomplete", "response.failed", "error":
		return true
	}
	return false
}

// rewrite returns the events that are sent for one.
func (r *respEvents) rewrite(v *httpgate.Value) [][]byte {
	if r.d == nil {
		return [][]byte{v.Raw}
	}
	kind := v.Get("type").Text
	if base, ok := strings.CutSuffix(kind, ".delta"); ok && v.Get("delta").Kind == '"' && len(r.texts) < maxTexts {
		t := r.get(r.identity(base, v), nil)
		t.last = v
		return [][]byte{r.write(v, t.stream.Write([]byte{}, []byte(v.Get("delta").Text)), r.number(v))}
	}
	var out [][]byte
	all := terminal(kind) || strings.HasPrefix(kind, "response.output_item.") || kind == "response.content_part.done"
	base, done := strings.CutSuffix(kind, ".done")
	mine := r.identity(base, v)
	for _, key := range r.order {
		t := r.texts[key]
		if t.stream.Held() == 0 || !all && !(done && key == mine) {
			continue
		}
		out = append(out, r.write(t.last, t.stream.Flush([]byte{}), r.number(v)))
		r.inserted++
	}
	return append(out, r.write(v, nil, r.number(v)))
}

// number is an event's place in the order that the client sees.
func (r *respEvents) number(v *httpgate.Value) int64 {
	n, _ := v.Get("sequence_number").Int()
	return n + r.inserted
}

// write is an event with its delta, unless that is nil, and its number.
func (r *respEvents) write(v *httpgate.Value, delta []byte, number int64) []byte {
	w := rewriter{number: r.d, text: func(dst []byte, path []string, s string, name bool) []byte {
		if !name && delta != nil && len(path) == 1 && path[0] == "delta" {
			return append(dst, delta...)
		}
		return r.appendWhole(dst, s)
	}}
	w.member = func(dst []byte, path []string, m *httpgate.Value) ([]byte, bool) {
		if m.Kind == '0' && len(path) == 1 && path[0] == "sequence_number" {
			return strconv.AppendInt(append(httpgate.AppendQuote(dst, "sequence_number"), ':'), number, 10), true
		}
		return emptied(dst, path, m)
	}
	return w.value(nil, v)
}
