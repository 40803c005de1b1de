package myfacts

import (
	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// utility is every statement that is not a query or a write.
func (o *one) utility(n ast.StmtNode) {
	plain := func(action facts.Action, verb string) { o.effect(facts.Effect{Action: action, Verb: verb}) }
	switch s := n.(type) {
	case *ast.SetStmt:
		o.set(s)
	case *ast.UseStmt:
		o.use(s)
	case *ast.BeginStmt:
		if s.AsOf != nil {
			o.fail(notUnderstood("AS OF", -1))
		}
		plain(facts.Transaction, "BEGIN")
	case *ast.CommitStmt:
		plain(facts.Transaction, "COMMIT")
	case *ast.RollbackStmt:
		plain(facts.Transaction, "ROLLBACK")
	case *ast.SavepointStmt:
		plain(facts.Transaction, "SAVEPOINT")
	case *ast.ReleaseSavepointStmt:
		plain(facts.Transaction, "RELEASE SAVEPOINT")
	case *ast.PrepareStmt:
		o.prepare(s)
	case *ast.ExecuteStmt:
		o.execute(s)
	case *ast.DeallocateStmt:
		plain(facts.SessionSet, "DEALLOCATE")
		o.changes().Deallocate = []string{o.preparedName(s.Name)}
	case *ast.DoStmt:
		o.doExprs(s)
	case *ast.CallStmt:
		o.callProcedure(s)
	case *ast.ExplainStmt:
		if show, ok := s.Stmt.(*ast.ShowStmt); ok && show.Table != nil {
			o.describe(show.Table, "DESCRIBE")
			return
		}
		o.fail(notUnderstood("this EXPLAIN", -1))
	default:
		o.ddl(n)
	}
}

// doExprs is DO: expressions whose values nobody sees.
func (o *one) doExprs(s *ast.DoStmt) {
	m := o.enter()
	for _, x := range s.Exprs {
		if v := o.expr(o.top(), x); len(v.Flow) > 0 {
			o.condition(nowhere, "DO", v)
		}
	}
	o.leave()
	o.effect(facts.Effect{Action: facts.Call, Verb: "DO", Functions: m.functions, Columns: m.columns, Objects: objects(m)})
}

// callProcedure is CALL: code, with whatever results it likes.
func (o *one) callProcedure(s *ast.CallStmt) {
	m := o.enter()
	schema := s.Procedure.Schema.O
	if schema == "" {
		schema = o.database()
	}
	name := schema + "." + s.Procedure.FnName.O
	args := o.exprs(o.top(), s.Procedure.Args)
	o.ledger.Code(nowhere, name, "CALL", plains(args)...)
	o.leave()
	o.effect(facts.Effect{Action: facts.Call, Verb: "CALL", Functions: append([]string{name}, m.functions...), Columns: m.columns,
		Objects: append([]facts.Object{{Kind: "procedure", Name: facts.Name{Schema: schema, Name: s.Procedure.FnName.O}}}, objects(m)...)})
	o.f.OpenResults = true
	o.changes().Forget = []string{""}
	o.changes().ReloadSession = true
}

// describe shows a table's columns.
func (o *one) describe(t *ast.TableName, verb string) {
	if r := o.relation(t); r != nil {
		o.effect(facts.Effect{Action: facts.Read, Verb: verb, Objects: []facts.Object{relationObject(r)}})
		o.f.OpenResults = true
	}
}
