package catalog

// Literal is a constant of a text, From inclusive and To exclusive, in bytes.
// One of the same kind in its place leaves all else of the text as it is.
type Literal struct {
	From, To int
	Kind     byte
}

// What the SQL dialects' own scanners of literals have in common.

// NumberEnd is where the number that begins at i ends, with the letters and
// dots that it runs into and the sign of an exponent. name says which bytes
// names are of.
func NumberEnd(text string, i int, name func(byte) bool) int {
	for i++; i < len(text) && (name(text[i]) || text[i] == '.' || (text[i] == '+' || text[i] == '-') && text[i-1]|0x20 == 'e'); i++ {
	}
	return i
}

// SmallInt says that a number is of 1 to 9 digits, the first not 0.
func SmallInt(s string) bool {
	if len(s) > 9 || s[0] < '1' || s[0] > '9' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// QuoteEnd is where the string in single quotes that begins at i ends, with
// doubled quotes in it, and whether all of it is printable ASCII without a
// backslash; -1 where it does not end.
func QuoteEnd(text string, i int) (end int, plain bool) {
	plain = true
	for i++; i < len(text); i++ {
		if text[i] == '\'' {
			if i+1 == len(text) || text[i+1] != '\'' {
				return i + 1, plain
			}
			i++
		}
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			plain = false
		}
	}
	return -1, false
}
