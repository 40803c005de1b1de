package console

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Approvals are the engine's holds. What they return is written as JSON.
type Approvals interface {
	// Holds lists those in a state, all for "", newest first. Identities see
	// their own and those that they may answer.
	Holds(ctx context.Context, who Who, state string, limit int) (any, error)
	Hold(ctx context.Context, who Who, id string) (any, error)
	// Answer grants or denies. Its error is an AnswerError where the fault is
	// the caller's.
	Answer(ctx context.Context, who Who, id string, a Answer) (any, error)
	// Approver says whether a name and password or token are an identity's
	// that may look at holds and answer them, and in which groups it is.
	Approver(ctx context.Context, address, name, secret string) (groups []string, ok bool)
}

// Who is looking or answering.
type Who struct {
	Name   string   // of an identity; with the admin token, what it says
	Groups []string // of the identity
	Admin  bool     // by the admin token
}

// Answer is one approver's.
type Answer struct {
	Yes    bool          `json:"-"`
	As     string        `json:"as"` // whose answer it is, with the admin token
	Reason string        `json:"reason"`
	Uses   int           `json:"uses"` // of the grant; 0 is once
	For    time.Duration `json:"for"`  // in which it must be used, in nanoseconds; 0 is an hour
}

// AnswerError is an answer that cannot be taken, with what is said of it.
type AnswerError struct {
	Status  int
	Message string
}

func (e *AnswerError) Error() string { return e.Message }

// approver lets pass who brings the admin token, or the name and password or
// token of an identity by HTTP's basic authentication.
func (c *console) approver(h func(w http.ResponseWriter, r *http.Request, who Who)) http.Handler {
	byToken := c.admin(func(w http.ResponseWriter, r *http.Request) { h(w, r, Who{Admin: true}) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, secret, ok := r.BasicAuth()
		if !ok {
			byToken.ServeHTTP(w, r)
			return
		}
		groups, ok := c.Approvals.Approver(r.Context(), addressOf(r), name, secret)
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "name or password is wrong, or there were too many failures")
			return
		}
		h(w, r, Who{Name: name, Groups: groups})
	})
}

func addressOf(r *http.Request) string {
	address, _, _ := net.SplitHostPort(r.RemoteAddr)
	return address
}

func (c *console) holds(w http.ResponseWriter, r *http.Request, who Who) {
	limit := 100
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10_000 {
			fail(w, http.StatusBadRequest, "limit must be a number from 1 to 10000")
			return
		}
		limit = n
	}
	list, err := c.Approvals.Holds(r.Context(), who, r.URL.Query().Get("state"), limit)
	answered(w, list, err)
}

func (c *console) hold(w http.ResponseWriter, r *http.Request, who Who) {
	h, err := c.Approvals.Hold(r.Context(), who, r.PathValue("id"))
	answered(w, h, err)
}

func (c *console) answer(yes bool) func(w http.ResponseWriter, r *http.Request, who Who) {
	return func(w http.ResponseWriter, r *http.Request, who Who) {
		a := Answer{}
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			fail(w, http.StatusBadRequest, "the body must be a JSON object with as, reason, uses and for: "+err.Error())
			return
		}
		if !who.Admin && a.As != "" && a.As != who.Name {
			fail(w, http.StatusForbidden, "an identity answers for itself")
			return
		}
		if who.Admin {
			who.Name = a.As
		}
		a.Yes = yes
		if who.Name == "" {
			fail(w, http.StatusBadRequest, "with the admin token, say who answers: as")
			return
		}
		if a.Uses < 0 || a.Uses > 1000 || a.For < 0 || a.For > 30*24*time.Hour {
			fail(w, http.StatusBadRequest, "a grant is for up to 1000 uses within 30 days")
			return
		}
		h, err := c.Approvals.Answer(r.Context(), who, r.PathValue("id"), a)
		answered(w, h, err)
	}
}

func answered(w http.ResponseWriter, v any, err error) {
	var e *AnswerError
	switch {
	case errors.As(err, &e):
		fail(w, e.Status, e.Message)
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error())
	default:
		reply(w, v)
	}
}
