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

	"github.com/klauspost/compress/zstd"
)

// Dir is a folder of transcripts. It is safe for concurrent use.
type Dir struct {
	root string
	key  ed25519.PrivateKey
	now  func() time.Time
	zstd *zstd.Encoder

	mu   sync.Mutex
	open map[string]*Writer
}

// OpenDir opens root for writing, with the key that signs.
func OpenDir(root string, key ed25519.PrivateKey, now func() time.Time) (*Dir, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("making the transcripts' folder: %w", err)
	}
	enc, err := zstd.NewWriter(nil, encoderOptions...)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, key: key, now: now, zstd: enc, open: map[string]*Writer{}}, nil
}

// Create starts the transcript of a session with its open event, handed to
// the operating system.
func (d *Dir) Create(e *Event) (*Writer, error) {
	if e.Type != TypeOpen || e.Session == "" || strings.ContainsAny(e.Session, "/\\.") {
		return nil, errors.New("a transcript begins with an open event")
	}
	e.Version = Version
	w, err := d.create(e.Session, e.At)
	if err != nil {
		return nil, err
	}
	if err := w.Append(e); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
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
// session begins, and says how many it sealed.
func (d *Dir) Recover() (int, error) {
	var journals []string
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".journal") {
			journals = append(journals, path)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("looking for journals: %w", err)
	}
	for _, j := range journals {
		if err := d.recover(j); err != nil {
			return 0, fmt.Errorf("recovering %s: %w", filepath.Base(j), err)
		}
	}
	return len(journals), nil
}

func (d *Dir) recover(journal string) error {
	base := strings.TrimSuffix(journal, ".journal")
	left, err := os.ReadFile(journal)
	if err != nil {
		return err
	}
	sealed, err := os.ReadFile(base + ".transcript")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	frames, rest := splitFrames(sealed)
	if len(rest) > 0 { // the crash came while a frame was appended
		if err := os.Truncate(base+".transcript", int64(len(sealed)-len(rest))); err != nil {
			return err
		}
	}
	var prev [32]byte
	last := int64(0)
	if len(frames) > 0 {
		e, err := frames[len(frames)-1].seal()
		if err != nil {
			return err
		}
		last = e.Number
		if prev, err = sumOf(e.Sum); err != nil {
			return err
		}
	}
	left = left[:bytes.LastIndexByte(left, '\n')+1]
	first, number, err := span(left)
	if err != nil {
		return err
	}
	if len(left) > 0 && first != last+1 {
		left, number = nil, last // these are in the last frame already
	}
	if len(left) == 0 {
		number = last
	}
	ended, err := endsWell(frames, left)
	if err != nil {
		return err
	}
	if number > 0 && !ended {
		e := Event{Type: TypeRecovered, Number: number + 1, At: d.now().UTC().Truncate(time.Microsecond)}
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		framed, _, err := d.sealFrame(filepath.Base(base), number+2, prev, append(append(left, line...), '\n'))
		if err != nil {
			return err
		}
		if err := appendFile(base+".transcript", framed); err != nil {
			return err
		}
	}
	return os.Remove(journal)
}

// endsWell says whether a session's last event is one that ends it.
func endsWell(frames []frame, left []byte) (bool, error) {
	lines := left
	if len(lines) == 0 && len(frames) > 0 {
		b, err := frames[len(frames)-1].lines()
		if err != nil {
			return false, err
		}
		if lines, _, err = splitSeal(b); err != nil {
			return false, err
		}
	}
	ended := false
	for line := range bytes.Lines(lines) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return false, err
		}
		ended = e.Type == TypeClose || e.Type == TypeRecovered
	}
	return ended && len(left) == 0, nil
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
		for _, ending := range []string{".transcript", ".journal"} {
			if base, ok := strings.CutSuffix(path, ending); ok && !e.IsDir() {
				seen[base+".transcript"] = true
			}
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
