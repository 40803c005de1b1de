package pgfacts

import (
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// totalCasts convert every value of one type to another: no range to leave,
// no syntax to violate. Conversions by output functions are not listed.
var totalCasts = map[string]bool{
	"int2>int4": true, "int2>int8": true, "int2>numeric": true, "int2>float4": true, "int2>float8": true,
	"int4>int8": true, "int4>numeric": true, "int4>float4": true, "int4>float8": true, "int4>bool": true, "int4>oid": true,
	"int8>numeric": true, "int8>float4": true, "int8>float8": true,
	"float4>float8": true, "bool>int4": true, "oid>int8": true,
	"timestamp>date": true, "jsonb>json": true,
	"text>name": true, "text>varchar": true, "text>bpchar": true, "varchar>name": true, "varchar>bpchar": true,
	"name>varchar": true, "name>bpchar": true, "char>bpchar": true,
}

// coerce converts a value to a type as PostgreSQL does on its own, to a
// common type, an argument's or an assigned column's.
func (a *analysis) coerce(p lineage.Place, v value, to string) value {
	switch {
	case v.typ == to || to == "" || isPseudo(to):
		return v
	case v.typ == typeUnknown:
		v.typ = to
		v.plain = v.plain && plainAs(v, a.base(to))
		return v
	case a.base(v.typ) == to, a.family(v.typ) == typeText && to == typeText, a.family(v.typ) == typeText && to == typeVarchar:
		v.typ = to // a relabelling
		return v
	}
	return a.convert(p, v, to, false)
}

// plainAs says whether an undecided literal, read as that type, stands for
// the value that its words spell: not 'today', nor a text that is cut.
func plainAs(v value, to string) bool {
	if v.text == nil || v.null {
		return to != typeName
	}
	switch to {
	case "pg_catalog.date", "pg_catalog.timestamp", "pg_catalog.timestamptz", "pg_catalog.time":
		return *v.text != "" && (*v.text)[0] >= '0' && (*v.text)[0] <= '9'
	case typeName:
		return len(*v.text) < identifierBytes
	}
	return true
}

// isPseudo says whether a declared argument type takes values as they are.
func isPseudo(typ string) bool {
	schema, name := splitType(typ)
	return schema == "pg_catalog" && (strings.HasPrefix(name, "any") || name == "record" || name == "_record" || name == "internal")
}

// typeCast is an explicit cast.
func (a *analysis) typeCast(e *env, c *pg_query.TypeCast) value {
	to, mod := a.typeName(c.TypeName)
	v := a.expr(e, c.Arg)
	p := e.place(a.at(c.Location))
	if p.At < 0 {
		p.At = a.at(c.TypeName.GetLocation())
	}
	return a.castTo(p, v, to, mod)
}

func (a *analysis) castTo(p lineage.Place, v value, to string, mod bool) value {
	if to == "" {
		return a.unproven(p, "a cast", "", v)
	}
	a.domainCode(p, to)
	text := v.text
	if !mod || v.null {
		if v.typ == typeUnknown || v.typ == to || a.base(v.typ) == to {
			out := a.coerce(p, v, to)
			if t := a.typeOf(to); t != nil && t.Kind == "d" {
				return a.toDomain(p, v, t)
			}
			return out
		}
		if a.family(v.typ) == typeText && (to == typeText || to == typeVarchar) {
			return a.coerce(p, v, to)
		}
	}
	if t := a.typeOf(to); t != nil && t.Kind == "d" {
		return a.toDomain(p, v, t)
	}
	plain := v.plain && !mod && a.family(v.typ) == a.family(to) && a.family(to) == typeInt4
	if v.typ == typeUnknown {
		v.typ = typeText
		if v.fresh {
			v.typ, v.plain, v.text = to, false, nil
			return v
		}
	}
	if v.typ != to {
		v = a.convert(p, v, to, true)
	}
	if mod {
		v = a.applyMod(p, v, to)
	}
	v.plain, v.text = plain, nil
	if plain {
		v.text = text
	}
	return v
}

// toDomain converts to a domain, whose checks may refuse a value.
func (a *analysis) toDomain(p lineage.Place, v value, t *catalog.Type) value {
	typ := qualified(t.Schema, t.Name)
	if v.typ == typ {
		return v
	}
	base := a.base(typ)
	if len(v.Flow) == 0 {
		v = a.coerce(p, v, base)
		v.typ, v.Noisy, v.text = typ, true, nil
		return v
	}
	return a.opaque(p, "the cast to "+typ, typ, v)
}

// domainCode records the code that the checks of a type's domains run.
func (a *analysis) domainCode(p lineage.Place, typ string) {
	t := a.typeOf(typ)
	if t == nil || a.domains[typ] {
		return
	}
	a.domains[typ] = true
	switch {
	case t.Element != "":
		a.domainCode(p, t.Element)
	case t.Kind == "c":
		if r := a.view.RelationByOID(t.Relation); r != nil {
			for _, c := range r.Columns {
				a.domainCode(p, c.Type)
			}
		}
	case t.Kind == "d":
		a.domainCode(p, t.Base)
		switch {
		case !t.Checks:
		case t.Check == "":
			a.ledger.Code(p, typ, "the checks of the domain "+typ)
		default:
			a.within(nil, func() {
				col := column{name: "value", value: value{typ: a.base(typ)}}
				e := &env{sc: &scope{items: []item{{entry: &entry{columns: []column{col}}, bare: true}}}, level: &level{}, pred: true}
				for _, x := range a.parseExprs(t.Check) {
					a.expr(e, x)
				}
			})
		}
	}
}

// applyMod cuts a value to its type's modifier, as an explicit cast does.
func (a *analysis) applyMod(p lineage.Place, v value, to string) value {
	if to == typeVarchar {
		return a.computed(v.Size(), to, v)
	}
	return a.unproven(p, "the cast to "+printable(to), to, v)
}

// convert applies a cast between two known types.
func (a *analysis) convert(p lineage.Place, v value, to string, explicit bool) value {
	from := a.base(v.typ)
	what := "the cast to " + printable(to)
	c := a.castEntry(v.typ, to)
	if c := a.userCast(v, to); c != nil {
		return a.foreignCast(p, v, c, what)
	}
	if t := a.typeOf(to); t != nil && t.Kind == "d" {
		return a.toDomain(p, v, t)
	}
	if len(v.Flow) == 0 && v.typ == "" {
		return a.unproven(p, what, to, v)
	}
	if a.castIsTotal(from, to, c) {
		size := v.Size()
		if fixedSize(to) {
			size = 1
		}
		return a.computed(lineage.Scale(size, outputGrowth(from)), to, v)
	}
	return a.unproven(p, what, to, v)
}

// castIsTotal: c is the catalog's cast, nil where conversion goes through
// the types' output and input functions.
func (a *analysis) castIsTotal(from, to string, c *catalog.Cast) bool {
	_, f := splitType(from)
	schema, t := splitType(to)
	if strings.HasPrefix(from, "pg_catalog.") && schema == "pg_catalog" && totalCasts[f+">"+t] {
		return true
	}
	if to == typeText || to == typeVarchar || to == typeBpchar {
		return a.writable(from)
	}
	if c != nil && c.Method == "b" && c.Function == "" {
		return to == "public.citext" || a.typeOf(to) != nil && a.typeOf(to).Extension == "citext"
	}
	if fe, te := a.element(from), a.element(to); fe != "" && te != "" {
		return a.family(fe) == typeText && (te == typeText || te == typeVarchar)
	}
	return false
}

// userCast is the cast that is not PostgreSQL's own and that converting a
// value runs: of its type, of its elements or of its fields.
func (a *analysis) userCast(v value, to string) *catalog.Cast {
	if c := a.castEntry(v.typ, to); c != nil && c.Function != "" && !strings.HasPrefix(c.Function, "pg_catalog.") {
		return c
	}
	if fe, te := a.element(v.typ), a.element(to); fe != "" && te != "" && fe != te {
		return a.userCast(value{typ: fe}, te)
	}
	if r := a.rowType(to); r != nil && v.typ != to {
		for i, c := range r.Columns {
			if i < len(v.row) && v.row[i].typ != c.Type {
				if u := a.userCast(v.row[i].value, c.Type); u != nil {
					return u
				}
			}
		}
	}
	return nil
}

func (a *analysis) foreignCast(p lineage.Place, v value, c *catalog.Cast, what string) value {
	schema, name := splitType(c.Function)
	fns := a.view.FunctionsNamed(schema, name)
	a.called(c.Function)
	if len(fns) > 0 && !slices.ContainsFunc(fns, func(f *catalog.Function) bool { return !pureFunction(f) }) {
		return a.unproven(p, what, c.To, v)
	}
	a.meet(v)
	return value{Value: a.ledger.Code(p, c.Function, what, v.Value), typ: c.To, consts: v.consts}
}

func (a *analysis) castEntry(from, to string) *catalog.Cast {
	for i := range a.view.Casts {
		c := &a.view.Casts[i]
		if c.To == to && (c.From == from || c.From == a.base(from)) {
			return c
		}
	}
	return nil
}

// unproven is opaque where the value has sources, and merely may fail where
// it has none.
func (a *analysis) unproven(p lineage.Place, what, typ string, args ...value) value {
	out := value{typ: typ, consts: constants(args)}
	sources := slices.ContainsFunc(args, func(v value) bool { return len(v.Flow) > 0 })
	if sources {
		return a.opaque(p, what, typ, args...)
	}
	out.Noisy = true
	out.Pieces = usualSize(typ, args)
	return out
}

// usualSize is the size of what an operation makes that is not an amplifier.
func usualSize(typ string, args []value) int {
	if fixedSize(typ) || typ == typeNumeric {
		return 1
	}
	return lineage.Scale(lineage.AddSizes(plains(args)...), 16)
}

// fixedSize says that a type's values are short whatever they are.
func fixedSize(typ string) bool { return fixedTypes[typ] }

var fixedTypes = pgCatalog("bool", "int2", "int4", "int8", "oid", "float4", "float8", "date", "time", "timetz", "timestamp",
	"timestamptz", "interval", "uuid", "name", "char", "money", "regclass", "regproc", "regprocedure", "regtype", "regrole",
	"regnamespace", "regoper", "regoperator", "xid", "xid8", "cid", "tid", "pg_lsn", "inet", "cidr", "macaddr", "macaddr8", "void")

// outputGrowth is how much longer a value can get when it is written out.
func outputGrowth(from string) int {
	switch from {
	case "pg_catalog.bytea":
		return 5
	case "pg_catalog.jsonb", typeText, typeVarchar, typeBpchar, typeName:
		return 1
	}
	if fixedSize(from) {
		return 1
	}
	return 8
}
