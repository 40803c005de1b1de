package throwaway

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	scratchPattern = "sallyport-run-*"
	scratchLock    = "lock"
)

// scratch is one server's temporary directory. A lock that ends with this process says that it is in
// use, so that later starts can remove what a killed process left.
type scratch struct {
	dir  string
	lock *os.File
}

// newScratch makes a temporary directory that only the account may enter, and removes abandoned ones.
func newScratch(as account) (*scratch, error) {
	sweep()
	dir, err := os.MkdirTemp("", scratchPattern)
	if err != nil {
		return nil, fmt.Errorf("making the server's directory: %w", err)
	}
	s := &scratch{dir: dir}
	if err := s.hold(as); err != nil {
		s.remove()
		return nil, fmt.Errorf("making the server's directory: %w", err)
	}
	return s, nil
}

// hold locks the directory. The lock file gets its name once it is locked: sweep never finds one that
// is not held yet.
func (s *scratch) hold(as account) error {
	early := filepath.Join(s.dir, scratchLock+".new")
	f, err := os.OpenFile(early, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.lock = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if err := os.Rename(early, filepath.Join(s.dir, scratchLock)); err != nil {
		return err
	}
	return as.own(s.dir)
}

// remove deletes the directory and gives the lock back.
func (s *scratch) remove() error {
	err := os.RemoveAll(s.dir)
	if s.lock != nil {
		s.lock.Close()
	}
	return err
}

// sweep removes the directories whose lock nobody holds. What it may not read or remove is left.
func sweep() {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), scratchPattern, scratchLock))
	for _, path := range locks {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		f.Close()
	}
}
