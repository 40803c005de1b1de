package replay

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// shape is a way of storing transcripts that all tests of the format go through.
type shape struct {
	name       string
	change     func(*Options)
	identities []age.Identity
}

func shapes(t testing.TB) []shape {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	check(t, err)
	encrypted := func(o *Options) { o.Recipients = []age.Recipient{id.Recipient()} }
	return []shape{
		{"plain", func(*Options) {}, nil},
		{"parts", func(o *Options) { o.PartSize = 1 }, nil}, // a part a frame
		{"encrypted", encrypted, []age.Identity{id}},
		{"encrypted parts", func(o *Options) { encrypted(o); o.PartSize = 1 }, []age.Identity{id}},
	}
}

func testDir(t testing.TB, s shape) (*Dir, ed25519.PublicKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	check(t, err)
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	opt := Options{Key: key, Now: func() time.Time { at = at.Add(time.Millisecond); return at }}
	s.change(&opt)
	d, err := OpenDir(t.TempDir(), opt)
	check(t, err)
	d.frame = frameSize / 4 // several are soon filled
	return d, pub
}

func (d *Dir) now() time.Time { return d.opt.Now() }

func begin() error { return nil }

// session writes a transcript of n statements; with end it is closed.
func session(t testing.TB, d *Dir, id string, n int, end bool) string {
	t.Helper()
	w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: id, Target: "app", Identity: &facts.Identity{Name: "ana"}}, begin)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := int64(i + 1)
		check(t, w.Append(testStatement(d, id)))
		check(t, w.AppendRow(id, []string{"?column?"}, [][]byte{fmt.Appendf(nil, "%d \"\\\n\xff é", i)}))
		check(t, w.AppendRow(id, nil, [][]byte{nil}))
		check(t, w.Append(&Event{Type: TypeComplete, At: d.now(), ID: id, Tag: "SELECT 2", Rows: 2}))
		check(t, w.Flush())
	}
	w.mu.Lock()
	check(t, w.sealed())
	w.mu.Unlock()
	if end {
		check(t, w.Close(&Event{Type: TypeClose, At: d.now(), Statements: int64(n)}, func(head Head) error {
			read, err := ReadHead(w.path + ".transcript")
			if err == nil && read != head {
				t.Errorf("head %+v, closed with %+v: %v", read, head, err)
			}
			return err
		}))
	}
	return w.path + ".transcript"
}

// testStatement is one of a session's; one in five is like no other.
func testStatement(d *Dir, id int64) *Event {
	e := &Event{Type: TypeStatement, At: d.now(), ID: id, Kind: "query", Text: fmt.Sprintf("SELECT %d", id-1), Policy: "p1", Catalog: "c1",
		SearchPath: []string{"pg_catalog", "public"}, Role: "app", Facts: []byte(`{"effects":[{"action":"read"}]}`), Decision: []byte(`{"verdict":"allow"}`)}
	switch id % 5 {
	case 2:
		e.InTransaction = true
	case 3:
		e.Facts = fmt.Appendf(nil, `{"effects":[{"action":"read","limit":%d}]}`, id)
	}
	return e
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func texts(t testing.TB, path string, s shape) []string {
	t.Helper()
	var out []string
	check(t, Read(path, s.identities, func(e *Event) error {
		if e.Type == TypeStatement {
			out = append(out, e.Text)
		}
		return nil
	}))
	return out
}

// each runs a test for every shape.
func each(t *testing.T, f func(t *testing.T, s shape)) {
	for _, s := range shapes(t) {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

func TestRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		d, pub := testDir(t, s)
		path := session(t, d, "s1", 3000, true) // several frames
		if got := texts(t, path, s); len(got) != 3000 || got[2999] != "SELECT 2999" {
			t.Errorf("%d statements", len(got))
		}
		parts, err := Parts(path)
		check(t, err)
		r, err := Verify(path, pub, s.identities)
		check(t, err)
		if !r.OK() || r.Frames < 2 || !r.Ended || r.Encrypted || d.opt.PartSize > 0 && len(parts) != r.Frames || d.opt.PartSize == 0 && len(parts) != 1 {
			t.Errorf("%d parts: %+v", len(parts), r)
		}
		blind, err := Verify(path, pub, nil)
		check(t, err)
		if !blind.OK() || blind.Events != r.Events || !blind.Ended || blind.Head != r.Head || blind.Encrypted != (s.identities != nil) {
			t.Errorf("without identities: %+v", blind)
		}
		if err := Read(path, nil, func(*Event) error { return nil }); errors.Is(err, ErrEncrypted) != (s.identities != nil) {
			t.Errorf("reading without identities: %v", err)
		}
		live := session(t, d, "s2", 3, false)
		if got := texts(t, live, s); len(got) != 3 {
			t.Errorf("%d statements of a live session", len(got))
		}
		if r, err := Verify(live, pub, nil); err != nil || !r.OK() || !r.Live {
			t.Errorf("%+v, %v", r, err)
		}
		files, err := Files(d.root)
		check(t, err)
		if len(files) != 2 {
			t.Errorf("files %q", files)
		}
	})
}

