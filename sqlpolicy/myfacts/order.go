package myfacts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// orderName is a column by which rows are ordered, as it is written.
type orderName struct{ table, name string }

// order is what is known of the order of a query's rows. irrelevant says that
// it is decided elsewhere, or tells nothing; lists are orders that it comes
// out in, each of which decides it where it has a unique key.
type order struct {
	irrelevant bool
	lists      [][]orderName
}

// lenient says that some column orders the rows: ties are left open.
func (o order) lenient() bool {
	return slices.ContainsFunc(o.lists, func(l []orderName) bool { return len(l) > 0 })
}

// unordered records what rows tell by the order in which they come where
// nothing orders them: that of the clustered index, of an index that has all
// the columns that a query needs and is read in the table's place, and of one
// that a condition has read in ranges. Source: "Covering index" in the manual
// of EXPLAIN (Using index), and "Clustered and Secondary Indexes".
func (a *analysis) unordered(q *env, s *ast.SelectStmt, own order) {
	if s.From == nil {
		return
	}
	needs := sensitive(s)
	if !own.irrelevant {
		needs = append(needs, own)
	}
	used, stars := usedNames(s, a.nested > 0)
	j := joined{where: s.Where, items: q.sc.items}
	j.from(s.From.TableRefs)
	for _, need := range needs {
		for _, it := range q.sc.items {
			if it.rel != nil && it.rel.Kind == catalog.RelTable && !onePrimary(it.rel, s.Where) && !j.decided(it, need.lists, nil) {
				a.indexOrder(q, j, it, used, stars[""] || stars[it.alias], need.lenient())
			}
		}
	}
}

// indexOrder records comparisons by the indexes in whose order a table's rows
// may come.
func (a *analysis) indexOrder(q *env, j joined, it item, used map[string]bool, star, lenient bool) {
	own := a.ownColumns(it.rel)
	clustered := clusteredIndex(it.rel)
	for n, ix := range it.rel.Indexes {
		whole := n == clustered || !star && used != nil && covers(it.rel, ix, used)
		first := indexColumn(it.rel, ix, 0)
		// Ties under some ORDER BY are left open for the column of a condition,
		// which its class lets be compared, not for those behind it in an index.
		if first < 0 || !whole && (lenient && len(ix.Columns) == 1 || !j.mentions(it, it.rel.Columns[first].Name)) {
			continue
		}
		var by []value
		for _, i := range orderedColumns(it.rel, ix, clustered) {
			if name := it.rel.Columns[i].Name; len(by) > 0 || !pinned(j.where, name) {
				by = append(by, own[i].value)
			}
		}
		if ix.Unique && allPinned(it.rel, ix, j.where) {
			continue // one row, or NULLs
		}
		a.compared(q.place(-1), fmt.Sprintf("%s, which the index %s gives where ORDER BY does not", theOrder, ix.Name), by...)
	}
}

// theOrder begins what is said of uses by order.
const theOrder = "the order of rows"

// clusteredIndex is the index by which InnoDB keeps a table's rows, -1 for
// none: the primary key, or the first unique key that has no NULL.
func clusteredIndex(r *catalog.Relation) int {
	if i := slices.IndexFunc(r.Indexes, func(ix catalog.IndexDef) bool { return ix.Name == "PRIMARY" }); i >= 0 {
		return i
	}
	return slices.IndexFunc(r.Indexes, func(ix catalog.IndexDef) bool { return strictlyUnique(r, ix) })
}

func strictlyUnique(r *catalog.Relation, ix catalog.IndexDef) bool {
	return ix.Unique && len(ix.Columns) > 0 && !slices.ContainsFunc(ix.Columns, func(n int32) bool {
		i := slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == n })
		return i < 0 || !r.Columns[i].NotNull && ix.Name != "PRIMARY"
	})
}

