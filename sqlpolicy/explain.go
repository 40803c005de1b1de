package sqlpolicy

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Explanation is a decision with all that led to it.
type Explanation struct {
	Statement string          `json:"statement"`
	Identity  facts.Identity  `json:"identity"`
	Facts     *facts.Facts    `json:"facts"`
	Decision  *facts.Decision `json:"decision"`
	Rules     []RuleTrace     `json:"rules"`
}

// RuleTrace is one rule's outcome for one effect, matched or not.
type RuleTrace struct {
	Rule    string `json:"rule"`
	Effect  int    `json:"effect"`
	Verb    string `json:"verb"`
	Matched bool   `json:"matched"`
	Error   string `json:"error,omitempty"`
}

// Explain decides as Decide does and says what each rule made of each effect.
func (p *Policy) Explain(in Input) *Explanation {
	x := &Explanation{Statement: in.Text, Identity: in.Identity, Facts: in.Facts, Decision: p.Decide(in)}
	b := p.bind(&in)
	a := newActivation(&in)
	for i := range in.Facts.Effects {
		e := &in.Facts.Effects[i]
		a.effect(&in, e, b.effectClasses(e))
		for r := range p.Rules {
			yes, err := p.Rules[r].program.eval(a)
			t := RuleTrace{Rule: p.Rules[r].Name, Effect: i, Verb: e.Verb, Matched: yes}
			if err != nil {
				t.Error = err.Error()
			}
			x.Rules = append(x.Rules, t)
		}
	}
	return x
}

// WriteText writes the explanation for a person.
func (x *Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "statement  %s\n", strings.Join(strings.Fields(x.Statement), " "))
	fmt.Fprintf(&b, "identity   %s %v\n", x.Identity.Name, x.Identity.Groups)
	for i, e := range x.Facts.Effects {
		fmt.Fprintf(&b, "effect %d   %s (%s)", i+1, e.Action, e.Verb)
		for _, o := range e.Objects {
			fmt.Fprintf(&b, " %s %s", o.Kind, o.Name)
		}
		limit := "none"
		if e.Limited {
			limit = fmt.Sprint(e.Limit)
		}
		fmt.Fprintf(&b, "; destructive %v, filtered %v, limit %s", e.Destructive, e.Filtered, limit)
		if e.TopK > 0 {
			fmt.Fprintf(&b, ", top_k %d", e.TopK)
		}
		b.WriteByte('\n')
	}
	for i, o := range x.Facts.Outputs {
		fmt.Fprintf(&b, "column %d   %s", i+1, o.Name)
		for _, s := range o.Sources {
			how := "computed from"
			if s.Direct {
				how = "from"
			}
			if c, ok := x.Facts.Column(s.ColumnRef); ok {
				fmt.Fprintf(&b, " %s %s.%s", how, x.Facts.Tables[s.Table].Name, c.Name)
			}
		}
		b.WriteString(": " + x.maskOf(i) + "\n")
	}
	for _, t := range x.Rules {
		word := "no match"
		if t.Matched {
			word = "MATCH"
		}
		if t.Error != "" {
			word = "error: " + t.Error
		}
		fmt.Fprintf(&b, "rule       %s on effect %d: %s\n", t.Rule, t.Effect+1, word)
	}
	for _, h := range x.Decision.Rules {
		fmt.Fprintf(&b, "because    rule %s says %s%s\n", h.Rule, h.Verdict, reason(h.Reason))
	}
	for _, r := range x.Decision.Refusals {
		fmt.Fprintf(&b, "because    %s\n           hint: %s\n", r.Message, r.Hint)
	}
	fmt.Fprintf(&b, "verdict    %s\n", x.Decision.Verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

func reason(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (x *Explanation) maskOf(output int) string {
	for _, m := range x.Decision.Masks {
		if m.Output == output {
			return fmt.Sprintf("class %s, mask %s", strings.Join(m.Classes, ", "), m.Mask.Name)
		}
	}
	return "clear"
}

// Variable documents one variable of conditions.
type Variable struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Meaning string `json:"meaning"`
	Example string `json:"example"`
}

// FactsReference documents every variable that a condition can use.
func FactsReference() []Variable {
	var out []Variable
	for _, v := range variables {
		for i := range v.shape.NumField() {
			f := v.shape.Field(i)
			name := v.name + "." + f.Tag.Get("cel")
			d := meanings[name]
			out = append(out, Variable{Name: name, Type: celType(f.Type), Meaning: d[0], Example: d[1]})
		}
	}
	return append(out, Variable{Name: "now", Type: "timestamp", Meaning: "when the decision is taken", Example: `now.getHours("Europe/Lisbon") >= 18`})
}

func celType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Int64:
		return "int"
	case reflect.Float64:
		return "double"
	case reflect.Slice:
		return "list of " + celType(t.Elem())
	case reflect.Map:
		return "map of string to anything"
	case reflect.Struct:
		return "timestamp"
	}
	return "string"
}

