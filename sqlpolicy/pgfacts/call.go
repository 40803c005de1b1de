package pgfacts

import (
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// callee is a function that a call or an operator may run.
type callee struct {
	schema, name string
	args         []string // declared, as this call fills them
	returns      string
	operator     bool
	fn           *catalog.Function // nil where only the name is known
}

func (c callee) String() string { return qualified(c.schema, c.name) }

// funcCall analyses a call of a function, aggregate or window function.
func (a *analysis) funcCall(e *env, f *pg_query.FuncCall) value {
	schema, name := splitName(f.Funcname)
	at := a.at(f.Location)
	args, named := a.arguments(e, f)
	if f.AggWithinGroup {
		return a.orderedSet(e, f, schema, name, args)
	}
	if !f.AggStar && len(args) == 1 && !named && f.Over == nil && f.AggOrder == nil && schema == "" {
		// column(row) is row.column, where the row has one.
		if v, ok := a.fieldNamed(args[0], name); ok {
			return v
		}
	}
	callees := a.resolveCall(schema, name, args, named, f.FuncVariadic)
	if len(callees) == 0 {
		if v, ok := a.castLikeCall(e, schema, name, args, at); ok {
			return v
		}
		a.undefinedFunction(schema, name, args, at, len(f.AggOrder) > 1)
		return value{}
	}
	for _, c := range callees {
		a.called(c.String())
	}
	a.noteSetting(f, callees, args, at)
	if f.AggFilter != nil {
		d := e.deciding()
		a.condition(d.place(at), "FILTER", a.expr(d, f.AggFilter))
	}
	if f.Over != nil {
		a.window(e.deciding(), f.Over)
	}
	if aggregateCall(callees) || f.Over != nil {
		return a.aggregate(e, f, callees, args, at)
	}
	if f.AggOrder != nil || f.AggDistinct || f.AggStar {
		// Perhaps an aggregate, perhaps not: whatever it is, not understood.
		a.fail(notUnderstood("this call of "+name, at))
	}
	v := a.callAll(e.place(at), "the function "+name+"()", callees, args)
	v.from = callees
	v.set = slices.ContainsFunc(callees, func(c callee) bool { return c.fn != nil && c.fn.ReturnsSet })
	for _, x := range args {
		v.set = v.set || x.set
	}
	return v
}

// castLikeCall is type(value), which means a cast where no function has the
// type's name.
func (a *analysis) castLikeCall(e *env, schema, name string, args []value, at int) (value, bool) {
	t := a.view.Type(schema, name)
	if t == nil || len(args) != 1 {
		return value{}, false
	}
	return a.castTo(e.place(at), args[0], qualified(t.Schema, t.Name), false), true
}

// arguments analyses a call's arguments; named says that some are given by
// name, so that their positions are not known.
func (a *analysis) arguments(e *env, f *pg_query.FuncCall) (args []value, named bool) {
	for _, n := range f.Args {
		named = named || n.GetNamedArgExpr() != nil
		args = append(args, a.expr(e, n))
	}
	return args, named
}

func aggregateCall(callees []callee) bool {
	return slices.ContainsFunc(callees, func(c callee) bool { return c.fn != nil && (c.fn.Kind == "a" || c.fn.Kind == "w") })
}

// resolveCall finds what a call may run.
func (a *analysis) resolveCall(schema, name string, args []value, named, variadic bool) []callee {
	var cands []*candidate
	for _, f := range a.view.FunctionsNamed(schema, name) {
		if f.Kind == "p" {
			continue
		}
		if types, ok := fill(a, f, len(args), named, variadic); ok {
			cands = append(cands, &candidate{fn: f, schema: f.Schema, args: types})
		}
	}
	types := make([]string, len(args))
	for i, v := range args {
		types[i] = v.typ
		if named {
			types[i] = ""
		}
	}
	var out []callee
	for _, c := range a.pick(cands, types, false) {
		out = append(out, callee{schema: c.fn.Schema, name: c.fn.Name, args: c.args, returns: c.fn.Returns, fn: c.fn})
	}
	return out
}

// fill gives the types of n arguments of a call of f, if it can take n.
func fill(a *analysis, f *catalog.Function, n int, named, variadic bool) ([]string, bool) {
	if named {
		if n > len(f.Args) {
			return nil, false
		}
		return make([]string, n), true // any order
	}
	if n >= len(f.Args)-f.Defaults && n <= len(f.Args) && (!f.Variadic || variadic || n < len(f.Args)) {
		return f.Args[:n], true
	}
	if !f.Variadic || variadic || n < len(f.Args)-1 || len(f.Args) == 0 {
		return nil, false
	}
	last := f.Args[len(f.Args)-1]
	if e := a.element(last); e != "" {
		last = e
	}
	out := slices.Clone(f.Args[:len(f.Args)-1])
	for len(out) < n {
		out = append(out, last)
	}
	return out, true
}

// callAll is the value of a call that may be any of several.
func (a *analysis) callAll(p lineage.Place, what string, callees []callee, args []value) value {
	out := value{}
	for i, c := range callees {
		v := a.call(p, what, c, args)
		if i == 0 {
			out = v
			continue
		}
		if out.typ != v.typ {
			out.typ = ""
		}
		out.Value = lineage.Either(out.Value, v.Value)
		out.row, out.consts = nil, constants([]value{out, v})
	}
	if len(callees) > 1 {
		out.Flow = out.Flow.Computed()
		out.Noisy = true
	}
	return out
}

// call is the value of a call of one function.
func (a *analysis) call(p lineage.Place, what string, c callee, args []value) value {
	returns := a.returnType(c, args)
	if !a.safe(c) {
		a.meet(args...)
		a.called(c.String())
		v := value{Value: a.ledger.Code(p, c.String(), what, plains(args)...), typ: returns, consts: constants(args)}
		v.Pieces = usualSize(returns, args)
		return v
	}
	if c.schema != "pg_catalog" {
		return a.unproven(p, what, returns, args...)
	}
	conv := make([]value, len(args))
	for i, v := range args {
		conv[i] = v
		if i < len(c.args) && c.args[i] != "" {
			conv[i] = a.coerce(p, v, c.args[i])
		}
	}
	if v, ok := a.totalCall(p, what, c, returns, conv); ok {
		return v
	}
	if strings.Contains(c.name, "json") {
		a.jsonCasts(p, what, conv)
	}
	v := a.unproven(p, what, returns, conv...)
	if amplifies(c, conv) {
		v.Pieces = lineage.Endless
		a.boundless = true
	}
	if sizeFunctions[c.name] || strings.HasPrefix(c.name, "pg_stat_get_") {
		v.Flow = lineage.Merge(v.Flow, a.storageSize().Flow)
	}
	return v
}

// jsonCasts records user code that converts values to JSON: PostgreSQL looks
// for a cast from each value's type.
func (a *analysis) jsonCasts(p lineage.Place, what string, args []value) {
	if a.allJSON(args, false) {
		return
	}
	for i := range a.view.Casts {
		c := &a.view.Casts[i]
		if (c.To == "pg_catalog.json" || c.To == "pg_catalog.jsonb") && c.Function != "" && !strings.HasPrefix(c.Function, "pg_catalog.") {
			a.foreignCast(p, value{typ: c.From, Value: lineage.Total(1, plains(args)...)}, c, what)
		}
	}
}

// returnType resolves polymorphic results from the arguments.
func (a *analysis) returnType(c callee, args []value) string {
	schema, name := splitType(c.returns)
	if schema != "pg_catalog" || !strings.HasPrefix(name, "any") {
		return c.returns
	}
	for i, t := range c.args {
		if i >= len(args) || !isPseudo(t) {
			continue
		}
		_, arg := splitType(t)
		typ := args[i].typ
		if typ == typeUnknown {
			typ = typeText
		}
		argArray, resultArray := strings.HasSuffix(arg, "array") && !strings.HasSuffix(arg, "nonarray"), strings.HasSuffix(name, "array") && !strings.HasSuffix(name, "nonarray")
		switch {
		case strings.HasSuffix(arg, "range"):
			continue
		case argArray == resultArray:
			return typ
		case argArray:
			return a.element(typ)
		default:
			return a.arrayOf(typ)
		}
	}
	return ""
}

// callOnRow is alias.name where name is no column but a function of the row.
func (a *analysis) callOnRow(e *env, row value, name string, at int) (value, bool) {
	callees := a.resolveCall("", name, []value{row}, false, false)
	if len(callees) == 0 {
		return value{}, false
	}
	for _, c := range callees {
		a.called(c.String())
	}
	a.read(row)
	return a.callAll(e.place(at), "the function "+name+"()", callees, []value{row}), true
}

// noteSetting remembers calls that change settings.
func (a *analysis) noteSetting(f *pg_query.FuncCall, callees []callee, args []value, at int) {
	if !slices.ContainsFunc(callees, func(c callee) bool { return c.schema == "pg_catalog" && c.name == "set_config" }) {
		return
	}
	for _, v := range args {
		a.hoard(lineage.Place{At: at}, v)
	}
	s := settingCall{at: at, local: true}
	if len(f.Args) == 3 {
		s.name = f.Args[0].GetAConst().GetSval().GetSval()
		if c := f.Args[1].GetAConst(); c != nil && c.GetSval() != nil {
			text := c.GetSval().Sval
			s.value = &text
		}
		if c := f.Args[2].GetAConst(); c != nil && c.GetBoolval() != nil {
			s.local = c.GetBoolval().Boolval
		}
	}
	a.settings = append(a.settings, s)
}

// storageSize is what the size of a table tells: how long its values are.
func (a *analysis) storageSize() value {
	r := a.view.RelationIn("pg_catalog", "pg_class")
	if r == nil {
		return value{}
	}
	i := columnNamed(r, "relpages")
	if i < 0 {
		return value{}
	}
	v := value{typ: typeInt4}
	v.Flow = lineage.Flow{{ColumnRef: facts.ColumnRef{Table: a.table(r), Column: i}}}
	return v
}
