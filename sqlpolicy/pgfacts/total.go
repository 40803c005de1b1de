package pgfacts

import (
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// growth says how long a total function's result can get.
type growth uint8

const (
	short      growth = iota + 1 // a number, a digest
	noLonger                     // no longer than its longest argument
	fourfold                     // each character may become a longer one
	joined                       // all arguments end to end
	collated                     // same, and fails where the collation is mixed
	jsonGrowth = 6               // \u00xx for one byte
)

// totalFunctions are built-in functions, by exact signature, that neither
// fail nor warn, whatever their arguments are. Not among them: whatever can
// overflow, parses a text, takes a length or a field name, or is only total
// for some encodings.
var totalFunctions = map[string]growth{
	"lower(text)": collated, "upper(text)": collated, "initcap(text)": collated,
	"length(text)": short, "char_length(text)": short, "character_length(text)": short, "octet_length(text)": short,
	"length(bytea)": short, "octet_length(bytea)": short, "md5(text)": short, "md5(bytea)": short,
	"sha224(bytea)": short, "sha256(bytea)": short, "sha384(bytea)": short, "sha512(bytea)": short,
	"pg_size_pretty(int8)": short, "btrim(text)": noLonger, "btrim(text,text)": noLonger, "ltrim(text)": noLonger, "ltrim(text,text)": noLonger,
	"rtrim(text)": noLonger, "rtrim(text,text)": noLonger, "left(text,int4)": noLonger, "right(text,int4)": noLonger,
	"reverse(text)": noLonger, "translate(text,text,text)": fourfold,
	"quote_literal(text)": fourfold, "quote_nullable(text)": fourfold, "quote_ident(text)": fourfold,
	"textcat(text,text)": joined,
	"int8(int4)":         short, "int8(int2)": short, "int4(int2)": short, "numeric(int2)": short, "numeric(int4)": short,
	"numeric(int8)": short, "float8(int2)": short, "float8(int4)": short, "float8(int8)": short, "float8(float4)": short,
	"text(name)": noLonger, "text(bool)": short, "text(char)": short, "date(timestamp)": short,
	"jsonb_object_field(jsonb,text)": noLonger, "jsonb_object_field_text(jsonb,text)": fourfold,
	"jsonb_array_element(jsonb,int4)": noLonger, "jsonb_array_element_text(jsonb,int4)": fourfold,
	"jsonb_extract_path(jsonb,_text)": noLonger, "jsonb_extract_path_text(jsonb,_text)": fourfold,
	"jsonb_typeof(jsonb)": short, "array_length(anyarray,int4)": short, "cardinality(anyarray)": short, "array_ndims(anyarray)": short,
}

func signature(c callee) string {
	short := make([]string, len(c.args))
	for i, t := range c.args {
		short[i] = strings.TrimPrefix(t, "pg_catalog.")
	}
	return c.name + "(" + strings.Join(short, ",") + ")"
}

// totalCall is the value of a built-in call that is total over these
// arguments, if it is.
func (a *analysis) totalCall(p lineage.Place, what string, c callee, returns string, args []value) (value, bool) {
	if slices.ContainsFunc(args, func(v value) bool { return v.loose && len(v.Flow) > 0 }) {
		return value{}, false
	}
	size := lineage.AddSizes(plains(args)...)
	g, ok := totalFunctions[signature(c)]
	switch {
	case !ok:
		return a.totalByName(p, what, c, returns, args)
	case g == collated && mixCollations(args) == mixedCollation:
		return value{}, false
	case g == short:
		size = 1
	case g == fourfold:
		size = lineage.Scale(size, 4)
	case g == noLonger || g == collated:
		size = 1
		for _, v := range args {
			size = max(size, v.Size())
		}
	}
	return a.sized(p, what, size, returns, args...), true
}

// totalByName: functions that take arguments of any type, and those that are
// total for some arguments only.
func (a *analysis) totalByName(p lineage.Place, what string, c callee, returns string, args []value) (value, bool) {
	sum := lineage.AddSizes(plains(args)...)
	switch c.name {
	case "concat", "concat_ws", "textanycat", "anytextcat":
		if a.allWritable(args) && (c.fn == nil || !slices.Contains(c.args, "pg_catalog._text")) {
			return a.sized(p, what, lineage.Scale(sum, writtenGrowth(args)), typeText, args...), true
		}
	case "num_nulls", "num_nonnulls":
		return a.computed(1, returns, args...), true
	case "pg_column_size":
		v := a.computed(1, returns, append(slices.Clone(args), a.storageSize())...)
		return v, true
	case "pg_typeof":
		return value{typ: returns, consts: constants(args), Value: lineage.Value{Noisy: noisy(args)}}, true
	case "replace":
		if len(args) == 3 && shortLiterals(args[1:]) {
			return a.sized(p, what, lineage.Scale(args[0].Size(), replaceGrowth(args)), returns, args...), true
		}
	case "to_json", "to_jsonb", "row_to_json", "json_build_array", "jsonb_build_array":
		if c.name == "row_to_json" && len(args) != 1 {
			break
		}
		if a.allJSON(args, strings.Contains(c.name, "jsonb")) {
			return a.sized(p, what, lineage.Scale(sum, jsonGrowth), returns, args...), true
		}
	case "json_build_object", "jsonb_build_object":
		return a.buildObject(p, what, c, returns, args)
	case "format":
		if len(args) > 0 && plainFormat(args[0]) && a.allWritable(args[1:]) {
			return a.sized(p, what, lineage.Scale(sum, writtenGrowth(args)), returns, args...), true
		}
	case "encode":
		if len(args) == 2 && args[1].text != nil && slices.Contains([]string{"hex", "base64", "escape"}, *args[1].text) {
			return a.sized(p, what, lineage.Scale(sum, 4), returns, args...), true
		}
	}
	return value{}, false
}

func noisy(args []value) bool {
	return slices.ContainsFunc(args, func(v value) bool { return v.Noisy })
}

func (a *analysis) allWritable(args []value) bool {
	return !slices.ContainsFunc(args, func(v value) bool { return !a.writableValue(v) })
}

func (a *analysis) writableValue(v value) bool {
	if v.typ == typeUnknown {
		return true
	}
	if len(v.row) > 0 {
		return !slices.ContainsFunc(v.row, func(c column) bool { return !a.writableValue(c.value) })
	}
	return a.writable(v.typ)
}

// writtenGrowth is how much longer values get when they are written out.
func writtenGrowth(args []value) int {
	n := 1
	for _, v := range args {
		n = max(n, outputGrowth(v.typ))
	}
	return n
}

func shortLiterals(args []value) bool {
	return !slices.ContainsFunc(args, func(v value) bool { return v.text == nil || v.null || len(*v.text) > 1000 })
}

// replaceGrowth is the most that replacing one literal by another can grow a
// text.
func replaceGrowth(args []value) int {
	from, to := len(*args[1].text), len(*args[2].text)
	if from == 0 {
		return 1
	}
	return (to+from-1)/from + 1*boolInt(to > from)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// plainFormat says that a format has no fields but %s, which take any value.
func plainFormat(v value) bool {
	if v.text == nil || v.null {
		return false
	}
	rest := strings.NewReplacer("%%", "", "%s", "").Replace(*v.text)
	return !strings.Contains(rest, "%") && strings.Count(*v.text, "%") < 100
}

// jsonTypes have total conversions to JSON that no cast can replace.
var jsonTypes = pgCatalog("text", "varchar", "bpchar", "name", "int2", "int4", "int8", "float4", "float8", "numeric", "bool",
	"date", "time", "timetz", "timestamp", "timestamptz", "interval", "uuid", "bytea", "oid", "jsonb", "inet", "cidr", "unknown")

func (a *analysis) allJSON(args []value, binary bool) bool {
	return !slices.ContainsFunc(args, func(v value) bool { return !a.jsonable(v, binary) })
}

// jsonable says that a value's conversion to JSON (jsonb if binary) is total.
func (a *analysis) jsonable(v value, binary bool) bool {
	if len(v.row) > 0 {
		return !slices.ContainsFunc(v.row, func(c column) bool { return !a.jsonable(c.value, binary) })
	}
	return a.jsonType(v.typ, binary, 8)
}

func (a *analysis) jsonType(typ string, binary bool, depth int) bool {
	b := a.base(typ)
	t := a.typeOf(b)
	switch {
	case depth == 0 || t == nil:
		return false
	case jsonTypes[b]:
		return typ == b || a.castEntry(typ, "pg_catalog.json") == nil
	case b == "pg_catalog.json":
		return !binary
	case t.Element != "":
		return a.jsonType(t.Element, binary, depth-1)
	case t.Kind == "e":
		return a.castEntry(b, "pg_catalog.json") == nil
	case t.Kind == "c":
		r := a.view.RelationByOID(t.Relation)
		if r == nil {
			return false
		}
		for _, c := range r.Columns {
			if !a.jsonType(c.Type, binary, depth-1) {
				return false
			}
		}
		return true
	}
	return t.Extension == "citext" && a.castEntry(b, "pg_catalog.json") == nil
}

// jsonKey: a key that is NULL is an error.
func (a *analysis) jsonKey(p lineage.Place, key value) {
	if len(key.Flow) > 0 {
		a.opaque(p, "a JSON key", "", key)
	}
}

func (a *analysis) buildObject(p lineage.Place, what string, c callee, returns string, args []value) (value, bool) {
	loud := false
	for i, v := range args {
		switch {
		case i%2 == 1:
			if !a.jsonable(v, c.name == "jsonb_build_object") {
				return value{}, false
			}
		default:
			a.jsonKey(p, v)
			loud = loud || v.text == nil
		}
	}
	v := a.sized(p, what, lineage.Scale(lineage.AddSizes(plains(args)...), jsonGrowth), returns, args...)
	v.Noisy = v.Noisy || loud
	return v, true
}

// sortable says that a type's ordering is built in and total.
func (a *analysis) sortable(typ string) bool {
	b := a.base(typ)
	if t := a.typeOf(b); t != nil && t.Kind == "e" {
		return true
	}
	return sortableTypes[b]
}

var sortableTypes = pgCatalog("text", "varchar", "bpchar", "name", "int2", "int4", "int8", "float4", "float8", "numeric", "bool",
	"date", "time", "timetz", "timestamp", "timestamptz", "interval", "uuid", "bytea", "oid", "inet", "cidr", "money", "pg_lsn")