// meanings has the words and an example for each variable.
var meanings = map[string][2]string{
	"identity.name":       {"who is calling", `identity.name == "nightly-report"`},
	"identity.kind":       {"human or machine", `identity.kind == "machine"`},
	"identity.groups":     {"the groups of the identity", `"dba" in identity.groups`},
	"identity.claims":     {"the claims of its token", `identity.claims["team"] == "billing"`},
	"identity.address":    {"the client's IP address", `identity.address.startsWith("10.1.")`},
	"session.target":      {"the target's name in the configuration", `session.target == "app"`},
	"session.database":    {"the database of the session", `session.database == "shop"`},
	"session.rows_read":   {"rows sent to the client in this session so far", `session.rows_read > 100000`},
	"session.started":     {"when the session began", `now - session.started > duration("8h")`},
	"stmt.text":           {"the statement's text; prefer the facts below, which cannot be dressed up", `stmt.text.contains("/* batch */")`},
	"stmt.action":         {"what this effect does: read, insert, update, delete, ddl, privilege, session, transaction, admin, copy, call, search or unknown", `stmt.action == "ddl"`},
	"stmt.verb":           {"the statement's verb, in capitals", `stmt.verb == "DROP TABLE"`},
	"stmt.destructive":    {"whether it removes data or objects beyond rows picked by a condition", `stmt.action == "ddl" && stmt.destructive`},
	"stmt.objects":        {"the real names of what it touches, schema.name", `"public.orders" in stmt.objects`},
	"stmt.columns":        {"the base columns that it reads or writes, schema.table.column", `stmt.columns.exists(c, c.endsWith(".notes"))`},
	"stmt.classes":        {"the classes of those columns, and of what detectors found in the request's own texts", `"ssn" in stmt.classes`},
	"stmt.filtered":       {"whether a condition picks rows of the target", `stmt.action in ["update", "delete"] && !stmt.filtered`},
	"stmt.limited":        {"whether its own words bound the number of rows", `stmt.action == "read" && !stmt.limited`},
	"stmt.limit":          {"the most rows its own words allow; the largest int where nothing limits it", `stmt.limit > 1000`},
	"stmt.top_k":          {"how many nearest neighbours are asked for; 0 where none", `stmt.top_k > 50`},
	"stmt.model":          {"the model that it names, \"\" where none", `stmt.model.startsWith("gpt-4")`},
	"stmt.tokens":         {"the most tokens that a model's answer may have, all choices together; the largest int where the request does not say, 0 where no model answers", `stmt.model != "" && stmt.tokens > 4096`},
	"stmt.functions":      {"the functions that it calls, schema.name; of a model's tools the type, and the name behind a colon", `stmt.functions.exists(f, f.startsWith("app."))`},
	"stmt.in_transaction": {"whether a transaction is open", `stmt.in_transaction`},
	"plan.rows":           {"rows of the planner's root, rounded up to a power of ten", `plan.rows > 10000`},
	"plan.cost":           {"the planner's total cost, rounded up to a power of ten", `plan.cost > 1e6`},
}
