package replay

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"

	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// checkRun is what a check's transcripts have in common.
type checkRun struct {
	opt   *CheckOptions
	cores chan struct{} // taken by who works
	known sync.Pool     // of *knownFacts
}

func newCheckRun(opt *CheckOptions) *checkRun {
	return &checkRun{opt: opt, cores: make(chan struct{}, runtime.GOMAXPROCS(0)), known: sync.Pool{New: func() any { return &knownFacts{} }}}
}

// knownFacts are facts by their JSON: most statements repeat.
type knownFacts map[string]*facts.Facts

// checker decides the statements of a piece of a transcript again.
type checker struct {
	policy      *sqlpolicy.Policy
	decidedBy   string
	open        *Event
	first, last int64 // numbers of its events
	firstID     int64 // of its statements
	statements  int
	counts      map[Change]int
	groups      map[string]*Group
	matched     map[string]bool // rules
	deferred    []*deferred
	waiting     map[int64]*deferred   // for their end
	ends        map[int64]facts.Spent // of statements of the pieces before it
	known       *knownFacts
}

func (r *checkRun) checker(open *Event) *checker {
	return &checker{policy: r.opt.Policy, decidedBy: r.opt.DecidedBy, open: open, groups: map[string]*Group{}, counts: map[Change]int{}, matched: map[string]bool{},
		waiting: map[int64]*deferred{}, ends: map[int64]facts.Spent{}}
}

// transcript checks one transcript: its first piece, and then the others, each
// on a core of its own where one is idle.
func (r *checkRun) transcript(ctx context.Context, path string) ([]*checker, error) {
	s, err := openSource(path)
	if err != nil {
		return nil, err
	}
	n := s.pieces()
	out, errs := make([]*checker, n), make([]error, n)
	piece := func(i int, open *Event) {
		c := r.checker(open)
		out[i] = c
		_, errs[i] = s.piece(i, 0, r.opt.Identities, r.counted(c))
		r.known.Put(c.known)
	}
	var wg sync.WaitGroup
	for i := range n {
		if i == 0 || errs[0] != nil || ctx.Err() != nil {
			if i == 0 {
				piece(0, nil)
			}
			continue
		}
		select {
		case r.cores <- struct{}{}:
			wg.Go(func() {
				defer func() { <-r.cores }()
				piece(i, out[0].open)
			})
		default:
			piece(i, out[0].open)
		}
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if overlapping(out) {
		return r.whole(s)
	}
	settle(out)
	return out, nil
}

// counted gives a piece's events to its checker.
func (r *checkRun) counted(c *checker) func(*Event) error {
	c.known = r.known.Get().(*knownFacts)
	return func(e *Event) error {
		if c.first == 0 {
			c.first = e.Number
		}
		c.last = e.Number
		return c.event(e)
	}
}

// overlapping says that events stand in two pieces: after a crash the last
// frame and the journal may both have them.
func overlapping(list []*checker) bool {
	last := int64(0)
	for _, c := range list {
		if c.first <= last {
			return true
		}
		last = c.last
	}
	return false
}

// whole checks a transcript in one go.
func (r *checkRun) whole(s *source) ([]*checker, error) {
	c := r.checker(nil)
	each := r.counted(c)
	defer r.known.Put(c.known)
	last := int64(0)
	var err error
	for i := range s.pieces() {
		if last, err = s.piece(i, last, r.opt.Identities, each); err != nil {
			return nil, err
		}
	}
	return []*checker{c}, nil
}

// settle gives statements their ends that stand in later pieces.
func settle(list []*checker) {
	waiting := map[int64]*deferred{}
	for _, c := range list {
		for id, spent := range c.ends {
			if d := waiting[id]; d != nil {
				d.spent = spent
				delete(waiting, id)
			}
		}
		for id, d := range c.waiting {
			waiting[id] = d
		}
	}
}

func (c *checker) event(e *Event) error {
	switch e.Type {
	case TypeOpen:
		c.open = e
	case TypeStatement:
		if c.firstID == 0 {
			c.firstID = e.ID
		}
		if c.decidedBy != "" && e.Policy != c.decidedBy {
			return nil
		}
		c.statements++
		return c.statement(e)
	case TypeComplete, TypeError:
		spent := facts.Spent{Rows: e.Rows, Bytes: e.Bytes}
		switch d := c.waiting[e.ID]; {
		case d != nil:
			d.spent = spent
			delete(c.waiting, e.ID)
		case len(c.policy.Budgets) > 0 && (c.firstID == 0 || e.ID < c.firstID):
			c.ends[e.ID] = spent
		}
	}
	return nil
}

func (c *checker) facts(raw json.RawMessage) (*facts.Facts, error) {
	if *c.known == nil || len(*c.known) > 50_000 {
		*c.known = knownFacts{}
	}
	if f := (*c.known)[string(raw)]; f != nil {
		return f, nil
	}
	f := &facts.Facts{}
	if err := json.Unmarshal(raw, f); err != nil {
		return nil, err
	}
	(*c.known)[string(raw)] = f
	return f, nil
}
