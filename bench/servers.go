package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

const (
	role     = "app"
	secret   = "app-secret"
	database = "bench"
)

// servers are what runs.
type servers struct {
	ways   []way // direct, PgBouncer, Sallyport
	pooled way   // Sallyport before a PgBouncer that holds idle sessions
}

func (s *servers) ours() way { return s.ways[2] }

// start brings up PostgreSQL with data, PgBouncer and Sallyport before it, and
// returns what ends them all.
func start(ctx context.Context, o options) (s *servers, end func(), err error) {
	if _, err := os.Stat(o.binary); err != nil {
		return nil, nil, fmt.Errorf("%w (run `make build` first)", err)
	}
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ends := &ends{func() { os.RemoveAll(dir) }, cancel}
	end = ends.run
	defer func() {
		if err != nil {
			end()
		}
	}()

	pg, err := throwaway.PostgreSQL(ctx, throwaway.Options{Settings: map[string]string{
		"shared_buffers": "512MB", "max_connections": strconv.Itoa(o.at + 250), "autovacuum": "off",
	}})
	if err != nil {
		return nil, nil, err
	}
	ends.add(func() { _ = pg.Stop() })
	if err := fill(ctx, pg, o.scale, o.rows); err != nil {
		return nil, nil, err
	}
	pgbench := filepath.Join(pg.BinDir, "pgbench")
	direct := way{name: "direct", host: pg.Host, port: pg.Port, user: role, password: secret, database: database, pgbench: pgbench}

	pb, err := throwaway.PgBouncer(ctx, throwaway.BouncerOptions{Upstream: pg, Users: map[string]string{role: secret}, Settings: map[string]string{"max_client_conn": "200", "default_pool_size": "100"}})
	if err != nil {
		return nil, nil, err
	}
	ends.add(func() { _ = pb.Stop() })
	bouncer := direct
	bouncer.name, bouncer.host, bouncer.port = "pgbouncer", pb.Host, pb.Port

	bouncer.pid = pb.PID()

	many, err := throwaway.PgBouncer(ctx, throwaway.BouncerOptions{Upstream: pg, Users: map[string]string{role: secret}, Settings: map[string]string{
		"auth_type": "trust", "max_client_conn": strconv.Itoa(o.idle + 100), "default_pool_size": "150", "listen_backlog": "1024",
		"ignore_startup_parameters": "search_path,statement_timeout,lock_timeout,jit",
	}})
	if err != nil {
		return nil, nil, err
	}
	ends.add(func() { _ = many.Stop() })

	proxy, stop, err := sallyport(ctx, dir, pg.Address(), many.Address(), max(o.at, o.idle)+100, o.binary)
	if err != nil {
		return nil, nil, err
	}
	ends.add(stop)
	ours := direct
	ours.name, ours.host, ours.port, ours.user, ours.password, ours.pid = "sallyport", "127.0.0.1", proxy.port, "ana", "ana-secret", proxy.pid
	pooled := ours
	pooled.port = proxy.pooled
	return &servers{ways: []way{direct, bouncer, ours}, pooled: pooled}, end, nil
}

// fill makes pgbench's tables and the wide one.
func fill(ctx context.Context, pg *throwaway.Server, scale, rows int) error {
	script := fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'; CREATE DATABASE %s OWNER %s;", role, secret, database, role)
	for _, q := range strings.SplitAfter(script, ";") {
		if _, err := pg.SQL(ctx, "postgres", q); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(pg.BinDir, "pgbench"), "-i", "-q", "-s", fmt.Sprint(scale),
		"-h", pg.Host, "-p", fmt.Sprint(pg.Port), "-U", role, database)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+secret, "PGSSLMODE=disable")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	_, err := pg.SQL(ctx, database, fmt.Sprintf(`SET ROLE %s;
		CREATE TABLE wide AS SELECT i AS id, i * 7 AS a, 'name ' || i AS b, now() AS c,
			'user' || i || '@example.com' AS plain, 'user' || i || '@example.com' AS classed
		FROM generate_series(1, %d) i;
		VACUUM ANALYZE wide;`, role, rows))
	return err
}

const policy = `version: 1
classes:
  email: {mask: partial, compare: equality}
columns:
  - {class: email, match: ["wide.classed"]}
rules:
  - name: no-destructive-ddl
    when: stmt.action == "ddl" && stmt.destructive
    then: deny
  - name: unfiltered-write
    when: stmt.action in ["update", "delete"] && !stmt.filtered
    then: deny
`

// proxyAt is the running proxy: the ports of its two targets.
type proxyAt struct{ pid, port, pooled int }

// sallyport runs the built binary with a policy in force, before PostgreSQL
// and before a pool.
func sallyport(ctx context.Context, dir, direct, pool string, sessions int, binary string) (at proxyAt, stop func(), err error) {
	var console int
	for _, p := range []*int{&at.port, &at.pooled, &console} {
		if *p, err = freePort(); err != nil {
			return at, nil, err
		}
	}
	config := fmt.Sprintf(`version: 1
policy: policy.yaml
console: {listen: "127.0.0.1:%d"}
limits: {sessions: %d}
identities:
  - {name: ana, password: {env: BENCH_CLIENT}, groups: [analyst]}
targets:
  - name: bench
    protocol: postgres
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: "postgres://%s@%s/%s?sslmode=disable", password: {env: BENCH_UPSTREAM}}
  - name: pooled
    protocol: postgres
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: "postgres://%s@%s/%s?sslmode=disable", password: {env: BENCH_UPSTREAM}}
`, console, sessions, at.port, role, direct, database, at.pooled, role, pool, database)
	if _, err := write(dir, "policy.yaml", policy); err != nil {
		return at, nil, err
	}
	at.pid, stop, err = serve(ctx, dir, binary, config, "BENCH_CLIENT=ana-secret", "BENCH_UPSTREAM="+secret)
	return at, stop, err
}

// serve runs the built binary until stop.
func serve(ctx context.Context, dir, binary, config string, env ...string) (pid int, stop func(), err error) {
	path, err := write(dir, "sallyport.yaml", config)
	if err != nil {
		return 0, nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", path)
	cmd.Env = append(os.Environ(), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		if lines.Text() == "ready" {
			drained := make(chan struct{})
			go func() { // until the process ends, so that its log never blocks it
				defer close(drained)
				for lines.Scan() {
				}
			}()
			return cmd.Process.Pid, func() { end(cmd, drained) }, nil
		}
		said = append(said, lines.Text())
	}
	return 0, nil, errors.Join(fmt.Errorf("sallyport did not become ready: %s", strings.Join(said, "\n")), cmd.Wait())
}

func end(cmd *exec.Cmd, drained <-chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-drained:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		<-drained
	}
	_ = cmd.Wait()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
