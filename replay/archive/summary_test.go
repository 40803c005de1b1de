package archive

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/replay"
)

// TestSummaries: a list of a bucket's sessions says what reading all of each says, and reads the ends of each alone:
// what is between them may be anything.
func TestSummaries(t *testing.T) {
	p := newPlace(t)
	ids := []string{"20261125T090000Z-a", "20261125T090001Z-b", "20261125T090002Z-c"}
	for n, id := range ids {
		w := p.begin(t, id)
		check(t, w.Append(&replay.Event{Type: replay.TypeError, At: time.Now(), Code: replay.RefusedCode}))
		check(t, w.Append(&replay.Event{Type: replay.TypeComplete, At: time.Now(), Rows: int64(n), Bytes: 100}))
		end(t, w)
	}
	var want []Summarized
	for _, id := range ids { // read as a whole: a journal beside it says that it may not have ended
		check(t, os.WriteFile(replay.Journal(p.path(id)), nil, 0o600))
		s, err := replay.Summarize(p.path(id), nil)
		check(t, err)
		check(t, os.Remove(replay.Journal(p.path(id))))
		want = append(want, Summarized{Summary: s})
	}
	if s := want[2]; s.Statements != 5 || s.Refused != 1 || s.Rows != 2 || s.Bytes != 100 || s.Ended == nil {
		t.Fatalf("%+v", s)
	}
	lists := func(where string) {
		t.Helper()
		got, err := p.Summaries(t.Context())
		check(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", where, d)
		}
		one, err := p.Summary(t.Context(), ids[1])
		if d := cmp.Diff(want[1].Summary, one); d != "" || err != nil {
			t.Errorf("%s: %v, %s", where, err, d)
		}
	}
	lists("in the folder")
	_, err := p.Ship(t.Context())
	check(t, err)
	lists("in the bucket")
	spoiled := 0
	for _, key := range p.stored(t) {
		if _, n, _ := replay.PartOf(key); n == 2 { // of three
			check(t, p.bucket.WriteAll(t.Context(), key, []byte("anything"), nil))
			spoiled++
		}
	}
	if spoiled != 3 || len(p.stored(t)) != 9 {
		t.Fatalf("only %d parts between the ends: %q", spoiled, p.stored(t))
	}
	lists("spoiled between the ends")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Summaries(ctx); err == nil {
		t.Error("a cancelled list is one")
	}
}

// counting counts what is read.
type counting struct {
	io.ReaderAt
	bytes int
}

func (c *counting) ReadAt(p []byte, offset int64) (int, error) {
	c.bytes += len(p)
	return c.ReaderAt.ReadAt(p, offset)
}

// TestSummarizeEnds: what is read of a transcript does not grow with it; and what the ends do not tell is left to who
// reads all of it.
func TestSummarizeEnds(t *testing.T) {
	golden := func(parts ...string) (replay.Summary, int, error) {
		t.Helper()
		path := filepath.Join(append([]string{"..", "testdata"}, parts...)...)
		f, err := os.Open(path)
		check(t, err)
		defer f.Close()
		info, err := f.Stat()
		check(t, err)
		c := &counting{ReaderAt: f}
		s, err := replay.SummarizeEnds("x", c, c, info.Size())
		return s, c.bytes, err
	}
	if _, n, err := golden("v1", "20261124T152420165454Z-e94859bbbe03f012.transcript"); err != replay.ErrWhole {
		t.Errorf("of before the totals: %d, %v", n, err)
	}
	if _, n, err := golden("v2", "encrypted.transcript"); err != replay.ErrEncrypted || n > 16<<10 {
		t.Errorf("encrypted: %d, %v", n, err)
	}
	p := newPlace(t)
	d, err := replay.OpenDir(p.root, replay.Options{Key: p.key, Now: time.Now}) // one part
	check(t, err)
	p.dir, p.finished = d, nil
	noise := rand.NewChaCha8([32]byte{})
	for _, n := range []int{20, 4000} {
		id := fmt.Sprintf("20261125T090000Z-%d", n)
		w := p.begin(t, id)
		for range n {
			b := make([]byte, 1000) // does not compress well
			_, _ = noise.Read(b)
			check(t, w.Append(&replay.Event{Type: replay.TypeStatement, At: time.Now(), Text: hex.EncodeToString(b)}))
		}
		end(t, w)
		f, err := os.Open(p.path(id))
		check(t, err)
		defer f.Close()
		info, err := f.Stat()
		check(t, err)
		c := &counting{ReaderAt: f}
		s, err := replay.SummarizeEnds(id, c, c, info.Size())
		if err != nil || s.Statements != int64(n+5) || c.bytes > 3<<19 {
			t.Errorf("%d of %d bytes: %+v, %v", c.bytes, info.Size(), s, err)
		}
		t.Logf("%d of %d bytes", c.bytes, info.Size())
	}
}
