package facts

import "strconv"

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
	if out == nil {
		return f
	}
	return out
}
