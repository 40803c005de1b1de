package myfacts

import (
	"strconv"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// compareBy is a comparison other than equality.
func (a *analysis) compareBy(p lineage.Place, what string, args ...value) value {
	for _, v := range args {
		for _, w := range args {
			if len(v.Flow) > 0 && !a.alike(v, w) {
				return a.opaque(p, what+" between different types", boolType, args...)
			}
		}
	}
	out := a.compared(p, what, args...)
	return out
}

// alike says that comparing two values converts neither with a warning: a
// string that is compared with a number is read as one, and the warning
// prints it.
func (a *analysis) alike(v, w value) bool {
	if w.null || v.null || v.t.class == w.t.class && v.t.class != clsUnknown {
		return true
	}
	if w.param > 0 {
		return true // checked when it is bound
	}
	switch {
	case v.t.class == clsInt || v.t.class == clsDecimal || v.t.class == clsFloat:
		return w.t.class == clsInt || w.t.class == clsDecimal || w.t.class == clsFloat || w.plain && w.text != nil && number(a.textOf(w))
	case v.t.class == clsDate || v.t.class == clsDatetime:
		return w.t.class == clsDate || w.t.class == clsDatetime || w.plain && w.t.class == clsString
	case v.t.class == clsString || v.t.class == clsEnum || v.t.class == clsJSON:
		return w.t.class == clsString || w.t.class == clsEnum || w.t.class == clsBinary
	}
	return w.t.class == clsString && v.t.class == clsBinary
}

func number(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// equal is =, <>, <=>, and every equality that the grammar implies.
func (a *analysis) equal(p lineage.Place, what string, l, r value) value {
	if l.row != nil && r.row != nil && len(l.row) == len(r.row) {
		out := value{t: boolType}
		for i := range l.row {
			out.Noisy = a.equal(p, what, l.row[i], r.row[i]).Noisy || out.Noisy
		}
		return out
	}
	switch {
	case !hidden([]value{l, r}):
		return value{t: boolType, Value: lineage.Value{Noisy: l.Noisy || r.Noisy}}
	case l.null:
		return value{t: boolType, Value: a.ledger.Known(p, "IS NULL", r.Value, true)}
	case r.null:
		return value{t: boolType, Value: a.ledger.Known(p, "IS NULL", l.Value, true)}
	}
	ok, bound := a.sameEquality(l, r)
	if !ok {
		return a.compareBy(p, what, l, r)
	}
	if bound != nil {
		p.Params = append(p.Params, *bound)
	}
	a.meet(l, r)
	return value{t: boolType, Value: a.ledger.Equal(p, what, l.Value, r.Value)}
}

// sameEquality says that comparing two values for equality is the equality of
// their column's own type and collation, without a conversion: of two columns
// alike in both, or of a column with a constant that is written as the type
// writes it. A parameter must then be bound as bound says.
//
// Under a collation that ignores case, equality is that of the collation: it
// tells values apart only as far as the column itself does (its unique keys,
// GROUP BY, joins). docs/mysql.md says what that means for a class.
func (a *analysis) sameEquality(l, r value) (ok bool, bound *facts.ParamKind) {
	if !a.exactSide(l) || !a.exactSide(r) {
		return false, nil
	}
	if len(l.Flow) > 0 && len(r.Flow) > 0 {
		same := l.t.class == r.t.class && l.t.coll == r.t.coll
		if l.t.class == clsEnum || l.t.class == clsDecimal || l.t.class == clsDatetime || l.t.class == clsTime {
			same = same && l.t == r.t
		}
		return same, nil
	}
	c, k := l, r
	if len(c.Flow) == 0 {
		c, k = r, l
	}
	if k.param > 0 {
		kind := c.t.factsType().Kind
		if c.t.class == clsEnum {
			kind = facts.KindText
		}
		return c.t.class != clsUnknown && c.t.class != clsOther && c.t.class != clsJSON, &facts.ParamKind{Param: k.param, Kind: kind}
	}
	if k.text == nil || k.loose {
		return false, nil
	}
	as, is := constantKind(c.t), kindOf(k.t.class)
	if as == is && (as == facts.KindText || as == facts.KindInt) {
		return true, nil // whatever it says
	}
	return facts.WrittenAs(as, is, a.textOf(k)), nil
}

func constantKind(t typ) facts.Kind {
	if t.class == clsEnum {
		return facts.KindText
	}
	return t.factsType().Kind
}

func kindOf(c class) facts.Kind { return typ{class: c}.factsType().Kind }

// exactSide says that a value is a bare column whose equality is known, or a
// constant that the client sent.
func (a *analysis) exactSide(v value) bool {
	if len(v.Flow) > 0 {
		return v.Flow.Bare() && a.exact(v)
	}
	return v.plain && (v.text != nil || v.param > 0)
}

// in is x IN (list) and x IN (SELECT …).
func (a *analysis) in(e *env, x *ast.PatternInExpr, at int) value {
	d := e.deciding("")
	p := d.place(a.at(at))
	l := a.expr(d, x.Expr)
	out := value{t: boolType, Value: lineage.Value{Noisy: l.Noisy}}
	if x.Sel != nil {
		out.Noisy = true
		a.withRows(d, p, "IN", l, x.Sel, a.equal)
		return out
	}
	members := make([]value, len(x.List))
	mixed := false
	for i, n := range x.List {
		members[i] = a.expr(d, n)
		mixed = mixed || i > 0 && !members[i].null && members[i].t.class != members[0].t.class && members[i].param == 0 && members[0].param == 0
	}
	if mixed && hidden(append(members, l)) && l.row == nil {
		// Where the members are of several types, all are compared as one of them.
		a.compareBy(p, "IN", append([]value{l}, members...)...)
		return out
	}
	for _, m := range members {
		out.Noisy = a.equal(p, "IN", l, m).Noisy || out.Noisy
	}
	return out
}

// withRows compares a value with each row of a subquery.
func (a *analysis) withRows(d *env, p lineage.Place, what string, l value, sel ast.Node, how func(lineage.Place, string, value, value) value) {
	body := a.result(d.inner(), sel)
	cols := derived(body.columns)
	left := []value{l}
	if l.row != nil {
		left = l.row
	}
	if len(left) != len(cols) {
		a.fail(&facts.Problem{Code: "1241", At: p.At, Message: "Operand should contain " + strconv.Itoa(len(left)) + " column(s)"})
		return
	}
	for i := range cols {
		r := cols[i].value
		if len(r.Flow) == 0 {
			r.plain = false
		}
		how(p, what, left[i], r)
	}
}

func (a *analysis) compareSubquery(e *env, x *ast.CompareSubqueryExpr, at int) value {
	d := e.deciding("")
	p := d.place(a.at(at))
	how := func(p lineage.Place, what string, l, r value) value { return a.compareBy(p, what, l, r) }
	if x.Op == opcode.EQ || x.Op == opcode.NE {
		how = a.equal
	}
	a.withRows(d, p, "the operator "+literalOp(x.Op), a.expr(d, x.L), x.R, how)
	return value{t: boolType, Value: lineage.Value{Noisy: true}}
}
