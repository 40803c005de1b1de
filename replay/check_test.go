package replay

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
)

// manyStatements records the demo's statements over and over, in a number of
// sessions.
func manyStatements(t testing.TB, sessions, statements int) []string {
	t.Helper()
	files, err := Files(filepath.Join("..", "testdata", "transcripts", "demo"))
	check(t, err)
	var open *Event
	var events []*Event
	for _, f := range files {
		check(t, Read(f, nil, func(e *Event) error {
			switch e.Type {
			case TypeOpen:
				open = e
			case TypeStatement:
				events = append(events, e)
			}
			return nil
		}))
	}
	d, _ := testDir(t, shapes(t)[0])
	var out []string
	for s := range sessions {
		first := *open
		first.Session = fmt.Sprintf("s%02d", s)
		w, err := d.Create(&first, begin)
		check(t, err)
		for i := range statements / sessions {
			e := *events[i%len(events)]
			e.ID, e.Text = int64(i+1), strings.Replace(e.Text, "id", fmt.Sprint("id", i%50), 1)
			check(t, w.Append(&e))
		}
		check(t, w.Close(&Event{Type: TypeClose, At: d.now()}, func(Head) error { return nil }))
		out = append(out, w.path+".transcript")
	}
	return out
}

// TestCheckMany decides 100,000 statements again: in seconds, with progress,
// and to the same bytes whatever the order of the files.
func TestCheckMany(t *testing.T) {
	const statements = 100_000
	paths := manyStatements(t, 20, statements)
	p, err := sqlpolicy.Load(filepath.Join("..", "testdata", "ci", "stricter.yaml"))
	check(t, err)
	run := func(paths []string, statements int) (string, int) {
		steps := 0
		began := time.Now()
		c, err := Check(context.Background(), paths, CheckOptions{Policy: p, Progress: func(done, _ int) {
			if steps++; done != steps {
				t.Errorf("%d are done after %d steps", done, steps)
			}
		}})
		check(t, err)
		t.Logf("%d statements in %s", c.Statements, time.Since(began).Round(time.Millisecond))
		if time.Since(began) > time.Minute {
			t.Errorf("it took %s", time.Since(began))
		}
		var b strings.Builder
		check(t, c.Write(&b, "json"))
		if c.Statements != statements || c.Counts[NewlyRefused] == 0 || c.Counts[Undecidable] != 0 {
			t.Errorf("%+v", c.Counts)
		}
		return b.String(), steps
	}
	if _, steps := run(paths, statements); steps != len(paths) {
		t.Errorf("progress was told %d times of %d", steps, len(paths))
	}
	want, _ := run(paths[:3], statements*3/20)
	turned := []string{paths[2], paths[0], paths[1], paths[0]} // one of them twice
	if got, _ := run(turned, statements*3/20); got != want {
		t.Error("another order of the files gives other bytes")
	}
}

// BenchmarkCheck decides a session of 10,000 statements.
func BenchmarkCheck(b *testing.B) {
	paths := manyStatements(b, 1, 10_000)
	p, err := sqlpolicy.Load(filepath.Join("..", "testdata", "ci", "stricter.yaml"))
	check(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := Check(context.Background(), paths, CheckOptions{Policy: p})
		check(b, err)
	}
}
