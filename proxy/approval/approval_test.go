package approval

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

var (
	dana = Approver{ID: "dana", Name: "dana", Groups: []string{"dba"}}
	eve  = Approver{ID: "eve", Name: "eve", Groups: []string{"dba"}}
	mal  = Approver{ID: "mal", Name: "mal", Groups: []string{"interns"}}
	ana  = Approver{ID: "ana", Name: "ana", Groups: []string{"dba"}}
	root = Approver{ID: "admin token", Name: "erin", Via: "admin token", Admin: true}
)

// clock is a settable time, safe for concurrent use.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func books(t *testing.T, n int) ([]*Book, *clock) {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)}
	dir := t.TempDir()
	var out []*Book
	for range n {
		db, err := store.Open(context.Background(), "sqlite:state.db", dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		out = append(out, NewBook(db, c.now))
	}
	return out, c
}

func request(count int) Request {
	return Request{
		Session: "s1", Identity: "ana", Target: "app", Database: "shop", Text: "SELECT * FROM orders",
		Rules: []string{"bulk-read"}, Needs: []facts.Need{{Rule: "bulk-read", Groups: []string{"dba"}, Count: count, Within: 10 * time.Minute}},
		Binding: Binding{Identity: "ana", Target: "app", Database: "shop", Text: "SELECT * FROM orders"},
	}
}

