// Package store opens Sallyport's state: holds, grants, budgets and the register of sessions, in SQLite.
// Transcripts are not here; they are files of package replay.
//
// The database is opened in WAL mode with a busy timeout, so that several
// processes on one machine can share it. A state that cannot be written makes
// whatever needs it fail: nothing is granted or charged on memory alone.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Open opens the state named by the configuration's storage.state, which is
// "sqlite:PATH", creating file and tables where they are missing. A relative
// PATH is taken from dir. The caller closes the result.
func Open(ctx context.Context, state, dir string) (*sql.DB, error) {
	path, ok := strings.CutPrefix(state, "sqlite:")
	if !ok {
		return nil, fmt.Errorf("storage.state %q: only sqlite:PATH is supported", state)
	}
	if path == "" {
		return nil, errors.New("storage.state: sqlite: needs a path")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the state's folder: %w", err)
	}
	q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	// SQLite has one writer; more connections would only wait for each other.
	db.SetMaxOpenConns(4)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the state %s: %w", path, err), db.Close())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// migrations are applied in order, each once; user_version counts them. A
// line is never changed once released.
var migrations = []string{
	`CREATE TABLE holds (
		id         TEXT PRIMARY KEY,
		binding    TEXT NOT NULL,
		identity   TEXT NOT NULL,
		session    TEXT NOT NULL,
		target     TEXT NOT NULL,
		database   TEXT NOT NULL,
		detail     TEXT NOT NULL, -- JSON of approval.Request
		state      TEXT NOT NULL,
		created    INTEGER NOT NULL, -- microseconds since 1970
		expires    INTEGER NOT NULL,
		ended      INTEGER,
		ended_why  TEXT
	);
	CREATE INDEX holds_state ON holds (state, created);
	CREATE TABLE votes (
		hold     TEXT NOT NULL REFERENCES holds (id),
		approver TEXT NOT NULL,
		name     TEXT NOT NULL,
		yes      INTEGER NOT NULL,
		reason   TEXT NOT NULL,
		at       INTEGER NOT NULL,
		as_whom  TEXT NOT NULL, -- JSON of approval.Approver
		PRIMARY KEY (hold, approver)
	);
	CREATE TABLE grants (
		id       TEXT PRIMARY KEY,
		hold     TEXT NOT NULL REFERENCES holds (id),
		binding  TEXT NOT NULL,
		uses     INTEGER NOT NULL,
		used     INTEGER NOT NULL DEFAULT 0,
		created  INTEGER NOT NULL,
		expires  INTEGER NOT NULL
	);
	CREATE INDEX grants_binding ON grants (binding)`,
	`CREATE TABLE spent (
		budget   TEXT NOT NULL,
		identity TEXT NOT NULL,
		slot     INTEGER NOT NULL, -- start of the slot, seconds since 1970
		rows     INTEGER NOT NULL,
		bytes    INTEGER NOT NULL,
		PRIMARY KEY (budget, identity, slot)
	)`,
	`CREATE TABLE sessions ( -- package register
		n       INTEGER PRIMARY KEY,
		at      INTEGER NOT NULL, -- microseconds since 1970
		kind    TEXT NOT NULL,
		session TEXT NOT NULL,
		place   TEXT NOT NULL,
		spool   TEXT NOT NULL,
		head    TEXT NOT NULL,
		events  INTEGER NOT NULL,
		sum     TEXT NOT NULL,
		key     TEXT NOT NULL,
		sig     TEXT NOT NULL
	);
	CREATE INDEX sessions_session ON sessions (place, session)`,
	`CREATE TABLE revoked ( -- package identity
		name       TEXT PRIMARY KEY,
		at         INTEGER NOT NULL, -- microseconds since 1970
		revoked_by TEXT NOT NULL,
		reason     TEXT NOT NULL
	)`,
	`ALTER TABLE spent ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0`,
	`ALTER TABLE spent ADD COLUMN cost INTEGER NOT NULL DEFAULT 0`, // in millionths
	`CREATE TABLE refused_logins ( -- package identity
		hour     INTEGER NOT NULL, -- since 1970
		target   TEXT NOT NULL,
		name     TEXT NOT NULL,
		address  TEXT NOT NULL,
		outcome  TEXT NOT NULL,
		reason   TEXT NOT NULL,
		n        INTEGER NOT NULL,
		first_at INTEGER NOT NULL, -- microseconds since 1970
		last_at  INTEGER NOT NULL,
		PRIMARY KEY (hour, target, name, address, outcome, reason)
	) WITHOUT ROWID`,
}

func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var at int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&at); err != nil {
		return err
	}
	if at > len(migrations) {
		return fmt.Errorf("it was written by a newer version (%d, this one knows %d)", at, len(migrations))
	}
	for _, m := range migrations[at:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}
