package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// cellMask appends the masked form of a cell to dst; null says that it became
// or stays NULL.
type cellMask func(dst, cell []byte, isNull bool) (out []byte, null bool, err error)

// newCellMask applies m to cells of a type and format (0 text, 1 binary).
func newCellMask(m *mask.Mask, typ string, format int16, dateStyle string) (cellMask, error) {
	base := strings.TrimPrefix(typ, "pg_catalog.")
	switch {
	case m.Const != nil:
		return constant(m.Const, base, kindOf(typ), format)
	case m.Text != nil:
		return textCell(m.Text, base, kindOf(typ))
	case m.Int != nil && kindOf(typ) == facts.KindInt:
		if format == 0 {
			return intText(m.Int, base), nil
		}
		return intBinary(m.Int), nil
	case m.Decimal != nil && format == 0 && (kindOf(typ) == facts.KindFloat || kindOf(typ) == facts.KindNumeric):
		return func(dst, cell []byte, null bool) ([]byte, bool, error) {
			if null {
				return dst, true, nil
			}
			return m.Decimal(dst, cell), false, nil
		}, nil
	case m.Micros != nil:
		return microsCell(m.Micros, base, format, dateStyle)
	}
	return nil, fmt.Errorf("it does not fit type %s in format %d", quote(typ), format)
}

// constant makes every cell the same, whatever it was.
func constant(v *mask.Value, base string, kind facts.Kind, format int16) (cellMask, error) {
	if v.Null {
		return func(dst, _ []byte, _ bool) ([]byte, bool, error) { return dst, true, nil }, nil
	}
	b := []byte(v.Text)
	if format == 1 {
		var err error
		if b, err = encodeBinary(base, kind, v.Text); err != nil {
			return nil, err
		}
	} else {
		switch base {
		case "bool":
			b = b[:1] // t or f
		case "bytea":
			b = append([]byte(`\x`), b...)
		case "timestamptz":
			b = append(b, "+00"...)
		}
	}
	return func(dst, _ []byte, _ bool) ([]byte, bool, error) { return append(dst, b...), false, nil }, nil
}

// encodeBinary is a canonical constant as the type's binary form.
func encodeBinary(base string, kind facts.Kind, text string) ([]byte, error) {
	switch kind {
	case facts.KindText:
		return []byte(text), nil
	case facts.KindJSON:
		if base == "jsonb" {
			return append([]byte{1}, text...), nil
		}
		return []byte(text), nil
	case facts.KindBytes:
		return hex.DecodeString(text)
	case facts.KindBool:
		if text == "true" {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case facts.KindUUID:
		return hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	case facts.KindInt:
		n, err := strconv.ParseInt(text, 10, 64)
		return appendInt(nil, base, n), err
	case facts.KindFloat:
		x, err := strconv.ParseFloat(text, 64)
		if base == "float4" {
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(x))), err
		}
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(x)), err
	case facts.KindNumeric:
		if text == "0" {
			return make([]byte, 8), nil // no digits, weight 0, positive, scale 0
		}
	case facts.KindDate:
		t, err := time.Parse(time.DateOnly, text)
		return binary.BigEndian.AppendUint32(nil, uint32(int32((t.Unix()-pgEpoch)/86400))), err
	case facts.KindTimestamp:
		t, err := time.Parse(time.DateTime, text)
		return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()-pgEpoch*1e6)), err
	case facts.KindTime:
		if text == "00:00:00" {
			return make([]byte, 8), nil
		}
	}
	return nil, fmt.Errorf("type %s has no binary constant", quote(base))
}

