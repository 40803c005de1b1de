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
	"path/filepath"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// buffers are for frames on their way to the disk.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// frameSize is how many bytes of events make a full frame.
const frameSize = 256 << 10

// Writer writes one session's transcript. It is safe for concurrent use. An
// error stays: a writer that has failed refuses everything after, so that
// nothing is forwarded that cannot be recorded.
type Writer struct {
	dir  *Dir
	id   string
	path string // of the transcript, without its ending
	part int    // that frames are appended to, from 1

	mu      sync.Mutex
	err     error
	journal *os.File
	buf     []byte // events not yet handed to the operating system
	frame   []byte // events of the open frame that were
	number  int64
	totals  Totals
	prev    [32]byte
	dirty   bool // handed over, not synced
	closed  bool
	changed chan struct{} // closed and replaced at each flush, for who follows
}

func (d *Dir) create(id string) (*Writer, error) {
	path := filepath.Join(d.root, filepath.FromSlash(Day(id)), id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making a transcript's folder: %w", err)
	}
	j, err := os.OpenFile(path+".journal", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a journal: %w", err)
	}
	return &Writer{dir: d, id: id, path: path, part: 1, journal: j, changed: make(chan struct{})}, nil
}

// Append adds an event; it gets its number here. It reaches the operating
// system with the next Flush.
func (w *Writer) Append(e *Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	w.number++
	e.Number = w.number
	e.At = e.At.UTC().Truncate(time.Microsecond)
	if w.totals.count(e); e.Type == TypeClose {
		e.Totals = &w.totals
	}
	b, err := appendEvent(w.buf, e)
	if err != nil {
		return w.fail(fmt.Errorf("writing an event: %w", err))
	}
	w.buf = b
	return w.roll()
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
	return w.err
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// AppendRow adds a rows event with one row, without going through reflection.
// columns is set for a result's first row. Cells may be nil for NULL; bytes
// that are no UTF-8 become U+FFFD.
func (w *Writer) AppendRow(id int64, at time.Time, columns []string, cells [][]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	w.number++
	b := append(w.buf, `{"t":"rows","n":`...)
	b = strconv.AppendInt(b, w.number, 10)
	b = append(b, `,"at":"`...)
	b = at.UTC().Truncate(time.Microsecond).AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","id":`...)
	b = strconv.AppendInt(b, id, 10)
	if columns != nil {
		b = append(b, `,"columns":[`...)
		for i, c := range columns {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, []byte(c))
		}
		b = append(b, ']')
	}
	b = append(b, `,"rows":[[`...)
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		if c == nil {
			b = append(b, "null"...)
		} else {
			b = appendJSON(b, c)
		}
	}
	w.buf = append(b, "]]}\n"...)
	return w.roll()
}

// appendJSON writes a JSON string.
func appendJSON(dst, s []byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		}
	}
	return append(dst, '"')
}

// roll seals the frame once it is full.
func (w *Writer) roll() error {
	if len(w.frame)+len(w.buf) < frameSize {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.seal(false)
}

// Flush hands what was appended to the operating system.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) flush() error {
	if w.err != nil {
		return w.err
	}
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.journal.Write(w.buf); err != nil {
		return w.fail(fmt.Errorf("recording: %w", err))
	}
	w.frame = append(w.frame, w.buf...)
	w.buf = w.buf[:0]
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	w.dirty = true
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// seal makes the journal's bytes a frame of the transcript. end says that it
// is the last.
func (w *Writer) seal(end bool) error {
	if w.err != nil || len(w.frame) == 0 {
		return w.err
	}
	err := w.sealTo(end)
	if err == nil {
		err = w.journal.Truncate(0)
	}
	if err == nil {
		_, err = w.journal.Seek(0, 0)
	}
	if err != nil {
		return w.fail(fmt.Errorf("sealing a frame: %w", err))
	}
	w.frame, w.dirty = w.frame[:0], false
	return nil
}

// sealTo appends the open frame to the transcript, ended by its seal.
func (w *Writer) sealTo(end bool) error {
	opt := &w.dir.opt
	w.number++
	e := Event{Type: TypeSeal, Version: Version, Number: w.number, At: opt.Now().UTC().Truncate(time.Microsecond), Prev: hex.EncodeToString(w.prev[:]),
		Key: KeyID(opt.Key.Public().(ed25519.PublicKey))}
	var sum [32]byte
	var encrypted []byte
	if len(opt.Recipients) == 0 {
		h := sha256.New()
		h.Write(w.prev[:])
		h.Write(w.frame)
		h.Sum(sum[:0])
		e.Marks = marksOf(w.frame)
	} else {
		var err error
		if encrypted, err = encrypt(w.dir.zstd.EncodeAll(w.frame, nil), opt.Recipients); err != nil {
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
		w.frame = append(append(w.frame, line...), '\n') // it is emptied, or never used again
		packed := buffers.Get().(*[]byte)
		defer buffers.Put(packed)
		*packed = w.dir.zstd.EncodeAll(w.frame, (*packed)[:0])
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

// Close appends the close event, seals and ends the transcript. end is given
// its head before the journal goes: while there is one the transcript is not
// taken for complete, and the next start ends what could not be ended here.
func (w *Writer) Close(e *Event, end func(Head) error) error {
	err := w.Append(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = errors.Join(w.flush(), w.seal(true))
	}
	w.closed = true
	w.dir.forget(w)
	err = errors.Join(err, w.journal.Close())
	if err == nil {
		err = end(Head{Number: w.number, Sum: hex.EncodeToString(w.prev[:])})
	}
	if err == nil {
		err = os.Remove(w.path + ".journal")
	}
	close(w.changed)
	w.changed = make(chan struct{})
	if f := w.dir.opt.Finished; err == nil && f != nil {
		f()
	}
	return err
}

// sync makes what was handed over survive a power cut.
func (w *Writer) sync() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dirty && !w.closed && w.err == nil {
		w.dirty = false
		if err := w.journal.Sync(); err != nil {
			_ = w.fail(fmt.Errorf("syncing a journal: %w", err))
		}
	}
}

var encoderOptions = []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true)}
