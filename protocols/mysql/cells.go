package mysql

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// kind is the kind of a column that masks understand.
func (c *column) kind() facts.Kind {
	if c.flags&(flagEnum|flagSet) != 0 {
		return facts.KindOther
	}
	switch c.typ {
	case typeTiny, typeShort, typeLong, typeInt24, typeLongLong, typeYear:
		return facts.KindInt
	case typeFloat, typeDouble:
		return facts.KindFloat
	case typeDecimal, typeNewDecimal:
		return facts.KindNumeric
	case typeDate:
		return facts.KindDate
	case typeTime:
		return facts.KindTime
	case typeDatetime, typeTimestamp:
		return facts.KindTimestamp
	case typeJSON:
		return facts.KindJSON
	case typeVarchar, typeVarString, typeString, typeTinyBlob, 250, 251, typeBlob:
		if c.collation == collationBinary {
			return facts.KindBytes
		}
		return facts.KindText
	}
	return facts.KindOther
}

// typeNames are for error texts and the record.
var typeNames = map[byte]string{
	typeDecimal: "decimal", typeTiny: "tinyint", typeShort: "smallint", typeLong: "int", typeFloat: "float", typeDouble: "double",
	typeNull: "null", typeTimestamp: "timestamp", typeLongLong: "bigint", typeInt24: "mediumint", typeDate: "date", typeTime: "time",
	typeDatetime: "datetime", typeYear: "year", typeVarchar: "varchar", typeBit: "bit", typeJSON: "json", typeNewDecimal: "decimal",
	typeEnum: "enum", typeSet: "set", typeTinyBlob: "tinyblob", 250: "mediumblob", 251: "longblob", typeBlob: "blob",
	typeVarString: "varchar", typeString: "char", typeGeometry: "geometry",
}

// cellMask appends the masked form of a cell's content to dst; null says that
// it became or stays NULL.
type cellMask func(dst, cell []byte, isNull bool) (out []byte, null bool, err error)

var errCell = errors.New("malformed value from the upstream")

// newCellMask applies m to cells of a column, in text or binary rows.
func newCellMask(m *mask.Mask, c *column, inBinary bool) (cellMask, error) {
	kind := c.kind()
	switch {
	case m.Const != nil:
		return constant(m.Const, c, inBinary)
	case m.Text != nil && kind == facts.KindText:
		if wideCollation(c.collation) {
			return nil, errors.New("the result's character set has two bytes or more for each character; set character_set_results to utf8mb4")
		}
		return unlessNull(func(dst, cell []byte) ([]byte, error) { return m.Text(dst, cell), nil }), nil
	case m.Int != nil && kind == facts.KindInt:
		return intCell(m.Int, c, inBinary), nil
	case m.Decimal != nil && (kind == facts.KindFloat || kind == facts.KindNumeric):
		return decimalCell(m.Decimal, c, inBinary), nil
	case m.Micros != nil && (kind == facts.KindDate || kind == facts.KindTimestamp):
		return microsCell(m.Micros, c, inBinary), nil
	}
	return nil, fmt.Errorf("it does not fit type %s", typeNames[c.typ])
}

func unlessNull(f func(dst, cell []byte) ([]byte, error)) cellMask {
	return func(dst, cell []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		dst, err := f(dst, cell)
		return dst, false, err
	}
}

// constant makes every cell the same, whatever it was.
func constant(v *mask.Value, c *column, inBinary bool) (cellMask, error) {
	if v.Null || c.typ == typeNull {
		return func(dst, _ []byte, _ bool) ([]byte, bool, error) { return dst, true, nil }, nil
	}
	kind := c.kind()
	b := []byte(v.Text)
	var err error
	switch {
	case kind == facts.KindText && wideCollation(c.collation):
		err = errors.New("the result's character set has two bytes or more for each character; set character_set_results to utf8mb4")
	case kind == facts.KindBytes:
		b, err = hex.DecodeString(v.Text)
	case inBinary && kind == facts.KindInt:
		var n int64
		n, err = strconv.ParseInt(v.Text, 10, 64)
		b = appendInteger(nil, c.typ, n)
	case inBinary && kind == facts.KindFloat:
		b, err = appendFloat(nil, c.typ, v.Text)
	case inBinary && (kind == facts.KindDate || kind == facts.KindTimestamp):
		var t time.Time
		if t, err = time.Parse(time.DateTime, v.Text); kind == facts.KindDate {
			t, err = time.Parse(time.DateOnly, v.Text)
		}
		b = appendDate(nil, c.typ, t)
	case inBinary && kind == facts.KindTime:
		b = nil // midnight
		if v.Text != "00:00:00" {
			err = errors.New("it is no constant of type time")
		}
	}
	if err != nil {
		return nil, err
	}
	return func(dst, _ []byte, _ bool) ([]byte, bool, error) { return append(dst, b...), false, nil }, nil
}

