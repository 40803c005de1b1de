package myfacts

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Limits bound a text before it reaches the parser. Zero fields take the
// defaults.
type Limits struct {
	Statement int // bytes of a whole text
	Depth     int // nesting, and operators chained at one level of it
}

const (
	defaultStatement = 4 << 20
	defaultDepth     = 3000
)

// tokenKind is a token's kind as far as this package tells them apart.
type tokenKind uint8

const (
	tokWord   tokenKind = iota + 1 // keyword or bare identifier
	tokQuoted                      // quoted identifier
	tokString
	tokNumber
	tokParam
	tokPunct // one byte
)

// token is a half-open range of the text.
type token struct {
	kind     tokenKind
	from, to int
	depth    int // open brackets before it
}

// lexed is a text as the server reads it.
type lexed struct {
	text string
	// plain is text without its comments: each of their bytes is a space, and
	// so are the marks around executable ones whose content is code.
	plain  []byte
	tokens []token
	params []int // the tokens that are parameters
}

// word is a word's text in upper case, "" for other tokens.
func (l *lexed) word(i int) string {
	if i < 0 || i >= len(l.tokens) || l.tokens[i].kind != tokWord {
		return ""
	}
	return strings.ToUpper(l.text[l.tokens[i].from:l.tokens[i].to])
}

// punct says that a token is that byte.
func (l *lexed) punct(i int, c byte) bool {
	return i >= 0 && i < len(l.tokens) && l.tokens[i].kind == tokPunct && l.text[l.tokens[i].from] == c
}

// lexer walks a text once.
type lexer struct {
	lexed
	d      dialect
	lim    Limits
	i      int
	opened int // where the executable comment being read began, -1 outside
	stack  []int
	chain  int // operators at this level since the last comma
	sum    int // of the levels outside
}

// lex reads a text as the server would. Source: lex_one_token and
// consume_comment in server/sql/sql_lex.cc of MariaDB, and the page
// "Comment Syntax" of its manual.
func lex(d dialect, text string, lim Limits) (*lexed, error) {
	if lim.Statement <= 0 {
		lim.Statement = defaultStatement
	}
	if lim.Depth <= 0 || lim.Depth > defaultDepth {
		lim.Depth = defaultDepth
	}
	if len(text) > lim.Statement {
		return nil, &facts.Problem{Code: "54000", At: -1, Message: fmt.Sprintf("statement of %d bytes exceeds the limit of %d", len(text), lim.Statement),
			Hint: "Send the values as parameters, split the statement, or raise limits.statement."}
	}
	if err := checkBytes(d, text); err != nil {
		return nil, err
	}
	l := &lexer{d: d, lim: lim, opened: -1}
	l.text, l.plain = text, []byte(text)
	for l.i < len(text) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	if l.opened >= 0 {
		return nil, lexProblem(l.opened, "a comment is not closed")
	}
	return &l.lexed, nil
}

// checkBytes refuses bytes that the server could read otherwise than the
// parser.
func checkBytes(d dialect, text string) error {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return lexProblem(i, "a statement must not contain a zero byte")
	}
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return &facts.Problem{Code: "22021", At: i, Message: "the statement is not valid UTF-8",
				Hint: "Send binary values as parameters of a prepared statement, or in hexadecimal (X'…')."}
		case d.ascii:
			return &facts.Problem{Code: "0A000", At: i, Message: "letters beyond ASCII need the client's character set to be utf8mb4",
				Hint: "Use SET NAMES utf8mb4; drivers convert on their side."}
		}
		i += n
	}
	return nil
}

func lexProblem(at int, message string) *facts.Problem {
	return &facts.Problem{Code: "42000", At: at, Message: message, Unparsed: true}
}

func (l *lexer) at(k int) byte {
	if l.i+k < len(l.text) {
		return l.text[l.i+k]
	}
	return 0
}

