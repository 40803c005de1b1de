package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// portOf takes the port out of a connection string.
func portOf(t *testing.T, conn string) string {
	t.Helper()
	c, err := pgx.ParseConfig(conn)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(c.Port)
}

// TestHugeStatements: texts that would overflow the parser's stack are refused
// before it, the connection goes on, and each refusal is recorded.
func TestHugeStatements(t *testing.T) {
	t.Parallel()
	p, _, conn := shopProxy(t)
	c := connect(t, conn)
	for name, text := range map[string]string{
		"parentheses": "SELECT " + strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000),
		"terms":       "SELECT 1" + strings.Repeat("+1", 30000),
		"unions":      "SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", 30000),
		"casts":       "SELECT 1" + strings.Repeat("::int", 30000),
		"nots":        "SELECT " + strings.Repeat("NOT ", 100000) + "true",
		"arrays":      "SELECT " + strings.Repeat("ARRAY[", 50000) + "1" + strings.Repeat("]", 50000),
		"cases":       "SELECT " + strings.Repeat("CASE WHEN true THEN ", 20000) + "1" + strings.Repeat(" END", 20000),
		"sublinks":    "SELECT " + strings.Repeat("(SELECT ", 20000) + "1" + strings.Repeat(")", 20000),
		"minus":       "SELECT " + strings.Repeat("- ", 60000) + "1",
		"long":        "SELECT '" + strings.Repeat("x", 9<<20) + "'",
	} {
		for _, way := range []string{"simple", "extended"} {
			err := execute(context.Background(), c, way, text)
			if !hasCode(err, "54001") && !hasCode(err, "54000") {
				t.Errorf("%s, %s: %v, want 54001 or 54000", name, way, err)
			}
		}
	}
	must(t, c, "SELECT 1")
	c.Close(context.Background())
	awaitSessions(t, p, 0)
	code, out := runMain(t, "replay", "show", "--config", p.config, "--json", "last")
	if code != 0 || strings.Count(out, `"t":"error"`) != 20 {
		t.Errorf("exit %d, %d errors recorded, want 20", code, strings.Count(out, `"t":"error"`))
	}
}

// awaitSessions waits until so many sessions are open.
func awaitSessions(t *testing.T, p *testProxy, want int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		code, out := runMain(t, "sessions", "list", "--config", p.config, "--live", "--json")
		if code == 0 && strings.Count(out, "\n") == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sessions that are open: %s", out)
		}
	}
}

// TestHostileBytes: what is no PostgreSQL ends its own connection and nothing
// else.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	_, _, conn := shopProxy(t)
	address := net.JoinHostPort("127.0.0.1", portOf(t, conn))
	startup := func(version uint32, body string) string {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
		return string(binary.BigEndian.AppendUint32(b, version)) + body
	}
	for name, bytes := range map[string]string{
		"http":            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"zeros":           strings.Repeat("\x00", 64),
		"huge length":     "\x7f\xff\xff\xff\x00\x03\x00\x00",
		"short length":    "\x00\x00\x00\x04",
		"no terminator":   startup(3<<16, "user"),
		"no user":         startup(3<<16, "\x00"),
		"protocol 2":      startup(2<<16, "user\x00x\x00\x00"),
		"replication":     startup(3<<16, "user\x00ana\x00replication\x00true\x00\x00"),
		"encoding":        startup(3<<16, "user\x00ana\x00client_encoding\x00SJIS\x00\x00"),
		"options":         startup(3<<16, "user\x00ana\x00options\x00-c standard_conforming_strings=off\x00\x00"),
		"cancel unknown":  startup(80877102, "12345678"),
		"cancel short":    startup(80877102, "1234"),
		"tls record":      "\x16\x03\x01\x02\x00",
		"password early":  startup(3<<16, "user\x00ana\x00\x00") + "p\xff\xff\xff\xff",
		"query before":    startup(3<<16, "user\x00ana\x00\x00") + "Q\x00\x00\x00\x0dSELECT 1\x00",
		"gigabyte before": startup(3<<16, "user\x00ana\x00\x00") + "p\x3f\xff\xff\xff",
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = io.WriteString(c, bytes)
		if name == "zeros" || name == "tls record" {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection stays open: %v", name, err)
		}
		c.Close()
	}
	must(t, connect(t, conn), "SELECT 1")
}

