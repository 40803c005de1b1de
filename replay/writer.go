package replay

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Writer writes one session's transcript. It is safe for concurrent use. An
// error stays: a writer that has failed refuses everything after, so that
// nothing is forwarded that cannot be recorded.
type Writer struct {
	dir  *Dir
	id   string
	path string // of the transcript, without its ending

	mu      sync.Mutex
	err     error
	journal *journal
	buf     []byte // events not yet handed to the operating system
	number  int64
	totals  Totals
	closed  bool
	changed chan struct{} // closed at the next flush, where somebody follows
	sealing *sealing      // of the frame before, nil once it was seen to end
	said    statements    // of the open frame
	rows    rowsEvent

	// Of whoever seals; one at a time does.
	part int // that frames are appended to, from 1
	prev [32]byte
}

func (d *Dir) create(id string) (*Writer, error) {
	path := filepath.Join(d.root, filepath.FromSlash(Day(id)), id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making a transcript's folder: %w", err)
	}
	j, err := createJournal(path+".journal", idleJournal)
	if err != nil {
		return nil, err
	}
	return &Writer{dir: d, id: id, path: path, part: 1, journal: j}, nil
}

// Append adds an event; it gets its number here, and what it has in common
// with an earlier statement is taken from it. It reaches the operating system
// with the next Flush. Facts and decision must not be changed afterwards.
func (w *Writer) Append(e *Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if err := w.append(e); err != nil {
		return err
	}
	return w.roll()
}

func (w *Writer) append(e *Event) error {
	w.number++
	e.Number = w.number
	e.At = e.At.UTC().Truncate(time.Microsecond)
	if w.totals.count(e); e.Type == TypeClose {
		e.Totals = &w.totals
	}
	if e.Same = w.said.find(e); e.Same != 0 {
		(&common{}).put(e)
	}
	b, err := appendEvent(w.buf, e)
	if err != nil {
		return w.fail(fmt.Errorf("writing an event: %w", err))
	}
	w.buf = b
	return nil
}

func appendRaw(dst []byte, key string, value json.RawMessage) []byte {
	if value == nil {
		return dst
	}
	return append(append(append(append(dst, ',', '"'), key...), '"', ':'), value...)
}

func (w *Writer) usable() error {
	if w.closed {
		return errors.New("the transcript is closed")
	}
	if w.sealing != nil {
		select {
		case <-w.sealing.done:
			return errors.Join(w.sealed(), w.err)
		default:
		}
	}
	return w.err
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// roll has the frame sealed once it is full.
func (w *Writer) roll() error {
	if w.journal.used+len(w.buf) < w.dir.frame {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.rotate(); err != nil {
		return w.fail(err)
	}
	return nil
}

// Flush hands what was appended to the operating system.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) flush() error {
	if err := w.usable(); err != nil || len(w.buf) == 0 {
		return err
	}
	if err := w.journal.append(w.buf); err != nil {
		return w.fail(fmt.Errorf("recording: %w", err))
	}
	w.buf, w.rows = w.buf[:0], rowsEvent{}
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	w.tell()
	return nil
}

// tell wakes who follows.
func (w *Writer) tell() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// follow is closed when there is more, or the end.
func (w *Writer) follow() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
		if w.closed {
			close(w.changed)
		}
	}
	return w.changed
}

// Close appends the close event, seals and ends the transcript. end is given
// its head before the journal goes: while there is one the transcript is not
// taken for complete, and the next start ends what could not be ended here.
func (w *Writer) Close(e *Event, end func(Head) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.usable()
	if err == nil {
		err = w.append(e)
	}
	if err == nil {
		err = w.flush()
	}
	err = errors.Join(err, w.sealed())
	if err == nil {
		w.number++
		err = w.sealJournal(w.journal, w.number, w.dir.opt.Now(), true)
	}
	w.closed = true
	w.dir.forget(w)
	err = errors.Join(err, w.journal.close())
	if err == nil {
		err = end(Head{Number: w.number, Sum: hex.EncodeToString(w.prev[:])})
	}
	if err == nil {
		err = os.Remove(w.journal.path)
	}
	w.tell()
	if f := w.dir.opt.Finished; err == nil && f != nil {
		f()
	}
	return err
}

// sync makes what was handed over survive a power cut. The session goes on
// meanwhile.
func (w *Writer) sync() {
	w.mu.Lock()
	usable := w.usable() == nil
	ours, before := w.journal, w.sealing
	w.mu.Unlock()
	if !usable {
		return
	}
	err := ours.sync()
	if before != nil {
		err = errors.Join(err, before.journal.sync())
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		_ = w.fail(fmt.Errorf("syncing a journal: %w", err))
	}
}
