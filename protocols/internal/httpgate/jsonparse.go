package httpgate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// fewNumbers is how many numbers an array may have that are kept one by one:
	// one that has more, and nothing else, is a vector.
	fewNumbers = 16
	// mostNumbers is how many may come before something else does.
	mostNumbers = 4096
	// longNumber is how long a number without an exponent may be that is not
	// converted to see whether a reader could: a double holds 308 digits.
	longNumber = 64
)

// ParseJSON reads a document (RFC 8259) and returns it with its canonical
// text, which is what may be forwarded: no space, no escape that is not
// needed, every name once. What two readers could read differently is an
// error. The result holds nothing of src.
func ParseJSON(src []byte, depth int) (*Value, error) { return parseJSON(src, depth, nil) }

// parseJSON is ParseJSON into a buffer, where the text fits in it.
func parseJSON(src []byte, depth int, buf []byte) (*Value, error) {
	if cap(buf) < len(src) {
		buf = make([]byte, 0, len(src))
	}
	p := &jsonParser{src: src, depth: min(depth, maxDepth), out: buf[:0]}
	v := &Value{}
	err := p.value(v)
	if err == nil {
		if p.next() == 0 && p.pos == len(src) {
			v.place(p.out)
			return v, nil
		}
		err = errSyntax
	}
	var own *unfit
	if errors.As(err, &own) {
		return nil, Problem(http.StatusBadRequest, "the request's JSON "+own.what, own.hint)
	}
	return nil, Problem(http.StatusBadRequest, fmt.Sprintf("the request's JSON is not valid at byte %d", p.pos),
		"It must be one document of UTF-8, with every name once in an object.")
}

// unfit is JSON that is valid and all the same not taken.
type unfit struct{ what, hint string }

func (u *unfit) Error() string { return u.what }

var errSyntax = errors.New("not valid")

type jsonParser struct {
	src          []byte
	pos          int
	depth, level int
	out          []byte
}

// place cuts every value's text out of the whole.
func (v *Value) place(out []byte) {
	v.Raw = out[v.from:v.to:v.to]
	for i := range v.Items {
		v.Items[i].place(out)
	}
}

// next is the next byte that is no space, 0 at the end.
func (p *jsonParser) next() byte {
	for ; p.pos < len(p.src); p.pos++ {
		if c := p.src[p.pos]; !isSpace(c) {
			return c
		}
	}
	return 0
}

func (p *jsonParser) value(v *Value) (err error) {
	v.from = len(p.out)
	switch c := p.next(); c {
	case '{':
		err = p.object(v)
	case '[':
		err = p.array(v)
	case '"':
		v.Kind = c
		v.Text, err = p.str()
	case 't':
		err = p.word(v, "true")
	case 'f':
		err = p.word(v, "false")
	case 'n':
		err = p.word(v, "null")
	default:
		v.Kind = '0'
		err = p.number()
	}
	v.to = len(p.out)
	return err
}

func (p *jsonParser) word(v *Value, word string) error {
	if !bytes.HasPrefix(p.src[p.pos:], []byte(word)) {
		return errSyntax
	}
	v.Kind = word[0]
	p.out = append(p.out, word...)
	p.pos += len(word)
	return nil
}