func appendInteger(dst []byte, typ byte, n int64) []byte {
	size, _ := fixedSize(typ)
	switch size {
	case 1:
		return append(dst, byte(int8(min(max(n, math.MinInt8), math.MaxInt8))))
	case 2:
		return binary.LittleEndian.AppendUint16(dst, uint16(int16(min(max(n, math.MinInt16), math.MaxInt16))))
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(int32(min(max(n, math.MinInt32), math.MaxInt32))))
	}
	return binary.LittleEndian.AppendUint64(dst, uint64(n))
}

// appendUnsigned is appendInteger for the unsigned types.
func appendUnsigned(dst []byte, typ byte, n int64) []byte {
	size, _ := fixedSize(typ)
	u := uint64(max(n, 0))
	switch size {
	case 1:
		return append(dst, byte(min(u, math.MaxUint8)))
	case 2:
		return binary.LittleEndian.AppendUint16(dst, uint16(min(u, math.MaxUint16)))
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(min(u, math.MaxUint32)))
	}
	return binary.LittleEndian.AppendUint64(dst, u)
}

func appendFloat(dst []byte, typ byte, text string) ([]byte, error) {
	x, err := strconv.ParseFloat(text, 64)
	if typ == typeFloat {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(x))), err
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(x)), err
}

// appendDate writes a date or an instant as binary rows have it.
func appendDate(dst []byte, typ byte, t time.Time) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(t.Year()))
	dst = append(dst, byte(t.Month()), byte(t.Day()))
	if typ == typeDate {
		return dst
	}
	dst = append(dst, byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
	if us := t.Nanosecond() / 1000; us != 0 {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(us))
	}
	return dst
}

func intCell(f func(int64) int64, c *column, inBinary bool) cellMask {
	unsigned := c.flags&flagUnsigned != 0 || c.typ == typeYear
	return unlessNull(func(dst, cell []byte) ([]byte, error) {
		var n int64
		if inBinary {
			if size, _ := fixedSize(c.typ); len(cell) != size {
				return dst, errCell
			}
			signed, u := integer(cell)
			if n = signed; unsigned {
				n = int64(min(u, math.MaxInt64))
			}
			if n = f(n); unsigned {
				return appendUnsigned(dst, c.typ, n), nil
			}
			return appendInteger(dst, c.typ, n), nil
		}
		n, err := strconv.ParseInt(string(cell), 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			err = nil // the nearest number that there is
		}
		if err != nil {
			return dst, errCell
		}
		if n = f(n); unsigned {
			n = max(n, 0)
		}
		return strconv.AppendInt(dst, n, 10), nil
	})
}

func decimalCell(f func(dst, src []byte) []byte, c *column, inBinary bool) cellMask {
	if !inBinary || c.kind() == facts.KindNumeric {
		return unlessNull(func(dst, cell []byte) ([]byte, error) { return f(dst, cell), nil })
	}
	var text, out []byte
	return unlessNull(func(dst, cell []byte) ([]byte, error) {
		if size, _ := fixedSize(c.typ); len(cell) != size {
			return dst, errCell
		}
		text = renderBinary(text[:0], c.typ, false, cell)
		out = f(out[:0], text)
		return appendFloat(dst, c.typ, string(out))
	})
}

// microsCell applies a mask of instants. What is no real date (0000-00-00)
// becomes NULL, which shows nothing.
func microsCell(f func(int64) int64, c *column, inBinary bool) cellMask {
	layout := "2006-01-02 15:04:05.999999"
	if c.typ == typeDate {
		layout = time.DateOnly
	}
	return func(dst, cell []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		var t time.Time
		var err error
		if inBinary {
			t, err = readDate(cell)
		} else {
			t, err = time.Parse(layout, string(cell))
		}
		if err != nil {
			return dst, true, nil
		}
		t = time.UnixMicro(f(t.UnixMicro())).UTC()
		if inBinary {
			return appendDate(dst, c.typ, t), false, nil
		}
		return t.AppendFormat(dst, layout), false, nil
	}
}

// readDate reads a date or an instant of a binary row.
func readDate(b []byte) (time.Time, error) {
	if len(b) != 4 && len(b) != 7 && len(b) != 11 {
		return time.Time{}, errCell
	}
	var v [11]byte
	copy(v[:], b)
	year, month, day := int(binary.LittleEndian.Uint16(v[:])), time.Month(v[2]), int(v[3])
	t := time.Date(year, month, day, int(v[4]), int(v[5]), int(v[6]), int(binary.LittleEndian.Uint32(v[7:]))*1000, time.UTC)
	if year == 0 || t.Month() != month || t.Day() != day {
		return time.Time{}, errCell
	}
	return t, nil
}