func appendInt(dst []byte, base string, n int64) []byte {
	switch base {
	case "int2":
		return binary.BigEndian.AppendUint16(dst, uint16(int16(min(max(n, math.MinInt16), math.MaxInt16))))
	case "int4":
		return binary.BigEndian.AppendUint32(dst, uint32(int32(min(max(n, math.MinInt32), math.MaxInt32))))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// textCell: the binary form of the text types is the text itself.
func textCell(f func(dst, src []byte) []byte, base string, kind facts.Kind) (cellMask, error) {
	if kind != facts.KindText && kind != facts.KindUUID {
		return nil, fmt.Errorf("it needs text, not %s", quote(base))
	}
	if kind == facts.KindUUID {
		return nil, errors.New("it needs text, not uuid")
	}
	return func(dst, cell []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		return f(dst, cell), false, nil
	}, nil
}

var errCell = errors.New("malformed value from the upstream")

func intText(f func(int64) int64, base string) cellMask {
	return func(dst, cell []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		n, err := strconv.ParseInt(string(cell), 10, 64)
		if err != nil {
			return dst, false, errCell
		}
		n = f(n)
		switch base {
		case "int2":
			n = min(max(n, math.MinInt16), math.MaxInt16)
		case "int4":
			n = min(max(n, math.MinInt32), math.MaxInt32)
		}
		return strconv.AppendInt(dst, n, 10), false, nil
	}
}

func intBinary(f func(int64) int64) cellMask {
	return func(dst, cell []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		switch len(cell) {
		case 2:
			return appendInt(dst, "int2", f(int64(int16(binary.BigEndian.Uint16(cell))))), false, nil
		case 4:
			return appendInt(dst, "int4", f(int64(int32(binary.BigEndian.Uint32(cell))))), false, nil
		case 8:
			return appendInt(dst, "int8", f(int64(binary.BigEndian.Uint64(cell)))), false, nil
		}
		return dst, false, errCell
	}
}

// microsCell applies a mask of instants to date, timestamp and timestamptz.
// The text forms are read under DateStyle ISO only.
func microsCell(f func(int64) int64, base string, format int16, dateStyle string) (cellMask, error) {
	if format == 1 {
		return microsBinary(f, base)
	}
	if !strings.HasPrefix(dateStyle, "ISO") {
		return nil, errors.New("it needs DateStyle ISO")
	}
	layouts := map[string]string{"date": time.DateOnly, "timestamp": "2006-01-02 15:04:05.999999", "timestamptz": "2006-01-02 15:04:05.999999-07"}
	layout, ok := layouts[base]
	if !ok {
		return nil, fmt.Errorf("it needs a date or timestamp, not %s", quote(base))
	}
	return func(dst, cell []byte, null bool) ([]byte, bool, error) {
		if null {
			return dst, true, nil
		}
		t, err := time.Parse(layout, string(cell))
		if err != nil {
			return dst, true, nil // infinity, BC and far years: NULL, which shows nothing
		}
		return time.UnixMicro(f(t.UnixMicro())).UTC().AppendFormat(dst, layout), false, nil
	}, nil
}

func microsBinary(f func(int64) int64, base string) (cellMask, error) {
	switch base {
	case "date":
		return func(dst, cell []byte, null bool) ([]byte, bool, error) {
			if null || len(cell) != 4 {
				return dst, true, nil
			}
			days := int64(int32(binary.BigEndian.Uint32(cell)))
			us := f((pgEpoch + days*86400) * 1e6)
			return binary.BigEndian.AppendUint32(dst, uint32(int32((us/1e6-pgEpoch)/86400))), false, nil
		}, nil
	case "timestamp", "timestamptz":
		return func(dst, cell []byte, null bool) ([]byte, bool, error) {
			if null || len(cell) != 8 {
				return dst, true, nil
			}
			us := int64(binary.BigEndian.Uint64(cell))
			if us < math.MinInt64/2 || us > math.MaxInt64/2 {
				return dst, true, nil
			}
			return binary.BigEndian.AppendUint64(dst, uint64(f(us+pgEpoch*1e6)-pgEpoch*1e6)), false, nil
		}, nil
	}
	return nil, fmt.Errorf("it needs a date or timestamp, not %s", quote(base))
}
