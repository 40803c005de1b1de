package httpgate

import (
	"bytes"
	"errors"
	"strconv"
)

// Fields of a message's head (RFC 9112 §5) are read by one reading alone: no
// folded line, no space before the colon, no character that a value may not
// have.

var errField = errors.New("a field of the head is not as RFC 9112 has it")

// nextField takes the first field of b, which is what source.head returned
// without its first line. At the end name is nil.
func nextField(b []byte) (name, value, rest []byte, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 || b[end-1] != '\r' {
		return nil, nil, nil, errField
	}
	line, rest := b[:end-1], b[end+1:]
	if len(line) == 0 {
		return nil, nil, rest, nil
	}
	n := 0
	for n < len(line) && tokenByte[line[n]] {
		n++
	}
	if n == 0 || n == len(line) || line[n] != ':' {
		return nil, nil, nil, errField
	}
	value = bytes.Trim(line[n+1:], " \t")
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, nil, nil, errField
		}
	}
	return line[:n], value, rest, nil
}

// is says that a field's name is want, which is in lower case and of letters
// and dashes.
func is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if c|0x20 != want[i] {
			return false
		}
	}
	return true
}

// lists says that a list of words (RFC 9110 §5.6.1) has want.
func lists(value []byte, want string) bool {
	for word := range bytes.SplitSeq(value, []byte{','}) {
		if is(bytes.Trim(word, " \t"), want) {
			return true
		}
	}
	return false
}

// length reads a Content-Length: digits and nothing else (RFC 9110 §8.6).
func length(value []byte) (int64, error) {
	if len(value) == 0 || len(value) > 18 || digits(value, 0) != len(value) {
		return 0, errField
	}
	return strconv.ParseInt(string(value), 10, 64)
}

// tokenByte are those of a token (RFC 9110 §5.6.2).
var tokenByte = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// hostByte are those of a Host (RFC 3986 §3.2, without user information).
var hostByte = func() (t [256]bool) {
	for _, c := range []byte("!$%&'()*+,-.:;=[]_~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// all says that b is of bytes of t.
func all(b []byte, t *[256]bool) bool {
	for _, c := range b {
		if !t[c] {
			return false
		}
	}
	return true
}

// remembered are words of a connection's last messages: most are the same in
// the next, which then makes no string of its own.
type remembered struct{ method, target, token, contentType string }

// same is b as a string: the last one, where they are equal.
func same(last *string, b []byte) string {
	if string(b) != *last {
		*last = string(b)
	}
	return *last
}
