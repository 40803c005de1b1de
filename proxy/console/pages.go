package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"time"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
	"left":  func(t time.Time) string { return max(0, time.Until(t)).Round(time.Second).String() },
}).ParseFS(pageFiles, "pages/*.html"))

// shownHold is a hold as the pages show it; its JSON is the API's.
type shownHold struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Why      string    `json:"why"`
	Session  string    `json:"session"`
	Identity string    `json:"identity"`
	Groups   []string  `json:"groups"`
	Target   string    `json:"target"`
	Database string    `json:"database"`
	Text     string    `json:"text"`
	Params   []string  `json:"params"`
	Rules    []string  `json:"rules"`
	Reason   string    `json:"reason"`
	Plan     *struct {
		Rows int64   `json:"rows"`
		Cost float64 `json:"cost"`
	} `json:"plan"`
	Needs []struct {
		Rule   string   `json:"rule"`
		Groups []string `json:"groups"`
		Count  int      `json:"count"`
	} `json:"needs"`
	Votes []struct {
		Name   string    `json:"name"`
		Yes    bool      `json:"yes"`
		Reason string    `json:"reason"`
		At     time.Time `json:"at"`
	} `json:"votes"`
}

// page lets pass who logs in as an identity by the browser's own dialog. A
// browser sends what it knows with any page's requests: what changes anything
// is taken only where the browser says that it comes from here.
func (c *console) page(h func(w http.ResponseWriter, r *http.Request, who Who)) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cache-Control", "no-store")
		name, secret, ok := r.BasicAuth()
		var groups []string
		if ok {
			groups, ok = c.Approvals.Approver(r.Context(), addressOf(r), name, secret)
		}
		if !ok {
			head.Set("WWW-Authenticate", `Basic realm="Sallyport: an identity", charset="UTF-8"`)
			http.Error(w, "Log in with the name and password, or token, of an identity.", http.StatusUnauthorized)
			return
		}
		h(w, r, Who{Name: name, Groups: groups})
	}))
}

func (c *console) holdsPage(w http.ResponseWriter, r *http.Request, who Who) {
	state := r.URL.Query().Get("state")
	if !r.URL.Query().Has("state") {
		state = "waiting"
	}
	var holds []shownHold
	list, err := c.Approvals.Holds(r.Context(), who, state, 200)
	if err == nil {
		err = through(list, &holds)
	}
	show(w, "holds.html", map[string]any{"Name": who.Name, "State": state, "Holds": holds}, err)
}

func (c *console) holdPage(w http.ResponseWriter, r *http.Request, who Who) {
	var h shownHold
	got, err := c.Approvals.Hold(r.Context(), who, r.PathValue("id"))
	if err == nil {
		err = through(got, &h)
	}
	show(w, "hold.html", map[string]any{"Name": who.Name, "Hold": &h, "Problem": r.URL.Query().Get("problem"), "Own": h.Identity == who.Name}, err)
}

// answerPage takes the form and shows the hold again.
func (c *console) answerPage(w http.ResponseWriter, r *http.Request, who Who) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	id := r.PathValue("id")
	to := "/approvals/" + url.PathEscape(id)
	_, err := c.Approvals.Answer(r.Context(), who, id, Answer{Yes: r.PostFormValue("answer") == "approve", Reason: r.PostFormValue("reason")})
	var e *AnswerError
	switch {
	case errors.As(err, &e):
		to += "?problem=" + url.QueryEscape(e.Message)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// through gives the pages what the API says, and no more.
func through(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

func show(w http.ResponseWriter, name string, data any, err error) {
	var e *AnswerError
	if errors.As(err, &e) {
		http.Error(w, e.Message, e.Status)
		return
	}
	var b bytes.Buffer
	if err == nil {
		err = pages.ExecuteTemplate(&b, name, data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}
