package myfacts

import (
	"fmt"
	"strings"
	"sync"
	"unicode"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the parser's literals, without the rest of TiDB

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// parsers are reused: one of them is large.
var parsers = sync.Pool{New: func() any { return parser.New() }}

// parseText parses one statement's plain text.
func parseText(d dialect, text string) (node ast.StmtNode, err error) {
	p := parsers.Get().(*parser.Parser)
	defer func() {
		if r := recover(); r != nil {
			// The parser's state is not to be trusted any more: it is dropped.
			node, err = nil, fmt.Errorf("the parser failed: %v", r)
			return
		}
		parsers.Put(p)
	}()
	p.Reset()
	p.SetSQLMode(d.mode)
	p.SetStrictDoubleTypeCheck(false)
	nodes, _, err := p.ParseSQL(text)
	if err != nil {
		return nil, err
	}
	if len(nodes) != 1 {
		return nil, fmt.Errorf("%d statements where one was expected", len(nodes))
	}
	return nodes[0], nil
}

// parsed is a statement with what the parser does not know taken off.
type parsed struct {
	piece
	lexed *lexed
	node  ast.StmtNode // nil where own says what it is
	// explain says that the statement is only explained, analyze that it runs
	// for that.
	explain, analyze bool
	// returning is the list of RETURNING.
	returning *ast.FieldList
	// into says where a SELECT's rows go: "" to the client, else "@" user
	// variables or the file's word.
	into string
	// variables are the user variables of INTO.
	variables []string
	// orReplace marks CREATE OR REPLACE of what the parser knows only CREATE of.
	orReplace bool
	own       string // the first words of a statement that this package reads itself
}

// problemOf is the parser's error as the client is told it.
func problemOf(p piece, err error) *facts.Problem {
	message := err.Error()
	if i := strings.Index(message, "near \""); i >= 0 {
		message = "near " + message[i+5:]
	}
	// The parser quotes the rest of the text, and the record and the log must not
	// have its constants: the first word tells where it is.
	if at := strings.Index(message, "near \""); at >= 0 {
		rest := message[at+len("near \""):]
		end := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
		if end == 0 {
			end = 1 // a sign, or a quote
		}
		if end > 0 {
			rest = strings.ToValidUTF8(rest[:min(end, len(rest))], "")
		}
		message = message[:at] + "near \"" + rest + "\""
	}
	if len(message) > 200 {
		message = strings.ToValidUTF8(message[:200], "") + "…"
	}
	return &facts.Problem{Code: "42000", At: p.from, Unparsed: true, Message: "the statement was not understood: " + strings.TrimSpace(message),
		Hint: "Sallyport forwards only what it can analyse; docs/mysql.md lists what of MariaDB's own syntax that is."}
}

// parse reads one statement of a text.
func parse(d dialect, l *lexed, pc piece) (*parsed, error) {
	s := &parsed{piece: pc, lexed: l}
	if p := refusedWords(l, pc); p != nil {
		return nil, p
	}
	text := append([]byte(nil), l.plain[:pc.to]...)
	blank(text, 0, pc.from)
	first := s.peelExplain(text)
	if own := ownStatement(l, first, pc.last); own != "" {
		s.own = own
		return s, nil
	}
	if err := s.peelInto(text, first); err != nil {
		return nil, err
	}
	if err := s.peelReturning(d, text, first); err != nil {
		return nil, err
	}
	s.peelOrReplace(text, first)
	s.peelIfExists(text, first)
	node, err := parseText(d, string(text))
	if err != nil {
		return nil, problemOf(pc, err)
	}
	s.node = node
	return s, nil
}

func blank(text []byte, from, to int) {
	for i := from; i < to; i++ {
		if text[i] != '\n' {
			text[i] = ' '
		}
	}
}

// peelIfExists takes MariaDB's IF EXISTS off ALTER TABLE and off DROP FOREIGN KEY in it. Where there is no such table the client is told so.
func (s *parsed) peelIfExists(text []byte, first int) {
	l, i := s.lexed, first
	if l.word(i) != "ALTER" {
		return
	}
	for i++; l.word(i) == "ONLINE" || l.word(i) == "IGNORE"; i++ {
	}
	if l.word(i) != "TABLE" {
		return
	}
	for ; i+3 < s.last; i++ {
		if w := l.word(i); (w == "TABLE" || w == "KEY" && l.word(i-1) == "FOREIGN") && l.word(i+1) == "IF" && l.word(i+2) == "EXISTS" {
			blank(text, l.tokens[i+1].from, l.tokens[i+2].to)
		}
	}
}

// peelExplain takes EXPLAIN, DESCRIBE or ANALYZE and their options off a
// statement and returns where it really begins.
func (s *parsed) peelExplain(text []byte) int {
	l, i := s.lexed, s.first
	switch l.word(i) {
	case "EXPLAIN", "DESCRIBE", "DESC":
	case "ANALYZE":
		s.analyze = true
	default:
		return i
	}
	for i++; i < s.last; {
		switch l.word(i) {
		case "EXTENDED", "PARTITIONS":
			i++
			continue
		case "ANALYZE":
			s.analyze = true
			i++
			continue
		case "FORMAT":
			if l.punct(i+1, '=') {
				i += 3
				continue
			}
		}
		break
	}
	switch w := l.word(i); {
	case explainable[w], l.punct(i, '('):
		s.explain = true
		blank(text, l.tokens[s.first].from, l.tokens[i].from)
		return i
	}
	s.analyze = false // ANALYZE TABLE, DESCRIBE t, EXPLAIN FOR CONNECTION
	return s.first
}

var explainable = wordSet("SELECT INSERT UPDATE DELETE REPLACE WITH")

// peelInto takes INTO @a, @b, INTO OUTFILE and INTO DUMPFILE off a query.
func (s *parsed) peelInto(text []byte, first int) error {
	l := s.lexed
	if w := l.word(first); w != "SELECT" && w != "WITH" && !l.punct(first, '(') && w != "TABLE" && w != "VALUES" {
		return nil
	}
	for i := first; i < s.last; i++ {
		if l.word(i) != "INTO" || l.punct(i-1, '.') {
			continue
		}
		if s.into != "" {
			return notUnderstood("INTO twice", l.tokens[i].from)
		}
		end := i + 1
		switch w := l.word(end); {
		case w == "OUTFILE" || w == "DUMPFILE":
			s.into = w
			end = s.afterFile(end + 2)
		case l.punct(end, '@'):
			s.into = "@"
			for l.punct(end, '@') {
				if end+1 >= s.last {
					return notUnderstood("this INTO", l.tokens[i].from)
				}
				s.variables = append(s.variables, unquote(l.text[l.tokens[end+1].from:l.tokens[end+1].to]))
				end += 2
				if !l.punct(end, ',') {
					break
				}
				end++
			}
		default:
			return notUnderstood("this INTO", l.tokens[i].from)
		}
		to := s.to
		if end < s.last {
			to = l.tokens[end].from
		}
		blank(text, l.tokens[i].from, to)
		i = end - 1
	}
	return nil
}

// afterFile passes by the options of INTO OUTFILE.
func (s *parsed) afterFile(i int) int {
	l := s.lexed
	for i < s.last {
		switch l.word(i) {
		case "CHARACTER", "CHARSET", "SET", "FIELDS", "COLUMNS", "LINES", "TERMINATED", "OPTIONALLY", "ENCLOSED", "ESCAPED", "STARTING", "BY":
			i++
			continue
		}
		if l.tokens[i].kind == tokString || l.tokens[i].kind == tokWord && (l.word(i-1) == "SET" || l.word(i-1) == "CHARSET") {
			i++
			continue
		}
		break
	}
	return i
}

// peelReturning takes MariaDB's RETURNING off a write.
func (s *parsed) peelReturning(d dialect, text []byte, first int) error {
	l := s.lexed
	switch l.word(first) {
	case "INSERT", "REPLACE", "DELETE":
	default:
		return nil
	}
	for i := first + 1; i < s.last; i++ {
		if l.word(i) != "RETURNING" || l.tokens[i].depth > 0 || l.punct(i-1, '.') {
			continue
		}
		if !d.mariadb {
			return notUnderstood("RETURNING", l.tokens[i].from)
		}
		list := append([]byte(nil), text...)
		blank(list, 0, l.tokens[i].from)
		copy(list[l.tokens[i].from:], "SELECT   ")
		blank(text, l.tokens[i].from, s.to)
		node, err := parseText(d, string(list))
		if err != nil {
			return problemOf(s.piece, err)
		}
		sel, ok := node.(*ast.SelectStmt)
		if !ok || sel.From != nil || sel.Where != nil || sel.Limit != nil || sel.OrderBy != nil || sel.GroupBy != nil || sel.Having != nil || sel.SelectIntoOpt != nil || sel.Distinct {
			return notUnderstood("this RETURNING", l.tokens[i].from)
		}
		s.returning = sel.Fields
		return nil
	}
	return nil
}

// peelOrReplace makes CREATE of CREATE OR REPLACE where the parser does not
// know that.
func (s *parsed) peelOrReplace(text []byte, first int) {
	l := s.lexed
	if l.word(first) != "CREATE" || l.word(first+1) != "OR" || l.word(first+2) != "REPLACE" {
		return
	}
	s.orReplace = true
	for i := first + 3; i < s.last && i < first+12; i++ {
		if l.word(i) == "VIEW" {
			return
		}
	}
	blank(text, l.tokens[first+1].from, l.tokens[first+2].to)
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '`' || s[0] == '\'' || s[0] == '"') && s[len(s)-1] == s[0] {
		q := s[:1]
		return strings.ReplaceAll(s[1:len(s)-1], q+q, q)
	}
	return s
}

// notUnderstood is the error of a construct that is not understood.
func notUnderstood(what string, at int) *facts.Problem {
	return &facts.Problem{Code: "0A000", At: at, Message: what + " is not understood here",
		Hint: "Sallyport forwards only what it can analyse; docs/mysql.md lists it."}
}
