package pgfacts

import (
	"fmt"
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/pgsettings"
)

// Analyse says what each statement of a text would do in a session that sees
// view. A later statement is analysed over what the earlier ones of the same
// text will have made of it. The error is a *facts.Problem.
func Analyse(view *catalog.View, text string, lim Limits) ([]catalog.Statement, error) {
	if err := guard(text, lim); err != nil {
		return nil, err
	}
	tree, err := pg_query.Parse(text)
	if err != nil {
		return nil, syntaxProblem(err, text)
	}
	v := *view
	b := &batch{view: &v, version: tree.Version}
	out := make([]catalog.Statement, 0, len(tree.Stmts))
	for i, raw := range tree.Stmts {
		from := int(raw.StmtLocation)
		to := len(text)
		if raw.StmtLen > 0 {
			to = from + int(raw.StmtLen)
		}
		own := strings.TrimLeft(text[from:to], " \t\r\n\f\v")
		from = to - len(own)
		own = strings.TrimRight(own, " \t\r\n\f\v;")
		st, err := b.statement(raw.Stmt, text, from)
		if err != nil {
			return nil, err
		}
		st.Text, st.Offset = own, from
		if len(tree.Stmts) == 1 && st.Change == nil && !st.Volatile && st.Facts.PlanText == "" {
			st.Free = free(raw.Stmt)
		}
		out = append(out, *st)
		if i+1 < len(tree.Stmts) {
			if err := b.simulate(raw.Stmt, st, tree.Stmts[i+1:]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Call says what PostgreSQL's function-call fast path would do.
func Call(view *catalog.View, oid uint32) (*facts.Facts, error) {
	name := fmt.Sprintf("function %d", oid)
	for i := range view.Functions {
		if f := &view.Functions[i]; f.OID == oid {
			name = f.Schema + "." + f.Name
		}
	}
	return &facts.Facts{
		Effects: []facts.Effect{{Action: facts.Call, Verb: "FUNCTION CALL", Functions: []string{name}, Limited: true, Limit: 1}},
		Outputs: []facts.Output{{Name: "result"}},
		Uses:    []facts.Use{{Kind: facts.UseCode, Name: name, What: "the function-call fast path", At: -1}},
	}, nil
}

// batch is a text's statements over one evolving view.
type batch struct {
	view    *catalog.View
	version int32 // of the parser's tree
	// blind is set once a statement changed the schema in a way that is not
	// simulated.
	blind bool
	// moved is set once one has changed what names mean in a way that is
	// simulated, and that the end of a transaction may take back.
	moved bool
	// local is set once one has done so until the end of the transaction.
	local bool
}

// one is the analysis of one statement.
type one struct {
	*analysis
	change *catalog.Change
	st     *catalog.Statement
	extra  []facts.Use // beside those of queries
	// constants of EXECUTE, beside those of queries
	constants []facts.Constant
	from      int // where the statement's own words begin in the text
}

func (b *batch) statement(n *pg_query.Node, text string, from int) (*catalog.Statement, error) {
	a := newAnalysis(b.view, text)
	o := &one{analysis: a, from: from, st: &catalog.Statement{Facts: a.f}}
	err := o.dispatch(n)
	if err == nil && a.problem != nil {
		err = a.problem
	}
	if err != nil {
		return nil, err
	}
	a.finish()
	for _, s := range a.settings {
		o.plans(s.name)
		if s.name == "" || s.name == "search_path" || strings.EqualFold(s.name, "role") {
			o.changes().ReloadSession = true
		}
		if s.value != nil {
			if p := pgsettings.Check(s.name, *s.value); p != nil {
				return nil, p
			}
		} else if s.name != "" && pgsettings.Check(s.name, "?") != nil || s.name == "" {
			return nil, &facts.Problem{Code: "0A000", At: s.at, Message: "set_config needs the setting's name and value as literals through the proxy"}
		}
	}
	a.f.Uses = append(a.f.Uses, o.extra...)
	a.f.Constants = append(a.f.Constants, o.constants...)
	o.nameObjects(n)
	o.plannable(n, b.version)
	// Places are relative to the statement's own text.
	for i := range a.f.Uses {
		if a.f.Uses[i].At >= 0 {
			a.f.Uses[i].At -= from
		}
	}
	for i := range a.f.Constants {
		a.f.Constants[i].From -= from
		a.f.Constants[i].To -= from
	}
	o.st.Change = o.change
	return o.st, nil
}

func (o *one) changes() *catalog.Change {
	if o.change == nil {
		o.change = &catalog.Change{}
	}
	return o.change
}

func (o *one) effect(e facts.Effect) *facts.Effect {
	if !e.Limited && e.Limit == 0 {
		e.Limit = facts.NoLimit
	}
	o.f.Effects = append(o.f.Effects, e)
	return &o.f.Effects[len(o.f.Effects)-1]
}

// queries runs a query and makes an effect of each of its arms.
func (o *one) queries(n *pg_query.Node, types []string) ([]facts.Output, error) {
	out, err := o.query(n, types)
	if err != nil {
		return nil, err
	}
	for i, m := range o.arms {
		o.arm(m, i == 0, out)
	}
	return out, nil
}

// arm makes the effects of one arm.
func (o *one) arm(m *arm, top bool, out []facts.Output) {
	e := facts.Effect{Columns: slices.Clone(m.columns), Functions: m.functions, Limit: facts.NoLimit}
	objects := func(list ...*catalog.Relation) (objs []facts.Object) {
		for _, r := range list {
			if r != nil {
				objs = append(objs, relationObject(r))
			}
		}
		return objs
	}
	x, fl := bounds{view: o.view}, filter{view: o.view}
	read := func() {
		r := e
		r.Action, r.Verb, r.Objects = facts.Read, "SELECT", objects(append([]*catalog.Relation{m.target}, m.relations...)...)
		bd := x.query(m.node)
		r.Limited, r.Limit, r.LimitParam = bd.Limited(), bd.Rows, bd.Param
		if k := x.topK(m.node); k.Limited() || k.Param > 0 {
			if k.Limited() {
				r.TopK = k.Rows
			}
			r.TopKParam = k.Param > 0
		}
		if s := m.node.GetSelectStmt(); s != nil {
			r.Filtered = fl.filteredSelect(s)
		}
		o.effect(r)
	}
	write := func(action facts.Action, verb string, filtered bool, returning bool) {
		w := e
		w.Action, w.Verb, w.Filtered = action, verb, filtered
		w.Objects = objects(append([]*catalog.Relation{m.target}, m.relations...)...)
		bd := x.query(m.node)
		w.Limited, w.Limit, w.LimitParam = bd.Limited(), bd.Rows, bd.Param
		o.effect(w)
		if returning {
			r := w
			r.Action, r.Verb = facts.Read, verb+" RETURNING"
			o.effect(r)
		}
	}
	switch {
	case m.node.GetSelectStmt() != nil:
		read()
	case m.node.GetInsertStmt() != nil:
		s := m.node.GetInsertStmt()
		write(facts.Insert, "INSERT", false, len(s.ReturningList) > 0)
		if s.OnConflictClause != nil && s.OnConflictClause.Action == pg_query.OnConflictAction_ONCONFLICT_UPDATE {
			write(facts.Update, "INSERT ON CONFLICT DO UPDATE", true, false) // a conflict picks one row a row
		}
	case m.node.GetUpdateStmt() != nil:
		s := m.node.GetUpdateStmt()
		fl.withs = withsOf(s.WithClause)
		write(facts.Update, "UPDATE", fl.filteredDML(s.Relation, s.FromClause, s.WhereClause), len(s.ReturningList) > 0)
	case m.node.GetDeleteStmt() != nil:
		s := m.node.GetDeleteStmt()
		fl.withs = withsOf(s.WithClause)
		write(facts.Delete, "DELETE", fl.filteredDML(s.Relation, s.UsingClause, s.WhereClause), len(s.ReturningList) > 0)
	case m.node.GetMergeStmt() != nil:
		s := m.node.GetMergeStmt()
		fl.withs = withsOf(s.WithClause)
		filtered := fl.filteredDML(s.Relation, []*pg_query.Node{s.SourceRelation}, s.JoinCondition)
		seen := map[facts.Action]bool{}
		for _, w := range s.MergeWhenClauses {
			action := map[pg_query.CmdType]facts.Action{pg_query.CmdType_CMD_INSERT: facts.Insert, pg_query.CmdType_CMD_UPDATE: facts.Update,
				pg_query.CmdType_CMD_DELETE: facts.Delete}[w.GetMergeWhenClause().GetCommandType()]
			if action != "" && !seen[action] {
				seen[action] = true
				write(action, "MERGE", filtered, false)
			}
		}
		if len(seen) == 0 || len(out) > 0 && top {
			read()
		}
	}
}

func withsOf(w *pg_query.WithClause) []*pg_query.WithClause {
	if w == nil {
		return nil
	}
	return []*pg_query.WithClause{w}
}

// named is a relation that a statement names, which may not exist (yet).
func (o *one) named(rv *pg_query.RangeVar) (facts.Object, *catalog.Relation) {
	if rv == nil {
		return facts.Object{}, nil
	}
	if r := o.view.Relation(rv.Schemaname, rv.Relname); r != nil {
		return relationObject(r), r
	}
	return facts.Object{Kind: "table", Name: o.future(rv)}, nil
}

// future is the name of a relation to be.
func (o *one) future(rv *pg_query.RangeVar) facts.Name {
	schema := rv.Schemaname
	if schema == "" {
		for _, s := range o.view.SearchPath {
			if s != o.view.TempSchema && s != "pg_catalog" {
				schema = s
				break
			}
		}
		if rv.Relpersistence == "t" {
			schema = "pg_temp"
		}
	}
	return facts.Name{Database: o.view.Database, Schema: schema, Name: rv.Relname}
}

// refs are all columns of a relation.
func (o *one) refs(r *catalog.Relation) []facts.ColumnRef {
	t := o.table(r)
	out := make([]facts.ColumnRef, len(o.f.Tables[t].Columns))
	for i := range out {
		out[i] = facts.ColumnRef{Table: t, Column: i}
	}
	return out
}

// use notes a use that a utility statement makes.
func (o *one) use(u facts.Use) { o.extra = append(o.extra, u) }

// store notes that a query's values are kept in a table to be.
func (o *one) store(name facts.Name, columns []string, out []facts.Output) {
	t := facts.Table{Name: name}
	for i, c := range out {
		n := c.Name
		if i < len(columns) {
			n = columns[i]
		}
		t.Columns = append(t.Columns, facts.TableColumn{Name: n, Type: c.Type})
	}
	o.f.Tables = append(o.f.Tables, t)
	at := len(o.f.Tables) - 1
	for i, c := range out {
		for _, s := range c.Sources {
			o.use(facts.Use{Kind: facts.UseWrite, Columns: []facts.ColumnRef{s.ColumnRef}, Into: &facts.ColumnRef{Table: at, Column: i},
				What: "storing it in " + name.String(), At: -1})
		}
	}
}
