package archive

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob/fileblob"

	"github.com/sallyport-proxy/sallyport/replay"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is an archive over a bucket in a folder, and what writes into its spool.
type place struct {
	*Archive
	dir *replay.Dir
	pub ed25519.PublicKey
	key ed25519.PrivateKey
	// finished has one for each part that is complete; nil where there is one part only.
	finished chan struct{}
}

func newPlace(t *testing.T) *place {
	t.Helper()
	bucket, err := fileblob.OpenBucket(t.TempDir(), &fileblob.Options{Metadata: fileblob.MetadataDontWrite})
	check(t, err)
	pub, key, err := ed25519.GenerateKey(nil)
	check(t, err)
	root := t.TempDir()
	finished := make(chan struct{}, 100)
	dir, err := replay.OpenDir(root, replay.Options{Key: key, Now: time.Now, PartSize: 1, Finished: func() { finished <- struct{}{} }})
	check(t, err)
	a := New(bucket, "test", root)
	t.Cleanup(func() { check(t, a.Close()) })
	return &place{a, dir, pub, key, finished}
}

// begin writes a session of a few parts, two of which are complete.
func (p *place) begin(t *testing.T, id string) *replay.Writer {
	t.Helper()
	for len(p.finished) > 0 { // others' ends
		<-p.finished
	}
	w, err := p.dir.Create(&replay.Event{Type: replay.TypeOpen, At: time.Now(), Session: id}, func() error { return nil })
	check(t, err)
	text := strings.Repeat("x", 800<<10)
	for range 5 {
		check(t, w.Append(&replay.Event{Type: replay.TypeStatement, At: time.Now(), Text: text}))
	}
	if p.finished != nil {
		<-p.finished
		<-p.finished
	}
	return w
}

func end(t *testing.T, w *replay.Writer) {
	t.Helper()
	check(t, w.Close(&replay.Event{Type: replay.TypeClose, At: time.Now()}, func(replay.Head) error { return nil }))
}

func (p *place) stored(t *testing.T) (keys []string) {
	t.Helper()
	check(t, p.each(t.Context(), "", func(key string) error { keys = append(keys, key); return nil }))
	return keys
}

// verify reads a session from wherever it is.
func (p *place) verify(t *testing.T, session string) {
	t.Helper()
	check(t, p.With(t.Context(), session, func(path string) error {
		if _, err := replay.ReadHead(path); err != nil {
			return err
		}
		r, err := replay.Verify(path, p.pub, nil)
		if err == nil && !r.OK() {
			t.Errorf("%s: %v", session, r.Findings)
		}
		return err
	}))
}

// TestShip ships parts of an open session while it grows, and the rest at its
// end, however many ship at once.
func TestShip(t *testing.T) {
	p := newPlace(t)
	w := p.begin(t, "20261125T090000Z-a")
	ended, err := p.Ship(t.Context())
	check(t, err)
	if stored := p.stored(t); ended != 0 || len(stored) == 0 || slices.ContainsFunc(stored, func(k string) bool { return !strings.HasPrefix(k, "2026/11/25/") }) {
		t.Errorf("%d ended, stored %q", ended, stored)
	}
	if was, err := p.Remove(t.Context(), "20261125T090000Z-a"); was || !errors.Is(err, ErrKept) {
		t.Errorf("an open session was removed: %v, %v", was, err)
	}
	end(t, w)
	if was, err := p.Remove(t.Context(), "20261125T090000Z-a"); was || !errors.Is(err, ErrKept) {
		t.Errorf("a session that was not shipped was removed: %v, %v", was, err)
	}
	p.verify(t, "20261125T090000Z-a")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := p.Ship(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if files, err := replay.Files(p.root); err != nil || len(files) != 0 {
		t.Errorf("left %q, %v", files, err)
	}
	p.verify(t, "20261125T090000Z-a")
	if was, err := p.Remove(t.Context(), "20261125T090000Z-a"); !was || err != nil || len(p.stored(t)) != 0 {
		t.Errorf("%v, %v, left %q", was, err, p.stored(t))
	}
	if err := p.With(t.Context(), "20261125T090000Z-a", func(path string) error { _, err := replay.ReadHead(path); return err }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed is read: %v", err)
	}
}

// TestShipFails: what does not arrive stays, whole.
func TestShipFails(t *testing.T) {
	p := newPlace(t)
	end(t, p.begin(t, "20261125T090000Z-a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ended, err := p.Ship(ctx); ended != 0 || err == nil {
		t.Errorf("%d, %v", ended, err)
	}
	p.verify(t, "20261125T090000Z-a")
	parts, err := replay.Parts(p.Local("20261125T090000Z-a"))
	check(t, err)
	if len(parts) < 3 {
		t.Fatalf("parts %q", parts)
	}
	ended, err := p.Ship(t.Context())
	check(t, err)
	if ended != 1 || len(p.stored(t)) != len(parts) {
		t.Errorf("%d, stored %q", ended, p.stored(t))
	}
}

// TestShipCutShort: the crash came between the removal of two parts.
func TestShipCutShort(t *testing.T) {
	p := newPlace(t)
	end(t, p.begin(t, "20261125T090000Z-a"))
	parts, err := replay.Parts(p.Local("20261125T090000Z-a"))
	check(t, err)
	for _, part := range parts {
		check(t, p.copyUp(t.Context(), part))
	}
	check(t, os.Remove(parts[0]))
	p.verify(t, "20261125T090000Z-a") // of the bucket, though others are here
	_, err = p.Ship(t.Context())
	check(t, err)
	left, err := filepath.Glob(filepath.Join(p.root, "*", "*", "*", "*"))
	check(t, err)
	if len(left) != 0 {
		t.Errorf("left %q", left)
	}
	p.verify(t, "20261125T090000Z-a")
}