// TestSecret: nothing of the events stands in an encrypted transcript.
func TestSecret(t *testing.T) {
	s := shapes(t)[2]
	d, _ := testDir(t, s)
	b, err := os.ReadFile(session(t, d, "s1", 1, true))
	check(t, err)
	for _, word := range []string{"SELECT", "column", "ana"} {
		if bytes.Contains(b, []byte(word)) {
			t.Errorf("%q stands in it", word)
		}
	}
	other, err := age.GenerateX25519Identity()
	check(t, err)
	path := session(t, d, "s2", 1, true)
	if err := Read(path, []age.Identity{other}, func(*Event) error { return nil }); !errors.Is(err, ErrEncrypted) {
		t.Errorf("another's identity: %v", err)
	}
}

// TestEveryByte flips a bit in each byte of a transcript: each is found, also
// by who cannot read it.
func TestEveryByte(t *testing.T) {
	all := shapes(t)
	everyByte(t, all[0])
	everyByte(t, all[2])
}

func everyByte(t *testing.T, s shape) {
	d, pub := testDir(t, s)
	path := session(t, d, "s1", 1, true)
	b, err := os.ReadFile(path)
	check(t, err)
	for i := range b {
		b[i] ^= 1
		check(t, os.WriteFile(path, b, 0o600))
		if r, err := Verify(path, pub, nil); err != nil || r.OK() {
			t.Errorf("byte %d: %+v, %v", i, r, err)
		}
		b[i] ^= 1
	}
	for n := 0; n < len(b); n += 3 {
		check(t, os.WriteFile(path, b[:n], 0o600))
		if r, err := Verify(path, pub, nil); err != nil || r.OK() {
			t.Errorf("cut to %d bytes: %+v, %v", n, r, err)
		}
	}
}

func TestFrames(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		d, pub := testDir(t, s)
		d.opt.PartSize = 0 // one file; TestParts has the others
		path := session(t, d, "s1", 6000, true)
		b, err := os.ReadFile(path)
		check(t, err)
		frames, rest := splitFrames(b)
		if len(frames) < 3 || len(rest) != 0 {
			t.Fatalf("%d frames, %d bytes over", len(frames), len(rest))
		}
		other, err := os.ReadFile(session(t, d, "s2", 1, true))
		check(t, err)
		f := func(i int) []byte { return withCheck(append([]byte{}, frames[i].raw...)) }
		var tail []byte
		for i := 3; i < len(frames); i++ {
			tail = append(tail, f(i)...)
		}
		changes := map[string][]byte{
			"swapped":  join(f(1), f(0), f(2), tail),
			"removed":  join(f(0), f(2), tail),
			"repeated": join(f(0), f(1), f(1), f(2), tail),
			"foreign":  join(b, other),
			"cut":      join(f(0), f(1)),
			"empty":    nil,
		}
		if s.identities != nil {
			// Who cuts frames off would have the last one left say that it is the end.
			last := bytes.Replace(frames[1].raw, []byte(`"sig":`), []byte(`"end":true,"sig":`), 1)
			binary.LittleEndian.PutUint32(last[4:], uint32(len(last)-8))
			changes["an end that was put in"] = join(f(0), withCheck(last))
			// Anybody can encrypt to a recipient.
			forged, err := encrypt([]byte("no"), d.opt.Recipients)
			check(t, err)
			line, _, _ := bytes.Cut(frames[1].raw[8:], []byte("\n"))
			changes["other content"] = join(f(0), withCheck(cryptFrame(line, forged)), f(2), tail)
		}
		for name, changed := range changes {
			check(t, os.WriteFile(path, changed, 0o600))
			if r, err := Verify(path, pub, nil); err != nil || r.OK() {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
		check(t, os.WriteFile(path, b, 0o600))
		stranger, _, err := ed25519.GenerateKey(nil)
		check(t, err)
		if r, err := Verify(path, stranger, nil); err != nil || r.OK() || !strings.Contains(r.Findings[0].Message, "this is key") {
			t.Errorf("another key: %+v, %v", r, err)
		}
	})
}