// orderedColumns are the columns that an index's entries are ordered by, up to
// where they are unique: its own, and then the clustered index's.
func orderedColumns(r *catalog.Relation, ix catalog.IndexDef, clustered int) (out []int) {
	nums := slices.Clone(ix.Columns)
	if clustered >= 0 && !strictlyUnique(r, ix) {
		nums = append(nums, r.Indexes[clustered].Columns...)
	}
	has := map[int32]bool{}
	for _, n := range nums {
		i := slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == n })
		if i < 0 {
			break
		}
		out = append(out, i)
		has[n] = true
		if slices.ContainsFunc(r.Indexes, func(k catalog.IndexDef) bool {
			return strictlyUnique(r, k) && !slices.ContainsFunc(k.Columns, func(n int32) bool { return !has[n] })
		}) {
			break
		}
	}
	return out
}

func allPinned(r *catalog.Relation, ix catalog.IndexDef, where ast.ExprNode) bool {
	for k := range ix.Columns {
		if i := indexColumn(r, ix, k); i < 0 || !pinned(where, r.Columns[i].Name) {
			return false
		}
	}
	return true
}

// joined are the tables of a query and the conditions on them.
type joined struct {
	where ast.ExprNode
	on    []ast.ExprNode
	using []string
	items []item
}

func (j *joined) from(n ast.ResultSetNode) {
	x, ok := n.(*ast.Join)
	if !ok {
		if t, ok := n.(*ast.TableSource); ok {
			if inner, ok := t.Source.(*ast.Join); ok {
				j.from(inner)
			}
		}
		return
	}
	j.from(x.Left)
	if x.Right != nil {
		j.from(x.Right)
	}
	if x.On != nil {
		j.on = append(j.on, x.On.Expr)
	}
	for _, c := range x.Using {
		j.using = append(j.using, c.Name.O)
	}
}

// mentions says that a condition names a column of a table.
func (j joined) mentions(it item, name string) bool {
	found := slices.ContainsFunc(j.using, func(u string) bool { return sameName(u, name) })
	for _, x := range append([]ast.ExprNode{j.where}, j.on...) {
		if x != nil {
			walk(x, func(n ast.Node) bool {
				c, ok := n.(*ast.ColumnName)
				found = found || ok && sameName(c.Name.O, name) && (c.Table.O == "" || c.Table.O == it.alias)
				return !found
			})
		}
	}
	return found
}

// decided says that one of the orders tells a table's rows apart: it has a
// unique key of the table, or the table is reached by its key from one that it
// tells apart.
func (j joined) decided(it item, lists [][]orderName, seen []*entry) bool {
	if it.rel == nil || slices.Contains(seen, it.entry) {
		return false
	}
	for _, ix := range it.rel.Indexes {
		if !strictlyUnique(it.rel, ix) {
			continue
		}
		for _, list := range lists {
			if j.hasKey(it, ix, func(name string) bool {
				return slices.ContainsFunc(list, func(o orderName) bool { return sameName(o.name, name) && j.means(it, o.table) })
			}) {
				return true
			}
		}
		for _, from := range j.items {
			if from.entry != it.entry && from.rel != nil && j.hasKey(it, ix, func(name string) bool { return j.reached(it, name, from) }) &&
				j.decided(from, lists, append(seen, it.entry)) {
				return true
			}
		}
	}
	return false
}

func (j joined) hasKey(it item, ix catalog.IndexDef, has func(name string) bool) bool {
	for k := range ix.Columns {
		if i := indexColumn(it.rel, ix, k); i < 0 || !has(it.rel.Columns[i].Name) && !pinned(j.where, it.rel.Columns[i].Name) {
			return false
		}
	}
	return true
}

// means says that a qualifier, or none, means a table's columns.
func (j joined) means(it item, table string) bool { return table == "" || table == it.alias }

