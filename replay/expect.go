package replay

import (
	"fmt"
	"strings"
)

// Expected is a change that somebody wants: groups of this change, by this
// rule and over statements whose shape has these words, where these are said.
type Expected struct {
	Change Change
	Rule   string
	Shape  string
	Count  int // of statements; 0 for one at least
}

func (x *Expected) fits(g *Group) bool {
	return g.Change == x.Change && (x.Rule == "" || x.Rule == g.Rule) && strings.Contains(strings.ToLower(g.Shape), strings.ToLower(x.Shape))
}

func (x *Expected) String() string {
	s := string(x.Change)
	if x.Rule != "" {
		s += " by " + x.Rule
	}
	if x.Shape != "" {
		s += fmt.Sprintf(" of %q", x.Shape)
	}
	return s
}

// Against leaves out what is expected, and notes which expectations were not
// met.
func (c *Checked) Against(expected []Expected) *Checked {
	out := *c
	out.Groups, out.Counts = []Group{}, map[Change]int{}
	counts := make([]int, len(expected))
	for _, g := range c.Groups {
		fits := false
		for i := range expected {
			if expected[i].fits(&g) {
				fits = true
				counts[i] += g.Count
			}
		}
		if !fits {
			out.Groups = append(out.Groups, g)
			out.Counts[g.Change] += g.Count
		} else {
			out.Known += g.Count
		}
	}
	for i := range expected {
		x := &expected[i]
		switch {
		case counts[i] == 0:
			out.Unmet = append(out.Unmet, fmt.Sprintf("expected, and did not happen: %s", x))
		case x.Count > 0 && counts[i] != x.Count:
			out.Unmet = append(out.Unmet, fmt.Sprintf("expected %d times, and happened %d times: %s", x.Count, counts[i], x))
		}
	}
	return &out
}
