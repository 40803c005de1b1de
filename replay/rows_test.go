package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestSharedRows: rows of one result share events, and none is lost or told of
// another result, however results, flushes and frames come between.
func TestSharedRows(t *testing.T) {
	each(t, func(t *testing.T, s shape) {
		d, pub := testDir(t, s)
		w, err := d.Create(&Event{Type: TypeOpen, At: d.now(), Session: "s1"}, func() error { return nil })
		check(t, err)
		want := map[int64][]string{}
		for i := range 5000 {
			id := int64(1 + i/7%3)
			var columns []string
			if want[id] == nil {
				columns = []string{"c"}
			}
			cell := fmt.Sprintf(`%d "]]}`+"\n\\", i) + strings.Repeat("x", i%900)
			want[id] = append(want[id], cell)
			check(t, w.AppendRow(id, columns, [][]byte{[]byte(cell)}))
			if i%11 == 0 {
				check(t, w.Flush())
			}
		}
		check(t, w.Close(&Event{Type: TypeClose, At: d.now()}, func(Head) error { return nil }))
		path := w.path + ".transcript"
		if r, err := Verify(path, pub, s.identities); err != nil || !r.OK() || r.Frames < 2 {
			t.Errorf("%+v %v", r, err)
		}
		got, events, most := map[int64][]string{}, 0, 0
		check(t, Read(path, s.identities, func(e *Event) error {
			if e.Type != TypeRows {
				return nil
			}
			events, most = events+1, max(most, len(e.Cells))
			if first := got[e.ID] == nil; first != (e.Columns != nil) {
				t.Errorf("event %d has the columns %q", e.Number, e.Columns)
			}
			for _, row := range e.Cells {
				got[e.ID] = append(got[e.ID], *row[0])
			}
			return nil
		}))
		for id := range want {
			if !slices.Equal(got[id], want[id]) {
				t.Errorf("result %d: %d rows, want %d", id, len(got[id]), len(want[id]))
			}
		}
		if most < 5 || events > 2000 {
			t.Errorf("%d events of at most %d rows", events, most)
		}
	})
}

// TestAppendJSON: each byte, at each place of a text that is looked at eight
// bytes at once, reads back as it was; what is no UTF-8 is U+FFFD.
func TestAppendJSON(t *testing.T) {
	for c := range 256 {
		for at := range 18 {
			for _, more := range []string{"", "\"", "\xff", "é"} {
				text := []byte(strings.Repeat("a~ [", 5)[:at] + string([]byte{byte(c)}) + more + strings.Repeat("0!#Z", 5)[:17-at%4])
				var got string
				if err := json.Unmarshal(appendJSON(nil, text), &got); err != nil || got != string([]rune(string(text))) {
					t.Fatalf("%q: %q, %v", text, got, err)
				}
			}
		}
	}
}
