package replay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecoverWhileSealing: the crash came while a full frame was being sealed
// and the session went on, at each step of that. Nothing is lost, and what is
// left verifies.
func TestRecoverWhileSealing(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		t.Parallel()
		// A session whose second frame is full, and which goes on in a third.
		d, pub := testDir(t, s)
		path := session(t, d, "s1", 1500, false)
		base := strings.TrimSuffix(path, ".transcript")
		before := files(t, base)
		full := wholeLines(before[".journal"])
		w := d.open["s1"]
		w.mu.Lock()
		check(t, w.rotate())
		w.mu.Unlock()
		check(t, w.Append(&Event{Type: TypeStatement, At: d.now(), ID: 9999, Kind: "query", Text: "the last"}))
		check(t, w.Flush())
		w.mu.Lock()
		check(t, w.sealed())
		w.mu.Unlock()
		after := files(t, base)
		next := wholeLines(after[".journal"])
		var part string // that the frame went to
		var frame []byte
		for name, b := range after {
			if strings.HasPrefix(name, ".transcript") && len(b) > len(before[name]) {
				part, frame = name, b[len(before[name]):]
			}
		}
		zeros := make([]byte, 4096)
		for _, c := range []struct {
			name string
			make map[string][]byte // beside what was there before
			want int
		}{
			{"the new journal is made", map[string][]byte{".journal": full, ".journal.new": zeros}, 1500},
			{"the full one has two names", map[string][]byte{".journal": full, ".sealing": full, ".journal.new": zeros}, 1500},
			{"the new one is in its place", map[string][]byte{".journal": zeros, ".sealing": full}, 1500},
			{"and in use", map[string][]byte{".journal": next, ".sealing": full}, 1501},
			{"half an event more", map[string][]byte{".journal": append(bytes.Clone(next), `{"t":"sta`...), ".sealing": full}, 1501},
			{"half the frame is written", map[string][]byte{".journal": next, ".sealing": full, part: frame[:len(frame)/2]}, 1501},
			{"the frame is written", map[string][]byte{".journal": next, ".sealing": full, part: frame}, 1501},
			{"the full one is gone", map[string][]byte{".journal": next, part: frame}, 1501},
		} {
			for name := range files(t, base) {
				check(t, os.Remove(base+name))
			}
			for name, b := range before {
				check(t, os.WriteFile(base+name, b, 0o600))
			}
			for name, b := range c.make {
				if name == part {
					b = append(bytes.Clone(before[name]), b...)
				}
				check(t, os.WriteFile(base+name, b, 0o600))
			}
			live, err := Verify(path, pub, s.identities)
			check(t, err)
			if n := len(texts(t, path, s)); n != c.want || !live.Live || !live.OK() && c.name != "half the frame is written" {
				t.Errorf("%s: before the start %d statements of %d, %+v", c.name, n, c.want, live)
			}
			if got, err := d.Recover(); err != nil || len(got) != 1 {
				t.Fatalf("%s: %q, %v", c.name, got, err)
			}
			r, err := Verify(path, pub, s.identities)
			check(t, err)
			if n := len(texts(t, path, s)); n != c.want || !r.OK() || !r.Ended {
				t.Errorf("%s: %d statements of %d, %+v", c.name, n, c.want, r)
			}
			for name := range files(t, base) {
				if !strings.HasPrefix(name, ".transcript") {
					t.Errorf("%s: %s is left", c.name, name)
				}
			}
		}
	})
}

// files are those of a transcript, by their endings.
func files(t *testing.T, base string) map[string][]byte {
	t.Helper()
	list, err := filepath.Glob(base + ".*")
	check(t, err)
	out := map[string][]byte{}
	for _, f := range list {
		b, err := os.ReadFile(f)
		check(t, err)
		out[strings.TrimPrefix(f, base)] = b
	}
	return out
}

// TestFollowWhileSealing reads a session again and again while it fills
// frames: what has been flushed is there each time.
func TestFollowWhileSealing(t *testing.T) {
	for _, second := range []error{nil, errors.ErrUnsupported} { // a file system without second names
		s := shapes(t)[0]
		d, pub := testDir(t, s)
		if second != nil {
			d.link = func(old, second string) error {
				return &os.LinkError{Op: "link", Old: old, New: second, Err: errors.ErrUnsupported}
			}
		}
		w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"}, begin)
		check(t, err)
		text := strings.Repeat("x", 10_000)
		for i := range 400 {
			check(t, w.Append(&Event{Type: TypeStatement, At: d.now(), ID: int64(i + 1), Text: text}))
			check(t, w.Flush())
			if i%7 != 0 {
				continue
			}
			if got := len(texts(t, w.path+".transcript", s)); got != i+1 {
				t.Fatalf("%d statements of %d", got, i+1)
			}
			if r, err := Verify(w.path+".transcript", pub, nil); err != nil || !r.OK() || !r.Live {
				t.Fatalf("after %d: %+v, %v", i, r, err)
			}
		}
		check(t, w.Close(&Event{Type: TypeClose, At: d.now()}, func(Head) error { return nil }))
		r, err := Verify(w.path+".transcript", pub, nil)
		check(t, err)
		if got := len(texts(t, w.path+".transcript", s)); got != 400 || !r.OK() || !r.Ended {
			t.Errorf("%d statements, %+v", got, r)
		}
		if left := files(t, w.path); len(left) != 1 {
			t.Errorf("left: %d files", len(left))
		}
	}
}

// TestJournalFiles: events larger than the room, in a mapped file and in one
// that is written to.
func TestJournalFiles(t *testing.T) {
	for _, written := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "s1.journal")
		j, err := createJournal(path, idleJournal)
		check(t, err)
		if written {
			check(t, unmap(j.mem))
			check(t, os.Truncate(path, 0))
			j.mem = nil
			j.file, err = os.OpenFile(path, os.O_WRONLY, 0)
			check(t, err)
		}
		var want []byte
		for i := range 12 {
			event := fmt.Appendf(nil, "%d%s\n", i, strings.Repeat("-", 1<<(2*i)))
			check(t, j.append(event))
			want = append(want, event...)
			check(t, j.sync())
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(wholeLines(got), want) {
				t.Fatalf("after %d bytes: %d, %v", len(want), len(wholeLines(got)), err)
			}
			if most := max(workJournal, 2*len(want), len(want)+journalStep); len(got) > most {
				t.Errorf("after %d bytes it takes %d of the disk, more than %d", len(want), len(got), most)
			}
		}
		if got, err := j.appendEvents([]byte("before")); err != nil || string(got) != "before"+string(want) {
			t.Errorf("%d bytes of %d, %v", len(got)-6, len(want), err)
		}
		check(t, j.close())
		check(t, j.sync())
	}
}
