package mask

import (
	"encoding/json"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// JSON masks a value in a JSON document, whatever its type is. It is safe for
// concurrent use.
type JSON struct {
	// Const is the JSON text that every value becomes, null too; nil where the
	// value's type decides.
	Const []byte
	// Text and Decimal transform strings (without quotes and escapes) and
	// numbers; nil where such a value becomes Other.
	Text, Decimal func(dst, src []byte) []byte
	// Other is the JSON text that booleans, objects and what has no
	// transformation become. Null stays null, and of an array each element is
	// masked.
	Other []byte
}

// CompileJSON builds a mask for values of documents. key is the installation's
// hash key.
func CompileJSON(m facts.Mask, key []byte) (*JSON, error) {
	if _, err := check(m); err != nil {
		return nil, err
	}
	out := &JSON{Other: []byte(`"[redacted]"`)}
	switch m.Name {
	case "redact":
		out.Const = out.Other
		return out, nil
	case "null":
		out.Const = []byte("null")
		return out, nil
	}
	if c, err := Compile(m, facts.KindText, key); err == nil {
		out.Text = c.Text
	}
	if c, err := Compile(m, facts.KindNumeric, key); err == nil {
		out.Decimal = c.Decimal
	}
	return out, nil
}

// AppendString appends s as a JSON string.
func AppendString(dst, s []byte) []byte {
	plain := true
	for _, c := range s {
		plain = plain && c >= ' ' && c != '"' && c != '\\' && c < 0x7f
	}
	if plain {
		return append(append(append(dst, '"'), s...), '"')
	}
	b, err := json.Marshal(string(s)) // of a string: never fails
	if err != nil {
		panic(err)
	}
	return append(dst, b...)
}
