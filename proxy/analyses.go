package proxy

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// analysed is a text's statements with their facts as the record wants them.
// It may serve other texts that differ in constants only: text then says what
// a statement's own words are.
type analysed struct {
	statements []catalog.Statement
	facts      []json.RawMessage
	literals   []catalog.Literal // of the text that was analysed, where others can share it
	free       []bool            // of a shape: which of its literals are
}

func newAnalysed(statements []catalog.Statement) (*analysed, error) {
	a := &analysed{statements: statements}
	for _, s := range statements {
		b, err := s.Facts.AppendJSON(make([]byte, 0, 512))
		if err != nil {
			return nil, err
		}
		a.facts = append(a.facts, b)
	}
	return a, nil
}

// text is the own words of a statement of the unit's text.
func (a *analysed) text(i int, whole string) string {
	st := &a.statements[i]
	if a.literals == nil {
		return st.Text
	}
	return whole[st.Offset : st.Offset+len(st.Text)]
}

// key is all that an analysis depends on.
type key struct {
	scope
	text string
}

// scope is how names resolve. Its catalog is weak, so that what is remembered of a schema
// that DDL has replaced keeps that schema, megabytes of it, no longer than a session does.
type scope struct {
	catalog  weak.Pointer[catalog.Catalog]
	path     string
	role     string
	temp     string
	settings catalog.Settings
	reverts  bool
}

func scopeOf(v *catalog.View) scope {
	return scope{catalog: weak.Make(v.Catalog), path: strings.Join(v.SearchPath, "\x00"), role: v.Role, temp: v.TempSchema, settings: v.Settings, reverts: v.Reverting}
}

// viewScope remembers what the last view's scope was.
type viewScope struct {
	view   *catalog.View
	scope  scope
	stored atomic.Pointer[string] // the hash that its schema is kept under
}

// analyses caches analyses by their inputs. It keeps two generations: what was
// used in the last one moves on, the rest goes when the new one is full.
type analyses struct {
	mu       sync.RWMutex
	new, old map[key]*analysed
	bytes    int
}

// maxAnalysesBytes bounds a generation by the texts' lengths, counted with
// what facts cost beside them.
const (
	maxAnalysesBytes = 16 << 20
	analysisCost     = 2 << 10
	maxCachedText    = 64 << 10 // a longer one is not worth its place
)

func newAnalyses() *analyses { return &analyses{new: map[key]*analysed{}} }

func (c *analyses) get(k key) *analysed {
	c.mu.RLock()
	a, ok := c.new[k]
	if !ok {
		a = c.old[k]
	}
	c.mu.RUnlock()
	if a != nil && !ok {
		c.put(k, a)
	}
	return a
}

// find is get for a text in bytes.
func (c *analyses) find(s scope, text []byte) *analysed {
	c.mu.RLock()
	a, ok := c.new[key{scope: s, text: string(text)}]
	c.mu.RUnlock()
	if !ok {
		return c.get(key{scope: s, text: string(text)})
	}
	return a
}

