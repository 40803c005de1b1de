package replay

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// AccessOptions say what an access report is made of.
type AccessOptions struct {
	Policy *sqlpolicy.Policy // that binds classes
	// Identities open what is encrypted.
	Identities []age.Identity
	// Since and Until bound the statements' times; zero is unbounded.
	Since, Until time.Time
	Identity     string // "" for all
	Target       string // "" for all
	// Known are the identities that could have called.
	Known []string
}

// Access is who read what, over a set of transcripts.
type Access struct {
	Sessions   int          `json:"sessions"`
	Statements int          `json:"statements"`
	Since      *time.Time   `json:"since,omitempty"` // of the first statement
	Until      *time.Time   `json:"until,omitempty"` // of the last one
	Reads      []AccessRead `json:"reads"`
	Refused    []Refused    `json:"refused"`
	// RefusedLogins are the state's, where they are asked for.
	RefusedLogins []RefusedLogin `json:"refused_logins"`
	// UnusedIdentities are known and had no session; UnusedRules are of the
	// policy and no statement met them.
	UnusedIdentities []string `json:"unused_identities"`
	UnusedRules      []string `json:"unused_rules"`
}

// AccessRead is what one identity read of one class in one table or
// collection. Rows and bytes are of the results that it was read for.
type AccessRead struct {
	Identity   string    `json:"identity"`
	Class      string    `json:"class"`
	Target     string    `json:"target"`
	Database   string    `json:"database"`
	Object     string    `json:"object"`
	How        string    `json:"how"` // clear, masked, compared
	Statements int       `json:"statements"`
	Rows       int64     `json:"rows"`
	Bytes      int64     `json:"bytes"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
}

// Refused is what was refused or held for one reason.
type Refused struct {
	Identity   string    `json:"identity"`
	Target     string    `json:"target"`
	Outcome    string    `json:"outcome"` // refused, held
	Why        string    `json:"why"`
	Statements int       `json:"statements"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
}

