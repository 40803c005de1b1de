package myfacts

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// diagnostics names what SHOW WARNINGS and its kin read: a table of the
// reserved class of statistics.
const diagnostics = "DIAGNOSTICS"

// analysis accumulates what one statement does: the tables it reaches, the
// uses of their columns, the functions called. It is used once, by one
// goroutine.
type analysis struct {
	view  *catalog.View
	d     dialect
	folds bool // names of tables have no case
	f     *facts.Facts

	lexed *lexed // nil for a definition's text
	first int    // the statement's first token

	ledger  lineage.Ledger
	consts  lineage.Constants
	looked  []int // of the constants, those whose text analysis has read
	problem *facts.Problem
	arms    []*arm
	stack   []*arm // the arms being analysed, innermost last

	tables   map[*catalog.Relation]int
	views    map[int]bool
	scanned  map[*catalog.Relation]*scanned
	building []*catalog.Relation
	routines map[string][]string
	foreign  int // definitions being analysed: their text is not the client's
	steps    int
	// variables are the user variables that the statement sets.
	variables []string
	// order is what is known, from around it, of the order of the rows of what
	// is being analysed; positions are the result columns that the arms of a set
	// operation are ordered by.
	order     order
	positions []int
	nested    int // queries whose rows another one reads
	// failing says that some operation on the way may fail or warn.
	failing bool
	// loosePar says that parameters come from user variables: their types are
	// not known.
	loosePar bool
}

// arm is one query or write of a statement.
type arm struct {
	targets   []*catalog.Relation // what a write changes, as named
	relations []*catalog.Relation // named beside them
	columns   []facts.ColumnRef   // read or written, each once
	functions []string            // each once
	touched   map[facts.ColumnRef]bool
}

func newArm() *arm { return &arm{touched: map[facts.ColumnRef]bool{}} }

func newAnalysis(view *catalog.View, d dialect) *analysis {
	a := &analysis{
		view: view, d: d, f: &facts.Facts{}, tables: map[*catalog.Relation]int{}, views: map[int]bool{},
		scanned: map[*catalog.Relation]*scanned{},
		folds:   view.Settings.Get(settingCase) != "" && view.Settings.Get(settingCase) != "0",
	}
	a.ledger.Borrowed = func(r facts.ColumnRef) bool { return a.views[r.Table] }
	return a
}

func (a *analysis) top() *env { return &env{sc: &scope{}, clause: "field list"} }

// enter begins an arm.
func (a *analysis) enter() *arm {
	if a.foreign > 0 {
		a.stack = append(a.stack, a.current())
		return a.current()
	}
	m := newArm()
	a.arms = append(a.arms, m)
	a.stack = append(a.stack, m)
	return m
}

func (a *analysis) leave() { a.stack = a.stack[:len(a.stack)-1] }

// current is the arm being analysed; outside queries, one that nobody reads.
func (a *analysis) current() *arm {
	if len(a.stack) == 0 {
		return newArm()
	}
	return a.stack[len(a.stack)-1]
}

// called notes that the statement itself calls a function.
func (a *analysis) called(name string) {
	if a.foreign > 0 {
		return
	}
	if m := a.current(); !slices.Contains(m.functions, name) {
		m.functions = append(m.functions, name)
	}
}

// assigned notes that a user variable is set. Which letters beyond ASCII the
// server takes for the same is not followed: any variable may be meant.
func (a *analysis) assigned(name string) {
	if !isASCII(name) {
		name = ""
	}
	if name = strings.ToLower(name); !slices.Contains(a.variables, name) {
		a.variables = append(a.variables, name)
	}
}

// step bounds the work that one statement may cause.
func (a *analysis) step() bool {
	const most = 100000
	if a.steps++; a.steps > most {
		a.fail(&facts.Problem{Code: "54001", Message: "statement is too complex to analyse", At: -1})
		return false
	}
	return a.problem == nil
}

// finish fills in what is collected on the way.
func (a *analysis) finish() {
	a.f.Uses = a.ledger.Uses()
	a.f.Constants, a.f.ParamUses = a.consts.Facts()
}

// outputs are a query's columns as facts.
func (a *analysis) outputs(body *entry) []facts.Output {
	out := make([]facts.Output, len(body.columns))
	for i, c := range body.columns {
		out[i] = facts.Output{Name: c.name, Type: c.t.factsType(), Sources: slices.Clone(c.Flow)}
	}
	return out
}

// walk calls f for each node below n, in the order of the text, until it says
// not to go deeper.
func walk(n ast.Node, f func(ast.Node) bool) {
	if n != nil {
		n.Accept(&walker{f})
	}
}

type walker struct{ f func(ast.Node) bool }

func (w *walker) Enter(n ast.Node) (ast.Node, bool) { return n, !w.f(n) }
func (w *walker) Leave(n ast.Node) (ast.Node, bool) { return n, true }
