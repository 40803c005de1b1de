package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// way is one path to the same database.
type way struct {
	name     string
	host     string
	port     int
	user     string
	password string
	database string
	pgbench  string // the binary
	pid      int    // of the proxy; 0 for none
	workers  []int  // its further processes
}

func (w way) connString() string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable", w.host, w.port, w.user, w.password, w.database)
}

var (
	tps       = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)
	processed = regexp.MustCompile(`actually processed: ([0-9]+)`)
)

func pgbench(ctx context.Context, w way, mode string, clients, seconds int) (rate float64, transactions int64, err error) {
	cmd := exec.CommandContext(ctx, w.pgbench, "-n", "-S", "-M", mode, "-c", strconv.Itoa(clients), "-j", "2",
		"-T", strconv.Itoa(seconds), "-h", w.host, "-p", strconv.Itoa(w.port), "-U", w.user, w.database)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+w.password, "PGSSLMODE=disable")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, out)
	}
	m, n := tps.FindSubmatch(out), processed.FindSubmatch(out)
	if m == nil || n == nil {
		return 0, 0, fmt.Errorf("no tps in pgbench's output:\n%s", out)
	}
	if rate, err = strconv.ParseFloat(string(m[1]), 64); err == nil {
		transactions, err = strconv.ParseInt(string(n[1]), 10, 64)
	}
	return rate, transactions, err
}

// readRows reads the whole result over the simple protocol without decoding
// it, and returns rows a second.
func readRows(ctx context.Context, w way, sql string, want int) (float64, error) {
	c, err := pgconn.Connect(ctx, w.connString())
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	return countRows(ctx, c, sql, want)
}

func countRows(ctx context.Context, c *pgconn.PgConn, sql string, want int) (float64, error) {
	start := time.Now()
	res := c.Exec(ctx, sql)
	n := 0
	for res.NextResult() {
		rr := res.ResultReader()
		for rr.NextRow() {
			n++
		}
	}
	if err := res.Close(); err != nil {
		return 0, err
	}
	if n != want {
		return 0, fmt.Errorf("%d rows, want %d", n, want)
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// discard counts COPY's rows by its messages: the server sends one a row.
type discard struct{ writes int }

func (d *discard) Write(p []byte) (int, error) { d.writes++; return len(p), nil }

func copyRows(ctx context.Context, w way, sql string, want int) (float64, error) {
	c, err := pgconn.Connect(ctx, w.connString())
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	start := time.Now()
	var d discard
	tag, err := c.CopyTo(ctx, &d, sql)
	if err != nil {
		return 0, err
	}
	if d.writes != want || tag.RowsAffected() != int64(want) {
		return 0, fmt.Errorf("%d rows, tag %s, want %d", d.writes, tag, want)
	}
	return float64(want) / time.Since(start).Seconds(), nil
}

// write makes a file in the benchmark's folder.
func write(dir, name, content string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
