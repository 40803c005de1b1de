package identity

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/store"
)

// TestRefusals: what is counted is what is read back, over hours and writers; strangers' names fill no more than their
// share of an hour; and what could not be written is not lost.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	db, err := store.Open(ctx, "sqlite:state.db", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, other := NewRefusals(db), NewRefusals(db)
	at := time.Date(2026, 11, 25, 9, 59, 0, 0, time.UTC)
	flush := func() {
		t.Helper()
		for _, x := range []*Refusals{r, other} {
			if err := x.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 10 {
		r.Note("shop", "ana", "10.0.0.1", "refused", "wrong password", at.Add(time.Duration(i)*time.Minute))
		other.Note("shop", "ana", "10.0.0.1", "refused", "wrong password", at)
		if i%3 == 0 {
			flush()
		}
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	r.Note("shop", "", "10.0.0.2", "limited", "too many failed logins", at)
	if err := r.Flush(done); err == nil {
		t.Error("written with an ended context")
	}
	flush()
	list := func(since, until time.Time) string {
		t.Helper()
		got, err := ReadRefusals(ctx, db, since, until)
		if err != nil {
			t.Fatal(err)
		}
		out := ""
		for _, x := range got {
			out += fmt.Sprintf("%s/%s/%s/%s %d %s-%s\n", x.Target, x.Name, x.Address, x.Outcome, x.Count, x.First.Format("15:04"), x.Last.Format("15:04"))
		}
		return out
	}
	if got := list(time.Time{}, time.Time{}); got != "shop//10.0.0.2/limited 1 09:59-09:59\nshop/ana/10.0.0.1/refused 20 09:59-10:08\n" {
		t.Error(got)
	}
	if got := list(at.Add(time.Hour), time.Time{}); got != "" {
		t.Error(got)
	}
	for i := range 5000 {
		r.Note("shop", fmt.Sprint("stranger", i), "10.0.0.3", "refused", "no such identity", at.Add(2*time.Hour))
	}
	flush()
	got, err := ReadRefusals(ctx, db, at.Add(time.Hour), time.Time{})
	sum := int64(0)
	for _, x := range got {
		sum += x.Count
	}
	if err != nil || len(got) > mostRefusals+1 || sum != 5000 {
		t.Errorf("%d lines for %d logins, %v", len(got), sum, err)
	}
	r.Note("shop", "ana", "10.0.0.1", "refused", "wrong password", at.Add(91*24*time.Hour))
	flush()
	if got := list(time.Time{}, at.Add(24*time.Hour)); got != "" {
		t.Errorf("kept too long: %s", got)
	}
}
