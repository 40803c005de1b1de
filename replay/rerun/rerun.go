// Package rerun runs recorded sessions again on a database, through the proxy
// or past it, and compares what comes back with what was recorded. It runs
// reads only unless it is told otherwise, in transactions that the server itself
// keeps read-only. It is the only part of replay with drivers: one file a wire.
package rerun

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/replay"
)

// Options say how sessions are run again.
type Options struct {
	// Target is a connection string of libpq's, or mysql://USER@HOST:PORT/DATABASE
	// for sessions of MySQL's.
	Target string
	// Writes runs statements that change something, too.
	Writes bool
	// Rollback runs each session in one transaction that is rolled back; the
	// sessions' own transactions are left out.
	Rollback bool
	// Speed runs in the recorded rhythm times Speed; 0 is as fast as possible.
	Speed float64
	// Sessions is how many may run at once, 0 for 100. More that overlapped
	// when they were recorded are an error, but with Rollback, where they wait.
	Sessions int
	// Masked compares masked columns, too: Target is a proxy with the same
	// policy and keys.
	Masked bool
	// Slower, if it is not 0, makes a difference of statements of a shape whose
	// median time is that many times the recorded one, and a millisecond more.
	Slower float64
	// Progress, if set, is told how many sessions are done. Calls do not overlap.
	Progress func(done, of int)
}

// Difference is a statement that ended otherwise than recorded.
type Difference struct {
	Session  string `json:"session"`
	ID       int64  `json:"id"`
	Text     string `json:"text"`
	What     string `json:"what"` // error, tag, rows, values, hash, duration
	Recorded string `json:"recorded"`
	Now      string `json:"now"`
}

// Result sums up a run.
type Result struct {
	Sessions    int
	Statements  int            // run again
	Skipped     map[string]int // by reason
	Recorded    time.Duration  // time that the statements took then
	Now         time.Duration
	Hashed      int // results compared as a whole, by their hash
	Shapes      []Shape
	Differences []Difference
}

// Shape is the statements that differ in their constants only. Its times are
// medians of those that did not wait for people.
type Shape struct {
	Text                 string
	Count, Differ, Timed int
	Recorded, Now, total time.Duration
}

// connection is what sessions are run over; one file a wire makes it.
type connection interface {
	// run runs one statement, of which text is the whole with its parameters in
	// place. The error is the connection's; the server's is in the outcome.
	run(ctx context.Context, s *replay.Statement, text string) (*outcome, error)
	close(ctx context.Context)
}

// outcome is how a statement ended.
type outcome struct {
	tag, code string
	columns   bool // it has a result
	rows      [][][]byte
	// sameTag, where it is set, says that the recorded tag stands for this one
	// past the proxy: it says less of values that are masked.
	sameTag func(*replay.Statement) bool
}

// wire is a protocol whose sessions can be run again.
type wire struct {
	// connect opens a connection for a session.
	connect func(context.Context, *Options, *replay.Recorded) (connection, error)
	// skip says why a statement is not run beside what holds for all wires, ""
	// where it is.
	skip func(*replay.Statement, *Options) string
	// budget says that the proxy stopped the statement by a budget.
	budget func(*replay.Statement) bool
}

var wires = map[string]wire{
	"postgres": {connectPostgres, skipPostgres, func(s *replay.Statement) bool { return s.Code == "53400" }}, // configuration_limit_exceeded
	"mysql":    {connectMySQL, skipMySQL, mysqlBudget},
}

