package pgfacts

import (
	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// frame is one level of brackets (or CASE … END) of a text being measured.
//
// An element is what stands between two commas of a frame. Whatever chain of
// AST nodes an element can make (1+1+…, NOT NOT …, a::b::c…, joins), each of
// its nodes takes a token that is neither a name nor a constant; a bracket's
// content adds what it holds at its deepest. So ops plus inner is never less
// than the element's depth. Set operations join elements and are counted for
// the frame.
type frame struct {
	open    pg_query.Token
	ops     int // of the present element
	inner   int // deepest bracket of the present element
	deepest int // of the elements before
	sets    int
	// between: an AND may belong to BETWEEN, whose right side nests without
	// brackets, so that AND and OR do not end the element.
	between bool
}

func (f *frame) endElement() {
	f.deepest = max(f.deepest, f.ops+f.inner)
	f.ops, f.inner, f.between = 0, 0, false
}

func (f *frame) depth() int { return f.sets + max(f.deepest, f.ops+f.inner) }

// measureDepth says whether the AST of the tokens could be deeper than bound,
// and where that was found. It errs on the deep side only.
func measureDepth(tokens []*pg_query.ScanToken, bound int) (at int, deep bool) {
	stack := []frame{{}}
	atomic := 0
	var prev pg_query.Token
	pop := func() {
		d := stack[len(stack)-1].depth() + 1
		stack = stack[:len(stack)-1]
		top := &stack[len(stack)-1]
		top.inner = max(top.inner, d)
	}
	for _, t := range tokens {
		f := &stack[len(stack)-1]
		switch t.Token {
		case pg_query.Token_SQL_COMMENT, pg_query.Token_C_COMMENT:
			continue
		case pg_query.Token_IDENT, pg_query.Token_UIDENT, pg_query.Token_SCONST, pg_query.Token_USCONST,
			pg_query.Token_BCONST, pg_query.Token_XCONST, pg_query.Token_ICONST, pg_query.Token_FCONST,
			pg_query.Token_PARAM:
			// names and constants are leaves
		case pg_query.Token_ASCII_40, pg_query.Token_ASCII_91, pg_query.Token_CASE: // ( [ CASE
			f.ops++
			stack = append(stack, frame{open: t.Token})
		case pg_query.Token_ASCII_41, pg_query.Token_ASCII_93: // ) ]
			for len(stack) > 1 {
				open := stack[len(stack)-1].open
				pop()
				if open != pg_query.Token_CASE {
					break
				}
			}
		case pg_query.Token_END_P:
			// END is a label after AS and a dot
			if f.open == pg_query.Token_CASE && prev != pg_query.Token_AS && prev != pg_query.Token_ASCII_46 {
				pop()
			}
		case pg_query.Token_ASCII_44: // ,
			f.endElement()
		case pg_query.Token_ASCII_59: // ;
			f.endElement()
			if len(stack) == 1 {
				f.deepest, f.sets = max(f.deepest, f.depth()), 0
			}
		case pg_query.Token_AND, pg_query.Token_OR:
			if f.between {
				f.ops++
			} else {
				f.endElement()
				f.ops = 2
			}
		case pg_query.Token_UNION, pg_query.Token_INTERSECT, pg_query.Token_EXCEPT:
			f.endElement()
			f.sets++
		case pg_query.Token_BETWEEN:
			f.between = true
			f.ops++
		case pg_query.Token_ATOMIC:
			if atomic++; prev == pg_query.Token_BEGIN_P && atomic > maxAtomic {
				return int(t.Start), true
			}
			f.ops++
		default:
			f.ops++
		}
		prev = t.Token
		f = &stack[len(stack)-1]
		if len(stack) > bound || f.depth() > bound {
			return int(t.Start), true
		}
	}
	for len(stack) > 1 {
		pop()
	}
	return int(lastStart(tokens)), stack[0].depth() > bound
}

func lastStart(tokens []*pg_query.ScanToken) int32 {
	if len(tokens) == 0 {
		return 0
	}
	return tokens[len(tokens)-1].Start
}
