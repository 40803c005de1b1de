package httpgate

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// statuses give each kind of denial its status.
var statuses = map[protocols.DenialKind]int{
	protocols.DenyPolicy:      http.StatusForbidden,
	protocols.DenyLogin:       http.StatusUnauthorized,
	protocols.DenyDatabase:    http.StatusNotFound,
	protocols.DenyUnavailable: http.StatusBadGateway,
	protocols.DenyRecord:      http.StatusServiceUnavailable,
	protocols.DenyLimit:       http.StatusRequestEntityTooLarge,
	protocols.DenyShutdown:    http.StatusServiceUnavailable,
	protocols.DenyInternal:    http.StatusInternalServerError,
	protocols.DenySchema:      http.StatusConflict,
	protocols.DenyUnsupported: http.StatusNotImplemented,
	protocols.DenyBudget:      http.StatusTooManyRequests,
	protocols.DenyCancelled:   http.StatusServiceUnavailable,
	protocols.DenyTooMany:     http.StatusTooManyRequests,
	protocols.DenyHeld:        http.StatusForbidden,
}

// Problem is a request that was not understood or that is not let pass
// whatever the policy says.
func Problem(status int, message, hint string) *facts.Problem {
	return &facts.Problem{Code: strconv.Itoa(status), Message: message, Hint: hint, At: -1}
}

// unavailable is an upstream's failure; err is for the log alone.
type unavailable struct {
	status int
	what   string
	err    error
}

func (u *unavailable) Error() string { return u.what + ": " + u.err.Error() }
func (u *unavailable) Unwrap() error { return u.err }

// Broken is an upstream's answer that is not what its API promises, so that it
// cannot be masked.
func Broken(what string, err error) error {
	return &unavailable{status: http.StatusBadGateway, what: what, err: err}
}

// faultOf turns an error into what the client is told, and when to come again.
func faultOf(err error) (*Fault, time.Duration) {
	var d *protocols.Denial
	var p *facts.Problem
	var u *unavailable
	switch {
	case errors.As(err, &d):
		status, ok := statuses[d.Kind]
		if !ok {
			status = http.StatusInternalServerError
		}
		return &Fault{Status: status, Kind: d.Kind, Message: d.Message, Detail: d.Detail, Hint: d.Hint, HoldID: d.HoldID}, d.RetryAfter
	case errors.As(err, &p):
		status, err := strconv.Atoi(p.Code)
		if err != nil || status < 400 || status > 599 {
			status = http.StatusBadRequest
		}
		return &Fault{Status: status, Kind: protocols.DenyUnsupported, Message: p.Message, Detail: p.Detail, Hint: p.Hint}, 0
	case errors.As(err, &u):
		return &Fault{Status: u.status, Kind: protocols.DenyUnavailable, Message: u.what, Hint: "The proxy's log has the reason."}, 0
	case errors.Is(err, context.Canceled):
		return &Fault{Status: http.StatusServiceUnavailable, Kind: protocols.DenyCancelled, Message: "the request was cancelled"}, 0
	}
	return &Fault{Status: http.StatusInternalServerError, Kind: protocols.DenyInternal, Message: "internal error in the proxy", Hint: "The proxy's log has the reason."}, 0
}
