package pgfacts

import (
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// analysis accumulates what one statement's queries do: the tables they
// reach, the uses of their columns, the functions called. It is used once,
// by one goroutine.
type analysis struct {
	view *catalog.View
	text string
	f    *facts.Facts // Tables, Uses, Constants and ParamUses are filled
	// arms are the statement's own queries in the order they are met: the
	// statement itself, each WITH query, and the query of an INSERT. Bodies
	// of views belong to the arm that names the view.
	arms []*arm
	// functions are what the statement itself calls, as schema.name, each
	// once, operators' functions left out.
	functions []string
	// settings are the calls of set_config, in views too.
	settings []settingCall

	ledger  lineage.Ledger
	problem *facts.Problem
	stack   []*arm // the arms being analysed, innermost last

	tables   map[*catalog.Relation]int
	views    map[int]bool // tables that are views, by index
	scanned  map[*catalog.Relation]*scanned
	building []*catalog.Relation // definitions being analysed
	// foreign counts the definitions being analysed: their text is not the
	// client's.
	foreign int
	steps   int
	// boundless says that some value may be as long as the client likes.
	boundless bool
	domains   map[string]bool // those whose checks have been looked at

	paramTypes []string
	castParams map[int]string // types that parameters without one are cast to
	// computedParams are those that EXECUTE fills with more than a literal.
	computedParams map[int]bool
	consts         lineage.Constants
}

// arm is one SELECT, INSERT, UPDATE, DELETE or MERGE.
type arm struct {
	node      *pg_query.Node
	target    *catalog.Relation   // what a write changes, as named
	relations []*catalog.Relation // named in FROM, USING, subqueries …; target not included
	columns   []facts.ColumnRef   // read or written, each once
	functions []string            // schema.name, each once

	touched map[facts.ColumnRef]bool
}

// settingCall is a call of set_config. Name is "" and value nil where they
// are not literals; local says that is_local is not plainly false.
type settingCall struct {
	name  string
	value *string
	local bool
	at    int
}

func newAnalysis(view *catalog.View, text string) *analysis {
	a := &analysis{
		view: view, text: text, f: &facts.Facts{},
		tables: map[*catalog.Relation]int{}, views: map[int]bool{}, scanned: map[*catalog.Relation]*scanned{},
		castParams: map[int]string{}, domains: map[string]bool{},
	}
	a.ledger.Borrowed = func(r facts.ColumnRef) bool { return a.views[r.Table] }
	return a
}

// query analyses a SELECT, INSERT, UPDATE, DELETE or MERGE and returns its
// output columns, nil for a write without RETURNING. paramTypes are the
// declared types of the parameters, "" where undeclared. Its error is a
// *facts.Problem.
func (a *analysis) query(n *pg_query.Node, paramTypes []string) ([]facts.Output, error) {
	a.declareParams(n, paramTypes)
	rel := a.statement(a.top(), n)
	if rel != nil {
		a.together(lineage.Place{At: -1}, columnValues(rel.columns))
	}
	a.withoutBound()
	a.finish()
	if a.problem != nil {
		return nil, a.problem
	}
	if rel == nil {
		return nil, nil
	}
	out := make([]facts.Output, len(rel.columns))
	for i, c := range rel.columns {
		out[i] = facts.Output{Name: c.name, Type: a.factsType(c.typ), Sources: slices.Clone(c.Flow)}
	}
	return out, nil
}

// loose analyses an expression that has no relations in scope. Its error is a
// *facts.Problem.
func (a *analysis) loose(n *pg_query.Node) error {
	a.declareParams(n, nil)
	a.expr(a.top(), n)
	a.finish()
	if a.problem != nil {
		return a.problem
	}
	return nil
}

func (a *analysis) top() *env { return &env{sc: &scope{}, level: &level{}} }

// finish fills in what is collected on the way. It may be called again.
func (a *analysis) finish() {
	a.f.Uses = a.ledger.Uses()
	a.f.Constants, a.f.ParamUses = a.consts.Facts()
}

// declareParams takes the declared types and, for parameters without one, the
// type that the statement casts them to, if it is always the same.
func (a *analysis) declareParams(n *pg_query.Node, types []string) {
	for i, t := range types {
		for len(a.paramTypes) <= i {
			a.paramTypes = append(a.paramTypes, "")
		}
		if t != "" {
			a.paramTypes[i] = a.declared(t)
		}
	}
	if !strings.Contains(a.text, "$") {
		return
	}
	walk(n, func(n *pg_query.Node) bool {
		c := n.GetTypeCast()
		p := c.GetArg().GetParamRef()
		if p == nil {
			return true
		}
		schema, name := splitName(c.TypeName.GetNames())
		typ := ""
		if t := a.view.Type(schema, name); t != nil && len(c.TypeName.Typmods) == 0 {
			typ = qualified(t.Schema, t.Name)
			if len(c.TypeName.ArrayBounds) > 0 {
				typ = a.arrayOf(typ)
			}
		}
		if before, ok := a.castParams[int(p.Number)]; ok && before != typ {
			typ = ""
		}
		a.castParams[int(p.Number)] = typ
		return true
	})
}

// declared resolves a declared parameter type: qualified, or as SQL spells it.
func (a *analysis) declared(t string) string {
	if schema, name := splitType(t); name != "" && a.view.TypeIn(schema, name) != nil {
		return t
	}
	if tree, err := pg_query.Parse("SELECT NULL::" + t); err == nil && len(tree.Stmts) == 1 {
		target := tree.Stmts[0].Stmt.GetSelectStmt().GetTargetList()
		if len(target) == 1 && target[0].GetResTarget().GetVal().GetTypeCast() != nil {
			tn := target[0].GetResTarget().GetVal().GetTypeCast().TypeName
			schema, name := splitName(tn.Names)
			if f := a.view.Type(schema, name); f != nil {
				if len(tn.ArrayBounds) > 0 {
					return a.arrayOf(qualified(f.Schema, f.Name))
				}
				return qualified(f.Schema, f.Name)
			}
		}
	}
	return ""
}

// statement analyses a query node as an arm of its own and returns what it
// yields, nil for a write without RETURNING.
func (a *analysis) statement(e *env, n *pg_query.Node) *entry {
	a.enter(n)
	defer a.leave()
	switch {
	case n.GetSelectStmt() != nil:
		return a.selectStmt(e, n.GetSelectStmt())
	case n.GetInsertStmt() != nil:
		return a.insert(e, n.GetInsertStmt())
	case n.GetUpdateStmt() != nil:
		return a.update(e, n.GetUpdateStmt())
	case n.GetDeleteStmt() != nil:
		return a.delete(e, n.GetDeleteStmt())
	case n.GetMergeStmt() != nil:
		return a.merge(e, n.GetMergeStmt())
	}
	a.fail(notUnderstood("this statement", -1))
	return &entry{}
}

func (a *analysis) enter(n *pg_query.Node) {
	if a.foreign > 0 {
		a.stack = append(a.stack, a.current())
		return
	}
	for _, m := range a.arms {
		if m.node == n {
			a.stack = append(a.stack, m)
			return
		}
	}
	m := &arm{node: n, touched: map[facts.ColumnRef]bool{}}
	a.arms = append(a.arms, m)
	a.stack = append(a.stack, m)
}

func (a *analysis) leave() { a.stack = a.stack[:len(a.stack)-1] }

// current is the arm being analysed; outside queries, one that nobody reads.
func (a *analysis) current() *arm {
	if len(a.stack) == 0 {
		return &arm{touched: map[facts.ColumnRef]bool{}}
	}
	return a.stack[len(a.stack)-1]
}

// called notes that the statement itself calls a function.
func (a *analysis) called(name string) {
	if a.foreign > 0 {
		return
	}
	if !slices.Contains(a.functions, name) {
		a.functions = append(a.functions, name)
	}
	if m := a.current(); !slices.Contains(m.functions, name) {
		m.functions = append(m.functions, name)
	}
}

// step bounds the work that one statement may cause: definitions that name
// definitions, and rounds of nested recursive queries.
func (a *analysis) step() bool {
	const most = 200000
	if a.steps++; a.steps > most {
		a.fail(&facts.Problem{Code: "54001", Message: "statement is too complex to analyse", At: -1})
		return false
	}
	return a.problem == nil
}
