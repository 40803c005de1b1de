package pgfacts

import (
	"fmt"
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// withScope holds the common table expressions of one WITH, innermost first.
type withScope struct {
	parent *withScope
	ctes   []*cte
}

// cte is a common table expression. It is analysed when it is first named or,
// if nobody names it, at the end of its WITH.
type cte struct {
	node   *pg_query.CommonTableExpr
	env    *env   // that its query sees
	result *entry // nil until analysed; the rounds' result so far in a recursive one
	busy   bool
}

func (w *withScope) find(name string) *cte {
	for ; w != nil; w = w.parent {
		for _, c := range w.ctes {
			if c.node.Ctename == name {
				return c
			}
		}
	}
	return nil
}

// withClause returns the environment of the statement that WITH belongs to.
func (a *analysis) withClause(e *env, w *pg_query.WithClause) *env {
	if w == nil {
		return e
	}
	out := *e
	out.with = &withScope{parent: e.with}
	var all []*cte
	for _, n := range w.Ctes {
		node := n.GetCommonTableExpr()
		if node == nil {
			a.fail(notUnderstood("this WITH", a.at(w.Location)))
			continue
		}
		if slices.ContainsFunc(all, func(c *cte) bool { return c.node.Ctename == node.Ctename }) {
			a.fail(&facts.Problem{Code: "42712", At: a.at(node.Location), Message: fmt.Sprintf("WITH query name %q specified more than once", node.Ctename)})
		}
		c := &cte{node: node}
		sub := out.inner()
		if w.Recursive {
			out.with.ctes = append(out.with.ctes, c)
			sub.with = out.with
		} else {
			sub.with = &withScope{parent: e.with, ctes: slices.Clone(out.with.ctes)}
			out.with.ctes = append(out.with.ctes, c)
		}
		c.env = sub
		all = append(all, c)
	}
	for _, c := range all {
		a.cte(c, a.at(c.node.Location))
	}
	return &out
}

// cte is what naming a common table expression reads.
func (a *analysis) cte(c *cte, at int) *entry {
	if c.result != nil {
		return c.result
	}
	if c.busy {
		a.fail(&facts.Problem{Code: "42P19", At: at, Message: fmt.Sprintf("recursive query %q is not of a form that is understood", c.node.Ctename)})
		return &entry{}
	}
	c.busy = true
	var body *entry
	if s := c.node.Ctequery.GetSelectStmt(); s != nil && s.Larg != nil && namesItself(c.node) {
		body = a.recursive(c, s)
	} else {
		body = a.statement(c.env, c.node.Ctequery)
	}
	c.busy = false
	if body == nil { // a write without RETURNING
		body = &entry{}
	}
	c.result = a.cteResult(c, body)
	return c.result
}

func (a *analysis) cteResult(c *cte, body *entry) *entry {
	en := &entry{columns: derived(body.columns), amplified: body.amplified, boundless: body.boundless}
	for i, name := range names(c.node.Aliascolnames) {
		if i >= len(en.columns) {
			a.fail(&facts.Problem{
				Code: "42P10", At: a.at(c.node.Location),
				Message: fmt.Sprintf("WITH query %q has %d columns available but %d columns specified", c.node.Ctename, len(en.columns), len(c.node.Aliascolnames)),
			})
			break
		}
		en.columns[i].name = name
	}
	a.searchAndCycle(c, en)
	return en
}

func namesItself(c *pg_query.CommonTableExpr) bool {
	found := false
	walk(c.Ctequery, func(n *pg_query.Node) bool {
		if rv := n.GetRangeVar(); rv != nil && rv.Schemaname == "" && rv.Relname == c.Ctename {
			found = true
		}
		return !found
	})
	return found
}

// recursive repeats a recursive query over what it has yielded so far, until
// its columns depend on nothing new.
func (a *analysis) recursive(c *cte, s *pg_query.SelectStmt) *entry {
	a.enter(c.node.Ctequery)
	defer a.leave()
	seed := *c.env
	seedEnv := a.withClause(&seed, s.WithClause)
	body := a.selectStmt(seedEnv, s.Larg)
	for i := range body.columns {
		body.columns[i].plain, body.columns[i].row = false, nil
	}
	body.amplified, body.boundless = true, true
	for {
		c.result = a.cteResult(c, body)
		if !a.step() {
			return body
		}
		next := a.selectStmt(c.env, s)
		if len(next.columns) != len(body.columns) {
			return body // told already
		}
		grown := false
		merged := &entry{columns: slices.Clone(body.columns), amplified: true, boundless: true}
		for i := range merged.columns {
			m, n := &merged.columns[i], next.columns[i]
			var more bool
			m.Value, more = lineage.Widen(m.Value, n.Value)
			m.loose = m.loose || n.loose
			if m.typ != n.typ {
				more = more || m.typ != ""
				m.typ = ""
			}
			m.row = nil
			m.consts = constants([]value{m.value, n.value})
			grown = grown || more
		}
		body = merged
		if !grown {
			return body
		}
	}
}

// searchAndCycle adds the columns that SEARCH and CYCLE bring.
func (a *analysis) searchAndCycle(c *cte, en *entry) {
	p := c.env.deciding().place(a.at(c.node.Location))
	pick := func(list []*pg_query.Node) []value {
		var out []value
		for _, name := range names(list) {
			if v, ok := a.entryColumn(en, name, p.At); ok {
				out = append(out, v)
			}
		}
		return out
	}
	var extra []column
	if s := c.node.SearchClause; s != nil {
		v := a.computed(lineage.Endless, "", pick(s.SearchColList)...)
		extra = append(extra, column{name: s.SearchSeqColumn, value: v})
	}
	if y := c.node.CycleClause; y != nil {
		cols := pick(y.CycleColList)
		for _, v := range cols {
			a.known(p, "CYCLE", v)
		}
		mark := value{typ: typeBool}
		if y.CycleMarkValue != nil {
			mark = a.either(p, a.expr(c.env, y.CycleMarkValue), a.expr(c.env, y.CycleMarkDefault))
		}
		mark.plain = false
		extra = append(extra, column{name: y.CycleMarkColumn, value: mark},
			column{name: y.CyclePathColumn, value: a.computed(lineage.Endless, "", cols...)})
	}
	for _, x := range extra {
		if !slices.ContainsFunc(en.columns, func(k column) bool { return k.name == x.name }) {
			en.columns = append(en.columns, x)
		}
	}
}