func open(t *testing.T, b *Book, r Request) Hold {
	t.Helper()
	h, err := b.Open(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestGrantedByAnotherProcess: two books over one file stand for two
// processes.
func TestGrantedByAnotherProcess(t *testing.T) {
	bs, _ := books(t, 2)
	ctx := context.Background()
	h := open(t, bs[0], request(1))
	got := make(chan Hold, 1)
	go func() {
		end, err := bs[0].Wait(ctx, h.ID, 0)
		if err != nil {
			t.Error(err)
		}
		got <- end
	}()
	if _, err := bs[1].Approve(ctx, h.ID, dana, Terms{}, "month end"); err != nil {
		t.Fatal(err)
	}
	end := <-got
	if end.State != Granted || len(end.Votes) != 1 || end.Votes[0].Name != "dana" || end.Votes[0].Reason != "month end" {
		t.Errorf("got %+v", end)
	}
	used := 0
	for range 3 {
		for _, b := range bs {
			if hold, ok, err := b.Use(ctx, request(1).Binding); err != nil {
				t.Error(err)
			} else if ok {
				used++
				if hold != h.ID {
					t.Errorf("used the grant of %s", hold)
				}
			}
		}
	}
	if used != 1 {
		t.Errorf("the grant was used %d times, want once", used)
	}
}

func TestBinding(t *testing.T) {
	bs, _ := books(t, 1)
	ctx := context.Background()
	r := request(1)
	h := open(t, bs[0], r)
	if _, err := bs[0].Approve(ctx, h.ID, dana, Terms{Uses: 100}, ""); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Binding){
		"identity":    func(b *Binding) { b.Identity = "bob" },
		"target":      func(b *Binding) { b.Target = "other" },
		"database":    func(b *Binding) { b.Database = "other" },
		"role":        func(b *Binding) { b.Role = "other" },
		"search path": func(b *Binding) { b.SearchPath = "other" },
		"text":        func(b *Binding) { b.Text += " " },
		"parameters":  func(b *Binding) { b.Params = "1" },
		"facts":       func(b *Binding) { b.Facts = "x" },
		"needs":       func(b *Binding) { b.Needs = "x" },
		"shifted":     func(b *Binding) { b.Role, b.SearchPath = "\",\"", "" },
	} {
		other := r.Binding
		change(&other)
		if _, ok, err := bs[0].Use(ctx, other); ok || err != nil {
			t.Errorf("a changed %s was granted (%v, %v)", name, ok, err)
		}
	}
	if _, ok, err := bs[0].Use(ctx, r.Binding); !ok || err != nil {
		t.Errorf("the same binding was not granted: %v", err)
	}
}

func TestWhoMayAnswer(t *testing.T) {
	bs, c := books(t, 1)
	b, ctx := bs[0], context.Background()
	h := open(t, b, request(2))
	if _, err := b.Approve(ctx, h.ID, ana, Terms{}, ""); !errors.Is(err, ErrOwn) {
		t.Errorf("own: %v", err)
	}
	if _, err := b.Approve(ctx, h.ID, mal, Terms{}, ""); !errors.Is(err, ErrNotApprover) {
		t.Errorf("not an approver: %v", err)
	}
	if _, err := b.Approve(ctx, "nonsense", dana, Terms{}, ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
	if got, err := b.Approve(ctx, h.ID, dana, Terms{}, ""); err != nil || got.State != Waiting {
		t.Errorf("the first of two: %v, %v", got.State, err)
	}
	if _, err := b.Approve(ctx, h.ID, dana, Terms{}, ""); !errors.Is(err, ErrTwice) {
		t.Errorf("twice: %v", err)
	}
	again := root
	again.Name = "dana"
	if _, err := b.Approve(ctx, h.ID, again, Terms{}, ""); !errors.Is(err, ErrTwice) {
		t.Errorf("the same person by another way: %v", err)
	}
	if got, err := b.Approve(ctx, h.ID, root, Terms{}, ""); err != nil || got.State != Granted {
		t.Errorf("the second of two: %v, %v", got.State, err)
	}
	if _, err := b.Deny(ctx, h.ID, eve, ""); !errors.Is(err, ErrEnded) {
		t.Errorf("after the end: %v", err)
	}
	late := open(t, b, request(1))
	c.add(11 * time.Minute)
	if _, err := b.Approve(ctx, late.ID, dana, Terms{}, ""); !errors.Is(err, ErrEnded) {
		t.Errorf("after its time: %v", err)
	}
	if end, err := b.Wait(ctx, late.ID, 0); err != nil || end.State != Expired {
		t.Errorf("expired: %v, %v", end.State, err)
	}
	if _, ok, err := b.Use(ctx, request(1).Binding); err != nil || !ok {
		t.Errorf("the grant of the first hold: %v, %v", ok, err)
	}
	c.add(2 * time.Hour)
	denied := open(t, b, request(1))
	if got, err := b.Deny(ctx, denied.ID, eve, "no ticket"); err != nil || got.State != Denied || got.Why != "eve: no ticket" {
		t.Errorf("denied: %+v, %v", got, err)
	}
}

// TestNeeds: every rule's need must be met by approvers of its own groups; one
// approver may count for several.
func TestNeeds(t *testing.T) {
	bs, _ := books(t, 1)
	b, ctx := bs[0], context.Background()
	r := request(1)
	r.Needs = append(r.Needs, facts.Need{Rule: "exports", Groups: []string{"security", "interns"}, Count: 1, Within: time.Minute})
	h := open(t, b, r)
	if got := h.Expires.Sub(h.Created); got != time.Minute {
		t.Errorf("it waits for %s, want the shortest time", got)
	}
	if got, err := b.Approve(ctx, h.ID, dana, Terms{}, ""); err != nil || got.State != Waiting {
		t.Errorf("one need of two: %v, %v", got.State, err)
	}
	if got, err := b.Approve(ctx, h.ID, eve, Terms{}, ""); err != nil || got.State != Waiting {
		t.Errorf("the same need again: %v, %v", got.State, err)
	}
	if got, err := b.Approve(ctx, h.ID, mal, Terms{}, ""); err != nil || got.State != Granted {
		t.Errorf("both needs: %v, %v", got.State, err)
	}
	r.Needs = []facts.Need{{Rule: "default", Count: 1, Within: time.Minute}}
	h = open(t, b, r)
	if _, err := b.Approve(ctx, h.ID, dana, Terms{}, ""); !errors.Is(err, ErrNotApprover) {
		t.Errorf("a need without groups, by an identity: %v", err)
	}
	if got, err := b.Approve(ctx, h.ID, root, Terms{}, ""); err != nil || got.State != Granted {
		t.Errorf("a need without groups, by the administrator: %v, %v", got.State, err)
	}
}

// TestTooMany: an identity cannot fill the list.
func TestTooMany(t *testing.T) {
	bs, c := books(t, 1)
	for range maxWaiting {
		open(t, bs[0], request(1))
	}
	if _, err := bs[0].Open(context.Background(), request(1)); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
	other := request(1)
	other.Identity = "bob"
	open(t, bs[0], other)
	c.add(time.Hour)
	open(t, bs[0], request(1))
}

func TestManyAtOnce(t *testing.T) {
	bs, _ := books(t, 4)
	ctx := context.Background()
	h := open(t, bs[0], request(2))
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[string]int{}
	for i := range 24 {
		wg.Go(func() {
			by := Approver{ID: string(rune('a' + i%6)), Name: string(rune('a' + i%6)), Groups: []string{"dba"}}
			_, err := bs[i%4].Approve(ctx, h.ID, by, Terms{}, "")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				counts["taken"]++
			case errors.Is(err, ErrTwice), errors.Is(err, ErrEnded):
				counts["refused"]++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if counts["taken"] != 2 {
		t.Errorf("%v: exactly two answers count", counts)
	}
	var used int
	for range 10 {
		if _, ok, err := bs[0].Use(ctx, request(2).Binding); err != nil {
			t.Error(err)
		} else if ok {
			used++
		}
	}
	if used != 1 {
		t.Errorf("used %d times", used)
	}
}

func TestClientGoesAway(t *testing.T) {
	bs, _ := books(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	h := open(t, bs[0], request(1))
	done := make(chan error, 1)
	go func() { _, err := bs[0].Wait(ctx, h.ID, 0); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got, err := bs[0].Get(context.Background(), h.ID); err != nil || got.State != Cancelled {
		t.Errorf("%v, %v", got.State, err)
	}
	if _, err := bs[0].Approve(context.Background(), h.ID, dana, Terms{}, ""); !errors.Is(err, ErrEnded) {
		t.Errorf("approving what nobody waits for: %v", err)
	}
}
