package mask

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func nestedDetector(t testing.TB) *Detector {
	t.Helper()
	own, err := NewPattern("EMP-[0-9]{4}")
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDetector([]facts.Detect{
		{Class: "mail", Forms: []string{"email"}, Mask: facts.Mask{Name: "partial"}},
		{Class: "pay", Forms: []string{"card", "iban", "ssn", "staff"}, Mask: facts.Mask{Name: "redact"}},
	}, map[string]*Pattern{"staff": own}, []byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nestedTexts are texts and what becomes of them.
var nestedTexts = map[string]string{
	`write to ana@example.com`:                             `write to a***@example.com`,
	`{"to":"ana@example.com","n":1}`:                       `{"to":"a***@example.com","n":1}`,
	`{"to":"ana\u0040example.com"}`:                        `{"to":"a***@example.com"}`,
	`{"to":"\u0061na\u0040example\u002ecom","x":"\u00e9"}`: `{"to":"a***@example.com","x":"\u00e9"}`,
	`{"note":"pay\n4111111111111111\nnow"}`:                `{"note":"pay\n[redacted]\nnow"}`,
	`{"note":"pay\t4111\u00201111\u00201111\u00201111."}`:  `{"note":"pay\t[redacted]."}`,
	`{"a":"{\"note\":\"pay\\n4111111111111111\"}"}`:        `{"a":"{\"note\":\"pay\\n[redacted]\"}"}`,
	`{"a":"{\"to\":\"ana\\u0040example.com\"}"}`:           `{"a":"{\"to\":\"a***@example.com\"}"}`,
	"```json\n{\"staff\":\"EMP\\u002d1234\"}\n```":         "```json\n{\"staff\":\"[redacted]\"}\n```",
	`a path C:\users\new, \q and \u12 and \ud800x and \`:   `a path C:\users\new, \q and \u12 and \ud800x and \`,
	`\\\\\\`:                    `\\\\\\`,
	`"\ud83d\ude00 EMP-1234"`:   `"\ud83d\ude00 [redacted]"`,
	`\\u0041na\\u0040b.example`: `A***@b.example`,
	`\`:                         `\`, `\u`: `\u`, ``: ``,
}

func TestNested(t *testing.T) {
	d := nestedDetector(t)
	for in, want := range nestedTexts {
		if got := string(d.AppendNested(nil, []byte(in))); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", in, got, want)
		}
		found := d.FindNested([]byte(in))
		if (len(found) > 0) != (in != want) {
			t.Errorf("%s: found %v", in, found)
		}
		for i, f := range found {
			if f.From < 0 || f.From >= f.To || f.To > len(in) || i > 0 && f.From < found[i-1].To || len(f.Forms) == 0 {
				t.Errorf("%s: found %v", in, found)
			}
		}
		if again := string(d.AppendNested(nil, []byte(want))); again != want {
			t.Errorf("%s masked again: %s", want, again)
		}
	}
}

// TestNestedPieces: any cutting of a text gives what the whole gives, and
// nothing is held back for ever.
func TestNestedPieces(t *testing.T) {
	d := nestedDetector(t)
	r := rand.New(rand.NewPCG(1, 2))
	for in, want := range nestedTexts {
		for range 200 {
			s := d.NestedStream()
			var got []byte
			for rest := in; rest != ""; {
				n := 1 + r.IntN(len(rest))
				got, rest = s.Write(got, []byte(rest[:n])), rest[n:]
			}
			if got = s.Flush(got); string(got) != want || s.Held() != 0 {
				t.Fatalf("%s in pieces: %s, held %d", in, got, s.Held())
			}
		}
	}
	s := d.NestedStream()
	held := 0
	for range 2000 {
		s.Write(nil, []byte(`plain words, "quoted\n", and more; `))
		held = max(held, s.Held())
	}
	if held > 200 {
		t.Errorf("%d bytes were held back of plain text", held)
	}
}

// FuzzNested: no value is left where it can be read after undoing the escapes,
// JSON stays JSON, and pieces give what the whole gives.
func FuzzNested(f *testing.F) {
	for in := range nestedTexts {
		f.Add(in, 3)
	}
	d := nestedDetector(f)
	f.Fuzz(func(t *testing.T, in string, cut int) {
		if len(in) > 4096 {
			return
		}
		whole := string(d.AppendNested(nil, []byte(in)))
		s := d.NestedStream()
		n := 0
		if len(in) > 0 {
			n = ((cut % len(in)) + len(in)) % len(in)
		}
		if got := string(s.Flush(s.Write(s.Write(nil, []byte(in[:n])), []byte(in[n:])))); got != whole && strings.Contains(in, `\`) {
			t.Errorf("%q cut at %d: %q, whole %q", in, n, got, whole)
		}
		var v any
		if json.Unmarshal([]byte(in), &v) == nil && json.Unmarshal([]byte(whole), &v) != nil && strings.HasPrefix(in, `"`) {
			t.Errorf("%q is no JSON any more: %q", in, whole)
		}
	})
}
