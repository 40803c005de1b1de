package vector

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// fakeTicket hides what is under the names email and secret, and vectors.
type fakeTicket struct {
	protocols.Ticket
	rows, bytes int
	kept        []string
}

var (
	redacted, _ = mask.CompileJSON(facts.Mask{Name: "redact"}, nil)
	partial, _  = mask.CompileJSON(facts.Mask{Name: "partial"}, nil)
)

func (f *fakeTicket) Path(_ string, path []string) (protocols.PathMask, error) {
	path = strings.Split(strings.Join(path, "."), ".")
	switch {
	case path[0] == facts.PathVector:
		return protocols.PathMask{Mask: redacted}, nil
	case slices.Contains(path, "email"):
		return protocols.PathMask{Mask: partial}, nil
	case slices.Contains(path, "secret"):
		return protocols.PathMask{Mask: redacted}, nil
	}
	return protocols.PathMask{Below: true}, nil
}

func (f *fakeTicket) PathScope() any { return f }

func (f *fakeTicket) Row(n int) (bool, error) { f.rows++; f.bytes += n; return f.rows <= 2, nil }
func (f *fakeTicket) Bytes(n int) error       { f.bytes += n; return nil }
func (f *fakeTicket) Keep(cells [][]byte) error {
	f.kept = append(f.kept, string(bytes.Join(cells, []byte("="))))
	return nil
}

func rewrite(t testing.TB, s *shape, in []byte, limit int, one bool) (string, *fakeTicket, error) {
	t.Helper()
	ticket := &fakeTicket{}
	var body interface{ Read([]byte) (int, error) } = bytes.NewReader(in)
	if one {
		body = iotest.OneByteReader(body)
	}
	var sent bytes.Buffer
	out := httpgate.NewOut(&sent, func() error { return nil })
	err := s.answer(&httpgate.Answer{Status: 200, Body: body, Ticket: ticket, Out: out, Limits: protocols.Limits{Row: limit}})
	if err == nil {
		err = out.End()
	}
	if !out.Sent() {
		return "", ticket, err
	}
	resp, failed := http.ReadResponse(bufio.NewReader(&sent), nil)
	if failed != nil {
		t.Fatal(failed)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body) // chunks that do not end where the answer was cut
	return string(got), ticket, err
}

func TestRewrite(t *testing.T) {
	points := envelope(obj(map[string]*shape{"points": {kind: array, row: true, elem: point("people", "email")}, "next_page_offset": passed}))
	columns := obj(map[string]*shape{
		"ids":        list(&shape{kind: array, row: true, cell: "ids", elem: passed}),
		"metadatas":  list(&shape{kind: array, cell: "metadatas", elem: &shape{kind: payload}}),
		"documents":  list(&shape{kind: array, cell: "documents", elem: &shape{kind: value, path: "secret"}}),
		"embeddings": {kind: vector, cell: "embeddings"},
	})
	for _, c := range []struct {
		s        *shape
		in, want string
		rows     int
	}{
		{points, `{"result":{"points":[{"id":1,"payload":{"n":1,"email":"ana@example.com"},"vector":[1,2],"odd":3}],"next_page_offset":null},"status":"ok","time":0.1,"usage":{}}`,
			`{"result":{"points":[{"id":1,"payload":{"n":1,"email":"a***@example.com"}}],"next_page_offset":null},"status":"ok","time":0.1}`, 1},
		{points, ` { "result" : { "points" : [ { "payload" : { "\u0065mail" : ["ana@example.com",null,7,true,{"ana":1}] , "secret":null, "a.secret":[1], "x":{"email":{"y":"z"}} } , "order_value":"ana@example.com" } ] } } `,
			`{"result":{"points":[{"payload":{"\u0065mail":["a***@example.com",null,"[redacted]","[redacted]","[redacted]"],"secret":"[redacted]","a.secret":"[redacted]","x":{"email":"[redacted]"}},"order_value":"a***@example.com"}]}}`, 1},
		{points, `{"result":null,"status":"ok"}`, `{"result":null,"status":"ok"}`, 0},
		{points, `{"result":{"points":[]}}`, `{"result":{"points":[]}}`, 0},
		{columns, `{"ids":[["a","b"],["c"]],"embeddings":[[[1]]],"metadatas":[[{"email":"x"},null],[{"n":1}]],"documents":[["d1","d2"],[null]]}`,
			`{"ids":[["a","b"],["c"]],"embeddings":null,"metadatas":[[{"email":"****"},null],[{"n":1}]],"documents":[["[redacted]","[redacted]"],["[redacted]"]]}`, 3},
	} {
		for _, one := range []bool{false, true} {
			got, ticket, err := rewrite(t, c.s, []byte(c.in), 1<<20, one)
			if err != nil || got != c.want || ticket.rows != c.rows {
				t.Errorf("%s\n%s, %d rows, %v, want\n%s", c.in, got, ticket.rows, err, c.want)
			}
			for _, k := range ticket.kept {
				if strings.Contains(k, "ana@") {
					t.Errorf("kept %s", k)
				}
			}
		}
	}
}

