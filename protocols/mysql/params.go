package mysql

import (
	"encoding/binary"
	"encoding/hex"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// paramType is a parameter's type as bound.
type paramType struct {
	typ      byte
	unsigned bool
}

// maxParams bounds a statement's parameters, and the attributes of a query.
const maxParams = 1 << 16

var malformed = &wireError{code: 1835, state: "HY000", message: "Malformed communication packet"}

// parameterCount is the flag of COM_STMT_EXECUTE that says that the number of
// parameters, attributes among them, is in the message.
const parameterCount = 8

// parseParams reads the parameters of COM_STMT_EXECUTE as text. Query
// attributes come after them and are not the statement's.
func (st *statement) parseParams(f *fields, flags byte, caps uint32, long map[int][]byte) ([]facts.Param, error) {
	count := st.params
	attributes := caps&capQueryAttributes != 0
	if attributes && (count > 0 || flags&parameterCount != 0) && flags&parameterCount != 0 {
		n := f.int()
		if n > maxParams || int(n) < st.params {
			return nil, malformed
		}
		count = int(n)
	}
	if count == 0 {
		if !f.done() && !(attributes && !f.bad) {
			return nil, malformed
		}
		return nil, nil
	}
	nulls := f.take((count + 7) / 8)
	bound := f.byte()
	if f.bad {
		return nil, malformed
	}
	if bound == 1 {
		types := make([]paramType, count)
		for i := range types {
			t := f.take(2)
			if f.bad {
				return nil, malformed
			}
			types[i] = paramType{typ: t[0], unsigned: t[1]&0x80 != 0}
			if attributes {
				f.bytes() // its name
			}
		}
		if f.bad {
			return nil, malformed
		}
		st.types = types
	}
	if len(st.types) < count {
		return nil, malformed
	}
	out := make([]facts.Param, count)
	for i := range out {
		p, ok := st.param(f, i, nulls, long)
		if !ok {
			return nil, malformed
		}
		out[i] = p
	}
	if !f.done() {
		return nil, malformed
	}
	return out[:st.params], nil
}

func (st *statement) param(f *fields, i int, nulls []byte, long map[int][]byte) (facts.Param, bool) {
	t := st.types[i]
	p := facts.Param{Known: true, Type: typeNames[t.typ], Kind: (&column{typ: t.typ}).kind()}
	if data, ok := long[i]; ok && i < st.params {
		p.Text = paramText(data)
		return p, true
	}
	if isNull(nulls, i) || t.typ == typeNull {
		p.Null = true
		return p, true
	}
	var cell []byte
	if n, fixed := fixedSize(t.typ); fixed {
		cell = f.take(n)
	} else {
		cell = f.bytes()
	}
	if f.bad {
		return p, false
	}
	switch t.typ {
	case typeTiny, typeShort, typeYear, typeLong, typeInt24, typeLongLong, typeFloat, typeDouble, typeDate, typeDatetime, typeTimestamp, typeTime:
		p.Text = string(renderBinary(nil, t.typ, t.unsigned, cell))
	default:
		p.Text = paramText(cell)
	}
	return p, true
}

// paramText is a string parameter, or bytes as MySQL's hexadecimal literal.
func paramText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "0x" + hex.EncodeToString(b)
}

// queryText takes the attributes off COM_QUERY.
func queryText(body []byte, caps uint32) (string, error) {
	if caps&capQueryAttributes == 0 {
		return string(body), nil
	}
	f := fields{b: body}
	count, sets := f.int(), f.int()
	if f.bad || count > maxParams || sets != 1 {
		return "", malformed
	}
	if count == 0 {
		return string(f.b), nil
	}
	nulls := f.take((int(count) + 7) / 8)
	if f.byte() != 1 || f.bad {
		return "", malformed
	}
	var types []byte
	for range count {
		types = append(types, f.byte())
		f.byte()
		f.bytes()
		if f.bad {
			return "", malformed
		}
	}
	for i, typ := range types {
		if isNull(nulls, i) {
			continue
		}
		if n, fixed := fixedSize(typ); fixed {
			f.take(n)
		} else {
			f.bytes()
		}
	}
	if f.bad {
		return "", malformed
	}
	return string(f.b), nil
}

// appendQuery puts a text of ours where COM_QUERY's goes.
func appendQuery(text string, caps uint32) []byte {
	b := []byte{comQuery}
	if caps&capQueryAttributes != 0 {
		b = append(b, 0, 1)
	}
	return append(b, text...)
}

func uint32Bytes(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