// TestWhichEvent changes events of a frame as somebody without the key would,
// and looks which one verify names.
func TestWhichEvent(t *testing.T) {
	d, pub := testDir(t, shapes(t)[0])
	path := session(t, d, "s1", 20, true)
	b, err := os.ReadFile(path)
	check(t, err)
	frames, _ := splitFrames(b)
	content, err := decompress(frames[0].raw)
	check(t, err)
	lines := strings.SplitAfter(string(content), "\n")
	lines = lines[:len(lines)-1]
	edit := func(i int, from, to string) []string {
		out := slices.Clone(lines)
		if out[i] = strings.Replace(out[i], from, to, 1); out[i] == lines[i] {
			t.Fatalf("%q has no %q", lines[i], from)
		}
		return out
	}
	swapped := slices.Clone(lines)
	swapped[6], swapped[7] = swapped[7], swapped[6]
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"edited", edit(9, "SELECT 2", "SELECT 3"), "event 10: frame 1 at byte 0: changed after it was sealed"},
		{"another time", edit(0, "T09:", "T08:"), "event 1: frame 1 at byte 0: changed after it was sealed"},
		{"removed", slices.Delete(slices.Clone(lines), 5, 7), "events 6 to 7: frame 1 at byte 0: removed"},
		{"reordered", swapped, "event 7: frame 1 at byte 0: not in its place: events were reordered"},
		{"put in", slices.Insert(slices.Clone(lines), 4, lines[8]), "event 4: frame 1 at byte 0: events were put in after it"},
		{"the last", edit(len(lines)-2, `"close"`, `"opens"`), fmt.Sprintf("event %d: frame 1 at byte 0: changed after it was sealed", len(lines)-1)},
		{"the seal", edit(len(lines)-1, `"marks":"`, `"marks":"AAAA`), "signature is not good"},
	} {
		raw := withCheck(d.zstd.EncodeAll([]byte(strings.Join(c.lines, "")), nil))
		check(t, os.WriteFile(path, raw, 0o600))
		r, err := Verify(path, pub, nil)
		check(t, err)
		if r.OK() || !strings.Contains(r.Findings[0].String(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, r.Findings, c.want)
		}
	}
}

// TestNewer: what a later version wrote is refused, not misread.
func TestNewer(t *testing.T) {
	now, later := fmt.Appendf(nil, `"version":%d`, Version), fmt.Appendf(nil, `"version":%d`, Version+1)
	d, pub := testDir(t, shapes(t)[0])
	path := session(t, d, "s1", 1, false)
	journal, err := os.ReadFile(Journal(path))
	check(t, err)
	check(t, os.WriteFile(Journal(path), bytes.Replace(journal, now, later, 1), 0o600))
	if err := Read(path, nil, func(*Event) error { return nil }); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", Version+1)) {
		t.Errorf("an open event of a later version: %v", err)
	}
	sealed := session(t, d, "s2", 1, true)
	b, err := os.ReadFile(sealed)
	check(t, err)
	content, err := decompress(b[:len(b)-checkLength])
	check(t, err)
	at := bytes.LastIndex(content, now)
	copy(content[at:], later)
	check(t, os.WriteFile(sealed, withCheck(d.zstd.EncodeAll(content, nil)), 0o600))
	if r, err := Verify(sealed, pub, nil); err != nil || r.OK() || !strings.Contains(r.Findings[0].Message, fmt.Sprint("version ", Version+1)) {
		t.Errorf("a seal of a later version: %+v, %v", r, err)
	}
}

