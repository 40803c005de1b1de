package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Change is what another policy would have made of a recorded statement.
type Change string

const (
	Unchanged    Change = "unchanged"
	NewlyRefused Change = "newly refused"
	NewlyHeld    Change = "newly held"
	NewlyAllowed Change = "newly allowed"
	MasksGained  Change = "masks gained"
	MasksLost    Change = "masks lost"
	MasksOther   Change = "masks changed"
	// Undecidable is a statement whose record lacks what the policy asks for.
	Undecidable Change = "undecidable"
)

// Changes are all but Unchanged, from the gravest.
var Changes = []Change{NewlyAllowed, MasksLost, MasksOther, NewlyRefused, NewlyHeld, MasksGained, Undecidable}

// Checked is what a policy would change over a set of transcripts.
type Checked struct {
	Policy     string         `json:"policy"` // its hash
	Sessions   int            `json:"sessions"`
	Statements int            `json:"statements"`
	Unchanged  int            `json:"unchanged"`
	Counts     map[Change]int `json:"counts"`
	Groups     []Group        `json:"groups"`
	// Known counts the statements of groups that were left out: in the
	// baseline, expected, or of changes that were not asked for.
	Known int `json:"known,omitempty"`
	// Unmet are expectations that did not come true.
	Unmet []string `json:"unmet,omitempty"`
	// NeverMatched are the policy's rules that no statement met.
	NeverMatched []string `json:"rules_never_matched"`

	file  string         // the policy's
	lines map[string]int // of its rules
}

// OK says that nothing changes but what is known, expected or not asked for.
func (c *Checked) OK() bool { return len(c.Groups)+len(c.Unmet) == 0 }

// Group is a change of statements of one shape for one reason.
type Group struct {
	Change Change `json:"change"`
	Rule   string `json:"rule"`  // that says so now, or said so before
	Shape  string `json:"shape"` // the statement without its constants
	Count  int    `json:"count"`
	// Example is the first statement of the group, in order of sessions.
	Example Example `json:"example"`
}

// Key names a group in a baseline.
func (g *Group) Key() string { return string(g.Change) + "\x00" + g.Rule + "\x00" + g.Shape }

// Example is one recorded statement, as the transcript has it.
type Example struct {
	Session  string   `json:"session"`
	ID       int64    `json:"id"`
	Identity string   `json:"identity"`
	Groups   []string `json:"groups,omitempty"`
	Target   string   `json:"target"`
	Text     string   `json:"text"`
	Before   string   `json:"before"`
	After    string   `json:"after"`
	Why      string   `json:"why,omitempty"`
}

// CheckOptions say how transcripts are checked.
type CheckOptions struct {
	Policy *sqlpolicy.Policy
	File   string // the policy's, for reports
	// DecidedBy, if set, is the hash of a policy: only statements that it
	// decided are decided again.
	DecidedBy string
	// Identities open what is encrypted.
	Identities []age.Identity
	// Progress, if set, is told how many of the transcripts are done. Calls
	// do not overlap.
	Progress func(done, of int)
}

