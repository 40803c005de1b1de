package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// Sizes of a journal: that of a session that may stay idle, that of one which
// works, and that of one which fills frames, which it comes to in steps. What
// is not used are zero bytes.
const (
	idleJournal = 4 << 10
	workJournal = 32 << 10
	fullJournal = frameSize + 32<<10
	journalStep = fullJournal / 4
)

// zeros are what a journal's new room is filled with: to write many pages at
// once costs a fraction of a fault for each of them.
var zeros [journalStep]byte

// journal is the file of a session's events that are not sealed yet. Its
// blocks are allocated ahead and mapped into memory, so that what is copied
// there is the operating system's: kill -9 loses nothing of it, and it takes
// no call. A full disk is told by the allocation. Where the file system cannot
// do that, the file is written to.
//
// One goroutine at a time appends and reads; sync may be called beside it.
type journal struct {
	path string
	used int
	// room is how much of mem has blocks: it may be mapped beyond the file's end.
	room int
	// mem is the file's mapping; or, where there is a file to write to, a copy of
	// what was written.
	mem  []byte
	file *os.File

	written atomic.Int64 // used, for sync

	mu     sync.Mutex // held while mem is put in another's place, and to sync it
	synced int64
}

// errNotMapped is a file system that cannot map allocated blocks.
var errNotMapped = errors.New("files of this file system are not mapped")

// createJournal makes a new file of that many bytes.
func createJournal(path string, size int) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a journal: %w", err)
	}
	j := &journal{path: path}
	switch err = j.extend(f, size); {
	case errors.Is(err, errNotMapped):
		j.file = f
		return j, nil
	case err == nil:
		err = f.Close() // the mapping stays
	default:
		err = errors.Join(err, f.Close(), os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("making room for a journal: %w", err)
	}
	return j, nil
}

// append hands events to the operating system.
func (j *journal) append(b []byte) error {
	if j.file != nil {
		if _, err := j.file.Write(b); err != nil {
			return err
		}
		j.mem = append(j.mem[:j.used], b...)
	} else {
		if j.used+len(b) > j.room {
			if err := j.grow(j.used + len(b)); err != nil {
				return fmt.Errorf("making room for a journal: %w", err)
			}
		}
		if err := copyMapped(j.mem[j.used:j.room], b); err != nil {
			return err
		}
	}
	j.used += len(b)
	j.written.Store(int64(j.used))
	return nil
}

// grow makes room for n bytes and more.
func (j *journal) grow(n int) error {
	size := workJournal
	for size < n && size < journalStep/2 {
		size *= 2
	}
	if n > size {
		size = (n + journalStep - 1) / journalStep * journalStep
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = j.extend(f, size); err != nil { // the disk may have room for what is needed
		err = j.extend(f, n)
	}
	return errors.Join(err, f.Close())
}

// extend gives the file blocks up to size, and maps them.
func (j *journal) extend(f *os.File, size int) error {
	if err := allocate(f, size); err != nil {
		return err
	}
	if size > len(j.mem) {
		if err := j.remap(f, size); err != nil {
			return err
		}
	}
	if size > idleJournal {
		for at := j.room; at < size; {
			n, err := f.WriteAt(zeros[:min(size-at, len(zeros))], int64(at))
			if err != nil {
				return err
			}
			at += n
		}
	}
	j.room = size
	return nil
}

// remap maps the file anew: as far as a full journal goes, but for one of a
// session that may stay idle.
func (j *journal) remap(f *os.File, size int) error {
	if size > idleJournal {
		size = max(size, fullJournal)
	}
	mem, err := mapFile(f, size)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	old := j.mem
	j.mem = mem
	return unmap(old)
}

// sealRoom is for the seal after events, whose marks have 3 bytes an event.
const sealRoom = 16 << 10

// appendEvents appends what the journal holds.
func (j *journal) appendEvents(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = slices.Grow(dst, j.used+sealRoom)[:at+j.used]
	return dst, copyMapped(dst[at:], j.mem[:j.used])
}

// sync makes what was appended survive a power cut.
func (j *journal) sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	from, to := j.synced, j.written.Load()
	if from == to {
		return nil
	}
	j.synced = to
	if j.file != nil {
		return j.file.Sync()
	}
	return syncMapped(j.mem[from/pageSize*pageSize : to])
}

// pageSize is where a mapping's parts may begin.
var pageSize = int64(os.Getpagesize())

// close lets the file go; it stays where it is.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	mem := j.mem
	j.mem = nil
	j.synced = j.written.Load()
	if j.file != nil {
		return j.file.Close()
	}
	return unmap(mem)
}

// copyMapped copies to or from a mapped file. What would be a fault, since the
// disk is broken or somebody has cut the file, is an error.
func copyMapped(dst, src []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r)
			}
			err = fmt.Errorf("the mapped journal: %v", r)
		}
	}()
	copy(dst, src)
	return nil
}

// readJournal reads the events that are not sealed at base, nil where the
// session has no journal: first those of a frame that is on its way. What
// moves there meanwhile is seen twice instead of not at all.
func readJournal(base string) ([]byte, error) {
	var both [2][]byte
	for i, path := range []string{base + ".journal", base + ".sealing"} {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading a journal: %w", err)
		}
		if err == nil {
			both[i] = wholeLines(b)
		}
	}
	if both[1] == nil {
		return both[0], nil
	}
	return append(both[1], both[0]...), nil
}

// wholeLines are the events of a journal's file: up to its last whole line, or
// to what a power cut has kept from it. It is never nil.
func wholeLines(b []byte) []byte {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return b[: bytes.LastIndexByte(b, '\n')+1 : len(b)]
}