// next reads one token or comment.
func (l *lexer) next() error {
	c := l.at(0)
	switch {
	case isSpace(c):
		l.i++
		return nil
	case c == '#':
		l.lineComment()
		return nil
	case c == '-' && l.at(1) == '-' && (l.i+2 >= len(l.text) || l.at(2) <= ' ' || l.at(2) == 0x7f):
		l.lineComment()
		return nil
	case c == '/' && l.at(1) == '*':
		return l.comment()
	case c == '*' && l.at(1) == '/' && l.opened >= 0:
		l.blank(l.i, l.i+2)
		l.i += 2
		l.opened = -1
		return nil
	case c == '\'', c == '"':
		return l.quoted(c)
	case c == '`':
		return l.quoted(c)
	case c < ' ' || c == 0x7f:
		return lexProblem(l.i, "a control character outside of a string")
	case isWordByte(c):
		return l.wordOrNumber()
	case c == '.' && isDigit(l.at(1)) && !l.afterName():
		return l.number()
	}
	return l.punctuation()
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWordByte(c byte) bool {
	return c == '_' || c == '$' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

// quoted reads a string or a quoted identifier.
func (l *lexer) quoted(q byte) error {
	from := l.i
	kind := tokString
	if q == '`' || q == '"' && l.d.mode.HasANSIQuotesMode() {
		kind = tokQuoted
	}
	escapes := kind == tokString && !l.d.mode.HasNoBackslashEscapesMode()
	for l.i++; l.i < len(l.text); l.i++ {
		switch c := l.text[l.i]; {
		case c == '\\' && escapes:
			l.i++
		case c == '\\' && q == '"' && kind == tokQuoted && !l.d.mode.HasNoBackslashEscapesMode():
			return lexProblem(l.i, "a backslash in a quoted identifier")
		case c == q && l.at(1) == q:
			l.i++
		case c == q:
			l.i++
			l.add(kind, from)
			return nil
		}
	}
	return lexProblem(from, "a quote is not closed")
}

// wordOrNumber reads a word, a number, or a string with a letter before it.
func (l *lexer) wordOrNumber() error {
	c := l.at(0)
	if isDigit(c) && !l.afterName() {
		return l.number()
	}
	from := l.i
	if l.at(1) == '\'' && strings.IndexByte("xXbBnN", c) >= 0 {
		l.i++
		if err := l.quoted('\''); err != nil {
			return err
		}
		l.tokens[len(l.tokens)-1].from = from
		return nil
	}
	for l.i < len(l.text) && isWordByte(l.text[l.i]) {
		if l.d.narrow && l.text[l.i] >= 0xf0 {
			return lexProblem(l.i, "a letter that the client's character set does not have")
		}
		l.i++
	}
	l.add(tokWord, from)
	if err := l.deep(from); err != nil {
		return err
	}
	return l.spacedFunction()
}

// afterName says that a dot or an @ stands right before, so that a name
// follows and not a number.
func (l *lexer) afterName() bool {
	if l.at(0) == '.' {
		return l.i > 0 && (isWordByte(l.text[l.i-1]) || l.text[l.i-1] == '`' || l.text[l.i-1] == '"')
	}
	return l.i > 0 && (l.text[l.i-1] == '.' || l.text[l.i-1] == '@')
}

// number reads digits, a fraction and an exponent; what goes on in letters is
// a word that begins with digits.
func (l *lexer) number() error {
	from := l.i
	digits := func() {
		for isDigit(l.at(0)) {
			l.i++
		}
	}
	digits()
	fraction := false
	if l.at(0) == '.' {
		fraction = true
		l.i++
		digits()
	}
	if c := l.at(0); c == 'e' || c == 'E' {
		k := 1
		if s := l.at(1); s == '-' || s == '+' {
			k = 2
		}
		if isDigit(l.at(k)) {
			l.i += k
			digits()
			fraction = true
		}
	}
	if l.i < len(l.text) && isWordByte(l.at(0)) {
		if fraction {
			return lexProblem(from, "a number that runs into a word")
		}
		for l.i < len(l.text) && isWordByte(l.at(0)) {
			l.i++
		}
		word := l.text[from:l.i]
		if len(word) > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'b') {
			l.add(tokNumber, from)
			return nil
		}
		l.add(tokWord, from)
		return nil
	}
	l.add(tokNumber, from)
	return nil
}

func (l *lexer) punctuation() error {
	from := l.i
	switch c := l.at(0); c {
	case '(':
		l.i++
		l.add(tokPunct, from)
		l.stack = append(l.stack, l.chain)
		l.sum += l.chain + 1
		l.chain = 0
		return l.deep(from)
	case ')':
		l.i++
		if n := len(l.stack); n > 0 {
			l.chain = l.stack[n-1]
			l.sum -= l.chain + 1
			l.stack = l.stack[:n-1]
		}
		l.add(tokPunct, from)
		return nil
	case '?':
		l.i++
		l.params = append(l.params, len(l.tokens))
		l.add(tokParam, from)
		return nil
	case ',', ';':
		l.chain = 0
	case '.', '@':
	default:
		l.chain++
	}
	l.i++
	l.add(tokPunct, from)
	return l.deep(from)
}

func (l *lexer) deep(at int) error {
	if l.sum+l.chain <= l.lim.Depth {
		return nil
	}
	return &facts.Problem{Code: "54001", At: at,
		Message: fmt.Sprintf("statement is nested too deeply, or chains more than %d operators", l.lim.Depth),
		Hint:    "Use IN for long chains of OR, and a table for long chains of UNION."}
}

// add notes a token that ends here.
func (l *lexer) add(kind tokenKind, from int) {
	l.tokens = append(l.tokens, token{kind: kind, from: from, to: l.i, depth: len(l.stack)})
	if kind == tokWord && chains[l.word(len(l.tokens)-1)] {
		l.chain++
	}
}

// chains are the words that a tree grows deeper by.
var chains = wordSet(`AND OR XOR NOT LIKE RLIKE REGEXP IN BETWEEN IS CASE WHEN ELSE BINARY UNION EXCEPT INTERSECT JOIN STRAIGHT_JOIN NATURAL
	COLLATE DIV MOD INTERVAL EXPLAIN ANALYZE DESCRIBE DESC`)

func wordSet(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

// spacedFunction refuses COUNT (x) where the server would look for a stored
// function of that name.
func (l *lexer) spacedFunction() error {
	i := len(l.tokens) - 1
	if l.d.mode.HasIgnoreSpaceMode() || !isSpace(l.at(0)) && !(l.at(0) == '/' && l.at(1) == '*') || !closeFunctions[l.word(i)] {
		return nil
	}
	if l.word(i-1) == "AS" || l.punct(i-1, '.') || l.punct(i-1, '@') {
		return nil
	}
	k := l.i
	for k < len(l.text) && isSpace(l.text[k]) {
		k++
	}
	if k < len(l.text) && l.text[k] == '(' && !l.columnList(i) {
		name := l.text[l.tokens[i].from:l.tokens[i].to]
		return &facts.Problem{Code: "42000", At: l.tokens[i].from, Message: fmt.Sprintf("%s followed by a space and a bracket is not the built-in function", name),
			Hint: fmt.Sprintf("Write %s(…) without the space, or set IGNORE_SPACE in sql_mode.", name)}
	}
	return nil
}

// columnList says that a name before a bracket is a table's or an index's.
func (l *lexer) columnList(i int) bool {
	switch l.word(i - 1) {
	case "TABLE", "INTO", "REFERENCES", "KEY", "INDEX", "ON", "VIEW":
		return true
	}
	return false
}

// closeFunctions are the functions that the server's lexer knows by the
// bracket right behind their name (SYM_FN in server/sql/lex.h).
var closeFunctions = wordSet(`ADDDATE BIT_AND BIT_OR BIT_XOR CAST COUNT CURDATE CURTIME DATE_ADD DATE_SUB DATE_FORMAT DECODE EXTRACT GROUP_CONCAT
	JSON_ARRAYAGG JSON_OBJECTAGG LEAD LAG MAX MEDIAN MID MIN NOW NTH_VALUE NTILE PERCENTILE_CONT PERCENTILE_DISC PERCENT_RANK POSITION RANK
	ROW_NUMBER DENSE_RANK CUME_DIST FIRST_VALUE SESSION_USER STD STDDEV STDDEV_POP STDDEV_SAMP SUBDATE SUBSTR SUBSTRING SUM SYSDATE SYSTEM_USER
	TRIM VARIANCE VAR_POP VAR_SAMP AVG`)

// tokenAt is the token that begins at a place, -1 where none does.
func (l *lexed) tokenAt(at int) int {
	i := sort.Search(len(l.tokens), func(i int) bool { return l.tokens[i].from >= at })
	if i == len(l.tokens) || l.tokens[i].from != at {
		return -1
	}
	return i
}

// paramNumber is the 1-based number, within its statement, of the parameter at
// a place; 0 where none is. first is the statement's first token.
func (l *lexed) paramNumber(at, first int) int {
	i := sort.Search(len(l.params), func(i int) bool { return l.tokens[l.params[i]].from >= at })
	if i == len(l.params) || l.tokens[l.params[i]].from != at {
		return 0
	}
	return i + 1 - sort.SearchInts(l.params, first)
}
