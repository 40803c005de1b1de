// Package console is the API over HTTP: sessions, approvals, health and
// metrics, and the pages on which people answer holds. It knows the engine by
// small interfaces and transcripts by their reader. It listens on loopback and
// sets no cookies: the API takes the admin token as a bearer token, the pages
// an identity's name and password by the browser's own dialog.
package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/archive"
)

// Engine is what the console asks of the engine.
type Engine interface {
	// Live lists the sessions that are open.
	Live() []replay.Summary
	// Kill ends a session; false where it is not open.
	Kill(id, by string) bool
	// Status describes the engine for a person or a probe.
	Status() Status
	// Changed is closed when the session's transcript has grown; nil where
	// it is not open.
	Changed(id string) <-chan struct{}
}

// Status is the engine's state.
type Status struct {
	Program  string   `json:"program"`
	Policy   string   `json:"policy"`
	Targets  []string `json:"targets"`
	Draining bool     `json:"draining"`
	// Broken is why the last reload was refused, "" where it was not.
	Broken string `json:"broken,omitempty"`
}

// Options make a Handler.
type Options struct {
	Engine      Engine
	Approvals   Approvals
	Identities  Identities
	Transcripts *archive.Archive
	Token       string
	Metrics     http.Handler
}

// Handler serves the API.
func Handler(o Options) http.Handler {
	c := &console{o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", c.readyz)
	mux.Handle("GET /metrics", o.Metrics)
	mux.Handle("GET /api/v1/status", c.admin(c.status))
	mux.Handle("GET /api/v1/sessions", c.admin(c.sessions))
	mux.Handle("GET /api/v1/sessions/{id}", c.admin(c.session))
	mux.Handle("GET /api/v1/sessions/{id}/events", c.admin(c.events))
	mux.Handle("POST /api/v1/sessions/{id}/kill", c.admin(c.kill))
	mux.Handle("GET /api/v1/identities/revoked", c.admin(c.revoked))
	mux.Handle("POST /api/v1/identities/{name}/revoke", c.admin(c.revoke))
	mux.Handle("POST /api/v1/identities/{name}/restore", c.admin(c.restore))
	mux.Handle("POST /api/v1/identities/{name}/kill", c.admin(c.killIdentity))
	mux.Handle("GET /api/v1/approvals", c.approver(c.holds))
	mux.Handle("GET /api/v1/approvals/{id}", c.approver(c.hold))
	mux.Handle("POST /api/v1/approvals/{id}/approve", c.approver(c.answer(true)))
	mux.Handle("POST /api/v1/approvals/{id}/deny", c.approver(c.answer(false)))
	mux.Handle("GET /approvals", c.page(c.holdsPage))
	mux.Handle("GET /approvals/{id}", c.page(c.holdPage))
	mux.Handle("POST /approvals/{id}", c.page(c.answerPage))
	return localHost(mux)
}

// Server has the timeouts of a server that strangers can reach.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
}

// localHost refuses requests whose Host is a name: a page that rebinds its
// own name to loopback sends that name.
func localHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			fail(w, http.StatusMisdirectedRequest, "the console is asked for as localhost or 127.0.0.1")
			return
		}
		next.ServeHTTP(w, r)
	})
}

type console struct{ Options }

func (c *console) admin(h http.HandlerFunc) http.Handler {
	want := sha256.Sum256([]byte(c.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if !ok || c.Token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "the admin token is missing or wrong; it is in admin.token in the keys' folder")
			return
		}
		h(w, r)
	})
}

func fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

func (c *console) readyz(w http.ResponseWriter, _ *http.Request) {
	if c.Engine.Status().Draining {
		fail(w, http.StatusServiceUnavailable, "draining")
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

func (c *console) status(w http.ResponseWriter, _ *http.Request) { reply(w, c.Engine.Status()) }

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// sessions lists the live ones, or with ?all=true those in transcripts too.
func (c *console) sessions(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("all") != "true" {
		reply(w, c.Engine.Live())
		return
	}
	list, err := List(r.Context(), c.Transcripts, c.Engine.Live())
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	reply(w, list)
}

// List is all sessions with a transcript, oldest first, live ones marked.
func List(ctx context.Context, transcripts *archive.Archive, live []replay.Summary) ([]replay.Summary, error) {
	sessions, err := transcripts.Summaries(ctx)
	if err != nil {
		return nil, err
	}
	open := map[string]replay.Summary{}
	for _, s := range live {
		open[s.ID] = s
	}
	out := []replay.Summary{}
	for _, found := range sessions {
		s, err := found.Summary, found.Err
		if l, ok := open[s.ID]; ok {
			if s.Live = true; errors.Is(err, replay.ErrEncrypted) {
				s, err = l, nil // the proxy cannot read what it has sealed
			}
		}
		switch {
		case errors.Is(err, replay.ErrEncrypted):
			s.End = replay.ErrEncrypted.Error()
		case err != nil:
			s.End = "unreadable: " + err.Error()
		}
		out = append(out, s)
	}
	return out, nil
}

func (c *console) session(w http.ResponseWriter, r *http.Request) {
	id, err := c.Transcripts.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	s, err := c.Transcripts.Summary(r.Context(), id)
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	for _, l := range c.Engine.Live() {
		s.Live = s.Live || l.ID == s.ID
	}
	reply(w, s)
}

// events streams a session's events, one object a line, and follows it while
// it is open with ?follow=true.
func (c *console) events(w http.ResponseWriter, r *http.Request) {
	id, err := c.Transcripts.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	enc := json.NewEncoder(w)
	last := int64(0)
	for {
		changed := c.Engine.Changed(id)
		err := c.Transcripts.With(r.Context(), id, func(path string) error {
			return replay.Read(path, nil, func(e *replay.Event) error {
				if e.Number <= last {
					return nil
				}
				last = e.Number
				return enc.Encode(e)
			})
		})
		if err != nil || r.URL.Query().Get("follow") != "true" || changed == nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func (c *console) kill(w http.ResponseWriter, r *http.Request) {
	if !c.Engine.Kill(r.PathValue("id"), "admin token") {
		fail(w, http.StatusNotFound, "no such session is open")
		return
	}
	reply(w, map[string]string{"killed": r.PathValue("id")})
}
