package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

func TestReaderBounds(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		next bool // the header is taken
		body bool // and the body
	}{
		"plain":     {"Q\x00\x00\x00\x05x", true, true},
		"empty":     {"S\x00\x00\x00\x04", true, true},
		"short":     {"Q\x00\x00\x00\x03", false, false},
		"negative":  {"Q\xff\xff\xff\xff", false, false},
		"2 GB":      {"Q\x7f\xff\xff\xff", false, false},
		"over":      {"Q\x00\x00\x04\x05" + strings.Repeat("x", 1025), true, false},
		"truncated": {"Q\x00\x00\x00\x09x", true, false},
	} {
		for _, slow := range []bool{false, true} {
			var in io.Reader = strings.NewReader(c.in)
			if slow {
				in = iotest.OneByteReader(in)
			}
			r := newReader(in, 1024)
			_, _, err := r.next()
			if (err == nil) != c.next {
				t.Errorf("%s: header: %v", name, err)
			}
			if err == nil {
				if _, err = r.body(); (err == nil) != c.body {
					t.Errorf("%s: body: %v", name, err)
				}
			}
		}
	}
}

// TestReaderStream passes a body larger than the buffer through in pieces.
func TestReaderStream(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 50000)
	r := newReader(bytes.NewReader(append(message('D', body), message('Z', []byte{'I'})...)), 100)
	typ, n, err := r.next()
	if err != nil || typ != 'D' || n != len(body) {
		t.Fatal(typ, n, err)
	}
	var got []byte
	if err := r.stream(func(b []byte) error { got = append(got, b...); return nil }); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if typ, _, err := r.next(); err != nil || typ != 'Z' {
		t.Errorf("%q, %v", typ, err)
	}
}

func TestScrub(t *testing.T) {
	in := []byte("SERROR\x00VERROR\x00C23505\x00Mduplicate key value (123-45-6789)\x00DKey (ssn)=(123-45-6789) already exists.\x00Hsecret\x00Wcontext secret\x00qSELECT secret\x00P7\x00p9\x00spublic\x00tcustomers\x00cssn\x00ncustomers_ssn\x00Ffile\x00\x00")
	out := string(scrub(nil, in, 'E'))
	for _, gone := range []string{"123", "secret", "already", "P7", "p9"} {
		if strings.Contains(out, gone) {
			t.Errorf("%q stays in %q", gone, out)
		}
	}
	for _, stays := range []string{"C23505\x00", "Munique violation\x00", "tcustomers\x00", "cssn\x00", "ncustomers_ssn\x00", "VERROR\x00"} {
		if !strings.Contains(out, stays) {
			t.Errorf("%q is gone from %q", stays, out)
		}
	}
	if got := string(scrub(nil, []byte("Mno code\x00"), 'E')); !strings.Contains(got, "CXX000") || strings.Contains(got, "no code") {
		t.Errorf("%q", got)
	}
}