// TestCutEnd: a transcript whose end was torn off is not read as if it were
// whole.
func TestCutEnd(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		d, _ := testDir(t, s)
		path := session(t, d, "s1", 1, true)
		b, err := os.ReadFile(path)
		check(t, err)
		check(t, os.WriteFile(path, b[:len(b)-1], 0o600))
		if err := Read(path, s.identities, func(*Event) error { return nil }); err == nil {
			t.Error("it was read")
		}
	})
}

// TestEndFails: a transcript whose end could not be entered elsewhere keeps its
// journal, and the next start ends it.
func TestEndFails(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		d, pub := testDir(t, s)
		w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"}, begin)
		check(t, err)
		var head Head
		lost := errors.New("the state is gone")
		if err := w.Close(&Event{Type: TypeClose, At: d.now()}, func(h Head) error { head = h; return lost }); !errors.Is(err, lost) {
			t.Fatal(err)
		}
		path := w.path + ".transcript"
		if r, err := Verify(path, pub, s.identities); err != nil || !r.OK() || !r.Live || !r.Ended {
			t.Errorf("%+v, %v", r, err)
		}
		sealed, err := d.Recover()
		check(t, err)
		r, err := Verify(path, pub, s.identities)
		check(t, err)
		if len(sealed) != 1 || !r.OK() || r.Live || r.Head != head {
			t.Errorf("%q: %+v, want head %+v", sealed, r, head)
		}
	})
}

// TestParts takes each part away, and swaps two.
func TestParts(t *testing.T) {
	for _, s := range shapes(t)[1:] {
		d, pub := testDir(t, s)
		if d.opt.PartSize == 0 {
			continue
		}
		path := session(t, d, "s1", 6000, true)
		parts, err := Parts(path)
		check(t, err)
		if len(parts) < 4 {
			t.Fatalf("%d parts", len(parts))
		}
		bad := func(what string) {
			t.Helper()
			if r, err := Verify(path, pub, nil); err != nil || r.OK() {
				t.Errorf("%s, %s: %+v, %v", s.name, what, r, err)
			}
		}
		away := filepath.Join(t.TempDir(), "away")
		for i, p := range parts {
			check(t, os.Rename(p, away))
			bad(filepath.Base(p) + " is missing")
			if _, err := ReadHead(path); errors.Is(err, os.ErrNotExist) != (i == 0) {
				t.Errorf("head without part %d: %v", i+1, err)
			}
			check(t, os.Rename(away, p))
		}
		check(t, errors.Join(os.Rename(parts[1], away), os.Rename(parts[2], parts[1]), os.Rename(away, parts[2])))
		bad("two parts are swapped")
	}
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// TestRecover cuts a journal at every byte: whole events stay, the rest goes,
// and the result verifies.
func TestRecover(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		t.Parallel() // it waits for the disk most of the time
		for _, sealedFirst := range []bool{false, true} {
			recoverCut(t, s, sealedFirst)
		}
	})
}

