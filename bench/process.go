package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ticks are a second's, by which Linux counts processor time (USER_HZ).
const ticks = 100

// cpu is the processor time that the way's proxy has used, in seconds, with
// its workers.
//
// Source: proc(5), /proc/pid/stat, utime and stime.
func (w way) cpu() (sum float64) {
	for _, pid := range append([]int{w.pid}, w.workers...) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || pid == 0 {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, s := range f[11:13] {
			n, _ := strconv.ParseFloat(s, 64)
			sum += n / ticks
		}
	}
	return sum
}

// memory is the process's own resident memory in bytes, without the pages of
// its program's file, which the system drops as it likes.
func memory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// calm waits until the memory has stayed as it is for a while, and returns it.
func calm(ctx context.Context, pid int) int64 {
	last := memory(pid)
	for range 20 {
		select {
		case <-ctx.Done():
			return last
		case <-time.After(500 * time.Millisecond):
		}
		now := memory(pid)
		if now-last < 256<<10 && last-now < 256<<10 {
			return now
		}
		last = now
	}
	return last
}

// idleMemory is the memory of a process that has had nothing to do for a while.
func idleMemory(ctx context.Context, pid int) int64 {
	select {
	case <-ctx.Done():
	case <-time.After(12 * time.Second):
	}
	return calm(ctx, pid)
}

// peak samples the memory until stop, which returns the most that was seen.
func peak(pid int) (stop func() int64) {
	end, most := make(chan struct{}), int64(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, memory(pid))
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	})
	return func() int64 { close(end); wg.Wait(); return most }
}

// raiseDescriptors lets this process and its children open as many files as
// many sessions need, and returns how many that is.
func raiseDescriptors() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	for _, want := range []syscall.Rlimit{{Cur: max(r.Max, 65536), Max: max(r.Max, 65536)}, {Cur: r.Max, Max: r.Max}} {
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
			return int(min(want.Cur, 1<<20))
		}
	}
	return int(min(r.Cur, 1<<20))
}

// ends are what ends all that was started.
type ends []func()

func (e *ends) add(f func()) { *e = append(*e, f) }

// run ends the last first.
func (e *ends) run() {
	for _, f := range slices.Backward(*e) {
		f()
	}
}
