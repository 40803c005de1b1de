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
}

func (w way) connString() string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable", w.host, w.port, w.user, w.password, w.database)
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)

func pgbench(ctx context.Context, w way, mode string, clients, seconds int) (float64, error) {
	cmd := exec.CommandContext(ctx, w.pgbench, "-n", "-S", "-M", mode, "-c", strconv.Itoa(clients), "-j", "2",
		"-T", strconv.Itoa(seconds), "-h", w.host, "-p", strconv.Itoa(w.port), "-U", w.user, w.database)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+w.password, "PGSSLMODE=disable")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	m := tps.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no tps in pgbench's output:\n%s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// rowQuery is a large result.
type rowQuery struct {
	name string
	sql  string
}

func rowQueries(rows int) []rowQuery {
	return []rowQuery{
		{fmt.Sprintf("SELECT of %d rows, 5 columns", rows), "SELECT id, a, b, c, plain FROM wide"},
		{fmt.Sprintf("SELECT of %d rows, 1 of 5 masked", rows), "SELECT id, a, b, c, classed FROM wide"},
	}
}

// readRows reads the whole result over the simple protocol without decoding
// it.
func readRows(ctx context.Context, w way, q rowQuery, want int) (float64, error) {
	c, err := pgconn.Connect(ctx, w.connString())
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	start := time.Now()
	res := c.Exec(ctx, q.sql)
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

// write makes a file in the benchmark's folder.
func write(dir, name, content string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
