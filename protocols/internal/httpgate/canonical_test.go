package httpgate

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"/":                                     "/",
		"/collections/a":                        "/collections/a",
		"/collections/a/":                       "/collections/a",
		"/collect%69ons/a%20b":                  "/collections/a%20b",
		"/collections/%C3%A9?wait=true&x=a%20b": "/collections/%C3%A9?wait=true&x=a+b",
		"/a:b@c":                                "/a:b@c",
	} {
		path, query, err := parseTarget(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(appendTarget(nil, path, query)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{
		"", "collections", "*", "http://other/collections", "//collections", "/collections//a", "/collections/./a", "/collections/../a", "/a/..",
		"/collections/%2e%2e/a", "/collections/%2E/a", "/a%2fb", "/a%5cb", `/a\b`, "/a%00b", "/a%0ab", "/a%252fb", "/a%2", "/a%zz", "/a;x=1", "/a%ff", "/é",
		"/a?x=1;y=2", "/a?x=1&x=2", "/a?x=1&X=2", "/a?x=%00", "/a?x=%zz", "/a#b", "/a?a|b", "/" + strings.Repeat("a", maxTarget),
	} {
		if path, query, err := parseTarget(in); err == nil {
			t.Errorf("%q was taken: %q %v", in, path, query)
		}
	}
}

func TestParseJSON(t *testing.T) {
	for in, want := range map[string]string{
		` { "a" : [ 1 , 2.50 ] , "\u0062":"\u0041\/\n" } `: `{"a":[1,2.50],"b":"A/\n"}`,
		`[]`: `[]`, `{}`: `{}`, `null`: `null`, `18446744073709551615`: `18446744073709551615`, `"é"`: `"é"`, `"\ud83d\ude00"`: `"😀"`, `[1,"a"]`: `[1,"a"]`,
		`-0`: `-0`,
		`[` + strings.Repeat("1 ,", fewNumbers) + `2,"a"]`:                                            `[` + strings.Repeat("1,", fewNumbers) + `2,"a"]`,
		`[` + strings.Repeat("1 ,", 5000) + `2]`:                                                      `[` + strings.Repeat("1,", 5000) + `2]`,
		`[` + strings.Repeat("-0.1234567,0.12345678,1.123456789012345,1.1234567890123456,", 9) + `1]`: `[` + strings.Repeat("-0.1234567,0.12345678,1.123456789012345,1.1234567890123456,", 9) + `1]`,
	} {
		v, err := ParseJSON([]byte(in), 100)
		if err != nil || string(v.Raw) != want {
			t.Errorf("%s: %v, %v", in, v, err)
		}
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, in := range []string{
		``, `{`, `{"a":1,"a":2}`, `{"":1,"":2}`, `{"a":1,"\u0061":2}`, `{"limit":1,"LIMIT":2}`, `{"a":{"k":1,"\u212a":2}}`, `{"s":1,"ſ":2}`, `{"a":1}{"a":2}`, `{"a":1} x`,
		"\xef\xbb\xbf{}", "\"\xff\"", `"\ud800"`, `"a\u0000"`, `1e400`, `[1e400]`, `{'a':1}`, `{"a":1,}`, `[1,]`, `NaN`, `01`, `+1`, `// x
{}`, deep(101), `{"a":` + deep(100) + `}`,
		`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"I":10}`,
		`[` + strings.Repeat("1,", 5000) + `"a"]`, `[` + strings.Repeat("1,", 50) + `01]`, `[` + strings.Repeat("0.1234567,", 50) + `0.1234567.8,` + strings.Repeat("1,", 50) + `1]`, `[` + strings.Repeat("0.1234567,", 50) + `.5,` + strings.Repeat("1,", 50) + `1]`, `[` + strings.Repeat("1,", 50) + `1e400]`, `[` + strings.Repeat("1,", 50) + `]`,
		`[` + strings.Repeat("1,", 50) + `1 2]`, `[` + strings.Repeat("1,", 50) + `1` + strings.Repeat("0", 1001) + `]`,
	} {
		if v, err := ParseJSON([]byte(in), 100); err == nil {
			t.Errorf("%.60q was taken: %.60s", in, v.Raw)
		}
	}
	if _, err := ParseJSON([]byte(deep(100)), 100); err != nil {
		t.Error(err)
	}
}

// TestDigits: digits are found eight at a time as one at a time, whatever the
// byte behind them and where it stands.
func TestDigits(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			b := []byte("01234567899876543210")
			b[at] = byte(c)
			for next := range 3 { // what stands behind it must not matter
				if at+1 < len(b) {
					b[at+1] = []byte{'0', 0, 0xff}[next]
				}
				want := 0
				for want < len(b) && b[want] >= '0' && b[want] <= '9' {
					want++
				}
				if got := digits(b, 0); got != want {
					t.Fatalf("%q has %d digits, want %d", b, got, want)
				}
			}
		}
	}
}

func TestValue(t *testing.T) {
	v, err := ParseJSON([]byte(`{"limit":10,"f":1.0,"n":-1,"big":9223372036854775808,"e":1e1,"v":[0.1,2],"o":{"x":null},"s":["a"],"long":[`+strings.Repeat("1,", fewNumbers)+`1]}`), 100)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := v.Get("limit").Int(); !ok || n != 10 {
		t.Error(n, ok)
	}
	for _, name := range []string{"f", "n", "big", "e", "o", "missing"} {
		if n, ok := v.Get(name).Int(); ok {
			t.Errorf("%s is %d", name, n)
		}
	}
	if !v.Get("v").Vector() || v.Get("s").Vector() || !v.Get("long").Vector() || v.Get("long").Count != fewNumbers+1 {
		t.Error("vectors are not told from others")
	}
	if string(v.Get("o").Raw) != `{"x":null}` || !v.Get("o").Get("x").Null() || v.Get("o").Get("y").Has() {
		t.Error("members are not found")
	}
}

// FuzzParseJSON: what is taken is equal to what encoding/json reads, and is
// its own canonical form.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,{"b":"\u0041"}],"c":null}`, `[[],{},"",true]`, `"\ud83d\ude00"`, `{"a":1,"A":2}`, `{"":1,"":2}`, `-0.0`,
		`[` + strings.Repeat("-1.5e1, ", fewNumbers) + `0]`, `[` + strings.Repeat("1,", fewNumbers) + `]`, `[` + strings.Repeat("1,", fewNumbers) + `"x"]`, `"é\ud800"`, `{"a" :"\u0000"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		v, err := ParseJSON(src, 50)
		valid := jsontext.Value(src).IsValid()
		if err == nil && !valid {
			t.Fatalf("taken, and not valid: %q", src)
		}
		if err != nil {
			if valid && strings.Contains(err.Error(), "is not valid at byte") {
				t.Fatalf("valid, and taken for something else: %q: %v", src, err)
			}
			return
		}
		var a, b any
		if err := json.Unmarshal(src, &a); err != nil {
			t.Fatalf("taken, and not valid: %q: %v", src, err)
		}
		if err := json.Unmarshal(v.Raw, &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q: %v", src, v.Raw, err)
		}
		again, err := ParseJSON(v.Raw, 50)
		if err != nil || !bytes.Equal(again.Raw, v.Raw) {
			t.Fatalf("%q is not its own canonical form: %v", v.Raw, err)
		}
	})
}

// FuzzParseTarget: what is taken is read as net/http reads it, and is its own
// canonical form.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"/a/b?c=d", "/%41/..;/b", "/a%2fb", "/a?x=%41&y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, query, err := parseTarget(target)
		if err != nil {
			return
		}
		canonical := string(appendTarget(nil, path, query))
		p2, q2, err := parseTarget(canonical)
		if err != nil || fmt.Sprint(p2) != fmt.Sprint(path) || q2.Encode() != query.Encode() {
			t.Fatalf("%q became %q: %v", target, canonical, err)
		}
		r, err := http.NewRequest("GET", "http://h"+target, nil)
		if err != nil || strings.TrimSuffix(r.URL.Path, "/") != strings.TrimSuffix("/"+strings.Join(path, "/"), "/") {
			t.Fatalf("%q: %q, net/http reads %q: %v", target, path, r.URL.Path, err)
		}
	})
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func TestReadBody(t *testing.T) {
	for name, c := range map[string]struct {
		body              []byte
		contentType, code string
		status            int
	}{
		"plain":             {[]byte("{}"), "application/json", "", 0},
		"charset":           {[]byte("{}"), "application/json; charset=UTF-8", "", 0},
		"gzip":              {gzipped([]byte("{}")), "application/json", "gzip", 0},
		"another charset":   {[]byte("{}"), "application/json; charset=utf-16", "", 415},
		"broken type":       {[]byte("{}"), "application/json; =", "", 415},
		"not in its coding": {[]byte("{}"), "application/json", "gzip", 400},
		"cut gzip":          {gzipped([]byte(strings.Repeat("ab", 400)))[:20], "application/json", "gzip", 400},
		"two codings":       {gzipped(gzipped([]byte("{}"))), "application/json", "gzip, gzip", 415},
		"unknown coding":    {[]byte("{}"), "application/json", "br", 415},
		"bomb":              {gzipped(make([]byte, 1<<20)), "application/json", "gzip", 413},
		"too large":         {make([]byte, 1001), "application/json", "", 413},
	} {
		for _, chunked := range []bool{false, true} {
			g := &gate{}
			raw := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Encoding: %s\r\n", c.contentType, c.code)
			if chunked {
				raw = fmt.Appendf(raw, "Transfer-Encoding: chunked\r\n\r\n1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", c.body[:1], len(c.body)-1, c.body[1:])
			} else {
				raw = fmt.Appendf(raw, "Content-Length: %d\r\n\r\n%s", len(c.body), c.body)
			}
			g.in.conn = bytes.NewReader(raw)
			head, err := g.in.head(maxRequestHead)
			if err == nil {
				err = g.head.readHead(head, nil, &g.last)
			}
			if err != nil {
				t.Fatal(err)
			}
			g.body.start(&g.in, g.head.length, false)
			b, typ, err := g.readBody(1000)
			f := &Fault{}
			if err != nil {
				f, _ = faultOf(err)
			} else if string(b) != "{}" || typ != "application/json" || !g.body.over() {
				t.Errorf("%s: %q %s", name, b, typ)
			}
			if f.Status != c.status {
				t.Errorf("%s: %d %s, want %d", name, f.Status, f.Message, c.status)
			}
		}
	}
}

func BenchmarkParseJSON(b *testing.B) {
	src := []byte(`{"query":[` + strings.Repeat("-0.0123456,", 383) + `0.5],"limit":10,"with_payload":true}`)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		v, err := parseJSON(src, 100, buf)
		if err != nil {
			b.Fatal(err)
		}
		buf = v.Raw
	}
}
