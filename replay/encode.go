package replay

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// appendEvent writes an event as encoding/json does, byte for byte, with facts
// and decision last. The events that each statement makes go without
// reflection; the others are rare.
func appendEvent(dst []byte, e *Event) ([]byte, error) {
	if !plainEvent(e) {
		// Facts and decision are JSON already: encoding/json would check and
		// copy them once more, which costs more than all the rest.
		facts, decision := e.Facts, e.Decision
		e.Facts, e.Decision = nil, nil
		b, err := json.Marshal(e)
		e.Facts, e.Decision = facts, decision
		if err != nil {
			return dst, err
		}
		dst = append(dst, b[:len(b)-1]...)
	} else {
		dst = appendPlain(dst, e)
	}
	dst = appendRaw(dst, "facts", e.Facts)
	dst = appendRaw(dst, "decision", e.Decision)
	return append(dst, '}', '\n'), nil
}

// plainEvent says that appendPlain knows all that is set in e.
func plainEvent(e *Event) bool {
	switch e.Type {
	case TypeStatement, TypeComplete, TypeError:
	default:
		return false
	}
	usual := math.Abs(e.Milliseconds) >= 1e-6 && math.Abs(e.Milliseconds) < 1e21 || e.Milliseconds == 0
	return usual && e.Version == 0 && e.Session == "" && e.Identity == nil && e.Target == "" && e.Protocol == "" && e.Database == "" && e.Address == "" &&
		len(e.Options) == 0 && e.Program == "" && e.Plan == nil && len(e.Spent) == 0 && e.Problem == nil && e.Hold == "" && e.By == "" && len(e.Needs) == 0 &&
		len(e.Columns) == 0 && len(e.Cells) == 0 && e.Statements == 0 && e.Totals == nil && e.Prev == "" && e.Sum == "" && e.Key == "" && e.Signature == "" && !e.End && e.Usage == nil && e.Marks == ""
}

func appendPlain(b []byte, e *Event) []byte {
	b = append(append(b, `{"t":"`...), e.Type...)
	b = strconv.AppendInt(append(b, `","n":`...), e.Number, 10)
	b = append(e.At.AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano), '"')
	b = appendField(b, "policy", e.Policy)
	b = appendNumber(b, "same", e.Same)
	b = appendNumber(b, "id", e.ID)
	b = appendField(b, "kind", e.Kind)
	b = appendField(b, "text", e.Text)
	for i := range e.Params {
		b = appendParam(b, i, &e.Params[i])
	}
	if len(e.Params) > 0 {
		b = append(b, ']')
	}
	if e.InTransaction {
		b = append(b, `,"in_transaction":true`...)
	}
	b = appendField(b, "catalog", e.Catalog)
	for i, s := range e.SearchPath {
		if i == 0 {
			b = append(b, `,"search_path":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(b, s)
	}
	if len(e.SearchPath) > 0 {
		b = append(b, ']')
	}
	b = appendField(b, "role", e.Role)
	b = appendField(b, "settings", e.Settings)
	b = appendNumber(b, "rows_read", e.RowsRead)
	b = appendField(b, "reason", e.Reason)
	b = appendField(b, "tag", e.Tag)
	b = appendField(b, "code", e.Code)
	b = appendField(b, "message", e.Message)
	b = appendNumber(b, "count", e.Rows)
	b = appendNumber(b, "bytes", e.Bytes)
	if e.Milliseconds != 0 {
		b = strconv.AppendFloat(append(b, `,"ms":`...), e.Milliseconds, 'f', -1, 64)
	}
	return appendField(b, "hash", e.Hash)
}

func appendParam(b []byte, i int, p *facts.Param) []byte {
	if i == 0 {
		b = append(b, `,"params":[{`...)
	} else {
		b = append(b, `,{`...)
	}
	if p.Null {
		b = append(b, `"null":true,`...)
	}
	b = strconv.AppendBool(append(b, `"known":`...), p.Known)
	b = appendField(b, "text", p.Text)
	b = appendField(b, "type", p.Type)
	b = appendField(b, "kind", string(p.Kind))
	return append(b, '}')
}

func appendField(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendText(append(append(append(b, ',', '"'), key...), '"', ':'), value)
}

func appendNumber(b []byte, key string, value int64) []byte {
	if value == 0 {
		return b
	}
	return strconv.AppendInt(append(append(append(b, ',', '"'), key...), '"', ':'), value, 10)
}

// appendText writes a JSON string as encoding/json does, which escapes what
// HTML and JavaScript would take for their own.
func appendText(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			b = append(b, s[from:i]...)
			if n == 1 {
				b = append(b, `\ufffd`...)
			} else {
				b = append(b, '\\', 'u', '2', '0', '2', hexDigits[r&15])
			}
			from = i + n
		}
		i += n
	}
	return append(append(b, s[from:]...), '"')
}
