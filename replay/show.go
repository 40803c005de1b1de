package replay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"filippo.io/age"
	"github.com/mattn/go-runewidth"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// ShowOptions say how a session is played.
type ShowOptions struct {
	// Speed plays in the recorded rhythm times Speed; 0 is at once.
	Speed   float64
	JSON    bool // one event a line
	Color   bool
	Refused bool                // only what was refused or failed
	Unseal  []age.Identity      // open the constants and the transcripts that are sealed to them
	Rows    int                 // at most so many rows of a result; 0 for all that are recorded
	Wait    func(time.Duration) // between events, where Speed is set
}

// Show plays the transcript at path: who, each statement with its decision,
// the rows as the client was sent them, how it ended. What stands in a
// transcript came from strangers: control characters are written as escapes,
// so that nothing in it can drive the terminal.
func Show(w io.Writer, path string, opt ShowOptions) error {
	out := bufio.NewWriter(w)
	p := &player{w: out, opt: opt, statements: map[int64]*shown{}}
	err := Read(path, opt.Unseal, func(e *Event) error {
		if opt.Speed > 0 && opt.Wait != nil && !p.last.IsZero() {
			if err := out.Flush(); err != nil {
				return err
			}
			opt.Wait(time.Duration(float64(e.At.Sub(p.last)) / opt.Speed))
		}
		p.last = e.At
		if opt.JSON {
			b, err := json.Marshal(e)
			if err != nil {
				return err
			}
			_, err = out.Write(append(b, '\n'))
			return err
		}
		return p.event(e)
	})
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	return err
}

// shown is a statement whose end has not come yet.
type shown struct {
	event   *Event
	columns []string
	rows    [][]*string
	holds   []*Event // its holds and grants
}

type player struct {
	w          *bufio.Writer
	opt        ShowOptions
	start      time.Time
	last       time.Time
	statements map[int64]*shown
}

func (p *player) print(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p *player) paint(code, s string) string {
	if !p.opt.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *player) clock(at time.Time) string {
	return p.paint("2", fmt.Sprintf("%9.3fs", at.Sub(p.start).Seconds()))
}

func (p *player) event(e *Event) error {
	switch e.Type {
	case TypeOpen:
		p.start = e.At
		groups := ""
		if e.Identity != nil {
			groups = strings.Join(e.Identity.Groups, ", ")
		}
		where := e.Target
		if e.Database != "" {
			where += ", database " + e.Database
		}
		p.print("%s\n%s [%s] on %s, from %s, %s\n\n", p.paint("1", "session "+Safe(e.Session)),
			Safe(nameOf(e)), Safe(groups), Safe(where), Safe(e.Address), e.At.Format("2006-01-02 15:04:05 MST"))
	case TypeStatement:
		e.Text = Unseal(e.Text, p.opt.Unseal)
		for i := range e.Params {
			e.Params[i].Text = Unseal(e.Params[i].Text, p.opt.Unseal)
		}
		p.statements[e.ID] = &shown{event: e}
	case TypeRows:
		if s := p.statements[e.ID]; s != nil {
			if e.Columns != nil {
				s.columns = e.Columns
			}
			s.rows = append(s.rows, e.Cells...)
		}
	case TypeHold, TypeGrant:
		if s := p.statements[e.ID]; s != nil {
			s.holds = append(s.holds, e)
		}
	case TypeComplete, TypeError:
		p.end(e)
	case TypeClose:
		p.print("%s  session ended: %s; %d statements, %d rows\n", p.clock(e.At), Safe(e.Reason), e.Statements, e.Rows)
	case TypeRecovered:
		p.print("%s  %s\n", p.clock(e.At), p.paint("31", "the record was cut short here and sealed at the next start"))
	}
	return nil
}

