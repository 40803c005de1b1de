package replay

import (
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// exportSQL writes what psql runs, or for MySQL's sessions mysql and mariadb:
// the statements that passed, in order, with their parameters in place. What was
// refused, and what has a constant that the record hides, stands in comments.
// Each session has a connection of its own.
func exportSQL(w io.Writer, paths []string, identities []age.Identity) error {
	for i, p := range paths {
		r, err := Load(p, identities)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if i > 0 { // nothing of one session's is left to the next
			again := "\\connect\n\n"
			if r.Protocol == "mysql" {
				again = "\\r\n\n"
			}
			if _, err := io.WriteString(w, again); err != nil {
				return err
			}
		}
		fmt.Fprintf(w, "-- session %s: %s on %s, database %s, %s\n", comment(r.ID), comment(r.Identity.Name), comment(r.Target), comment(r.Database), r.Started.UTC().Format(time.RFC3339))
		for _, s := range r.Statements {
			text, why := Runnable(s)
			if why != "" {
				fmt.Fprintf(w, "-- %s: %s\n", why, comment(s.Text))
				continue
			}
			fmt.Fprintf(w, "%s;\n", text)
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return nil
}

func comment(s string) string { return oneLine(s) }

// Runnable is a statement with its parameters in place, or why it is none.
func Runnable(s *Statement) (text, why string) {
	switch {
	case s.Refused() || s.Verdict == facts.Deny.String():
		return "", "refused"
	case s.CopiesIn:
		return "", "the rows that it copied in are not recorded"
	case s.Kind == "call":
		return "", "a call by the wire's fast path"
	case strings.Contains(s.Text, "‹hmac:") || strings.Contains(s.Text, SealedBefore):
		return "", "a constant is hidden"
	}
	for _, p := range s.Params {
		if !p.Null && (!p.Known || strings.HasPrefix(p.Text, "‹hmac:") || strings.HasPrefix(p.Text, SealedBefore)) {
			return "", "a parameter is hidden or not known"
		}
	}
	text = s.Text
	if s.Protocol == "mysql" {
		text = placeMarks(text, s)
	} else {
		text = place(text, s.Params)
	}
	text = strings.TrimRight(text, " \t\r\n;")
	if strings.TrimSpace(text) == "" {
		return "", "nothing"
	}
	return text, ""
}

// place puts parameters where $1, $2 … stand, outside of quotes and comments.
//
// Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
func place(text string, params []facts.Param) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		n := skipped(text[i:])
		if n == 0 && text[i] == '$' {
			j := i + 1
			number := 0
			for ; j < len(text) && text[j] >= '0' && text[j] <= '9' && number < 100_000; j++ {
				number = number*10 + int(text[j]-'0')
			}
			if number >= 1 && number <= len(params) {
				b.WriteString(literal(params[number-1]))
				i = j
				continue
			}
		}
		n = max(n, 1)
		b.WriteString(text[i : i+n])
		i += n
	}
	return b.String()
}

func literal(p facts.Param) string {
	if p.Null {
		return "NULL"
	}
	if strings.Contains(p.Text, `\`) {
		return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(p.Text) + "'"
	}
	return "'" + strings.ReplaceAll(p.Text, "'", "''") + "'"
}

// skipped is how long the quoted text, comment or name is that s begins with,
// 0 for none.
func skipped(s string) int {
	until := func(end string, from int) int {
		if i := strings.Index(s[from:], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch {
	case s[0] == '\'' || s[0] == '"':
		return until(s[:1], 1) // a doubled quote begins the next one
	case strings.HasPrefix(s, "--"):
		return until("\n", 2)
	case strings.HasPrefix(s, "/*"):
		depth := 0
		for i := 0; i+1 < len(s); i++ {
			switch s[i : i+2] {
			case "/*":
				depth++
				i++
			case "*/":
				i++
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return len(s)
	case (s[0] == 'e' || s[0] == 'E') && len(s) > 1 && s[1] == '\'':
		for i := 2; i < len(s); i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == '\'' {
				return i + 1
			}
		}
		return len(s)
	case word(s[0]):
		n := 1
		for n < len(s) && (word(s[n]) || s[n] == '$' || s[n] >= '0' && s[n] <= '9') {
			n++
		}
		return n
	case s[0] == '$' && len(s) > 1 && (s[1] == '$' || word(s[1])):
		if end := strings.IndexByte(s[1:], '$'); end >= 0 {
			return until(s[:end+2], end+2)
		}
	}
	return 0
}

func word(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
