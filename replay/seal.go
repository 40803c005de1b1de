package replay

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// frameSize is how many bytes of events make a full frame.
const frameSize = 1 << 20

// encoderOptions are those of Dir.zstd: what lies further back in a frame than
// the window is not worth its memory, twice the window for each processor.
var encoderOptions = []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(frameSize), zstd.WithEncoderCRC(true)}

// packing is a frame on its way to the disk: its lines, and what becomes of them.
type packing struct{ lines, packed []byte }

var packings = sync.Pool{New: func() any { return &packing{} }}

// sealing is a full frame that is being sealed while its session goes on.
type sealing struct {
	journal *journal
	done    chan struct{}
	err     error // once done
}

// rotate begins a new journal and has the full one sealed beside the session.
// There is a journal at any moment, and nothing is in none: after a crash the
// next start finds the full one under its second name, if it was not sealed.
func (w *Writer) rotate() error {
	if err := w.sealed(); err != nil {
		return err
	}
	old, full := w.journal, w.path+".sealing"
	next, err := createJournal(w.path+".journal.new", journalStep)
	if err != nil {
		return err
	}
	w.number++ // the seal's
	number, at := w.number, w.dir.opt.Now()
	err = w.dir.link(old.path, full)
	beside := err == nil
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) { // no second names here: it waits
		err = w.sealJournal(old, number, at, false)
	}
	if err == nil {
		err = os.Rename(next.path, old.path)
	}
	if err != nil {
		return fmt.Errorf("beginning a journal: %w", errors.Join(err, next.close()))
	}
	next.path, w.journal = old.path, next
	w.said.reset()
	if !beside {
		return old.close()
	}
	s := &sealing{journal: old, done: make(chan struct{})}
	w.sealing = s
	go func() { // sealed awaits it
		defer close(s.done)
		defer func() {
			if r := recover(); r != nil {
				s.err = fmt.Errorf("panic: %v", r)
			}
		}()
		if s.err = w.sealJournal(old, number, at, false); s.err == nil {
			s.err = errors.Join(os.Remove(full), old.close())
		}
	}()
	return nil
}

// sealed waits until the frame before the open one is sealed.
func (w *Writer) sealed() error {
	s := w.sealing
	if s == nil {
		return nil
	}
	<-s.done
	if w.sealing = nil; s.err != nil {
		return w.fail(fmt.Errorf("sealing a frame: %w", errors.Join(s.err, s.journal.close())))
	}
	return nil
}

// sealJournal makes a journal's events a frame of the transcript, whose seal
// has that number. end says that it is the last.
func (w *Writer) sealJournal(j *journal, number int64, at time.Time, end bool) error {
	return w.seal(j.appendEvents, number, at, end)
}

// seal appends events to the transcript, ended by their seal. As many as there
// are processors are packed at a time; any number may wait for the disk.
func (w *Writer) seal(events func(dst []byte) ([]byte, error), number int64, at time.Time, end bool) error {
	var sum [32]byte
	f, err := func() (f *os.File, err error) {
		w.dir.sealers <- struct{}{}
		defer func() { <-w.dir.sealers }()
		p := packings.Get().(*packing)
		defer packings.Put(p)
		if p.lines, err = events(p.lines[:0]); err != nil {
			return nil, err
		}
		if sum, err = w.pack(p, number, at, end); err != nil {
			return nil, err
		}
		return appendFile(partPath(w.path, w.part), p.packed)
	}()
	if err != nil {
		return err
	}
	err = f.Sync()
	size, serr := f.Seek(0, io.SeekEnd)
	if err = errors.Join(err, serr, f.Close()); err != nil {
		return err
	}
	w.prev = sum
	if opt := &w.dir.opt; opt.PartSize > 0 && size >= opt.PartSize && !end {
		w.part++
		if opt.Finished != nil {
			opt.Finished()
		}
	}
	return nil
}

// pack makes a frame of the lines, ended by their seal. It returns the sum that
// the next frame follows.
func (w *Writer) pack(p *packing, number int64, at time.Time, end bool) (sum [32]byte, err error) {
	opt := &w.dir.opt
	e := Event{Type: TypeSeal, Version: Version, Number: number, At: at.UTC().Truncate(time.Microsecond), Prev: hex.EncodeToString(w.prev[:]),
		Key: KeyID(opt.Key.Public().(ed25519.PublicKey))}
	var encrypted []byte
	if len(opt.Recipients) == 0 {
		sum, e.Marks = sumLines(w.prev, p.lines)
	} else {
		if encrypted, err = encrypt(w.dir.zstd.EncodeAll(p.lines, p.packed[:0]), opt.Recipients); err != nil {
			return sum, err
		}
		e.End, sum = end, cryptSum(w.prev, end, encrypted)
	}
	e.Sum = hex.EncodeToString(sum[:])
	e.Signature = hex.EncodeToString(ed25519.Sign(opt.Key, sealText(w.id, &e)))
	line, err := json.Marshal(e)
	if err != nil {
		return sum, err
	}
	if encrypted != nil {
		p.packed = cryptFrame(line, encrypted)
	} else {
		p.lines = append(append(p.lines, line...), '\n')
		p.packed = w.dir.zstd.EncodeAll(p.lines, p.packed[:0])
	}
	p.packed = withCheck(p.packed)
	return sum, nil
}

// lineSums is the version from which on a plain frame's sum is over its lines'
// sums.
const lineSums = 4

// sealText is what a seal's signature is of.
func sealText(id string, e *Event) []byte {
	if e.Version < 2 { // the seals of version 1 do not say theirs
		return fmt.Appendf(nil, "sallyport transcript v1\n%s\n%d\n%s\n", id, e.Number, e.Sum)
	}
	version := 2
	if e.Version >= lineSums {
		version = 4
	}
	return fmt.Appendf(nil, "sallyport transcript v%d\n%s\n%d\n%s\n%s\n", version, id, e.Number, e.Sum, e.Marks)
}

// KeyID names a public key.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// appendFile appends to a file, which the caller syncs and closes.
func appendFile(path string, b []byte) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
