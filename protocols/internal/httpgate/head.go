package httpgate

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// maxRequestHead bounds a request's line and fields.
const maxRequestHead = 64 << 10

// head is what a request's line and fields say, as far as the proxy looks at
// them: nothing of them is forwarded.
type head struct {
	method, target string
	old            bool  // HTTP/1.0
	length         int64 // of the body, or inChunks
	close          bool  // the client wants no other answer on this connection
	expects        bool  // 100-continue
	contentType    string
	encoding       string // Content-Encoding, all of them
	refused        string // a field that is not taken

	// The caller's token, wherever it may be.
	token                     string
	tokens                    int  // how many fields bring one
	other, empty, otherScheme bool // two are different; one is empty; one is no Bearer
}

// badHead is a request that cannot be answered as what it may mean: its
// connection ends, since nobody knows where the next one begins.
func badHead(what string) *facts.Problem {
	return Problem(http.StatusBadRequest, "the request's head "+what, "Send HTTP/1.1 as RFC 9112 has it.")
}

// readHead reads a request's head, which source.head has taken. keys are names
// of fields, in lower case, that may bring a token beside Authorization.
func (h *head) readHead(b []byte, keys []string, last *remembered) error {
	*h = head{}
	line, fields, _ := bytes.Cut(b, []byte("\r\n"))
	if err := h.requestLine(line, last); err != nil {
		return err
	}
	hosts, lengths, chunked := 0, 0, 0
	for {
		name, value, rest, err := nextField(fields)
		if err != nil {
			return badHead("has a field that is broken, folded, or has a space before its colon")
		}
		if name == nil {
			break
		}
		fields = rest
		switch {
		case is(name, "host"):
			if hosts++; !all(value, &hostByte) {
				return badHead("names a host that is none")
			}
		case is(name, "content-length"):
			if h.length, err = length(value); err != nil {
				return badHead("has a Content-Length that is no number")
			}
			lengths++
		case is(name, "transfer-encoding"):
			if chunked++; !is(value, "chunked") {
				return Problem(http.StatusNotImplemented, "the request's Transfer-Encoding is not taken", "chunked is, alone.")
			}
		case is(name, "connection"):
			h.close = h.close || lists(value, "close")
		case is(name, "expect"):
			if !is(value, "100-continue") {
				return Problem(http.StatusExpectationFailed, "the request's Expect is not taken", "100-continue is.")
			}
			h.expects = true
		case is(name, "content-type"):
			if h.contentType != "" {
				return badHead("has two Content-Types")
			}
			h.contentType = same(&last.contentType, value)
		case is(name, "content-encoding"):
			if h.encoding != "" {
				h.encoding += ","
			}
			h.encoding += string(value)
		default:
			h.otherField(name, value, keys, last)
		}
	}
	switch {
	case hosts > 1, hosts == 0 && !h.old:
		return badHead("must have one Host")
	case lengths > 1:
		return badHead("has two Content-Lengths")
	case chunked > 1:
		return badHead("has two Transfer-Encodings")
	case chunked > 0 && (lengths > 0 || h.old):
		return badHead("has a Transfer-Encoding that Content-Length or HTTP/1.0 forbids")
	case chunked > 0:
		h.length = inChunks
	}
	h.expects = h.expects && !h.old && h.length != 0
	h.close = h.close || h.old
	return nil
}

// requestLine reads a request's line (RFC 9112 §3). What the target is worth,
// parseTarget says.
func (h *head) requestLine(line []byte, last *remembered) error {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(method) == 0 || len(method) > 32 || !all(method, &tokenByte) || len(target) == 0 {
		return badHead("does not begin with a request's line")
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.old = true
	default:
		if bytes.HasPrefix(version, []byte("HTTP/")) && len(version) == len("HTTP/2.0") && digits(version[5:6], 0) == 1 && version[6] == '.' && digits(version[7:], 0) == 1 {
			return Problem(http.StatusHTTPVersionNotSupported, "HTTP/1.1 is what is spoken here", "")
		}
		return badHead("does not begin with a request's line")
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return badHead("has a control character in its target")
		}
	}
	h.method, h.target = same(&last.method, method), same(&last.target, target)
	return nil
}

// otherField notes a field that brings a token, and those that could make the
// upstream read another request than was decided on.
func (h *head) otherField(name, value []byte, keys []string, last *remembered) {
	if is(name, "authorization") {
		scheme, rest, _ := bytes.Cut(value, []byte{' '})
		if !is(scheme, "bearer") {
			h.otherScheme = true
			return
		}
		h.addToken(bytes.Trim(rest, " \t"), last)
		return
	}
	for _, k := range keys {
		if is(name, k) {
			h.addToken(value, last)
			return
		}
	}
	for _, r := range refusedFields {
		if is(name, r) {
			h.refused = r
			return
		}
	}
}

func (h *head) addToken(value []byte, last *remembered) {
	h.empty = h.empty || len(value) == 0
	if h.tokens++; h.tokens == 1 {
		h.token = same(&last.token, value)
		return
	}
	h.other = h.other || string(value) != h.token
}

// refusedFields could make the upstream read another request than was decided
// on. None is forwarded; a client that sends one is told.
var refusedFields = []string{"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-original-uri", "x-rewrite-url", "upgrade", "trailer"}

// lowered are names as readHead compares them.
func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
