package mask

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// detector looks for the forms and writes <form> for a value of the mask tag,
// so that a test sees what was found.
func detector(t testing.TB, forms ...string) *Detector {
	t.Helper()
	patterns := map[string]*Pattern{}
	for name, expr := range map[string]string{"employee": `EMP-[0-9]{4,6}`, "hash": `#[a-z]{3}`} {
		p, err := NewPattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		patterns[name] = p
	}
	d, err := NewDetector([]facts.Detect{{Class: "x", Forms: forms, Mask: facts.Mask{Name: "redact"}}}, patterns, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----"

func TestForms(t *testing.T) {
	const x = "[redacted]"
	for _, tt := range []struct{ form, in, want string }{
		{"email", "write to ana@example.com.", "write to " + x + "."},
		{"email", "<a.b+c@mail.example.co.uk>", "<" + x + ">"},
		{"email", "é@bücher.example, x", x + ", x"},
		{"email", "请联系ana@example.com", x},
		{"email", strings.Repeat("字", 100) + "ana@example.com", strings.Repeat("字", 100) + x},
		{"email", "to=ana@example.com&x", "to=" + x + "&x"},
		{"email", "a@b c@d. @example.com user@host user@1.2.3.4", "a@b c@d. @example.com user@host user@1.2.3.4"},
		{"email", "ana@example.com@example.org", x},
		{"email", strings.Repeat("a", 200) + "@example.com", strings.Repeat("a", 200) + "@example.com"},
		{"card", "4111 1111 1111 1111", x},
		{"card", "card:4111-1111-1111-1111;", "card:" + x + ";"},
		{"card", "no 12 4111111111111111 2025", "no 12 " + x + " 2025"},
		{"card", "378282246310005 30569309025904 6011111111111117 5555555555554444", x + " " + x + " " + x + " " + x},
		{"card", "4111 1111 1111 1112", "4111 1111 1111 1112"},
		{"card", "1234567890123452", "1234567890123452"}, // Luhn, but nobody's
		{"card", "41111111111111111111", "41111111111111111111"},
		{"card", "0.4111111111111111", "0.4111111111111111"},
		{"iban", "DE89 3704 0044 0532 0130 00.", x + "."},
		{"iban", "gb82west12345698765432", x},
		{"iban", "DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130 01"},
		{"iban", "XDE89370400440532013000 DE893704004405320130000", "XDE89370400440532013000 DE893704004405320130000"},
		{"phone", "+49 (30) 901820-17 x", x + " x"},
		{"phone", "call (202) 555-0123 or 202.555.0123 or 1-202-555-0123", "call " + x + " or " + x + " or " + x},
		{"phone", "0049 30 901820", x},
		{"phone", "2024-01-15 10:30:00, 192.168.100.200, 1234567890, 3.14159265358979, +1 12", "2024-01-15 10:30:00, 192.168.100.200, 1234567890, 3.14159265358979, +1 12"},
		{"ssn", "ssn 078-05-1120.", "ssn " + x + "."},
		{"ssn", "078 05 1120", x},
		{"ssn", "000-12-3456 666-12-3456 123-00-4567 123-45-0000 123-45 6789 a123-45-6789 123-45-67890", "000-12-3456 666-12-3456 123-00-4567 123-45-0000 123-45 6789 a123-45-6789 123-45-67890"},
		{"secret", "key sk-abcdefghijklmnopqrst, x", "key " + x + ", x"},
		{"secret", "AKIAIOSFODNN7EXAMPLE ghp_0123456789abcdefghijABCDEFGHIJ012345", x + " " + x},
		{"secret", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U.", "Bearer " + x + "."},
		{"secret", "a " + pem + " b", "a " + x + " b"},
		{"secret", "postgres://app:hunter2@db/app", "postgres" + x + "@db/app"},
		{"secret", "sk-short task-abcdefghijklmnopqrst -----BEGIN CERTIFICATE----- https://example.com:80/a@b", "sk-short task-abcdefghijklmnopqrst -----BEGIN CERTIFICATE----- https://example.com:80/a@b"},
		{"secret", "-----BEGIN PRIVATE KEY-----\nMIIE", x},
		{"secret", "sk-" + strings.Repeat("a", 3*maxHeld) + " b", x + " b"},
		{"employee", "EMP-1234, EMP-12, XEMP-1234, EMP-1234567 EMP-123456", x + ", EMP-12, XEMP-1234, EMP-1234567 " + x},
		{"hash", "a#abc #abcd #abc", "a" + x + " #abcd " + x},
	} {
		d := detector(t, tt.form)
		if got, _ := d.Append(nil, []byte(tt.in)); string(got) != tt.want {
			t.Errorf("%s in %.80q: %.120q, want %.120q", tt.form, tt.in, got, tt.want)
		}
	}
}

func TestOverlappingValuesAreOne(t *testing.T) {
	d, err := NewDetector([]facts.Detect{
		{Class: "tel", Forms: []string{"phone"}, Mask: facts.Mask{Name: "partial"}},
		{Class: "pay", Forms: []string{"card"}, Mask: facts.Mask{Name: "hash"}},
	}, nil, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	in := []byte("+49 4111 1111 1111 1111")
	found := d.Find(in)
	if len(found) != 1 || found[0].To != len(in) || len(found[0].Forms) != 2 {
		t.Errorf("%+v", found)
	}
	if got, _ := d.Append(nil, in); len(got) != 16 { // the stricter mask, over both
		t.Errorf("%q", got)
	}
	if got, _ := d.Append(nil, []byte("+49 30 901820")); string(got) != "****1820" {
		t.Errorf("%q", got)
	}
}

func TestDetectorRefuses(t *testing.T) {
	for _, expr := range []string{"a+", "a*", "a{2,}", "^a", `\ba`, "a?", "(", "a{600}"} {
		if _, err := NewPattern(expr); err == nil {
			t.Errorf("%q was taken", expr)
		}
	}
	if _, err := NewDetector([]facts.Detect{{Class: "c", Forms: []string{"nope"}, Mask: facts.Mask{Name: "redact"}}}, nil, nil); err == nil {
		t.Error("an unknown form was taken")
	}
	if _, err := NewDetector([]facts.Detect{{Class: "c", Forms: []string{"card"}, Mask: facts.Mask{Name: "bucket"}}}, nil, nil); err == nil {
		t.Error("a mask that does not fit text was taken")
	}
	d, err := NewDetector(nil, nil, nil)
	if err != nil || d != nil {
		t.Errorf("%v, %v", d, err)
	}
	if got := d.Stream().Flush(d.Stream().Write(nil, []byte("a@b.example"))); string(got) != "a@b.example" {
		t.Errorf("without forms: %q", got)
	}
}

var allForms = append(Forms(), "employee", "hash")

// streamed masks the text cut at random places.
func streamed(t testing.TB, d *Detector, in []byte, r *rand.Rand) []byte {
	t.Helper()
	s := d.Stream()
	var out []byte
	for rest := in; len(rest) > 0; {
		n := min(len(rest), 1+r.IntN(12))
		out = s.Write(out, rest[:n])
		rest = rest[n:]
		if s.Held() > maxHeld+maxSpan+longestPattern {
			t.Fatalf("%d bytes are held back", s.Held())
		}
	}
	return s.Flush(out)
}

func TestAnyChunkingIsTheSame(t *testing.T) {
	d := detector(t, allForms...)
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"ana@example.com", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+49 30 901820-17", "(202) 555-0123", "078-05-1120",
		"sk-abcdefghijklmnopqrst", pem, "postgres://a:b@c", "EMP-12345", "#abc", " ", ", ", "é", "字", "@", ".", "-", "1", "4", "a", "hello", "\n", "+", "(", "DE", "-----", "://"}
	for range 20000 {
		var b []byte
		for range 1 + r.IntN(10) {
			b = append(b, pieces[r.IntN(len(pieces))]...)
		}
		whole, _ := d.Append(nil, b)
		if got := streamed(t, d, b, r); !bytes.Equal(got, whole) {
			t.Fatalf("%q: streamed %q, whole %q", b, got, whole)
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"ana@example.com", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+49 30 901820-17 (202) 555-0123", "078-05-1120", "sk-abcdefghijklmnopqrst " + pem, "EMP-12345#abc"} {
		f.Add([]byte(s), uint64(1))
	}
	d := detector(f, allForms...)
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		whole, n := d.Append(nil, in)
		if n == 0 && !bytes.Equal(whole, in) {
			t.Fatalf("nothing found, and yet %q became %q", in, whole)
		}
		at := 0
		for _, v := range d.Find(in) {
			if v.From < at || v.To <= v.From || v.To > len(in) || len(v.Forms) == 0 {
				t.Fatalf("found %+v in %q", v, in)
			}
			at = v.To
		}
		if got := streamed(t, d, in, rand.New(rand.NewPCG(seed, 0))); !bytes.Equal(got, whole) {
			t.Fatalf("%q: streamed %q, whole %q", in, got, whole)
		}
	})
}

// TestDetectIsLinear shows that no text makes the work grow faster than it.
func TestDetectIsLinear(t *testing.T) {
	d := detector(t, allForms...)
	for _, unit := range []string{"a", "1", "1 ", "a.", "a@", "é", "aé", "a@b.", "-", "-----BEGIN ", "sk-", "sk-a ", "+1", "(2", "://", "a://b:", "EMP-", "#ab", "4-", "DE89 "} {
		in := []byte(strings.Repeat(unit, 1<<20/len(unit)))
		began := time.Now()
		d.Append(nil, in)
		if took := time.Since(began); took > 20*time.Second { // about a second even with -race
			t.Errorf("1 MB of %q took %v", unit, took)
		}
	}
}

func BenchmarkDetect(b *testing.B) {
	d := detector(b, Forms()...)
	text := []byte(strings.Repeat("The quick brown fox, order 1234 of 2024-01-15, wrote to ana@example.com about 12.50 EUR. ", 12))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out, _ = d.Append(out[:0], text)
	}
}
