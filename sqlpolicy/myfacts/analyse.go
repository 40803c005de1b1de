package myfacts

import (
	"maps"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// Analyse says what each statement of a text would do in a session that sees
// view. A later statement is analysed over what the earlier ones of the same
// text will have made of it. The error is a *facts.Problem.
func Analyse(view *catalog.View, text string, lim Limits) ([]catalog.Statement, error) {
	d, err := dialectOf(view)
	if err != nil {
		return nil, err
	}
	l, err := lex(d, text, lim)
	if err != nil {
		return nil, err
	}
	pieces, err := split(l)
	if err != nil {
		return nil, err
	}
	v := *view
	b := &batch{view: &v, d: d, lim: lim}
	out := make([]catalog.Statement, 0, len(pieces))
	for i, p := range pieces {
		s, err := parse(d, l, p)
		if err != nil {
			return nil, err
		}
		st, err := b.statement(s)
		if err != nil {
			return nil, err
		}
		if s.own == "KILL" && len(pieces) > 1 {
			return nil, notUnderstood("KILL beside other statements", p.from) // the proxy answers it itself
		}
		st.Text, st.Offset = text[p.from:p.to], p.from
		if len(pieces) > 1 {
			st.Free = nil
		}
		out = append(out, *st)
		if i+1 < len(pieces) {
			if err := b.simulate(st, pieces[i+1].from); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// batch is a text's statements over one evolving view.
type batch struct {
	view *catalog.View
	d    dialect
	lim  Limits
	// blind is set once a statement changed the schema in a way that is not
	// simulated.
	blind bool
}

// one is the analysis of one statement.
type one struct {
	*analysis
	s      *parsed
	b      *batch
	change *catalog.Change
	st     *catalog.Statement
}

func (b *batch) statement(s *parsed) (*catalog.Statement, error) {
	a := newAnalysis(b.view, b.d)
	a.lexed, a.first = s.lexed, s.first
	o := &one{analysis: a, s: s, b: b, st: &catalog.Statement{Facts: a.f}}
	o.dispatch()
	if a.problem != nil {
		if b.blind && a.problem.Undefined {
			return nil, notUnderstood("a text that changes the schema and goes on over what it changed", s.from)
		}
		return nil, a.problem
	}
	a.finish()
	if len(a.variables) > 0 {
		// What is set twice in one statement is not known after it.
		c := o.changes()
		c.Forget = append(c.Forget, a.variables...)
		maps.DeleteFunc(c.Variables, func(name string, _ *string) bool {
			return slices.Contains(a.variables, name) || slices.Contains(a.variables, "")
		})
	}
	o.plannable()
	// Places are relative to the statement's own text.
	for i := range a.f.Uses {
		if a.f.Uses[i].At >= 0 {
			a.f.Uses[i].At -= s.from
		}
	}
	for i := range a.f.Constants {
		a.f.Constants[i].From -= s.from
		a.f.Constants[i].To -= s.from
	}
	o.st.Change = o.change
	if o.change == nil && !o.st.Volatile && s.own == "" && !s.explain {
		o.st.Free = o.free()
	}
	return o.st, nil
}

func (o *one) changes() *catalog.Change {
	if o.change == nil {
		o.change = &catalog.Change{}
	}
	return o.change
}

func (o *one) effect(e facts.Effect) {
	if !e.Limited && e.Limit == 0 {
		e.Limit = facts.NoLimit
	}
	o.f.Effects = append(o.f.Effects, e)
}

// simulate applies what a statement will have done to the view that the next
// ones of its text are analysed over.
func (b *batch) simulate(st *catalog.Statement, next int) error {
	c := st.Change
	if c == nil {
		return nil
	}
	if c.ReloadSchema || c.Temporary != nil {
		b.blind = true
	}
	if c.ReloadSession {
		return notUnderstood("what follows a statement whose effect on the session is not known", next)
	}
	if c.SearchPath != nil {
		b.view.SearchPath = c.SearchPath
	}
	if len(c.Settings) > 0 {
		settings := map[string]string{}
		for line := range strings.Lines(string(b.view.Settings)) {
			if name, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
				settings[name] = v
			}
		}
		for name, v := range c.Settings {
			settings[name] = v
		}
		b.view.Settings = catalog.NewSettings(settings)
		if d, err := dialectOf(b.view); err != nil || d != b.d {
			return notUnderstood("what follows, in one text, a change of how texts are read", next)
		}
	}
	b.view.Prepared = apply(b.view.Prepared, c.Prepare, c.Deallocate)
	b.view.Variables = apply(b.view.Variables, c.Variables, c.Forget)
	return nil
}

// apply is a map with some entries set and others removed; "" removes all.
func apply[V any](m, set map[string]V, remove []string) map[string]V {
	if len(set) == 0 && len(remove) == 0 {
		return m
	}
	out := map[string]V{}
	for k, v := range m {
		if !slices.Contains(remove, k) && !slices.Contains(remove, "") {
			out[k] = v
		}
	}
	for k, v := range set {
		out[k] = v
	}
	return out
}

// dispatch gives a statement its effects by its kind.
func (o *one) dispatch() {
	if o.s.own != "" {
		o.ownEffects()
		return
	}
	switch n := o.s.node.(type) {
	case *ast.SelectStmt, *ast.SetOprStmt:
		o.read(n)
	case *ast.InsertStmt:
		o.insert(n)
	case *ast.UpdateStmt:
		o.update(n)
	case *ast.DeleteStmt:
		o.delete(n)
	case *ast.LoadDataStmt:
		o.loadData(n)
	default:
		o.utility(n)
	}
	if o.s.explain {
		o.f.Explains, o.f.Outputs, o.f.OpenResults = true, nil, true
	}
}

// read is a query of the client's own.
func (o *one) read(n ast.StmtNode) {
	m := o.enter()
	body := o.result(o.top(), n)
	o.leave()
	verb := "SELECT"
	if o.s.into != "" {
		verb = "SELECT INTO " + map[string]string{"@": "VARIABLES"}[o.s.into] + strings.TrimPrefix(o.s.into, "@")
	}
	o.effect(o.readEffect(m, verb, n))
	switch o.s.into {
	case "":
		o.f.Outputs = o.outputs(body)
	case "@":
		for _, v := range o.s.variables {
			o.assigned(strings.ToLower(v))
		}
		for _, c := range body.columns {
			if len(c.Flow) > 0 {
				o.opaque(lineage.Place{At: -1}, "a user variable", typ{}, c.value)
			}
		}
	default:
		e := o.f.Effects[len(o.f.Effects)-1]
		e.Action, e.Verb = facts.Copy, verb
		o.effect(e)
		for _, c := range body.columns {
			if len(c.Flow) > 0 {
				o.opaque(lineage.Place{At: -1}, "a file on the server", typ{}, c.value)
			}
		}
	}
}

// readEffect is the effect of a query.
func (o *one) readEffect(m *arm, verb string, n ast.Node) facts.Effect {
	b := bounds{a: o.analysis}.query(n)
	return facts.Effect{Action: facts.Read, Verb: verb, Objects: objects(m), Columns: m.columns, Functions: m.functions,
		Limited: b.Limited(), Limit: b.Rows, LimitParam: b.Param, Filtered: filter{a: o.analysis}.query(n)}
}

func objects(m *arm) (out []facts.Object) {
	for _, list := range [][]*catalog.Relation{m.targets, m.relations} {
		for _, r := range list {
			if ob := relationObject(r); !slices.Contains(out, ob) {
				out = append(out, ob)
			}
		}
	}
	return out
}

// plannable notes whether the planner can be asked about a statement: where
// no code that analysis cannot read is among it, and nothing is run for it.
func (o *one) plannable() {
	if o.f.Explains || slices.ContainsFunc(o.f.Uses, func(u facts.Use) bool { return u.Kind == facts.UseCode }) {
		return
	}
	switch n := o.s.node.(type) {
	case *ast.SelectStmt, *ast.SetOprStmt:
		o.f.Plannable = o.s.into == ""
	case *ast.InsertStmt:
		o.f.Plannable = o.s.returning == nil && n.Select != nil
	case *ast.DeleteStmt:
		o.f.Plannable = o.s.returning == nil
	case *ast.UpdateStmt:
		o.f.Plannable = true
	}
}
