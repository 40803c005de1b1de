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
	return &Dir{root: root, opt: opt, zstd: enc, open: map[string]*Writer{}}, nil
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
		return nil, errors.Join(err, w.journal.Close())
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
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
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
	left, err := os.ReadFile(journal)
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
	left = left[:bytes.LastIndexByte(left, '\n')+1]
	first, number, err := span(left)
	if err != nil {
		return err
	}
	if len(left) > 0 && first != w.number+1 {
		left = nil // these are in the last frame already
	}
	if len(left) > 0 {
		w.number, ended = number, false
	}
	if !ended {
		w.number++
		e := Event{Type: TypeRecovered, Number: w.number, At: d.opt.Now().UTC().Truncate(time.Microsecond)}
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		w.frame = append(append(left, line...), '\n')
		if err := w.sealTo(true); err != nil {
			return err
		}
	}
	return os.Remove(journal)
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

// span is the numbers of the first and the last event of whole lines.
func span(lines []byte) (first, last int64, err error) {
	for line := range bytes.Lines(lines) {
		var e struct {
			Number int64 `json:"n"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return 0, 0, fmt.Errorf("an event of the journal: %w", err)
		}
		if first == 0 {
			first = e.Number
		}
		last = e.Number
	}
	return first, last, nil
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
