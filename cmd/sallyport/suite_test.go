package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
)

// suite keeps what the proxies of all tests have recorded, and the policies
// that they had.
var suite recordings

type recordings struct {
	mu       sync.Mutex
	dir      string
	policies map[string]*sqlpolicy.Policy // by their hash
	proxies  int
}

// policy keeps a policy that a proxy may come to decide by. One that is broken
// decides nothing.
func (s *recordings) policy(path string) {
	p, err := sqlpolicy.Load(path)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.policies == nil {
		s.policies = map[string]*sqlpolicy.Policy{}
	}
	s.policies[p.Hash] = p
}

// take moves a proxy's transcripts, once it has ended, to those of the suite.
func (s *recordings) take(t testing.TB, p *testProxy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "sallyport-suite-")
		if err != nil {
			t.Error(err)
			return
		}
		s.dir = dir
	}
	from := filepath.Join(p.dir, "var", "transcripts")
	if _, err := os.Stat(from); err != nil {
		return // it never ran, or had a bucket
	}
	s.proxies++
	if err := os.Rename(from, filepath.Join(s.dir, fmt.Sprint(s.proxies))); err != nil {
		t.Error(err)
	}
}

// suiteMain runs the tests, and then decides every statement that any of them
// had a proxy decide again, from its record: live and replay must agree.
type suiteMain struct{ m *testing.M }

func (s suiteMain) Run() int {
	code := s.m.Run()
	if err := suite.agrees(); err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: live and replay disagree, or cannot be compared: %v\n", err)
		code = max(code, 1)
	}
	if suite.dir != "" {
		_ = os.RemoveAll(suite.dir)
	}
	return code
}

func (s *recordings) agrees() error {
	if s.proxies == 0 {
		return nil
	}
	files, err := replay.Files(s.dir)
	if err != nil {
		return err
	}
	recorded, decided, unchanged, undecidable := 0, 0, 0, 0
	by := map[string][]string{} // the transcripts in which a policy, by its hash, has decided
	for _, f := range files {
		err := replay.Read(f, nil, func(e *replay.Event) error {
			if e.Type == replay.TypeStatement {
				recorded++
				if of := by[e.Policy]; len(of) == 0 || of[len(of)-1] != f {
					by[e.Policy] = append(of, f)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	for hash, p := range s.policies {
		c, err := replay.Check(context.Background(), by[hash], replay.CheckOptions{Policy: p, DecidedBy: hash})
		if err != nil {
			return err
		}
		decided, unchanged, undecidable = decided+c.Statements, unchanged+c.Unchanged, undecidable+c.Counts[replay.Undecidable]
		for _, g := range c.Groups {
			x := g.Example
			// The words of a constant that was refused for them, and hidden, are not
			// in the record.
			if g.Change != replay.Undecidable || x.Why != "it was refused for a constant that the record hides" {
				return fmt.Errorf("%d statements %s by %s: %s → %s: %s (%s)", g.Count, g.Change, g.Rule, x.Before, x.After, g.Shape, x.Why)
			}
			fmt.Fprintf(os.Stderr, "undecidable: %d × %s (%s)\n", g.Count, g.Shape, x.Why)
		}
	}
	fmt.Fprintf(os.Stderr, "replay of the suite: %d statements of %d sessions of %d proxies under %d policies, %d decided again, %d as they were, %d undecidable\n",
		recorded, len(files), s.proxies, len(s.policies), decided, unchanged, undecidable)
	if decided != recorded {
		return fmt.Errorf("%d statements were recorded, and %d decided again: a policy is not known", recorded, decided)
	}
	return nil
}