// reached says that a condition holds a table's column equal to a column of
// another one.
func (j joined) reached(it item, name string, from item) bool {
	if slices.ContainsFunc(j.using, func(u string) bool { return sameName(u, name) && len(from.find(u)) > 0 }) {
		return true
	}
	found := false
	for _, x := range append([]ast.ExprNode{j.where}, j.on...) {
		conjuncts(x, func(x ast.ExprNode) {
			b, ok := x.(*ast.BinaryOperationExpr)
			if !ok || b.Op != opcode.EQ {
				return
			}
			l, lok := bareName(b.L)
			r, rok := bareName(b.R)
			if !lok || !rok {
				return
			}
			for _, p := range [][2]orderName{{l, r}, {r, l}} {
				if sameName(p[0].name, name) && (p[0].table == it.alias || p[0].table == "" && len(from.find(name)) == 0) &&
					(p[1].table == from.alias || p[1].table == "" && len(from.find(p[1].name)) > 0 && len(it.find(p[1].name)) == 0) {
					found = true
				}
			}
		})
	}
	return found
}

func conjuncts(x ast.ExprNode, f func(ast.ExprNode)) {
	if x == nil {
		return
	}
	x = bare(x)
	if b, ok := x.(*ast.BinaryOperationExpr); ok && b.Op == opcode.LogicAnd {
		conjuncts(b.L, f)
		conjuncts(b.R, f)
		return
	}
	f(x)
}

func bareName(x ast.ExprNode) (orderName, bool) {
	c, ok := bare(x).(*ast.ColumnNameExpr)
	if !ok {
		return orderName{}, false
	}
	return orderName{table: c.Name.Table.O, name: c.Name.Name.O}, true
}

// resultName is the column that a result column is, by its place; ok is false
// for what is no bare column, and where a star hides the places.
func resultName(s *ast.SelectStmt, at int) (orderName, bool) {
	if s.Fields == nil || at < 0 || at >= len(s.Fields.Fields) || slices.ContainsFunc(s.Fields.Fields[:at+1], func(f *ast.SelectField) bool { return f.WildCard != nil }) {
		return orderName{}, false
	}
	return bareName(s.Fields.Fields[at].Expr)
}

// resultNamed is the place of the result column of a name, -1 where none has
// it but by a star.
func resultNamed(s *ast.SelectStmt, name string) int {
	if s.Fields == nil {
		return -1
	}
	return slices.IndexFunc(s.Fields.Fields, func(f *ast.SelectField) bool {
		return f.WildCard == nil && (f.AsName.O != "" && sameName(f.AsName.O, name) || f.AsName.O == "" && sameName(columnName(f), name))
	})
}

// orderNames are the bare columns that a list orders by, as a query's tables
// have them.
func orderNames(s *ast.SelectStmt, items []*ast.ByItem) (out []orderName) {
	for _, it := range items {
		if p, ok := it.Expr.(*ast.PositionExpr); ok && p.P == nil {
			if n, ok := resultName(s, p.N-1); ok {
				out = append(out, n)
			}
			continue
		}
		n, ok := bareName(it.Expr)
		if !ok {
			continue
		}
		if at := resultNamed(s, n.name); n.table == "" && at >= 0 {
			if n, ok = resultName(s, at); !ok {
				continue // an alias of something else
			}
		}
		out = append(out, n)
	}
	return out
}

