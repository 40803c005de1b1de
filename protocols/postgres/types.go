package postgres

import (
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// builtinTypes are the types whose OIDs never change.
//
// Source: postgres/src/include/catalog/pg_type.dat.
var builtinTypes = map[uint32]string{
	16: "bool", 17: "bytea", 18: "char", 19: "name", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid",
	114: "json", 142: "xml", 700: "float4", 701: "float8", 790: "money", 829: "macaddr", 869: "inet", 650: "cidr",
	1042: "bpchar", 1043: "varchar", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz",
	1186: "interval", 1266: "timetz", 1560: "bit", 1562: "varbit", 1700: "numeric", 2249: "record", 2278: "void",
	2950: "uuid", 3220: "pg_lsn", 3614: "tsvector", 3615: "tsquery", 3802: "jsonb",
}

// kinds gives types the kind that masks understand.
var kinds = map[string]facts.Kind{
	"bool": facts.KindBool, "bytea": facts.KindBytes, "name": facts.KindText,
	"int8": facts.KindInt, "int2": facts.KindInt, "int4": facts.KindInt, "text": facts.KindText,
	"json": facts.KindJSON, "jsonb": facts.KindJSON, "float4": facts.KindFloat, "float8": facts.KindFloat,
	"bpchar": facts.KindText, "varchar": facts.KindText, "date": facts.KindDate, "time": facts.KindTime,
	"timestamp": facts.KindTimestamp, "timestamptz": facts.KindTimestamp, "numeric": facts.KindNumeric, "uuid": facts.KindUUID,
}

// typeName is the qualified name of a type, "" where it is not known.
func (s *session) typeName(oid uint32) string {
	if n, ok := builtinTypes[oid]; ok {
		return "pg_catalog." + n
	}
	if c := s.types.Load(); c != nil {
		if t := c.TypeByOID(oid); t != nil {
			return t.Schema + "." + t.Name
		}
	}
	return ""
}

// kindOf is the kind of a qualified type name.
func kindOf(name string) facts.Kind {
	schema, base, _ := strings.Cut(name, ".")
	switch {
	case schema == "pg_catalog" && kinds[base] != "":
		return kinds[base]
	case strings.HasPrefix(base, "_"):
		return facts.KindArray
	case base == "citext":
		return facts.KindText
	case base == "vector" || base == "halfvec" || base == "sparsevec":
		return facts.KindVector
	}
	return facts.KindOther
}

// bound is a parameter as Bind sent it.
type bound struct {
	value  []byte
	null   bool
	format int16
	typ    uint32
}

// decodeParams appends the parameters as text, for facts and the record.
func decodeParams(dst []facts.Param, params []bound) []facts.Param {
	if len(params) == 0 {
		return nil // as a grant knows a statement without any
	}
	for _, b := range params {
		p := facts.Param{Null: b.null, Type: builtinTypes[b.typ]}
		switch {
		case b.null:
			p.Known = true
		case b.format == 0:
			p.Known, p.Text = true, string(b.value)
		default:
			text, ok := binaryText(nil, b.typ, b.value)
			if !ok && b.typ == 0 {
				// The upstream inferred the type: integers are told by their
				// length, which is all that a limit needs.
				text, ok = binaryInteger(nil, b.value)
			}
			p.Known, p.Text = ok, string(text)
		}
		dst = append(dst, p)
	}
	return dst
}

func binaryInteger(dst, v []byte) ([]byte, bool) {
	f := fields{b: v}
	switch len(v) {
	case 2:
		return strconv.AppendInt(dst, int64(int16(f.int16())), 10), true
	case 4:
		return strconv.AppendInt(dst, int64(f.int32()), 10), true
	case 8:
		hi := int64(f.int32())
		return strconv.AppendInt(dst, hi<<32|int64(f.uint32()), 10), true
	}
	return dst, false
}
