package identity

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Revocation is a name that may not log in, whatever it proves.
type Revocation struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Revocations is the list of them, in the state. It is safe for concurrent
// use, by several processes too.
type Revocations struct{ db *sql.DB }

// NewRevocations is the list in a state that package store has opened.
func NewRevocations(db *sql.DB) *Revocations { return &Revocations{db} }

// List is the whole list, by name.
func (r *Revocations) List(ctx context.Context) ([]Revocation, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT name, at, revoked_by, reason FROM revoked ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("the list of revoked identities: %w", err)
	}
	defer rows.Close()
	out := []Revocation{}
	for rows.Next() {
		var e Revocation
		var at int64
		if err := rows.Scan(&e.Name, &at, &e.By, &e.Reason); err != nil {
			return nil, fmt.Errorf("the list of revoked identities: %w", err)
		}
		e.At = time.UnixMicro(at).UTC()
		out = append(out, e)
	}
	return out, rows.Err()
}

// Add puts a name on the list, or replaces what stands there of it.
func (r *Revocations) Add(ctx context.Context, e Revocation) error {
	_, err := r.db.ExecContext(ctx, `INSERT INTO revoked (name, at, revoked_by, reason) VALUES (?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET at = excluded.at, revoked_by = excluded.revoked_by, reason = excluded.reason`, e.Name, e.At.UnixMicro(), e.By, e.Reason)
	if err != nil {
		return fmt.Errorf("revoking %s: %w", e.Name, err)
	}
	return nil
}

// Remove takes a name off the list; false where it was not on it.
func (r *Revocations) Remove(ctx context.Context, name string) (bool, error) {
	res, err := r.db.ExecContext(ctx, `DELETE FROM revoked WHERE name = ?`, name)
	if err != nil {
		return false, fmt.Errorf("restoring %s: %w", name, err)
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
