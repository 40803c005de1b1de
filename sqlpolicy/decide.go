package sqlpolicy

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// Input is all that a decision depends on.
type Input struct {
	Identity      facts.Identity
	Session       facts.Session
	Facts         *facts.Facts // with parameters bound
	Text          string       // the statement's own
	Params        []facts.Param
	InTransaction bool
	Plan          *facts.Plan // nil: not asked
	// Spent is what the identity has used of each budget of Policy.Budgets,
	// by index; nil: not asked.
	Spent []facts.Spent
	Now   time.Time
	// Prepare asks about a statement that is only prepared: what lineage
	// forbids is refused, rules are left for its execution.
	Prepare bool
	// Hidden says that constants of Text and Params were hidden, as a record
	// does: what they were is then not looked at.
	Hidden bool
}

// Decide says what becomes of a statement. It is pure and safe for concurrent
// use; the strictest of all that applies wins.
func (p *Policy) Decide(in Input) *facts.Decision {
	if in.Facts == nil {
		return &facts.Decision{Verdict: facts.Deny, Record: p.Record.Rows,
			Refusals: []facts.Refusal{{Message: "nothing is known of this statement", At: -1}}}
	}
	b := p.bind(&in)
	d := &facts.Decision{Verdict: facts.Allow, Classes: b.touchedClasses(), Scrub: b.scrub(), Detect: b.detect()}
	d.Record = p.Record.rows(in.Session.Target, d.Classes)
	b.refusals(d)
	b.masks(d)
	b.secrets(d)
	if len(d.Refusals) > 0 {
		d.Verdict = facts.Deny
		if !b.hard {
			d.Verdict = max(p.Unprovable, facts.Hold)
		}
	}
	if in.Prepare {
		// Nothing runs yet: what people may let pass is held when it does.
		if d.Verdict == facts.Hold {
			d.Verdict = facts.Allow
		}
		return d
	}
	if d.Verdict == facts.Hold {
		b.need(d, "unprovable", p.Approvers)
	}
	p.rules(&in, b, d)
	p.budgets(&in, b, d)
	if d.Verdict != facts.Hold {
		d.Needs = nil
	}
	return d
}

// need notes whom a hold must ask, once a rule.
func (b *binding) need(d *facts.Decision, rule string, a Approvers) {
	if !slices.ContainsFunc(d.Needs, func(n facts.Need) bool { return n.Rule == rule }) {
		d.Needs = append(d.Needs, facts.Need{Rule: rule, Groups: a.Groups, Count: a.Count, Within: a.Within})
	}
}

// rules runs the rules, once an effect.
func (p *Policy) rules(in *Input, b *binding, d *facts.Decision) {
	if reason := p.outOfScope(in); reason != "" {
		d.Verdict = facts.Deny
		d.Refusals = append(d.Refusals, facts.Refusal{Message: reason, Hint: "The policy's scopes say what this identity may reach.", At: -1})
	}
	if !p.LoadLocal && slices.ContainsFunc(in.Facts.Effects, func(e facts.Effect) bool {
		return strings.HasPrefix(e.Verb, "LOAD ") && strings.HasSuffix(e.Verb, " LOCAL")
	}) {
		d.Verdict = facts.Deny
		d.Refusals = append(d.Refusals, facts.Refusal{Message: "the statement reads a file of the client's", Hint: "`load_local: true` in the policy allows it.", At: -1})
	}
	if in.Facts.Unparsed != "" {
		d.Verdict = max(d.Verdict, p.Unparsed)
		if p.Unparsed == facts.Hold {
			b.need(d, "unparsed", p.Approvers)
		}
		if p.Unparsed == facts.Deny || b.anyInForce { // nobody can say which columns it reads
			d.Verdict = max(d.Verdict, facts.Deny)
			d.Refusals = append(d.Refusals, facts.Refusal{Message: "the statement could not be parsed: " + in.Facts.Unparsed,
				Hint: "docs/facts.md and docs/mysql.md say which grammars are known.", At: -1})
		}
	}
	if len(p.Rules) == 0 || len(in.Facts.Effects) == 0 {
		p.fallback(b, d)
		return
	}
	a := newActivation(in)
	certain := d.Verdict // whatever the plan says
	asked := false
	for i := range in.Facts.Effects {
		e := &in.Facts.Effects[i]
		a.effect(in, e, b.effectClasses(e))
		matched := false // the default is for each effect that no rule speaks of
		for r := range p.Rules {
			rule := &p.Rules[r]
			a.asked = false
			yes, err := rule.program.eval(a)
			asked = asked || err != nil && a.asked
			hit := facts.RuleHit{Rule: rule.Name, Effect: i, Verdict: rule.Then, Reason: rule.Reason}
			if err != nil {
				hit.Failed = err.Error()
				yes = rule.Then != facts.Allow // an error never allows
			}
			if yes {
				matched = true
				d.Rules = append(d.Rules, hit)
				d.Verdict = max(d.Verdict, rule.Then)
				if err == nil || !a.asked {
					certain = max(certain, rule.Then)
				}
				if rule.Then == facts.Hold {
					b.need(d, rule.Name, rule.Approvers)
				}
			}
		}
		if !matched {
			p.fallback(b, d)
		}
	}
	d.PlanWanted = asked && certain < facts.Deny
}

