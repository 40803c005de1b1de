package sqlpolicy

import (
	"fmt"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// vouched refuses to change what a person has read: a function that the
// policy vouches for, or what its name stands for.
func (b *binding) vouched(d *facts.Decision) {
	if !b.anyInForce || len(b.p.Functions) == 0 {
		return
	}
	for i := range b.f.Effects {
		e := &b.f.Effects[i]
		if e.Action != facts.DDL {
			continue
		}
		if what := b.p.changesVouched(e); what != "" {
			b.hard = true
			d.Refusals = append(d.Refusals, facts.Refusal{At: -1,
				Message: fmt.Sprintf("%s is vouched for by the policy, and may not be changed by an identity that a class binds", what),
				Hint:    "Change it outside the proxy, after a review."})
		}
	}
}

// changesVouched names what a definition changes of the vouched functions, ""
// where it changes nothing of them.
func (p *Policy) changesVouched(e *facts.Effect) string {
	named := false
	for _, o := range e.Objects {
		if o.Kind == "schema" && p.vouchesIn(o.Name.Name) {
			return "what is in schema " + o.Name.Name
		}
		if !isRoutine(o.Kind) {
			continue
		}
		named = true
		for name := range p.Functions {
			// Without a schema it is dropped by whatever the path finds.
			if name == o.Name.String() || o.Schema == "" && strings.HasSuffix(name, "."+o.Name.Name) {
				return "function " + name
			}
		}
	}
	// What is renamed or moved can take a vouched name.
	moves := strings.Contains(e.Verb, "RENAME") || strings.Contains(e.Verb, "SCHEMA")
	if routineVerb(e.Verb) && (moves || !named) {
		return "a function that this could stand for"
	}
	if strings.Contains(e.Verb, "SCHEMA") && len(e.Objects) == 0 && e.Verb != "CREATE SCHEMA" {
		return "a function that this could stand for"
	}
	return ""
}

func (p *Policy) vouchesIn(schema string) bool {
	for name := range p.Functions {
		if strings.HasPrefix(name, schema+".") {
			return true
		}
	}
	return false
}

func isRoutine(kind string) bool {
	switch kind {
	case "function", "procedure", "routine", "aggregate":
		return true
	}
	return false
}

func routineVerb(verb string) bool {
	for _, w := range []string{"FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE"} {
		if strings.Contains(verb, w) {
			return true
		}
	}
	return false
}