// Check decides every recorded statement again, through the same function as
// the proxy and with the inputs that were recorded, on all cores. The same
// files and policy give the same result, whatever their order.
func Check(ctx context.Context, paths []string, opt CheckOptions) (*Checked, error) {
	paths = slices.Clone(paths)
	slices.Sort(paths)
	paths = slices.Compact(paths)
	run := newCheckRun(&opt)
	results := make([][]*checker, len(paths))
	errs := make([]error, len(paths))
	next, done := atomic.Int64{}, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(len(paths), cap(run.cores)) {
		wg.Go(func() {
			run.cores <- struct{}{}
			defer func() { <-run.cores }()
			for i := int(next.Add(1)) - 1; i < len(paths) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				results[i], errs[i] = run.transcript(ctx, paths[i])
				mu.Lock()
				if done++; opt.Progress != nil {
					opt.Progress(done, len(paths))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", paths[i], err)
		}
	}
	all := slices.Concat(results...)
	simulate(opt.Policy, all)
	out := merge(opt.Policy, opt.File, all)
	out.Sessions = len(paths)
	return out, nil
}

func merge(p *sqlpolicy.Policy, file string, results []*checker) *Checked {
	out := &Checked{Policy: p.Hash, Counts: map[Change]int{}, Groups: []Group{}, NeverMatched: []string{}}
	out.file, out.lines = file, map[string]int{}
	for i := range p.Rules {
		out.lines[p.Rules[i].Name] = p.Rules[i].Line
		if name := p.Rules[i].Name; !slices.ContainsFunc(results, func(c *checker) bool { return c.matched[name] }) {
			out.NeverMatched = append(out.NeverMatched, name)
		}
	}
	groups := map[string]*Group{}
	for _, c := range results {
		out.Statements += c.statements
		for change, n := range c.counts {
			if change == Unchanged {
				out.Unchanged += n
			} else {
				out.Counts[change] += n
			}
		}
		for key, g := range c.groups {
			have := groups[key]
			if have == nil {
				groups[key] = g
				continue
			}
			have.Count += g.Count
			if x := g.Example; x.Session < have.Example.Session {
				have.Example = x
			}
		}
	}
	for _, g := range groups {
		out.Groups = append(out.Groups, *g)
	}
	slices.SortFunc(out.Groups, func(a, b Group) int {
		if d := slices.Index(Changes, a.Change) - slices.Index(Changes, b.Change); d != 0 {
			return d
		}
		if d := b.Count - a.Count; d != 0 {
			return d
		}
		return strings.Compare(a.Key(), b.Key())
	})
	return out
}

func (c *checker) statement(e *Event) error {
	if c.open == nil || c.open.Identity == nil {
		return fmt.Errorf("statement %d stands before the session's opening", e.ID)
	}
	if e.Problem != nil {
		// What is not understood is refused by every policy but one that lets it pass.
		if e.Problem.Unparsed && c.policy.Unparsed != facts.Deny {
			c.note(e, Undecidable, "unparsed", "deny", "?", "what the parser did not understand has no facts in the record")
			return nil
		}
		c.counts[Unchanged]++
		return nil
	}
	f, err := c.facts(e.Facts)
	if err != nil {
		return fmt.Errorf("statement %d: its facts: %w", e.ID, err)
	}
	var before facts.Decision
	if err := json.Unmarshal(e.Decision, &before); err != nil {
		return fmt.Errorf("statement %d: its decision: %w", e.ID, err)
	}
	in := c.input(e, f)
	after := c.policy.Decide(in)
	if why := c.undecidable(e, &in, &before, after); why != "" {
		c.note(e, Undecidable, "", before.Verdict.String(), "?", why)
		return nil
	}
	for _, h := range after.Rules {
		c.matched[h.Rule] = true
	}
	if after.Verdict != facts.Deny && slices.ContainsFunc(after.Budgets, func(i int) bool {
		_, known := e.Spent[c.policy.Budgets[i].Name]
		return !known
	}) {
		d := &deferred{c: c, e: e, f: f, before: &before, after: after}
		c.deferred, c.waiting[e.ID] = append(c.deferred, d), d
		return nil
	}
	c.compare(e, f, &before, after)
	return nil
}

// input is what the live decision was taken on.
func (c *checker) input(e *Event, f *facts.Facts) sqlpolicy.Input {
	o := c.open
	return sqlpolicy.Input{
		Identity: *o.Identity, Facts: f, Text: e.Text, Params: e.Params, InTransaction: e.InTransaction, Plan: e.Plan, Spent: c.spent(e),
		Now: e.At, Prepare: e.Kind == "prepare", Hidden: hides(e),
		Session: facts.Session{ID: o.Session, Target: o.Target, Protocol: o.Protocol, Database: o.Database, RowsRead: e.RowsRead, Started: o.At},
	}
}

// spent is what the record knows of the policy's budgets, by their names.
func (c *checker) spent(e *Event) []facts.Spent {
	out := make([]facts.Spent, len(c.policy.Budgets))
	for i := range out {
		out[i] = e.Spent[c.policy.Budgets[i].Name]
	}
	return out
}

// hides says that constants of the statement were hidden in the record.
func hides(e *Event) bool {
	if strings.Contains(e.Text, "‹hmac:") || strings.Contains(e.Text, SealedBefore) {
		return true
	}
	return slices.ContainsFunc(e.Params, func(p facts.Param) bool {
		return strings.HasPrefix(p.Text, "‹hmac:") || strings.HasPrefix(p.Text, SealedBefore)
	})
}

// undecidable says what the record lacks for this policy, "" for nothing.
func (c *checker) undecidable(e *Event, in *sqlpolicy.Input, before, after *facts.Decision) string {
	switch {
	case after.PlanWanted && e.Plan == nil:
		return "a rule asks for the plan, which was not asked for when it was recorded"
	case in.Hidden && c.policy.ReadsText():
		return "a rule reads stmt.text, whose constants the record hides"
	case in.Hidden && after.Verdict != facts.Deny && slices.ContainsFunc(before.Refusals, sqlpolicy.ForHiddenConstant):
		return "it was refused for a constant that the record hides"
	}
	return ""
}

func (c *checker) compare(e *Event, f *facts.Facts, before, after *facts.Decision) {
	if before.Verdict != after.Verdict {
		change, why := NewlyAllowed, before // what no longer says no
		switch after.Verdict {
		case facts.Deny:
			change, why = NewlyRefused, after
		case facts.Hold:
			change, why = NewlyHeld, after
		}
		rule, words := because(why)
		c.note(e, change, rule, before.Verdict.String(), after.Verdict.String(), words)
		return
	}
	a, b := maskList(f, before), maskList(f, after)
	if after.Verdict == facts.Deny || slices.Equal(a, b) {
		c.counts[Unchanged]++
		return
	}
	change := MasksOther
	switch {
	case len(b) > len(a) && !slices.ContainsFunc(a, func(m string) bool { return !slices.Contains(b, m) }):
		change = MasksGained
	case len(b) < len(a) && !slices.ContainsFunc(b, func(m string) bool { return !slices.Contains(a, m) }):
		change = MasksLost
	}
	c.note(e, change, "classes", strings.Join(a, ", "), strings.Join(b, ", "), "")
}

// because is what decided: a rule, or what lineage refuses.
func because(d *facts.Decision) (rule, words string) {
	if len(d.Refusals) > 0 {
		r := d.Refusals[0]
		if r.Class != "" {
			return "class " + r.Class, r.Message
		}
		return "lineage", r.Message
	}
	for _, h := range d.Rules {
		if h.Verdict == d.Verdict {
			return h.Rule, h.Reason
		}
	}
	return "default", ""
}

func maskList(f *facts.Facts, d *facts.Decision) []string {
	out := []string{}
	for _, m := range d.Masks {
		name := fmt.Sprint("column ", m.Output+1)
		if m.Output < len(f.Outputs) && f.Outputs[m.Output].Name != "" {
			name = f.Outputs[m.Output].Name
		}
		params, err := json.Marshal(m.Mask.Params)
		if err != nil || string(params) == "null" {
			params = nil
		}
		out = append(out, name+" "+m.Mask.Name+string(params))
	}
	return out
}

func (c *checker) note(e *Event, change Change, rule, before, after, why string) {
	c.counts[change]++
	g := Group{Change: change, Rule: rule, Shape: Shape(e.Text), Count: 1, Example: Example{
		Session: c.open.Session, ID: e.ID, Identity: c.open.Identity.Name, Groups: c.open.Identity.Groups, Target: c.open.Target,
		Text: e.Text, Before: before, After: after, Why: why,
	}}
	if have := c.groups[g.Key()]; have != nil {
		have.Count++
		return
	}
	c.groups[g.Key()] = &g
}

var constants = regexp.MustCompile(`'(?:[^']|'')*'|‹[^›]*›|\$\d+|\b\d+(?:\.\d+)?\b|\s+`)

// maxShape bounds a shape, in bytes.
const maxShape = 400

// Shape is a statement's text without its constants, so that statements that
// differ in them only are told together.
func Shape(text string) string {
	s := constants.ReplaceAllStringFunc(text, func(m string) string {
		if strings.TrimSpace(m) == "" {
			return " "
		}
		return "?"
	})
	s = strings.TrimSpace(s)
	if len(s) > maxShape {
		s = strings.ToValidUTF8(s[:maxShape], "") + "…"
	}
	return s
}
