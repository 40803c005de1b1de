package myfacts

import (
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func (l *lexer) blank(from, to int) {
	for k := from; k < to; k++ {
		if l.plain[k] != '\n' {
			l.plain[k] = ' '
		}
	}
}

func (l *lexer) lineComment() {
	end := strings.IndexByte(l.text[l.i:], '\n')
	if end < 0 {
		end = len(l.text) - l.i
	}
	l.blank(l.i, l.i+end)
	l.i += end
}

// comment reads what begins with slash and star.
func (l *lexer) comment() error {
	maria := l.at(2) == 'M' && l.at(3) == '!' && l.d.mariadb
	if l.at(2) != '!' && !maria {
		return l.plainComment()
	}
	if l.opened >= 0 {
		return lexProblem(l.i, "an executable comment within another")
	}
	mark := 3
	if maria {
		mark = 4
	}
	digits := 0
	for digits < 7 && isDigit(l.at(mark+digits)) {
		digits++
	}
	live := true
	switch {
	case digits < 5:
		digits = 0
	case digits > 6 || digits == 6 && !l.d.mariadb:
		return lexProblem(l.i, "an executable comment whose version has more digits than versions have")
	case l.d.version == 0:
		return lexProblem(l.i, "an executable comment, and the server's version is not known")
	default:
		n := 0
		for _, c := range []byte(l.text[l.i+mark : l.i+mark+digits]) {
			n = n*10 + int(c-'0')
		}
		// MariaDB leaves out what is for MySQL 5.7 and later.
		live = n <= l.d.version && (!l.d.mariadb || maria || n < 50700 || n > 99999)
	}
	if !live {
		return l.deadComment()
	}
	l.opened = l.i
	l.blank(l.i, l.i+mark+digits)
	l.i += mark + digits
	return nil
}

// plainComment ends at the first star and slash. Optimizer hints are comments
// to MariaDB; to MySQL some of them change what a statement does.
func (l *lexer) plainComment() error {
	end := strings.Index(l.text[l.i+2:], "*/")
	if end < 0 {
		return lexProblem(l.i, "a comment is not closed")
	}
	to := l.i + 2 + end + 2
	if l.at(2) == '+' {
		hint := strings.ToUpper(l.text[l.i:to])
		if strings.Contains(hint, "SET_VAR") || strings.Contains(hint, "MAX_EXECUTION_TIME") {
			return &facts.Problem{Code: "0A000", At: l.i, Message: "an optimizer hint that changes settings does not pass the proxy",
				Hint: "Leave out SET_VAR and MAX_EXECUTION_TIME."}
		}
	}
	if l.opened >= 0 {
		// The server ends the outer one at this one's end, or not, by version.
		return lexProblem(l.i, "a comment within an executable comment")
	}
	l.blank(l.i, to)
	l.i = to
	return nil
}

// deadComment is an executable comment for another server: it ends at the
// first star and slash, and a comment within it is refused.
func (l *lexer) deadComment() error {
	rest := l.text[l.i+2:]
	end := strings.Index(rest, "*/")
	if end < 0 {
		return lexProblem(l.i, "a comment is not closed")
	}
	if strings.Contains(rest[:end], "/*") {
		return lexProblem(l.i, "a comment within an executable comment")
	}
	to := l.i + 2 + end + 2
	l.blank(l.i, to)
	l.i = to
	return nil
}
