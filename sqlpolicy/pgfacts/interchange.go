package pgfacts

import (
	"strings"
	"unicode/utf8"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// Two texts that differ only in constants often have the same facts, and
// parsing is most of what an analysis costs. So Literals finds, by the lexer's
// rules, the constants of a text that are worth leaving out of a cache's key,
// and Analyse says (Statement.Free) on which of them nothing of its result
// depends but the places in the text.
//
// That is safe for three reasons. Literals takes only what it can lex without
// doubt: within one kind, one constant put in another's place leaves every
// other token as it is, and the grammar's shape does not depend on a
// constant's value. Free are only constants in the few positions below, where
// analysis looks at no more of a value than its kind tells. And all others are
// part of the key as they are written.
//
// What analysis looks at: whether a number is zero (the tree leaves the field
// empty), whether a string begins with a digit (dates: plainAs), and lengths
// against identifierBytes, bytesPerPiece and a constraint's 200; all of the
// latter are above maxFree.
const (
	literalInt    = 'i' // 1 to 9 digits, the first not 0: an int4
	literalString = 's' // up to maxFree bytes of printable ASCII
	literalDigits = 'd' // a string that begins with a digit

	maxFree = 48
)

// Literals appends the constants of a text that may be free. It is not ok
// where the text holds anything whose lexing takes more than this to decide.
//
// Source: postgres/src/backend/parser/scan.l.
func Literals(text string, dst []catalog.Literal) (out []catalog.Literal, ok bool) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, false
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '$' || c == '\\':
			return nil, false // parameters, dollar quotes
		case c == '-' && strings.HasPrefix(text[i:], "--"), c == '/' && strings.HasPrefix(text[i:], "/*"):
			return nil, false
		case isIdentifierStart(c):
			for i++; i < len(text) && isIdentifierPart(text[i]); i++ {
			}
			if i < len(text) && (text[i] == '\'' || text[i] == '&') {
				return nil, false // E'…', B'…', U&"…"
			}
		case c == '"':
			end := strings.IndexByte(text[i+1:], '"')
			if end < 0 {
				return nil, false
			}
			i += end + 2 // a doubled quote begins the next part, which is lexed alike
		case c == '\'':
			l, ok := stringLiteral(text, i)
			if !ok {
				return nil, false
			}
			if l.Kind != 0 {
				dst = append(dst, l)
			}
			i = l.To
		case c >= '0' && c <= '9' || c == '.':
			from := i
			i = catalog.NumberEnd(text, i, isIdentifierPart)
			if i < len(text) && (text[i] == '\'' || text[i] == '&') {
				return nil, false // a.B'…'
			}
			if catalog.SmallInt(text[from:i]) {
				dst = append(dst, catalog.Literal{From: from, To: i, Kind: literalInt})
			}
		default:
			i++
		}
	}
	return dst, true
}

// stringLiteral is the plain string that begins at i; its Kind is 0 where it
// cannot be free. It is not ok where a string on a further line may continue
// it.
func stringLiteral(text string, i int) (l catalog.Literal, ok bool) {
	end, plain := catalog.QuoteEnd(text, i)
	if end < 0 || strings.IndexByte(text[i:end], '$') >= 0 {
		return l, false
	}
	l = catalog.Literal{From: i, To: end, Kind: literalString}
	if !plain {
		l.Kind = 0
	}
	for j := l.To; j < len(text); j++ {
		if text[j] == '\'' {
			return l, false
		}
		if !strings.ContainsRune(" \t\r\n\f\v", rune(text[j])) {
			break
		}
	}
	switch n := l.To - l.From - 2; {
	case n == 0 || n > maxFree:
		l.Kind = 0
	case l.Kind != 0 && text[l.From+1] >= '0' && text[l.From+1] <= '9':
		l.Kind = literalDigits
	}
	return l, true
}

func isIdentifierStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= utf8.RuneSelf
}

func isIdentifierPart(c byte) bool {
	return isIdentifierStart(c) || c >= '0' && c <= '9' || c == '$'
}

// free are the places of the constants of a single statement whose values its
// facts do not depend on: those that a conjunct of its outermost WHERE
// compares with a bare column, and those that are stored as they are.
func free(n *pg_query.Node) []int {
	var out []int
	constant := func(n *pg_query.Node) {
		if c := n.GetAConst(); c != nil && !c.Isnull && c.Location >= 0 {
			out = append(out, int(c.Location))
		}
	}
	switch {
	case n.GetSelectStmt() != nil:
		if s := n.GetSelectStmt(); s.Larg == nil && s.Rarg == nil {
			compared(s.WhereClause, constant)
		}
	case n.GetDeleteStmt() != nil:
		compared(n.GetDeleteStmt().WhereClause, constant)
	case n.GetUpdateStmt() != nil:
		s := n.GetUpdateStmt()
		compared(s.WhereClause, constant)
		for _, t := range s.TargetList {
			constant(t.GetResTarget().GetVal())
		}
	case n.GetInsertStmt() != nil:
		s := n.GetInsertStmt().SelectStmt.GetSelectStmt()
		if s == nil || s.LimitCount != nil || s.LimitOffset != nil || len(s.SortClause) > 0 {
			return nil
		}
		for _, row := range s.ValuesLists {
			for _, v := range row.GetList().GetItems() {
				constant(v)
			}
		}
	}
	return out
}

// compared goes through the conjuncts of a condition.
func compared(n *pg_query.Node, constant func(*pg_query.Node)) {
	if b := n.GetBoolExpr(); b.GetBoolop() == pg_query.BoolExprType_AND_EXPR {
		for _, x := range b.Args {
			compared(x, constant)
		}
		return
	}
	e := n.GetAExpr()
	if schema, op := splitName(e.GetName()); e == nil || schema != "" || !isComparisonName(op) {
		return
	}
	l, r := e.Lexpr, e.Rexpr
	switch e.Kind {
	case pg_query.A_Expr_Kind_AEXPR_OP:
		if l.GetColumnRef() == nil {
			l, r = r, l
		}
		if l.GetColumnRef() != nil {
			constant(r)
		}
	case pg_query.A_Expr_Kind_AEXPR_IN:
		if l.GetColumnRef() != nil {
			for _, x := range r.GetList().GetItems() {
				constant(x)
			}
		}
	}
}