// ordering works out, before a query is analysed, what is known of the order
// of its rows, and sets what its inner queries may take from it. restore puts
// back what was.
func (a *analysis) ordering(e *env, s *ast.SelectStmt) (own order, restore func()) {
	before := a.order
	// MariaDB sorts groups where nothing else orders them, and one group is one
	// row.
	sorts := s.GroupBy != nil && s.OrderBy == nil && a.d.mariadb
	own.irrelevant = (before.irrelevant || e.pred) && s.Limit == nil || sorts || s.From != nil && s.GroupBy == nil && (bounds{a: a}).aggregates(s)
	if s.OrderBy != nil {
		own.lists = append(own.lists, orderNames(s, s.OrderBy.Items))
	}
	if s.Limit == nil {
		for _, list := range before.lists {
			own.lists = append(own.lists, inherited(s, list))
		}
		if a.positions != nil {
			var list []orderName
			for _, at := range a.positions {
				if n, ok := resultName(s, at); ok {
					list = append(list, n)
				}
			}
			own.lists = append(own.lists, list)
		}
	}
	positions := a.positions
	a.order, a.positions = own, nil
	if len(sensitive(s)) > 0 {
		a.order = order{}
	}
	return own, func() { a.order, a.positions = before, positions }
}

// inherited is an outer query's order in the names of an inner one's tables.
func inherited(s *ast.SelectStmt, list []orderName) (out []orderName) {
	for _, o := range list {
		switch at := resultNamed(s, o.name); {
		case at >= 0:
			if n, ok := resultName(s, at); ok {
				out = append(out, n)
			}
		case s.Fields != nil && slices.ContainsFunc(s.Fields.Fields, func(f *ast.SelectField) bool { return f.WildCard != nil }):
			out = append(out, orderName{name: o.name})
		}
	}
	return out
}

// orderedAs leaves of the order that is known from around the names that can
// mean a derived table's or a view's columns.
func (a *analysis) orderedAs(s *ast.TableSource) (restore func()) {
	if _, ok := s.Source.(*ast.Join); ok {
		return func() {}
	}
	alias := s.AsName.O
	if t, ok := s.Source.(*ast.TableName); ok && alias == "" {
		alias = t.Name.O
	}
	before := a.order
	a.order.lists = nil
	for _, list := range before.lists {
		var own []orderName
		for _, o := range list {
			if o.table == "" || o.table == alias {
				own = append(own, o)
			}
		}
		a.order.lists = append(a.order.lists, own)
	}
	return func() { a.order = before }
}

// single says that a query has no other query within it but those of its WITH.
func single(s *ast.SelectStmt) bool {
	found := false
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.WithClause:
			return false
		case *ast.SubqueryExpr:
			found = true
		case *ast.TableSource:
			switch x.Source.(type) {
			case *ast.TableName, *ast.Join:
			default:
				found = true
			}
		}
		return !found
	})
	return !found
}

// setOrdering is ordering for a set operation: its arms are ordered by the
// places of its columns.
func (a *analysis) setOrdering(e *env, limited bool, first ast.Node, by ...*ast.OrderByClause) (restore func()) {
	before, positions := a.order, a.positions
	a.order, a.positions = order{irrelevant: (before.irrelevant || e.pred) && !limited}, nil
	s, ok := first.(*ast.SelectStmt)
	if !ok {
		return func() { a.order, a.positions = before, positions }
	}
	if !limited {
		for _, list := range before.lists {
			for _, o := range list {
				if at := resultNamed(s, o.name); at >= 0 {
					a.positions = append(a.positions, at)
				}
			}
		}
	}
	for _, b := range by {
		if b == nil {
			continue
		}
		for _, it := range b.Items {
			if p, ok := it.Expr.(*ast.PositionExpr); ok && p.P == nil {
				a.positions = append(a.positions, p.N-1)
			} else if n, ok := bareName(it.Expr); ok {
				if at := resultNamed(s, n.name); at >= 0 {
					a.positions = append(a.positions, at)
				}
			}
		}
	}
	return func() { a.order, a.positions = before, positions }
}

// counting are functions whose values depend on how often they were called.
var counting = lowerSet("rand nextval lastval setval uuid_short last_insert_id")

