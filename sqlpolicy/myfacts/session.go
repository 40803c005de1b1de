package myfacts

import (
	"fmt"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mysettings"
)

// set is SET of settings and user variables.
func (o *one) set(s *ast.SetStmt) {
	m := o.enter()
	defer o.leave()
	e := facts.Effect{Action: facts.SessionSet, Verb: "SET"}
	for _, v := range s.Variables {
		switch {
		case v.Name == ast.SetNames || v.Name == ast.SetCharset:
			o.setNames(v)
		case !v.IsSystem:
			o.setVariable(v)
		default:
			if persists(v) || v.IsGlobal || v.IsInstance {
				e.Action, e.Verb = facts.Admin, "SET GLOBAL"
			}
			o.setSystem(v)
		}
	}
	e.Columns, e.Functions, e.Objects = m.columns, m.functions, objects(m)
	o.effect(e)
}

func (o *one) refuseSetting(p *facts.Problem) {
	if p != nil {
		o.fail(p)
	}
}

func (o *one) setNames(v *ast.VariableAssignment) {
	value := settingValue(v.Value)
	o.refuseSetting(mysettings.Check("names", value))
	if v.ExtendValue != nil {
		o.refuseSetting(mysettings.Check("collation_connection", settingValue(v.ExtendValue)))
	}
	if value == "default" || value == "?" {
		o.changes().ReloadSession = true
		return
	}
	o.setting("character_set_client", value)
	o.setting("character_set_results", value)
	if v.Name == ast.SetNames {
		o.setting("character_set_connection", value)
	}
}

func (o *one) setting(name, value string) {
	c := o.changes()
	if c.Settings == nil {
		c.Settings = map[string]string{}
	}
	c.Settings[name] = value
}

// settingValue is a value as SET takes it: a word counts as its text; "?" is
// one that is not known, "default" the default.
func settingValue(x ast.ExprNode) string {
	if x == nil {
		return "default"
	}
	switch n := bare(x).(type) {
	case *ast.DefaultExpr:
		return "default"
	case *ast.ColumnNameExpr:
		if n.Name.Table.O == "" {
			return n.Name.Name.O
		}
	case *test_driver.ValueExpr:
		if v, ok := literalOf(n); ok {
			if v.null {
				return ""
			}
			return *v.text
		}
	case *ast.UnaryOperationExpr:
		if v, ok := bare(n.V).(*test_driver.ValueExpr); ok {
			if w, ok := literalOf(v); ok && w.text != nil {
				return "-" + *w.text
			}
		}
	}
	return "?"
}

// persists says that a setting is one of the whole server: MySQL's
// @@persist.name and @@persist_only.name, of which the parser makes a name.
func persists(v *ast.VariableAssignment) bool {
	scope, _, ok := strings.Cut(strings.ToLower(v.Name), ".")
	return ok && (scope == "persist" || scope == "persist_only")
}

func (o *one) setSystem(v *ast.VariableAssignment) {
	name, value := strings.ToLower(v.Name), settingValue(v.Value)
	if persists(v) {
		_, name, _ = strings.Cut(name, ".")
	}
	o.refuseSetting(mysettings.Check(name, value))
	if value == "?" {
		x := o.expr(o.top(), v.Value)
		if len(x.Flow) > 0 {
			o.opaque(nowhere, "the setting "+name, typ{}, x)
		}
	}
	if persists(v) || v.IsGlobal || v.IsInstance {
		return
	}
	switch name {
	case "sql_mode":
		if _, err := parseMode(value); value == "?" || value == "default" || err != nil || strings.Trim(value, "0123456789") == "" {
			o.changes().ReloadSession = true
			return
		}
		o.setting(name, strings.ToUpper(value))
	case "character_set_client", "character_set_connection", "character_set_results", "collation_connection":
		if value == "?" || value == "default" {
			o.changes().ReloadSession = true
			return
		}
		o.setting(name, strings.ToLower(value))
	case "autocommit":
		o.changes().ReloadSession = true
	case "session_track_system_variables":
		o.changes().ReloadSession = true
		o.setting(name, "?")
	}
}

func (o *one) setVariable(v *ast.VariableAssignment) {
	name := strings.ToLower(v.Name)
	x := o.expr(o.top(), v.Value)
	if len(x.Flow) > 0 {
		o.opaque(nowhere, "the variable @"+v.Name, typ{}, x)
	}
	c := o.changes()
	_, again := c.Variables[name]
	if x.plain && (x.null || x.text != nil) && !again && isASCII(name) {
		if c.Variables == nil {
			c.Variables = map[string]*string{}
		}
		c.Variables[name] = x.text
		return
	}
	o.assigned(name)
}

// use is USE.
func (o *one) use(s *ast.UseStmt) {
	if o.view.Schema(s.DBName) == nil && !(o.folds && o.view.Schema(strings.ToLower(s.DBName)) != nil) && !strings.EqualFold(s.DBName, "information_schema") {
		o.fail(&facts.Problem{Code: "1049", At: -1, Undefined: true, Message: fmt.Sprintf("Unknown database '%s'", s.DBName)})
		return
	}
	o.effect(facts.Effect{Action: facts.SessionSet, Verb: "USE", Objects: []facts.Object{{Kind: "schema", Name: facts.Name{Name: s.DBName}}}})
	o.changes().SearchPath = []string{s.DBName}
}

