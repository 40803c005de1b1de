package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Summary is what a list shows of a session.
type Summary struct {
	ID         string     `json:"id"`
	Identity   string     `json:"identity"`
	Target     string     `json:"target"`
	Database   string     `json:"database"`
	Address    string     `json:"address"`
	Started    time.Time  `json:"started"`
	Ended      *time.Time `json:"ended,omitempty"`
	Live       bool       `json:"live"`
	Statements int64      `json:"statements"`
	Refused    int64      `json:"refused"`
	Rows       int64      `json:"rows"`
	Bytes      int64      `json:"bytes"`
	End        string     `json:"end,omitempty"` // why it ended
}

func (s *Summary) opened(e *Event) {
	s.Identity, s.Target, s.Database, s.Address, s.Started = nameOf(e), e.Target, e.Database, e.Address, e.At
}

func (s *Summary) ended(e *Event) {
	at := e.At
	s.Ended, s.End = &at, e.Reason
	if e.Type == TypeRecovered {
		s.End = "crash"
	}
}

func (s *Summary) total(t *Totals) {
	s.Statements, s.Refused, s.Rows, s.Bytes = t.Statements, t.Refused, t.Rows, t.Bytes
}

// Summarize reads a transcript for a list: its ends, where they say enough. An
// unreadable one gives what could be read with the error.
func Summarize(path string, identities []age.Identity) (Summary, error) {
	if s, ok := summarizeFile(path); ok {
		return s, nil
	}
	s := Summary{ID: SessionOf(path)}
	var t Totals
	err := Read(path, identities, func(e *Event) error {
		t.count(e)
		switch e.Type {
		case TypeOpen:
			s.opened(e)
		case TypeClose, TypeRecovered:
			s.ended(e)
		}
		return nil
	})
	s.total(&t)
	return s, err
}

// summarizeFile is SummarizeEnds of a session that has ended.
func summarizeFile(path string) (Summary, bool) {
	if _, err := os.Stat(Journal(path)); !errors.Is(err, fs.ErrNotExist) {
		return Summary{}, false
	}
	parts, err := Parts(path)
	if err != nil || len(parts) == 0 || parts[0] != partPath(baseOf(path), 1) {
		return Summary{}, false
	}
	first, err := os.Open(parts[0])
	if err != nil {
		return Summary{}, false
	}
	defer first.Close()
	last, err := os.Open(parts[len(parts)-1])
	if err != nil {
		return Summary{}, false
	}
	defer last.Close()
	info, err := last.Stat()
	if err != nil {
		return Summary{}, false
	}
	s, err := SummarizeEnds(SessionOf(path), first, last, info.Size())
	return s, err == nil
}

// ErrWhole says that a transcript's ends do not say enough for a summary: it is
// of before version 2's totals, was cut short by a crash, or is broken.
var ErrWhole = errors.New("the transcript must be read as a whole")

const (
	firstRead = 16 << 10 // bytes, of either end
	mostRead  = 4 << 20
)

// SummarizeEnds makes the summary of a session that has ended from the
// beginning of its first part and the end of its last, which has size bytes. It
// reads some ten kilobytes of each, whatever their size. The error is ErrWhole, or
// ErrEncrypted, or a reader's.
func SummarizeEnds(id string, first, last io.ReaderAt, size int64) (Summary, error) {
	s := Summary{ID: id}
	opened, err := firstEvent(first)
	if err != nil {
		return s, err
	}
	s.opened(opened)
	closed, err := lastEvent(last, size)
	if err != nil {
		return s, err
	}
	s.ended(closed)
	s.total(closed.Totals)
	return s, nil
}

// streams decode the beginning of a frame without the rest of it.
var streams = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil
	}
	return d
}}

// firstEvent reads the open event.
func firstEvent(r io.ReaderAt) (*Event, error) {
	head, err := readAt(r, 0, firstRead)
	if err != nil {
		return nil, err
	}
	if (frame{raw: head}).encrypted() {
		return nil, ErrEncrypted
	}
	d, ok := streams.Get().(*zstd.Decoder)
	if !ok {
		return nil, ErrWhole
	}
	defer streams.Put(d)
	defer d.Reset(nil)
	if err := d.Reset(bytes.NewReader(head)); err != nil {
		return nil, ErrWhole
	}
	line, err := bufio.NewReader(d).ReadSlice('\n')
	if err != nil {
		return nil, ErrWhole
	}
	e, err := parseEvent(line, 0)
	if err != nil || e.Type != TypeOpen {
		return nil, ErrWhole
	}
	return e, nil
}

// lastEvent reads the close event, in the frame that ends the part.
func lastEvent(r io.ReaderAt, size int64) (*Event, error) {
	for n := int64(firstRead); ; n *= 8 {
		n = min(n, size)
		tail, err := readAt(r, size-n, n)
		if err != nil {
			return nil, err
		}
		f, ok := lastFrame(tail, n == size)
		if !ok {
			if n == size || n >= mostRead {
				return nil, ErrWhole
			}
			continue
		}
		o, err := f.open(nil)
		if err != nil {
			return nil, ErrWhole
		}
		events := bytes.TrimSuffix(o.events, []byte{'\n'})
		e, err := parseEvent(events[bytes.LastIndexByte(events, '\n')+1:], 0)
		if err != nil || e.Type != TypeClose || e.Totals == nil {
			return nil, ErrWhole
		}
		return e, nil
	}
}

// lastFrame finds the frame that b ends with; whole says that b begins with one.
func lastFrame(b []byte, whole bool) (frame, bool) {
	for at := len(b) - checkLength; at > 0; {
		at = bytes.LastIndex(b[:at], []byte(checkHead))
		start := at + checkLength // of what follows a frame's sum, if it is one
		if at < 0 {
			if !whole {
				return frame{}, false
			}
			start = 0
		}
		if start < len(b) {
			if frames, rest := splitFrames(b[start:]); len(frames) == 1 && len(rest) == 0 || start == 0 && len(frames) > 0 && len(rest) == 0 {
				return frames[len(frames)-1], true
			}
		}
	}
	return frame{}, false
}

// readAt reads at most n bytes.
func readAt(r io.ReaderAt, offset, n int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := r.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading a transcript: %w", err)
	}
	return b[:got], nil
}
