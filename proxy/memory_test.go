package proxy

import (
	"runtime/debug"
	"testing"
)

var garbage [][]byte

func TestSpare(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // what is freed stays until it is given back
	debug.FreeOSMemory()
	before := spare()
	for range 64 {
		garbage = append(garbage, make([]byte, 1<<20))
	}
	garbage = nil
	if grown := spare() - before; grown < 60<<20 {
		t.Errorf("64 MB of garbage count as %d bytes", grown)
	}
	debug.FreeOSMemory()
	if left := spare() - before; left > worthwhile {
		t.Errorf("%d bytes are spare after all was given back", left)
	}
}
