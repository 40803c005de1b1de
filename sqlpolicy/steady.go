package sqlpolicy

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Steady says that d, which Decide gave for in, is what it gives for every
// input that differs in Text, Params, Session.RowsRead and Now only. It errs
// to false.
func (p *Policy) Steady(in *Input, d *facts.Decision) bool {
	if d.Verdict != facts.Allow || d.PlanWanted || in.Plan != nil || len(d.Budgets) > 0 || len(d.SecretConstants) > 0 || len(d.SecretParams) > 0 {
		return false // the latter are looked at for what masks have made
	}
	for i := range p.Rules {
		if !p.Rules[i].program.steady {
			return false
		}
	}
	return true
}

// steady says that a condition names nothing that differs between two runs of
// one statement in one session: neither now, plan and session.rows_read, nor
// the statement's text.
func steady(a *cel.Ast) bool {
	ok, open := true, 0
	whole := func(e ast.Expr) bool {
		return e.Kind() == ast.IdentKind && (e.AsIdent() == "session" || e.AsIdent() == "stmt")
	}
	ast.PreOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			if name := e.AsIdent(); name == "now" || name == "plan" {
				ok = false
			}
			if whole(e) {
				open++
			}
		case ast.SelectKind:
			if s := e.AsSelect(); whole(s.Operand()) {
				open-- // of it only this field is asked for
				ok = ok && s.FieldName() != "rows_read" && s.FieldName() != "text"
			}
		}
	}))
	return ok && open == 0
}
