package vector

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// rewriter writes an answer by its shape, as a stream: it holds one row, or one
// buffer, at a time.
type rewriter struct {
	scanner
	a        *httpgate.Answer
	ticket   protocols.Ticket
	docs     protocols.Documents
	detector *mask.Detector
	text     []byte // a string out of its escapes
	made     []byte // what a mask or detector makes of it

	scope any // of docs, that roots are good for
	roots map[string]*node
	nodes int

	held  bool // inside a row or cell: nothing leaves
	rows  int
	keeps int // of the rows, from the first
	cells map[string]int
	kept  [2][]byte // what is recorded at once
}

// rewriters are reused with their buffers and, for callers who see the same,
// with what they know of paths.
var rewriters = sync.Pool{New: func() any { return &rewriter{scanner: scanner{buf: make([]byte, scanBuffer)}} }}

// What a rewriter keeps at most for the next answer: of a buffer that has
// grown, and of paths.
const (
	keptBuffer = 128 << 10
	keptNodes  = 512
)

// answer writes an answer by its shape.
func (s *shape) answer(a *httpgate.Answer) error {
	docs, ok := a.Ticket.(protocols.Documents)
	if !ok {
		return errors.New("the ticket masks no documents")
	}
	w := rewriters.Get().(*rewriter)
	defer w.release()
	if err := w.begin(a, docs); err != nil {
		return err
	}
	err := w.write(s)
	if err == nil {
		err = w.finish()
	}
	if err == nil {
		_, err = a.Out.Write(w.out)
	}
	if errors.Is(err, errLong) {
		return tooLong(a.Limits.Row)
	}
	if errors.Is(err, errJSON) || errors.Is(err, errCut) || errors.Is(err, errDepth) || errors.Is(err, errShape) {
		return httpgate.Broken("the upstream's answer is not what its API promises, and so cannot be masked", err)
	}
	return err
}

// begin readies a rewriter for an answer.
func (w *rewriter) begin(a *httpgate.Answer, docs protocols.Documents) error {
	w.a, w.ticket, w.docs, w.r, w.limit = a, a.Ticket, docs, a.Body, a.Limits.Row+64<<10
	if scope := docs.PathScope(); w.roots == nil || w.scope != scope {
		w.scope, w.roots, w.nodes = scope, map[string]*node{}, 0
	}
	d, ok := a.Ticket.(interface {
		Detector() (*mask.Detector, error)
	})
	if !ok {
		return nil
	}
	var err error
	w.detector, err = d.Detector()
	return err
}

// release gives a rewriter back, without anything of the answer's.
func (w *rewriter) release() {
	fresh := rewriter{scanner: scanner{buf: w.buf}}
	if w.nodes <= keptNodes {
		fresh.scope, fresh.roots, fresh.nodes = w.scope, w.roots, w.nodes
	}
	if cap(w.out) <= keptBuffer && cap(w.scratch) <= keptBuffer && cap(w.text) <= keptBuffer && cap(w.made) <= keptBuffer {
		fresh.out, fresh.scratch, fresh.text, fresh.made = w.out[:0], w.scratch[:0], w.text[:0], w.made[:0]
	}
	*w = fresh
	rewriters.Put(w)
}

var errShape = errors.New("a part of the answer has another type than its API says")

func tooLong(limit int) error {
	return &protocols.Denial{Kind: protocols.DenyLimit, At: -1, Message: fmt.Sprintf("a part of the answer has more than %d bytes", limit), Hint: "limits.row in the configuration is the limit."}
}

// spill hands what is whole to the client.
func (w *rewriter) spill() error {
	if w.held {
		if len(w.out) > w.a.Limits.Row {
			return tooLong(w.a.Limits.Row)
		}
		return nil
	}
	if len(w.out) < 32<<10 {
		return nil
	}
	_, err := w.a.Out.Write(w.out)
	w.out = w.out[:0]
	return err
}

// write writes the value that comes next.
func (w *rewriter) write(s *shape) error {
	c, err := w.peek()
	if err != nil {
		return err
	}
	if c == 'n' && s.kind != value && s.kind != pass {
		return w.copy() // null: nothing is there
	}
	switch s.kind {
	case pass:
		err = w.copy()
	case object, names:
		at := len(w.out)
		whole := s.row && !w.held // a row that is in no list
		w.held = w.held || s.row
		if err = w.object(s, c); err == nil && whole {
			w.held = false
			err = w.counted(s, w.out[at:])
		}
	case array:
		err = w.array(s, c)
	case payload:
		if c != '{' {
			return errShape
		}
		err = w.document(w.root(s.collection))
	case vector:
		hidden, err := w.hidesVectors(s.collection)
		if err != nil {
			return err
		}
		if hidden { // where a name cannot be left out
			w.out = append(w.out, "null"...)
			return w.skip()
		}
		if s.elem != nil {
			return w.write(s.elem)
		}
		return w.copy()
	case value:
		n := w.root(s.collection)
		if s.path != "" {
			n, err = w.at(n, []byte(s.path))
		}
		if err == nil {
			err = w.document(n)
		}
	}
	if err == nil {
		err = w.spill()
	}
	return err
}

