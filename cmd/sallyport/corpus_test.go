package main

import (
	"os"
	"strings"
	"testing"
)

// corpusCase is one "### name" of a corpus file: statements that are sent one
// after the other in one session.
type corpusCase struct {
	name       string
	statements []corpusStatement
}

type corpusStatement struct {
	text      string
	unordered bool // the statement leaves its rows' order open
	line      int
}

// readCorpus reads a file of testdata/noninterference. A line is a statement;
// an indented one continues the line above; a line starting with # is a
// comment.
func readCorpus(t testing.TB, path string) []corpusCase {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []corpusCase
	n := 0
	for line := range strings.Lines(string(src)) {
		n++
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "### "):
			cases = append(cases, corpusCase{name: strings.TrimPrefix(line, "### ")})
		case line == "" || strings.HasPrefix(line, "#"):
		case len(cases) == 0:
			t.Fatalf("%s:%d: a statement before the first case", path, n)
		case strings.HasPrefix(line, " "):
			last := &cases[len(cases)-1]
			if len(last.statements) == 0 {
				t.Fatalf("%s:%d: nothing to continue", path, n)
			}
			last.statements[len(last.statements)-1].text += "\n" + line
		default:
			text, unordered := strings.CutSuffix(line, " -- unordered")
			last := &cases[len(cases)-1]
			last.statements = append(last.statements, corpusStatement{text: text, unordered: unordered, line: n})
		}
	}
	return cases
}
