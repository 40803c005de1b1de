package mysql

import (
	"bytes"
	"io"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// FuzzClientMessages: whatever a client sends is read or refused, and nothing panics.
func FuzzClientMessages(f *testing.F) {
	f.Add([]byte("\x85\xa6\xff\x01\x00\x00\x00\x01\x2d00000000000000000000000alice\x00\x14aaaaaaaaaaaaaaaaaaaashop\x00mysql_native_password\x00\x05\x01a\x02bb"), uint32(offered))
	f.Add([]byte("\x01\x01\x00\x01\x03\x00\x01a\x07\x00\x00\x00SELECT 1"), uint32(capQueryAttributes))
	f.Add([]byte("\x00\x01\xfe\x00\x03abc"), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, caps uint32) {
		if l, err := parseLogin(b); err == nil {
			l.options()
		}
		_, _ = queryText(b, caps)
		st := &statement{params: 3}
		if len(b) > 0 {
			_, _ = st.parseParams(&fields{b: b[1:]}, b[0], caps, map[int][]byte{1: []byte("x")})
			_, _ = st.parseParams(&fields{b: b[1:]}, b[0], caps, nil)
		}
	})
}

// FuzzServerMessages is the same for what a hostile server sends.
func FuzzServerMessages(f *testing.F) {
	f.Add([]byte("\x0a5.5.5-10.11.6-MariaDB\x00\x01\x00\x00\x00aaaaaaaa\x00\xfe\xf7\x2d\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00bbbbbbbbbbbb\x00mysql_native_password\x00"), uint32(offered))
	f.Add([]byte("\x00\x01\x00\x02\x40\x00\x00\x00\x0b\x00\x09\x08sql_mode\x00"), uint32(capSessionTrack))
	f.Add([]byte("\xff\x48\x04#HY000no"), uint32(0))
	f.Add([]byte("\x03def\x01s\x01t\x01o\x01n\x01c\x0c\x21\x00\x00\x00\x00\x00\xfd\x00\x00\x00\x00\x00"), uint32(0))
	f.Add([]byte(`{"query_block": {"nested_loop": [{"table": {"rows": 5, "filtered": 50}}], "cost_info": {"query_cost": "1.5"}}}`), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, caps uint32) {
		_, _ = parseGreeting(b)
		if e, err := parseOK(b, caps); err == nil {
			_ = changes(e.state, func(string, string) {})
			hide(&e)
			appendOK(nil, headOK, &e, caps)
		}
		_, _ = parseEnd(b, caps)
		_, _ = parseErr(b)
		if n, err := columnCount(b); err == nil && n > maxColumns {
			t.Fatal("a count over the bound")
		}
		if c, err := parseColumn(b); err == nil {
			again, err := parseColumn(appendColumn(nil, &c))
			if err != nil || again != c {
				t.Fatalf("%+v is written as %+v", c, again)
			}
		}
		readPlan(b)
	})
}

// FuzzRows: a row is masked into one that reads as well as it did, in both formats.
func FuzzRows(f *testing.F) {
	f.Add([]byte("\x011\x03abc\xfb\x0a2026-01-02"), false)
	f.Add([]byte("\x00\x00\x01\x00\x00\x00\x03abc\x01x\x04\xea\x07\x01\x02"), true)
	f.Fuzz(func(t *testing.T, b []byte, inBinary bool) {
		r := &result{binary: inBinary, columns: []column{{typ: typeLong}, {typ: typeVarString, collation: 45}, {typ: typeVarString, collation: 45}, {typ: typeDate}}}
		text := func(dst, _ []byte) []byte { return append(dst, "masked"...) }
		masks := []*mask.Mask{{Int: func(n int64) int64 { return n / 10 }}, {Text: text}, {Const: &mask.Value{Text: "[redacted]"}}, {Micros: func(n int64) int64 { return 0 }}}
		r.cells = make([]cellMask, 4)
		for i, m := range masks {
			var err error
			if r.cells[i], err = newCellMask(m, &r.columns[i], inBinary); err != nil {
				t.Fatal(err)
			}
		}
		_, bad := r.split(b)
		out, err := r.mask(nil, b)
		if (err == nil) != (bad == nil) && bad != nil {
			t.Fatalf("%q is masked and cannot be read: %v", b, bad)
		}
		if err != nil {
			return
		}
		cells, err := r.split(out)
		if err != nil {
			t.Fatalf("%q is masked to %q, which cannot be read: %v", b, out, err)
		}
		if string(cells[2]) != "[redacted]" || cells[1] != nil && string(cells[1]) != "masked" {
			t.Fatalf("%q is masked to %q", b, out)
		}
	})
}

