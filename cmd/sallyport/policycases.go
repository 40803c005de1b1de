package main

import (
	"math"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// caseFile is a file of `policy test`.
type caseFile struct {
	policy, schema string
	cases          []policyCase
}

// policyCase is one statement with what should become of it.
type policyCase struct {
	name      string
	identity  facts.Identity
	target    string
	statement string
	params    []facts.Param
	path      []string // nil for what the dialect begins with
	plan      *facts.Plan
	now       time.Time
	expect    facts.Verdict
	rule      string
	masks     map[string]string // nil: not looked at
}

func readCases(name string, src []byte) (*caseFile, error) {
	out := &caseFile{}
	file, root := strictyaml.Parse(name, src)
	if root != nil {
		root.Map(map[string]func(*strictyaml.Node){
			"version": func(n *strictyaml.Node) { n.Int(1, 1) },
			"policy":  func(n *strictyaml.Node) { out.policy = n.String() },
			"schema":  func(n *strictyaml.Node) { out.schema = n.String() },
			"cases": func(n *strictyaml.Node) {
				for _, e := range n.List() {
					out.cases = append(out.cases, readCase(e))
				}
			},
		})
		if len(out.cases) == 0 {
			root.Problem("key \"cases\" is missing or empty")
		}
	}
	return out, file.Err()
}

func readCase(n *strictyaml.Node) policyCase {
	c := policyCase{identity: facts.Identity{Name: "someone", Kind: "human"}, now: caseTime, plan: &facts.Plan{Known: true, Rows: 1}}
	n.Map(map[string]func(*strictyaml.Node){
		"name":        func(n *strictyaml.Node) { c.name = n.String() },
		"as":          func(n *strictyaml.Node) { c.identity.Name = n.String() },
		"kind":        func(n *strictyaml.Node) { c.identity.Kind = n.OneOf("human", "machine") },
		"groups":      func(n *strictyaml.Node) { c.identity.Groups = n.Strings() },
		"target":      func(n *strictyaml.Node) { c.target = n.String() },
		"statement":   func(n *strictyaml.Node) { c.statement = n.String() },
		"search_path": func(n *strictyaml.Node) { c.path = n.Strings() },
		"params": func(n *strictyaml.Node) {
			for _, s := range n.Strings() {
				c.params = append(c.params, facts.Param{Known: true, Text: s})
			}
		},
		"plan_rows": func(n *strictyaml.Node) { c.plan = &facts.Plan{Known: true, Rows: n.Int(0, math.MaxInt64)} },
		"expect": func(n *strictyaml.Node) {
			if word := n.OneOf("allow", "hold", "deny"); word != "" {
				_ = c.expect.UnmarshalText([]byte(word)) // one of the words: never fails
			}
		},
		"rule": func(n *strictyaml.Node) { c.rule = n.String() },
		"masks": func(n *strictyaml.Node) {
			c.masks = map[string]string{}
			n.Each(func(column string, v *strictyaml.Node) { c.masks[column] = v.String() })
		},
	})
	if c.statement == "" || c.expect == facts.Unset {
		n.Problem("a case needs a statement and what to expect")
	}
	if c.name == "" {
		c.name = c.statement
	}
	return c
}
