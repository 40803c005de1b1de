package myfacts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

func lowerSet(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

// call analyses a call of a function that is not an aggregate.
func (a *analysis) call(e *env, f *ast.FuncCallExpr, at int) value {
	name := f.FnName.L
	p := e.place(a.at(at))
	if stored := a.stored(f.Schema.O, name); stored != "" {
		args := a.exprs(e, f.Args)
		a.called(stored)
		return value{Value: a.ledger.Code(p, stored, "the function "+stored, plains(args)...), consts: constants(args)}
	}
	if c, ok := timeLiterals[name]; ok {
		return value{t: typ{class: c}}
	}
	if !natives[name] {
		a.exprs(e, f.Args)
		a.fail(&facts.Problem{Code: "1305", At: a.at(at), Undefined: true, Message: fmt.Sprintf("FUNCTION %s does not exist", f.FnName.O)})
		return value{}
	}
	a.called(name)
	switch name {
	case "load_file":
		return value{Value: a.ledger.Code(p, "load_file", "LOAD_FILE", plains(a.exprs(e, f.Args))...)}
	case "if", "ifnull", "coalesce", "nvl", "nullif", "isnull", "interval", "field", "strcmp", "find_in_set", "instr", "locate", "position", "nvl2":
		return a.choice(e, f, p)
	case "nextval", "lastval", "setval":
		return a.sequenceCall(e, f)
	case "values":
		if len(f.Args) == 1 && e.values != nil {
			if c, ok := f.Args[0].(*ast.ColumnNameExpr); ok {
				if v, ok := e.values(c.Name.Name.O); ok {
					return v
				}
			}
		}
	case "database", "schema":
		return value{t: typ{class: clsString}}
	}
	args := a.exprs(e, f.Args)
	if v, ok := a.total(p, name, args); ok {
		return v
	}
	out := a.opaqueUnless(p, "the function "+strings.ToUpper(name), typ{}, args...)
	out.Noisy = out.Noisy && !quiet[name]
	return out
}

// timeLiterals are how the parser gives DATE '…', TIME '…' and TIMESTAMP '…', whose text the server checks before it
// reads any row.
var timeLiterals = map[string]class{ast.DateLiteral: clsDate, ast.TimeLiteral: clsTime, ast.TimestampLiteral: clsDatetime}

// quiet are functions that can neither fail nor do anything where nothing
// hidden goes into them.
var quiet = lowerSet(`now curdate curtime current_date current_time current_timestamp localtime localtimestamp utc_date utc_time utc_timestamp
	user current_user session_user system_user version connection_id last_insert_id found_rows row_count rand uuid pi current_role`)

// sequenceCall is NEXTVAL, LASTVAL and SETVAL of a sequence, and NEXT VALUE FOR.
func (a *analysis) sequenceCall(e *env, f *ast.FuncCallExpr) value {
	if len(f.Args) > 0 {
		if t, ok := f.Args[0].(*ast.TableNameExpr); ok {
			if r := a.relation(t.Name); r != nil {
				a.names(r)
				if r.Kind != catalog.RelSequence {
					a.fail(&facts.Problem{Code: "4089", At: -1, Message: fmt.Sprintf("'%s' is not a SEQUENCE", a.fullName(t.Name))})
				}
			}
			args := a.exprs(e, f.Args[1:])
			out := a.opaqueUnless(e.place(-1), "the function "+strings.ToUpper(f.FnName.L), typ{class: clsInt}, args...)
			return out
		}
	}
	a.fail(notUnderstood("this use of a sequence", -1))
	return value{}
}

// stored names the stored or loadable function that a call means, "" where it
// means a native one.
func (a *analysis) stored(schema, name string) string {
	if a.routines == nil {
		a.routines = map[string][]string{}
		for i := range a.view.Functions {
			f := &a.view.Functions[i]
			if f.Kind == "f" || f.Kind == "a" {
				k := strings.ToLower(f.Name)
				a.routines[k] = append(a.routines[k], f.Schema)
			}
		}
	}
	if schema != "" {
		return schema + "." + name
	}
	for _, s := range a.routines[name] {
		if s == "mysql" || a.sameTable(s, a.database()) {
			return s + "." + name
		}
	}
	return ""
}

// choice analyses functions that compare or choose.
func (a *analysis) choice(e *env, f *ast.FuncCallExpr, p lineage.Place) value {
	d := e.deciding("")
	name := f.FnName.L
	pd := d.place(p.At)
	first := func() ast.ExprNode {
		if len(f.Args) == 0 {
			return nil
		}
		return f.Args[0]
	}
	switch name {
	case "if":
		a.condition(pd, "IF", a.expr(d, first()))
		return a.unnamed(a.either(p, "IF", a.exprs(e, f.Args[min(1, len(f.Args)):])...))
	case "isnull":
		return value{t: boolType, Value: a.ledger.Known(pd, "IS NULL", a.expr(d, first()).Value, true)}
	case "nullif":
		args := a.exprs(e, f.Args)
		if len(args) != 2 {
			return a.opaque(p, "NULLIF", typ{}, args...)
		}
		a.equal(pd, "NULLIF", args[0], args[1])
		return a.computed(args[0].Size(), args[0].t, args[0])
	case "ifnull", "coalesce", "nvl":
		args := a.exprs(e, f.Args)
		// Whether the later ones are evaluated depends on the earlier ones.
		if noisy(args[min(1, len(args)):]) {
			for _, v := range args {
				a.known(pd, "IS NULL", v)
			}
		}
		v := a.unnamed(a.either(p, strings.ToUpper(name), args...))
		v.Flow = v.Flow.Computed()
		return v
	case "nvl2":
		a.known(pd, "IS NULL", a.expr(d, first()))
		return a.unnamed(a.either(p, "NVL2", a.exprs(e, f.Args[min(1, len(f.Args)):])...))
	}
	args := a.exprs(d, f.Args)
	return a.compareBy(pd, "the function "+strings.ToUpper(name), args...)
}

func (a *analysis) unnamed(v value) value {
	v.text, v.param, v.plain, v.null = nil, 0, false, false
	return v
}

// constInt is the value of an argument that is an integer literal.
func (a *analysis) constInt(v value) (int, bool) {
	if !v.plain || v.text == nil || v.t.class != clsInt {
		return 0, false
	}
	n, err := strconv.Atoi(a.textOf(v))
	return n, err == nil
}

// texty says that a value can become a string without fail or warning.
func texty(v value) bool {
	return v.null || v.t.class != clsUnknown && v.t.class != clsOther
}

// total is the result of a native function known total over its arguments:
// it can neither fail nor warn, whatever the values.
func (a *analysis) total(p lineage.Place, name string, args []value) (value, bool) {
	if !hidden(args) {
		return value{}, false
	}
	str := typ{class: clsString}
	if slices.ContainsFunc(args, func(v value) bool { return v.t.class == clsBinary }) {
		str.class = clsBinary
	}
	counts := func(from int) bool { // the rest are integer literals
		for _, v := range args[min(from, len(args)):] {
			if _, ok := a.constInt(v); !ok {
				return false
			}
		}
		return true
	}
	size := lineage.AddSizes(plains(args)...)
	switch name {
	case "any_value":
		if len(args) != 1 || args[0].t.class == clsUnknown {
			return value{}, false
		}
		return a.computed(size, args[0].t, args...), true
	case "concat", "concat_ws":
		if slices.ContainsFunc(args, func(v value) bool { return !texty(v) }) {
			return value{}, false
		}
		return a.sized(p, strings.ToUpper(name), size, str, args...), true
	case "upper", "ucase", "lower", "lcase", "reverse", "trim", "ltrim", "rtrim":
		if len(args) != 1 || !texty(args[0]) {
			return value{}, false
		}
		return a.sized(p, strings.ToUpper(name), lineage.Scale(size, 3), str, args...), true
	case "left", "right", "substring", "substr", "mid":
		if len(args) < 2 || !texty(args[0]) || !counts(1) {
			return value{}, false
		}
		return a.computed(args[0].Size(), str, args...), true
	case "substring_index":
		if len(args) != 3 || !texty(args[0]) || !args[1].plain || !counts(2) {
			return value{}, false
		}
		return a.computed(args[0].Size(), str, args...), true
	case "length", "octet_length", "char_length", "character_length", "bit_length", "crc32", "ascii", "ord":
		if len(args) != 1 || !texty(args[0]) {
			return value{}, false
		}
		return a.computed(1, typ{class: clsInt}, args...), true
	case "md5", "sha1", "sha":
		if len(args) != 1 || !texty(args[0]) {
			return value{}, false
		}
		return a.computed(1, typ{class: clsString}, args...), true
	case "sha2":
		if n, ok := a.constInt(args[len(args)-1]); len(args) != 2 || !texty(args[0]) || !ok || !slices.Contains([]int{0, 224, 256, 384, 512}, n) {
			return value{}, false
		}
		return a.computed(1, typ{class: clsString}, args...), true
	case "hex", "quote":
		if len(args) != 1 || args[0].t.class != clsString && args[0].t.class != clsBinary {
			return value{}, false
		}
		return a.sized(p, strings.ToUpper(name), lineage.Scale(size, 8), typ{class: clsString}, args...), true
	case "json_object", "json_array":
		for i, v := range args {
			key := name == "json_object" && i%2 == 0
			if key && !v.plain || v.t.class != clsString && v.t.class != clsInt && v.t.class != clsDecimal && !v.null {
				return value{}, false
			}
		}
		return a.sized(p, strings.ToUpper(name), lineage.Scale(size, 6), typ{class: clsString}, args...), true
	}
	return value{}, false
}

// cast is CAST, CONVERT and BINARY.
func (a *analysis) cast(e *env, x *ast.FuncCastExpr, at int) value {
	v := a.expr(e, x.Expr)
	p := e.place(a.at(at))
	to := typ{}
	switch t := x.Tp; {
	case x.FunctionType == ast.CastBinaryOperator:
		to.class = clsBinary
		out := v
		out.t, out.loose, out.text, out.param = to, true, nil, 0
		out.Flow = v.Flow.Computed()
		return out
	case t == nil:
	case t.GetType() == mysql.TypeVarString || t.GetType() == mysql.TypeString || t.GetType() == mysql.TypeVarchar:
		to.class = clsString
		if t.GetCharset() == "binary" {
			to.class = clsBinary
		}
		utf8 := t.GetCharset() == "" || strings.HasPrefix(t.GetCharset(), "utf8mb4") || to.class == clsBinary
		if hidden([]value{v}) && t.GetFlen() <= 0 && utf8 && texty(v) {
			out := a.computed(v.Size(), to, v)
			out.loose = true
			return out
		}
	case t.GetType() == mysql.TypeLonglong:
		to.class = clsInt
	case t.GetType() == mysql.TypeNewDecimal:
		to.class = clsDecimal
	case t.GetType() == mysql.TypeDate || t.GetType() == mysql.TypeNewDate:
		to.class = clsDate
	case t.GetType() == mysql.TypeDatetime:
		to.class = clsDatetime
	}
	return a.opaqueUnless(p, "a cast", to, v)
}

// aggregate analyses a call of an aggregate.
func (a *analysis) aggregate(e *env, x *ast.AggregateFuncExpr, at int) value {
	name := strings.ToLower(x.F)
	a.called(name)
	d := e.deciding("")
	p := e.place(a.at(at))
	if x.Order != nil {
		for _, by := range x.Order.Items {
			a.sorted(d.place(a.at(at)), a.expr(d, by.Expr))
		}
	}
	return a.aggregated(d, p, name, x.Distinct, a.exprs(e, x.Args))
}

func (a *analysis) aggregated(d *env, p lineage.Place, name string, distinct bool, args []value) value {
	pd := d.place(p.At)
	if distinct {
		for _, v := range args {
			a.known(pd, strings.ToUpper(name)+"(DISTINCT)", v)
		}
	}
	switch name {
	case "count":
		for _, v := range args {
			if len(v.Flow) > 0 && !distinct {
				a.ledger.Known(pd, "COUNT()", v.Value, true)
			}
		}
		return value{t: typ{class: clsInt}, Value: lineage.Value{Noisy: noisy(args)}}
	case "min", "max", "any_value":
		if len(args) == 1 && args[0].t.class != clsUnknown {
			return a.computed(args[0].Size(), args[0].t, args...)
		}
	case "sum", "avg":
		if len(args) == 1 && (args[0].t.class == clsInt || args[0].t.class == clsDecimal && args[0].t.width() > 0 && args[0].t.width() <= 40) {
			return a.computed(1, typ{class: clsDecimal}, args...)
		}
	}
	return a.opaqueUnless(p, "the aggregate "+strings.ToUpper(name), typ{}, args...)
}

// windowCall analyses a window function.
func (a *analysis) windowCall(e *env, x *ast.WindowFuncExpr, at int) value {
	name := strings.ToLower(x.Name)
	a.called(name)
	a.window(e, &x.Spec)
	p := e.place(a.at(at))
	args := a.exprs(e, x.Args)
	switch name {
	case "row_number", "rank", "dense_rank", "percent_rank", "cume_dist":
		return value{t: typ{class: clsInt}}
	case "first_value", "last_value", "lag", "lead", "nth_value":
		if len(args) > 0 && args[0].t.class != clsUnknown {
			for _, v := range args[1:] {
				if len(v.Flow) > 0 || v.t.class != clsInt {
					return a.opaqueUnless(p, "the function "+strings.ToUpper(name), typ{}, args...)
				}
			}
			return a.computed(args[0].Size(), args[0].t, args[0])
		}
	}
	return a.aggregated(e.deciding(""), p, name, x.Distinct, args)
}

// window analyses a window's definition: partitions are equality, the order
// is a comparison.
func (a *analysis) window(e *env, w *ast.WindowSpec) {
	d := e.deciding("window")
	p := d.place(-1)
	if w.PartitionBy != nil {
		for _, by := range w.PartitionBy.Items {
			v := a.expr(d, by.Expr)
			a.known(p, "PARTITION BY", v)
			if len(v.Flow) > 0 {
				a.compared(p, "PARTITION BY, which sorts", v)
			}
		}
	}
	if w.OrderBy != nil {
		for _, by := range w.OrderBy.Items {
			v := a.expr(d, by.Expr)
			a.sorted(p, v)
			if w.Frame != nil && w.Frame.Type == ast.Ranges && len(v.Flow) > 0 {
				a.opaque(p, "a window frame", typ{}, v)
			}
		}
	}
	if w.Frame != nil {
		for _, b := range []ast.FrameBound{w.Frame.Extent.Start, w.Frame.Extent.End} {
			if b.Expr != nil {
				a.condition(p, "a window frame", a.expr(d, b.Expr))
			}
		}
	}
}