// fallback is what the policy says of an effect that no rule speaks of.
func (p *Policy) fallback(b *binding, d *facts.Decision) {
	d.Verdict = max(d.Verdict, p.Default)
	if p.Default == facts.Hold {
		b.need(d, "default", p.Approvers)
	}
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// binding is a statement's columns with their classes, as far as they are in
// force for the identity.
type binding struct {
	p     *Policy
	in    *Input
	f     *facts.Facts
	all   [][][]string // by table and column: the policy's classes
	force [][][]string // those that the identity may not see
	seen  map[string]bool
	// anyInForce says that some class of columns binds this identity at all.
	anyInForce bool
	hard       bool // a refusal that no approver can lift
}

func (p *Policy) bind(in *Input) *binding {
	b := &binding{p: p, in: in, f: in.Facts, seen: map[string]bool{}}
	for _, u := range p.Unmask {
		if slices.Contains(u.Identities, in.Identity.Name) || intersects(u.Groups, in.Identity.Groups) {
			for _, c := range u.Classes {
				b.seen[c] = true
			}
		}
	}
	for _, c := range p.Columns {
		b.anyInForce = b.anyInForce || !b.seen[c.Class]
	}
	b.all = make([][][]string, len(b.f.Tables))
	b.force = make([][][]string, len(b.f.Tables))
	for i := range b.f.Tables {
		b.all[i] = p.columnClasses(&b.f.Tables[i], in.Session.Database)
		b.force[i] = make([][]string, len(b.all[i]))
		for j, classes := range b.all[i] {
			b.force[i][j] = b.inForce(classes)
		}
	}
	return b
}

// inForce are the classes that stay when those the identity may see are taken
// away. A value of several classes is in the clear only for who sees them all.
func (b *binding) inForce(classes []string) []string {
	if len(classes) == 0 {
		return nil
	}
	if classes[0] == statisticsClass {
		if b.anyInForce {
			return classes
		}
		return nil
	}
	if slices.ContainsFunc(classes, func(c string) bool { return !b.seen[c] }) {
		return classes
	}
	return nil
}

func (b *binding) classes(r facts.ColumnRef) []string {
	if _, ok := b.f.Column(r); !ok {
		return []string{statisticsClass} // a broken reference is never in the clear
	}
	return b.force[r.Table][r.Column]
}

// touchedClasses are the classes of what the statement reads or uses.
func (b *binding) touchedClasses() []string {
	var out []string
	add := func(r facts.ColumnRef) {
		if _, ok := b.f.Column(r); ok {
			for _, c := range b.all[r.Table][r.Column] {
				out = appendNew(out, c)
			}
		}
	}
	for _, o := range b.f.Outputs {
		for _, s := range o.Sources {
			add(s.ColumnRef)
		}
	}
	for _, u := range b.f.Uses {
		for _, c := range u.Columns {
			add(c)
		}
	}
	for _, c := range b.found() {
		out = appendNew(out, c)
	}
	slices.Sort(out)
	return out
}

func (b *binding) effectClasses(e *facts.Effect) []string {
	var out []string
	for _, r := range e.Columns {
		if _, ok := b.f.Column(r); ok {
			for _, c := range b.all[r.Table][r.Column] {
				out = appendNew(out, c)
			}
		}
	}
	for _, c := range b.found() {
		out = appendNew(out, c)
	}
	slices.Sort(out)
	return out
}

// scrub says that a table with a class in force is touched, whichever of its
// columns is used: an error can print a whole row.
func (b *binding) scrub() bool {
	for _, t := range b.force {
		for _, classes := range t {
			if len(classes) > 0 {
				return true
			}
		}
	}
	return false
}

// masks gives each result column the mask of what it can show.
func (b *binding) masks(d *facts.Decision) {
	for i, o := range b.f.Outputs {
		var classes []string
		var masks []facts.Mask
		for _, s := range o.Sources {
			for _, c := range b.classes(s.ColumnRef) {
				classes = appendNew(classes, c)
				m := facts.Mask{Name: "redact"}
				if cl := b.p.Classes[c]; cl != nil && s.Direct {
					m = cl.Mask
				}
				masks = append(masks, m)
			}
		}
		if len(classes) > 0 {
			d.Masks = append(d.Masks, facts.ColumnMask{Output: i, Classes: classes, Mask: mask.Strictest(masks...)})
		}
	}
}

// secrets marks the constants and parameters that meet a classed column,
// whoever may see it.
func (b *binding) secrets(d *facts.Decision) {
	classed := func(refs []facts.ColumnRef) bool {
		return slices.ContainsFunc(refs, func(r facts.ColumnRef) bool {
			_, ok := b.f.Column(r)
			return !ok || len(b.all[r.Table][r.Column]) > 0
		})
	}
	for i, c := range b.f.Constants {
		if classed(c.Columns) || len(b.p.classesOfForms(c.Forms)) > 0 {
			d.SecretConstants = append(d.SecretConstants, i)
		}
	}
	for _, u := range b.f.ParamUses {
		if classed(u.Columns) && !slices.Contains(d.SecretParams, u.Param) {
			d.SecretParams = append(d.SecretParams, u.Param)
		}
	}
}

// Hides says whether a column, by name, has a class that the identity may not
// see. It is for the check of what the upstream announces, beside lineage.
func (p *Policy) Hides(id facts.Identity, table facts.Name, column string, system bool) bool {
	f := &facts.Facts{Tables: []facts.Table{{Name: table, System: system, Columns: []facts.TableColumn{{Name: column}}}}}
	b := &binding{p: p, seen: map[string]bool{}}
	for _, u := range p.Unmask {
		if slices.Contains(u.Identities, id.Name) || intersects(u.Groups, id.Groups) {
			for _, c := range u.Classes {
				b.seen[c] = true
			}
		}
	}
	for _, c := range p.Columns {
		b.anyInForce = b.anyInForce || !b.seen[c.Class]
	}
	return len(b.inForce(p.classesOf(&f.Tables[0], column, ""))) > 0
}
