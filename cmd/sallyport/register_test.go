package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/replay"
)

// TestRegister: `replay verify --config` finds each way to make a recorded
// session disappear, or another one of it, and none where there is none.
func TestRegister(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{})
	port := freePort(t)
	p := startProxy(t, "version: 1\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	conn := fmt.Sprintf("host=127.0.0.1 port=%d user=ana password=ana-secret dbname=shop sslmode=disable", port)
	at := 0
	for i := range 4 {
		c := connect(t, conn)
		must(t, c, fmt.Sprintf("SELECT %d", i))
		if i == 3 {
			break // stays open
		}
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		at = p.stderr.await(t, at, "session ended")
	}
	verify := func(want int, says string, args ...string) string {
		t.Helper()
		code, out := runMain(t, append([]string{"replay", "verify", "--config", p.config}, args...)...)
		if code != want || !strings.Contains(out, says) {
			t.Errorf("exit code %d, want %d and %q:\n%s", code, want, says, out)
		}
		return out
	}
	out := verify(0, "4 transcripts") // one is live
	_, head, _ := strings.Cut(out, "head ")
	head = strings.TrimSpace(head)
	if !strings.HasPrefix(head, "7:") {
		t.Fatalf("head %q of 4 beginnings and 3 ends", head)
	}
	verify(0, "all good", "--head", head)

	files, err := replay.Files(filepath.Join(p.dir, "var", "transcripts"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%q, %v", files, err)
	}
	away := filepath.Join(p.dir, "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}

	// A transcript that is gone; also the journal of one that is live.
	for _, gone := range []string{files[0], files[2], replay.Journal(files[3])} {
		move(gone, away)
		verify(3, "the transcript is missing")
		move(away, gone)
	}
	verify(0, "all good", "--head", head)

	// A whole and well signed transcript in another's place.
	body := readFile(t, files[1])
	if err := os.WriteFile(files[1], []byte(readFile(t, files[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	verify(3, "it ends with event")
	if err := os.WriteFile(files[1], []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}

	// The register itself: edited, shortened, with its transcript taken along.
	cfg, err := proxy.LoadConfig(p.config, wires())
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(context.Background(), cfg.State, cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec("CREATE TABLE kept AS SELECT * FROM sessions")
	restore := func() { exec("DELETE FROM sessions", "INSERT INTO sessions SELECT * FROM kept") }
	first := replay.SessionOf(files[0])
	for _, c := range []struct{ name, change, says string }{
		{"an end's event number", "UPDATE sessions SET events = events - 1 WHERE kind = 'end' AND n = (SELECT max(n) FROM sessions WHERE kind = 'end')", "is not what was written"},
		{"a session's name", "UPDATE sessions SET session = 'x' WHERE n = 1", "is not what was written"},
		{"made removed", "UPDATE sessions SET kind = 'removed' WHERE n = 2", "is not what was written"},
		{"a session taken out", "DELETE FROM sessions WHERE session = '" + first + "'", "entries between them were removed"},
		{"taken out and numbered anew", "DELETE FROM sessions WHERE session = '" + first + "'; UPDATE sessions SET n = n - 2", "is not what was written"},
		{"its end cut off", "DELETE FROM sessions WHERE n > 5", "the register does not know this session"},
		{"signed by nobody", "UPDATE sessions SET sig = '' WHERE n = 3", "signature is not good"},
		{"emptied", "DELETE FROM sessions", "the register does not know this session"},
	} {
		exec(c.change)
		t.Run(c.name, func(t *testing.T) { verify(3, c.says) })
		restore()
	}
	// All that came after a point is gone from both: only a noted head tells.
	exec("DELETE FROM sessions WHERE n > 4")
	move(files[2], away)
	journal := filepath.Join(p.dir, "away.journal")
	move(replay.Journal(files[3]), journal)
	verify(0, "all good")
	verify(3, "its end was cut off", "--head", head)
	verify(3, "is no head", "--head", "x")
	restore()
	move(away, files[2])
	move(journal, replay.Journal(files[3]))
	verify(0, "all good", "--head", head)
	if _, out := runMain(t, "replay", "verify", "--config", p.config, "--json"); !json.Valid([]byte(strings.Split(out, "\n")[0])) {
		t.Errorf("no JSON: %s", out)
	}
}