func recoverCut(t *testing.T, s shape, sealedFirst bool) {
	d, pub := testDir(t, s)
	n := 4
	if sealedFirst {
		n = 1500
	}
	path := session(t, d, "s1", n, false)
	journal := Journal(path)
	whole, err := os.ReadFile(journal)
	check(t, err)
	whole = wholeLines(whole)
	parts, err := Parts(path)
	check(t, err)
	sealed := make([][]byte, len(parts))
	for i, p := range parts {
		sealed[i], err = os.ReadFile(p)
		check(t, err)
	}
	step := max(1, len(whole)/50)
	for cut := 0; cut <= len(whole); cut += step {
		made, err := Parts(path)
		check(t, err)
		for _, p := range made {
			check(t, os.Remove(p))
		}
		for i, p := range parts {
			check(t, os.WriteFile(p, sealed[i], 0o600))
		}
		check(t, os.WriteFile(journal, whole[:cut], 0o600))
		if got, err := d.Recover(); err != nil || len(got) != 1 || got[0] != "s1" {
			t.Fatalf("cut at %d: %q, %v", cut, got, err)
		}
		if _, err := os.Stat(journal); err == nil {
			t.Fatalf("cut at %d: the journal stays", cut)
		}
		if r, err := Verify(path, pub, s.identities); err != nil || !r.OK() || !r.Ended {
			t.Fatalf("cut at %d: %+v, %v", cut, r, err)
		}
		if want := bytes.Count(whole[:cut], []byte(`{"t":"statement"`)); !sealedFirst && len(texts(t, path, s)) < want-1 {
			t.Fatalf("cut at %d: %d statements of %d", cut, len(texts(t, path, s)), want)
		}
	}
}

// TestRecoverBetween: the crash came after a frame was appended and before
// the journal was emptied.
func TestRecoverBetween(t *testing.T) {
	d, pub := testDir(t, shapes(t)[0])
	path := session(t, d, "s1", 5, false)
	base := strings.TrimSuffix(path, ".transcript")
	whole, err := os.ReadFile(base + ".journal")
	check(t, err)
	w := d.open["s1"]
	w.mu.Lock()
	check(t, w.rotate())
	check(t, w.sealed())
	w.mu.Unlock()
	check(t, os.WriteFile(base+".journal", whole, 0o600))
	_, err = d.Recover()
	check(t, err)
	if got := texts(t, path, shapes(t)[0]); len(got) != 5 {
		t.Errorf("%d statements", len(got))
	}
	r, err := Verify(path, pub, nil)
	check(t, err)
	if !r.OK() {
		t.Errorf("%+v", r)
	}
}

func TestStickyError(t *testing.T) {
	d, _ := testDir(t, shapes(t)[0])
	w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"}, begin)
	check(t, err)
	check(t, os.Truncate(w.journal.path, 0)) // a dead store
	check(t, w.Append(&Event{Type: TypeStatement}))
	if w.Flush() == nil {
		t.Error("a dead store took an event")
	}
	if w.Append(&Event{Type: TypeStatement}) == nil {
		t.Error("an event was taken after the failure")
	}
	if _, err := d.Create(&Event{Type: TypeStatement}, begin); err == nil {
		t.Error("a transcript without an open event")
	}
}

func FuzzRead(f *testing.F) {
	d, pub := testDir(f, shapes(f)[0])
	b, err := os.ReadFile(session(f, d, "s1", 2, true))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	s := shapes(f)[2]
	d, pub = testDir(f, s)
	if b, err = os.ReadFile(session(f, d, "s1", 2, true)); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "s1.transcript")
		check(t, os.WriteFile(path, b, 0o600))
		_ = Read(path, s.identities, func(*Event) error { return nil })
		if _, err := Verify(path, pub, s.identities); err != nil && errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

func BenchmarkStatement(b *testing.B) {
	d, _ := testDir(b, shapes(b)[0])
	w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"}, begin)
	check(b, err)
	cells := [][]byte{[]byte("12345")}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		check(b, w.Append(&Event{Type: TypeStatement, ID: int64(i), Text: "SELECT abalance FROM pgbench_accounts WHERE aid = 1", Facts: []byte(`{"effects":[]}`)}))
		check(b, w.AppendRow(int64(i), nil, cells))
		check(b, w.Append(&Event{Type: TypeComplete, ID: int64(i), Tag: "SELECT 1"}))
		check(b, w.Flush())
	}
	check(b, w.Close(&Event{Type: TypeClose, At: d.now()}, func(Head) error { return nil })) // what is sealed beside ends, too
}
