package budget

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

func ledgers(t *testing.T, n int) ([]*Ledger, *clock) {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 1, 9, 0, 30, 0, time.UTC)}
	dir := t.TempDir()
	var out []*Ledger
	for range n {
		db, err := store.Open(context.Background(), "sqlite:state.db", dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		out = append(out, NewLedger(db, c.now))
	}
	return out, c
}

func take(t *testing.T, l *Ledger, b *Budget, rows int64) int64 {
	t.Helper()
	got, err := l.Take(context.Background(), b, facts.Spent{Rows: rows, Bytes: rows * 10}, false)
	if err != nil {
		t.Fatal(err)
	}
	return got.Rows
}

func TestWindowSlides(t *testing.T) {
	ls, c := ledgers(t, 1)
	b := &Budget{Name: "b", Identity: "ana", Rows: 100, Per: time.Hour}
	steps := []struct {
		after time.Duration
		want  int64
		got   int64
	}{{0, 60, 60}, {30 * time.Minute, 60, 40}, {time.Minute, 10, 0}, {28 * time.Minute, 10, 0}, {2 * time.Minute, 100, 60}, {30 * time.Minute, 100, 40}}
	for i, s := range steps {
		c.add(s.after)
		if got := take(t, ls[0], b, s.want); got != s.got {
			t.Errorf("step %d: %d of %d rows, want %d", i, got, s.want, s.got)
		}
	}
	other := &Budget{Name: "b", Identity: "bob", Rows: 100, Per: time.Hour}
	if got := take(t, ls[0], other, 100); got != 100 {
		t.Errorf("another identity got %d", got)
	}
}

func TestBytesBeyondAndBack(t *testing.T) {
	ls, _ := ledgers(t, 2)
	ctx := context.Background()
	b := &Budget{Name: "b", Identity: "ana", Bytes: 1000, Per: time.Minute}
	if got, err := ls[0].Take(ctx, b, facts.Spent{Rows: 5, Bytes: 4000}, false); err != nil || got.Bytes != 1000 || got.Rows != 5 {
		t.Errorf("%v %v", got, err)
	}
	back := Charge{Spent: facts.Spent{Bytes: 400}, slot: b.slot(ls[0].now())}
	if err := ls[1].GiveBack(ctx, b, back); err != nil {
		t.Error(err)
	}
	if s, err := ls[0].Spent(ctx, b); err != nil || s.Bytes != 600 {
		t.Errorf("%v %v", s, err)
	}
	if got, err := ls[0].Take(ctx, b, facts.Spent{Bytes: 5000}, true); err != nil || got.Bytes != 5000 {
		t.Errorf("beyond: %v %v", got, err)
	}
}

// TestManyProcesses: several ledgers over one file never give out more than
// the budget has.
func TestManyProcesses(t *testing.T) {
	ls, _ := ledgers(t, 4)
	b := &Budget{Name: "b", Identity: "ana", Rows: 100, Per: time.Hour}
	var mu sync.Mutex
	var wg sync.WaitGroup
	total := int64(0)
	for i := range 40 {
		wg.Go(func() {
			got, err := ls[i%4].Take(context.Background(), b, facts.Spent{Rows: 7}, false)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += got.Rows
		})
	}
	wg.Wait()
	if total != 100 {
		t.Errorf("%d rows were given out of 100", total)
	}
}