// TestRewriteRefuses: what cannot be masked is not sent, not even in part.
func TestRewriteRefuses(t *testing.T) {
	points := envelope(&shape{kind: array, row: true, elem: point("people", "")})
	for _, in := range []string{
		``, `{`, `{"result":[{"payload":{"email":"ana`, `{"result":[{"payload":"ana@example.com"}]}`, `{"result":{"id":1}}`, `["ana@example.com"]`,
		`{"result":[]}{"result":[]}`, `{"result":[{"payload":{"a":1,}}]}`, `{"result":[{"payload":{"a":01}}]}`, `{"result":[{"payload":{"a":nul}}]}`, `{"result":[{"payload":{"a":"` + "\x01" + `"}}]}`,
		`{"result":[{"payload":{"a":"` + "\xff" + `"}}]}`, `{"result":[{"payload":{"a":"\x"}}]}`, `{"result":[{"payload":` + strings.Repeat(`{"a":`, 300) + `1` + strings.Repeat(`}`, 300) + `}]}`,
		`{"result":[{"payload":{"a":"` + strings.Repeat("x", 200_000) + `"}}]}`,
	} {
		got, _, err := rewrite(t, points, []byte(in), 1000, false)
		if err == nil || got != "" {
			t.Errorf("%.80q: %.80q was sent, %v", in, got, err)
		}
	}
}

// reference does with a decoded document what the rewriter does with its text.
func reference(v any, m *mask.JSON) any {
	if m != nil && m.Const != nil {
		return "[redacted]"
	}
	switch x := v.(type) {
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = reference(x[i], m)
		}
		return out
	case map[string]any:
		if m != nil {
			return "[redacted]"
		}
		out := map[string]any{}
		for k, e := range x {
			switch {
			case slices.Contains(strings.Split(k, "."), "email"):
				out[k] = reference(e, partial)
			case slices.Contains(strings.Split(k, "."), "secret"):
				out[k] = reference(e, redacted)
			default:
				out[k] = reference(e, nil)
			}
		}
		return out
	case string:
		if m != nil {
			return string(m.Text(nil, []byte(x)))
		}
	case nil:
		return nil
	default:
		if m != nil {
			return "[redacted]"
		}
	}
	return v
}

// FuzzRewrite: what is sent is valid JSON, equal to what came but for what is
// masked; and what is not valid is not sent.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{
		`{"a":{"email":"ana@example.com","n":[1,2.5e3,-0]},"secret":{"x":1}}`, `{"\u0065mail":"\ud83d\ude00","":null}`, `{"email":[["a"],{"b":1},null,true]}`, `{"x":"\"\\\/\b\f\n\r\t"}`, `{"a.email":1}`,
	} {
		f.Add([]byte(s))
	}
	s := &shape{kind: payload, collection: "c"}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _, err := rewrite(t, s, in, 1<<20, false)
		slow, _, slowErr := rewrite(t, s, in, 1<<20, true)
		if got != slow || (err == nil) != (slowErr == nil) {
			t.Fatalf("%q depends on how it comes: %q, %q", in, got, slow)
		}
		read := func(b []byte) (v any, err error) {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			err = d.Decode(&v)
			return v, err
		}
		if err != nil {
			return
		}
		want, err := read(in)
		if err != nil || !json.Valid(in) {
			t.Fatalf("%q is not valid, and was sent as %q", in, got)
		}
		have, err := read([]byte(got))
		if err != nil {
			t.Fatalf("%q became %q: %v", in, got, err)
		}
		if w := reference(want, nil); !reflect.DeepEqual(w, have) && want != nil {
			t.Fatalf("%q became\n%v, want\n%v", in, have, w)
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	var in bytes.Buffer
	in.WriteString(`{"result":{"points":[`)
	for i := range 10_000 {
		if i > 0 {
			in.WriteByte(',')
		}
		fmt.Fprintf(&in, `{"id":%d,"payload":{"n":%d,"city":"Porto","email":"person%d@example.com","contact":{"phone":"+351 21 000","note":"%s"},"tags":["a","b"]},"vector":null}`, i, i, i, strings.Repeat("lorem ipsum ", 60))
	}
	in.WriteString(`],"next_page_offset":null},"status":"ok"}`)
	s := envelope(obj(map[string]*shape{"points": {kind: array, row: true, elem: point("people", "")}, "next_page_offset": passed}))
	b.SetBytes(int64(in.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := rewrite(b, s, in.Bytes(), 1<<20, false); err != nil {
			b.Fatal(err)
		}
	}
}
