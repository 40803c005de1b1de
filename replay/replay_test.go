package replay

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func testDir(t testing.TB) (*Dir, ed25519.PublicKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	d, err := OpenDir(t.TempDir(), key, func() time.Time { at = at.Add(time.Millisecond); return at })
	if err != nil {
		t.Fatal(err)
	}
	return d, pub
}

// session writes a transcript of n statements; with end it is closed.
func session(t testing.TB, d *Dir, id string, n int, end bool) string {
	t.Helper()
	w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: id, Target: "app", Identity: &facts.Identity{Name: "ana"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := int64(i + 1)
		check(t, w.Append(&Event{Type: TypeStatement, At: d.now(), ID: id, Kind: "query", Text: fmt.Sprintf("SELECT %d", i)}))
		check(t, w.AppendRow(id, d.now(), []string{"?column?"}, [][]byte{fmt.Appendf(nil, "%d \"\\\n\xff é", i)}))
		check(t, w.AppendRow(id, d.now(), nil, [][]byte{nil}))
		check(t, w.Append(&Event{Type: TypeComplete, At: d.now(), ID: id, Tag: "SELECT 2", Rows: 2}))
		check(t, w.Flush())
	}
	if end {
		check(t, w.Close(&Event{Type: TypeClose, At: d.now(), Statements: int64(n)}))
	}
	return w.path + ".transcript"
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func texts(t testing.TB, path string) []string {
	t.Helper()
	var out []string
	check(t, Read(path, func(e *Event) error {
		if e.Type == TypeStatement {
			out = append(out, e.Text)
		}
		return nil
	}))
	return out
}

func TestRoundTrip(t *testing.T) {
	d, pub := testDir(t)
	path := session(t, d, "s1", 3000, true) // several frames
	if got := texts(t, path); len(got) != 3000 || got[2999] != "SELECT 2999" {
		t.Errorf("%d statements", len(got))
	}
	r, err := Verify(path, pub)
	check(t, err)
	if !r.OK() || r.Frames < 2 || !r.Ended {
		t.Errorf("%+v", r)
	}
	live := session(t, d, "s2", 3, false)
	if got := texts(t, live); len(got) != 3 {
		t.Errorf("%d statements of a live session", len(got))
	}
	if r, err := Verify(live, pub); err != nil || !r.OK() || !r.Live {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestEveryByte flips a bit in each byte of a transcript: each is found.
func TestEveryByte(t *testing.T) {
	for range 3 { // signatures, and so the compressed bytes, differ by key
		everyByte(t)
	}
}

func everyByte(t *testing.T) {
	d, pub := testDir(t)
	path := session(t, d, "s1", 1, true)
	b, err := os.ReadFile(path)
	check(t, err)
	for i := range b {
		b[i] ^= 1
		check(t, os.WriteFile(path, b, 0o600))
		if r, err := Verify(path, pub); err != nil || r.OK() {
			t.Errorf("byte %d: %+v, %v", i, r, err)
		}
		b[i] ^= 1
	}
	for n := range b {
		check(t, os.WriteFile(path, b[:n], 0o600))
		if r, err := Verify(path, pub); err != nil || r.OK() {
			t.Errorf("cut to %d bytes: %+v, %v", n, r, err)
		}
	}
}

func TestFrames(t *testing.T) {
	d, pub := testDir(t)
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
	for name, changed := range map[string][]byte{
		"swapped":  join(f(1), f(0), f(2), tail),
		"removed":  join(f(0), f(2), tail),
		"repeated": join(f(0), f(1), f(1), f(2), tail),
		"foreign":  join(b, other),
		"cut":      join(f(0), f(1)),
		"empty":    nil,
	} {
		check(t, os.WriteFile(path, changed, 0o600))
		if r, err := Verify(path, pub); err != nil || r.OK() {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	check(t, os.WriteFile(path, b, 0o600))
	stranger, _, err := ed25519.GenerateKey(nil)
	check(t, err)
	if r, err := Verify(path, stranger); err != nil || r.OK() || !strings.Contains(r.Findings[0].Message, "this is key") {
		t.Errorf("another key: %+v, %v", r, err)
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
	for _, sealedFirst := range []bool{false, true} {
		d, pub := testDir(t)
		n := 4
		if sealedFirst {
			n = 1500
		}
		path := session(t, d, "s1", n, false)
		journal := strings.TrimSuffix(path, ".transcript") + ".journal"
		whole, err := os.ReadFile(journal)
		check(t, err)
		sealed, _ := os.ReadFile(path)
		step := max(1, len(whole)/200)
		for cut := 0; cut <= len(whole); cut += step {
			check(t, os.WriteFile(journal, whole[:cut], 0o600))
			if sealedFirst {
				check(t, os.WriteFile(path, sealed, 0o600))
			} else {
				_ = os.Remove(path)
			}
			if _, err := d.Recover(); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if _, err := os.Stat(journal); err == nil {
				t.Fatalf("cut at %d: the journal stays", cut)
			}
			r, err := Verify(path, pub)
			if cut < 200 && !sealedFirst { // not even the open event was whole
				continue
			}
			if err != nil || !r.OK() && cut > 0 && len(whole[:cut]) > 300 {
				t.Fatalf("cut at %d: %+v, %v", cut, r, err)
			}
		}
	}
}

// TestRecoverBetween: the crash came after a frame was appended and before
// the journal was emptied.
func TestRecoverBetween(t *testing.T) {
	d, pub := testDir(t)
	path := session(t, d, "s1", 5, false)
	base := strings.TrimSuffix(path, ".transcript")
	whole, err := os.ReadFile(base + ".journal")
	check(t, err)
	w := d.open["s1"]
	w.mu.Lock()
	check(t, w.seal())
	w.mu.Unlock()
	check(t, os.WriteFile(base+".journal", whole, 0o600))
	_, err = d.Recover()
	check(t, err)
	if got := texts(t, path); len(got) != 5 {
		t.Errorf("%d statements", len(got))
	}
	r, err := Verify(path, pub)
	check(t, err)
	if !r.OK() {
		t.Errorf("%+v", r)
	}
}

func TestStickyError(t *testing.T) {
	d, _ := testDir(t)
	w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"})
	check(t, err)
	check(t, w.journal.Close()) // a dead store
	check(t, w.Append(&Event{Type: TypeStatement}))
	if w.Flush() == nil {
		t.Error("a dead store took an event")
	}
	if w.Append(&Event{Type: TypeStatement}) == nil {
		t.Error("an event was taken after the failure")
	}
	if _, err := d.Create(&Event{Type: TypeStatement}); err == nil {
		t.Error("a transcript without an open event")
	}
}

func FuzzRead(f *testing.F) {
	d, pub := testDir(f)
	b, err := os.ReadFile(session(f, d, "s1", 2, true))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "s1.transcript")
		check(t, os.WriteFile(path, b, 0o600))
		_ = Read(path, func(*Event) error { return nil })
		if _, err := Verify(path, pub); err != nil && errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

func BenchmarkStatement(b *testing.B) {
	d, _ := testDir(b)
	w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"})
	check(b, err)
	cells := [][]byte{[]byte("12345")}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		check(b, w.Append(&Event{Type: TypeStatement, ID: int64(i), Text: "SELECT abalance FROM pgbench_accounts WHERE aid = 1", Facts: []byte(`{"effects":[]}`)}))
		check(b, w.AppendRow(int64(i), d.now(), nil, cells))
		check(b, w.Append(&Event{Type: TypeComplete, ID: int64(i), Tag: "SELECT 1"}))
		check(b, w.Flush())
	}
}
