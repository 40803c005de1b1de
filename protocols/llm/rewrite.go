package llm

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// rewriter writes a document anew, with its texts as a function says. The zero
// value writes it as it is.
type rewriter struct {
	// text appends what becomes of a string, or of a member's name, unquoted.
	text func(dst []byte, path []string, s string, name bool) []byte
	// member may write a member in its own way and return true.
	member func(dst []byte, path []string, v *httpgate.Value) ([]byte, bool)
	// number looks into long numbers, which may be a card's: one becomes a string.
	number *mask.Detector

	path    []string
	scratch []byte
}

// value appends v. Elements of an array that have an index of their own go by
// that in paths, so that a stream's pieces find each other.
func (w *rewriter) value(dst []byte, v *httpgate.Value) []byte {
	switch {
	case v.Kind == '"':
		return w.quoted(dst, v.Text, false)
	case v.Kind == '{':
		dst = append(dst, '{')
		n := 0
		for i, name := range v.Names {
			w.path = append(w.path, member(name))
			before := len(dst)
			if n > 0 {
				dst = append(dst, ',')
			}
			var own bool
			start := len(dst)
			if w.member != nil {
				dst, own = w.member(dst, w.path, &v.Items[i])
			}
			switch {
			case !own:
				dst = append(w.quoted(dst, name, true), ':')
				dst = w.value(dst, &v.Items[i])
				n++
			case len(dst) == start:
				dst = dst[:before] // left out
			default:
				n++
			}
			w.path = w.path[:len(w.path)-1]
		}
		return append(dst, '}')
	case v.Kind == '[' && v.Items != nil:
		dst = append(dst, '[')
		for i := range v.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			at := int64(i)
			if n, ok := v.Items[i].Get("index").Int(); ok {
				at = n
			}
			w.path = append(w.path, "#"+strconv.FormatInt(at, 10))
			dst = w.value(dst, &v.Items[i])
			w.path = w.path[:len(w.path)-1]
		}
		return append(dst, ']')
	case long(v) && w.number != nil:
		if b, n := w.number.Append(w.scratch[:0], v.Raw); n > 0 {
			w.scratch = b
			return httpgate.AppendQuote(dst, string(b))
		}
	}
	return append(dst, v.Raw...)
}

// long says that a number may be a value: a whole one with as many digits as
// the shortest card number. Times and counts have fewer.
func long(v *httpgate.Value) bool {
	return v.Kind == '0' && len(v.Raw) >= 12 && len(v.Raw) <= 24 && bytes.IndexByte(v.Raw, '.') < 0
}

// member is a member's name in a path. One that looks like an element is told
// apart by a character that no JSON text of ours has.
func member(name string) string {
	if strings.HasPrefix(name, "#") || strings.HasPrefix(name, "\x00") {
		return "\x00" + name
	}
	return name
}

// element says whether a step of a path is an array's element.
func element(step string) bool { return strings.HasPrefix(step, "#") }

func (w *rewriter) quoted(dst []byte, s string, name bool) []byte {
	if w.text == nil {
		return httpgate.AppendQuote(dst, s)
	}
	w.scratch = w.text(w.scratch[:0], w.path, s, name)
	return httpgate.AppendQuote(dst, string(w.scratch))
}

// leaky are members of answers that hold a text in pieces which no detector
// could put together: they are sent empty where detectors look.
func leaky(name string) bool { return name == "logprobs" || name == "top_logprobs" }

// vectorText says that a string is an embedding in base64.
func vectorText(path []string) bool {
	return len(path) == 3 && path[0] == "data" && path[2] == "embedding"
}

// masked appends a document with what the detector finds in it masked.
func masked(dst []byte, v *httpgate.Value, d *mask.Detector) []byte {
	if d == nil {
		return append(dst, v.Raw...)
	}
	w := rewriter{
		text: func(dst []byte, path []string, s string, name bool) []byte {
			if !name && vectorText(path) {
				return append(dst, s...)
			}
			return d.AppendNested(dst, []byte(s))
		},
		member: emptied, number: d,
	}
	return w.value(dst, v)
}

// emptied writes leaky members.
func emptied(dst []byte, path []string, v *httpgate.Value) ([]byte, bool) {
	name := path[len(path)-1]
	if !leaky(name) || v.Kind != '[' && v.Kind != '{' {
		return dst, false
	}
	dst = append(httpgate.AppendQuote(dst, name), ':')
	if v.Kind == '[' {
		return append(dst, "[]"...), true
	}
	return append(dst, "null"...), true
}
