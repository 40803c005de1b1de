package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
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
			out.Known += g.Count
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
	switch {
	case c.Known > 0:
		parts = append(parts, fmt.Sprintf("%d known, expected or not asked for", c.Known))
	case len(parts) == 1:
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
	for _, u := range c.Unmet {
		fmt.Fprintf(&b, "\n%s\n", Safe(u))
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

// maxRows keeps a comment below what code hosts take.
const maxRows = 100

func (c *Checked) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Policy check\n\n%s.\n", c.summary())
	if len(c.Groups) > 0 {
		b.WriteString("\n| change | count | statement | why |\n|---|---:|---|---|\n")
	}
	cell := strings.NewReplacer("|", "\\|", "\n", " ", "`", "'", "<", "&lt;")
	for i, g := range c.Groups {
		if i == maxRows {
			fmt.Fprintf(&b, "| | | | and %d groups more |\n", len(c.Groups)-i)
			break
		}
		fmt.Fprintf(&b, "| %s | %d | `%s` | %s |\n", g.Change, g.Count, cell.Replace(Safe(oneLine(g.Shape))), cell.Replace(Safe(g.because())))
	}
	for _, u := range c.Unmet {
		fmt.Fprintf(&b, "\n%s\n", cell.Replace(Safe(u)))
	}
	if len(c.NeverMatched) > 0 {
		fmt.Fprintf(&b, "\nRules that no statement met: %s.\n", cell.Replace(Safe(strings.Join(c.NeverMatched, ", "))))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Checked) junit(w io.Writer) error {
	s := JUnit{Name: "sallyport replay check"}
	for _, g := range c.Groups {
		s.Cases = append(s.Cases, JUnitCase{Class: string(g.Change), Name: Safe(oneLine(g.Shape)), Failure: &JUnitFailure{
			Message: Safe(g.because()), Text: fmt.Sprintf("%d statements, first statement %d of session %s by %s:\n%s", g.Count, g.Example.ID, g.Example.Session, Safe(g.Example.Identity), Safe(g.Example.Text)),
		}})
	}
	for _, u := range c.Unmet {
		s.Cases = append(s.Cases, JUnitCase{Class: "expectation", Name: Safe(u), Failure: &JUnitFailure{Message: Safe(u)}})
	}
	if len(s.Cases) == 0 {
		s.Cases = []JUnitCase{{Class: "replay check", Name: c.summary()}}
	}
	return s.Write(w)
}

// sarif writes SARIF 2.1.0, which code hosts show beside a change: each group
// at its rule in the policy.
//
// Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
func (c *Checked) sarif(w io.Writer) error {
	rules, results := []any{}, []any{}
	for _, change := range Changes {
		rules = append(rules, map[string]any{"id": sarifID(change), "shortDescription": text{"A recorded statement would be " + string(change) + "."}})
	}
	for _, g := range c.Groups {
		level := "warning"
		if g.Change == NewlyAllowed || g.Change == MasksLost || g.Change == NewlyRefused {
			level = "error"
		}
		location := c.place(g.Rule)
		location["logicalLocations"] = []any{map[string]any{"fullyQualifiedName": fmt.Sprintf("%s/%d", g.Example.Session, g.Example.ID), "kind": "statement"}}
		sum := sha256.Sum256([]byte(g.Key()))
		results = append(results, map[string]any{
			"ruleId": sarifID(g.Change), "level": level,
			"message":             text{fmt.Sprintf("%d statements %s (%s): %s", g.Count, g.Change, Safe(g.because()), Safe(oneLine(g.Shape)))},
			"locations":           []any{location},
			"partialFingerprints": map[string]any{"group/v1": hex.EncodeToString(sum[:16])},
			"properties":          map[string]any{"count": g.Count, "rule": g.Rule, "identity": Safe(g.Example.Identity)},
		})
	}
	if len(c.Unmet) > 0 {
		rules = append(rules, map[string]any{"id": "expectation", "shortDescription": text{"A change that was expected does not happen."}})
	}
	for _, u := range c.Unmet {
		results = append(results, map[string]any{"ruleId": "expectation", "level": "error", "message": text{Safe(u)}, "locations": []any{c.place("")}})
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

type text struct {
	Text string `json:"text"`
}

// place is where a rule stands in the policy's file; its first line for what
// is no rule.
func (c *Checked) place(rule string) map[string]any {
	return map[string]any{"physicalLocation": map[string]any{
		"artifactLocation": map[string]any{"uri": (&url.URL{Path: filepath.ToSlash(c.file)}).String()},
		"region":           map[string]any{"startLine": max(1, c.lines[rule])},
	}}
}

func sarifID(c Change) string { return strings.ReplaceAll(string(c), " ", "-") }
