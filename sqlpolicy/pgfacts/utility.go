package pgfacts

import (
	"fmt"
	"strconv"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/pgsettings"
)

// dispatch gives a statement its effects by its kind. What has no case of its
// own is DDL if its node is named as such, and otherwise unknown code.
func (o *one) dispatch(n *pg_query.Node) error {
	switch x := n.Node.(type) {
	case *pg_query.Node_SelectStmt, *pg_query.Node_InsertStmt, *pg_query.Node_UpdateStmt, *pg_query.Node_DeleteStmt, *pg_query.Node_MergeStmt:
		out, err := o.queries(n, nil)
		if err != nil {
			return err
		}
		if s := n.GetSelectStmt(); s != nil && intoOf(s) != nil {
			o.selectInto(intoOf(s), "SELECT INTO", out)
			return nil
		}
		o.f.Outputs = out
		return nil
	case *pg_query.Node_TransactionStmt:
		return o.transaction(x.TransactionStmt)
	case *pg_query.Node_VariableSetStmt:
		return o.set(x.VariableSetStmt)
	case *pg_query.Node_VariableShowStmt:
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: "SHOW"})
		o.f.Outputs = []facts.Output{{Name: x.VariableShowStmt.Name}}
		if x.VariableShowStmt.Name == "all" {
			o.f.Outputs = []facts.Output{{Name: "name"}, {Name: "setting"}, {Name: "description"}}
		}
		return nil
	case *pg_query.Node_DiscardStmt:
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: "DISCARD"})
		switch x.DiscardStmt.Target {
		case pg_query.DiscardMode_DISCARD_ALL:
			c := o.changes()
			c.ReloadSession, c.ReloadSchema, c.Deallocate, c.Close = true, true, []string{""}, []string{""}
		case pg_query.DiscardMode_DISCARD_TEMP:
			o.changes().ReloadSchema = true
		}
		return nil
	case *pg_query.Node_ListenStmt, *pg_query.Node_UnlistenStmt, *pg_query.Node_NotifyStmt:
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: verbOf(n)})
		return nil
	case *pg_query.Node_ConstraintsSetStmt:
		o.effect(facts.Effect{Action: facts.Transaction, Verb: "SET CONSTRAINTS"})
		return nil
	case *pg_query.Node_PrepareStmt:
		return o.prepare(x.PrepareStmt)
	case *pg_query.Node_ExecuteStmt:
		return o.execute(x.ExecuteStmt)
	case *pg_query.Node_DeallocateStmt:
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: "DEALLOCATE"})
		o.changes().Deallocate = []string{x.DeallocateStmt.Name}
		return nil
	case *pg_query.Node_DeclareCursorStmt:
		return o.declare(x.DeclareCursorStmt)
	case *pg_query.Node_FetchStmt:
		return o.fetch(x.FetchStmt)
	case *pg_query.Node_ClosePortalStmt:
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: "CLOSE"})
		o.changes().Close = []string{x.ClosePortalStmt.Portalname}
		return nil
	case *pg_query.Node_CopyStmt:
		return o.copy(x.CopyStmt)
	case *pg_query.Node_ExplainStmt:
		return o.explain(x.ExplainStmt)
	case *pg_query.Node_LockStmt:
		e := facts.Effect{Action: facts.Transaction, Verb: "LOCK TABLE"}
		for _, r := range x.LockStmt.Relations {
			obj, rel := o.named(r.GetRangeVar())
			if rel != nil {
				o.table(rel)
			}
			e.Objects = append(e.Objects, obj)
		}
		o.effect(e)
		return nil
	case *pg_query.Node_CallStmt:
		return o.callProcedure(x.CallStmt.Funccall)
	case *pg_query.Node_DoStmt:
		o.use(facts.Use{Kind: facts.UseCode, Name: "DO", What: "an anonymous code block", At: -1})
		o.effect(facts.Effect{Action: facts.Call, Verb: "DO"})
		return nil
	case *pg_query.Node_LoadStmt:
		o.use(facts.Use{Kind: facts.UseCode, Name: "LOAD", What: "loading a library", At: -1})
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: "LOAD"})
		return nil
	}
	return o.ddl(n)
}

