// Package rerun runs recorded sessions again on a PostgreSQL database, through
// the proxy or past it, and compares what comes back with what was recorded.
// It runs reads only unless it is told otherwise, in transactions that the
// server itself keeps read-only. It is the only part of replay with a driver.
package rerun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-proxy/sallyport/replay"
)

// Options say how sessions are run again.
type Options struct {
	Target string // a connection string of libpq's
	// Writes runs statements that change something, too.
	Writes bool
	// Rollback runs each session in one transaction that is rolled back; its
	// own transactions become savepoints of none.
	Rollback bool
	// Speed runs in the recorded rhythm times Speed; 0 is as fast as possible.
	Speed float64
	// At most so many sessions at once; 0 is 16.
	Sessions int
	// Progress, if set, is told how many sessions are done. Calls do not overlap.
	Progress func(done, of int)
}

// Difference is a statement that ended otherwise than recorded.
type Difference struct {
	Session  string `json:"session"`
	ID       int64  `json:"id"`
	Text     string `json:"text"`
	What     string `json:"what"` // tag, rows, values, error
	Recorded string `json:"recorded"`
	Now      string `json:"now"`
}

// Result sums up a run.
type Result struct {
	Sessions    int            `json:"sessions"`
	Statements  int            `json:"statements"` // run again
	Skipped     map[string]int `json:"skipped"`    // by reason
	Recorded    time.Duration  `json:"recorded"`   // time that the statements took then
	Now         time.Duration  `json:"now"`
	Differences []Difference   `json:"differences"`
}

// Run runs the sessions, each over a connection of its own: in order within a
// session, and beside each other as far as Sessions allows.
func Run(ctx context.Context, sessions []*replay.Recorded, opt Options) (*Result, error) {
	out := &Result{Skipped: map[string]int{}, Differences: []Difference{}}
	if len(sessions) == 0 {
		return out, nil
	}
	first := slices.MinFunc(sessions, func(a, b *replay.Recorded) int { return a.Started.Compare(b.Started) }).Started
	began := time.Now()
	atOnce := opt.Sessions
	if atOnce <= 0 {
		atOnce = 16
	}
	slots := make(chan struct{}, atOnce)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	for _, s := range sessions {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := &run{opt: &opt, session: s, first: first, began: began, result: Result{Skipped: map[string]int{}}}
			err := r.all(ctx)
			mu.Lock()
			defer mu.Unlock()
			out.add(&r.result)
			if err != nil && failed == nil {
				failed = fmt.Errorf("session %s: %w", s.ID, err)
			}
			if opt.Progress != nil {
				opt.Progress(out.Sessions, len(sessions))
			}
		})
	}
	wg.Wait()
	slices.SortFunc(out.Differences, func(a, b Difference) int {
		if d := strings.Compare(a.Session, b.Session); d != 0 {
			return d
		}
		return int(a.ID - b.ID)
	})
	return out, failed
}

func (r *Result) add(o *Result) {
	r.Sessions++
	r.Statements += o.Statements
	r.Recorded += o.Recorded
	r.Now += o.Now
	r.Differences = append(r.Differences, o.Differences...)
	for why, n := range o.Skipped {
		r.Skipped[why] += n
	}
}

// run is one session's.
type run struct {
	opt     *Options
	session *replay.Recorded
	first   time.Time // when the first of all sessions began
	began   time.Time // when the run did
	conn    *pgconn.PgConn
	result  Result
}

// budgetCode is configuration_limit_exceeded, which the proxy stops results
// with.
const budgetCode = "53400"

func (r *run) all(ctx context.Context) error {
	conn, err := pgconn.Connect(ctx, r.opt.Target)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	r.conn = conn
	setup := []string{}
	if !r.opt.Writes {
		setup = append(setup, "SET default_transaction_read_only = on")
	}
	if r.opt.Rollback {
		setup = append(setup, "BEGIN")
	}
	for _, sql := range setup {
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	for _, s := range r.session.Statements {
		if err := r.statement(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// statement runs one statement and compares. Its error is the connection's.
func (r *run) statement(ctx context.Context, s *replay.Statement) error {
	text, why := replay.Runnable(s)
	switch {
	case why != "":
	case !s.Finished:
		why = "its end is not recorded"
	case s.Code == "skipped" || s.Code == "lost":
		why = "it was not run to its end"
	case s.Code == budgetCode:
		why = "a budget stopped it"
	case !r.opt.Writes && s.Writes:
		why = "it writes"
	case r.opt.Rollback && s.Transaction:
		why = "it begins or ends a transaction"
	}
	if why != "" {
		r.result.Skipped[why]++
		return nil
	}
	if err := r.pace(ctx, s.At); err != nil {
		return err
	}
	if r.opt.Rollback {
		text = "SAVEPOINT sallyport_rerun; " + text
	}
	start := time.Now()
	results, err := r.conn.Exec(ctx, text).ReadAll()
	r.result.Now += time.Since(start)
	r.result.Recorded += s.Took
	r.result.Statements++
	if r.conn.IsClosed() {
		return fmt.Errorf("statement %d ended the connection: %w", s.ID, err)
	}
	if r.opt.Rollback {
		end := "RELEASE SAVEPOINT sallyport_rerun"
		if err != nil {
			end = "ROLLBACK TO SAVEPOINT sallyport_rerun"
		} else if len(results) > 0 {
			results = results[1:]
		}
		if _, err := r.conn.Exec(ctx, end).ReadAll(); err != nil {
			return err
		}
	}
	r.compare(s, results, err)
	return nil
}

// pace waits until a statement's time has come.
func (r *run) pace(ctx context.Context, at time.Time) error {
	if r.opt.Speed <= 0 {
		return ctx.Err()
	}
	due := r.began.Add(time.Duration(float64(at.Sub(r.first)) / r.opt.Speed))
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) differ(s *replay.Statement, what, recorded, now string) {
	r.result.Differences = append(r.result.Differences, Difference{Session: r.session.ID, ID: s.ID, Text: s.Text, What: what, Recorded: recorded, Now: now})
}

func (r *run) compare(s *replay.Statement, results []*pgconn.Result, err error) {
	code := ""
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		code = pe.Code
	} else if err != nil {
		code = err.Error()
	}
	if code != s.Code {
		r.differ(s, "error", orNone(s.Code), orNone(code))
		return
	}
	if code != "" || len(results) == 0 {
		return
	}
	last := results[len(results)-1]
	if tag := last.CommandTag.String(); tag != s.Tag {
		r.differ(s, "tag", s.Tag, tag)
		return
	}
	if n := int64(len(last.Rows)); n != s.Sent && len(last.FieldDescriptions) > 0 {
		r.differ(s, "rows", fmt.Sprint(s.Sent), fmt.Sprint(n))
		return
	}
	r.values(s, last)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// values compares the rows that were recorded, but for masked columns: past
// the proxy they are not masked.
func (r *run) values(s *replay.Statement, got *pgconn.Result) {
	for i, want := range s.Rows {
		if i >= len(got.Rows) {
			return
		}
		for j, cell := range want {
			if j >= len(got.Rows[i]) || slices.Contains(s.Masked, j) {
				continue
			}
			now := got.Rows[i][j]
			if (cell == nil) != (now == nil) || cell != nil && *cell != string(now) {
				name := fmt.Sprint("column ", j+1)
				if j < len(s.Columns) {
					name = s.Columns[j]
				}
				r.differ(s, fmt.Sprintf("values: row %d, %s", i+1, name), text(cell), text(ptr(now)))
				return
			}
		}
	}
}

func ptr(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func text(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}
