package mask

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

// longestPattern bounds what a policy's own pattern can match, in bytes: a
// stream holds as much back.
const longestPattern = 512

// Pattern is a form of values that a policy brings: a regular expression in
// RE2's syntax whose matches have a bounded length. It finds whole words: a
// match never begins or ends inside a run of letters, digits and underscores.
// It is safe for concurrent use.
type Pattern struct {
	re      *regexp.Regexp
	longest int
}

// NewPattern compiles a policy's pattern.
func NewPattern(expr string) (*Pattern, error) {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	longest, err := longestMatch(tree)
	if err != nil {
		return nil, err
	}
	if longest > longestPattern {
		return nil, fmt.Errorf("can match %d bytes, at most %d are looked at", longest, longestPattern)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	if re.MatchString("") {
		return nil, errors.New("matches the empty text")
	}
	re.Longest()
	return &Pattern{re: re, longest: longest}, nil
}

// longestMatch is the most bytes that the expression can match.
func longestMatch(r *syntax.Regexp) (int, error) {
	total := 0
	switch r.Op {
	case syntax.OpStar, syntax.OpPlus:
		return 0, errors.New("repeats without a bound: write {1,64} in place of + and {0,64} in place of *")
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return 0, errors.New(`has an anchor (^ $ \b …); matches are whole words as it is`)
	case syntax.OpLiteral:
		for _, c := range r.Rune {
			n := utf8.RuneLen(c)
			if r.Flags&syntax.FoldCase != 0 {
				n = utf8.UTFMax
			}
			total += n
		}
		return total, nil
	case syntax.OpCharClass:
		for _, c := range r.Rune {
			total = max(total, utf8.RuneLen(c))
		}
		return max(total, 1), nil
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return utf8.UTFMax, nil
	case syntax.OpRepeat:
		if r.Max < 0 {
			return 0, errors.New("repeats without a bound: write {2,64} in place of {2,}")
		}
		n, err := longestMatch(r.Sub[0])
		return n * r.Max, err
	}
	for _, sub := range r.Sub { // concatenation, capture, question mark, alternation
		n, err := longestMatch(sub)
		if err != nil {
			return 0, err
		}
		if r.Op == syntax.OpAlternate {
			total = max(total, n)
		} else {
			total += n
		}
	}
	return total, nil
}

// find returns the first whole-word match that begins at or after i, and
// len(b), 0 where there is none.
func (p *Pattern) find(b []byte, i int) (from, to int) {
	for i < len(b) {
		loc := p.re.FindIndex(b[i:])
		if loc == nil {
			break
		}
		from, to := i+loc[0], i+loc[1]
		begins := !isWord(b[from]) || !before(b, from, isWord)
		ends := to >= len(b) || !isWord(b[to]) || !isWord(b[to-1])
		if begins && ends {
			return from, to
		}
		// No other match of this word can be whole, so go on behind it.
		for i = from + 1; i < len(b) && isWord(b[i]) && isWord(b[i-1]); i++ {
		}
	}
	return len(b), 0
}
