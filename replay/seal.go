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
const frameSize = 256 << 10

var encoderOptions = []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true)}

// buffers are for frames on their way to the disk.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

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
	next, err := createJournal(w.path+".journal.new", fullJournal)
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
		w.dir.sealers <- struct{}{}
		defer func() { <-w.dir.sealers }()
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
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var err error
	if *buf, err = j.appendEvents((*buf)[:0]); err != nil {
		return err
	}
	return w.sealFrame(buf, number, at, end)
}

// sealFrame appends events to the transcript, ended by their seal. The buffer
// is used further.
func (w *Writer) sealFrame(frame *[]byte, number int64, at time.Time, end bool) error {
	opt := &w.dir.opt
	e := Event{Type: TypeSeal, Version: Version, Number: number, At: at.UTC().Truncate(time.Microsecond), Prev: hex.EncodeToString(w.prev[:]),
		Key: KeyID(opt.Key.Public().(ed25519.PublicKey))}
	var sum [32]byte
	var encrypted []byte
	if len(opt.Recipients) == 0 {
		h := sha256.New()
		h.Write(w.prev[:])
		h.Write(*frame)
		h.Sum(sum[:0])
		e.Marks = marksOf(*frame)
	} else {
		var err error
		if encrypted, err = encrypt(w.dir.zstd.EncodeAll(*frame, nil), opt.Recipients); err != nil {
			return err
		}
		e.End, sum = end, cryptSum(w.prev, end, encrypted)
	}
	e.Sum = hex.EncodeToString(sum[:])
	e.Signature = hex.EncodeToString(ed25519.Sign(opt.Key, sealText(w.id, &e)))
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var raw []byte
	if encrypted != nil {
		raw = cryptFrame(line, encrypted)
	} else {
		*frame = append(append(*frame, line...), '\n')
		packed := buffers.Get().(*[]byte)
		defer buffers.Put(packed)
		*packed = w.dir.zstd.EncodeAll(*frame, (*packed)[:0])
		raw = *packed
	}
	size, err := appendFile(partPath(w.path, w.part), withCheck(raw))
	if err != nil {
		return err
	}
	w.prev = sum
	if opt.PartSize > 0 && size >= opt.PartSize && !end {
		w.part++
		if opt.Finished != nil {
			opt.Finished()
		}
	}
	return nil
}

// sealText is what a seal's signature is of.
func sealText(id string, e *Event) []byte {
	if e.Version < 2 { // the seals of version 1 do not say theirs
		return fmt.Appendf(nil, "sallyport transcript v1\n%s\n%d\n%s\n", id, e.Number, e.Sum)
	}
	return fmt.Appendf(nil, "sallyport transcript v2\n%s\n%d\n%s\n%s\n", id, e.Number, e.Sum, e.Marks)
}

// KeyID names a public key.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// appendFile appends and syncs, and returns the file's size.
func appendFile(path string, b []byte) (int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err != nil {
		return 0, errors.Join(err, f.Close())
	}
	size, err := f.Seek(0, io.SeekEnd)
	return size, errors.Join(err, f.Close())
}
