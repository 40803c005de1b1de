package sqlpolicy

import (
	"math"
	"slices"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// loader fills a Policy from a file and keeps what can only be checked at the
// end.
type loader struct {
	p     *Policy
	late  []func()
	names map[string]bool // of rules
}

func parse(name string, src []byte) (*Policy, error) {
	l := &loader{names: map[string]bool{}, p: &Policy{
		Classes: map[string]*Class{}, Functions: map[string]bool{}, patterns: map[string]*mask.Pattern{},
		Default: facts.Allow, Unprovable: facts.Deny, Unparsed: facts.Deny,
		Record: Record{Rows: 100, Constants: "hash"}, Approvers: Approvers{Count: 1, Within: 10 * time.Minute},
	}}
	file, root := strictyaml.Parse(name, src)
	if root != nil {
		l.root(root)
		for _, f := range l.late {
			f()
		}
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	return l.p, nil
}

func (l *loader) root(root *strictyaml.Node) {
	p := l.p
	version := false
	root.Map(map[string]func(*strictyaml.Node){
		"version":    func(n *strictyaml.Node) { n.Int(1, 1); version = true },
		"patterns":   func(n *strictyaml.Node) { n.Each(l.pattern) },
		"classes":    func(n *strictyaml.Node) { n.Each(l.class) },
		"columns":    func(n *strictyaml.Node) { p.Columns = l.bindings(n, columnPattern) },
		"payloads":   func(n *strictyaml.Node) { p.Payloads = l.bindings(n, payloadPattern) },
		"unmask":     func(n *strictyaml.Node) { each(n, l.unmask) },
		"rules":      func(n *strictyaml.Node) { each(n, l.rule) },
		"budgets":    func(n *strictyaml.Node) { each(n, l.budget) },
		"prices":     func(n *strictyaml.Node) { each(n, l.price) },
		"scopes":     func(n *strictyaml.Node) { each(n, l.scope) },
		"default":    func(n *strictyaml.Node) { p.Default = l.verdict(n, "allow", "hold", "deny") },
		"unprovable": func(n *strictyaml.Node) { p.Unprovable = l.verdict(n, "deny", "hold") },
		"unparsed":   func(n *strictyaml.Node) { p.Unparsed = l.verdict(n, "allow", "hold", "deny") },
		"approvers":  func(n *strictyaml.Node) { approversOf(n, &p.Approvers) },
		"functions":  l.functions,
		"record":     l.record,
		"limits":     l.limits,
		"load_local": func(n *strictyaml.Node) { p.LoadLocal = n.Bool() },
	})
	if !version {
		root.Problem("key \"version\" is missing; it must be 1")
	}
}

func each(n *strictyaml.Node, f func(*strictyaml.Node)) {
	for _, e := range n.List() {
		f(e)
	}
}

func (l *loader) verdict(n *strictyaml.Node, words ...string) facts.Verdict {
	word := n.OneOf(words...)
	var v facts.Verdict
	if word != "" {
		_ = v.UnmarshalText([]byte(word)) // one of the words: never fails
	}
	return v
}

func (l *loader) class(name string, n *strictyaml.Node) {
	if name == statisticsClass {
		n.Problem("class %q is the proxy's own", name)
	}
	c := &Class{Name: name, Mask: facts.Mask{Name: "redact"}, Compare: CompareEquality}
	set := map[string]func(*strictyaml.Node){
		"mask": func(n *strictyaml.Node) { c.Mask = l.mask(n) },
		"compare": func(n *strictyaml.Node) {
			c.Compare = Compare(n.OneOf(string(CompareNone), string(CompareEquality), string(CompareAny)))
		},
		"detect": func(n *strictyaml.Node) {
			c.Detect = n.Strings()
			for _, d := range n.List() {
				l.form(d)
			}
		},
	}
	n.Map(set)
	if name == "vector" && c.Mask.Name != "redact" {
		n.Problem("class vector is for raw embeddings, whose only mask is redact")
	}
	l.p.Classes[name] = c
	if len(c.Detect) > 0 {
		l.late = append(l.late, func() { l.detect(n, c) })
	}
}

// mask reads a mask's name, or a map of its name and parameters.
func (l *loader) mask(n *strictyaml.Node) facts.Mask {
	m := facts.Mask{}
	if n.IsMap() {
		n.Each(func(key string, v *strictyaml.Node) {
			if key == "name" {
				m.Name = v.String()
				return
			}
			if m.Params == nil {
				m.Params = map[string]any{}
			}
			m.Params[key] = v.Value()
		})
	} else {
		m.Name = n.String()
	}
	if err := mask.Check(m); err != nil {
		n.Problem("%v", err)
		m = facts.Mask{Name: "redact"}
	}
	return m
}

func (l *loader) bindings(n *strictyaml.Node, compile func(string) (pattern, error)) []Binding {
	var out []Binding
	each(n, func(n *strictyaml.Node) {
		b := Binding{}
		n.Map(map[string]func(*strictyaml.Node){
			"class": func(n *strictyaml.Node) { b.Class = n.String(); l.known(n, b.Class) },
			"match": func(n *strictyaml.Node) {
				for i, s := range n.Strings() {
					if s == "" {
						continue
					}
					p, err := compile(s)
					if err != nil {
						n.List()[i].Problem("pattern %q: %v", s, err)
					}
					b.patterns = append(b.patterns, p)
				}
			},
		})
		if b.Class == "" || len(b.patterns) == 0 {
			n.Problem("needs class and match")
		}
		out = append(out, b)
	})
	return out
}

// known checks, at the end, that a class is defined.
func (l *loader) known(n *strictyaml.Node, class string) {
	l.late = append(l.late, func() {
		if class != "" && l.p.Classes[class] == nil {
			n.Problem("class %q is not defined under classes", class)
		}
	})
}

func (l *loader) classes(n *strictyaml.Node) []string {
	out := n.Strings()
	for i, e := range n.List() {
		l.known(e, out[i])
	}
	return out
}

func (l *loader) unmask(n *strictyaml.Node) {
	var u Unmask
	n.Map(map[string]func(*strictyaml.Node){
		"classes":    func(n *strictyaml.Node) { u.Classes = l.classes(n) },
		"groups":     func(n *strictyaml.Node) { u.Groups = n.Strings() },
		"identities": func(n *strictyaml.Node) { u.Identities = n.Strings() },
	})
	if len(u.Classes) == 0 || len(u.Groups)+len(u.Identities) == 0 {
		n.Problem("needs classes, and groups or identities")
	}
	l.p.Unmask = append(l.p.Unmask, u)
}

func (l *loader) rule(n *strictyaml.Node) {
	r := Rule{Approvers: l.p.Approvers}
	approvers := false
	n.Map(map[string]func(*strictyaml.Node){
		"name": func(n *strictyaml.Node) {
			r.Name = n.String()
			r.Line, _ = n.Place()
			if l.names[r.Name] {
				n.Problem("another rule is named %q", r.Name)
			}
			l.names[r.Name] = true
		},
		"when": func(n *strictyaml.Node) {
			r.When = n.String()
			l.late = append(l.late, func() { l.compile(n, r.Name, r.When) })
		},
		"then":   func(n *strictyaml.Node) { r.Then = l.verdict(n, "allow", "hold", "deny") },
		"reason": func(n *strictyaml.Node) { r.Reason = n.String() },
		"approvers": func(n *strictyaml.Node) {
			approvers = true
			approversOf(n, &r.Approvers)
		},
	})
	if r.Name == "" || r.When == "" || r.Then == facts.Unset {
		n.Problem("a rule needs name, when and then")
	}
	if approvers && r.Then != facts.Hold {
		n.Problem("approvers are for rules with then: hold")
	}
	l.p.Rules = append(l.p.Rules, r)
}

func approversOf(n *strictyaml.Node, a *Approvers) {
	n.Map(map[string]func(*strictyaml.Node){
		"groups": func(n *strictyaml.Node) { a.Groups = n.Strings() },
		"count":  func(n *strictyaml.Node) { a.Count = int(n.Int(1, 10)) },
		"within": func(n *strictyaml.Node) { a.Within = n.Duration() },
	})
}

func (l *loader) budget(n *strictyaml.Node) {
	b := Budget{Then: facts.Deny, Approvers: l.p.Approvers}
	approvers := false
	amount := func(to *int64) func(*strictyaml.Node) {
		return func(n *strictyaml.Node) { *to = n.Int(1, math.MaxInt64) }
	}
	n.Map(map[string]func(*strictyaml.Node){
		"classes": func(n *strictyaml.Node) { b.Classes = l.classes(n) },
		"groups":  func(n *strictyaml.Node) { b.Groups = n.Strings() },
		"rows":    amount(&b.Rows), "bytes": amount(&b.Bytes), "tokens": amount(&b.Tokens),
		"cost":      func(n *strictyaml.Node) { b.Cost = millionths(n) },
		"per":       func(n *strictyaml.Node) { b.Per = n.Duration() },
		"then":      func(n *strictyaml.Node) { b.Then = l.verdict(n, "hold", "deny") },
		"approvers": func(n *strictyaml.Node) { approvers = true; approversOf(n, &b.Approvers) },
	})
	if approvers && b.Then != facts.Hold {
		n.Problem("approvers are for budgets with then: hold")
	}
	b.Name = b.describe()
	if b.Rows == 0 && b.Bytes == 0 && b.Tokens == 0 && b.Cost == 0 || b.Per == 0 {
		n.Problem("a budget needs rows, bytes, tokens or cost, and per")
	}
	if b.Cost > 0 {
		l.late = append(l.late, func() {
			if len(l.p.prices) == 0 {
				n.Problem("a budget of cost needs prices")
			}
		})
	}
	l.p.Budgets = append(l.p.Budgets, b)
}

func (l *loader) scope(n *strictyaml.Node) {
	var s Scope
	list := func(to *[]string) func(*strictyaml.Node) {
		return func(n *strictyaml.Node) { *to = n.Strings() }
	}
	n.Map(map[string]func(*strictyaml.Node){
		"groups": list(&s.Groups), "identities": list(&s.Identities),
		"targets": list(&s.Targets), "databases": list(&s.Databases), "schemas": list(&s.Schemas),
		"collections": func(n *strictyaml.Node) { s.Collections = append(s.Collections, n.Strings()...) }, "models": list(&s.Models),
		// The word of stores that call collections so.
		"indexes": func(n *strictyaml.Node) { s.Collections = append(s.Collections, n.Strings()...) },
	})
	if len(s.Groups)+len(s.Identities) == 0 {
		n.Problem("a scope needs groups or identities")
	}
	l.p.Scopes = append(l.p.Scopes, s)
}

func (l *loader) functions(n *strictyaml.Node) {
	for _, e := range n.List() {
		name := e.String()
		if !slices.Contains([]byte(name), '.') && name != "" {
			e.Problem("name the function with its schema, as in app.%s", name)
		}
		l.p.Functions[name] = true
	}
}

func (l *loader) record(n *strictyaml.Node) {
	place := n
	n.Map(map[string]func(*strictyaml.Node){
		"rows": func(n *strictyaml.Node) { l.p.Record.Rows = keptRows(n) },
		"hash": func(n *strictyaml.Node) { l.p.Record.Hash = n.Bool() },
		"by": func(n *strictyaml.Node) {
			for _, e := range n.List() {
				l.recordBy(e)
			}
		},
		"constants": func(n *strictyaml.Node) {
			l.p.Record.Constants = n.OneOf("hash", "sealed")
			place = n
		},
		"recipients": func(n *strictyaml.Node) { l.p.Record.recipients = Recipients(n) },
	})
	switch r := &l.p.Record; {
	case r.Sealed() && len(r.recipients) == 0:
		place.Problem("sealed constants need recipients: [age1…]")
	case !r.Sealed() && len(r.recipients) > 0:
		n.Problem("recipients are for constants: sealed")
	}
}

// keptRows is a number of rows, -1 for all.
func keptRows(n *strictyaml.Node) int {
	switch s, _ := n.Value().(string); s {
	case "all":
		return -1
	case "none":
		return 0
	case "":
		return int(n.Int(0, 1_000_000))
	}
	n.Problem("must be all, none or a number of rows")
	return 0
}

func (l *loader) recordBy(n *strictyaml.Node) {
	b, said := RecordBy{}, false
	n.Map(map[string]func(*strictyaml.Node){
		"classes": func(n *strictyaml.Node) { b.Classes = l.classes(n) },
		"targets": func(n *strictyaml.Node) { b.Targets = n.Strings() },
		"rows":    func(n *strictyaml.Node) { b.Rows, said = keptRows(n), true },
	})
	if !said || len(b.Classes)+len(b.Targets) == 0 {
		n.Problem("needs rows, and classes or targets")
	}
	l.p.Record.By = append(l.p.Record.By, b)
}

func (l *loader) limits(n *strictyaml.Node) {
	bound := func(to *int, least, most int64) func(*strictyaml.Node) {
		return func(n *strictyaml.Node) { *to = int(n.Int(least, most)) }
	}
	n.Map(map[string]func(*strictyaml.Node){
		"row":       bound(&l.p.Limits.Row, 1<<10, 1<<30),
		"statement": bound(&l.p.Limits.Statement, 1<<10, 64<<20),
		"message":   bound(&l.p.Limits.Message, 1<<10, 1<<30),
		"depth":     bound(&l.p.Limits.Depth, 10, 3000),
	})
}
