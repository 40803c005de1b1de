package rerun

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// mysqlTypes are the types of parameters that are bound as strings, by the
// names that the record has for them.
var mysqlTypes = map[string]byte{
	"decimal": mysql.MYSQL_TYPE_NEWDECIMAL, "varchar": mysql.MYSQL_TYPE_VAR_STRING, "char": mysql.MYSQL_TYPE_STRING, "bit": mysql.MYSQL_TYPE_BIT,
	"json": mysql.MYSQL_TYPE_JSON, "enum": mysql.MYSQL_TYPE_ENUM, "set": mysql.MYSQL_TYPE_SET, "tinyblob": mysql.MYSQL_TYPE_TINY_BLOB,
	"mediumblob": mysql.MYSQL_TYPE_MEDIUM_BLOB, "longblob": mysql.MYSQL_TYPE_LONG_BLOB, "blob": mysql.MYSQL_TYPE_BLOB, "geometry": mysql.MYSQL_TYPE_GEOMETRY,
}

// mysqlArgument is a recorded parameter as the driver binds it: in the type
// that the client had bound it in. What does not fit its type goes as text.
func mysqlArgument(p facts.Param) any {
	if p.Null {
		return nil
	}
	var v any
	switch p.Type {
	case "tinyint", "smallint", "year", "int", "mediumint", "bigint":
		v = mysqlInteger(p.Type, p.Text)
	case "float":
		if x, err := strconv.ParseFloat(p.Text, 32); err == nil {
			v = float32(x)
		}
	case "double":
		if x, err := strconv.ParseFloat(p.Text, 64); err == nil {
			v = x
		}
	case "date", "datetime", "timestamp":
		v = mysqlDate(p.Type, p.Text)
	case "time":
		v = mysqlTime(p.Text)
	}
	if v != nil {
		return v
	}
	content := []byte(p.Text)
	if b, ok := replay.ParamBytes(p); ok {
		content = b
	}
	typ, ok := mysqlTypes[p.Type]
	if !ok {
		typ = mysql.MYSQL_TYPE_VAR_STRING
	}
	return mysql.TypedBytes{Type: typ, Bytes: content}
}

// mysqlInteger gives the Go type that the driver binds as the recorded one. Only
// an unsigned one has values above the signed range.
func mysqlInteger(typ, text string) any {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return u
		}
		return nil
	}
	switch typ {
	case "tinyint":
		if n >= math.MinInt8 && n <= math.MaxInt8 {
			return int8(n)
		}
		return uint8(n)
	case "smallint", "year":
		if n >= math.MinInt16 && n <= math.MaxInt16 {
			return int16(n)
		}
		return uint16(n)
	case "int", "mediumint":
		if n >= math.MinInt32 && n <= math.MaxInt32 {
			return int32(n)
		}
		return uint32(n)
	}
	return n
}

// mysqlDate is a date or an instant in its binary form, nil for what is no real
// date.
//
// Source: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
func mysqlDate(typ, text string) any {
	layout, code := "2006-01-02 15:04:05.999999", byte(mysql.MYSQL_TYPE_DATETIME)
	switch typ {
	case "date":
		layout, code = time.DateOnly, mysql.MYSQL_TYPE_DATE
	case "timestamp":
		code = mysql.MYSQL_TYPE_TIMESTAMP
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return nil
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(t.Year()))
	b = append(b, byte(t.Month()), byte(t.Day()))
	if typ != "date" {
		b = append(b, byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
		if us := t.Nanosecond() / 1000; us != 0 {
			b = binary.LittleEndian.AppendUint32(b, uint32(us))
		}
	}
	return mysql.TypedBytes{Type: code, Bytes: b}
}

// mysqlTime is a TIME in its binary form.
func mysqlTime(text string) any {
	rest, negative := strings.CutPrefix(text, "-")
	clock, fraction, _ := strings.Cut(rest, ".")
	parts := strings.Split(clock, ":")
	if len(parts) != 3 {
		return nil
	}
	var n [3]uint64
	for i, p := range parts {
		var err error
		if n[i], err = strconv.ParseUint(p, 10, 32); err != nil {
			return nil
		}
	}
	b := []byte{0}
	if negative {
		b[0] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(n[0]/24))
	b = append(b, byte(n[0]%24), byte(n[1]), byte(n[2]))
	if fraction != "" {
		us, err := strconv.ParseUint((fraction + "000000")[:6], 10, 32)
		if err != nil {
			return nil
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(us))
	}
	return mysql.TypedBytes{Type: mysql.MYSQL_TYPE_TIME, Bytes: b}
}
