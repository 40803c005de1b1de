package proxy

import (
	"context"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// How long nothing must be asked before memory is given back, and how much it
// must be.
const (
	calmTime   = 5 * time.Second
	worthwhile = 8 << 20
)

// giveBack returns memory to the system while nobody asks anything: after a
// burst the collector would keep as much again as is in use, and what many
// idle sessions cost would be twice what they hold.
func (e *Engine) giveBack(ctx context.Context) {
	tick := time.NewTicker(calmTime)
	defer tick.Stop()
	last, done := int64(0), int64(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := e.units.Load()
		if now == last && now != done && spare() > worthwhile {
			runtime.GC() // each collection halves the stacks that have become too large
			debug.FreeOSMemory()
			done = now
		}
		last = now
	}
}

// spare is how many bytes of the heap are free or garbage.
func spare() int64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(s)
	return int64(s[0].Value.Uint64()) + int64(s[1].Value.Uint64()) - int64(s[2].Value.Uint64())
}
