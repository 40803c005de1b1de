package pgfacts

import (
	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// constrains says whether the rows for which a condition (or, with negated,
// its negation) holds are constrained by it.
func (x filter) constrains(n *pg_query.Node, negated bool) bool {
	if n == nil {
		return false
	}
	switch {
	case n.GetBoolExpr() != nil:
		return x.boolean(n.GetBoolExpr(), negated)
	case n.GetAExpr() != nil:
		return x.comparison(n.GetAExpr(), negated)
	case n.GetNullTest() != nil:
		t := n.GetNullTest()
		isNull := t.Nulltesttype == pg_query.NullTestType_IS_NULL
		return isNull != negated && len(x.collect(t.Arg).Targets) > 0
	case n.GetBooleanTest() != nil:
		return x.booleanTest(n.GetBooleanTest(), negated)
	case n.GetSubLink() != nil:
		return x.sublink(n.GetSubLink())
	case n.GetColumnRef() != nil:
		_, target := x.column(n.GetColumnRef())
		return target
	case n.GetTypeCast() != nil:
		return x.constrains(n.GetTypeCast().Arg, negated)
	case n.GetCoalesceExpr() != nil:
		args := n.GetCoalesceExpr().Args
		return len(args) > 0 && x.constrains(args[0], negated)
	case n.GetFuncCall() != nil:
		return x.predicate(n.GetFuncCall())
	}
	return false
}

// boolean: a conjunction needs one constraint, a disjunction one in each arm.
func (x filter) boolean(e *pg_query.BoolExpr, negated bool) bool {
	if e.Boolop == pg_query.BoolExprType_NOT_EXPR {
		return len(e.Args) == 1 && x.constrains(e.Args[0], !negated)
	}
	conjunction := (e.Boolop == pg_query.BoolExprType_AND_EXPR) != negated
	if conjunction {
		for _, a := range e.Args {
			if x.constrains(a, negated) {
				return true
			}
		}
		return false
	}
	arms := 0
	seen := map[string]uint8{}
	for _, a := range e.Args {
		if v, ok := foldBool(a); ok && v == negated {
			continue // adds nothing to a disjunction
		}
		if !x.constrains(a, negated) || exhausts(seen, a, negated) {
			return false
		}
		arms++
	}
	return arms > 0
}

func (x filter) comparison(e *pg_query.A_Expr, negated bool) bool {
	_, op := splitName(e.Name)
	switch e.Kind {
	case pg_query.A_Expr_Kind_AEXPR_NULLIF:
		return false
	case pg_query.A_Expr_Kind_AEXPR_LIKE, pg_query.A_Expr_Kind_AEXPR_ILIKE:
		if matchesAll(e.Rexpr) && (op == "~~" || op == "~~*") != negated {
			return false
		}
	case pg_query.A_Expr_Kind_AEXPR_DISTINCT, pg_query.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		distinct := (e.Kind == pg_query.A_Expr_Kind_AEXPR_DISTINCT) != negated
		if distinct && (isNull(e.Lexpr) || isNull(e.Rexpr)) {
			return false // IS NOT NULL in other words
		}
	case pg_query.A_Expr_Kind_AEXPR_OP_ALL:
		if c := e.Rexpr.GetAConst(); c != nil && c.GetSval().GetSval() == "{}" {
			return false // true of every row
		}
	}
	if isCondition(e.Lexpr) || isCondition(e.Rexpr) {
		return x.conditionValue(e, op, negated)
	}
	if same(e.Lexpr, e.Rexpr) {
		return false
	}
	return lineage.Relates(x.collect(e.Lexpr), x.collect(e.Rexpr))
}

// conditionValue is a condition compared with a constant: (id = 1) = true.
func (x filter) conditionValue(e *pg_query.A_Expr, op string, negated bool) bool {
	cond, value := e.Lexpr, e.Rexpr
	if !isCondition(cond) {
		cond, value = value, cond
	}
	v, ok := foldBool(value)
	if !ok {
		return false
	}
	switch {
	case op == "=" && (e.Kind == pg_query.A_Expr_Kind_AEXPR_OP || e.Kind == pg_query.A_Expr_Kind_AEXPR_NOT_DISTINCT):
	case op == "<>" && e.Kind == pg_query.A_Expr_Kind_AEXPR_OP, e.Kind == pg_query.A_Expr_Kind_AEXPR_DISTINCT:
		v = !v
	default:
		return false
	}
	return x.constrains(cond, v == negated)
}

func isCondition(n *pg_query.Node) bool {
	switch {
	case n == nil:
		return false
	case n.GetBoolExpr() != nil, n.GetNullTest() != nil, n.GetBooleanTest() != nil:
		return true
	case n.GetTypeCast() != nil:
		return isCondition(n.GetTypeCast().Arg)
	case n.GetSubLink() != nil:
		return n.GetSubLink().SubLinkType == pg_query.SubLinkType_EXISTS_SUBLINK ||
			n.GetSubLink().SubLinkType == pg_query.SubLinkType_ANY_SUBLINK
	case n.GetAExpr() != nil:
		e := n.GetAExpr()
		if e.Kind != pg_query.A_Expr_Kind_AEXPR_OP {
			return e.Kind != pg_query.A_Expr_Kind_AEXPR_NULLIF
		}
		_, op := splitName(e.Name)
		return isComparison(op)
	}
	return false
}

func (x filter) booleanTest(t *pg_query.BooleanTest, negated bool) bool {
	switch t.Booltesttype {
	case pg_query.BoolTestType_IS_TRUE, pg_query.BoolTestType_IS_NOT_FALSE:
		return x.constrains(t.Arg, negated)
	case pg_query.BoolTestType_IS_FALSE, pg_query.BoolTestType_IS_NOT_TRUE:
		return x.constrains(t.Arg, !negated)
	case pg_query.BoolTestType_IS_UNKNOWN:
		return !negated && len(x.collect(t.Arg).Targets) > 0
	}
	return false
}

// predicate is a function used as a condition: it constrains where it holds a
// target's column against anything else.
func (x filter) predicate(f *pg_query.FuncCall) bool {
	var cols lineage.Mentions
	constants := 0
	for _, a := range f.Args {
		c := x.collect(a)
		if len(c.All()) == 0 {
			constants++
		}
		cols.Add(c)
	}
	if len(cols.Targets) == 0 {
		return false
	}
	keys := map[string]bool{}
	for _, k := range cols.All() {
		keys[k] = true
	}
	return len(keys) > 1 || constants > 0
}

func (x filter) sublink(l *pg_query.SubLink) bool {
	s := l.Subselect.GetSelectStmt()
	switch l.SubLinkType {
	case pg_query.SubLinkType_EXISTS_SUBLINK:
		return x.exists(s)
	case pg_query.SubLinkType_ANY_SUBLINK, pg_query.SubLinkType_ALL_SUBLINK:
		return lineage.Relates(x.collect(l.Testexpr), x.collectSublink(l))
	}
	return false
}

// exists constrains where its own condition ties a target's column to
// something of the subquery. An aggregate without GROUP BY always has a row.
func (x filter) exists(s *pg_query.SelectStmt) bool {
	if s == nil || s.Larg != nil || len(s.FromClause) == 0 {
		return false
	}
	if len(s.GroupClause) == 0 {
		if (bounds{view: x.view, withs: x.withs}).calls(s.TargetList).aggregates || s.HavingClause != nil {
			return false
		}
	}
	if s.WithClause != nil {
		x.withs = append(x.withs[:len(x.withs):len(x.withs)], s.WithClause)
	}
	x.scopes = append(x.scopes[:len(x.scopes):len(x.scopes)], x.items(s.FromClause, false))
	return x.constrains(s.WhereClause, false)
}

func isNull(n *pg_query.Node) bool {
	if c := n.GetTypeCast(); c != nil {
		return isNull(c.Arg)
	}
	return n.GetAConst().GetIsnull()
}

// foldBool evaluates the conditions on constants that are written where a
// constant true or false is meant. NULL counts as false.
func foldBool(n *pg_query.Node) (value, ok bool) {
	switch {
	case n.GetAConst() != nil:
		c := n.GetAConst()
		if c.Isnull {
			return false, true
		}
		if c.GetBoolval() != nil {
			return c.GetBoolval().Boolval, true
		}
		if c.GetSval() != nil {
			return parseBool(c.GetSval().Sval)
		}
	case n.GetTypeCast() != nil:
		return foldBool(n.GetTypeCast().Arg)
	case n.GetBoolExpr() != nil && n.GetBoolExpr().Boolop == pg_query.BoolExprType_NOT_EXPR:
		if isNull(n.GetBoolExpr().Args[0]) {
			return false, true
		}
		v, ok := foldBool(n.GetBoolExpr().Args[0])
		return !v, ok
	case n.GetAExpr() != nil:
		e := n.GetAExpr()
		a, ok1 := foldInt(e.Lexpr)
		b, ok2 := foldInt(e.Rexpr)
		_, op := splitName(e.Name)
		mask := lineage.ComparisonMask(op)
		if !ok1 || !ok2 || mask == 0 || e.Kind != pg_query.A_Expr_Kind_AEXPR_OP {
			return false, false
		}
		bit := uint8(2)
		if a < b {
			bit = 1
		} else if a > b {
			bit = 4
		}
		return mask&bit != 0, true
	}
	return false, false
}

// exhausts adds an arm of a disjunction to seen, which holds by operands what
// the arms before accept of them, and says whether one of the arms now holds
// of every row: id = 1 OR id <> 1, x OR NOT x.
func exhausts(seen map[string]uint8, n *pg_query.Node, negated bool) bool {
	for n.GetBoolExpr().GetBoolop() == pg_query.BoolExprType_NOT_EXPR && len(n.GetBoolExpr().Args) == 1 {
		n, negated = n.GetBoolExpr().Args[0], !negated
	}
	key, accepts := "", uint8(1)
	if e := n.GetAExpr(); e != nil {
		_, op := splitName(e.Name)
		if mask := lineage.ComparisonMask(op); mask != 0 && e.Kind == pg_query.A_Expr_Kind_AEXPR_OP {
			key, accepts = fingerprint(e.Lexpr)+" "+fingerprint(e.Rexpr), mask
			if negated {
				accepts = ^mask & 7
			}
			seen[key] |= accepts
			return seen[key] == 7
		}
		// LIKE and NOT LIKE, BETWEEN and NOT BETWEEN …: two operators on the
		// same operands are taken for complements.
		key = fingerprint(e.Lexpr) + "?" + fingerprint(e.Rexpr)
		accepts = 1 << (uint(len(op)) % 2)
		if e.Kind == pg_query.A_Expr_Kind_AEXPR_BETWEEN || e.Kind == pg_query.A_Expr_Kind_AEXPR_BETWEEN_SYM {
			accepts = 2
		}
		if negated {
			accepts = ^accepts & 3
		}
		seen[key] |= accepts
		return seen[key] == 3
	}
	key = "!" + fingerprint(n)
	if negated {
		accepts = 2
	}
	seen[key] |= accepts
	return seen[key] == 3
}