// prepare is PREPARE: its text must be known.
func (o *one) prepare(s *ast.PrepareStmt) {
	text := s.SQLText
	if s.SQLVar != nil {
		v, ok := o.view.Variables[strings.ToLower(s.SQLVar.Name)]
		if !ok || v == nil {
			o.fail(&facts.Problem{Code: "0A000", At: -1, Message: fmt.Sprintf("PREPARE from @%s, whose value is not known here,", s.SQLVar.Name) + " does not pass the proxy",
				Hint: "Set the variable to a string literal right before, or prepare the text itself."})
			return
		}
		text = *v
	}
	o.st.Volatile = true
	if o.preparedName(s.Name) == "" {
		return
	}
	// What cannot be prepared through the proxy is refused now.
	inner, err := o.nested(text)
	if err != nil {
		o.fail(err)
		return
	}
	o.preparedConstants(inner.Facts)
	o.effect(facts.Effect{Action: facts.SessionSet, Verb: "PREPARE"})
	o.changes().Prepare = map[string]catalog.Prepared{strings.ToLower(s.Name): {Text: text, Path: o.view.SearchPath, Settings: o.view.Settings}}
}

// preparedConstants marks the text that PREPARE has as one that meets all that
// the constants in it meet, so that the record hides it with them.
func (o *one) preparedConstants(inner *facts.Facts) {
	var flow lineage.Flow
	at := len(o.f.Tables)
	for _, c := range inner.Constants {
		for _, ref := range c.Columns {
			flow = lineage.Merge(flow, lineage.Of(facts.ColumnRef{Table: at + ref.Table, Column: ref.Column}))
		}
	}
	if len(flow) == 0 {
		return
	}
	o.f.Tables = append(o.f.Tables, inner.Tables...)
	l := o.s.lexed
	for i := o.s.first; i < o.s.last; i++ {
		if t := l.tokens[i]; t.kind == tokString {
			o.consts.Meet([]int{o.consts.Literal(t.from, t.to)}, flow)
		}
	}
}

// preparedName is a prepared statement's name as the view has it, "" where it
// is refused: of letters beyond ASCII it is not followed which are the same.
func (a *analysis) preparedName(name string) string {
	if !isASCII(name) {
		a.fail(notUnderstood(fmt.Sprintf("the name %q of a prepared statement", name), -1))
		return ""
	}
	return strings.ToLower(name)
}

// sameReading says that a text that was prepared under some settings would be
// read alike under others. The server goes on reading it by those that it was
// prepared under.
func sameReading(prepared, now catalog.Settings) bool {
	for _, name := range []string{settingMode, settingClient, settingConnection} {
		if prepared.Get(name) != now.Get(name) {
			return false
		}
	}
	return true
}

// preparedElsewhere is the error of executing a statement that was prepared
// under other settings.
func preparedElsewhere() *facts.Problem {
	return &facts.Problem{Code: "0A000", At: -1, Message: "a statement that was prepared under another sql_mode or character set does not pass the proxy",
		Hint: "Prepare it again."}
}

// nested analyses a prepared text.
func (o *one) nested(text string) (*catalog.Statement, *facts.Problem) {
	list, err := Analyse(o.view, text, o.b.lim)
	if err != nil {
		p := *err.(*facts.Problem)
		p.At = -1
		return nil, &p
	}
	if len(list) != 1 {
		return nil, notUnderstood("a prepared text of several statements", -1)
	}
	switch list[0].Facts.Effects[0].Verb {
	case "PREPARE", "EXECUTE", "DEALLOCATE":
		return nil, notUnderstood("a prepared "+list[0].Facts.Effects[0].Verb, -1)
	}
	return &list[0], nil
}

// execute is EXECUTE: it is what it runs, with the constants of its text no
// longer in this one.
func (o *one) execute(s *ast.ExecuteStmt) {
	o.st.Volatile = true
	p, ok := o.view.Prepared[strings.ToLower(s.Name)]
	if !ok {
		o.fail(&facts.Problem{Code: "1243", At: -1, Undefined: true, Message: fmt.Sprintf("Unknown prepared statement handler (%s) given to EXECUTE", s.Name)})
		return
	}
	if o.preparedName(s.Name) == "" {
		return
	}
	if !sameReading(p.Settings, o.view.Settings) {
		o.fail(preparedElsewhere())
		return
	}
	// The server resolves names in the database that it was prepared in.
	view := *o.view
	view.SearchPath = p.Path
	d, err := dialectOf(o.view)
	if err != nil {
		o.fail(err.(*facts.Problem))
		return
	}
	l, err := lex(d, p.Text, o.b.lim)
	var pieces []piece
	if err == nil {
		pieces, err = split(l)
	}
	if err != nil || len(pieces) != 1 {
		o.fail(notUnderstood("the prepared statement "+s.Name, -1))
		return
	}
	ps, err := parse(d, l, pieces[0])
	if err != nil {
		o.fail(err.(*facts.Problem))
		return
	}
	inner := newAnalysis(&view, d)
	inner.lexed, inner.first, inner.loosePar = l, ps.first, true
	in := &one{analysis: inner, s: ps, b: o.b, st: o.st, change: o.change}
	in.dispatch()
	if inner.problem != nil {
		inner.problem.At = -1
		o.fail(inner.problem)
		return
	}
	inner.finish()
	f := inner.f
	for i := range f.Uses {
		f.Uses[i].At = -1
	}
	f.Constants, f.ParamUses, f.Plannable = nil, nil, false
	*o.f = *f
	o.ledger, o.arms = inner.ledger, inner.arms
	o.variables, o.change = append(o.variables, inner.variables...), in.change
	o.s = &parsed{piece: o.s.piece, lexed: o.s.lexed}
}
