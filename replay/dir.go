package replay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Dir is a folder of transcripts. It is safe for concurrent use.
type Dir struct {
	root string
	opt  Options
	zstd *zstd.Encoder

	link  func(old, second string) error // os.Link
	frame int                            // frameSize
	// sealers has room for as many frames as are packed at the same time.
	sealers chan struct{}

	mu   sync.Mutex
	open map[string]*Writer
}

// Options say how transcripts are written.
type Options struct {
	Key ed25519.PrivateKey // signs
	Now func() time.Time
	// Recipients, if there are any, are who can read what is sealed. The
	// journal of a session is not encrypted until its frame is sealed.
	Recipients []age.Recipient
	// PartSize is how many bytes a part may have before another is begun; 0
	// for one part only.
	PartSize int64
	// Finished, if set, is called when a part is complete: it will not change
	// any more. It must not block.
	Finished func()
}

// OpenDir opens root for writing.
func OpenDir(root string, opt Options) (*Dir, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("making the transcripts' folder: %w", err)
	}
	enc, err := zstd.NewWriter(nil, encoderOptions...)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, opt: opt, zstd: enc, link: os.Link, frame: frameSize, sealers: make(chan struct{}, runtime.GOMAXPROCS(0)), open: map[string]*Writer{}}, nil
}

// Create starts the transcript of a session with its open event, handed to
// the operating system. begin is called in between, once there is a journal:
// what it enters elsewhere is then never without one, and after a crash the
// journal is sealed, whatever it holds.
func (d *Dir) Create(e *Event, begin func() error) (*Writer, error) {
	if e.Type != TypeOpen || e.Session == "" || strings.ContainsAny(e.Session, "/\\.") {
		return nil, errors.New("a transcript begins with an open event")
	}
	e.Version = Version
	w, err := d.create(e.Session)
	if err != nil {
		return nil, err
	}
	err = begin()
	if err == nil {
		err = w.Append(e)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return nil, errors.Join(err, w.journal.close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[e.Session] = w
	return w, nil
}

func (d *Dir) forget(w *Writer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, w.id)
}

// Sync syncs journals each second until ctx ends.
func (d *Dir) Sync(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		open := make([]*Writer, 0, len(d.open))
		for _, w := range d.open {
			open = append(open, w)
		}
		d.mu.Unlock()
		for _, w := range open {
			w.sync()
		}
	}
}

// Changed returns a channel that is closed when the session's transcript has
// grown or ended; nil where the session is not open here.
func (d *Dir) Changed(id string) <-chan struct{} {
	d.mu.Lock()
	w := d.open[id]
	d.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.follow()
}

// Recover seals the journals that a crash has left. It is called before any
// session begins, and returns the sessions that it sealed.
func (d *Dir) Recover() ([]string, error) {
	var journals []string
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".journal") {
			journals = append(journals, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for journals: %w", err)
	}
	var sealed []string
	for _, j := range journals {
		if err := d.recover(j); err != nil {
			return nil, fmt.Errorf("recovering %s: %w", filepath.Base(j), err)
		}
		sealed = append(sealed, strings.TrimSuffix(filepath.Base(j), ".journal"))
	}
	return sealed, nil
}

func (d *Dir) recover(journal string) error {
	base := strings.TrimSuffix(journal, ".journal")
	left, err := readJournal(base)
	if err != nil {
		return err
	}
	sealed, part, size, err := readParts(base)
	if err != nil {
		return err
	}
	frames, rest := splitFrames(sealed)
	if len(rest) > 0 { // the crash came while a frame was appended
		if err := os.Truncate(partPath(base, part), max(0, size-int64(len(rest)))); err != nil {
			return err
		}
	}
	w := &Writer{dir: d, id: filepath.Base(base), path: base, part: max(1, part)}
	ended := false
	if len(frames) > 0 {
		o, err := frames[len(frames)-1].open(nil)
		if err != nil && !errors.Is(err, ErrEncrypted) {
			return err
		}
		w.number = o.seal.Number
		if w.prev, err = sumOf(o.seal.Sum); err != nil {
			return err
		}
		if ended = o.seal.End; o.events != nil {
			if ended, err = endsWell(o.events); err != nil {
				return err
			}
		}
	}
	runs, err := unsealed(left, w.number)
	if err != nil {
		return err
	}
	if err := w.sealRest(runs, ended && len(runs) == 0); err != nil {
		return err
	}
	for _, path := range []string{base + ".sealing", base + ".journal.new"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Remove(journal)
}

// sealRest seals what a crash has left, and ends the session where it was not.
func (w *Writer) sealRest(runs []run, ended bool) error {
	if ended {
		return nil
	}
	now := w.dir.opt.Now().UTC().Truncate(time.Microsecond)
	for len(runs) > 1 {
		if err := w.seal(runs[0].append, runs[0].last+1, now, false); err != nil {
			return err
		}
		runs = runs[1:]
	}
	last := run{last: w.number}
	if len(runs) > 0 {
		last = runs[0]
	}
	line, err := json.Marshal(Event{Type: TypeRecovered, Number: last.last + 1, At: now})
	if err != nil {
		return err
	}
	last.lines = append(append(last.lines, line...), '\n')
	return w.seal(last.append, last.last+2, now, true)
}

// run is events without a gap in their numbers.
type run struct {
	lines []byte
	last  int64
}

func (r *run) append(dst []byte) ([]byte, error) { return append(dst, r.lines...), nil }

// unsealed is what whole lines of a journal hold after the event with the
// number sealed. Each run but the last was to become a frame, whose seal has
// the number that is left out.
func unsealed(lines []byte, sealed int64) (runs []run, err error) {
	for line := range bytes.Lines(lines) {
		n, err := numberOf(line)
		switch {
		case err != nil:
			return nil, err
		case n <= sealed: // it is in a frame already, or was in the other file too
		case len(runs) == 0 || n != sealed+1:
			runs = append(runs, run{lines: bytes.Clone(line), last: n})
			sealed = n
		default:
			r := &runs[len(runs)-1]
			r.lines, r.last = append(r.lines, line...), n
			sealed = n
		}
	}
	return runs, nil
}

func numberOf(line []byte) (int64, error) {
	var e struct {
		Number int64 `json:"n"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return 0, fmt.Errorf("an event of the journal: %w", err)
	}
	return e.Number, nil
}

// endsWell says whether the last of events is one that ends a session.
func endsWell(events []byte) (ended bool, err error) {
	for line := range bytes.Lines(events) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return false, err
		}
		ended = e.Type == TypeClose || e.Type == TypeRecovered
	}
	return ended, nil
}

// Files lists the transcripts below root, oldest first: for a session that is
// still open, or was cut short, the journal alone may be there.
func Files(root string) ([]string, error) {
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base, _, ok := PartOf(path)
		if !ok {
			base, ok = strings.CutSuffix(path, ".journal")
		}
		if ok && !e.IsDir() {
			seen[base+".transcript"] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing transcripts: %w", err)
	}
	var out []string
	for path := range seen {
		out = append(out, path)
	}
	slices.Sort(out)
	return out, nil
}