// sensitive are the orders that a query makes something of, whatever order its
// rows come out in: of windows and aggregates, of what counts rows as they
// come, and of groups of which one row is shown.
func sensitive(s *ast.SelectStmt) (out []order) {
	by := func(w *ast.OrderByClause) order {
		if w == nil {
			return order{}
		}
		return order{lists: [][]orderName{orderNames(s, w.Items)}}
	}
	var window func(w *ast.WindowSpec) order
	window = func(w *ast.WindowSpec) order {
		for i := range s.WindowSpecs {
			if k := &s.WindowSpecs[i]; w.OrderBy == nil && k != w && (k.Name.L == w.Name.L || k.Name.L == w.Ref.L) && k.Name.L != "" {
				return window(k)
			}
		}
		return by(w.OrderBy)
	}
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.SubqueryExpr, *ast.TableSource:
			if t, ok := x.(*ast.TableSource); ok {
				_, ok := t.Source.(*ast.Join)
				return ok
			}
			return false
		case *ast.VariableExpr:
			if x.Value != nil {
				out = append(out, order{})
			}
		case *ast.FuncCallExpr:
			if counting[x.FnName.L] && (x.FnName.L != "rand" && x.FnName.L != "last_insert_id" || len(x.Args) > 0) {
				out = append(out, order{})
			}
		case *ast.AggregateFuncExpr:
			switch strings.ToLower(x.F) {
			case "group_concat", "json_arrayagg", "json_objectagg":
				out = append(out, by(x.Order))
			}
		case *ast.WindowFuncExpr:
			out = append(out, window(&x.Spec))
		}
		return true
	})
	if loose(s) {
		out = append(out, order{})
	}
	return out
}

// loose says that a grouped query shows a column that it is not grouped by: of
// some row of the group.
func loose(s *ast.SelectStmt) bool {
	if s.GroupBy == nil && !(bounds{}).aggregates(s) {
		return false
	}
	var by []orderName
	if s.GroupBy != nil {
		by = orderNames(s, s.GroupBy.Items)
	}
	found := false
	shows := func(n ast.Node) {
		walk(n, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.AggregateFuncExpr, *ast.SubqueryExpr:
				return false
			case *ast.ColumnName:
				if !slices.ContainsFunc(by, func(o orderName) bool { return sameName(o.name, x.Name.O) }) {
					found = true
				}
			}
			return true
		})
	}
	for _, f := range s.Fields.Fields {
		if f.WildCard != nil {
			found = true
		} else {
			shows(f.Expr)
		}
	}
	return found
}

// unorderedWrite records what an UPDATE or DELETE tells by the order in which
// it meets rows, where that decides what it does.
func (a *analysis) unorderedWrite(e *env, refs ast.ResultSetNode, where ast.ExprNode, by *ast.OrderByClause, limited bool, list []*ast.Assignment) {
	counts := false
	for _, s := range list {
		walk(s.Expr, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.VariableExpr:
				counts = counts || x.Value != nil
			case *ast.FuncCallExpr:
				counts = counts || counting[x.FnName.L]
			}
			return !counts
		})
	}
	if !limited && !counts {
		return
	}
	var own order
	if by != nil {
		own.lists = append(own.lists, orderNames(&ast.SelectStmt{}, by.Items))
	}
	j := joined{where: where, items: e.sc.items}
	j.from(refs)
	for _, it := range e.sc.items {
		if it.rel != nil && it.rel.Kind == catalog.RelTable && !onePrimary(it.rel, where) && !j.decided(it, own.lists, nil) {
			a.indexOrder(e, j, it, nil, true, own.lenient())
		}
	}
}

// innerLimit says that a query within the query takes some rows of others.
func innerLimit(s *ast.SelectStmt) bool {
	found := false
	walk(s, func(n ast.Node) bool {
		if l, ok := n.(*ast.Limit); ok && l != s.Limit {
			found = true
		}
		return !found
	})
	return found
}

