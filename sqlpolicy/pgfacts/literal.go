package pgfacts

import "strings"

// literalEnd is where the literal that starts at from ends: behind its quote
// or its last digit. Adjacent strings on following lines belong to it.
func literalEnd(text string, from int) int {
	if from < 0 || from >= len(text) {
		return len(text)
	}
	i := from
	for i < len(text) && (text[i] == '-' || text[i] == '+' || isSpace(text[i])) {
		i++ // a negative number
	}
	if i == len(text) {
		return i
	}
	switch c := text[i]; {
	case c == '$':
		return dollarEnd(text, i)
	case c == '\'':
		return quoteEnd(text, i, false)
	case isWordByte(c) && strings.IndexByte(text[i:], '\'') > 0 && prefixed(text[i:]) > 0:
		n := prefixed(text[i:])
		return quoteEnd(text, i+n, c == 'e' || c == 'E')
	}
	return wordEnd(text, i)
}

// prefixed is the length of a string's prefix: E, B, X, N, U&.
func prefixed(s string) int {
	switch s[0] {
	case 'e', 'E', 'b', 'B', 'x', 'X', 'n', 'N':
		if len(s) > 1 && s[1] == '\'' {
			return 1
		}
	case 'u', 'U':
		if len(s) > 2 && s[1] == '&' && s[2] == '\'' {
			return 2
		}
	}
	return 0
}

func quoteEnd(text string, i int, backslash bool) int {
	for i++; i < len(text); i++ {
		switch {
		case backslash && text[i] == '\\':
			i++
		case text[i] == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
		case text[i] == '\'':
			if next := continued(text, i+1); next > 0 {
				i = next
				continue
			}
			return i + 1
		}
	}
	return len(text)
}

// continued is where a string goes on after its quote: on another line, with
// nothing but space between. 0 where it does not.
func continued(text string, i int) int {
	newline := false
	for i < len(text) {
		switch {
		case text[i] == '\n' || text[i] == '\r':
			newline = true
			i++
		case isSpace(text[i]):
			i++
		case text[i] == '\'' && newline:
			return i
		default:
			return 0
		}
	}
	return 0
}

func dollarEnd(text string, i int) int {
	end := strings.IndexByte(text[i+1:], '$')
	if end < 0 {
		return len(text)
	}
	tag := text[i : i+end+2]
	close := strings.Index(text[i+len(tag):], tag)
	if close < 0 {
		return len(text)
	}
	return i + len(tag) + close + len(tag)
}

func wordEnd(text string, i int) int {
	start := i
	for i < len(text) && (isWordByte(text[i]) || text[i] == '.' ||
		(text[i] == '-' || text[i] == '+') && i > start && (text[i-1] == 'e' || text[i-1] == 'E') && text[start] <= '9') {
		i++
	}
	return max(i, start+1)
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
