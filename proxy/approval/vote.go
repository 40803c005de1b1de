package approval

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// vote records one answer in one transaction: two approvers at once are put
// in order by the database, and the second sees the first's.
func (b *Book) vote(ctx context.Context, id string, by Approver, yes bool, terms Terms, reason string) (Hold, error) {
	h, err := b.Get(ctx, id)
	if err != nil {
		return Hold{}, err
	}
	if err := mayAnswer(h, by); err != nil {
		return Hold{}, err
	}
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return Hold{}, fmt.Errorf("answering a hold: %w", err)
	}
	defer tx.Rollback()
	if err := b.voteIn(ctx, tx, &h, by, yes, terms, reason); err != nil {
		return Hold{}, err
	}
	if err := tx.Commit(); err != nil {
		return Hold{}, fmt.Errorf("answering a hold: %w", err)
	}
	b.announce()
	return b.Get(ctx, id)
}

func (b *Book) voteIn(ctx context.Context, tx *sql.Tx, h *Hold, by Approver, yes bool, terms Terms, reason string) error {
	now, id := b.now(), h.ID
	var state State
	var binding string
	var expires int64
	err := tx.QueryRowContext(ctx, "SELECT state, binding, expires FROM holds WHERE id = ?", id).Scan(&state, &binding, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	if err != nil {
		return fmt.Errorf("answering a hold: %w", err)
	}
	if state != Waiting {
		return fmt.Errorf("%w: it was %s", ErrEnded, state)
	}
	if now.UnixMicro() >= expires {
		return fmt.Errorf("%w: its time was over at %s", ErrEnded, time.UnixMicro(expires).UTC().Format(time.RFC3339))
	}
	var votes int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM votes WHERE hold = ? AND (approver = ? OR as_whom ->> 'Name' = ?)", id, by.ID, by.Name).Scan(&votes); err != nil {
		return fmt.Errorf("answering a hold: %w", err)
	}
	if votes > 0 {
		return ErrTwice
	}
	as, err := json.Marshal(by)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO votes (hold, approver, name, yes, reason, at, as_whom) VALUES (?, ?, ?, ?, ?, ?, ?)",
		id, by.ID, by.String(), yes, reason, now.UnixMicro(), as); err != nil {
		return fmt.Errorf("answering a hold: %w", err)
	}
	if !yes {
		return endIn(ctx, tx, id, Denied, strings.TrimSuffix(by.String()+": "+reason, ": "), now)
	}
	if met, err := needsMet(ctx, tx, h); err != nil || !met {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO grants (id, hold, binding, uses, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
		newID(), id, binding, max(1, terms.Uses), now.UnixMicro(), now.Add(orDefault(terms.For, time.Hour)).UnixMicro()); err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	return endIn(ctx, tx, id, Granted, "", now)
}

// needsMet says whether enough approvers have said yes for every need.
func needsMet(ctx context.Context, tx *sql.Tx, h *Hold) (bool, error) {
	rows, err := tx.QueryContext(ctx, "SELECT as_whom FROM votes WHERE hold = ? AND yes", h.ID)
	if err != nil {
		return false, fmt.Errorf("counting answers: %w", err)
	}
	defer rows.Close()
	got := make([]int, len(h.Needs))
	for rows.Next() {
		var as []byte
		var by Approver
		if err := errors.Join(rows.Scan(&as), json.Unmarshal(as, &by)); err != nil {
			return false, fmt.Errorf("counting answers: %w", err)
		}
		for i, n := range h.Needs {
			if counts(by, n) {
				got[i]++
			}
		}
	}
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("counting answers: %w", err)
	}
	for i, n := range h.Needs {
		if got[i] < max(1, n.Count) {
			return false, nil
		}
	}
	return true, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// end ends a hold that still waits; ErrEnded where it does not.
func (b *Book) end(ctx context.Context, id string, state State, why string) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("ending a hold: %w", err)
	}
	defer tx.Rollback()
	if err := endIn(ctx, tx, id, state, why, b.now()); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("ending a hold: %w", err)
	}
	b.announce()
	return nil
}

func endIn(ctx context.Context, tx *sql.Tx, id string, state State, why string, now time.Time) error {
	res, err := tx.ExecContext(ctx, "UPDATE holds SET state = ?, ended = ?, ended_why = ? WHERE id = ? AND state = ?",
		state, now.UnixMicro(), why, id, Waiting)
	if err != nil {
		return fmt.Errorf("ending a hold: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(ErrEnded, err)
	}
	return nil
}