// TestConstantsAreValid: pgx decodes redact's constant of each type in both
// formats.
func TestConstantsAreValid(t *testing.T) {
	m := pgtype.NewMap()
	for oid, name := range builtinTypes {
		if oid == 2249 || oid == 2278 || oid == 790 {
			continue // pseudo-types, and money, which pgx does not know
		}
		typ := "pg_catalog." + name
		compiled, err := mask.Compile(facts.Mask{Name: "redact"}, kindOf(typ), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []int16{0, 1} {
			cell, err := newCellMask(compiled, typ, format, "ISO, MDY")
			if err != nil {
				t.Errorf("%s, format %d: %v", name, format, err)
				continue
			}
			for _, in := range [][]byte{nil, []byte("x"), []byte("\x00\x00\x00\x01")} {
				out, null, err := cell(nil, in, in == nil)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if null {
					continue
				}
				dt, ok := m.TypeForOID(oid)
				if !ok {
					t.Fatalf("pgx does not know %s", name)
				}
				if _, err := dt.Codec.DecodeValue(m, oid, format, out); err != nil {
					t.Errorf("%s, format %d: %q: %v", name, format, out, err)
				}
			}
		}
	}
}

// TestBinaryText: what pgx encodes is rendered as PostgreSQL writes it.
func TestBinaryText(t *testing.T) {
	m := pgtype.NewMap()
	for _, c := range []struct {
		oid   uint32
		value any
		want  string
	}{
		{23, int32(-7), "-7"}, {21, int16(300), "300"}, {20, int64(1) << 40, "1099511627776"}, {16, true, "true"}, {25, "é'x", "é'x"},
		{701, 1.5, "1.5"}, {700, float32(-0.25), "-0.25"}, {1700, "12345.678", "12345.678"}, {1700, "-0.0001", "-0.0001"}, {1700, "100000000", "100000000"},
		{1700, "0", "0"}, {1700, "NaN", "NaN"}, {1082, "2026-11-24", "2026-11-24"}, {1114, "2026-11-24 10:11:12.5", "2026-11-24 10:11:12.5"},
		{2950, "01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"}, {3802, `{"a": 1}`, `{"a": 1}`},
	} {
		value := c.value
		if s, ok := value.(string); ok && c.oid != 25 && c.oid != 3802 {
			// From text to binary by pgx's own codec.
			dt, _ := m.TypeForOID(c.oid)
			v, err := dt.Codec.DecodeValue(m, c.oid, 0, []byte(s))
			if err != nil {
				t.Fatal(err)
			}
			value = v
		}
		if c.oid == 3802 {
			value = []byte(c.value.(string))
		}
		b, err := m.Encode(c.oid, 1, value, nil)
		if err != nil {
			t.Fatalf("%d %v: %v", c.oid, c.value, err)
		}
		got, ok := binaryText(nil, c.oid, b)
		if !ok || string(got) != c.want {
			t.Errorf("type %d: %q (%v), want %q", c.oid, got, ok, c.want)
		}
		for n := range b { // cut short: no panic
			_, _ = binaryText(nil, c.oid, b[:n])
		}
	}
}

func TestCopyFormats(t *testing.T) {
	star := func(dst, _ []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		return append(dst, "a\tb\\\"\n,é"...), false, nil
	}
	for _, c := range []struct {
		f        facts.CopyFormat
		in, want string
	}{
		{facts.CopyFormat{Format: "text", Delimiter: '\t', Null: `\N`}, "1\tsecret\t\\N\n", "1\ta\\tb\\\\\"\\n,é\t\\N\n"},
		{facts.CopyFormat{Format: "text", Delimiter: '\t', Null: `\N`}, "a\\tb\\\\\tse\\tcret\tx\n", "a\\tb\\\\\ta\\tb\\\\\"\\n,é\tx\n"},
		{facts.CopyFormat{Format: "text", Delimiter: '\t', Null: `\N`}, "1\t\\N\tx\n", "1\t\\N\tx\n"},
		{facts.CopyFormat{Format: "csv", Delimiter: ',', Quote: '"', Escape: '"'}, "1,\"se\"\"cr,\net\",\n", "1,\"a\tb\\\"\"\n,é\",\n"},
		{facts.CopyFormat{Format: "csv", Delimiter: ',', Quote: '"', Escape: '"', ForceQuote: []bool{true, false, false}}, "\"1\",,\"\"\n", "\"1\",,\"\"\n"},
	} {
		out := &copyOut{f: &c.f, cells: []cellMask{nil, star, nil}, masked: true}
		got, err := out.row(nil, []byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %q: %q, %v; want %q", c.f.Format, c.in, got, err, c.want)
		}
	}
	out := &copyOut{f: &facts.CopyFormat{Format: "text", Delimiter: '\t'}, cells: []cellMask{nil, star}, masked: true}
	for _, bad := range []string{"", "1\tx", "1\n", "1\t2\t3\n"} {
		if _, err := out.row(nil, []byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSplitPath(t *testing.T) {
	for in, want := range map[string]string{
		`"$user", public`: "$user|public", "": "", `a, "B ""c", D`: `a|B "c|d`, `""`: "", "pg_temp,x": "pg_temp|x",
	} {
		if got := strings.Join(splitPath(in), "|"); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// dataRow is a DataRow's body.
func dataRow(cells ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(cells)))
	for _, c := range cells {
		b = binary.BigEndian.AppendUint32(b, uint32(len(c)))
		b = append(b, c...)
	}
	return b
}

func maskedResult(t testing.TB, n int) *result {
	t.Helper()
	m, err := mask.Compile(facts.Mask{Name: "partial"}, facts.KindText, nil)
	if err != nil {
		t.Fatal(err)
	}
	cell, err := newCellMask(m, "pg_catalog.text", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	r := &result{columns: make([]column, n), cells: make([]cellMask, n)}
	r.cells[n-1] = cell
	return r
}

func TestMaskRow(t *testing.T) {
	r := maskedResult(t, 2)
	out, err := r.mask(nil, dataRow("1", "ana@example.com"))
	if err != nil || !bytes.Equal(out, message('D', dataRow("1", "a***@example.com"))) {
		t.Errorf("%q, %v", out, err)
	}
	whole := dataRow("1", "ana@example.com")
	for n := range whole {
		if _, err := r.mask(nil, whole[:n]); !errors.Is(err, errRow) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := r.mask(nil, append(whole, 0)); !errors.Is(err, errRow) {
		t.Error("a byte too many was taken")
	}
}

func FuzzMaskRow(f *testing.F) {
	f.Add(dataRow("1", "ana@example.com"))
	f.Add([]byte("\x00\x02\xff\xff\xff\xff\x80\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		out, err := maskedResult(t, 2).mask(nil, body)
		if err == nil {
			if _, err := parseRow(out[5:]); err != nil {
				t.Errorf("%q became %q: %v", body, out, err)
			}
		}
	})
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x03\x00\x00user\x00ana\x00options\x00-c a=b\x00\x00"))
	f.Add([]byte("\x04\xd2\x16\x2e12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStartup(b); err == nil && s.cancel == "" {
			for i, n := range s.names {
				_ = checkSetting(n, s.values[i])
			}
		}
	})
}

func FuzzUpstreamMessages(f *testing.F) {
	f.Add([]byte("\x00\x01name\x00\x00\x00\x40\x00\x00\x01\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"))
	f.Add([]byte("SERROR\x00C23505\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseColumns(b)
		_ = readReport(b)
		_ = scrub(nil, b, 'E')
		_, _ = parseRow(b)
		_ = splitPath(string(b))
		r := newReader(bytes.NewReader(b), 1<<16)
		for {
			if _, _, err := r.next(); err != nil {
				return
			}
			if _, err := r.body(); err != nil {
				return
			}
		}
	})
}

func FuzzCopy(f *testing.F) {
	f.Add("1\tx\n", true)
	f.Add("1,\"x\"\n", false)
	f.Fuzz(func(t *testing.T, row string, text bool) {
		cf := facts.CopyFormat{Format: "csv", Delimiter: ',', Quote: '"', Escape: '"'}
		if text {
			cf = facts.CopyFormat{Format: "text", Delimiter: '\t', Null: `\N`}
		}
		// Unmasked fields must come out meaning the same.
		same := func(dst, cell []byte, null bool) ([]byte, bool, error) { return append(dst, cell...), null, nil }
		first := &copyOut{f: &cf, cells: []cellMask{same, same}}
		out, err := first.row(nil, []byte(row))
		if err != nil {
			return
		}
		second := &copyOut{f: &cf, cells: []cellMask{same, same}}
		again, err := second.row(nil, out)
		if err != nil || !bytes.Equal(out, again) {
			t.Errorf("%q became %q became %q, %v", row, out, again, err)
		}
		_, _ = (&copyOut{f: &facts.CopyFormat{Format: "binary"}, cells: []cellMask{same}}).binary(nil, []byte(row))
	})
}

// BenchmarkMaskRow is the row path with one of five columns masked.
func BenchmarkMaskRow(b *testing.B) {
	r := maskedResult(b, 5)
	body := dataRow("123456", "7654321", "name 123456", "2026-11-24 10:00:00+00", "user123456@example.com")
	out := make([]byte, 0, 256)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = r.mask(out[:0], body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelay is the row path with nothing masked.
func BenchmarkRelay(b *testing.B) {
	row := message('D', dataRow("123456", "7654321", "name 123456", "2026-11-24 10:00:00+00", "user123456@example.com"))
	in := bytes.Repeat(row, 1000)
	s := &session{ur: newReader(&endless{b: in}, 1<<20), out: make([]byte, 0, 2*bufferSize), res: &result{ticket: counter{}}}
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	for b.Loop() {
		_, n, err := s.ur.next()
		if err == nil {
			err = s.row(n)
		}
		if err != nil {
			b.Fatal(err)
		}
		if len(s.out) > bufferSize-1024 {
			s.out = s.out[:0]
		}
	}
}

// endless repeats its bytes.
type endless struct {
	b  []byte
	at int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[e.at:])
	e.at = (e.at + n) % len(e.b)
	return n, nil
}

// counter is a ticket that lets rows pass.
type counter struct{ protocols.Ticket }

func (counter) Row(int) (bool, error) { return false, nil }

// TestCounts: a count of 16 bits has no sign, and is checked against what
// follows.
func TestCounts(t *testing.T) {
	for n, follows := range map[int]int{0: 0, 1: 2, 1665: 3330, 32768: 65536, 65535: 131070} {
		head := []byte{byte(n >> 8), byte(n)}
		f := fields{b: append(head, make([]byte, follows)...)}
		if got := f.count(2); got != n || f.bad {
			t.Errorf("%d things in %d bytes: %d, bad %v", n, follows, got, f.bad)
		}
		if n > 0 {
			f = fields{b: append(head, make([]byte, follows-1)...)}
			if got := f.count(2); got != 0 || !f.bad {
				t.Errorf("%d things in %d bytes pass as %d", n, follows-1, got)
			}
		}
	}
}

// TestSettleCatchesUp: an answer that comes between the beginning of a message
// and the decision on it counts for that decision (FETCH, sent with its DECLARE).
func TestSettleCatchesUp(t *testing.T) {
	for _, all := range []bool{false, true} {
		s := &session{q: newQueue()}
		s.q.catchUp(s) // as a message is begun
		done := false
		s.q.push(&expect{kind: expectQuery})
		s.q.later(effectFunc(func() { done = true }), false)
		s.q.pop()
		if ok, err := s.settle(all); !ok || err != nil || !done {
			t.Errorf("all %v: %v, %v, done %v", all, ok, err, done)
		}
	}
}
