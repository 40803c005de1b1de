package replay

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// ExportFormats are what sessions can be written as.
var ExportFormats = []string{"html", "sql", "jsonl", "csv"}

// Recorded is a session as a whole, for exports.
type Recorded struct {
	ID         string
	Identity   facts.Identity
	Target     string
	Database   string
	Protocol   string
	Address    string
	Options    map[string]string // the client's own, of its login
	Started    time.Time
	End        string // why it ended, "" where it has not
	Statements []*Statement
}

// Statement is one recorded statement with what came of it.
type Statement struct {
	ID       int64
	At       time.Time
	Kind     string
	Text     string
	Params   []facts.Param
	Verdict  string
	Rules    []facts.RuleHit
	Masks    []string
	Holds    []*Event // holds and grants
	Columns  []string
	Rows     [][]*string
	Sent     int64 // rows that the client was sent
	Tag      string
	Code     string // of an error
	Message  string
	Why      string
	Took     time.Duration
	Hash     string // of all rows that were sent, "" where it is not known
	Finished bool
	CopiesIn bool // COPY FROM STDIN, whose rows are not in the record
	Protocol string
	Settings catalog.Settings // that it was read under
	// Writes says that it does more than read and set its session, and
	// Transaction that it begins or ends one.
	Writes, Transaction bool
	Verb                string // of its first effect
	Actions             []facts.Action
	Masked              []int // result columns, from 0
	Scrubbed            bool  // the upstream's own counts and texts were not sent
}

// Does says whether the statement has an effect of one of the actions.
func (s *Statement) Does(actions ...facts.Action) bool {
	return slices.ContainsFunc(s.Actions, func(a facts.Action) bool { return slices.Contains(actions, a) })
}

// Refused says that the policy did not let it pass.
func (s *Statement) Refused() bool { return s.Code == RefusedCode }

// Load reads a whole session. identities open what is encrypted, and sealed
// constants stay sealed.
func Load(path string, identities []age.Identity) (*Recorded, error) {
	r := &Recorded{ID: SessionOf(path)}
	open := map[int64]*Statement{}
	err := Read(path, identities, func(e *Event) error {
		switch e.Type {
		case TypeOpen:
			r.ID, r.Target, r.Database, r.Protocol, r.Address, r.Options, r.Started = e.Session, e.Target, e.Database, e.Protocol, e.Address, e.Options, e.At
			if e.Identity != nil {
				r.Identity = *e.Identity
			}
		case TypeStatement:
			s, err := newStatement(e, r.Protocol)
			if err != nil {
				return err
			}
			open[e.ID] = s
			r.Statements = append(r.Statements, s)
		case TypeClose:
			r.End = e.Reason
		case TypeRecovered:
			r.End = "cut short by a crash"
		default:
			if s := open[e.ID]; s != nil {
				s.add(e)
			}
		}
		return nil
	})
	return r, err
}

func newStatement(e *Event, protocol string) (*Statement, error) {
	s := &Statement{ID: e.ID, At: e.At, Kind: e.Kind, Text: e.Text, Params: e.Params, Verdict: facts.Deny.String(), Protocol: protocol, Settings: catalog.Settings(e.Settings)}
	if e.Problem != nil {
		s.Why = "not understood: " + e.Problem.Message
		return s, nil
	}
	var d facts.Decision
	var f facts.Facts
	if err := json.Unmarshal(e.Decision, &d); err != nil {
		return nil, fmt.Errorf("statement %d: its decision: %w", e.ID, err)
	}
	if err := json.Unmarshal(e.Facts, &f); err != nil {
		return nil, fmt.Errorf("statement %d: its facts: %w", e.ID, err)
	}
	s.Verdict, s.Rules, s.Masks, s.Scrubbed = d.Verdict.String(), d.Rules, maskList(&f, &d), d.Scrub
	s.CopiesIn = f.Copy != nil && f.Copy.In
	for i, e := range f.Effects {
		if i == 0 {
			s.Verb = e.Verb
		}
		s.CopiesIn = s.CopiesIn || e.Verb == "LOAD DATA LOCAL"
		s.Actions = append(s.Actions, e.Action)
		switch e.Action {
		case facts.Read, facts.SessionSet:
		case facts.Transaction:
			s.Transaction = true
		case facts.Copy:
			s.Writes = s.Writes || s.CopiesIn || f.Copy == nil // into or from a file of the server
		default:
			s.Writes = true
		}
	}
	for _, m := range d.Masks {
		s.Masked = append(s.Masked, m.Output)
	}
	return s, nil
}

func (s *Statement) add(e *Event) {
	switch e.Type {
	case TypeHold, TypeGrant:
		s.Holds = append(s.Holds, e)
	case TypeRows:
		if e.Columns != nil {
			s.Columns = e.Columns
		}
		s.Rows = append(s.Rows, e.Cells...)
	case TypeComplete, TypeError:
		s.Finished, s.Sent, s.Tag, s.Code, s.Message, s.Hash = true, e.Rows, e.Tag, e.Code, e.Message, e.Hash
		if e.Reason != "" {
			s.Why = e.Reason
		}
		s.Took = time.Duration(e.Milliseconds * float64(time.Millisecond))
	}
}

// Export writes sessions in one of the formats. The same files give the same
// bytes.
func Export(w io.Writer, format string, paths []string, identities []age.Identity) error {
	out := bufio.NewWriter(w)
	var err error
	switch format {
	case "jsonl":
		err = exportEvents(out, paths, identities)
	case "csv":
		err = exportCSV(out, paths, identities)
	case "sql":
		err = exportSQL(out, paths, identities)
	case "html":
		err = exportHTML(out, paths, identities)
	default:
		return fmt.Errorf("there is no format %q; there are %s", format, strings.Join(ExportFormats, ", "))
	}
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	return err
}

// exportEvents writes every event with its session.
func exportEvents(w io.Writer, paths []string, identities []age.Identity) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, p := range paths {
		id := SessionOf(p)
		err := Read(p, identities, func(e *Event) error {
			e.Session = id
			return enc.Encode(e)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// exportCSV writes one line a statement.
func exportCSV(w io.Writer, paths []string, identities []age.Identity) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"session", "identity", "target", "database", "statement", "at", "verdict", "rules", "masks", "outcome", "rows", "ms", "text"})
	for _, p := range paths {
		r, err := Load(p, identities)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		for _, s := range r.Statements {
			var rules []string
			for _, h := range s.Rules {
				rules = append(rules, h.Rule)
			}
			outcome := s.Tag
			if s.Code != "" {
				outcome = s.Code + ": " + s.Message
			}
			_ = c.Write([]string{
				r.ID, cellText(r.Identity.Name), cellText(r.Target), cellText(r.Database), strconv.FormatInt(s.ID, 10), s.At.UTC().Format(time.RFC3339Nano), s.Verdict,
				cellText(strings.Join(rules, "; ")), cellText(strings.Join(s.Masks, "; ")), cellText(outcome), strconv.FormatInt(s.Sent, 10),
				strconv.FormatFloat(float64(s.Took.Microseconds())/1000, 'f', 3, 64), cellText(s.Text),
			})
		}
	}
	c.Flush()
	return c.Error()
}

// cellText keeps a spreadsheet from taking a client's words for a formula.
//
// Source: https://owasp.org/www-community/attacks/CSV_Injection
func cellText(s string) string {
	if r, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, " \u00a0\ufeff")); s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", r) {
		return "'" + s
	}
	return s
}
