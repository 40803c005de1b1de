package replay

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"filippo.io/age"
)

//go:embed pages/replay.html
var replayPage embed.FS

var page = template.Must(template.New("replay.html").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
	"after": func(t, start time.Time) string { return fmt.Sprintf("%.3f s", t.Sub(start).Seconds()) },
	"ms":    func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) },
	"safe":  Safe,
	"left":  func(s *Statement) int64 { return max(0, s.Sent-int64(len(s.Rows))) },
	"param": func(s *Statement, i int) string {
		if p := s.Params[i]; !p.Null {
			return Safe(p.Text)
		}
		return "NULL"
	},
	"cell":  func(s *string) string { return Safe(*s) },
	"words": strings.Fields,
	"inc":   func(i int) int { return i + 1 },
	"state": func(s *Statement) string {
		switch {
		case s.Refused():
			return "refused"
		case s.Code != "":
			return "failed"
		case len(s.Holds) > 0:
			return "granted"
		case len(s.Masks) > 0:
			return "masked"
		}
		return "passed"
	},
}).ParseFS(replayPage, "pages/replay.html"))

// exportHTML writes one page that opens offline and asks nothing of any
// network.
func exportHTML(w io.Writer, paths []string, identities []age.Identity) error {
	var sessions []*Recorded
	for _, p := range paths {
		r, err := Load(p, identities)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		sessions = append(sessions, r)
	}
	if err := page.Execute(w, sessions); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
