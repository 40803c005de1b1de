package httpgate

import (
	"bytes"
	"errors"
	"net/http"
)

// answerHead is what the head of an upstream's answer says (RFC 9112 §4).
type answerHead struct {
	status                int
	length                int64 // of the body, inChunks or untilClose
	close                 bool  // the connection ends with it
	contentType, encoding string
	passed                []byte // lines of fields that the API passes on
}

var errAnswer = errors.New("the answer's head is not as RFC 9112 has it")

// read reads a head that source.head has taken, of the answer to a request of
// that method. passed are the names of fields that are passed on.
func (a *answerHead) read(b []byte, method string, passed []string) error {
	lastType := a.contentType
	*a = answerHead{length: untilClose, passed: a.passed[:0]}
	line, fields, _ := bytes.Cut(b, []byte("\r\n"))
	if err := a.statusLine(line); err != nil {
		return err
	}
	lengths, chunked := 0, 0
	for {
		name, value, rest, err := nextField(fields)
		if err != nil {
			return err
		}
		if name == nil {
			break
		}
		fields = rest
		switch {
		case is(name, "content-length"):
			if a.length, err = length(value); err != nil {
				return err
			}
			lengths++
		case is(name, "transfer-encoding"):
			if chunked++; !is(value, "chunked") {
				return errAnswer
			}
		case is(name, "connection"):
			a.close = a.close || lists(value, "close")
		case is(name, "content-type"):
			if a.contentType == "" {
				a.contentType = same(&lastType, value)
			}
		case is(name, "content-encoding"):
			if a.encoding != "" {
				a.encoding += ","
			}
			a.encoding += string(value)
		default:
			for _, p := range passed {
				if len(p) == len(name) && bytes.EqualFold(name, []byte(p)) {
					a.passed = append(append(append(append(a.passed, p...), ": "...), value...), "\r\n"...)
				}
			}
		}
	}
	return a.framed(method, lengths, chunked)
}

// statusLine reads the first line.
func (a *answerHead) statusLine(line []byte) error {
	version, rest, _ := bytes.Cut(line, []byte{' '})
	if v := string(version); v != "HTTP/1.1" && v != "HTTP/1.0" {
		return errAnswer
	}
	a.close = version[len(version)-1] == '0'
	if len(rest) < 3 || digits(rest, 0) != 3 || len(rest) > 3 && rest[3] != ' ' {
		return errAnswer
	}
	a.status = int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	if a.status < 100 || a.status > 599 {
		return errAnswer
	}
	if a.status == http.StatusSwitchingProtocols {
		return errors.New("the upstream switches protocols")
	}
	return nil
}

// framed says how the body ends (RFC 9112 §6.3).
func (a *answerHead) framed(method string, lengths, chunked int) error {
	switch {
	case lengths > 1 || chunked > 1 || lengths+chunked > 1:
		return errAnswer
	case method == http.MethodHead || a.status < 200 || a.status == http.StatusNoContent || a.status == http.StatusNotModified:
		a.length = 0
	case chunked > 0:
		a.length = inChunks
	case lengths == 0:
		a.close = true
	}
	return nil
}
