package proxy

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"gocloud.dev/blob/fileblob"

	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/archive"
)

// TestRetain removes what ended longer ago than the configuration says, and
// nothing else; the register goes on agreeing with the folder.
func TestRetain(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	pub, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	db, err := store.Open(ctx, "sqlite:state.db", dir)
	must(t, err)
	defer db.Close()
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	e := &Engine{now: func() time.Time { return at }, keys: &Keys{Sign: key}, state: db, log: zerolog.Nop(),
		config: &Config{Transcripts: Transcripts{Place: "file:t", Dir: filepath.Join(dir, "t"), Retain: 48 * time.Hour}}}
	must(t, e.openTranscripts())
	must(t, e.recover(ctx))
	session := func(end bool) string {
		id := newSessionID(at)
		w, err := e.dir.Create(&replay.Event{Type: replay.TypeOpen, At: at, Session: id}, func() error { return e.register.Add(ctx, register.Begin, id, replay.Head{}) })
		must(t, err)
		if end {
			must(t, w.Close(&replay.Event{Type: replay.TypeClose, At: at}, func(head replay.Head) error { return e.register.Add(ctx, register.End, id, head) }))
		}
		return id
	}
	old, long := session(true), session(false)
	at = at.Add(24 * time.Hour)
	young := session(true)
	for _, c := range []struct {
		after time.Duration
		left  []string
	}{{23 * time.Hour, []string{old, long, young}}, {2 * time.Hour, []string{long, young}}, {24 * time.Hour, []string{long}}, {1000 * time.Hour, []string{long}}} {
		at = at.Add(c.after)
		e.retain(ctx)
		e.retain(ctx)
		left, err := e.archive.Sessions(ctx)
		must(t, err)
		if len(left) != len(c.left) {
			t.Errorf("left %q, want %q", left, c.left)
		}
		book, err := register.Read(ctx, db, pub, where(t, e))
		must(t, err)
		if len(book.Findings) > 0 {
			t.Errorf("the register: %q", book.Findings)
		}
		for session := range book.Sessions {
			var r *replay.Report
			path := e.archive.Local(session)
			if _, err := replay.ReadHead(path); !errors.Is(err, fs.ErrNotExist) {
				r, err = replay.Verify(path, pub, nil)
				must(t, err)
			}
			if why := book.Missing(session, r); why != "" {
				t.Errorf("%s: %s", session, why)
			}
		}
	}
}

// TestRecoverBeforeOpening: the crash came when a session had a journal and
// nothing more. Both it and the register know the session afterwards.
func TestRecoverBeforeOpening(t *testing.T) {
	for _, entered := range []bool{false, true} {
		ctx, dir := context.Background(), t.TempDir()
		pub, key, err := ed25519.GenerateKey(nil)
		must(t, err)
		db, err := store.Open(ctx, "sqlite:state.db", dir)
		must(t, err)
		defer db.Close()
		e := &Engine{now: time.Now, keys: &Keys{Sign: key}, state: db, log: zerolog.Nop(), config: &Config{Transcripts: Transcripts{Place: "file:t", Dir: filepath.Join(dir, "t")}}}
		must(t, e.openTranscripts())
		must(t, e.recover(ctx))
		id := newSessionID(time.Now())
		verify := func() (*replay.Report, string) {
			t.Helper()
			r, err := replay.Verify(e.archive.Local(id), pub, nil)
			must(t, err)
			book, err := register.Read(ctx, db, pub, where(t, e))
			must(t, err)
			return r, book.Missing(id, r)
		}
		_, err = e.dir.Create(&replay.Event{Type: replay.TypeOpen, Session: id}, func() error {
			if entered {
				must(t, e.register.Add(ctx, register.Begin, id, replay.Head{}))
			}
			return context.Canceled // as far as it came
		})
		if err == nil {
			t.Fatal("a session without its begin")
		}
		if r, why := verify(); why != "" || !r.OK() || !r.Live {
			t.Errorf("before the next start: %s %+v", why, r)
		}
		must(t, e.recover(ctx))
		if r, why := verify(); why != "" || !r.OK() || r.Live || !r.Ended {
			t.Errorf("%s %+v", why, r)
		}
		if open, err := e.register.Open(ctx); err != nil || len(open) != 0 {
			t.Errorf("open %q, %v", open, err)
		}
	}
}

