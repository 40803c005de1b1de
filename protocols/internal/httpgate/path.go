package httpgate

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxTarget bounds a request's path and query.
const maxTarget = 16 << 10

// target is a request's target, taken apart. The next request of a connection
// often has the same.
type target struct {
	raw   string
	path  []string
	query url.Values
}

func (t *target) parse(raw string) error {
	if raw == t.raw {
		return nil
	}
	path, query, err := parseTarget(raw)
	if err == nil {
		*t = target{raw, path, query}
	}
	return err
}

// parseTarget takes a request's target apart: each part of the path decoded
// once, each name of the query once. What two readers could read differently
// is an error.
func parseTarget(target string) (path []string, query url.Values, err error) {
	bad := func(what string) error {
		return Problem(http.StatusBadRequest, "the request's path or query "+what, "Send a plain absolute path, encoded once.")
	}
	if len(target) > maxTarget {
		return nil, nil, Problem(http.StatusRequestURITooLong, "the request's path and query are too long", "")
	}
	if !strings.HasPrefix(target, "/") {
		return nil, nil, bad("does not begin with a slash")
	}
	for _, c := range []byte(target) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`\;#"<>^`+"`{|}", c) >= 0 {
			return nil, nil, bad("has a character that must be encoded, or a semicolon")
		}
	}
	raw, rawQuery, _ := strings.Cut(target, "?")
	raw = strings.TrimSuffix(raw[1:], "/")
	if raw != "" {
		for _, s := range strings.Split(raw, "/") {
			d, err := url.PathUnescape(s)
			switch {
			case err != nil:
				return nil, nil, bad("has a broken escape")
			case d == "" || d == "." || d == "..":
				return nil, nil, bad("has an empty part, or one that means another folder")
			case !utf8.ValidString(d) || strings.ContainsFunc(d, ambiguous):
				return nil, nil, bad("has an encoded slash, percent sign or control character")
			}
			path = append(path, d)
		}
	}
	if query, err = parseQuery(rawQuery); err != nil {
		return nil, nil, bad(err.Error())
	}
	return path, query, nil
}

func ambiguous(r rune) bool {
	return r == '/' || r == '\\' || r == '%' || r < ' ' || r == 0x7f || r == utf8.RuneError
}

// unclear is why a query is not taken.
type unclear string

func (u unclear) Error() string { return string(u) }

func parseQuery(raw string) (url.Values, error) {
	q := url.Values{}
	if raw == "" {
		return q, nil
	}
	for _, pair := range strings.Split(raw, "&") {
		k, v, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, unclear("has a broken escape")
		}
		value, err := url.QueryUnescape(v)
		if err != nil || !utf8.ValidString(name+value) || strings.ContainsFunc(name+value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, unclear("has a broken escape or a control character")
		}
		for have := range q {
			if strings.EqualFold(have, name) {
				return nil, unclear("names " + quoted(name) + " twice")
			}
		}
		q[name] = []string{value}
	}
	return q, nil
}

// quoted is a client's own word told back, bounded.
func quoted(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return `"` + strings.ToValidUTF8(s, "\uFFFD") + `"`
}

// appendTarget appends a path and query as they are forwarded.
func appendTarget(b []byte, path []string, query url.Values) []byte {
	for _, s := range path {
		b = append(append(b, '/'), url.PathEscape(s)...)
	}
	if len(path) == 0 {
		b = append(b, '/')
	}
	if len(query) > 0 {
		b = append(append(b, '?'), query.Encode()...)
	}
	return b
}

// Only refuses names of the query that are not listed.
func (r *Request) Only(names ...string) error {
	for have := range r.Query {
		known := false
		for _, n := range names {
			known = known || n == have
		}
		if !known {
			return Problem(http.StatusBadRequest, "the query's "+quoted(have)+" is not known to the proxy for this route", "")
		}
	}
	return nil
}
