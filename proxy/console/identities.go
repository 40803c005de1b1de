package console

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
)

// Identities is what the console asks of the engine about who may log in.
type Identities interface {
	// Revoked lists the names that may not, as JSON objects.
	Revoked(ctx context.Context) (any, error)
	// Revoke keeps a name from logging in and ends its sessions; it returns
	// how many were open here.
	Revoke(ctx context.Context, name, by, reason string) (ended int, err error)
	// Restore lets it log in again; false where it was not revoked.
	Restore(ctx context.Context, name, by string) (bool, error)
	// KillIdentity ends a name's sessions, and returns how many.
	KillIdentity(name, by string) int
}

// Ended is the answer to what has ended an identity's sessions.
type Ended struct {
	Identity string `json:"identity"`
	Ended    int    `json:"ended"`
}

const byAdmin = "admin token"

func (c *console) revoked(w http.ResponseWriter, r *http.Request) {
	list, err := c.Identities.Revoked(r.Context())
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	reply(w, list)
}

// Revocation is the body of a request to revoke.
type Revocation struct {
	Reason string `json:"reason"`
}

func (c *console) revoke(w http.ResponseWriter, r *http.Request) {
	var body Revocation
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&body); err != nil {
		fail(w, http.StatusBadRequest, "the body must be {\"reason\": …}")
		return
	}
	name := r.PathValue("name")
	n, err := c.Identities.Revoke(r.Context(), name, byAdmin, strings.TrimSpace(body.Reason))
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	reply(w, Ended{name, n})
}

func (c *console) restore(w http.ResponseWriter, r *http.Request) {
	was, err := c.Identities.Restore(r.Context(), r.PathValue("name"), byAdmin)
	switch {
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error())
	case !was:
		fail(w, http.StatusNotFound, "the identity is not revoked")
	default:
		reply(w, map[string]string{"restored": r.PathValue("name")})
	}
}

func (c *console) killIdentity(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	reply(w, Ended{name, c.Identities.KillIdentity(name, byAdmin)})
}
