package sqlpolicy

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Rights are what an identity may do, whatever it asks: its scopes, what it
// sees of each class, its budgets, and whose holds it may answer. Rules depend
// on statements; Rights lists their names with what they ask.
type Rights struct {
	Identity facts.Identity `json:"identity"`
	// Scoped says that some scope names the identity; without one it may
	// reach everything.
	Scoped  bool          `json:"scoped"`
	Scopes  []ScopeRight  `json:"scopes"`
	Classes []ClassRight  `json:"classes"`
	Budgets []BudgetRight `json:"budgets"`
	Rules   []RuleRight   `json:"rules"`
	Default string        `json:"default"`
	// Approves are the rules whose holds the identity may answer.
	Approves []string `json:"approves"`
}

// ScopeRight is one entry that names the identity. An empty list is
// everything.
type ScopeRight struct {
	Targets     []string `json:"targets,omitempty"`
	Databases   []string `json:"databases,omitempty"`
	Schemas     []string `json:"schemas,omitempty"`
	Collections []string `json:"collections,omitempty"`
	Models      []string `json:"models,omitempty"`
}

// ClassRight is what the identity sees of a class.
type ClassRight struct {
	Class   string `json:"class"`
	Sees    string `json:"sees"` // clear, or the mask's name
	Compare string `json:"compare"`
}

// BudgetRight is a budget that the identity's reading is charged to.
type BudgetRight struct {
	Budget string `json:"budget"`
	Then   string `json:"then"`
}

// RuleRight is a rule that statements are asked about.
type RuleRight struct {
	Rule string `json:"rule"`
	Then string `json:"then"`
	When string `json:"when"`
}

// Rights are an identity's.
func (p *Policy) Rights(id facts.Identity) *Rights {
	r := &Rights{Identity: id, Scopes: []ScopeRight{}, Classes: []ClassRight{}, Budgets: []BudgetRight{}, Rules: []RuleRight{}, Approves: []string{}, Default: p.Default.String()}
	for _, s := range p.Scopes {
		if slices.Contains(s.Identities, id.Name) || intersects(s.Groups, id.Groups) {
			r.Scoped = true
			r.Scopes = append(r.Scopes, ScopeRight{Targets: s.Targets, Databases: s.Databases, Schemas: s.Schemas, Collections: s.Collections, Models: s.Models})
		}
	}
	b := p.bind(&Input{Identity: id, Facts: &facts.Facts{}})
	for name, c := range p.Classes {
		sees := c.Mask.Name
		if b.seen[name] {
			sees = ReadClear
		}
		r.Classes = append(r.Classes, ClassRight{Class: name, Sees: sees, Compare: string(c.Compare)})
	}
	slices.SortFunc(r.Classes, func(a, b ClassRight) int { return strings.Compare(a.Class, b.Class) })
	for i := range p.Budgets {
		if u := &p.Budgets[i]; len(u.Groups) == 0 || intersects(u.Groups, id.Groups) {
			r.Budgets = append(r.Budgets, BudgetRight{Budget: u.Name, Then: u.Then.String()})
		}
	}
	for i := range p.Rules {
		rule := &p.Rules[i]
		r.Rules = append(r.Rules, RuleRight{Rule: rule.Name, Then: rule.Then.String(), When: rule.When})
		if rule.Then == facts.Hold && intersects(rule.Approvers.Groups, id.Groups) {
			r.Approves = append(r.Approves, rule.Name)
		}
	}
	return r
}

// WriteText writes the rights for a person.
func (r *Rights) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "identity   %s (%s) %v\n", r.Identity.Name, r.Identity.Kind, r.Identity.Groups)
	if !r.Scoped {
		b.WriteString("reaches    everything: no scope names it\n")
	}
	for _, s := range r.Scopes {
		var parts []string
		for _, l := range []struct {
			what string
			list []string
		}{{"targets", s.Targets}, {"databases", s.Databases}, {"schemas", s.Schemas}, {"collections", s.Collections}, {"models", s.Models}} {
			if len(l.list) > 0 {
				parts = append(parts, l.what+" "+strings.Join(l.list, ", "))
			}
		}
		if len(parts) == 0 {
			parts = []string{"everything"}
		}
		fmt.Fprintf(&b, "reaches    %s\n", strings.Join(parts, "; "))
	}
	for _, c := range r.Classes {
		fmt.Fprintf(&b, "class      %s: sees %s, compares %s\n", c.Class, c.Sees, c.Compare)
	}
	for _, u := range r.Budgets {
		fmt.Fprintf(&b, "budget     %s, then %s\n", u.Budget, u.Then)
	}
	for _, rule := range r.Rules {
		fmt.Fprintf(&b, "rule       %s: %s when %s\n", rule.Rule, rule.Then, strings.Join(strings.Fields(rule.When), " "))
	}
	for _, name := range r.Approves {
		fmt.Fprintf(&b, "approves   %s\n", name)
	}
	fmt.Fprintf(&b, "otherwise  %s\n", r.Default)
	_, err := io.WriteString(w, b.String())
	return err
}
