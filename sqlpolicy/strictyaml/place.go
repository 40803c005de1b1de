package strictyaml

import (
	"fmt"
	"strings"
	"unicode"
)

// ProblemAt notes one inside a string value, at a line and column of the
// string, both from 1 and in characters. The place in the file is found by
// following the string through its indentation, folding, quotes and escapes.
func (n *Node) ProblemAt(line, column int, format string, args ...any) {
	l, c := n.within(line, column)
	n.file.add(l, c, n.path, fmt.Sprintf(format, args...))
}

// within is where a string's line and column stand in the file, or n's own
// place where the string cannot be followed.
func (n *Node) within(line, column int) (int, int) {
	l, c := n.Place()
	value, ok := n.scalar()
	if !ok || l < 1 || l > len(n.file.lines) {
		return l, c
	}
	want := 0
	lines := strings.SplitAfter(value, "\n")
	for _, s := range lines[:min(line-1, len(lines))] {
		want += len([]rune(s))
	}
	want += column - 1

	row, col := l-1, c-1 // of the file, from 0
	source := []rune(n.file.lines[row])
	for i, r := range []rune(value) {
		if unicode.IsSpace(r) && i != want { // may stand elsewhere, folded
			continue
		}
		for col >= len(source) || !unicode.IsSpace(r) && source[col] != r {
			if col++; col < len(source) {
				continue
			}
			if row++; row >= len(n.file.lines) {
				return l, c
			}
			source, col = []rune(n.file.lines[row]), 0
		}
		if i == want {
			return row + 1, col + 1
		}
		col++
	}
	return row + 1, col + 1 // behind the string's end
}

// The limits keep the parser, which recurses and looks back, from using more
// memory and time than a file of this size is worth.
const (
	maxSize  = 1 << 20 // bytes of a file
	maxLine  = 8 << 10 // bytes of a line
	maxDepth = 32      // of nesting
)

// tooMuch says why src is not given to the parser, "" where it is, and on
// which line.
func tooMuch(src []byte, lines []string) (line int, why string) {
	if len(src) > maxSize {
		return 1, fmt.Sprintf("the file has %d bytes, at most %d are read", len(src), maxSize)
	}
	var indents []int
	brackets := 0
	for i, s := range lines {
		if len(s) > maxLine {
			return i + 1, fmt.Sprintf("the line has %d bytes, at most %d are read", len(s), maxLine)
		}
		text := strings.TrimLeft(s, " -?\t")
		if text == "" && !strings.ContainsAny(s, "-?") {
			continue
		}
		indent := len(s) - len(strings.TrimLeft(s, " "))
		for len(indents) > 0 && indents[len(indents)-1] >= indent {
			indents = indents[:len(indents)-1]
		}
		indents = append(indents, indent)
		brackets = max(0, brackets+strings.Count(s, "[")+strings.Count(s, "{")-strings.Count(s, "]")-strings.Count(s, "}"))
		entries := strings.Count(s[:len(s)-len(text)], "-") + strings.Count(s[:len(s)-len(text)], "?")
		if len(indents)+entries+brackets > maxDepth {
			return i + 1, fmt.Sprintf("more than %d levels of nesting", maxDepth)
		}
	}
	return 0, ""
}
