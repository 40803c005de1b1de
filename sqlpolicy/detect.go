package sqlpolicy

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// pattern reads one of the policy's own forms.
func (l *loader) pattern(name string, n *strictyaml.Node) {
	if slices.Contains(mask.Forms(), name) {
		n.Problem("form %q is built in", name)
	}
	p, err := mask.NewPattern(n.String())
	if err != nil {
		n.Problem("pattern %s: %v", name, err)
		return
	}
	l.p.patterns[name] = p
}

// form checks, at the end, that a form is built in or the policy's own.
func (l *loader) form(n *strictyaml.Node) {
	f := n.String()
	l.late = append(l.late, func() {
		if f != "" && !slices.Contains(mask.Forms(), f) && l.p.patterns[f] == nil {
			n.Problem("there is no form %q; there are %s, and what patterns defines", f, strings.Join(mask.Forms(), ", "))
		}
	})
}

// detect notes what a class looks for.
func (l *loader) detect(n *strictyaml.Node, c *Class) {
	if _, err := mask.Compile(c.Mask, facts.KindText, []byte("check")); err != nil {
		n.Problem("class %s looks for values in text: %v", c.Name, err)
		return
	}
	l.p.detects = append(l.p.detects, facts.Detect{Class: c.Name, Forms: c.Detect, Mask: c.Mask})
	slices.SortFunc(l.p.detects, func(a, b facts.Detect) int { return strings.Compare(a.Class, b.Class) })
}

// Detects is all that the policy looks for in texts, whoever asks.
func (p *Policy) Detects() []facts.Detect { return p.detects }

// Detector finds and masks what is given of Detects. key is the installation's
// hash key, the same at each call. It is nil where nothing is given.
func (p *Policy) Detector(of []facts.Detect, key []byte) (*mask.Detector, error) {
	if len(of) == 0 {
		return nil, nil
	}
	name, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	if d, ok := p.detectors.Load(string(name)); ok {
		return d.(*mask.Detector), nil
	}
	d, err := mask.NewDetector(of, p.patterns, key)
	if err != nil {
		return nil, err
	}
	p.detectors.Store(string(name), d) // as many as there are sets of unmasked classes
	return d, nil
}

// classesOfForms are the classes that look for one of the forms.
func (p *Policy) classesOfForms(forms []string) []string {
	if len(forms) == 0 {
		return nil
	}
	var out []string
	for _, d := range p.detects {
		if intersects(d.Forms, forms) {
			out = append(out, d.Class)
		}
	}
	return out
}

// detect is what must not leave the statement's texts: the classes that the
// identity may not see.
func (b *binding) detect() []facts.Detect {
	if !b.f.Texts {
		return nil
	}
	var out []facts.Detect
	for _, d := range b.p.detects {
		if !b.seen[d.Class] {
			out = append(out, d)
		}
	}
	return out
}

// found are the classes of what detectors found in the statement itself.
func (b *binding) found() []string {
	var out []string
	for _, c := range b.f.Constants {
		for _, class := range b.p.classesOfForms(c.Forms) {
			out = appendNew(out, class)
		}
	}
	return out
}