// str reads a string, appends its canonical form and returns it out of its
// escapes.
func (p *jsonParser) str() (string, error) {
	i := p.pos + 1
	for i < len(p.src) && plainByte[p.src[i]] {
		i++
	}
	if i < len(p.src) && p.src[i] == '"' {
		p.out = append(p.out, p.src[p.pos:i+1]...)
		s := string(p.src[p.pos+1 : i])
		p.pos = i + 1
		return s, nil
	}
	for i < len(p.src) && p.src[i] != '"' {
		if p.src[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(p.src) {
		return "", errSyntax
	}
	b, err := jsontext.AppendUnquote(nil, p.src[p.pos:i+1])
	if err != nil {
		return "", errSyntax
	}
	p.pos = i + 1
	s := string(b)
	if strings.IndexByte(s, 0) >= 0 {
		return "", &unfit{"holds a zero character", ""}
	}
	p.out, err = jsontext.AppendQuote(p.out, s)
	return s, err
}

// plainByte are those of a string that stand in it as they are.
var plainByte = func() (t [256]bool) {
	for c := ' '; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// number reads one and appends it as it stands.
func (p *jsonParser) number() error {
	n, exponent := numberLength(p.src[p.pos:])
	if n == 0 {
		return errSyntax
	}
	raw := p.src[p.pos : p.pos+n]
	if n > longNumber || exponent {
		if n > 1000 {
			return &unfit{"has a number of more than 1000 digits", ""}
		}
		if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
			return &unfit{"has a number that no reader can hold", ""}
		}
	}
	p.out = append(p.out, raw...)
	p.pos += n
	return nil
}

// numberLength is how many bytes of b are a number, and whether it has an
// exponent; 0 where b does not begin with one.
func numberLength(b []byte) (n int, exponent bool) {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	from := i
	i = digits(b, i)
	if i == from || b[from] == '0' && i > from+1 {
		return 0, false
	}
	if i < len(b) && b[i] == '.' {
		if from, i = i+1, digits(b, i+1); i == from {
			return 0, false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if from, i = i, digits(b, i); i == from {
			return 0, false
		}
		exponent = true
	}
	return i, exponent
}

// plainNumber is how many bytes of b are a number with one digit before its
// point and at most 15 behind it, and the comma after it; 0 where b does not
// begin so.
func plainNumber(b []byte) int {
	i := 0
	if len(b) < 20 {
		return 0
	}
	if b[0] == '-' {
		i = 1
	}
	if b[i]-'0' > 9 || b[i+1] != '.' {
		return 0
	}
	first := leadingDigits(b[i+2:])
	if first == 0 {
		return 0
	}
	i += 2 + first
	if first == 8 {
		more := leadingDigits(b[i:])
		if more == 8 {
			return 0
		}
		i += more
	}
	if b[i] != ',' {
		return 0
	}
	return i + 1
}

// leadingDigits is how many of b's first 8 bytes are digits.
func leadingDigits(b []byte) int {
	// A byte that is no digit has its highest bit set in one of the three: it is
	// below '0', or above '9', or is not ASCII. Only the lowest such bit is looked
	// at, which no borrow or carry of another byte can have made.
	w := binary.LittleEndian.Uint64(b)
	other := ((w - 0x3030303030303030) | (w + 0x4646464646464646) | w) & 0x8080808080808080
	return bits.TrailingZeros64(other) / 8
}

// digits is where b's digits from i end.
func digits(b []byte, i int) int {
	for len(b)-i >= 8 {
		n := leadingDigits(b[i:])
		if i += n; n < 8 {
			return i
		}
	}
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// enter reads an opening bracket.
func (p *jsonParser) enter() error {
	p.out = append(p.out, p.src[p.pos])
	p.pos++
	if p.level++; p.level > p.depth {
		return &unfit{fmt.Sprintf("nests deeper than %d", p.depth), ""}
	}
	return nil
}

// more says whether another member comes, after the comma where it is not the
// first, or reads the closing bracket.
func (p *jsonParser) more(closing byte, count int) (bool, error) {
	c := p.next()
	switch {
	case c == closing:
		p.pos++
		p.level--
		p.out = append(p.out, closing)
		return false, nil
	case count == 0:
		return true, nil
	case c != ',':
		return false, errSyntax
	}
	p.pos++
	p.out = append(p.out, ',')
	return true, nil
}

func (p *jsonParser) object(v *Value) error {
	v.Kind = '{'
	if err := p.enter(); err != nil {
		return err
	}
	for {
		ok, err := p.more('}', v.Count)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if p.next() != '"' {
			return errSyntax
		}
		name, err := p.str()
		if err != nil {
			return err
		}
		if p.next() != ':' {
			return errSyntax
		}
		p.pos++
		p.out = append(p.out, ':')
		if v.Items == nil {
			v.Names, v.Items = make([]string, 0, 4), make([]Value, 0, 4)
		}
		v.Count++
		v.Names, v.Items = append(v.Names, name), append(v.Items, Value{})
		if err := p.value(&v.Items[len(v.Items)-1]); err != nil {
			return err
		}
	}
	name, found := foldedTwice(v.Names)
	if !found {
		return nil
	}
	if first := slices.Index(v.Names, name); slices.Contains(v.Names[first+1:], name) {
		return &unfit{"is not valid: an object has the name " + quoted(name) + " twice", "It must have every name once."}
	}
	return &unfit{"has two names that differ only in case: " + quoted(name), "Some readers take them for one."}
}

func (p *jsonParser) array(v *Value) error {
	v.Kind = '['
	if err := p.enter(); err != nil {
		return err
	}
	if n := p.vector(); n > 0 {
		v.Count = n
		p.level--
		return nil
	}
	numbers := true
	for {
		ok, err := p.more(']', v.Count)
		if err != nil || !ok {
			return err
		}
		v.Count++
		v.Items = append(v.Items, Value{})
		last := &v.Items[len(v.Items)-1]
		if err := p.value(last); err != nil {
			return err
		}
		if numbers = numbers && last.Kind == '0'; numbers && v.Count > mostNumbers {
			return &unfit{"has an array of numbers and other things", ""}
		}
	}
}

// vector reads the rest of an array that has many numbers and nothing else,
// and returns how many; 0, and has read nothing, where there is anything else,
// a number that must be looked at closer, or few.
func (p *jsonParser) vector() (count int) {
	at, copied, out := p.pos, p.pos, p.out
	space := func() {
		from := at
		for at < len(p.src) && isSpace(p.src[at]) {
			at++
		}
		if at > from {
			out = append(out, p.src[copied:from]...)
			copied = at
		}
	}
	for {
		// As models write them: no space, no exponent.
		for {
			n := plainNumber(p.src[at:])
			if n == 0 {
				break
			}
			at += n
			count++
		}
		space()
		n, exponent := numberLength(p.src[at:])
		if n == 0 || n > longNumber || exponent && !smallExponent(p.src[at:at+n]) {
			return 0
		}
		at += n
		count++
		space()
		if at == len(p.src) {
			return 0
		}
		switch p.src[at] {
		case ',':
			at++
		case ']':
			if count <= fewNumbers {
				return 0
			}
			at++
			p.pos, p.out = at, append(out, p.src[copied:at]...)
			return count
		default:
			return 0
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// smallExponent says that a number's exponent has at most two digits, so that
// a double holds it with its at most longNumber others.
func smallExponent(number []byte) bool {
	i := bytes.LastIndexAny(number, "eE")
	return len(bytes.TrimLeft(number[i+1:], "+-")) <= 2
}
