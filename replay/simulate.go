package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// deferred is a statement that the policy lets pass, and charges to a budget
// that was not there when it was recorded: what was spent of it follows from
// all sessions together.
type deferred struct {
	c             *checker
	e             *Event
	f             *facts.Facts
	before, after *facts.Decision
	spent         facts.Spent // by its own result
}

// simulate charges the deferred statements in the order of their time, from
// budgets that nothing was spent of before the first, and compares each. A
// statement that a budget holds is taken to be granted.
func simulate(p *sqlpolicy.Policy, results []*checker) {
	var all []*deferred
	for _, c := range results {
		all = append(all, c.deferred...)
	}
	slices.SortFunc(all, func(a, b *deferred) int {
		return cmp.Or(a.e.At.Compare(b.e.At), strings.Compare(a.c.open.Session, b.c.open.Session), cmp.Compare(a.e.ID, b.e.ID))
	})
	windows := map[account]*window{}
	for _, d := range all {
		for _, i := range d.after.Budgets {
			u := &p.Budgets[i]
			if _, known := d.e.Spent[u.Name]; known {
				continue
			}
			key := account{i, d.c.open.Identity.Name}
			if windows[key] == nil {
				windows[key] = &window{}
			}
			windows[key].charge(u, d)
		}
		d.c.compare(d.e, d.f, d.before, d.after)
	}
}

type account struct {
	budget   int
	identity string
}

// window is what was spent of a budget by an identity, in the order of time.
type window struct {
	charges []charge
	sum     facts.Spent
}

type charge struct {
	at    time.Time
	spent facts.Spent
}

func (w *window) charge(u *sqlpolicy.Budget, d *deferred) {
	gone := 0
	for gone < len(w.charges) && w.charges[gone].at.Before(d.e.At.Add(-u.Per)) {
		w.sum.Rows -= w.charges[gone].spent.Rows
		w.sum.Bytes -= w.charges[gone].spent.Bytes
		gone++
	}
	w.charges = w.charges[gone:]
	take, why := d.spent, ""
	switch after := (facts.Spent{Rows: w.sum.Rows + take.Rows, Bytes: w.sum.Bytes + take.Bytes}); {
	case !u.Left(w.sum):
		why = "the budget is used up"
	case u.Rows > 0 && after.Rows > u.Rows:
		why = fmt.Sprintf("the budget is used up after %d of %d rows", u.Rows-w.sum.Rows, take.Rows)
	case u.Bytes > 0 && after.Bytes > u.Bytes:
		why = fmt.Sprintf("the budget is used up after %d of %d bytes", u.Bytes-w.sum.Bytes, take.Bytes)
	}
	if why != "" && d.after.Verdict < u.Then {
		d.after.Verdict = u.Then
		d.after.Rules = append(d.after.Rules, facts.RuleHit{Rule: u.Name, Verdict: u.Then, Reason: why})
	}
	if d.after.Verdict == facts.Deny {
		return // nothing of it is charged
	}
	w.charges = append(w.charges, charge{d.e.At, take})
	w.sum.Rows += take.Rows
	w.sum.Bytes += take.Bytes
}
