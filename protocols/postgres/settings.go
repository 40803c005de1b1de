package postgres

import (
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/pgsettings"
)

// checkSetting refuses start-up settings that SET statements may not set
// either.
func checkSetting(name, value string) *wireError {
	if strings.EqualFold(name, "options") {
		return checkOptions(value)
	}
	if pgsettings.ChoosesPlans(name) {
		return fatal("0A000", quote(name)+" is not set in the start-up packet through the proxy", "SET it once connected, where the policy is asked.")
	}
	if p := pgsettings.Check(name, value); p != nil {
		w := fatal(p.Code, p.Message, p.Hint)
		w.detail = p.Detail
		return w
	}
	return nil
}

// checkOptions reads the command-line switches of the start-up packet: only
// -c name=value, -cname=value and --name=value.
//
// Source: pg_split_opts in postgres/src/backend/utils/init/postinit.c.
func checkOptions(value string) *wireError {
	words := splitOptions(value)
	for i := 0; i < len(words); i++ {
		w := words[i]
		var setting string
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			setting = words[i]
		case strings.HasPrefix(w, "-c"):
			setting = w[2:]
		case strings.HasPrefix(w, "--"):
			setting = w[2:]
		default:
			return fatal("0A000", "start-up option "+quote(w)+" does not pass the proxy", "Only -c name=value and --name=value do.")
		}
		name, v, ok := strings.Cut(setting, "=")
		if !ok {
			return fatal("0A000", "start-up option "+quote(setting)+" has no value", "")
		}
		if e := checkSetting(strings.ReplaceAll(name, "-", "_"), v); e != nil {
			return e
		}
	}
	return nil
}

func splitOptions(s string) []string {
	var words []string
	var word strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			in = true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words
}

// quote bounds what is told back of a client's input.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return "\"" + s + "\""
}