// TestHostileMessages: after the login, a message of 2 GB, a negative length
// and an unknown type each end the session with 08P01.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	_, _, conn := shopProxy(t)
	for name, bytes := range map[string]string{
		"2 GB": "Q\x7f\xff\xff\xff", "over the limit": "Q\x10\x00\x00\x00", "negative": "Q\xff\xff\xff\xff", "tiny": "Q\x00\x00\x00\x03", "unknown": "!\x00\x00\x00\x04",
		"bind counts": "B\x00\x00\x00\x0a\x00\x00\x7f\xff\x7f\xff", "parse counts": "P\x00\x00\x00\x0a\x00x\x00\x7f\xff\xff",
	} {
		s := dialRaw(t, conn)
		if _, err := io.WriteString(s.conn, bytes); err != nil {
			t.Fatal(err)
		}
		frames, err := s.until(false)
		a := collect(frames, err, false)
		if !a.died || !strings.HasPrefix(a.problem, "08P01") {
			t.Errorf("%s: died %v, %q; want 08P01", name, a.died, a.problem)
		}
	}
	must(t, connect(t, conn), "SELECT 1")
}

// TestUpstreamDown: a proxy whose upstream is not there says so, and serves
// once it is back.
func TestUpstreamDown(t *testing.T) {
	t.Parallel()
	_, s, conn := shopProxy(t)
	c := connect(t, conn)
	must(t, c, "SELECT 1")
	if err := s.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := execute(context.Background(), c, "simple", "SELECT 1"); err == nil {
		t.Error("a statement succeeded without an upstream")
	}
	if _, err := pgx.Connect(context.Background(), conn); !hasCode(err, "08006") {
		t.Errorf("connecting: %v, want 08006", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	must(t, connect(t, conn), "SELECT 1")
}

// TestUpstreamDiesInResult: rows stop with an error, not with an end.
func TestUpstreamDiesInResult(t *testing.T) {
	t.Parallel()
	h := startHolding(t, "version: 1\n")
	s, conn := h.server, twinConn(h.port)
	c := connect(t, conn)
	rows, err := c.Query(context.Background(), "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for rows.Next() {
		if n++; n == 10 {
			if err := s.Kill(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rows.Err() == nil || n >= 1000000 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
}

// TestClientDiesInResult: the session ends, its record says so.
func TestClientDiesInResult(t *testing.T) {
	t.Parallel()
	h := startHolding(t, "version: 1\n")
	p, conn := h.testProxy, twinConn(h.port)
	s := dialRaw(t, conn)
	if err := s.send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 5000000)"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read(); err != nil {
		t.Fatal(err)
	}
	s.conn.Close()
	awaitSessions(t, p, 0)
	if code, out := runMain(t, "replay", "show", "--config", p.config, "last"); code != 0 || !strings.Contains(out, "session ended") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestFullDisk: with no room for the record, statements are refused, loudly,
// and nothing goes upstream.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{Settings: map[string]string{"log_statement": "all"}}, readFile(t, filepath.Join("demo", "shop.sql")))
	port := freePort(t)
	p := startProxy(t, "version: 1\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	p.stop()
	p.code <- <-p.code
	cmd, log := limitedChild(t, 128, "serve", "--config", p.config)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c := connect(t, twinConn(port))
	var err error
	ran := 0
	for ; ran < 2000 && err == nil; ran++ {
		err = execute(context.Background(), c, "simple", fmt.Sprintf("SELECT %d, '%s'", ran, strings.Repeat("y", 500)))
	}
	if !hasCode(err, "58030") {
		t.Fatalf("after %d statements: %v, want 58030", ran, err)
	}
	before, rerr := os.ReadFile(s.LogFile)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if err := execute(context.Background(), c, "simple", "SELECT 'unrecorded'"); err == nil {
		t.Error("a statement passed unrecorded")
	}
	after, rerr := os.ReadFile(s.LogFile)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if strings.Contains(string(after[len(before):]), "unrecorded") {
		t.Error("an unrecorded statement reached PostgreSQL")
	}
	log.await(t, 0, "CANNOT RECORD")
}

// limitedChild runs a proxy none of whose files may grow beyond a number of
// blocks of 512 bytes: writes fail as on a full disk.
func limitedChild(t *testing.T, blocks int, args ...string) (*exec.Cmd, *logBuffer) {
	t.Helper()
	cmd := child(args...)
	cmd.Args = append([]string{"sh", "-c", fmt.Sprintf("ulimit -f %d; trap '' XFSZ; exec \"$0\" \"$@\"", blocks), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &logBuffer{ready: make(chan struct{})}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-log.ready:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatalf("not ready: %s", log.tail(4000))
	}
	return cmd, log
}

// TestTooManySessions: the limit is told, and a session that ends makes room.
func TestTooManySessions(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{})
	port := freePort(t)
	p := writeProxy(t, "version: 1\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	p.write(t, "sallyport.yaml", readFile(t, p.config)+"limits: {sessions: 2}\n")
	p.serve(t)
	one, two := connect(t, twinConn(port)), connect(t, twinConn(port))
	must(t, two, "SELECT 1")
	if err := tryConnect(twinConn(port)); !hasCode(err, "53300") {
		t.Errorf("%v, want 53300", err)
	}
	one.Close(context.Background())
	p.stderr.await(t, 0, "session ended")
	must(t, connect(t, twinConn(port)), "SELECT 1")
}