// FuzzFraming: messages come out of packets as they went in, however they are cut.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("\x05\x00\x00\x00\x03DO 1\x00\x00\x00\x01"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		r := newReader(&slow{b: b, n: int(cut%16) + 1}, 1<<16)
		for {
			n, err := r.next()
			if err != nil {
				return
			}
			if n > 1<<16 {
				_ = r.stream(func([]byte) error { return nil })
				continue
			}
			body, err := r.body()
			if err != nil {
				return
			}
			if len(body) > 1<<16 {
				t.Fatal("a message over the limit is held")
			}
		}
	})
}

// slow gives a few bytes at a time.
type slow struct {
	b []byte
	n int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.n)], s.b)
	s.b = s.b[n:]
	return n, nil
}

// TestPackets: messages around 16 MB are cut into packets and put together again.
func TestPackets(t *testing.T) {
	for _, n := range []int{0, 1, maxPacket - 1, maxPacket, maxPacket + 1, 2 * maxPacket} {
		var seq byte
		body := bytes.Repeat([]byte{'x'}, n)
		out := appendMessage(nil, &seq, body)
		r := newReader(bytes.NewReader(out), 1<<26)
		if _, err := r.next(); err != nil {
			t.Fatal(err)
		}
		got, err := r.body()
		if err != nil || !bytes.Equal(got, body) || r.seq != seq {
			t.Errorf("%d bytes come out as %d: %v", n, len(got), err)
		}
		r = newReader(bytes.NewReader(out), 100)
		if _, err = r.next(); err == nil {
			_, err = r.body()
		}
		if (err == nil) != (n <= 100) {
			t.Errorf("%d bytes under a limit of 100: %v", n, err)
		}
	}
}