// intoOf is the INTO of a SELECT, which a set operation keeps in its leftmost
// arm.
func intoOf(s *pg_query.SelectStmt) *pg_query.IntoClause {
	for s != nil && s.IntoClause == nil {
		s = s.Larg
	}
	if s == nil {
		return nil
	}
	return s.IntoClause
}

// selectInto is a query whose rows become a table.
func (o *one) selectInto(into *pg_query.IntoClause, verb string, out []facts.Output) {
	name := o.future(into.Rel)
	o.store(name, names(into.ColNames), out)
	o.effect(facts.Effect{Action: facts.DDL, Verb: verb, Objects: []facts.Object{{Kind: "table", Name: name}}})
	o.effect(facts.Effect{Action: facts.Insert, Verb: verb, Objects: []facts.Object{{Kind: "table", Name: name}}})
	o.created(into.Rel)
}

// created notes that the schema, and for a temporary relation the session's
// own schema, is another after success.
func (o *one) created(rv *pg_query.RangeVar) {
	c := o.changes()
	c.ReloadSchema = true
	if rv.GetRelpersistence() == "t" || rv.GetSchemaname() == "pg_temp" {
		c.ReloadSession = true
	}
}

func (o *one) transaction(t *pg_query.TransactionStmt) error {
	verb := map[pg_query.TransactionStmtKind]string{
		pg_query.TransactionStmtKind_TRANS_STMT_BEGIN: "BEGIN", pg_query.TransactionStmtKind_TRANS_STMT_START: "START TRANSACTION",
		pg_query.TransactionStmtKind_TRANS_STMT_COMMIT: "COMMIT", pg_query.TransactionStmtKind_TRANS_STMT_ROLLBACK: "ROLLBACK",
		pg_query.TransactionStmtKind_TRANS_STMT_SAVEPOINT: "SAVEPOINT", pg_query.TransactionStmtKind_TRANS_STMT_RELEASE: "RELEASE SAVEPOINT",
		pg_query.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO: "ROLLBACK TO SAVEPOINT", pg_query.TransactionStmtKind_TRANS_STMT_PREPARE: "PREPARE TRANSACTION",
		pg_query.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED: "COMMIT PREPARED", pg_query.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED: "ROLLBACK PREPARED",
	}[t.Kind]
	if verb == "" {
		return notUnderstood("this transaction statement", -1)
	}
	o.effect(facts.Effect{Action: facts.Transaction, Verb: verb})
	if !strings.HasPrefix(verb, "BEGIN") && !strings.HasPrefix(verb, "START") && !strings.HasPrefix(verb, "SAVEPOINT") && !strings.HasPrefix(verb, "RELEASE") {
		o.changes().ReloadSession = true
	}
	if strings.HasSuffix(verb, "PREPARED") {
		o.changes().ReloadSchema = true
	}
	return nil
}

func (o *one) set(s *pg_query.VariableSetStmt) error {
	verb := "SET"
	if s.Kind == pg_query.VariableSetKind_VAR_RESET || s.Kind == pg_query.VariableSetKind_VAR_RESET_ALL {
		verb = "RESET"
	}
	o.effect(facts.Effect{Action: facts.SessionSet, Verb: verb})
	var values []string
	for _, a := range s.Args {
		switch c := a.GetAConst(); {
		case c.GetSval() != nil:
			values = append(values, c.GetSval().Sval)
		case c.GetIval() != nil:
			values = append(values, strconv.Itoa(int(c.GetIval().Ival)))
		case c.GetBoolval() != nil:
			values = append(values, strconv.FormatBool(c.GetBoolval().Boolval))
		default:
			values = append(values, "?")
		}
	}
	name := strings.ToLower(s.Name)
	if s.Kind == pg_query.VariableSetKind_VAR_SET_VALUE {
		if p := pgsettings.Check(name, strings.Join(values, ",")); p != nil {
			return p
		}
		o.plans(name)
	}
	switch {
	case name == "search_path" && s.Kind == pg_query.VariableSetKind_VAR_SET_VALUE:
		o.changes().SearchPath = append([]string{}, values...)
		o.changes().Local = s.IsLocal
		if s.IsLocal {
			o.changes().ReloadSession = true // it ends with the transaction, and not everything here is one
		}
	case name == "search_path" || name == "role" || name == "session_authorization" || name == "" || verb == "RESET" && s.Kind == pg_query.VariableSetKind_VAR_RESET_ALL:
		o.changes().ReloadSession = true
	}
	return nil
}

