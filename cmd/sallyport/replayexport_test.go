package main

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestReplayExport writes what a session did in every format; psql runs the
// SQL on a fresh copy of the database.
func TestReplayExport(t *testing.T) {
	t.Parallel()
	h := recorded(t)
	export := func(format string) string {
		t.Helper()
		path := filepath.Join(h.dir, "out."+format)
		if code, out := runMain(t, "replay", "export", "--config", h.config, "--format", format, "-o", path); code != 0 {
			t.Fatalf("%s: exit %d: %s", format, code, out)
		}
		return readFile(t, path)
	}
	page := export("html")
	for _, want := range []string{"<!doctype html>", "rule unfiltered says deny", "masked: email partial", "DROP TABLE orders", "default-src &#39;none&#39;"} {
		if !strings.Contains(page, want) && !strings.Contains(page, strings.ReplaceAll(want, "&#39;", "'")) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "somebody@example.com") {
		t.Error("the page asks a network, or shows a constant that the record hides")
	}
	lines, err := csv.NewReader(strings.NewReader(export("csv"))).ReadAll()
	if err != nil || len(lines) < 30 || len(lines[0]) != 13 {
		t.Errorf("%v, %d lines", err, len(lines))
	}
	for line := range strings.Lines(export("jsonl")) {
		var e struct{ T, Session string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.T == "" || e.Session == "" {
			t.Fatalf("%v %s", err, line)
		}
	}
	fresh := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	script := export("sql")
	if !strings.Contains(script, "-- refused: DELETE FROM orders") || !strings.Contains(script, "\nSELECT id, email, ssn FROM customers WHERE id = 7;\n") {
		t.Errorf("the script:\n%s", script)
	}
	// One of the statements failed when it was recorded, and fails again.
	out, err := fresh.SQL(t.Context(), "shop", "\\set ON_ERROR_STOP off\n"+script)
	if err != nil && !strings.Contains(err.Error(), "division by zero") || strings.Contains(out, "syntax error") {
		t.Errorf("psql: %v\n%s", err, out)
	}
}
