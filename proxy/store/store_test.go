package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	for range 2 {
		db, err := Open(ctx, "sqlite:./var/state.db", dir)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow("SELECT count(*) FROM holds").Scan(&n); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "var", "state.db"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text.db"), []byte(strings.Repeat("not a database ", 400)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ state, want string }{
		{"mongodb://x", "only sqlite:PATH"},
		{"sqlite:", "needs a path"},
		{"sqlite:text.db", "text.db"},
		{"sqlite:text.db/below.db", "folder"},
	} {
		db, err := Open(context.Background(), c.state, dir)
		if err == nil {
			db.Close()
			t.Errorf("%s was opened", c.state)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.state, err, c.want)
		}
	}
}

func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(context.Background(), "sqlite:s.db", dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(context.Background(), "sqlite:s.db", dir); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("got %v", err)
	}
}