// RefusedLogin is logins that were refused for one reason.
type RefusedLogin struct {
	Identity string    `json:"identity"` // as the client said, "" where it gave no name
	Target   string    `json:"target"`
	Address  string    `json:"address"`
	Outcome  string    `json:"outcome"` // refused, limited, unavailable
	Why      string    `json:"why"`
	Logins   int64     `json:"logins"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

type readKey struct{ identity, class, target, database, object, how string }
type refusedKey struct{ identity, target, outcome, why string }

// accessReader collects over transcripts.
type accessReader struct {
	opt     *AccessOptions
	out     *Access
	reads   map[readKey]*AccessRead
	refused map[refusedKey]*Refused
	matched map[string]bool // rules
	seen    map[string]bool // identities
	known   map[string]*facts.Facts

	open    *Event
	counted bool                   // the session has been
	waiting map[int64]pendingReads // statements that have not ended
}

// pendingReads is what a statement reads, once it has run.
type pendingReads struct {
	at    time.Time
	reads []sqlpolicy.ClassRead
}

// ReadAccess reads transcripts. The same files and options give the same
// report, whatever their order.
func ReadAccess(ctx context.Context, paths []string, opt AccessOptions) (*Access, error) {
	r := &accessReader{opt: &opt, out: &Access{Reads: []AccessRead{}, Refused: []Refused{}, RefusedLogins: []RefusedLogin{}, UnusedIdentities: []string{}, UnusedRules: []string{}},
		reads: map[readKey]*AccessRead{}, refused: map[refusedKey]*Refused{}, matched: map[string]bool{}, seen: map[string]bool{}, known: map[string]*facts.Facts{}}
	paths = slices.Clone(paths)
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.open, r.counted, r.waiting = nil, false, map[int64]pendingReads{}
		if err := Read(p, opt.Identities, r.event); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return r.finish(), nil
}

func (r *accessReader) event(e *Event) error {
	switch e.Type {
	case TypeOpen:
		r.open = e
		if o := r.opt; e.Identity != nil && (o.Until.IsZero() || e.At.Before(o.Until)) {
			r.seen[e.Identity.Name] = r.seen[e.Identity.Name] || !e.At.Before(o.Since)
		}
	case TypeStatement:
		return r.statement(e)
	case TypeComplete, TypeError:
		w := r.waiting[e.ID]
		delete(r.waiting, e.ID)
		if e.Code == RefusedCode || e.Code == "skipped" {
			return nil // held and not granted, or not run: nothing was read
		}
		for _, c := range w.reads {
			r.read(w.at, e, c)
		}
	}
	return nil
}

// wanted says whether a statement is of the report.
func (r *accessReader) wanted(e *Event) bool {
	o := r.opt
	return r.open != nil && r.open.Identity != nil && !e.At.Before(o.Since) && (o.Until.IsZero() || e.At.Before(o.Until)) &&
		(o.Identity == "" || o.Identity == r.open.Identity.Name) && (o.Target == "" || o.Target == r.open.Target)
}

func (r *accessReader) statement(e *Event) error {
	if !r.wanted(e) {
		return nil
	}
	if !r.counted {
		r.counted = true
		r.out.Sessions++
	}
	r.out.Statements++
	r.seen[r.open.Identity.Name] = true
	if r.out.Since == nil || e.At.Before(*r.out.Since) {
		r.out.Since = &e.At
	}
	if r.out.Until == nil || e.At.After(*r.out.Until) {
		r.out.Until = &e.At
	}
	if e.Problem != nil {
		r.refuse(e, "refused", "not understood: "+e.Problem.Code)
		return nil
	}
	var d facts.Decision
	if err := json.Unmarshal(e.Decision, &d); err != nil {
		return fmt.Errorf("statement %d: its decision: %w", e.ID, err)
	}
	for _, h := range d.Rules {
		r.matched[h.Rule] = true
	}
	why, _ := because(&d)
	switch {
	case d.Verdict == facts.Hold:
		r.refuse(e, "held", why)
	case d.Verdict != facts.Allow:
		r.refuse(e, "refused", why)
		return nil
	}
	f, err := r.facts(e.Facts)
	if err != nil {
		return fmt.Errorf("statement %d: %w", e.ID, err)
	}
	if e.Kind == "prepare" {
		return nil // nothing was read yet
	}
	if reads := r.opt.Policy.Reads(*r.open.Identity, f, &d, r.open.Database); len(reads) > 0 {
		r.waiting[e.ID] = pendingReads{e.At, reads}
	}
	return nil
}

func (r *accessReader) facts(raw json.RawMessage) (*facts.Facts, error) {
	if f := r.known[string(raw)]; f != nil {
		return f, nil
	}
	f := &facts.Facts{}
	if err := json.Unmarshal(raw, f); err != nil {
		return nil, fmt.Errorf("its facts: %w", err)
	}
	if len(r.known) > 20_000 {
		clear(r.known)
	}
	r.known[string(raw)] = f
	return f, nil
}

func (r *accessReader) read(at time.Time, end *Event, c sqlpolicy.ClassRead) {
	o := r.open
	key := readKey{o.Identity.Name, c.Class, o.Target, o.Database, c.Object.String(), c.How}
	a := r.reads[key]
	if a == nil {
		a = &AccessRead{Identity: key.identity, Class: key.class, Target: key.target, Database: key.database, Object: key.object, How: key.how, First: at, Last: at}
		r.reads[key] = a
	}
	a.Statements++
	a.Rows += end.Rows
	a.Bytes += end.Bytes
	a.First, a.Last = earlier(a.First, at), later(a.Last, at)
}

func (r *accessReader) refuse(e *Event, outcome, why string) {
	key := refusedKey{r.open.Identity.Name, r.open.Target, outcome, why}
	x := r.refused[key]
	if x == nil {
		x = &Refused{Identity: key.identity, Target: key.target, Outcome: outcome, Why: why, First: e.At, Last: e.At}
		r.refused[key] = x
	}
	x.Statements++
	x.First, x.Last = earlier(x.First, e.At), later(x.Last, e.At)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (r *accessReader) finish() *Access {
	out := r.out
	for _, a := range r.reads {
		out.Reads = append(out.Reads, *a)
	}
	slices.SortFunc(out.Reads, func(a, b AccessRead) int {
		return cmp.Or(strings.Compare(a.Identity, b.Identity), strings.Compare(a.Class, b.Class), strings.Compare(a.Target, b.Target),
			strings.Compare(a.Database, b.Database), strings.Compare(a.Object, b.Object), strings.Compare(a.How, b.How))
	})
	for _, x := range r.refused {
		out.Refused = append(out.Refused, *x)
	}
	slices.SortFunc(out.Refused, func(a, b Refused) int {
		return cmp.Or(strings.Compare(a.Identity, b.Identity), strings.Compare(a.Target, b.Target), strings.Compare(a.Outcome, b.Outcome), strings.Compare(a.Why, b.Why))
	})
	for _, name := range r.opt.Known {
		if !r.seen[name] {
			out.UnusedIdentities = append(out.UnusedIdentities, name)
		}
	}
	slices.Sort(out.UnusedIdentities)
	for i := range r.opt.Policy.Rules {
		if name := r.opt.Policy.Rules[i].Name; !r.matched[name] {
			out.UnusedRules = append(out.UnusedRules, name)
		}
	}
	return out
}

// AccessFormats are those of Write.
var AccessFormats = []string{"text", "csv", "json"}

// Write writes the report. CSV is one table: a row's first column says whether
// it is a read, a refusal, or something unused.
func (a *Access) Write(w io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(a)
	case "csv":
		return a.csv(w)
	case "text":
		return a.text(w)
	}
	return fmt.Errorf("there is no format %q; there are %s", format, strings.Join(AccessFormats, ", "))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (a *Access) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"what", "identity", "class", "target", "database", "object", "how", "statements", "rows", "bytes", "first", "last"}}
	for _, r := range a.Reads {
		rows = append(rows, []string{"read", cellText(r.Identity), cellText(r.Class), cellText(r.Target), cellText(r.Database), cellText(r.Object), r.How,
			strconv.Itoa(r.Statements), strconv.FormatInt(r.Rows, 10), strconv.FormatInt(r.Bytes, 10), stamp(r.First), stamp(r.Last)})
	}
	for _, r := range a.Refused {
		rows = append(rows, []string{r.Outcome, cellText(r.Identity), "", cellText(r.Target), "", "", cellText(r.Why), strconv.Itoa(r.Statements), "", "", stamp(r.First), stamp(r.Last)})
	}
	for _, r := range a.RefusedLogins {
		rows = append(rows, []string{"login " + r.Outcome, cellText(r.Identity), "", cellText(r.Target), "", cellText(r.Address), cellText(r.Why), strconv.FormatInt(r.Logins, 10), "", "", stamp(r.First), stamp(r.Last)})
	}
	for _, name := range a.UnusedIdentities {
		rows = append(rows, []string{"unused identity", cellText(name), "", "", "", "", "", "0", "", "", "", ""})
	}
	for _, name := range a.UnusedRules {
		rows = append(rows, []string{"unused rule", "", "", "", "", "", cellText(name), "0", "", "", "", ""})
	}
	return c.WriteAll(rows)
}

func (a *Access) text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "%d statements in %d sessions", a.Statements, a.Sessions)
	if a.Since != nil {
		fmt.Fprintf(tw, ", from %s to %s", stamp(*a.Since), stamp(*a.Until))
	}
	fmt.Fprint(tw, "\n\n")
	if len(a.Reads) > 0 {
		fmt.Fprintln(tw, "IDENTITY\tCLASS\tTARGET\tDATABASE\tTABLE OR COLLECTION\tHOW\tSTATEMENTS\tROWS\tBYTES\tFIRST\tLAST")
	}
	for _, r := range a.Reads {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", Safe(r.Identity), Safe(r.Class), Safe(r.Target), Safe(r.Database), Safe(r.Object), r.How, r.Statements, r.Rows, r.Bytes, stamp(r.First), stamp(r.Last))
	}
	if len(a.Refused) > 0 {
		fmt.Fprintln(tw, "\nIDENTITY\tTARGET\tOUTCOME\tWHY\tSTATEMENTS\tFIRST\tLAST")
	}
	for _, r := range a.Refused {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", Safe(r.Identity), Safe(r.Target), r.Outcome, Safe(r.Why), r.Statements, stamp(r.First), stamp(r.Last))
	}
	if len(a.RefusedLogins) > 0 {
		fmt.Fprintln(tw, "\nLOGIN AS\tTARGET\tFROM\tOUTCOME\tWHY\tLOGINS\tFIRST\tLAST")
	}
	for _, r := range a.RefusedLogins {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", cmp.Or(oneLine(r.Identity), "-"), Safe(r.Target), cmp.Or(Safe(r.Address), "-"), r.Outcome, oneLine(r.Why), r.Logins, stamp(r.First), stamp(r.Last))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(a.UnusedIdentities) > 0 {
		fmt.Fprintf(w, "\nIdentities without a session: %s.\n", Safe(strings.Join(a.UnusedIdentities, ", ")))
	}
	if len(a.UnusedRules) > 0 {
		fmt.Fprintf(w, "\nRules that no statement met: %s.\n", Safe(strings.Join(a.UnusedRules, ", ")))
	}
	return nil
}
