package llm

import (
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// pieces are texts of one stream that come in pieces. Whatever may still become a
// value is held back until more of the same text comes, or its end.
type pieces struct {
	d     *mask.Detector
	texts map[string]*piece
	order []string
}

type piece struct {
	stream *mask.NestedStream
	path   []string
	last   *httpgate.Value // the event that brought the last piece
}

// maxTexts bounds how many texts of one stream are followed.
const maxTexts = 4096

func (p *pieces) get(key string, path []string) *piece {
	t := p.texts[key]
	if t == nil {
		if p.texts == nil {
			p.texts = map[string]*piece{}
		}
		t = &piece{stream: p.d.NestedStream(), path: append([]string(nil), path...)}
		p.texts[key] = t
		p.order = append(p.order, key)
	}
	return t
}

// chunks rewrites the events of chat completions and legacy completions:
// objects whose choices hold pieces of texts, by the choice's index.
type chunks struct {
	pieces
	stripUsage bool // the client did not ask for usage
	envelope   *httpgate.Value
}

// whole says that a string of a choice is never sent in pieces.
func whole(name string) bool {
	switch name {
	case "role", "id", "type", "finish_reason", "object", "index":
		return true
	}
	return false
}

// rewrite returns the events that are sent for one: none, where it told only
// what the client did not ask for.
func (c *chunks) rewrite(v *httpgate.Value) [][]byte {
	choices := v.Get("choices")
	if c.stripUsage && choices.Kind == '[' && choices.Count == 0 && v.Get("usage").Kind == '{' {
		return nil
	}
	if c.d == nil && !c.stripUsage {
		return [][]byte{v.Raw}
	}
	c.envelope = v
	ends := map[string]bool{}
	for i := range choices.Items {
		choice := &choices.Items[i]
		if choice.Get("finish_reason").Kind == '"' {
			n := int64(i)
			if at, ok := choice.Get("index").Int(); ok {
				n = at
			}
			ends["#"+strconv.FormatInt(n, 10)] = true
		}
	}
	w := rewriter{member: c.member, number: c.d}
	if c.d != nil {
		w.text = func(dst []byte, path []string, s string, name bool) []byte {
			last := path[max(0, len(path)-1):]
			if name || len(path) < 3 || path[0] != "choices" || !element(path[1]) || element(path[2]) || element(last[0]) || whole(last[0]) || len(c.texts) >= maxTexts {
				return c.appendWhole(dst, s)
			}
			t := c.get(strings.Join(path, "\x00"), path)
			dst = t.stream.Write(dst, []byte(s))
			if ends[path[1]] {
				dst = t.stream.Flush(dst)
			}
			return dst
		}
	}
	own := w.value(nil, v)
	return append(c.tails(func(p *piece) bool { return ends[p.path[1]] }), own)
}

func (p *pieces) appendWhole(dst []byte, s string) []byte {
	return p.d.AppendNested(dst, []byte(s))
}

func (c *chunks) member(dst []byte, path []string, v *httpgate.Value) ([]byte, bool) {
	if c.stripUsage && len(path) == 1 && path[0] == "usage" && v.Null() {
		return dst, true
	}
	if c.d == nil {
		return dst, false
	}
	return emptied(dst, path, v)
}

// tails are events with what was held back of the texts that end.
func (c *chunks) tails(ends func(*piece) bool) [][]byte {
	var out [][]byte
	for _, key := range c.order {
		t := c.texts[key]
		if t.stream.Held() == 0 || !ends(t) {
			continue
		}
		out = append(out, c.tail(t, string(t.stream.Flush(nil))))
	}
	return out
}

// tail is an event of the same answer with one text.
func (c *chunks) tail(t *piece, text string) []byte {
	b := []byte{'{'}
	w := rewriter{text: func(dst []byte, _ []string, s string, _ bool) []byte { return c.appendWhole(dst, s) }}
	for _, name := range []string{"id", "object", "created", "model"} {
		if v := c.envelope.Get(name); v.Has() {
			b = append(httpgate.AppendQuote(b, name), ':')
			b = append(w.value(b, v), ',')
		}
	}
	b = append(b, `"choices":[{"index":`...)
	b = append(b, strings.TrimPrefix(t.path[1], "#")...)
	b = append(b, ',')
	b = c.nest(b, t.path[2:], text)
	return append(b, `,"finish_reason":null}]}`...)
}

// nest writes the members down to a text: delta, tool_calls, #1, function …
func (c *chunks) nest(b []byte, path []string, text string) []byte {
	if element(path[0]) { // never the last
		b = append(append(append(b, `[{"index":`...), path[0][1:]...), ',')
		return append(c.nest(b, path[1:], text), `}]`...)
	}
	b = append(httpgate.AppendQuote(b, string(c.appendWhole(nil, strings.TrimPrefix(path[0], "\x00")))), ':')
	switch {
	case len(path) == 1:
		return httpgate.AppendQuote(b, text)
	case element(path[1]):
		return c.nest(b, path[1:], text)
	}
	return append(c.nest(append(b, '{'), path[1:], text), '}')
}

// close returns what is still held back, before the end of the stream.
func (c *chunks) close() [][]byte { return c.tails(func(*piece) bool { return true }) }
