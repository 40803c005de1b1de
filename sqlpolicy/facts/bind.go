package facts

import (
	"regexp"
	"strconv"
)

// Bind returns f with the facts that depend on parameter values filled in. It
// returns f itself where none do, and never changes f.
func (f *Facts) Bind(params []Param) *Facts {
	var out *Facts
	for i := range f.Effects {
		e := &f.Effects[i]
		n := e.LimitParam
		if n < 1 || n > len(params) {
			continue
		}
		p := params[n-1]
		if p.Null || !p.Known {
			continue // LIMIT NULL limits nothing; an unknown value may not
		}
		v, err := strconv.ParseInt(p.Text, 10, 64)
		if err != nil || v < 0 {
			continue
		}
		if out == nil {
			c := *f
			c.Effects = append([]Effect(nil), f.Effects...)
			out = &c
		}
		b := &out.Effects[i]
		if v < b.Limit {
			b.Limit = v
		}
		b.Limited = true
		if e.TopKParam {
			b.TopK = b.Limit
		}
	}
	return f.bindEqualities(out, params)
}

// bindEqualities makes a comparison of each equality whose parameters are
// bound otherwise than it needs. out is the copy of f made so far, or nil.
func (f *Facts) bindEqualities(out *Facts, params []Param) *Facts {
	copied := false
	for i := range f.Uses {
		if f.Uses[i].Kind != UseEqual || boundAs(f.Uses[i].Params, params) {
			continue
		}
		if out == nil {
			c := *f
			out = &c
		}
		if !copied {
			out.Uses, copied = append([]Use(nil), f.Uses...), true
		}
		out.Uses[i].Kind = UseCompare
	}
	if out == nil {
		return f
	}
	return out
}

func boundAs(wants []ParamKind, params []Param) bool {
	for _, w := range wants {
		if w.Param < 1 || w.Param > len(params) {
			continue // not bound yet
		}
		if p := params[w.Param-1]; !p.Null && !(p.Known && WrittenAs(w.Kind, p.Kind, p.Text)) {
			return false
		}
	}
	return true
}

var (
	integerText   = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,18})$`)
	dateText      = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	timestampText = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$`)
)

// WrittenAs says that a constant of one kind, with that text, means a value
// of another kind without a conversion that could fail, warn, or make it mean
// several values: what a store without strict types compares as it stands.
func WrittenAs(as, constant Kind, text string) bool {
	switch as {
	case KindText, KindBytes:
		return constant == KindText || constant == KindBytes
	case KindInt:
		return constant == KindInt || (constant == KindText || constant == KindFloat || constant == KindNumeric) && integerText.MatchString(text)
	case KindNumeric:
		return constant == KindInt || constant == KindNumeric
	case KindDate:
		return (constant == KindText || constant == KindDate || constant == KindTimestamp) && dateText.MatchString(text)
	case KindTimestamp:
		return (constant == KindText || constant == KindTimestamp || constant == KindDate) && timestampText.MatchString(text)
	}
	return false
}
