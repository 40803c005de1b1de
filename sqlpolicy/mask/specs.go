package mask

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Spec is one mask that a policy can name.
type Spec struct {
	Name   string
	Doc    string
	Params []Param
	// Kinds it can be applied to; nil is every kind.
	Kinds []facts.Kind
	// compile builds the mask. Params have been checked.
	compile func(p params, kind facts.Kind, key []byte) (*Mask, error)
}

// Param is a parameter of a mask.
type Param struct {
	Name    string
	Doc     string
	Default any // its type is the parameter's: int64 or string
}

// Specs are all masks, from the strictest. Of two masks for one value the
// stricter is applied.
var Specs = []Spec{
	{
		Name: "redact", Doc: "One constant that is valid for the type, for NULL too; NULL for every value where a type has no safe constant.",
		compile: func(_ params, kind facts.Kind, _ []byte) (*Mask, error) { return &Mask{Const: constantOf(kind)}, nil },
	},
	{
		Name: "null", Doc: "NULL for every value.",
		compile: func(params, facts.Kind, []byte) (*Mask, error) { return &Mask{Const: &Value{Null: true}}, nil },
	},
	{
		Name: "hash", Doc: "A keyed hash (HMAC-SHA-256) of the value, so that equal values stay equal and joinable; NULL stays NULL.",
		Params: []Param{{Name: "length", Doc: "characters of the hash, 8 to 64", Default: int64(16)}},
		Kinds:  []facts.Kind{facts.KindText}, compile: compileHash,
	},
	{
		Name: "bucket", Doc: "The lower end of the range that the value is in; NULL stays NULL.",
		Params: []Param{
			{Name: "width", Doc: "width of the ranges of numbers, above 0", Default: int64(10)},
			{Name: "unit", Doc: "day, week, month or year, for dates and times", Default: "month"},
		},
		Kinds: []facts.Kind{facts.KindInt, facts.KindFloat, facts.KindNumeric, facts.KindDate, facts.KindTimestamp}, compile: compileBucket,
	},
	{
		Name: "partial", Doc: "The shape: of an e-mail address the first character and the domain, of anything else the last characters; NULL stays NULL.",
		Params: []Param{
			{Name: "keep", Doc: "how many characters at the end stay, 0 to 8; never half of the value or more", Default: int64(4)},
			{Name: "char", Doc: "the character that hides", Default: "*"},
		},
		Kinds: []facts.Kind{facts.KindText}, compile: compilePartial,
	},
}

func find(name string) *Spec {
	i := slices.IndexFunc(Specs, func(s Spec) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &Specs[i]
}

// Names are the masks' names, from the strictest.
func Names() []string {
	var out []string
	for _, s := range Specs {
		out = append(out, s.Name)
	}
	return out
}

// Strictness orders masks: the lower, the stricter. An unknown name is the
// strictest.
func Strictness(name string) int {
	return max(0, slices.IndexFunc(Specs, func(s Spec) bool { return s.Name == name }))
}

// Strictest is the mask to apply to a value that several classes' masks are
// for. Two of one name that differ in their parameters show different parts
// of a value, so neither will do and the value is redacted.
func Strictest(masks ...facts.Mask) facts.Mask {
	strictest := facts.Mask{}
	for _, m := range masks {
		switch {
		case strictest.Name == "" || Strictness(m.Name) < Strictness(strictest.Name):
			strictest = m
		case m.Name == strictest.Name && !same(m, strictest):
			return facts.Mask{Name: "redact"}
		}
	}
	return strictest
}

// same says whether two masks of one name do the same, defaults written out
// or not.
func same(a, b facts.Mask) bool {
	x, errX := check(a)
	y, errY := check(b)
	return errX == nil && errY == nil && maps.Equal(x, y)
}

// Check reports what is wrong with a mask as a policy names it.
func Check(m facts.Mask) error {
	_, err := check(m)
	return err
}

func check(m facts.Mask) (params, error) {
	s := find(m.Name)
	if s == nil {
		return nil, fmt.Errorf("there is no mask %q; there are %s", m.Name, strings.Join(Names(), ", "))
	}
	p := params{}
	for _, d := range s.Params {
		p[d.Name] = d.Default
	}
	for name, v := range m.Params {
		def, ok := p[name]
		if !ok {
			return nil, fmt.Errorf("mask %s has no parameter %q", m.Name, name)
		}
		value, ok := sameType(def, v)
		if !ok {
			return nil, fmt.Errorf("parameter %s of mask %s must be %s", name, m.Name, typeWord(def))
		}
		p[name] = value
	}
	if s.Params != nil { // the ranges are checked where they are used
		if _, err := s.compile(p, s.Kinds[0], []byte("check")); err != nil {
			return nil, err
		}
		if slices.Contains(s.Kinds, facts.KindDate) {
			if _, err := s.compile(p, facts.KindDate, nil); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func sameType(def, v any) (any, bool) {
	switch def.(type) {
	case int64:
		switch n := v.(type) {
		case int:
			return int64(n), true
		case int64:
			return n, true
		case uint64:
			return int64(n), n < 1<<62
		case float64:
			return int64(n), n == float64(int64(n))
		}
		return nil, false
	case string:
		s, ok := v.(string)
		return s, ok
	}
	return nil, false
}

func typeWord(def any) string {
	if _, ok := def.(int64); ok {
		return "a whole number"
	}
	return "a string"
}

// Compile builds a mask for a column of that kind. key is the installation's
// hash key. A mask that does not fit the kind is an error, and the column
// must then not leave.
func Compile(m facts.Mask, kind facts.Kind, key []byte) (*Mask, error) {
	p, err := check(m)
	if err != nil {
		return nil, err
	}
	s := find(m.Name)
	if s.Kinds != nil && !slices.Contains(s.Kinds, kind) {
		return nil, fmt.Errorf("mask %s does not fit type %s; use redact", m.Name, kind)
	}
	return s.compile(p, kind, key)
}

type params map[string]any

func (p params) int(name string) int64     { return p[name].(int64) }
func (p params) string(name string) string { return p[name].(string) }

// constantOf is the kind's safe constant.
func constantOf(kind facts.Kind) *Value {
	switch kind {
	case facts.KindText:
		return &Value{Text: "[redacted]"}
	case facts.KindInt, facts.KindFloat, facts.KindNumeric:
		return &Value{Text: "0"}
	case facts.KindBool:
		return &Value{Text: "false"}
	case facts.KindDate:
		return &Value{Text: "1970-01-01"}
	case facts.KindTime:
		return &Value{Text: "00:00:00"}
	case facts.KindTimestamp:
		return &Value{Text: "1970-01-01 00:00:00"}
	case facts.KindUUID:
		return &Value{Text: "00000000-0000-0000-0000-000000000000"}
	case facts.KindJSON:
		return &Value{Text: `"[redacted]"`}
	case facts.KindBytes:
		return &Value{}
	}
	return &Value{Null: true}
}
