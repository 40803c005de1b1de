package mask

import "bytes"

// prefixes begin keys and tokens whose issuers made them recognisable; least
// is how many characters of a token follow at least.
var prefixes = []struct {
	prefix string
	least  int
}{
	{"sk-", 16}, {"sk_live_", 16}, {"sk_test_", 16}, {"rk_live_", 16}, {"rk_test_", 16}, {"whsec_", 16},
	{"ghp_", 20}, {"gho_", 20}, {"ghu_", 20}, {"ghs_", 20}, {"ghr_", 20}, {"github_pat_", 20}, {"glpat-", 16},
	{"xoxa-", 10}, {"xoxb-", 10}, {"xoxp-", 10}, {"xoxr-", 10}, {"xoxs-", 10}, {"xapp-", 10},
	{"AKIA", 16}, {"ASIA", 16}, {"AIza", 30}, {"ya29.", 20}, {"npm_", 30}, {"pypi-", 40}, {"hf_", 30},
	{"dop_v1_", 40}, {"shpat_", 30}, {"SG.", 40}, {"hvs.", 20}, {"AGE-SECRET-KEY-1", 40}, {"eyJ", 30},
}

var secretStarts = func() (out [256]bool) {
	for _, p := range prefixes {
		out[p.prefix[0]] = true
	}
	out['-'], out[':'] = true, true
	return out
}()

// matchSecret finds keys and tokens with a known prefix, JSON Web Tokens
// (RFC 7519), private keys in PEM (RFC 7468) and passwords in URLs.
func matchSecret(b []byte, i int, eof bool) (int, state) {
	switch b[i] {
	case '-':
		return matchPEM(b, i, eof)
	case ':':
		return matchUserinfo(b, i, eof)
	}
	if before(b, i, isWord) {
		return 0, no
	}
	for _, p := range prefixes {
		if p.prefix[0] != b[i] {
			continue
		}
		rest := b[i:min(len(b), i+len(p.prefix))]
		if p.prefix[:len(rest)] != string(rest) {
			continue
		}
		if len(rest) < len(p.prefix) {
			if eof {
				continue
			}
			return 0, more
		}
		if end, s := token(b, i+len(p.prefix), p.least, eof); s != no {
			return end, s
		}
	}
	return 0, no
}

// token reads the characters of tokens. A dot belongs to one where another
// such character follows. What is longer than maxHeld ends there, and the rest
// is read as the next value.
func token(b []byte, i, least int, eof bool) (int, state) {
	in := func(c byte) bool { return isWord(c) || c == '-' }
	j := i
	for {
		if j-i >= maxHeld-64 {
			return j, yes
		}
		if j < len(b) && (in(b[j]) || (b[j] == '.' || b[j] == '=' || b[j] == '+' || b[j] == '/') && j > i) {
			j++
			continue
		}
		if j == len(b) && !eof {
			return 0, more
		}
		break
	}
	for j > i && !in(b[j-1]) && b[j-1] != '=' {
		j--
	}
	if j-i < least {
		return 0, no
	}
	return j, yes
}

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "PRIVATE KEY-----"
)

// matchPEM finds a private key between its encapsulation boundaries.
func matchPEM(b []byte, i int, eof bool) (int, state) {
	if before(b, i, func(c byte) bool { return c == '-' }) {
		return 0, no
	}
	head := b[i:min(len(b), i+len(pemBegin))]
	if pemBegin[:len(head)] != string(head) {
		return 0, no
	}
	if len(head) < len(pemBegin) {
		return 0, wait(eof)
	}
	label := b[i+len(pemBegin) : min(len(b), i+len(pemBegin)+64)]
	line, _, whole := bytes.Cut(label, []byte{'\n'})
	k := bytes.Index(line, []byte(pemEnd))
	if k < 0 {
		if len(label) < 64 && !whole {
			return 0, wait(eof)
		}
		return 0, no
	}
	body := i + len(pemBegin) + k + len(pemEnd)
	all := b[body:min(len(b), i+maxHeld)]
	if end := bytes.Index(all, []byte(pemEnd)); end >= 0 {
		return body + end + len(pemEnd), yes
	}
	if len(b) < i+maxHeld && !eof {
		return 0, more
	}
	return body + len(all), yes // cut off: all there is of it
}

// matchUserinfo finds the password in scheme://user:password@host, from the
// colon before the slashes on (RFC 3986 §3.2.1).
func matchUserinfo(b []byte, i int, eof bool) (int, state) {
	if !before(b, i, isAlnum) {
		return 0, no
	}
	colon := -1
	for j := i + 1; ; j++ {
		if j == len(b) {
			return 0, wait(eof)
		}
		c := b[j]
		switch {
		case j <= i+2:
			if c != '/' {
				return 0, no
			}
		case c == '@':
			if colon < 0 || j == colon+1 {
				return 0, no
			}
			return j, yes
		case c == ':' && colon < 0:
			colon = j
		case c <= ' ' || c == '/' || c == '"' || c == '<' || c == '>' || j-i > 512:
			return 0, no
		}
	}
}
