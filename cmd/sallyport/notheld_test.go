package main

import (
	"bytes"
	"testing"
)

// TestWhatIsNotHeld shows the channels that docs/threat-model.md names: each
// of these answers differs between the two databases. One that does not any
// more is held now, and the document says too little.
func TestWhatIsNotHeld(t *testing.T) {
	t.Parallel()
	tw := startTwins(t)
	for _, c := range []corpusCase{
		{"row order: groups numbered as they come", []corpusStatement{{text: "SELECT id, row_number() OVER () FROM (SELECT DISTINCT email, id FROM customers) x ORDER BY id"}}},
		{"row order: a constant among the values", []corpusStatement{{text: "SELECT email, id FROM customers UNION SELECT 'bs@example.com', -1"}}},
		{"computed values written into a class", []corpusStatement{
			{text: "INSERT INTO scratch (id, email) SELECT 71, 'b' || repeat('x', 4) || '@example.com'"},
			{text: "SELECT c.id FROM customers c JOIN scratch s ON s.email = c.email WHERE s.id = 71"},
		}},
	} {
		answers := tw.run(t, rawModes[0], c)
		last := answers[len(answers)-1]
		if !last.a.forwarded || bytes.Equal(last.a.bytes, last.b.bytes) {
			t.Errorf("%s: both databases answer alike (%s)", c.name, last.a.problem)
		}
	}
}