// TestCells: each mask on each type that it fits, in both formats; the constant is valid for the type.
func TestCells(t *testing.T) {
	date := []byte{0xea, 7, 3, 4}
	for _, c := range []struct {
		name   string
		column column
		mask   *mask.Mask
		binary bool
		in     string
		want   string
	}{
		{"bigint", column{typ: typeLongLong}, &mask.Mask{Const: &mask.Value{Text: "0"}}, true, "\x05\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"tinyint", column{typ: typeTiny}, &mask.Mask{Int: func(n int64) int64 { return 1000 }}, true, "\x05", "\x7f"},
		{"unsigned tinyint", column{typ: typeTiny, flags: flagUnsigned}, &mask.Mask{Int: func(n int64) int64 { return n - 200 }}, true, "\xff", "\x37"},
		{"unsigned bigint", column{typ: typeLongLong, flags: flagUnsigned}, &mask.Mask{Int: func(n int64) int64 { return n }}, false, "18446744073709551615", "9223372036854775807"},
		{"double", column{typ: typeDouble}, &mask.Mask{Decimal: func(dst, src []byte) []byte { return append(dst, "2.5"...) }}, true, "\x00\x00\x00\x00\x00\x00\xf0\x3f", "\x00\x00\x00\x00\x00\x00\x04\x40"},
		{"date", column{typ: typeDate}, &mask.Mask{Micros: func(n int64) int64 { return n - n%(86400*1e6) - 3*86400*1e6 }}, true, string(date), "\xea\x07\x03\x01"},
		{"date", column{typ: typeDate}, &mask.Mask{Const: &mask.Value{Text: "1970-01-01"}}, true, string(date), "\xb2\x07\x01\x01"},
		{"datetime", column{typ: typeDatetime}, &mask.Mask{Const: &mask.Value{Text: "1970-01-01 00:00:00"}}, true, "", "\xb2\x07\x01\x01\x00\x00\x00"},
		{"datetime", column{typ: typeDatetime}, &mask.Mask{Micros: func(int64) int64 { return 0 }}, false, "2026-03-04 05:06:07.5", "1970-01-01 00:00:00"},
		{"blob", column{typ: typeBlob, collation: collationBinary}, &mask.Mask{Const: &mask.Value{}}, true, "secret", ""},
	} {
		f, err := newCellMask(c.mask, &c.column, c.binary)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if out, null, err := f(nil, []byte(c.in), false); err != nil || null || string(out) != c.want {
			t.Errorf("%s: %q becomes %q, %v, %v; want %q", c.name, c.in, out, null, err, c.want)
		}
	}
	wide := column{typ: typeVarString, collation: 35} // ucs2
	if _, err := newCellMask(&mask.Mask{Const: &mask.Value{Text: "x"}}, &wide, false); err == nil {
		t.Error("ASCII passes for UCS-2")
	}
	enum := column{typ: typeString, flags: flagEnum}
	if enum.kind() != facts.KindOther {
		t.Error("an enum takes any text")
	}
}

// BenchmarkRows is the row path without sockets: a row of five columns relayed, and with one masked.
func BenchmarkRows(b *testing.B) {
	row := []byte("\x0512345\x0fada@example.org\x0cAda Lovelace\x072500.50\x132026-01-02 03:04:05")
	binaryRow := append([]byte("\x00\x00\x39\x30\x00\x00"), "\x0fada@example.org\x0cAda Lovelace\x072500.50\x07\xea\x07\x01\x02\x03\x04\x05"...)
	columns := []column{{typ: typeLong}, {typ: typeVarString, collation: 45}, {typ: typeVarString, collation: 45}, {typ: typeNewDecimal}, {typ: typeDatetime}}
	for _, c := range []struct {
		name   string
		row    []byte
		binary bool
		masked bool
	}{{"clear", row, false, false}, {"masked text", row, false, true}, {"masked binary", binaryRow, true, true}} {
		b.Run(c.name, func(b *testing.B) {
			r := &result{columns: columns, binary: c.binary, cells: make([]cellMask, len(columns))}
			m, err := newCellMask(&mask.Mask{Text: func(dst, src []byte) []byte { return append(dst, src[bytes.IndexByte(src, '@'):]...) }}, &columns[1], c.binary)
			if err != nil {
				b.Fatal(err)
			}
			r.cells[1] = m
			var seq byte
			packets := bytes.Repeat(appendMessage(nil, new(byte), c.row), 1000)
			for i, n := 0, len(packets)/1000; i < 1000; i++ {
				packets[i*n+3] = byte(i)
			}
			src := bytes.NewReader(packets)
			in := newReader(src, 1<<20)
			out := make([]byte, 0, 2*bufferSize)
			b.SetBytes(int64(len(c.row)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%1000 == 0 {
					src.Reset(packets)
					in.seq = 0
				}
				if _, err := in.next(); err != nil {
					b.Fatal(err)
				}
				body, err := in.body()
				if err != nil {
					b.Fatal(err)
				}
				if !c.masked {
					out = appendMessage(out, &seq, body)
				} else {
					var at int
					out, at = beginPacket(out)
					if out, err = r.mask(out, body); err != nil {
						b.Fatal(err)
					}
					out = endPacket(out, at, &seq)
				}
				if len(out) > bufferSize {
					out = out[:0]
				}
			}
		})
	}
}
