// Package budget counts what identities read, in the state store: over
// sessions, processes and restarts. An amount is charged before its rows
// leave and what was not used is given back, so that a crash can only count
// too much. A state that cannot be written lets nothing pass.
package budget

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Budget is one identity's, with its limits; 0 limits nothing.
type Budget struct {
	Name     string
	Identity string
	Rows     int64
	Bytes    int64
	Tokens   int64
	Cost     int64         // in millionths
	Per      time.Duration // the window that slides
}

// slots is how finely a window is kept: what was read leaves it in steps of a
// sixtieth of it, never too early.
const slots = 60

func (b *Budget) slot(at time.Time) int64 {
	width := max(1, int64(b.Per/time.Second)/slots)
	return at.Unix() / width * width
}

// first is the oldest slot that is still in the window.
func (b *Budget) first(now time.Time) int64 {
	return b.slot(now.Add(-b.Per))
}

// Charge is an amount that was charged, and when: it leaves the window from
// there, used or given back.
type Charge struct {
	facts.Spent
	slot int64
}

// Ledger keeps what was spent in a database that package store opened. It is
// safe for concurrent use, by several processes too.
type Ledger struct {
	db  *sql.DB
	now func() time.Time
}

// NewLedger returns a ledger over db; now is the clock.
func NewLedger(db *sql.DB, now func() time.Time) *Ledger { return &Ledger{db: db, now: now} }

// Spent is what was used of b in its window.
func (l *Ledger) Spent(ctx context.Context, b *Budget) (facts.Spent, error) {
	return spent(ctx, l.db, b, l.now())
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func spent(ctx context.Context, q querier, b *Budget, now time.Time) (facts.Spent, error) {
	var s facts.Spent
	err := q.QueryRowContext(ctx, "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0), coalesce(sum(tokens), 0), coalesce(sum(cost), 0) FROM spent WHERE budget = ? AND identity = ? AND slot >= ?",
		b.Name, b.Identity, b.first(now)).Scan(&s.Rows, &s.Bytes, &s.Tokens, &s.Cost)
	if err != nil {
		return s, fmt.Errorf("reading a budget: %w", err)
	}
	return s, nil
}

// Take charges up to want to the budget and returns how much that was: less
// than asked for where less is left, nothing where nothing is. beyond charges
// all of it in any case, for what people have let pass.
func (l *Ledger) Take(ctx context.Context, b *Budget, want facts.Spent, beyond bool) (Charge, error) {
	now := l.now()
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return Charge{}, fmt.Errorf("charging a budget: %w", err)
	}
	defer tx.Rollback()
	if !beyond {
		used, err := spent(ctx, tx, b, now)
		if err != nil {
			return Charge{}, err
		}
		want.Rows, want.Bytes = atMost(want.Rows, b.Rows, used.Rows), atMost(want.Bytes, b.Bytes, used.Bytes)
		want.Tokens, want.Cost = atMost(want.Tokens, b.Tokens, used.Tokens), atMost(want.Cost, b.Cost, used.Cost)
	}
	c := Charge{Spent: want, slot: b.slot(now)}
	if err := charge(ctx, tx, b, c); err != nil {
		return Charge{}, err
	}
	// What has left the window is of no use any more.
	if _, err := tx.ExecContext(ctx, "DELETE FROM spent WHERE budget = ? AND identity = ? AND slot < ?", b.Name, b.Identity, b.first(now)); err != nil {
		return Charge{}, fmt.Errorf("charging a budget: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return Charge{}, fmt.Errorf("charging a budget: %w", err)
	}
	return c, nil
}

func atMost(want, limit, used int64) int64 {
	if limit == 0 {
		return want
	}
	return max(0, min(want, limit-used))
}

// GiveBack takes back what is left of a charge.
func (l *Ledger) GiveBack(ctx context.Context, b *Budget, left Charge) error {
	left.Rows, left.Bytes, left.Tokens, left.Cost = -left.Rows, -left.Bytes, -left.Tokens, -left.Cost
	return charge(ctx, l.db, b, left)
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func charge(ctx context.Context, x execer, b *Budget, c Charge) error {
	if c.Rows == 0 && c.Bytes == 0 && c.Tokens == 0 && c.Cost == 0 {
		return nil
	}
	_, err := x.ExecContext(ctx, `INSERT INTO spent (budget, identity, slot, rows, bytes, tokens, cost) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (budget, identity, slot) DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes, tokens = tokens + excluded.tokens, cost = cost + excluded.cost`,
		b.Name, b.Identity, c.slot, c.Rows, c.Bytes, c.Tokens, c.Cost)
	if err != nil {
		return fmt.Errorf("charging a budget: %w", err)
	}
	return nil
}
