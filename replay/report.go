package replay

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Baseline is what is known and accepted: the groups of an earlier check.
type Baseline map[string]bool

// ReadBaseline reads what an earlier check wrote as JSON.
func ReadBaseline(r io.Reader) (Baseline, error) {
	var c Checked
	if err := json.NewDecoder(r).Decode(&c); err != nil {
		return nil, fmt.Errorf("reading the baseline: %w", err)
	}
	b := Baseline{}
	for i := range c.Groups {
		b[c.Groups[i].Key()] = true
	}
	return b, nil
}

// Without leaves out the groups that the baseline knows and those of changes
// that are not asked for.
func (c *Checked) Without(b Baseline, only []Change) *Checked {
	out := *c
	out.Groups, out.Counts = []Group{}, map[Change]int{}
	for _, g := range c.Groups {
		if b[g.Key()] || !slices.Contains(only, g.Change) {
			continue
		}
		out.Groups = append(out.Groups, g)
		out.Counts[g.Change] += g.Count
	}
	return &out
}

// Formats of a report.
var Formats = []string{"text", "json", "junit", "sarif", "markdown"}

// Write writes a report. The same result gives the same bytes.
func (c *Checked) Write(w io.Writer, format string) error {
	switch format {
	case "text":
		return c.text(w)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(c)
	case "junit":
		return c.junit(w)
	case "sarif":
		return c.sarif(w)
	case "markdown":
		return c.markdown(w)
	}
	return fmt.Errorf("there is no format %q; there are %s", format, strings.Join(Formats, ", "))
}

func (c *Checked) summary() string {
	parts := []string{fmt.Sprintf("%d statements in %d sessions", c.Statements, c.Sessions)}
	for _, change := range Changes {
		if n := c.Counts[change]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, change))
		}
	}
	if len(parts) == 1 {
		parts = append(parts, "nothing changes")
	}
	return strings.Join(parts, ", ")
}

func (c *Checked) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n", c.summary())
	var last Change
	for _, g := range c.Groups {
		if g.Change != last {
			fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(string(g.Change)))
			last = g.Change
		}
		x := g.Example
		fmt.Fprintf(&b, "  %d × %s\n", g.Count, Safe(oneLine(g.Shape)))
		fmt.Fprintf(&b, "      %s\n", Safe(g.because()))
		fmt.Fprintf(&b, "      e.g. %s on %s, statement %d of %s: %s\n", Safe(x.Identity), Safe(x.Target), x.ID, Safe(x.Session), Safe(oneLine(x.Text)))
	}
	if len(c.NeverMatched) > 0 {
		fmt.Fprintf(&b, "\nRules that no statement met: %s.\n", Safe(strings.Join(c.NeverMatched, ", ")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *Group) because() string {
	x := g.Example
	s := fmt.Sprintf("%s → %s", orNone(x.Before), orNone(x.After))
	if g.Rule != "" {
		s += ", by " + g.Rule
	}
	if x.Why != "" {
		s += ": " + x.Why
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "no masks"
	}
	return s
}

func (c *Checked) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Policy check\n\n%s.\n", c.summary())
	if len(c.Groups) > 0 {
		b.WriteString("\n| change | count | statement | why |\n|---|---:|---|---|\n")
	}
	cell := strings.NewReplacer("|", "\\|", "\n", " ", "`", "'", "<", "&lt;")
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "| %s | %d | `%s` | %s |\n", g.Change, g.Count, cell.Replace(Safe(oneLine(g.Shape))), cell.Replace(Safe(g.because())))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The shape of JUnit's XML that CI systems read.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (c *Checked) junit(w io.Writer) error {
	s := junitSuite{Name: "sallyport replay check", Tests: len(c.Groups), Failures: len(c.Groups)}
	for _, g := range c.Groups {
		s.Cases = append(s.Cases, junitCase{Class: string(g.Change), Name: Safe(oneLine(g.Shape)), Failure: &junitFailure{
			Message: Safe(g.because()), Text: fmt.Sprintf("%d statements, first statement %d of session %s by %s:\n%s", g.Count, g.Example.ID, g.Example.Session, g.Example.Identity, Safe(g.Example.Text)),
		}})
	}
	if len(s.Cases) == 0 {
		s.Tests, s.Cases = 1, []junitCase{{Class: "replay check", Name: "nothing changes"}}
	}
	b, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	return err
}

// sarif writes SARIF 2.1.0, which code hosts show beside a change.
//
// Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
func (c *Checked) sarif(w io.Writer) error {
	type text struct {
		Text string `json:"text"`
	}
	type rule struct {
		ID    string `json:"id"`
		Short text   `json:"shortDescription"`
	}
	type location struct {
		Logical []map[string]string `json:"logicalLocations"`
	}
	type result struct {
		RuleID     string         `json:"ruleId"`
		Level      string         `json:"level"`
		Message    text           `json:"message"`
		Locations  []location     `json:"locations"`
		Properties map[string]any `json:"properties"`
	}
	rules, results := []rule{}, []result{}
	for _, change := range Changes {
		rules = append(rules, rule{ID: sarifID(change), Short: text{"A recorded statement would be " + string(change) + "."}})
	}
	for _, g := range c.Groups {
		level := "warning"
		if g.Change == NewlyAllowed || g.Change == MasksLost || g.Change == NewlyRefused {
			level = "error"
		}
		results = append(results, result{
			RuleID: sarifID(g.Change), Level: level,
			Message:    text{fmt.Sprintf("%d statements %s (%s): %s", g.Count, g.Change, Safe(g.because()), Safe(oneLine(g.Shape)))},
			Locations:  []location{{[]map[string]string{{"fullyQualifiedName": fmt.Sprintf("%s/%d", g.Example.Session, g.Example.ID), "kind": "statement"}}}},
			Properties: map[string]any{"count": g.Count, "rule": g.Rule, "identity": g.Example.Identity},
		})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []any{map[string]any{
			"tool":    map[string]any{"driver": map[string]any{"name": "sallyport", "informationUri": "https://github.com/sallyport-proxy/sallyport", "rules": rules}},
			"results": results,
		}},
	})
}

func sarifID(c Change) string { return strings.ReplaceAll(string(c), " ", "-") }
