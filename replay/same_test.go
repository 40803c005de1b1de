package replay

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestSame: what is read is what was appended, whatever statements have in
// common, and each frame can be read without the others.
func TestSame(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		d, pub := testDir(t, s)
		w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"}, begin)
		check(t, err)
		var want []Event
		const n = 4000
		for i := range int64(n) {
			e := testStatement(d, i+1)
			switch i % 97 { // each of what may be left out, different once
			case 10:
				e.Role = "other"
			case 20:
				e.Settings = `"x"`
			case 30:
				e.SearchPath = nil
			case 40:
				e.Catalog = "c2"
			case 50:
				e.Policy = "p2"
			case 60:
				e.Kind = "execute"
			case 70:
				e.Decision = []byte(`{"verdict":"deny"}`)
			case 80:
				e.Facts = nil
			}
			e.RowsRead = i
			want = append(want, *e)
			check(t, w.Append(e))
			check(t, w.Flush())
		}
		check(t, w.Close(&Event{Type: TypeClose, At: d.now()}, func(Head) error { return nil }))
		path := w.path + ".transcript"
		i := 0
		check(t, Read(path, s.identities, func(e *Event) error {
			if e.Type != TypeStatement {
				return nil
			}
			want[i].Number, e.At = e.Number, want[i].At
			if !reflect.DeepEqual(*e, want[i]) {
				t.Fatalf("statement %d:\n%+v\nwant\n%+v", i, *e, want[i])
			}
			i++
			return nil
		}))
		if i != n {
			t.Errorf("%d statements of %d", i, n)
		}
		if r, err := Verify(path, pub, s.identities); err != nil || !r.OK() {
			t.Errorf("%+v, %v", r, err)
		}
		b, _, _, err := readParts(baseOf(path))
		check(t, err)
		frames, _ := splitFrames(b)
		if len(frames) < 2 {
			t.Fatalf("%d frames", len(frames))
		}
		short := 0
		for _, f := range frames {
			o, err := f.open(s.identities)
			check(t, err)
			var said resolver
			for line := range strings.Lines(string(o.events)) {
				var e Event
				check(t, json.Unmarshal([]byte(line), &e))
				if e.Same != 0 {
					short++
				}
				check(t, said.resolve(&e))
			}
		}
		if short < n/2 {
			t.Errorf("only %d statements of %d left anything out", short, n)
		}
	})
}

// TestSameHostile: a statement that refers to what is not there is an error.
func TestSameHostile(t *testing.T) {
	d, _ := testDir(t, shapes(t)[0])
	path := session(t, d, "s1", 1, false)
	f, err := os.OpenFile(Journal(path), os.O_WRONLY, 0)
	check(t, err)
	b, err := os.ReadFile(Journal(path))
	check(t, err)
	for _, same := range []int{1, 3, 6, 99, -1} { // an open event, rows, itself, a later one
		line := fmt.Sprintf(`{"t":"statement","n":6,"at":"2026-11-24T09:00:00Z","same":%d,"id":2,"text":"SELECT 2"}`+"\n", same)
		_, err = f.WriteAt([]byte(line), int64(len(wholeLines(b))))
		check(t, err)
		if err := Read(path, nil, func(*Event) error { return nil }); err == nil || !strings.Contains(err.Error(), "refers to event") {
			t.Errorf("same %d: %v", same, err)
		}
	}
	check(t, f.Close())
}
