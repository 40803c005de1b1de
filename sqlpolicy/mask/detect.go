package mask

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Forms are the built-in forms of values that a Detector can look for.
func Forms() []string {
	var out []string
	for _, f := range forms {
		out = append(out, f.name)
	}
	return out
}

// Detector finds values in text by their form, where no column says what they
// are, and masks them. It is best effort: it adds to lineage and never stands
// in for it. Its work is linear in the text. It is safe for concurrent use.
type Detector struct {
	forms    []form
	patterns []*Pattern
	starts   [256]formSet   // built-in forms that can begin with a byte
	specs    []facts.Detect // of which masks are made
	names    []string       // of forms, then patterns, by their bit
	key      []byte
	masks    sync.Map // formSet -> *Mask
}

// formSet is a set of a Detector's forms and patterns, by their place.
type formSet uint64

// NewDetector looks for the forms of each spec, and masks what it finds as the
// spec says; patterns are the policy's own forms by name, key the
// installation's hash key. Without specs it returns nil, which finds nothing.
func NewDetector(specs []facts.Detect, patterns map[string]*Pattern, key []byte) (*Detector, error) {
	d := &Detector{specs: specs, key: key}
	wanted := map[string]bool{}
	for _, s := range specs {
		if _, err := Compile(s.Mask, facts.KindText, key); err != nil {
			return nil, fmt.Errorf("class %s: %w", s.Class, err)
		}
		for _, f := range s.Forms {
			wanted[f] = true
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	for _, f := range forms {
		if wanted[f.name] {
			for c := range d.starts {
				if f.starts(byte(c)) {
					d.starts[c] |= 1 << len(d.names)
				}
			}
			d.forms, d.names = append(d.forms, f), append(d.names, f.name)
			delete(wanted, f.name)
		}
	}
	own := make([]string, 0, len(wanted))
	for name := range wanted {
		own = append(own, name)
	}
	slices.Sort(own)
	for _, name := range own {
		if patterns[name] == nil {
			return nil, fmt.Errorf("there is no form %q; there are %s", name, strings.Join(Forms(), ", "))
		}
		d.patterns, d.names = append(d.patterns, patterns[name]), append(d.names, name)
	}
	if len(d.names) > 63 {
		return nil, errors.New("more than 63 forms to look for")
	}
	return d, nil
}

// Found is one value, as the half-open byte range that it has in the text.
type Found struct {
	From, To int
	Forms    []string
}

// Find returns the values in src, in order.
func (d *Detector) Find(src []byte) []Found {
	if d == nil {
		return nil
	}
	var out []Found
	s := scan{d: d, buf: src, eof: true}
	for {
		from, to, set := s.next()
		if set == 0 {
			return out
		}
		out = append(out, Found{From: from, To: to, Forms: d.formsOf(set)})
	}
}

// Append appends src to dst with the values in it masked, and says how many
// there were.
func (d *Detector) Append(dst, src []byte) ([]byte, int) {
	if d == nil {
		return append(dst, src...), 0
	}
	s := scan{d: d, buf: src, eof: true}
	at, n := 0, 0
	for {
		from, to, set := s.next()
		if set == 0 {
			return append(dst, src[at:]...), n
		}
		dst = d.mask(append(dst, src[at:from]...), src[from:to], set)
		at = to
		n++
	}
}

func (d *Detector) formsOf(set formSet) []string {
	var out []string
	for i, name := range d.names {
		if set&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// mask appends the value as the strictest of its classes' masks leaves it.
func (d *Detector) mask(dst, value []byte, set formSet) []byte {
	if set&restOf != 0 {
		return dst
	}
	m, ok := d.masks.Load(set)
	if !ok {
		var masks []facts.Mask
		found := d.formsOf(set)
		for _, s := range d.specs {
			if slices.ContainsFunc(s.Forms, func(f string) bool { return slices.Contains(found, f) }) {
				masks = append(masks, s.Mask)
			}
		}
		compiled, err := Compile(Strictest(masks...), facts.KindText, d.key)
		if err != nil { // each was compiled before
			compiled = &Mask{Const: constantOf(facts.KindText)}
		}
		m, _ = d.masks.LoadOrStore(set, compiled)
	}
	switch t := m.(*Mask); {
	case t.Text != nil && len(value) <= maxSpan: // of what is longer only a part is at hand
		return t.Text(dst, value)
	case t.Const != nil && !t.Const.Null:
		return append(dst, t.Const.Text...)
	}
	return append(dst, "[redacted]"...) // inside a text nothing else can stand for NULL
}