// TestSharedRegister: two proxies with one state and one bucket leave each
// other's sessions alone, at their start, in retention and in what is missing.
func TestSharedRegister(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	pub, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	db, err := store.Open(ctx, "sqlite:state.db", dir)
	must(t, err)
	defer db.Close()
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	folder := t.TempDir()
	engine := func(spool string) *Engine {
		e := &Engine{now: func() time.Time { return at }, keys: &Keys{Sign: key}, state: db, log: zerolog.Nop(),
			config: &Config{Transcripts: Transcripts{Place: "s3://records", Dir: filepath.Join(dir, spool), Retain: time.Hour}}}
		e.dir, err = replay.OpenDir(e.config.Transcripts.Dir, replay.Options{Key: key, Now: e.now})
		must(t, err)
		bucket, err := fileblob.OpenBucket(folder, &fileblob.Options{Metadata: fileblob.MetadataDontWrite})
		must(t, err)
		e.archive = archive.New(bucket, e.config.Transcripts.Place, e.config.Transcripts.Dir)
		t.Cleanup(func() { must(t, e.archive.Close()) })
		return e
	}
	open := func(e *Engine) (string, *replay.Writer) {
		id := newSessionID(at)
		w, err := e.dir.Create(&replay.Event{Type: replay.TypeOpen, At: at, Session: id}, func() error { return e.register.Add(ctx, register.Begin, id, replay.Head{}) })
		must(t, err)
		return id, w
	}
	end := func(e *Engine, id string, w *replay.Writer) {
		must(t, w.Close(&replay.Event{Type: replay.TypeClose, At: at}, func(head replay.Head) error { return e.register.Add(ctx, register.End, id, head) }))
	}
	missing := func(e *Engine, id string) string {
		book, err := register.Read(ctx, db, pub, where(t, e))
		must(t, err)
		if len(book.Findings) > 0 {
			t.Errorf("the register: %q", book.Findings)
		}
		return book.Missing(id, nil)
	}
	a := engine("a")
	must(t, a.recover(ctx))
	live, w := open(a)
	b := engine("b")
	must(t, b.recover(ctx)) // it starts while a session of the other one is open
	if list, err := a.register.Open(ctx); err != nil || len(list) != 1 || list[0] != live {
		t.Errorf("open %q, %v", list, err)
	}
	if why := missing(b, live); why != "" {
		t.Errorf("what is open elsewhere: %s", why)
	}
	if why := missing(a, live); !strings.Contains(why, "missing") {
		t.Errorf("what is open here, and gone: %q", why)
	}
	end(a, live, w)
	if why := missing(b, live); !strings.Contains(why, "or still in ") {
		t.Errorf("what is not shipped yet: %q", why)
	}
	at = at.Add(2 * time.Hour)
	b.retain(ctx)
	a.retain(ctx)
	if _, err := replay.ReadHead(a.archive.Local(live)); err != nil {
		t.Errorf("it was removed before it was shipped: %v", err)
	}
	if n, err := a.archive.Ship(ctx); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	b.retain(ctx) // whoever comes first
	if sessions, err := a.archive.Sessions(ctx); err != nil || len(sessions) != 0 {
		t.Errorf("left %q, %v", sessions, err)
	}
	if why := missing(a, live) + missing(b, live); why != "" {
		t.Error(why)
	}
}

func where(t *testing.T, e *Engine) register.Place {
	t.Helper()
	p, err := e.config.Registered()
	must(t, err)
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
