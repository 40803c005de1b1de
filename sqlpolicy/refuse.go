package sqlpolicy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// refusals goes through the statement's uses and refuses what the classes in
// force forbid.
func (b *binding) refusals(d *facts.Decision) {
	for i := range b.f.Uses {
		u := &b.f.Uses[i]
		if r, ok := b.refuse(u); ok {
			// The others are known to tell, and not only not known to be safe.
			b.hard = b.hard || u.Kind != facts.UseOpaque && u.Kind != facts.UseCode
			d.Refusals = append(d.Refusals, r)
		}
	}
	if b.f.Explains && b.scrub() {
		b.hard = true
		d.Refusals = append(d.Refusals, facts.Refusal{At: -1,
			Message: "a plan of a statement over classed columns shows estimates and counts that depend on their values",
			Hint:    "An identity that may see the classes can ask for it, or ask the database directly."})
	}
	b.placeholders(d)
	b.vouched(d)
}

// refuse says whether one use is forbidden, and why.
func (b *binding) refuse(u *facts.Use) (facts.Refusal, bool) {
	switch u.Kind {
	case facts.UseCode:
		return b.refuseCode(u)
	case facts.UsePlan:
		return facts.Refusal{At: u.At,
			Message: fmt.Sprintf("%s chooses how statements are planned, and rows that come in another order tell of values", u.Name),
			Hint:    "Leave the setting at its default; who sees every class may set it."}, b.anyInForce
	}
	for _, c := range u.Columns {
		classes := b.classes(c)
		if len(classes) == 0 {
			continue
		}
		why, hint := b.forbids(u, classes)
		if why == "" {
			continue
		}
		return facts.Refusal{
			Class: strings.Join(classes, ", "), Column: b.name(c), At: u.At, Hint: hint,
			Message: fmt.Sprintf("column %s (class %s) is used by %s%s", b.name(c), strings.Join(classes, ", "), u.What, why),
		}, true
	}
	// The right side of a comparison is compared too.
	for _, c := range u.With {
		if classes := b.classes(c); len(classes) > 0 {
			turned := *u
			turned.Columns, turned.With = []facts.ColumnRef{c}, u.Columns
			if why, hint := b.forbids(&turned, classes); why != "" {
				return facts.Refusal{
					Class: strings.Join(classes, ", "), Column: b.name(c), At: u.At, Hint: hint,
					Message: fmt.Sprintf("column %s (class %s) is used by %s%s", b.name(c), strings.Join(classes, ", "), u.What, why),
				}, true
			}
		}
	}
	return facts.Refusal{}, false
}

// forbids says why classes do not allow a use; "" where they do.
func (b *binding) forbids(u *facts.Use, classes []string) (why, hint string) {
	compare := b.compare(classes)
	first := classes[0]
	switch u.Kind {
	case facts.UseEqual:
		if compare == CompareAny {
			return "", ""
		}
		if compare == CompareNone {
			return ", and the class allows no comparison", fmt.Sprintf("`compare: equality` on class %s would allow it.", first)
		}
		for _, w := range u.With {
			if !sameClasses(b.classes(w), classes) {
				return ", against a column that is not of the same class", fmt.Sprintf("`compare: any` on class %s would allow it.", first)
			}
		}
		return "", ""
	case facts.UseCompare:
		if compare == CompareAny {
			return "", ""
		}
		return ", which is more than equality against constants", fmt.Sprintf("`compare: any` on class %s would allow it.", first)
	case facts.UseOpaque:
		if compare == CompareAny && u.InPredicate {
			return "", ""
		}
		return ", which may fail or answer depending on the value", fmt.Sprintf("Select the column itself, or see it unmasked by `unmask` of class %s.", first)
	case facts.UseWrite:
		if u.Into != nil && b.keeps(*u.Into, classes) {
			return "", ""
		}
		return ", which would keep its values where they are not of that class", "Give the column that is written the same class."
	}
	return ", which is not understood", "This is a defect of the proxy: please report the statement."
}

// keeps says that a written column has all the classes of what is written.
func (b *binding) keeps(into facts.ColumnRef, classes []string) bool {
	if _, ok := b.f.Column(into); !ok {
		return false
	}
	have := b.all[into.Table][into.Column]
	return !slices.ContainsFunc(classes, func(c string) bool { return !slices.Contains(have, c) })
}

func sameClasses(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(c string) bool { return !slices.Contains(b, c) })
}

// compare is the least that any of the classes allows.
func (b *binding) compare(classes []string) Compare {
	least := CompareAny
	for _, name := range classes {
		c := b.p.Classes[name]
		if c == nil || c.Compare == CompareNone { // statistics, too
			return CompareNone
		}
		if c.Compare == CompareEquality {
			least = CompareEquality
		}
	}
	return least
}

// refuseCode refuses code that analysis cannot read, where any class binds
// the identity: the code could read what it likes.
func (b *binding) refuseCode(u *facts.Use) (facts.Refusal, bool) {
	if !b.anyInForce {
		return facts.Refusal{}, false
	}
	for _, c := range u.Columns {
		if classes := b.classes(c); len(classes) > 0 {
			return facts.Refusal{
				Class: strings.Join(classes, ", "), Column: b.name(c), At: u.At,
				Message: fmt.Sprintf("column %s (class %s) is used by %s, whose code is not known to be safe", b.name(c), strings.Join(classes, ", "), u.What),
				Hint:    "Vouching for a function does not let it have classed values.",
			}, true
		}
	}
	if b.p.Functions[u.Name] {
		return facts.Refusal{}, false
	}
	return facts.Refusal{
		At: u.At, Message: fmt.Sprintf("%s runs code that could read any column: %s", u.What, u.Name),
		Hint: fmt.Sprintf("If it reads and tells nothing classed, the policy can vouch for it: `functions: [%s]`.", u.Name),
	}, true
}

func (b *binding) name(r facts.ColumnRef) string {
	c, ok := b.f.Column(r)
	if !ok {
		return "?"
	}
	return b.f.Tables[r.Table].Name.String() + "." + c.Name
}

const maskedWrittenBack = "the statement holds a masked value as if it were the real one"

// placeholders refuses to write back what a mask has made of a value: an
// agent that read it would destroy the value.
func (b *binding) placeholders(d *facts.Decision) {
	inForce := func(refs []facts.ColumnRef) bool {
		return slices.ContainsFunc(refs, func(r facts.ColumnRef) bool { return len(b.classes(r)) > 0 })
	}
	refuse := func(at int) {
		b.hard = true
		d.Refusals = append(d.Refusals, facts.Refusal{At: at, Message: maskedWrittenBack,
			Hint: "What was read through a mask cannot be written back or looked up."})
	}
	if b.in.Hidden {
		return
	}
	for _, c := range b.f.Constants {
		if inForce(c.Columns) && c.From >= 0 && c.From < c.To && c.To <= len(b.in.Text) && placeholder(b.in.Text[c.From:c.To]) {
			refuse(c.From)
		}
	}
	for _, u := range b.f.ParamUses {
		if inForce(u.Columns) && u.Param >= 1 && u.Param <= len(b.in.Params) && placeholder(b.in.Params[u.Param-1].Text) {
			refuse(-1)
		}
	}
}

// ForHiddenConstant says that a refusal was for what a constant was, which a
// record may hide.
func ForHiddenConstant(r facts.Refusal) bool { return r.Message == maskedWrittenBack }

func placeholder(s string) bool {
	return strings.Contains(s, "[redacted]") || strings.Contains(s, "***")
}
