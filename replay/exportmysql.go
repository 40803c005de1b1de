package replay

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// placeMarks puts parameters where ? stands, outside of quotes and comments.
//
// Source: https://dev.mysql.com/doc/refman/8.0/en/language-structure.html
func placeMarks(text string, s *Statement) string {
	if len(s.Params) == 0 {
		return text
	}
	backslash := !strings.Contains(s.Settings.Get("sql_mode"), "NO_BACKSLASH_ESCAPES")
	var b strings.Builder
	next := 0
	for i := 0; i < len(text); {
		if text[i] == '?' && next < len(s.Params) {
			b.WriteString(mysqlLiteral(s.Params[next], backslash))
			next++
			i++
			continue
		}
		n := max(1, skippedMySQL(text[i:], backslash))
		b.WriteString(text[i : i+n])
		i += n
	}
	return b.String()
}

// mysqlLiteral is a parameter as a literal of its kind.
func mysqlLiteral(p facts.Param, backslash bool) string {
	if p.Null {
		return "NULL"
	}
	switch p.Type {
	case "tinyint", "smallint", "year", "int", "mediumint", "bigint", "float", "double":
		if strings.Trim(p.Text, "+-.0123456789eE") == "" && p.Text != "" {
			return p.Text
		}
	}
	if _, ok := ParamBytes(p); ok {
		return p.Text
	}
	text := strings.ReplaceAll(p.Text, "'", "''")
	if backslash {
		text = strings.ReplaceAll(text, `\`, `\\`)
	}
	return "'" + text + "'"
}

// ParamBytes is a parameter of MySQL's that is no text: it is recorded as a
// hexadecimal literal. A client's own text that reads like one of bytes that
// are no text is taken for them.
func ParamBytes(p facts.Param) ([]byte, bool) {
	digits, ok := strings.CutPrefix(p.Text, "0x")
	if !ok {
		return nil, false
	}
	b, err := hex.DecodeString(digits)
	return b, err == nil && !utf8.Valid(b)
}

// skippedMySQL is how long the quoted text, comment or name is that s begins
// with, 0 for none.
func skippedMySQL(s string, backslash bool) int {
	until := func(end string, from int) int {
		if i := strings.Index(s[from:], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch {
	case s[0] == '`':
		return until("`", 1)
	case s[0] == '\'' || s[0] == '"': // a doubled quote begins the next one
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' && backslash {
				i++
			} else if s[i] == s[0] {
				return i + 1
			}
		}
		return len(s)
	case s[0] == '#', strings.HasPrefix(s, "--") && (len(s) == 2 || s[2] <= ' '):
		return until("\n", 1)
	case strings.HasPrefix(s, "/*!"), strings.HasPrefix(s, "/*M!"):
		return 2 // what is in it is code
	case strings.HasPrefix(s, "/*"):
		return until("*/", 2)
	}
	return 0
}
