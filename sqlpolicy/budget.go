package sqlpolicy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// budgets notes which budgets a statement's result is charged to, and holds
// or denies it where one of them is used up already. The rest is counted
// while rows stream.
func (p *Policy) budgets(in *Input, b *binding, d *facts.Decision) {
	for i := range p.Budgets {
		u := &p.Budgets[i]
		if !u.covers(&in.Identity, d.Classes) {
			continue
		}
		d.Budgets = append(d.Budgets, i)
		if i >= len(in.Spent) || u.Left(in.Spent[i]) {
			continue
		}
		d.Rules = append(d.Rules, facts.RuleHit{Rule: u.Name, Verdict: u.Then, Reason: "the budget is used up: " + u.used(in.Spent[i])})
		d.Verdict = max(d.Verdict, u.Then)
		if u.Then == facts.Hold {
			b.need(d, u.Name, u.Approvers)
		}
	}
}

// covers says whether what the identity reads of these classes is charged.
func (u *Budget) covers(id *facts.Identity, classes []string) bool {
	if len(u.Groups) > 0 && !intersects(u.Groups, id.Groups) {
		return false
	}
	return len(u.Classes) == 0 || intersects(u.Classes, classes)
}

// Left says whether anything is left.
func (u *Budget) Left(s facts.Spent) bool {
	return (u.Rows == 0 || s.Rows < u.Rows) && (u.Bytes == 0 || s.Bytes < u.Bytes) && (u.Tokens == 0 || s.Tokens < u.Tokens) &&
		(u.Cost == 0 || s.Cost < u.Cost)
}

func (u *Budget) used(s facts.Spent) string {
	var parts []string
	for _, x := range []struct {
		limit, spent int64
		what         string
	}{{u.Rows, s.Rows, "rows"}, {u.Bytes, s.Bytes, "bytes"}, {u.Tokens, s.Tokens, "tokens"}} {
		if x.limit > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d %s", x.spent, x.limit, x.what))
		}
	}
	if u.Cost > 0 {
		parts = append(parts, fmt.Sprintf("cost %s of %s", decimal(s.Cost), decimal(u.Cost)))
	}
	return strings.Join(parts, ", ") + " in " + u.Per.String()
}

// describe names a budget by what it bounds: two budgets of a policy that
// bound the same are one.
func (u *Budget) describe() string {
	var parts []string
	for _, x := range []struct {
		limit int64
		what  string
	}{{u.Rows, "rows"}, {u.Bytes, "bytes"}, {u.Tokens, "tokens"}} {
		if x.limit > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.limit, x.what))
		}
	}
	if u.Cost > 0 {
		parts = append(parts, "cost "+decimal(u.Cost))
	}
	what := "budget of " + strings.Join(parts, ", ") + " per " + u.Per.String()
	if len(u.Classes) > 0 {
		what += " of " + strings.Join(slices.Sorted(slices.Values(u.Classes)), ", ")
	}
	if len(u.Groups) > 0 {
		what += " for " + strings.Join(slices.Sorted(slices.Values(u.Groups)), ", ")
	}
	return what
}
