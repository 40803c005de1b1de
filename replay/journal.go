package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Sizes of a journal: that of a session that may stay idle, that of one which
// works, and that of one which fills frames. What is not used are zero bytes.
const (
	idleJournal = 4 << 10
	workJournal = 32 << 10
	fullJournal = frameSize + 32<<10
)

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
	// mem is the file's mapping; or, where there is a file to write to, a copy of
	// what was written.
	mem  []byte
	file *os.File

	mu    sync.Mutex // held while mem is put in another's place, and to sync it
	dirty atomic.Bool
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
	switch j.mem, err = mapFile(f, size); {
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
		if j.used+len(b) > len(j.mem) {
			if err := j.grow(j.used + len(b)); err != nil {
				return fmt.Errorf("making room for a journal: %w", err)
			}
		}
		if err := copyMapped(j.mem[j.used:], b); err != nil {
			return err
		}
	}
	j.used += len(b)
	j.dirty.Store(true)
	return nil
}

// grow makes room for n bytes and more.
func (j *journal) grow(n int) error {
	size := workJournal
	if n > size {
		size = fullJournal
	}
	if n > size {
		size = 2 * n
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	mem, err := mapFile(f, size)
	if err != nil { // the disk may have room for what is needed
		mem, err = mapFile(f, n)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	old := j.mem
	j.mem = mem
	return unmap(old)
}

// appendEvents appends what the journal holds.
func (j *journal) appendEvents(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, make([]byte, j.used)...)
	return dst, copyMapped(dst[at:], j.mem[:j.used])
}

// sync makes what was appended survive a power cut.
func (j *journal) sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.dirty.Swap(false) {
		return nil
	}
	if j.file != nil {
		return j.file.Sync()
	}
	return syncMapped(j.mem)
}

// close lets the file go; it stays where it is.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	mem := j.mem
	j.mem = nil
	j.dirty.Store(false)
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
