package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// renderBinary appends a binary value as text, or in hexadecimal where its
// type is not known.
func renderBinary(dst []byte, typ uint32, v []byte) []byte {
	if out, ok := binaryText(dst, typ, v); ok {
		return out
	}
	dst = append(dst, `\x`...)
	return hex.AppendEncode(dst, v)
}

// binaryText appends the text form of a value of a type we know.
//
// Source: the send functions in postgres/src/backend/utils/adt.
func binaryText(dst []byte, typ uint32, v []byte) ([]byte, bool) {
	switch typ {
	case 16:
		if len(v) == 1 {
			return strconv.AppendBool(dst, v[0] != 0), true
		}
	case 20, 21, 23:
		return binaryInteger(dst, v)
	case 26:
		if len(v) == 4 {
			return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(v)), 10), true
		}
	case 18, 19, 25, 114, 142, 1042, 1043:
		if utf8.Valid(v) {
			return append(dst, v...), true
		}
	case 3802:
		if len(v) > 1 && v[0] == 1 && utf8.Valid(v) {
			return append(dst, v[1:]...), true
		}
	case 700:
		if len(v) == 4 {
			return strconv.AppendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 'g', -1, 32), true
		}
	case 701:
		if len(v) == 8 {
			return strconv.AppendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(v)), 'g', -1, 64), true
		}
	case 1082:
		if len(v) == 4 {
			days := int64(int32(binary.BigEndian.Uint32(v)))
			return time.Unix(pgEpoch+days*86400, 0).UTC().AppendFormat(dst, time.DateOnly), true
		}
	case 1114, 1184:
		if len(v) == 8 {
			us := int64(binary.BigEndian.Uint64(v))
			if us > math.MinInt64/2 && us < math.MaxInt64/2 {
				dst = time.UnixMicro(pgEpoch*1e6+us).UTC().AppendFormat(dst, "2006-01-02 15:04:05.999999")
				if typ == 1184 {
					dst = append(dst, "+00"...)
				}
				return dst, true
			}
		}
	case 1700:
		return numericText(dst, v)
	case 2950:
		if len(v) == 16 {
			for i, n := range []int{4, 2, 2, 2, 6} {
				if i > 0 {
					dst = append(dst, '-')
				}
				dst = hex.AppendEncode(dst, v[:n])
				v = v[n:]
			}
			return dst, true
		}
	}
	return dst, false
}

// pgEpoch is 2000-01-01 in seconds since 1970: PostgreSQL's dates count from
// there.
const pgEpoch = 946684800

// numericText writes a numeric: groups of four decimal digits.
//
// Source: numeric_send in postgres/src/backend/utils/adt/numeric.c.
func numericText(dst, v []byte) ([]byte, bool) {
	f := fields{b: v}
	n, weight, sign, scale := f.int16(), f.int16(), uint16(f.int16()), f.int16()
	if f.bad || n < 0 || len(f.b) != 2*n || scale < 0 || scale > 16383 {
		return dst, false
	}
	switch sign {
	case 0xc000:
		return append(dst, "NaN"...), true
	case 0xd000:
		return append(dst, "Infinity"...), true
	case 0xf000:
		return append(dst, "-Infinity"...), true
	case 0x4000:
		dst = append(dst, '-')
	}
	digit := func(i int) int {
		if i < 0 || i >= n {
			return 0
		}
		return int(binary.BigEndian.Uint16(f.b[2*i:]))
	}
	if weight < 0 {
		dst = append(dst, '0')
	}
	for i := 0; i <= weight; i++ {
		if i == 0 {
			dst = strconv.AppendInt(dst, int64(digit(0)), 10)
		} else {
			dst = appendGroup(dst, digit(i))
		}
	}
	if scale > 0 {
		dst = append(dst, '.')
		end := len(dst) + scale
		for i := weight + 1; len(dst) < end; i++ {
			dst = appendGroup(dst, digit(i))
		}
		dst = dst[:end]
	}
	return dst, true
}

func appendGroup(dst []byte, d int) []byte {
	return append(dst, byte('0'+d/1000%10), byte('0'+d/100%10), byte('0'+d/10%10), byte('0'+d%10))
}
