package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestReplayRun runs recorded sessions on a fresh copy of their database: no
// difference; then on one in which something was planted, which is found.
func TestReplayRun(t *testing.T) {
	h := recorded(t)
	fresh := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	t.Setenv("PGPASSWORD", "backend-secret")
	target := fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", fresh.Address())
	run := func(args ...string) (int, string, string) {
		t.Helper()
		code, out := runMain(t, append([]string{"replay", "run", "--config", h.config, "--target", target, "--json"}, args...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return code, out, lines[len(lines)-1]
	}
	code, out, sum := run()
	var s struct {
		Sessions, Statements, Differences int
		Skipped                           map[string]int
	}
	if err := json.Unmarshal([]byte(sum), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if code != 0 || s.Differences != 0 || s.Sessions != 2 || s.Statements < 10 || s.Skipped["refused"] == 0 || s.Skipped["it writes"] == 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	before := sql(t, fresh, "shop", "SELECT count(*), sum(id) FROM orders")
	if code, out, _ := run("--writes", "--rollback"); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	if after := sql(t, fresh, "shop", "SELECT count(*), sum(id) FROM orders"); after != before {
		t.Errorf("--rollback left %s where %s was", after, before)
	}
	for _, x := range []struct{ plant, what string }{
		{"UPDATE orders SET status = 'planted' WHERE id = 3", "values: row "},
		{"DELETE FROM orders WHERE id = 4", "tag"},
		{"ALTER TABLE orders RENAME TO gone", "error"},
	} {
		sql(t, fresh, "shop", x.plant)
		if code, out, _ := run(); code != 3 || !strings.Contains(out, `"what":"`+x.what) {
			t.Errorf("%s: exit %d: %s", x.plant, code, out)
		}
	}
	if code, out, _ := run("--target", "postgres://nobody@127.0.0.1:1/none"); code != 1 || !strings.Contains(out, "hint: is --target") {
		t.Errorf("exit %d: %s", code, out)
	}
}