func (w *rewriter) object(s *shape, c byte) error {
	if c != '{' {
		return errShape
	}
	w.out = append(w.out, '{')
	some := false
	err := w.each('}', func(bool) error {
		before := len(w.out)
		if some {
			w.out = append(w.out, ',')
		}
		at := len(w.out)
		var err error
		if w.out, err = w.str(w.out); err != nil {
			return err
		}
		if err := w.take(':'); err != nil {
			return err
		}
		name, err := w.unescape(w.out[at+1 : len(w.out)-1])
		if err != nil {
			return err
		}
		member, err := w.member(s, name)
		if err != nil {
			return err
		}
		if member == nil {
			w.out = w.out[:before]
			return w.skip()
		}
		some = true
		w.out = append(w.out, ':')
		return w.write(member)
	})
	w.out = append(w.out, '}')
	return err
}

// member is the shape of an object's member, nil where it is dropped.
func (w *rewriter) member(s *shape, name []byte) (*shape, error) {
	if s.kind == names {
		key, err := qdrantPath(string(name))
		if err != nil {
			return nil, nil // who knows what it names
		}
		n := w.root(s.collection)
		for _, part := range strings.Split(key, ".") {
			if n, err = w.at(n, []byte(part)); err != nil || n.Mask != nil {
				return nil, err
			}
		}
		return s.elem, nil
	}
	member := s.field(name)
	if member != nil && member.kind == vector {
		hidden, err := w.hidesVectors(member.collection)
		if err != nil || hidden {
			if member.cell == "" { // its name may be left out
				return nil, err
			}
		}
	}
	return member, nil
}

// hidesVectors says that embeddings of a collection do not leave.
func (w *rewriter) hidesVectors(collection string) (bool, error) {
	n := w.root(collection)
	if n.vectors == nil {
		p, err := w.docs.Path(collection, []string{facts.PathVector})
		if err != nil {
			return true, err
		}
		n.vectors = &p
	}
	return n.vectors.Mask != nil, nil
}

func (w *rewriter) array(s *shape, c byte) error {
	if c != '[' {
		return errShape
	}
	if s.lists != nil {
		return w.listed(s)
	}
	w.out = append(w.out, '[')
	err := w.each(']', func(first bool) error {
		if !first {
			w.out = append(w.out, ',')
		}
		if !s.row && s.cell == "" {
			return w.write(s.elem)
		}
		if err := w.spill(); err != nil {
			return err
		}
		at := len(w.out)
		w.held = true
		if err := w.write(s.elem); err != nil {
			return err
		}
		w.held = false
		return w.counted(s, w.out[at:])
	})
	w.out = append(w.out, ']')
	return err
}

// listed writes a list of collections without those that the identity's scopes
// do not let it reach.
func (w *rewriter) listed(s *shape) error {
	scoped, ok := w.ticket.(protocols.Scoped)
	if !ok {
		return errors.New("the ticket knows no scopes")
	}
	some := false
	w.out = append(w.out, '[')
	err := w.each(']', func(bool) error {
		before := len(w.out)
		if some {
			w.out = append(w.out, ',')
		}
		at := len(w.out)
		w.held = true
		if err := w.write(s.elem); err != nil {
			return err
		}
		w.held = false
		var members map[string]json.RawMessage
		object := facts.Object{Kind: "collection", Name: s.lists.in}
		if json.Unmarshal(w.out[at:], &members) != nil || json.Unmarshal(members[s.lists.member], &object.Name.Name) != nil {
			return errShape
		}
		if some = some || scoped.Reaches(object); !scoped.Reaches(object) {
			w.out = w.out[:before]
		}
		return w.spill()
	})
	w.out = append(w.out, ']')
	return err
}

// counted charges and records a row, or the part of one, before it leaves.
func (w *rewriter) counted(s *shape, b []byte) error {
	if s.row {
		keep, err := w.ticket.Row(len(b))
		if err != nil {
			return err
		}
		w.rows++
		if keep {
			w.keeps++
			return w.keep(s, b)
		}
		return nil
	}
	if err := w.docs.Bytes(len(b)); err != nil {
		return err
	}
	if w.cells == nil {
		w.cells = map[string]int{}
	}
	w.cells[s.cell]++
	n := w.cells[s.cell]
	if n > w.rows {
		return errShape // a part of a row that was not counted
	}
	if n <= w.keeps && string(b) != "null" {
		return w.keep(s, b)
	}
	return nil
}

// keep records a row, or a part under its name.
func (w *rewriter) keep(s *shape, b []byte) error {
	cells := w.kept[:0]
	if s.cell != "" {
		cells = append(cells, []byte(s.cell))
	}
	return w.ticket.Keep(append(cells, b))
}
