package mysql

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// wireError is an error of ours as a client sees it.
type wireError struct {
	code    uint16
	state   string
	message string
	fatal   bool // the session ends with it
}

func (e *wireError) Error() string { return e.message + " (" + strconv.Itoa(int(e.code)) + ")" }

func fatal(code uint16, state, message string) *wireError {
	return &wireError{code: code, state: state, message: message, fatal: true}
}

// denials give each kind of denial the error that drivers and people know.
//
// Source: https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html.
var denials = map[protocols.DenialKind]wireError{
	protocols.DenyPolicy:      {code: 1227, state: "42000"},              // ER_SPECIFIC_ACCESS_DENIED_ERROR
	protocols.DenyLogin:       {code: 1045, state: "28000", fatal: true}, // ER_ACCESS_DENIED_ERROR
	protocols.DenyDatabase:    {code: 1049, state: "42000", fatal: true}, // ER_BAD_DB_ERROR
	protocols.DenyUnavailable: {code: 1105, state: "08S01"},              // ER_UNKNOWN_ERROR
	protocols.DenyRecord:      {code: 1026, state: "HY000"},              // ER_ERROR_ON_WRITE
	protocols.DenyLimit:       {code: 1104, state: "42000"},              // ER_TOO_BIG_SELECT
	protocols.DenyShutdown:    {code: 1053, state: "08S01", fatal: true}, // ER_SERVER_SHUTDOWN
	protocols.DenyInternal:    {code: 1105, state: "HY000"},
	protocols.DenySchema:      {code: 1412, state: "HY000"}, // ER_TABLE_DEF_CHANGED
	protocols.DenyUnsupported: {code: 1235, state: "42000"}, // ER_NOT_SUPPORTED_YET
	protocols.DenyBudget:      {code: 1226, state: "42000"}, // ER_USER_LIMIT_REACHED
	protocols.DenyCancelled:   {code: 1317, state: "70100"}, // ER_QUERY_INTERRUPTED
	protocols.DenyTooMany:     {code: 1040, state: "08004"}, // ER_CON_COUNT_ERROR
}

// toWire turns what admission answered into MySQL's form, which has one
// message: detail and hint follow it.
func toWire(err error) *wireError {
	var w *wireError
	var d *protocols.Denial
	var p *facts.Problem
	switch {
	case errors.As(err, &w):
		return w
	case errors.As(err, &d):
		e, ok := denials[d.Kind]
		if !ok {
			e = denials[protocols.DenyInternal]
		}
		detail := d.Detail
		if d.HoldID != "" && !strings.Contains(detail, d.HoldID) {
			detail = strings.TrimSpace("hold " + d.HoldID + " " + detail)
		}
		e.message = sentences(d.Message, detail, d.Hint)
		return &e
	case errors.As(err, &p):
		e := &wireError{code: 1105, state: "HY000", message: sentences(p.Message, p.Detail, p.Hint)}
		if n, err := strconv.ParseUint(p.Code, 10, 16); err == nil && len(p.Code) == 4 {
			e.code = uint16(n)
			if s, ok := mysql.MySQLState[e.code]; ok {
				e.state = s
			}
		} else if len(p.Code) == 5 {
			e.state = p.Code
		}
		if p.Unparsed {
			e.code, e.state = 1064, "42000" // ER_PARSE_ERROR
		}
		return e
	}
	return &wireError{code: 1105, state: "HY000", message: "internal error in the proxy; its log has the reason"}
}

// maxMessage is what MySQL's clients take of an error's message, in bytes.
const maxMessage = 511

func sentences(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p)
	}
	s := b.String()
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage-3], "") + "…"
	}
	return s
}

// appendErr appends an ERR packet's payload.
func appendErr(dst []byte, e *wireError, caps uint32) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, headErr), e.code)
	if caps&capProtocol41 != 0 {
		state := e.state
		if len(state) != 5 {
			state = "HY000"
		}
		dst = append(append(dst, '#'), state...)
	}
	return append(dst, strings.ReplaceAll(e.message, "\x00", "")...)
}

// quote bounds what is told back of a client's input.
func quote(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return "'" + s + "'"
}

// scrubbed is an upstream's error without anything that can depend on values:
// its number's own words.
func scrubbed(r *report) *wireError {
	e := &wireError{code: r.code, state: r.state, message: condition(r.code, r.state)}
	return e
}

// condition says what an error's number means, without what it is about.
func condition(code uint16, state string) string {
	if s, ok := conditions[code]; ok {
		return s
	}
	switch {
	case strings.HasPrefix(state, "22"):
		return "data exception"
	case strings.HasPrefix(state, "23"):
		return "integrity constraint violation"
	case strings.HasPrefix(state, "42"):
		return "syntax error or access rule violation"
	case strings.HasPrefix(state, "40"):
		return "transaction rollback"
	}
	return "error " + strconv.Itoa(int(code)) + " of the upstream"
}

// conditions are the errors that statements over tables meet, by number.
var conditions = map[uint16]string{
	1022: "can't write: duplicate key in table",
	1030: "error from the storage engine",
	1048: "column cannot be null",
	1062: "duplicate entry for a key",
	1169: "can't write, because of a unique constraint",
	1205: "lock wait timeout exceeded; try restarting transaction",
	1213: "deadlock found when trying to get lock; try restarting transaction",
	1216: "cannot add or update a child row: a foreign key constraint fails",
	1217: "cannot delete or update a parent row: a foreign key constraint fails",
	1242: "subquery returns more than 1 row",
	1264: "out of range value for a column",
	1265: "data truncated for a column",
	1292: "truncated incorrect value",
	1317: "query execution was interrupted",
	1364: "a field doesn't have a default value",
	1365: "division by 0",
	1366: "incorrect value for a column",
	1406: "data too long for a column",
	1411: "incorrect value for a function",
	1416: "cannot get geometry object from data sent to the GEOMETRY field",
	1451: "cannot delete or update a parent row: a foreign key constraint fails",
	1452: "cannot add or update a child row: a foreign key constraint fails",
	1526: "table has no partition for the value",
	1557: "upholding foreign key constraints for the table would lead to a duplicate entry",
	1586: "duplicate entry for a key",
	1690: "value is out of range",
	1761: "foreign key constraint would lead to a duplicate entry in the child table",
	1762: "foreign key constraint would lead to a duplicate entry in a child table",
	1969: "query execution was interrupted (max_statement_time exceeded)",
	3024: "query execution was interrupted, maximum statement execution time exceeded",
	3140: "invalid JSON text",
	3141: "invalid JSON text in an argument",
	3819: "a check constraint is violated",
	3820: "a check constraint is violated",
	4025: "a constraint failed for the table",
	4038: "syntax error in JSON text",
}
