package replay

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
)

// manyStatements records the demo's statements over and over, in a number of
// sessions. late, if it is not 0, has each end so many statements later.
func manyStatements(t testing.TB, sessions, statements int, late int64) []string {
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
			if ended := e.ID - late; late > 0 && ended > 0 {
				check(t, w.Append(&Event{Type: TypeComplete, At: e.At, ID: ended, Rows: 1, Bytes: 10}))
			}
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
	paths := manyStatements(t, 20, statements, 0)
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
	paths := manyStatements(b, 1, 10_000, 0)
	p, err := sqlpolicy.Load(filepath.Join("..", "testdata", "ci", "stricter.yaml"))
	check(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := Check(context.Background(), paths, CheckOptions{Policy: p})
		check(b, err)
	}
}

// TestCheckPieces decides a transcript of many frames piece by piece and as a whole: to the same bytes, with a budget
// that is new and results that end frames after their statements.
func TestCheckPieces(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	text, err := os.ReadFile(filepath.Join("..", "testdata", "ci", "stricter.yaml"))
	check(t, err)
	budget := "budgets:\n  - {classes: [email], rows: 100, per: 1000h, then: hold}\n"
	check(t, os.WriteFile(policy, []byte(strings.Replace(string(text), "budgets:\n", budget, 1)), 0o600))
	p, err := sqlpolicy.Load(policy)
	check(t, err)
	path := manyStatements(t, 1, 3000, 300)[0]
	s, err := openSource(path)
	check(t, err)
	if s.pieces() < 10 {
		t.Fatalf("only %d pieces", s.pieces())
	}
	opt := CheckOptions{Policy: p}
	written := func(list []*checker) string {
		simulate(p, list)
		var b strings.Builder
		check(t, merge(p, "", list).Write(&b, "json"))
		return b.String()
	}
	whole, err := newCheckRun(&opt).whole(s)
	check(t, err)
	pieces, err := newCheckRun(&opt).transcript(context.Background(), path)
	check(t, err)
	if len(pieces) != s.pieces() {
		t.Errorf("%d of %d pieces", len(pieces), s.pieces())
	}
	charged := 0
	for _, c := range pieces {
		for _, d := range c.deferred {
			if d.spent.Rows > 0 {
				charged++
			}
		}
	}
	want, got := written(whole), written(pieces)
	if want != got || !strings.Contains(want, string(NewlyHeld)) || charged < 100 {
		t.Errorf("%d charged; as a whole:\n%.2000s\nin pieces:\n%.2000s", charged, want, got)
	}
}
