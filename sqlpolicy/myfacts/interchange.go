package myfacts

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// Two texts that differ only in constants often have the same facts, and
// parsing is most of what an analysis costs. So Literals finds, by the lexer's
// rules, the constants of a text that are worth leaving out of a cache's key,
// and Analyse says (Statement.Free) on which of them nothing of its result
// depends but the places in the text.
//
// That is safe for four reasons. Literals takes only what it can lex without
// doubt, under every sql_mode and character set: within one kind, one constant
// put in another's place leaves every other token as it is, and the grammar's
// shape does not depend on a constant's value. Free are only constants in the
// few positions below. Of those, each whose text analysis has looked at
// (analysis.textOf) is not free: a number or a date that is written as a string
// is another comparison than one that is not. And all others are part of the
// key as they are written.
const (
	literalInt    = 'i' // 1 to 9 digits, the first not 0: a BIGINT
	literalString = 'q' // up to maxFree bytes of printable ASCII

	// A longer one would be of more than one of bytesPerPiece.
	maxFree = 200
)

// Literals appends the constants of a text that may be free. It is not ok
// where the text holds anything whose lexing takes more than this to decide:
// comments, backslashes (whose meaning is the sql_mode's), strings that a
// letter or a word with an underscore stands before or that another continues.
// What stands in double quotes is left as it is: sql_mode says whether it is a
// string or a name.
//
// Source: lex_one_token in server/sql/sql_lex.cc of MariaDB.
func Literals(text string, dst []catalog.Literal) (out []catalog.Literal, ok bool) {
	if strings.IndexByte(text, 0) >= 0 || strings.IndexByte(text, '\\') >= 0 {
		return nil, false
	}
	introducer := false // the word before is one, or might be
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case isSpace(c):
			i++
			continue
		case c == '?' || c == '#' || c == '-' && strings.HasPrefix(text[i:], "--") || c == '/' && strings.HasPrefix(text[i:], "/*"):
			return nil, false // parameters, comments
		case isDigit(c) || c == '.':
			from := i
			i = catalog.NumberEnd(text, i, isWordByte)
			if i < len(text) && isQuote(text[i]) {
				return nil, false
			}
			if n := text[from:i]; catalog.SmallInt(n) && (from == 0 || text[from-1] != '@') {
				dst = append(dst, catalog.Literal{From: from, To: i, Kind: literalInt})
			}
		case isWordByte(c):
			for i++; i < len(text) && isWordByte(text[i]); i++ {
			}
			if i < len(text) && isQuote(text[i]) {
				return nil, false // X'…', N'…', _utf8'…'
			}
			introducer = c == '_'
			continue
		case c == '"' || c == '`':
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 || introducer {
				return nil, false
			}
			i += end + 2 // a doubled quote begins the next part, which is lexed alike
		case c == '\'':
			end, plain := catalog.QuoteEnd(text, i)
			if end < 0 || introducer || i > 0 && text[i-1] == '@' || continued(text, end) {
				return nil, false
			}
			if n := end - i - 2; plain && n > 0 && n <= maxFree {
				dst = append(dst, catalog.Literal{From: i, To: end, Kind: literalString})
			}
			i = end
		default:
			i++
		}
		introducer = false
	}
	return dst, true
}

func isQuote(c byte) bool { return c == '\'' || c == '"' || c == '`' }

// continued says that what follows a string is of it: another one, or what
// may be one.
func continued(text string, i int) bool {
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	return i < len(text) && isQuote(text[i])
}

// textOf is the text of a literal, for what depends on more of it than its kind.
func (a *analysis) textOf(v value) string {
	a.looked = append(a.looked, v.consts...)
	return *v.text
}

// free are the places of the constants of the statement whose values its facts
// do not depend on: those that a conjunct of its outermost WHERE compares with
// a bare column, and those that are stored as they are, where nothing has read
// them.
func (o *one) free() (out []int) {
	constant := func(x ast.ExprNode) {
		n, ok := bare(x).(*test_driver.ValueExpr)
		if !ok || n.Kind() != test_driver.KindInt64 && n.Kind() != test_driver.KindString {
			return
		}
		if cs := n.GetType().GetCharset(); n.Kind() == test_driver.KindString && cs != "" && cs != mysql.DefaultCharset {
			return // behind an introducer
		}
		at := n.OriginTextPosition()
		if i, ok := o.consts.At(at); ok && !slices.Contains(o.looked, i) {
			out = append(out, at)
		}
	}
	switch s := o.s.node.(type) {
	case *ast.SelectStmt:
		againstColumns(s.Where, constant)
	case *ast.DeleteStmt:
		againstColumns(s.Where, constant)
	case *ast.UpdateStmt:
		againstColumns(s.Where, constant)
		for _, set := range s.List {
			constant(set.Expr)
		}
	case *ast.InsertStmt:
		for _, row := range s.Lists {
			for _, x := range row {
				constant(x)
			}
		}
	}
	return out
}

// againstColumns goes through what the conjuncts of a condition compare with a
// bare column.
func againstColumns(where ast.ExprNode, f func(ast.ExprNode)) {
	column := func(x ast.ExprNode) bool {
		_, ok := bareName(x)
		return ok
	}
	conjuncts(where, func(x ast.ExprNode) {
		switch e := x.(type) {
		case *ast.BinaryOperationExpr:
			switch {
			case !comparison(e.Op):
			case column(e.L):
				f(e.R)
			case column(e.R):
				f(e.L)
			}
		case *ast.PatternInExpr:
			if column(e.Expr) {
				for _, v := range e.List {
					f(v)
				}
			}
		case *ast.BetweenExpr:
			if column(e.Expr) {
				f(e.Left)
				f(e.Right)
			}
		}
	})
}
