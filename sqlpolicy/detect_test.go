package sqlpolicy

import (
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

const detecting = `version: 1
patterns: {employee: "EMP-[0-9]{4}"}
classes:
  pay:   {mask: redact, detect: [card, iban]}
  mail:  {mask: partial, detect: [email]}
  staff: {detect: [employee, email]}
unmask: [{classes: [mail], groups: [support]}]
rules:
  - {name: no-cards, when: '"pay" in stmt.classes', then: deny}
  - {name: small, when: 'stmt.model.startsWith("big") && stmt.tokens > 100', then: deny}
scopes: [{groups: [rag], models: ["tiny*"]}]
`

// prompt is a call of a model with a text in which forms were found.
func prompt(model string, forms ...string) *facts.Facts {
	f := &facts.Facts{Texts: true, Effects: []facts.Effect{{Action: facts.Call, Verb: "POST /chat/completions", Tokens: facts.NoLimit, Limit: facts.NoLimit,
		Objects: []facts.Object{{Kind: "model", Name: facts.Name{Name: model}}}}}}
	if len(forms) > 0 {
		f.Constants = []facts.Constant{{From: 0, To: 1, Forms: forms}}
	}
	return f
}

func TestDetect(t *testing.T) {
	p := load(t, detecting)
	for _, tt := range []struct {
		groups  []string
		f       *facts.Facts
		verdict facts.Verdict
		detect  string
		classes string
	}{
		{nil, prompt("tiny"), facts.Allow, "mail pay staff", ""},
		{[]string{"support"}, prompt("tiny"), facts.Allow, "pay staff", ""},
		{nil, prompt("tiny", "card"), facts.Deny, "mail pay staff", "pay"},
		{nil, prompt("tiny", "email"), facts.Allow, "mail pay staff", "mail staff"},
		{nil, prompt("big-one"), facts.Deny, "mail pay staff", ""},
		{[]string{"rag"}, prompt("tiny-2"), facts.Allow, "mail pay staff", ""},
		{[]string{"rag"}, prompt("other"), facts.Deny, "mail pay staff", ""},
		{nil, &facts.Facts{Effects: []facts.Effect{{Action: facts.Read}}}, facts.Allow, "", ""},
	} {
		d := p.Decide(Input{Identity: facts.Identity{Groups: tt.groups}, Facts: tt.f, Text: "x"})
		var detect []string
		for _, x := range d.Detect {
			detect = append(detect, x.Class)
		}
		if d.Verdict != tt.verdict || strings.Join(detect, " ") != tt.detect || strings.Join(d.Classes, " ") != tt.classes {
			t.Errorf("%v %+v: %s, detects %q, classes %q", tt.groups, tt.f.Effects[0].Objects, d.Verdict, detect, d.Classes)
		}
		if hides := len(d.SecretConstants) > 0; hides != (len(tt.f.Constants) > 0) {
			t.Errorf("%v: the record hides %v", tt.f.Constants, d.SecretConstants)
		}
	}
	a, err := p.Detector(p.Detects(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, n := a.Append(nil, []byte("ana@example.com EMP-1234")); n != 2 || string(got) != "[redacted] [redacted]" {
		t.Errorf("%q", got)
	}
	if b, _ := p.Detector(p.Detects(), nil); a != b {
		t.Error("the detector is made anew")
	}
}

func TestDetectProblems(t *testing.T) {
	_, err := Parse("p.yaml", []byte(`version: 1
patterns: {card: "a", open: "a+"}
classes:
  a: {detect: [nope]}
  b: {mask: {name: bucket}, detect: [card]}
`))
	if err == nil {
		t.Fatal("the policy was taken")
	}
	for _, want := range []string{`form "card" is built in`, "repeats without a bound", `no form "nope"`, "class b looks for values in text"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}
