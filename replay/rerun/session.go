package rerun

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/replay"
)

// run is one session's.
type run struct {
	*common
	session     *replay.Recorded
	conn        connection // from the first statement on
	times       []timed
	hashed      int
	skipped     map[string]int
	differences []Difference
}

// timed is a statement that was run again.
type timed struct {
	statement *replay.Statement
	now       time.Duration
	differs   bool
}

func (r *run) all(ctx context.Context) error {
	if r.slots != nil {
		r.slots <- struct{}{}
		defer func() { <-r.slots }()
	}
	defer func() {
		if r.conn != nil {
			r.conn.close(context.WithoutCancel(ctx))
		}
		if r.order != nil { // whatever was not run is waited for no longer
			for _, s := range r.session.Statements {
				r.order.end(s)
			}
		}
	}()
	for _, s := range r.session.Statements {
		if err := r.statement(ctx, s); err != nil {
			return err
		}
		if r.order != nil {
			r.order.end(s)
		}
	}
	return nil
}

// skip says why a statement is not run, "" where it is.
func (r *run) skip(s *replay.Statement) (text, why string) {
	text, why = replay.Runnable(s)
	w := wires[r.session.Protocol]
	switch {
	case why != "":
	case !s.Finished:
		why = "its end is not recorded"
	case s.Code == "skipped" || s.Code == "lost":
		why = "it was not run to its end"
	case w.budget(s):
		why = "a budget stopped it"
	case !r.opt.Writes && s.Writes:
		why = "it writes"
	case r.opt.Rollback && s.Transaction:
		why = "it begins or ends a transaction"
	default:
		why = w.skip(s, r.opt)
	}
	return text, why
}

// statement runs one statement and compares. Its error is the connection's.
func (r *run) statement(ctx context.Context, s *replay.Statement) error {
	text, why := r.skip(s)
	if why != "" {
		r.skipped[why]++
		return nil
	}
	if err := r.pace(ctx, s.At); err != nil {
		return err
	}
	if r.order != nil {
		if err := r.order.wait(ctx, s); err != nil {
			return err
		}
	}
	if r.conn == nil {
		var err error
		if r.conn, err = wires[r.session.Protocol].connect(ctx, r.opt, r.session); err != nil {
			return err
		}
	}
	start := time.Now()
	got, err := r.conn.run(ctx, s, text)
	took := time.Since(start)
	if err != nil {
		return fmt.Errorf("statement %d: %w", s.ID, err)
	}
	before := len(r.differences)
	r.compare(s, got)
	r.times = append(r.times, timed{s, took, len(r.differences) > before})
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
	r.differences = append(r.differences, Difference{Session: r.session.ID, ID: s.ID, Text: s.Text, What: what, Recorded: recorded, Now: now})
}

func (r *run) compare(s *replay.Statement, got *outcome) {
	if got.code != s.Code {
		r.differ(s, "error", orNone(s.Code), orNone(got.code))
		return
	}
	if got.code != "" {
		return
	}
	if got.tag != s.Tag && (got.sameTag == nil || r.opt.Masked || !got.sameTag(s)) {
		r.differ(s, "tag", s.Tag, got.tag)
		return
	}
	if !got.columns {
		return
	}
	if n := int64(len(got.rows)); n != s.Sent {
		r.differ(s, "rows", fmt.Sprint(s.Sent), fmt.Sprint(n))
		return
	}
	if !r.values(s, got) {
		return
	}
	if s.Hash != "" && (r.opt.Masked || len(s.Masked) == 0) {
		var h replay.ResultHash
		for _, row := range got.rows {
			h.Add(row)
		}
		r.hashed++
		if now := h.String(); now != s.Hash {
			r.differ(s, "hash", s.Hash, now)
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// values compares the rows that were recorded, but for masked columns, which
// are not masked past the proxy. It says whether they are the same.
func (r *run) values(s *replay.Statement, got *outcome) bool {
	for i, want := range s.Rows {
		if i >= len(got.rows) {
			break
		}
		for j, cell := range want {
			if j >= len(got.rows[i]) || !r.opt.Masked && slices.Contains(s.Masked, j) {
				continue
			}
			now := got.rows[i][j]
			if (cell == nil) != (now == nil) || cell != nil && *cell != asRecorded(now) {
				name := fmt.Sprint("column ", j+1)
				if j < len(s.Columns) {
					name = s.Columns[j]
				}
				r.differ(s, fmt.Sprintf("values: row %d, %s", i+1, name), text(cell), text(ptr(now)))
				return false
			}
		}
	}
	return true
}

func ptr(b []byte) *string {
	if b == nil {
		return nil
	}
	s := asRecorded(b)
	return &s
}

// asRecorded is a cell as a transcript's JSON has it: a byte that is no text
// became U+FFFD there. The hash tells such apart.
func asRecorded(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string([]rune(string(b)))
}

func text(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}