// end shows a statement with all that came of it.
func (p *player) end(e *Event) {
	s := p.statements[e.ID]
	delete(p.statements, e.ID)
	if s == nil || p.opt.Refused && e.Type == TypeComplete {
		return
	}
	p.print("%s  %s\n", p.clock(s.event.At), strings.ReplaceAll(Safe(s.event.Text), "\n", "\n            "))
	for i, v := range s.event.Params {
		text := "NULL"
		if !v.Null {
			text = Safe(v.Text)
		}
		p.print("            $%d = %s\n", i+1, text)
	}
	p.decision(s.event)
	for _, h := range s.holds {
		if h.Type == TypeHold {
			p.print("            %s  %s at %s: %s\n", p.paint("33", "held"), Safe(h.Hold), strings.TrimSpace(p.clock(h.At)), Safe(h.Reason))
			continue
		}
		p.print("            %s  %s at %s by %s\n", p.paint("32", "granted"), Safe(h.Hold), strings.TrimSpace(p.clock(h.At)), Safe(h.By))
		if h.Reason != "" {
			p.print("            it %s\n", Safe(h.Reason))
		}
	}
	switch {
	case e.Type == TypeComplete:
		p.table(s, e.Rows)
		p.print("            %s  %s, %.1f ms\n\n", p.paint("32", "done"), Safe(e.Tag), e.Milliseconds)
	case e.Code == RefusedCode:
		p.print("            %s  %s\n", p.paint("31", "REFUSED"), Safe(e.Message))
		if e.Reason != "" {
			p.print("            %s\n", Safe(e.Reason))
		}
		p.print("\n")
	default:
		p.table(s, e.Rows)
		p.print("            %s  %s %s\n\n", p.paint("31", "ERROR"), Safe(e.Code), Safe(e.Message))
	}
}

// decision says what was decided: which columns were masked as what.
func (p *player) decision(e *Event) {
	if e.Problem != nil {
		p.print("            not understood: %s\n", Safe(e.Problem.Message))
		return
	}
	var d facts.Decision
	var f facts.Facts
	if json.Unmarshal(e.Decision, &d) != nil || json.Unmarshal(e.Facts, &f) != nil {
		return
	}
	var masks []string
	for _, m := range d.Masks {
		if m.Output < len(f.Outputs) {
			masks = append(masks, fmt.Sprintf("%s → %s", Safe(f.Outputs[m.Output].Name), m.Mask.Name))
		}
	}
	verdict := p.paint("32", d.Verdict.String())
	if d.Verdict != facts.Allow {
		verdict = p.paint("31", d.Verdict.String())
	}
	line := "decision: " + verdict
	for _, r := range d.Rules {
		line += fmt.Sprintf(", rule %s says %s", Safe(r.Rule), r.Verdict)
	}
	if len(masks) > 0 {
		line += "; masked: " + strings.Join(masks, ", ")
	}
	p.print("            %s\n", line)
}

// maxWidth is how wide a column of a table gets.
const maxWidth = 40

func (p *player) table(s *shown, total int64) {
	if len(s.rows) == 0 {
		return
	}
	widths := make([]int, len(s.columns))
	cells := make([][]string, 0, len(s.rows)+1)
	add := func(row []string) {
		for i := range row {
			row[i] = runewidth.Truncate(row[i], maxWidth, "…")
			if i < len(widths) {
				widths[i] = max(widths[i], runewidth.StringWidth(row[i]))
			}
		}
		cells = append(cells, row)
	}
	head := make([]string, len(s.columns))
	for i, c := range s.columns {
		head[i] = oneLine(c)
	}
	add(head)
	rows := s.rows
	if p.opt.Rows > 0 && len(rows) > p.opt.Rows {
		rows = rows[:p.opt.Rows]
	}
	for _, r := range rows {
		row := make([]string, len(r))
		for i, c := range r {
			row[i] = "∅"
			if c != nil {
				row[i] = oneLine(*c)
			}
		}
		add(row)
	}
	for n, row := range cells {
		p.print("            ")
		for i, c := range row {
			if i > 0 {
				p.print(" | ")
			}
			if i == len(row)-1 {
				p.print("%s", c)
			} else if i < len(widths) {
				p.print("%s", runewidth.FillRight(c, widths[i]))
			}
		}
		p.print("\n")
		if n == 0 {
			var rules []string
			for _, w := range widths {
				rules = append(rules, strings.Repeat("-", w))
			}
			p.print("            %s\n", strings.Join(rules, "-+-"))
		}
	}
	if rest := len(s.rows) - len(rows); rest > 0 {
		p.print("            … and %d rows more that were recorded (--rows)\n", rest)
	}
	if rest := total - int64(len(s.rows)); rest > 0 {
		p.print("            … and %d rows that were not recorded\n", rest)
	}
}

func oneLine(s string) string {
	return strings.NewReplacer("\\n", "⏎", "\n", "⏎", "\t", " ").Replace(Safe(s))
}

// Safe writes control and formatting characters as escapes; line feeds and
// tabs stay.
func Safe(s string) string {
	if strings.IndexFunc(s, unsafe) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafe(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029')
}
