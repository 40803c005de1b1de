package rerun

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/replay"
)

// order keeps a statement from beginning before all those have ended that had
// ended before it began when they were recorded. No two can wait for each other:
// what is waited for ended before the one that waits began.
type order struct {
	ends  []time.Time // of the recorded statements, sorted
	index map[*replay.Statement]int

	mu    sync.Mutex
	done  []bool
	first int           // that is not done
	moved chan struct{} // closed and replaced when first is another one
}

func newOrder(sessions []*replay.Recorded) *order {
	var all []*replay.Statement
	for _, s := range sessions {
		for _, st := range s.Statements {
			if st.Finished {
				all = append(all, st)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *replay.Statement) int { return ended(a).Compare(ended(b)) })
	o := &order{index: map[*replay.Statement]int{}, done: make([]bool, len(all)), moved: make(chan struct{})}
	for i, st := range all {
		o.ends = append(o.ends, ended(st))
		o.index[st] = i
	}
	return o
}

func ended(s *replay.Statement) time.Time { return s.At.Add(s.Took) }

// wait waits until it is the statement's turn.
func (o *order) wait(ctx context.Context, s *replay.Statement) error {
	before, _ := slices.BinarySearchFunc(o.ends, s.At, time.Time.Compare)
	for {
		o.mu.Lock()
		first, moved := o.first, o.moved
		o.mu.Unlock()
		if first >= before {
			return ctx.Err()
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end notes that a statement has ended, or will not run.
func (o *order) end(s *replay.Statement) {
	i, ok := o.index[s]
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done[i] = true
	if i != o.first {
		return
	}
	for o.first < len(o.done) && o.done[o.first] {
		o.first++
	}
	close(o.moved)
	o.moved = make(chan struct{})
}

// overlap is how many sessions had statements at once, at most.
func overlap(sessions []*replay.Recorded) int {
	type edge struct {
		at   time.Time
		step int
	}
	var edges []edge
	for _, s := range sessions {
		if n := len(s.Statements); n > 0 {
			edges = append(edges, edge{s.Statements[0].At, 1}, edge{ended(s.Statements[n-1]), -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if d := a.at.Compare(b.at); d != 0 {
			return d
		}
		return b.step - a.step
	})
	now, most := 0, 0
	for _, e := range edges {
		now += e.step
		most = max(most, now)
	}
	return most
}
