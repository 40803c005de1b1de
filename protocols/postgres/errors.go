package postgres

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// routine stands in the error field that names PostgreSQL's C function, so
// that a program can tell our errors from the upstream's.
const routine = "sallyport"

// wireError is an error of ours as a client sees it.
type wireError struct {
	severity string // ERROR or FATAL
	code     string
	message  string
	detail   string
	hint     string
	position int // in characters, 1-based; 0 for none
}

func (e *wireError) Error() string { return e.message + " (" + e.code + ")" }

func fatal(code, message, hint string) *wireError {
	return &wireError{severity: "FATAL", code: code, message: message, hint: hint}
}

// failure is an error of ours that ends a message.
func failure(code, message string) *wireError {
	return &wireError{severity: "ERROR", code: code, message: message}
}

// codes give each kind of denial its SQLSTATE.
var codes = map[protocols.DenialKind]string{
	protocols.DenyPolicy:      "42501",
	protocols.DenyLogin:       "28P01",
	protocols.DenyDatabase:    "3D000",
	protocols.DenyUnavailable: "08006",
	protocols.DenyRecord:      "58030",
	protocols.DenyLimit:       "54000",
	protocols.DenyShutdown:    "57P01",
	protocols.DenyInternal:    "XX000",
	protocols.DenySchema:      "40001",
	protocols.DenyUnsupported: "0A000",
	protocols.DenyBudget:      "53400",
	protocols.DenyCancelled:   "57014",
	protocols.DenyTooMany:     "53300",
}

// toWire turns what admission answered into PostgreSQL's form. text is the
// statement's, for the position.
func toWire(err error, text string) *wireError {
	var w *wireError
	var d *protocols.Denial
	var p *facts.Problem
	switch {
	case errors.As(err, &w):
		return w
	case errors.As(err, &d):
		code, ok := codes[d.Kind]
		if !ok {
			code = "XX000"
		}
		severity := "ERROR"
		if d.Kind == protocols.DenyLogin || d.Kind == protocols.DenyDatabase || d.Kind == protocols.DenyShutdown {
			severity = "FATAL"
		}
		return &wireError{severity: severity, code: code, message: d.Message, detail: d.Detail, hint: d.Hint, position: position(text, d.At)}
	case errors.As(err, &p):
		return &wireError{severity: "ERROR", code: p.Code, message: p.Message, detail: p.Detail, hint: p.Hint, position: position(text, p.At)}
	}
	return &wireError{severity: "ERROR", code: "XX000", message: "internal error in the proxy", hint: "The proxy's log has the reason."}
}

// position turns a byte offset into PostgreSQL's count of characters.
func position(text string, at int) int {
	if at < 0 || at > len(text) || text == "" {
		return 0
	}
	return utf8.RuneCountInString(text[:at]) + 1
}

// appendError writes an ErrorResponse.
func appendError(dst []byte, e *wireError) []byte {
	return appendReport(dst, 'E', e)
}

// appendNotice writes a NoticeResponse.
func appendNotice(dst []byte, e *wireError) []byte {
	return appendReport(dst, 'N', e)
}

func appendReport(dst []byte, typ byte, e *wireError) []byte {
	dst, at := appendMessage(dst, typ)
	field := func(k byte, v string) {
		if v != "" {
			dst = appendString(append(dst, k), strings.ReplaceAll(v, "\x00", ""))
		}
	}
	field('S', e.severity)
	field('V', e.severity)
	field('C', e.code)
	field('M', e.message)
	field('D', e.detail)
	field('H', e.hint)
	if e.position > 0 {
		field('P', strconv.Itoa(e.position))
	}
	field('R', routine)
	return endMessage(append(dst, 0), at)
}

// report is an upstream's error or notice, in the parts that we look at.
type report struct {
	severity, code, message string
}

// readReport finds the parts; an unreadable report has none.
func readReport(body []byte) report {
	var r report
	f := fields{b: body}
	for {
		k := f.byte()
		if k == 0 || f.bad {
			return r
		}
		v := f.string()
		switch k {
		case 'V':
			r.severity = v
		case 'C':
			r.code = v
		case 'M':
			r.message = v
		}
	}
}

// scrub writes an upstream's report without anything that can depend on
// values: the message becomes its code's condition, detail, hint, context and
// positions go, the names of schema, table, column, type and constraint stay.
func scrub(dst, body []byte, typ byte) []byte {
	dst, at := appendMessage(dst, typ)
	f := fields{b: body}
	code := readReport(body).code
	if len(code) != 5 {
		code = "XX000"
	}
	for {
		k := f.byte()
		if k == 0 || f.bad {
			break
		}
		v := f.string()
		switch k {
		case 'S', 'V', 's', 't', 'c', 'd', 'n':
			dst = appendString(append(dst, k), v)
		}
	}
	dst = appendString(append(dst, 'C'), code)
	dst = appendString(append(dst, 'M'), condition(code))
	return endMessage(append(dst, 0), at)
}
