package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
)

// TestNonInterference sends a corpus of attacks and everyday statements to
// two databases that differ only in the values of classed columns, and fails
// on any difference in the bytes that come back. Everyday statements must
// also be forwarded: refusing is not masking.
func TestNonInterference(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "testdata", "noninterference")
	for _, corpus := range []struct {
		file  string
		share float64 // of the statements that the proxy must forward
	}{
		{"everyday.txt", 0.97},
		{"attacks.txt", 0},
	} {
		cases := readCorpus(t, filepath.Join(dir, corpus.file))
		for _, mode := range rawModes {
			t.Run(corpus.file+"/"+mode.name, func(t *testing.T) {
				t.Parallel()
				tw := startTwins(t) // fresh ones: statements leave their marks
				sent, forwarded, differed := 0, 0, 0
				for _, c := range cases {
					for _, r := range tw.run(t, mode, c) {
						sent++
						if r.a.forwarded {
							forwarded++
						} else if corpus.share > 0 {
							t.Logf("%s:%d refused: %s\n    %s", corpus.file, r.statement.line, r.statement.text, r.a.problem)
						}
						if !bytes.Equal(r.a.bytes, r.b.bytes) || r.a.died != r.b.died {
							differed++
							t.Errorf("%s:%d [%s] differs: %s\n  A%s\n%s  B%s\n%s", corpus.file, r.statement.line, c.name, r.statement.text,
								ended(r.a), describeFrames(r.a.bytes), ended(r.b), describeFrames(r.b.bytes))
						}
					}
				}
				tw.proxy.agrees(t)
				share := float64(forwarded) / float64(sent)
				t.Logf("%s, %s: %d statements, %d forwarded (%.1f %%), %d differ", corpus.file, mode.name, sent, forwarded, 100*share, differed)
				if share < corpus.share {
					t.Errorf("only %.1f %% were forwarded, want %.0f %%", 100*share, 100*corpus.share)
				}
			})
		}
	}
}

// TestNonInterferenceHasTeeth: without classes the same test finds dozens of
// differences.
func TestNonInterferenceHasTeeth(t *testing.T) {
	t.Parallel()
	tw := startTwinsUnder(t, "version: 1\n")
	differed := 0
	for _, c := range readCorpus(t, filepath.Join("..", "..", "testdata", "noninterference", "everyday.txt")) {
		for _, r := range tw.run(t, rawModes[0], c) {
			if !bytes.Equal(r.a.bytes, r.b.bytes) {
				differed++
			}
		}
	}
	if differed < 40 {
		t.Errorf("only %d statements differ without masks", differed)
	}
}

func ended(a answer) string {
	if a.died {
		return " (the session ended)"
	}
	return ""
}

// twins are two databases behind the proxy.
type twins struct {
	a, b  string // connection strings
	proxy *testProxy
}

type pair struct {
	statement corpusStatement
	a, b      answer
}

// run sends one case to both in lockstep, in a session of its own each.
func (tw *twins) run(t *testing.T, mode rawMode, c corpusCase) []pair {
	t.Helper()
	sa, sb := dialRaw(t, tw.a), dialRaw(t, tw.b)
	defer func() {
		for _, s := range []*rawSession{sa, sb} {
			if _, err := rawModes[0].run(s, "ROLLBACK"); err != nil {
				t.Logf("ending a case: %v", err)
			}
			s.conn.Close()
		}
	}()
	var out []pair
	for _, st := range c.statements {
		p := pair{statement: st}
		p.a, p.b = mode.ask(sa, st.text, st.unordered), mode.ask(sb, st.text, st.unordered)
		p.a.bytes, p.b.bytes = slots.ReplaceAll(p.a.bytes, []byte("pg_temp_N")), slots.ReplaceAll(p.b.bytes, []byte("pg_temp_N"))
		out = append(out, p)
		if p.a.died {
			sa.conn.Close()
			sa = dialRaw(t, tw.a)
		}
		if p.b.died {
			sb.conn.Close()
			sb = dialRaw(t, tw.b)
		}
	}
	return out
}

// slots are the names of sessions' temporary schemas: their numbers are those of the slots that the server had free,
// which goes by how soon the sessions before have ended.
var slots = regexp.MustCompile(`pg_temp_\d+`)

func twinConn(port int) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=ana password=ana-secret dbname=shop sslmode=disable", port)
}