func (c *analyses) put(k key, a *analysed) {
	if len(k.text) > maxCachedText {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes += len(k.text) + analysisCost; c.bytes > maxAnalysesBytes {
		c.old, c.new, c.bytes = c.new, map[key]*analysed{}, len(k.text)+analysisCost
	}
	c.new[k] = a
}

// template is a text with its literals, for looking up what is known of texts
// that differ in constants only. Keys begin with a zero byte, which no text
// has, and a letter:
//
//	S  the text with only the kinds of all its literals: which of them are free
//	V  with the kinds and lengths of those, the others as written: an analysis
//	   of a text in which all stands in the same places
//	T  without lengths: one in which the places may be others
type template struct {
	text     string
	literals []catalog.Literal
	buf      []byte
}

var templates = sync.Pool{New: func() any { return &template{} }}

// maxLiterals bounds what is worth the trouble.
const maxLiterals = 200

// key writes one of the template's keys; it is valid until the next one.
func (t *template) key(letter byte, free []bool) []byte {
	b := append(t.buf[:0], 0, letter)
	at := 0
	for i, l := range t.literals {
		if letter != 'S' && !free[i] {
			continue
		}
		b = append(append(b, t.text[at:l.From]...), 0, l.Kind)
		if letter == 'V' {
			b = append(b, byte(l.To-l.From))
		}
		at = l.To
	}
	t.buf = append(b, t.text[at:]...)
	return t.buf
}

// analyse analyses a text, or takes what is known of one that differs in
// free constants only. It caches what can be.
func (c *analyses) analyse(s scope, text string, d *Dialect, fresh func() ([]catalog.Statement, error)) (*analysed, error) {
	t := templates.Get().(*template)
	defer func() { t.text = ""; templates.Put(t) }()
	var ok bool
	if d.Literals != nil && len(text) <= maxCachedText {
		t.text = text
		t.literals, ok = d.Literals(text, t.literals[:0])
		ok = ok && len(t.literals) > 0 && len(t.literals) <= maxLiterals
	}
	var shape *analysed
	if ok {
		if shape = c.find(s, t.key('S', nil)); shape != nil && slices.Contains(shape.free, true) {
			if a, err := c.fromTemplate(s, t, shape.free); a != nil || err != nil {
				return a, err
			}
		}
	}
	statements, err := fresh()
	if err != nil {
		return nil, err
	}
	a, err := newAnalysed(statements)
	if err != nil || slices.ContainsFunc(statements, func(st catalog.Statement) bool { return st.Volatile }) {
		return a, err
	}
	if ok && len(statements) == 1 && len(statements[0].Free) > 0 && c.share(s, t, shape, a) {
		return a, nil
	}
	c.put(key{scope: s, text: text}, a)
	return a, nil
}

// fromTemplate is what is known of a text like this one, nil for nothing.
func (c *analyses) fromTemplate(s scope, t *template, free []bool) (*analysed, error) {
	if a := c.find(s, t.key('V', free)); a != nil {
		return a, nil
	}
	base := c.find(s, t.key('T', free))
	if base == nil {
		return nil, nil
	}
	a, err := base.moved(t)
	if err != nil {
		return nil, err
	}
	c.put(key{scope: s, text: string(t.key('V', free))}, a)
	return a, nil
}

// share puts an analysis where other texts find it; false where they must not.
func (c *analyses) share(s scope, t *template, shape, a *analysed) bool {
	free := make([]bool, len(t.literals))
	for i, l := range t.literals {
		free[i] = slices.Contains(a.statements[0].Free, l.From)
	}
	if shape != nil && !slices.Equal(shape.free, free) {
		return false // never, by what Free promises
	}
	if shape == nil {
		c.put(key{scope: s, text: string(t.key('S', nil))}, &analysed{free: free})
	}
	if !slices.Contains(free, true) {
		return false
	}
	a.literals = slices.Clone(t.literals)
	c.put(key{scope: s, text: string(t.key('T', free))}, a)
	c.put(key{scope: s, text: string(t.key('V', free))}, a)
	return true
}

// moved is an analysis with its places as they are in another text of the same
// template.
func (a *analysed) moved(t *template) (*analysed, error) {
	st := a.statements[0]
	place := func(at int) int { // of the whole text
		moved := at
		for i, l := range a.literals {
			if l.To > at {
				if l.From < at {
					moved = t.literals[i].From
				}
				break
			}
			moved = t.literals[i].To + at - l.To
		}
		return moved
	}
	own := func(at int) int { return place(st.Offset+at) - st.Offset }
	f := *st.Facts
	f.Uses = slices.Clone(f.Uses)
	for i := range f.Uses {
		if f.Uses[i].At >= 0 {
			f.Uses[i].At = own(f.Uses[i].At)
		}
	}
	f.Constants = slices.Clone(f.Constants)
	for i := range f.Constants {
		f.Constants[i].From, f.Constants[i].To = own(f.Constants[i].From), own(f.Constants[i].To)
	}
	end := place(st.Offset + len(st.Text))
	out := &analysed{literals: slices.Clone(t.literals)}
	out.statements = []catalog.Statement{{Text: strings.Clone(t.text[st.Offset:end]), Offset: st.Offset, Facts: &f}}
	raw, err := json.Marshal(&f)
	out.facts = []json.RawMessage{raw}
	return out, err
}
