package myfacts

import (
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/lineage"
)

// class is a family of types that operations treat alike. The zero value is a
// type that analysis does not know.
type class uint8

const (
	clsUnknown class = iota
	clsInt
	clsDecimal
	clsFloat
	clsString
	clsBinary
	clsDate
	clsTime
	clsDatetime
	clsEnum // and SET
	clsJSON
	clsOther
)

// typ is a value's type. Two values are of one type only if all of it is
// equal; Name is the server's DATA_TYPE, "" for a result's.
type typ struct {
	class class
	name  string
	mod   string
	coll  string
}

// typeOf reads a column's type.
func typeOf(c *catalog.Column) typ {
	t := typ{name: strings.ToLower(c.Type), mod: strings.ToLower(c.Mod), coll: c.Collation}
	switch t.name {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "bool", "boolean":
		t.class = clsInt
	case "decimal", "numeric", "fixed", "number":
		t.class = clsDecimal
	case "float", "double", "real":
		t.class = clsFloat
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		t.class = clsString
		if t.coll == "binary" {
			t.class = clsBinary
		}
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		t.class = clsBinary
	case "date":
		t.class = clsDate
	case "time":
		t.class = clsTime
	case "datetime", "timestamp":
		t.class = clsDatetime
	case "enum", "set":
		t.class = clsEnum
	case "json":
		t.class = clsJSON
	default:
		t.class = clsOther
	}
	return t
}

// factsType is the type as facts have it.
func (t typ) factsType() facts.Type {
	kind := facts.KindOther
	switch t.class {
	case clsInt:
		kind = facts.KindInt
	case clsDecimal:
		kind = facts.KindNumeric
	case clsFloat:
		kind = facts.KindFloat
	case clsString:
		kind = facts.KindText
	case clsBinary:
		kind = facts.KindBytes
	case clsDate:
		kind = facts.KindDate
	case clsTime:
		kind = facts.KindTime
	case clsDatetime:
		kind = facts.KindTimestamp
	case clsJSON:
		kind = facts.KindJSON
	case clsOther:
		if t.name == "uuid" {
			kind = facts.KindUUID
		}
	case clsUnknown:
		return facts.Type{}
	}
	return facts.Type{Name: t.name, Kind: kind}
}

// bytesPerPiece is how long a stored value is taken to be when lineage counts
// what a value is made of: lineage.MaxPieces of them are 1 MB, well below the
// default max_allowed_packet (16 MB), at which the server makes NULL of a
// string and warns.
const bytesPerPiece = 256

// pieces bounds a column's length.
func (t typ) pieces() int {
	switch t.name {
	case "text", "blob", "tinytext", "tinyblob":
		return 65536 / bytesPerPiece
	case "mediumtext", "longtext", "mediumblob", "longblob", "json", "geometry":
		return lineage.Endless
	case "char", "varchar", "binary", "varbinary", "enum", "set":
		if n := t.width(); n > 0 {
			return 1 + n*4/bytesPerPiece
		}
		return 65536 / bytesPerPiece
	}
	return 1
}

// width is the number in the type's modifier, 0 for none.
func (t typ) width() int {
	m, ok := strings.CutPrefix(t.mod, "(")
	if !ok {
		return 0
	}
	end := strings.IndexFunc(m, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(m)
	}
	n, err := strconv.Atoi(m[:end])
	if err != nil {
		return 0
	}
	return n
}

// scalar says that a value's text is short, whatever it is.
func (c class) scalar() bool {
	switch c {
	case clsInt, clsDecimal, clsFloat, clsDate, clsTime, clsDatetime:
		return true
	}
	return false
}

// common is the type of a value that is one of several: total says that
// making it of each can neither fail nor warn.
func common(values []value) (t typ, total bool) {
	first := true
	for _, v := range values {
		if v.null {
			continue
		}
		if first {
			t, first = v.t, false
			continue
		}
		if v.t == t {
			continue
		}
		switch {
		case t.class == v.t.class && t.class != clsUnknown && t.class != clsOther && t.class != clsEnum:
			if t.coll != v.t.coll {
				t.coll = mixedCollation
			}
			t.name, t.mod = "", ""
		case t.class == clsString && v.t.class.scalar(), t.class.scalar() && v.t.class == clsString:
			t = typ{class: clsString}
		case t.class == clsInt && v.t.class == clsDecimal, t.class == clsDecimal && v.t.class == clsInt:
			t = typ{class: clsDecimal}
		default:
			return typ{}, false
		}
	}
	if first {
		return typ{class: clsString}, true // all are NULL
	}
	return t, t.class != clsUnknown
}

// mixedCollation is the collation of a value that several made.
const mixedCollation = "?"
