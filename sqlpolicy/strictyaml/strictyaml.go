// Package strictyaml reads the policy and configuration files: every value by
// a function that says what it must be, unknown and repeated keys as errors,
// and all problems of a file at once, each with its place. Anchors, aliases
// and tags are refused: a file that decides who sees what says it in full.
package strictyaml

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Problem is one thing that is wrong in a file. Line and column start at 1.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Where   string `json:"where,omitempty"` // the path of keys
	Message string `json:"message"`
}

func (p Problem) String() string {
	if p.Where == "" {
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Where, p.Message)
}

// Problems are all that is wrong in a file, in order of place.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// File collects the problems of one file while it is read. Not safe for
// concurrent use.
type File struct {
	name     string
	lines    []string
	problems Problems
}

// Node is a value in a file.
type Node struct {
	file *File
	node ast.Node
	key  ast.Node // that it stands under, nil for none
	path string
}

// Parse reads src. The root is nil where it is no YAML mapping; Err says why.
func Parse(name string, src []byte) (*File, *Node) {
	f := &File{name: name, lines: strings.Split(string(src), "\n")}
	if line, why := tooMuch(src, f.lines); why != "" {
		f.add(line, 1, "", why)
		return f, nil
	}
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, column, message := place(err)
		f.add(line, column, "", message)
		return f, nil
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		f.add(1, 1, "", "the file must hold one YAML document")
		return f, nil
	}
	root := &Node{file: f, node: file.Docs[0].Body}
	if root.values() == nil {
		root.Problem("must be a mapping of keys")
		return f, nil
	}
	return f, root
}

// place takes the position and the words out of a syntax error.
func place(err error) (line, column int, message string) {
	text := err.Error()
	if _, e := fmt.Sscanf(text, "[%d:%d]", &line, &column); e != nil {
		return 1, 1, text
	}
	_, text, _ = strings.Cut(text, "] ")
	message, _, _ = strings.Cut(text, "\n")
	return line, column, message
}

func (f *File) add(line, column int, where, message string) {
	f.problems = append(f.problems, Problem{File: f.name, Line: line, Column: column, Where: where, Message: message})
}

// Err is nil or the file's Problems.
func (f *File) Err() error {
	if len(f.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(f.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return f.problems
}

// Problem notes that something is wrong with n.
func (n *Node) Problem(format string, args ...any) {
	line, column := n.Place()
	n.file.add(line, column, n.path, fmt.Sprintf(format, args...))
}

// Place is where n stands, from 1.
func (n *Node) Place() (line, column int) {
	node := n.node
	if m, ok := node.(*ast.MappingValueNode); ok {
		node = m.Key
	} else if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		node = m.Values[0].Key
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

// values are a mapping's, nil where n is none.
func (n *Node) values() []*ast.MappingValueNode {
	switch m := n.node.(type) {
	case *ast.MappingNode:
		if m.Values == nil {
			return []*ast.MappingValueNode{}
		}
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	return nil
}

// Each calls f for each key of a mapping, in order.
func (n *Node) Each(f func(key string, value *Node)) {
	values := n.values()
	if values == nil {
		n.Problem("must be a mapping of keys")
		return
	}
	seen := map[string]bool{}
	for _, v := range values {
		key := &Node{file: n.file, node: v.Key, path: n.path}
		name, ok := key.scalar()
		if !ok {
			key.Problem("a key must be plain text")
			continue
		}
		if seen[name] {
			key.Problem("key %q stands here twice", name)
			continue
		}
		seen[name] = true
		path := name
		if n.path != "" {
			path = n.path + "." + name
		}
		f(name, &Node{file: n.file, node: v.Value, key: v.Key, path: path})
	}
}

// Map reads a mapping whose keys are all known. Keys are those of fields.
func (n *Node) Map(fields map[string]func(*Node)) {
	n.Each(func(key string, value *Node) {
		f, ok := fields[key]
		if !ok {
			var known []string
			for k := range fields {
				known = append(known, k)
			}
			slices.Sort(known)
			value.at(n).Problem("unknown key %q; known here: %s", key, strings.Join(known, ", "))
			return
		}
		f(value)
	})
}

// at is n with the path of its parent, for a problem that names the key
// itself.
func (n *Node) at(parent *Node) *Node {
	return &Node{file: n.file, node: n.key, path: parent.path}
}

// List reads a sequence.
func (n *Node) List() []*Node {
	s, ok := n.node.(*ast.SequenceNode)
	if !ok {
		n.Problem("must be a list")
		return nil
	}
	out := make([]*Node, len(s.Values))
	for i, v := range s.Values {
		out[i] = &Node{file: n.file, node: v, path: fmt.Sprintf("%s[%d]", n.path, i)}
	}
	return out
}

// scalar is the text of a plain value.
func (n *Node) scalar() (string, bool) {
	switch v := n.node.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return v.GetToken().Value, true
	}
	return "", false
}

// String reads text that is not empty.
func (n *Node) String() string {
	switch n.node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		s, _ := n.scalar()
		if s == "" {
			n.Problem("must not be empty")
		}
		return s
	}
	n.Problem("must be text (quote it if it looks like a number)")
	return ""
}

// OneOf reads one of some words.
func (n *Node) OneOf(words ...string) string {
	s, ok := n.scalar()
	if !ok || !slices.Contains(words, s) {
		n.Problem("must be one of %s", strings.Join(words, ", "))
		return ""
	}
	return s
}

// Text is a scalar as it is written.
func (n *Node) Text() string {
	s, _ := n.scalar()
	return s
}

// Int reads a whole number in a range.
func (n *Node) Int(least, most int64) int64 {
	s, ok := n.scalar()
	v, err := strconv.ParseInt(s, 10, 64)
	if !ok || err != nil || v < least || v > most {
		n.Problem("must be a whole number from %d to %d", least, most)
		return least
	}
	return v
}

// Bool reads true or false.
func (n *Node) Bool() bool {
	b, ok := n.node.(*ast.BoolNode)
	if !ok {
		n.Problem("must be true or false")
		return false
	}
	return b.Value
}

// Duration reads a time span such as 10m or 1h30m, above 0.
func (n *Node) Duration() time.Duration {
	s, ok := n.scalar()
	d, err := time.ParseDuration(s)
	if !ok || err != nil || d <= 0 {
		n.Problem("must be a time span such as 30s, 10m or 1h")
		return 0
	}
	return d
}

// Strings reads a list of texts, at least one.
func (n *Node) Strings() []string {
	var out []string
	for _, e := range n.List() {
		out = append(out, e.String())
	}
	if s, ok := n.node.(*ast.SequenceNode); ok && len(s.Values) == 0 {
		n.Problem("must name at least one")
	}
	return out
}

// Value reads a parameter: text, a number or a truth value.
func (n *Node) Value() any {
	switch v := n.node.(type) {
	case *ast.IntegerNode:
		return n.Int(-1<<62, 1<<62)
	case *ast.FloatNode:
		return v.Value
	case *ast.BoolNode:
		return v.Value
	}
	return n.String()
}

// IsMap says whether n is a mapping, for keys that take one or plain text.
func (n *Node) IsMap() bool { return n.values() != nil }

// ErrProblems is matched by errors.Is for any file's problems.
var ErrProblems = errors.New("the file has problems")

// Is makes every Problems match ErrProblems.
func (p Problems) Is(target error) bool { return target == ErrProblems }