// plans notes a setting that chooses plans.
func (o *one) plans(name string) {
	if pgsettings.ChoosesPlans(name) {
		o.use(facts.Use{Kind: facts.UsePlan, Name: strings.ToLower(name), What: "a setting of the planner", At: -1})
	}
}

func (o *one) prepare(p *pg_query.PrepareStmt) error {
	var types []string
	for _, t := range p.Argtypes {
		types = append(types, typeWords(t.GetTypeName()))
	}
	scratch := newAnalysis(o.view, o.text)
	if _, err := scratch.query(p.Query, types); err != nil {
		return err
	}
	text, err := o.preparedText()
	if err != nil {
		return err
	}
	o.f.Tables, o.f.Uses = nil, nil
	o.effect(facts.Effect{Action: facts.SessionSet, Verb: "PREPARE"})
	o.changes().Prepare = map[string]catalog.Prepared{p.Name: {Text: text, Types: types}}
	return nil
}

// preparedText is what stands behind PREPARE's AS.
func (o *one) preparedText() (string, error) {
	own := o.text[o.from:]
	scan, err := pg_query.Scan(own)
	if err != nil {
		return "", syntaxProblem(err, own)
	}
	depth, after, end := 0, 0, len(own)
	for _, t := range scan.Tokens {
		switch {
		case t.Token == pg_query.Token_ASCII_40:
			depth++
		case t.Token == pg_query.Token_ASCII_41:
			depth--
		case t.Token == pg_query.Token_AS && depth == 0 && after == 0:
			after = int(t.End)
		case t.Token == pg_query.Token_ASCII_59 && depth == 0 && end == len(own):
			end = int(t.Start)
		}
	}
	if after == 0 || after > end {
		return "", notUnderstood("this PREPARE", -1)
	}
	return strings.TrimSpace(own[after:end]), nil
}

// typeWords is a type as SQL spells it.
func typeWords(t *pg_query.TypeName) string {
	if t == nil {
		return ""
	}
	s := strings.Join(names(t.Names), ".")
	if len(t.ArrayBounds) > 0 {
		s += "[]"
	}
	return s
}

func (o *one) execute(e *pg_query.ExecuteStmt) error {
	p, ok := o.view.Prepared[e.Name]
	if !ok {
		return &facts.Problem{Code: "26000", At: -1, Message: fmt.Sprintf("prepared statement %q does not exist", e.Name)}
	}
	tree, err := pg_query.Parse(p.Text)
	if err != nil || len(tree.Stmts) != 1 {
		return notUnderstood("this EXECUTE", -1)
	}
	inner := newAnalysis(o.view, p.Text)
	inner.computedParams = map[int]bool{}
	for i, n := range e.Params {
		inner.computedParams[i+1] = !isLiteral(n)
	}
	in := &one{analysis: inner, st: &catalog.Statement{Facts: inner.f}}
	out, err := in.queries(tree.Stmts[0].Stmt, p.Types)
	if err != nil {
		if problem, ok := err.(*facts.Problem); ok {
			problem.At = -1 // it is a place in another text
		}
		return err
	}
	inner.finish()
	params := make([]facts.Param, len(e.Params))
	for i, n := range e.Params {
		if err := o.loose(n); err != nil {
			return err
		}
		if v, ok := foldInt(n); ok {
			params[i] = facts.Param{Known: true, Text: strconv.FormatInt(v, 10)}
		}
		if n.GetSubLink() != nil {
			return notUnderstood("a subquery as EXECUTE's argument", -1)
		}
	}
	*o.f = *inner.f.Bind(params)
	o.f.Outputs = out
	o.f.ParamUses = nil
	o.constants = o.arguments(inner.f.ParamUses)
	for i := range o.f.Uses {
		o.f.Uses[i].At = -1
	}
	o.extra = append(append(o.extra, o.f.Uses...), in.extra...)
	o.st.Volatile = true
	return nil
}

