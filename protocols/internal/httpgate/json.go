package httpgate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep a request's JSON may nest; serde_json, which the stores
// read with, takes no more.
const maxDepth = 127

// Value is a part of a request's JSON document. Its zero value is a value that
// is not there.
type Value struct {
	Kind byte   // { [ " 0 t f n, or 0 where there is none
	Raw  []byte // in canonical form; not to be changed
	Text string // of a string

	Names []string // of an object, in order; Items are its values
	Items []Value  // nil for an array of numbers alone
	Count int      // of items

	from, to int // of Raw in the whole text
}

// ParseJSON reads a document and returns it with its canonical text, which is
// what may be forwarded: no space, no escape that is not needed, every name
// once. What two readers could read differently is an error.
func ParseJSON(src []byte, depth int) (*Value, error) {
	p := &jsonParser{depth: min(depth, maxDepth), out: make([]byte, 0, len(src))}
	p.dec = jsontext.NewDecoder(bytes.NewBuffer(src))
	var v Value
	err := p.value(&v)
	if err == nil {
		if _, err = p.dec.ReadToken(); err == io.EOF {
			v.place(p.out)
			return &v, nil
		}
		err = errors.Join(errors.New("something follows the document"), err)
	}
	var own *unfit
	if errors.As(err, &own) {
		return nil, Problem(http.StatusBadRequest, "the request's JSON "+own.what, own.hint)
	}
	return nil, Problem(http.StatusBadRequest, fmt.Sprintf("the request's JSON is not valid at byte %d", p.dec.InputOffset()),
		"It must be one document of UTF-8, with every name once in an object.")
}

// unfit is JSON that is valid and all the same not taken.
type unfit struct{ what, hint string }

func (u *unfit) Error() string { return u.what }

type jsonParser struct {
	dec   *jsontext.Decoder
	depth int
	out   []byte
}

// place cuts every value's text out of the whole.
func (v *Value) place(out []byte) {
	v.Raw = out[v.from:v.to:v.to]
	for i := range v.Items {
		v.Items[i].place(out)
	}
}

func (p *jsonParser) value(v *Value) error {
	v.from = len(p.out)
	var err error
	switch k := p.dec.PeekKind(); k {
	case '{':
		err = p.object(v)
	case '[':
		err = p.array(v)
	case '0':
		err = p.number(v)
	default:
		var t jsontext.Token
		if t, err = p.dec.ReadToken(); err != nil {
			return err
		}
		v.Kind = byte(t.Kind())
		switch v.Kind {
		case '"':
			v.Text = t.String()
			if strings.ContainsRune(v.Text, 0) {
				return &unfit{"holds a zero character", ""}
			}
			p.out, err = jsontext.AppendQuote(p.out, v.Text)
		case 't', 'f', 'n':
			p.out = append(p.out, t.String()...)
		default:
			return errors.New("not a value")
		}
	}
	v.to = len(p.out)
	return err
}

func (p *jsonParser) number(v *Value) error {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	v.Kind = '0'
	if len(raw) > 20 || bytes.ContainsAny(raw, "eE") {
		if len(raw) > 1000 {
			return &unfit{"has a number of more than 1000 digits", ""}
		}
		if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
			return &unfit{"has a number that no reader can hold", ""}
		}
	}
	p.out = append(p.out, raw...)
	return nil
}

func (p *jsonParser) nested() error {
	if p.dec.StackDepth() > p.depth {
		return &unfit{fmt.Sprintf("nests deeper than %d", p.depth), ""}
	}
	return nil
}

func (p *jsonParser) object(v *Value) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	v.Kind = '{'
	p.out = append(p.out, '{')
	if err := p.nested(); err != nil {
		return err
	}
	for p.dec.PeekKind() == '"' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return err
		}
		if v.Count > 0 {
			p.out = append(p.out, ',')
		}
		v.Count++
		v.Names = append(v.Names, name.String())
		if p.out, err = jsontext.AppendQuote(p.out, name.String()); err != nil {
			return err
		}
		p.out = append(p.out, ':')
		v.Items = append(v.Items, Value{})
		if err := p.value(&v.Items[len(v.Items)-1]); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.out = append(p.out, '}')
	if name := foldedTwice(v.Names); name != "" {
		return &unfit{"has two names that differ only in case: " + quoted(name), "Some readers take them for one."}
	}
	return nil
}

func (p *jsonParser) array(v *Value) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	v.Kind = '['
	p.out = append(p.out, '[')
	if err := p.nested(); err != nil {
		return err
	}
	numbers := true
	for k := p.dec.PeekKind(); k != ']' && k != 0; k = p.dec.PeekKind() {
		if v.Count > 0 {
			p.out = append(p.out, ',')
		}
		if numbers = numbers && k == '0'; !numbers && len(v.Items) != v.Count {
			return &unfit{"has an array of numbers and other things", ""}
		}
		v.Count++
		if numbers && v.Count > fewNumbers {
			v.Items = nil
			var n Value
			if err := p.number(&n); err != nil {
				return err
			}
			continue
		}
		v.Items = append(v.Items, Value{})
		if err := p.value(&v.Items[len(v.Items)-1]); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.out = append(p.out, ']')
	return nil
}

// fewNumbers is how many numbers of an array are kept one by one: more are a
// vector.
const fewNumbers = 4096

// foldedTwice returns a name that another one equals but for case, as simple
// case folding has it (Unicode CaseFolding.txt, C and S), "" for none.
func foldedTwice(names []string) string {
	if len(names) <= 8 {
		for i, a := range names {
			for _, b := range names[:i] {
				if strings.EqualFold(a, b) {
					return a
				}
			}
		}
		return ""
	}
	seen := make(map[string]bool, len(names))
	for _, n := range names {
		f := strings.Map(folded, n)
		if seen[f] {
			return n
		}
		seen[f] = true
	}
	return ""
}

// folded is the least of the runes that are equal to r under folding.
func folded(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// Has says that there is a value, null too.
func (v *Value) Has() bool { return v.Kind != 0 }

// Get is an object's member; the zero Value where there is none.
func (v *Value) Get(name string) *Value {
	if i := slices.Index(v.Names, name); i >= 0 {
		return &v.Items[i]
	}
	return &Value{}
}

// Null says that the value is null or not there.
func (v *Value) Null() bool { return v.Kind == 0 || v.Kind == 'n' }

// Vector says that the value is an array of numbers alone.
func (v *Value) Vector() bool {
	if v.Kind != '[' || v.Count == 0 {
		return false
	}
	return !slices.ContainsFunc(v.Items, func(i Value) bool { return i.Kind != '0' })
}

// Int is a number that is written as a whole one, not negative; ok is false
// for any other value.
func (v *Value) Int() (n int64, ok bool) {
	if v.Kind != '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.Raw), 10, 64)
	return n, err == nil && v.Raw[0] != '-'
}
