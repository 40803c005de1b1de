package identity

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// Refusal is logins that were refused for one reason, within an hour in the
// state, or over the time of a list.
type Refusal struct {
	Target  string
	Name    string // as the client gave it, "" where the wire has none
	Address string
	Outcome string // refused, limited, unavailable
	Reason  string
	Count   int64
	First   time.Time
	Last    time.Time
}

// Refusals counts refused logins in the state, so that they can be reported.
// Strangers choose the names: in an hour it keeps mostRefusals different ones, and
// counts the others together. It is safe for concurrent use.
type Refusals struct {
	db *sql.DB

	mu      sync.Mutex
	waiting map[refusalKey]*Refusal
	hour    int64
	known   map[refusalKey]bool // of the hour
	swept   int64               // the hour of the last removal of old ones
}

type refusalKey struct{ target, name, address, outcome, reason string }

const (
	mostRefusals = 1000
	refusalsKept = 90 * 24 * time.Hour
)

// NewRefusals counts in a state that package store has opened.
func NewRefusals(db *sql.DB) *Refusals {
	return &Refusals{db: db, waiting: map[refusalKey]*Refusal{}, known: map[refusalKey]bool{}}
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// Note counts one. It takes no time: Flush writes it.
func (r *Refusals) Note(target, name, address, outcome, reason string, at time.Time) {
	k := refusalKey{target, name, address, outcome, reason}
	r.mu.Lock()
	defer r.mu.Unlock()
	if hour := hourOf(at); hour != r.hour {
		r.hour = hour
		clear(r.known)
	}
	if !r.known[k] && len(r.known) >= mostRefusals {
		k = refusalKey{target: target, outcome: outcome, reason: "more names, addresses and reasons than are told apart in an hour"}
	}
	r.known[k] = true
	x := r.waiting[k]
	if x == nil {
		x = &Refusal{First: at}
		r.waiting[k] = x
	}
	x.Count++
	x.Last = at
}

// Flush writes what was noted. What cannot be written stays for the next time.
func (r *Refusals) Flush(ctx context.Context) error {
	r.mu.Lock()
	list := r.waiting
	r.waiting = map[refusalKey]*Refusal{}
	r.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	err := r.write(ctx, list)
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, x := range list {
		if y := r.waiting[k]; y != nil {
			x.Count += y.Count
			x.Last = y.Last
		}
		r.waiting[k] = x
	}
	return fmt.Errorf("writing refused logins down: %w", err)
}

func (r *Refusals) write(ctx context.Context, list map[refusalKey]*Refusal) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	last := int64(0)
	for k, x := range list {
		last = max(last, hourOf(x.Last))
		_, err := tx.ExecContext(ctx, `INSERT INTO refused_logins (hour, target, name, address, outcome, reason, n, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (hour, target, name, address, outcome, reason) DO UPDATE SET n = n + excluded.n, last_at = max(last_at, excluded.last_at)`,
			hourOf(x.First), k.target, k.name, k.address, k.outcome, k.reason, x.Count, x.First.UnixMicro(), x.Last.UnixMicro())
		if err != nil {
			return err
		}
	}
	if last != r.swept {
		if _, err := tx.ExecContext(ctx, `DELETE FROM refused_logins WHERE hour < ?`, last-int64(refusalsKept/time.Hour)); err != nil {
			return err
		}
		r.swept = last
	}
	return tx.Commit()
}

// ReadRefusals lists what was refused between since and until, where they are
// not zero, by target, name, address and reason.
func ReadRefusals(ctx context.Context, db *sql.DB, since, until time.Time) ([]Refusal, error) {
	from, to := int64(0), int64(1<<62)
	if !since.IsZero() {
		from = since.UnixMicro()
	}
	if !until.IsZero() {
		to = until.UnixMicro()
	}
	rows, err := db.QueryContext(ctx, `SELECT target, name, address, outcome, reason, sum(n), min(first_at), max(last_at) FROM refused_logins
		WHERE last_at >= ? AND first_at < ? GROUP BY target, name, address, outcome, reason ORDER BY target, name, address, outcome, reason`, from, to)
	if err != nil {
		return nil, fmt.Errorf("reading refused logins: %w", err)
	}
	defer rows.Close()
	var out []Refusal
	for rows.Next() {
		var x Refusal
		var first, last int64
		if err := rows.Scan(&x.Target, &x.Name, &x.Address, &x.Outcome, &x.Reason, &x.Count, &first, &last); err != nil {
			return nil, fmt.Errorf("reading refused logins: %w", err)
		}
		x.First, x.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		out = append(out, x)
	}
	return out, rows.Err()
}
