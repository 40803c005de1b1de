package httpgate

import (
	"sync/atomic"
	"time"
)

// silence interrupts a connection whose other side says nothing for too long.
// Its timer is not set for each exchange: it looks when it fires.
type silence struct {
	timeout   time.Duration
	interrupt func()
	until     atomic.Int64 // since began: when it is too long; 0 for nothing expected, tooLate where it was
	armed     atomic.Bool
	timer     *time.Timer
}

const tooLate = -1

// began is what until counts from.
var began = time.Now()

// set readies it, before anything is expected.
func (s *silence) set(timeout time.Duration, interrupt func()) {
	s.timeout, s.interrupt = timeout, interrupt
	s.timer = time.AfterFunc(time.Hour, s.look)
	s.timer.Stop()
}

// begin expects something.
func (s *silence) begin() {
	s.until.Store(int64(time.Since(began) + s.timeout))
	if s.armed.CompareAndSwap(false, true) {
		s.timer.Reset(s.timeout)
	}
}

// broken says that something has come, and more is expected.
func (s *silence) broken() {
	if u := s.until.Load(); u > 0 {
		s.until.CompareAndSwap(u, int64(time.Since(began)+s.timeout))
	}
}

// late says that it took too long.
func (s *silence) late() bool { return s.until.Load() == tooLate }

// end expects nothing more. False says that it took too long.
func (s *silence) end() bool { return s.until.Swap(0) != tooLate }

// look is the timer's: it interrupts, or fires again when it may be time.
func (s *silence) look() {
	for {
		u := s.until.Load()
		if u <= 0 {
			s.armed.Store(false)
			if s.until.Load() <= 0 || !s.armed.CompareAndSwap(false, true) {
				return
			}
			continue // it was begun meanwhile, and found the timer armed
		}
		if left := time.Duration(u) - time.Since(began); left > 0 {
			s.timer.Reset(left)
			return
		}
		if s.until.CompareAndSwap(u, tooLate) {
			s.interrupt()
		}
	}
}