// onePrimary says that a condition holds a table's primary key equal to one
// value, so that there is one row.
func onePrimary(r *catalog.Relation, where ast.ExprNode) bool {
	for _, ix := range r.Indexes {
		if ix.Name != "PRIMARY" {
			continue
		}
		for k := range ix.Columns {
			if i := indexColumn(r, ix, k); i < 0 || !pinned(where, r.Columns[i].Name) {
				return false
			}
		}
		return len(ix.Columns) > 0
	}
	return false
}

// orders says that ORDER BY orders by some column.
func (a *analysis) orders(by *ast.OrderByClause) bool {
	if by == nil {
		return false
	}
	found := false
	for _, it := range by.Items {
		switch bare(it.Expr).(type) {
		case *ast.ColumnNameExpr, *ast.PositionExpr:
			found = true
		}
		walk(it.Expr, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.AggregateFuncExpr, *ast.WindowFuncExpr:
				found = true
			case *ast.SubqueryExpr:
				return false
			}
			return true
		})
	}
	return found
}

func indexColumn(r *catalog.Relation, ix catalog.IndexDef, k int) int {
	if k >= len(ix.Columns) {
		return -1
	}
	return slices.IndexFunc(r.Columns, func(c catalog.Column) bool { return c.Num == ix.Columns[k] })
}

// usedNames are the columns that a query names, outside its subqueries, and
// the tables of which it takes all columns, "" for all tables. What only a
// nested query's result list names may be left out by the server.
func usedNames(s *ast.SelectStmt, nested bool) (names, stars map[string]bool) {
	names, stars = map[string]bool{}, map[string]bool{}
	walk(s, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.SubqueryExpr:
			return false
		case *ast.TableSource:
			if _, ok := x.Source.(*ast.TableName); !ok {
				_, ok = x.Source.(*ast.Join)
				return ok
			}
		case *ast.FieldList:
			return !nested || x != s.Fields
		case *ast.SelectField:
			if x.WildCard != nil {
				stars[x.WildCard.Table.O] = true
			}
		case *ast.ColumnName:
			names[strings.ToLower(x.Name.O)] = true
		}
		return true
	})
	return names, stars
}

// covers says that an index, with the primary key that InnoDB adds to it, has
// all of a table's columns that are used.
func covers(r *catalog.Relation, ix catalog.IndexDef, used map[string]bool) bool {
	has := map[int32]bool{}
	for _, n := range ix.Columns {
		has[n] = true
	}
	for _, p := range r.Indexes {
		if p.Name == "PRIMARY" {
			for _, n := range p.Columns {
				has[n] = true
			}
		}
	}
	for _, c := range r.Columns {
		if used[strings.ToLower(c.Name)] && !has[c.Num] {
			return false
		}
	}
	return true
}

// pinned says that a condition holds a column equal to constants of the
// client's: the order among those tells nothing.
func pinned(n ast.ExprNode, name string) bool {
	column := func(x ast.ExprNode) bool {
		c, ok := bare(x).(*ast.ColumnNameExpr)
		return ok && sameName(c.Name.Name.O, name)
	}
	constant := func(x ast.ExprNode) bool {
		switch bare(x).(type) {
		case *test_driver.ValueExpr, *test_driver.ParamMarkerExpr:
			return true
		}
		return false
	}
	switch x := n.(type) {
	case *ast.ParenthesesExpr:
		return pinned(x.Expr, name)
	case *ast.BinaryOperationExpr:
		switch x.Op {
		case opcode.LogicAnd:
			return pinned(x.L, name) || pinned(x.R, name)
		case opcode.LogicOr:
			return pinned(x.L, name) && pinned(x.R, name)
		case opcode.EQ, opcode.NullEQ:
			return column(x.L) && constant(x.R) || constant(x.L) && column(x.R)
		}
	case *ast.IsNullExpr:
		return !x.Not && column(x.Expr)
	case *ast.PatternInExpr:
		return !x.Not && x.Sel == nil && column(x.Expr) && !slices.ContainsFunc(x.List, func(v ast.ExprNode) bool { return !constant(v) })
	}
	return false
}