// Run runs the sessions, each over a connection of its own and in its order. A
// statement that came after another one of any session had ended does so again,
// so that sessions overlap as they did, and see of each other what they saw.
func Run(ctx context.Context, sessions []*replay.Recorded, opt Options) (*Result, error) {
	out := &Result{Skipped: map[string]int{}, Differences: []Difference{}}
	if len(sessions) == 0 {
		return out, nil
	}
	if opt.Sessions <= 0 {
		opt.Sessions = 100
	}
	for _, s := range sessions {
		if _, ok := wires[s.Protocol]; !ok {
			return nil, fmt.Errorf("session %s is one of %s, which cannot be run again", s.ID, s.Protocol)
		}
	}
	c := &common{opt: &opt, began: time.Now(), first: slices.MinFunc(sessions, func(a, b *replay.Recorded) int { return a.Started.Compare(b.Started) }).Started}
	if opt.Rollback {
		// Locks are held to the end of each session: who waits for one cannot be
		// waited for.
		c.slots = make(chan struct{}, opt.Sessions)
	} else {
		if n := overlap(sessions); n > opt.Sessions {
			return nil, fmt.Errorf("%d sessions overlapped, %d may run at once", n, opt.Sessions)
		}
		c.order = newOrder(sessions)
	}
	runs := make([]*run, len(sessions))
	done := 0
	var failed error
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, s := range sessions {
		runs[i] = &run{common: c, session: s, skipped: map[string]int{}}
		wg.Go(func() {
			err := runs[i].all(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && failed == nil {
				failed = fmt.Errorf("session %s: %w", s.ID, err)
			}
			if done++; opt.Progress != nil {
				opt.Progress(done, len(sessions))
			}
		})
	}
	wg.Wait()
	for _, r := range runs {
		out.add(r)
	}
	out.shapes(runs, &opt)
	slices.SortStableFunc(out.Differences, func(a, b Difference) int {
		if d := strings.Compare(a.Session, b.Session); d != 0 {
			return d
		}
		return int(a.ID - b.ID)
	})
	return out, failed
}

// common is what the runs of all sessions share.
type common struct {
	opt   *Options
	first time.Time // when the first of all sessions began
	began time.Time // when the run did
	order *order    // nil where sessions do not wait for each other
	slots chan struct{}
}

func (r *Result) add(o *run) {
	r.Sessions++
	r.Statements += len(o.times)
	r.Hashed += o.hashed
	for _, t := range o.times {
		r.Recorded += t.statement.Took
		r.Now += t.now
	}
	r.Differences = append(r.Differences, o.differences...)
	for why, n := range o.skipped {
		r.Skipped[why] += n
	}
}

// shapes sums up by shape, from what took longest in all.
func (r *Result) shapes(runs []*run, opt *Options) {
	type times struct {
		Shape
		then, now []time.Duration
		slowest   timed
		session   string
	}
	by := map[string]*times{}
	for _, o := range runs {
		for _, t := range o.times {
			text := replay.Shape(t.statement.Text)
			s := by[text]
			if s == nil {
				s = &times{Shape: Shape{Text: text}}
				by[text] = s
			}
			s.Count++
			s.total += t.now
			if t.differs {
				s.Differ++
			}
			if len(t.statement.Holds) > 0 {
				continue
			}
			s.Timed++
			s.then, s.now = append(s.then, t.statement.Took), append(s.now, t.now)
			if s.slowest.statement == nil || t.now > s.slowest.now {
				s.slowest, s.session = t, o.session.ID
			}
		}
	}
	for _, s := range by {
		s.Recorded, s.Now = median(s.then), median(s.now)
		if opt.Slower > 0 && s.slowest.statement != nil && float64(s.Now) > opt.Slower*float64(s.Recorded) && s.Now > s.Recorded+time.Millisecond {
			s.Differ += 1
			r.Differences = append(r.Differences, Difference{Session: s.session, ID: s.slowest.statement.ID, Text: s.slowest.statement.Text, What: "duration",
				Recorded: s.Recorded.String(), Now: s.Now.String()})
		}
		r.Shapes = append(r.Shapes, s.Shape)
	}
	slices.SortFunc(r.Shapes, func(a, b Shape) int {
		if a.total != b.total {
			return int(b.total - a.total)
		}
		return strings.Compare(a.Text, b.Text)
	})
}

func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}