// isLiteral says that an argument is a constant as the client wrote it.
func isLiteral(n *pg_query.Node) bool {
	if c := n.GetTypeCast(); c != nil && len(c.TypeName.GetTypmods()) == 0 {
		return c.Arg.GetAConst() != nil
	}
	return n.GetAConst() != nil
}

// arguments marks EXECUTE's whole list of arguments as a constant of all
// columns that its parameters meet, so that the record hides it.
func (o *one) arguments(uses []facts.ParamUse) []facts.Constant {
	own := o.text[o.from:]
	from, to := strings.IndexByte(own, '('), strings.LastIndexByte(own, ')')
	c := facts.Constant{From: o.from + from + 1, To: o.from + to}
	for _, u := range uses {
		c.Columns = append(c.Columns, u.Columns...)
	}
	if len(c.Columns) == 0 || from < 0 || to < from {
		return nil
	}
	return []facts.Constant{c}
}

func (o *one) declare(d *pg_query.DeclareCursorStmt) error {
	out, err := o.queries(d.Query, nil)
	if err != nil {
		return err
	}
	o.finish()
	f := *o.f
	f.Outputs = out
	f.Uses = append(f.Uses[:len(f.Uses):len(f.Uses)], o.extra...)
	f.Effects = append([]facts.Effect(nil), o.f.Effects...)
	o.changes().Declare = map[string]*facts.Facts{d.Portalname: &f}
	for i := range o.f.Effects {
		if o.f.Effects[i].Action == facts.Read && i == 0 {
			o.f.Effects[i].Verb = "DECLARE CURSOR"
		}
	}
	return nil
}

func (o *one) fetch(s *pg_query.FetchStmt) error {
	o.st.Volatile = true
	f, ok := o.view.Cursors[s.Portalname]
	if !ok {
		f = &facts.Facts{}
		o.st.Unready = &facts.Problem{Code: "34000", At: -1, Message: fmt.Sprintf("cursor %q does not exist", s.Portalname)}
	}
	c := *f
	c.Effects, c.Constants, c.ParamUses = nil, nil, nil
	*o.f = c
	o.extra = append(o.extra, f.Uses...)
	e := facts.Effect{Action: facts.Read, Verb: "FETCH", Limit: facts.NoLimit}
	for _, x := range f.Effects {
		if x.Action == facts.Read {
			e.Objects, e.Columns, e.Filtered, e.Functions = x.Objects, x.Columns, x.Filtered, x.Functions
			break
		}
	}
	n := s.HowMany
	if n < 0 {
		n = -n
	}
	if n != facts.NoLimit && s.Direction != pg_query.FetchDirection_FETCH_DIRECTION_UNDEFINED {
		e.Limited, e.Limit = true, n
	}
	if s.Direction == pg_query.FetchDirection_FETCH_ABSOLUTE || s.Direction == pg_query.FetchDirection_FETCH_RELATIVE {
		e.Limit = 1
	}
	if s.Ismove {
		o.f.Outputs = nil
		e.Verb = "MOVE"
	}
	o.effect(e)
	return nil
}

func (o *one) explain(x *pg_query.ExplainStmt) error {
	analyze := false
	for _, opt := range x.Options {
		if d := opt.GetDefElem(); strings.EqualFold(d.GetDefname(), "analyze") {
			v := strings.ToLower(d.GetArg().GetString_().GetSval())
			analyze = v != "off" && v != "false" && v != "0"
			if i := d.GetArg().GetInteger(); i != nil && i.Ival == 0 {
				analyze = false
			}
		}
	}
	inner := x.Query
	if err := o.dispatch(inner); err != nil {
		return err
	}
	o.change = nil
	if !analyze {
		e := facts.Effect{Action: facts.Read, Verb: "EXPLAIN", Limit: facts.NoLimit}
		for _, f := range o.f.Effects {
			e.Objects, e.Columns = append(e.Objects, f.Objects...), append(e.Columns, f.Columns...)
		}
		o.f.Effects = nil
		o.effect(e)
	}
	o.f.Explains = true
	o.f.Copy = nil
	o.f.Outputs = []facts.Output{{Name: "QUERY PLAN"}}
	return nil
}
