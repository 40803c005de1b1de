package sqlpolicy

import (
	"strings"
	"testing"
)

// TestRecordRows: how many rows are kept goes by what a statement touches and
// by its target; the first entry that fits counts.
func TestRecordRows(t *testing.T) {
	p, err := Parse("p.yaml", []byte(`version: 1
classes: {email: {mask: partial}, ssn: {mask: redact}}
record:
  rows: 7
  hash: true
  by:
    - {classes: [ssn], rows: none}
    - {classes: [email], targets: [reporting], rows: 3}
    - {targets: [reporting], rows: all}
`))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Record.Hash {
		t.Error("no hash")
	}
	for _, c := range []struct {
		target  string
		classes []string
		want    int
	}{
		{"app", nil, 7}, {"app", []string{"email"}, 7}, {"app", []string{"email", "ssn"}, 0},
		{"reporting", nil, -1}, {"reporting", []string{"email"}, 3}, {"reporting", []string{"ssn", "email"}, 0},
	} {
		if got := p.Record.rows(c.target, c.classes); got != c.want {
			t.Errorf("%s %q: %d rows, want %d", c.target, c.classes, got, c.want)
		}
	}
	for _, bad := range []string{"by: [{rows: 1}]", "by: [{classes: [x], rows: 1}]", "by: [{targets: [a]}]", "by: [{targets: [a], rows: some}]", "rows: -1", "hash: maybe"} {
		if _, err := Parse("p.yaml", []byte("version: 1\nclasses: {email: {mask: partial}}\nrecord: {"+bad+"}\n")); err == nil || !strings.Contains(err.Error(), "p.yaml:3:") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
