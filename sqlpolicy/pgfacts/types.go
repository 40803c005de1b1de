package pgfacts

import (
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Types are named as the catalog spells them, qualified.
const (
	typeUnknown = "pg_catalog.unknown"
	typeText    = "pg_catalog.text"
	typeVarchar = "pg_catalog.varchar"
	typeBool    = "pg_catalog.bool"
	typeInt4    = "pg_catalog.int4"
	typeInt8    = "pg_catalog.int8"
	typeNumeric = "pg_catalog.numeric"
	typeFloat8  = "pg_catalog.float8"
	typeRecord  = "pg_catalog.record"
	typeName    = "pg_catalog.name"
	typeBpchar  = "pg_catalog.bpchar"
)

// equalityTypes are those whose built-in equality holds of two values exactly
// when they are written alike. char(n) ignores trailing blanks, numeric and
// interval have several spellings of one value, float has two zeros.
var equalityTypes = []string{
	"text", "varchar", "name", "uuid", "int2", "int4", "int8", "bool", "date", "timestamp", "timestamptz",
	"bytea", "oid", "time", "char",
}

func pgCatalog(short ...string) map[string]bool {
	out := make(map[string]bool, len(short))
	for _, s := range short {
		out["pg_catalog."+s] = true
	}
	return out
}

var equalitySafe = pgCatalog(equalityTypes...)

func (a *analysis) equalitySafe(typ string) bool { return equalitySafe[a.base(typ)] }

func qualified(schema, name string) string { return schema + "." + name }

func splitType(typ string) (schema, name string) {
	schema, name, _ = strings.Cut(typ, ".")
	return schema, name
}

// typeOf is the catalog's entry, or nil.
func (a *analysis) typeOf(typ string) *catalog.Type {
	if typ == "" {
		return nil
	}
	schema, name := splitType(typ)
	return a.view.TypeIn(schema, name)
}

// base looks through domains.
func (a *analysis) base(typ string) string {
	for range 32 {
		t := a.typeOf(typ)
		if t == nil || t.Kind != "d" || t.Base == "" {
			return typ
		}
		typ = t.Base
	}
	return ""
}

// element is the type of an array's elements, "" where typ is not an array.
func (a *analysis) element(typ string) string {
	if t := a.typeOf(a.base(typ)); t != nil {
		return t.Element
	}
	return ""
}

// arrayOf is the array type over an element type, "" where there is none.
func (a *analysis) arrayOf(typ string) string {
	schema, name := splitType(typ)
	if t := a.view.TypeIn(schema, "_"+name); t != nil && t.Element == typ {
		return qualified(schema, "_"+name)
	}
	for i := range a.view.Types {
		if t := &a.view.Types[i]; t.Element == typ && t.Kind == "b" {
			return qualified(t.Schema, t.Name)
		}
	}
	return ""
}

// typeName resolves a type as written; mod says that it has a modifier, as
// varchar(3) does. It fails the analysis where there is no such type.
func (a *analysis) typeName(t *pg_query.TypeName) (typ string, mod bool) {
	if t == nil {
		return "", false
	}
	mod = len(t.Typmods) > 0
	schema, name := splitName(t.Names)
	if t.PctType {
		return "", true
	}
	found := a.view.Type(schema, name)
	if found == nil {
		a.fail(&facts.Problem{
			Code: "42704", Message: "type \"" + joinName(schema, name) + "\" does not exist",
			At: a.at(t.Location), Undefined: true,
		})
		return "", mod
	}
	typ = qualified(found.Schema, found.Name)
	if len(t.ArrayBounds) > 0 {
		typ = a.arrayOf(typ)
	}
	return typ, mod
}

func joinName(schema, name string) string {
	if schema == "" {
		return name
	}
	return schema + "." + name
}

// family groups types between which values pass unchanged and compare by the
// same equality: text and varchar, and the integers.
func (a *analysis) family(typ string) string {
	switch b := a.base(typ); b {
	case typeVarchar:
		return typeText
	case "pg_catalog.int2", typeInt8:
		return typeInt4
	default:
		return b
	}
}

// numericOrder is how number types convert to each other implicitly.
var numericOrder = []string{"pg_catalog.int2", typeInt4, typeInt8, typeNumeric, "pg_catalog.float4", typeFloat8}

// commonType is the type that UNION, CASE, VALUES and the like resolve to,
// typeUnknown where all are undecided, "" where analysis cannot tell.
func (a *analysis) commonType(values []value) string {
	out := typeUnknown
	for _, v := range values {
		switch {
		case v.typ == typeUnknown || v.typ == out:
		case v.typ == "":
			return ""
		case out == typeUnknown:
			out = v.typ
		default:
			if out = a.wider(out, v.typ); out == "" {
				return ""
			}
		}
	}
	return out
}

func (a *analysis) wider(x, y string) string {
	x, y = a.base(x), a.base(y)
	if x == y {
		return x
	}
	if a.family(x) == typeText && a.family(y) == typeText {
		return typeText
	}
	i, j := slices.Index(numericOrder, x), slices.Index(numericOrder, y)
	if i >= 0 && j >= 0 {
		return numericOrder[max(i, j)]
	}
	return ""
}

// kinds are what masks understand, for the types that come with PostgreSQL.
var kinds = map[string]facts.Kind{
	"text": facts.KindText, "varchar": facts.KindText, "bpchar": facts.KindText, "name": facts.KindText, "char": facts.KindText,
	"int2": facts.KindInt, "int4": facts.KindInt, "int8": facts.KindInt,
	"float4": facts.KindFloat, "float8": facts.KindFloat, "numeric": facts.KindNumeric, "bool": facts.KindBool,
	"date": facts.KindDate, "time": facts.KindTime, "timetz": facts.KindTime,
	"timestamp": facts.KindTimestamp, "timestamptz": facts.KindTimestamp,
	"uuid": facts.KindUUID, "json": facts.KindJSON, "jsonb": facts.KindJSON, "bytea": facts.KindBytes,
}

// factsType describes a type to masks.
func (a *analysis) factsType(typ string) facts.Type {
	if typ == "" {
		return facts.Type{}
	}
	if typ == typeUnknown {
		typ = typeText // what an undecided result column becomes
	}
	out := facts.Type{Name: typ, Kind: facts.KindOther}
	b := a.base(typ)
	schema, name := splitType(b)
	if k, ok := kinds[name]; ok && schema == "pg_catalog" {
		out.Kind = k
		return out
	}
	t := a.typeOf(b)
	switch {
	case t == nil:
	case t.Element != "":
		out.Kind = facts.KindArray
	case t.Extension == "vector" && slices.Contains([]string{"vector", "halfvec", "sparsevec"}, t.Name):
		out.Kind = facts.KindVector
	case t.Extension == "citext" && t.Name == "citext":
		out.Kind = facts.KindText
	}
	return out
}

// writable says that a type's output function is total: built in, or of an
// extension that is known.
func (a *analysis) writable(typ string) bool { return a.writableDepth(typ, 8) }

func (a *analysis) writableDepth(typ string, depth int) bool {
	b := a.base(typ)
	t := a.typeOf(b)
	if t == nil || depth == 0 {
		return false
	}
	if t.Element != "" {
		return a.writableDepth(t.Element, depth-1)
	}
	switch t.Kind {
	case "e":
		return true
	case "c":
		r := a.view.RelationByOID(t.Relation)
		if r == nil {
			return false
		}
		return !slices.ContainsFunc(r.Columns, func(c catalog.Column) bool { return !a.writableDepth(c.Type, depth-1) })
	case "b":
		return t.Schema == "pg_catalog" || slices.Contains(typeExtensions, t.Extension)
	case "r", "m":
		return t.Schema == "pg_catalog"
	}
	return false
}

// typeExtensions have types whose output functions are total.
var typeExtensions = []string{"citext", "vector", "hstore", "ltree", "cube"}
