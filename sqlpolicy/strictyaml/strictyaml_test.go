package strictyaml

import (
	"strings"
	"testing"
)

func TestProblems(t *testing.T) {
	src := `version: 1
name: ""
colour: red
name: x
list: {a: 1}
when: |
  first
  second
`
	f, root := Parse("f.yaml", []byte(src))
	root.Map(map[string]func(*Node){
		"version": func(n *Node) { n.Int(2, 3) },
		"name":    func(n *Node) { _ = n.String() },
		"list":    func(n *Node) { n.List() },
		"when":    func(n *Node) { n.ProblemAt(2, 3, "here") },
	})
	got := f.Err().Error()
	for _, want := range []string{
		"f.yaml:1:10: version: must be a whole number from 2 to 3",
		"f.yaml:2:7: name: must not be empty",
		"f.yaml:3:1: unknown key \"colour\"; known here: list, name, version, when",
		"f.yaml:4:1: key \"name\" stands here twice",
		"f.yaml:5:7: list: must be a list",
		"f.yaml:8:",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, src := range map[string]string{
		"empty": "", "scalar": "x", "list": "- a", "two": "a: 1\n---\nb: 1\n", "broken": "a: [1\n", "tabs": "a:\n\t- b\n",
		"huge": strings.Repeat("#", maxSize+1), "alias": "a: &x [1]\nb: *x\n", "brackets": strings.Repeat("[", 60000),
	} {
		f, root := Parse(name, []byte(src))
		if root != nil {
			root.Each(func(_ string, v *Node) { _ = v.List() })
		}
		if f.Err() == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a: [1, {b: c}]\n")
	f.Fuzz(func(t *testing.T, src string) {
		_, root := Parse("fuzz", []byte(src))
		if root != nil {
			root.Each(func(_ string, v *Node) { _ = v.Value() })
		}
	})
}
