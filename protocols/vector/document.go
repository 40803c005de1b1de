package vector

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// node is what is known of a path of a collection's payload.
type node struct {
	protocols.PathMask
	collection string
	path       []string
	index      int // among those of the node above
	below      map[string]*node
	inOrder    []*node             // those below, as they were first seen
	next       int                 // of them, which comes next where a document is like the last
	vectors    *protocols.PathMask // of a collection's root: what becomes of embeddings, once asked
}

// What a rewriter remembers of paths: how many, and of which length a name.
const (
	maxNodes = 8192
	maxName  = 256
)

func (w *rewriter) root(collection string) *node {
	n := w.roots[collection]
	if n == nil {
		n = &node{collection: collection, PathMask: protocols.PathMask{Below: true}}
		w.roots[collection] = n
	}
	return n
}

// at is a node's child.
func (w *rewriter) at(n *node, name []byte) (*node, error) {
	if n.next == len(n.inOrder) {
		n.next = 0
	}
	if n.next < len(n.inOrder) {
		if child := n.inOrder[n.next]; child.path[len(child.path)-1] == string(name) {
			n.next++
			return child, nil
		}
	}
	if child := n.below[string(name)]; child != nil {
		n.next = child.index + 1
		return child, nil
	}
	child := &node{collection: n.collection, path: append(n.path[:len(n.path):len(n.path)], string(name))}
	var err error
	if child.PathMask, err = w.docs.Path(n.collection, child.path); err != nil {
		return nil, err
	}
	if len(name) > maxName {
		return child, nil
	}
	if w.nodes++; w.nodes <= maxNodes {
		if n.below == nil {
			n.below = map[string]*node{}
		}
		n.below[string(name)] = child
		child.index = len(n.inOrder)
		n.inOrder = append(n.inOrder, child)
		n.next = len(n.inOrder)
	}
	return child, nil
}

// document writes a value of a payload. An array's elements are at the
// array's own path.
func (w *rewriter) document(n *node) error {
	if n.Mask != nil {
		return w.masked(n.Mask)
	}
	if !n.Below && w.detector == nil {
		return w.copy()
	}
	c, err := w.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		w.out = append(w.out, '{')
		err = w.each('}', func(first bool) error {
			if !first {
				w.out = append(w.out, ',')
			}
			at := len(w.out)
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
			child, err := w.at(n, name)
			if err != nil {
				return err
			}
			if w.detector != nil { // a name may be a value, too
				if w.out, err = w.detect(w.out[:at], name); err != nil {
					return err
				}
			}
			w.out = append(w.out, ':')
			if err := w.spill(); err != nil {
				return err
			}
			return w.document(child)
		})
		w.out = append(w.out, '}')
		return err
	case '[':
		w.out = append(w.out, '[')
		err = w.each(']', func(first bool) error {
			if !first {
				w.out = append(w.out, ',')
			}
			if err := w.spill(); err != nil {
				return err
			}
			return w.document(n)
		})
		w.out = append(w.out, ']')
		return err
	case '"':
		if w.detector == nil {
			return w.copy()
		}
		if w.scratch, err = w.str(w.scratch[:0]); err != nil {
			return err
		}
		text, err := w.unescape(w.scratch[1 : len(w.scratch)-1])
		if err != nil {
			return err
		}
		w.out, err = w.detect(w.out, text)
		return err
	}
	at := len(w.out)
	if err := w.copy(); err != nil || w.detector == nil {
		return err
	}
	if n := w.out[at:]; len(n) > 8 { // a card number or a phone may be a number
		var hits int
		if w.made, hits = w.detector.Append(w.made[:0], n); hits > 0 {
			w.out = mask.AppendString(w.out[:at], w.made)
		}
	}
	return nil
}

// detect appends text as a JSON string, with the values that are found in it
// masked.
func (w *rewriter) detect(dst, text []byte) ([]byte, error) {
	w.made = w.detector.AppendNested(w.made[:0], text)
	return mask.AppendString(dst, w.made), nil
}

// masked writes the value that comes next as its mask makes it.
func (w *rewriter) masked(m *mask.JSON) error {
	if m.Const != nil {
		w.out = append(w.out, m.Const...)
		return w.skip()
	}
	c, err := w.peek()
	if err != nil {
		return err
	}
	switch {
	case c == 'n':
		return w.copy()
	case c == '[':
		w.out = append(w.out, '[')
		err := w.each(']', func(first bool) error {
			if !first {
				w.out = append(w.out, ',')
			}
			return w.masked(m)
		})
		w.out = append(w.out, ']')
		return err
	case c == '"' && m.Text != nil:
		if w.scratch, err = w.str(w.scratch[:0]); err != nil {
			return err
		}
		text, err := w.unescape(w.scratch[1 : len(w.scratch)-1])
		if err != nil {
			return err
		}
		w.made = m.Text(w.made[:0], text)
		w.out = mask.AppendString(w.out, w.made)
		return nil
	case (c == '-' || c >= '0' && c <= '9') && m.Decimal != nil:
		if w.scratch, err = w.bare(w.scratch[:0]); err != nil {
			return err
		}
		at := len(w.out)
		if w.out = m.Decimal(w.out, w.scratch); !isNumber(w.out[at:]) {
			w.out = append(w.out[:at], m.Other...)
		}
		return nil
	}
	w.out = append(w.out, m.Other...)
	return w.skip()
}

// unescape takes a string's inner text out of its escapes. The result lives
// until the next call.
func (w *rewriter) unescape(s []byte) ([]byte, error) {
	if bytes.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	b := w.text[:0]
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := hex4(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) && i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				if both := utf16.DecodeRune(r, hex4(s[i+3:])); both != utf8.RuneError {
					r, i = both, i+6
				}
			}
			b = utf8.AppendRune(b, r) // a lone surrogate becomes U+FFFD
		default:
			b = append(b, s[i])
		}
	}
	w.text = b
	return b, nil
}

// hex4 reads four digits, which the scanner has checked.
func hex4(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}
