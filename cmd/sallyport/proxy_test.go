package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// testProxy is a running `sallyport serve`, in this process.
type testProxy struct {
	dir    string // its folder: sallyport.yaml, policy.yaml, var/
	config string
	stderr *logBuffer
	stop   context.CancelFunc
	code   chan int
}

// target is one line of the proxy's config.
type target struct {
	name     string
	port     int
	upstream string // URL without a password
	password string
	protocol string // postgres if empty
}

// startProxy writes a config with the given policy and targets, runs `serve`
// and returns once it has said ready. It ends with the test.
func startProxy(t testing.TB, policy string, targets ...target) *testProxy {
	t.Helper()
	p := writeProxy(t, policy, targets...)
	p.serve(t)
	return p
}

// writeProxy writes the config and the policy.
func writeProxy(t testing.TB, policy string, targets ...target) *testProxy {
	t.Helper()
	p := &testProxy{dir: t.TempDir()}
	t.Cleanup(func() { suite.take(t, p) })
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "version: 1\npolicy: policy.yaml\nconsole: {listen: \"127.0.0.1:%d\"}\n", freePort(t))
	cfg.WriteString("identities:\n")
	for _, id := range []struct{ name, group string }{{"ana", "analyst"}, {"sam", "support"}, {"dana", "dba"}, {"erik", "dba"}} {
		secret := p.write(t, id.name+".secret", id.name+"-secret\n")
		fmt.Fprintf(&cfg, "  - {name: %s, password: {file: %s}, groups: [%s]}\n", id.name, secret, id.group)
	}
	cfg.WriteString("targets:\n")
	for _, tg := range targets {
		secret := p.write(t, tg.name+".upstream", tg.password+"\n")
		fmt.Fprintf(&cfg, "  - name: %s\n    protocol: %s\n    listen: \"127.0.0.1:%d\"\n    tls: {mode: disable}\n", tg.name, cmp.Or(tg.protocol, "postgres"), tg.port)
		fmt.Fprintf(&cfg, "    upstream: {url: %q, password: {file: %s}}\n", tg.upstream, secret)
	}
	p.config = p.write(t, "sallyport.yaml", cfg.String())
	p.write(t, "policy.yaml", policy)
	return p
}

// serve runs the command on the proxy's folder until the test ends or stop is
// called.
func (p *testProxy) serve(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	stderr := &logBuffer{ready: make(chan struct{})}
	p.stop, p.code, p.stderr = cancel, ended, stderr
	go func() {
		m := &Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: stderr}
		ended <- m.Run(ctx, []string{"serve", "--config", p.config})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Error("serve did not end")
		}
		if t.Failed() {
			t.Logf("the proxy's log:\n%s", p.stderr.tail(6000))
		}
	})
	select {
	case <-p.stderr.ready:
	case code := <-p.code:
		p.code <- code
		t.Fatalf("serve ended with %d before it was ready:\n%s", code, p.stderr.tail(6000))
	case <-time.After(60 * time.Second):
		t.Fatalf("serve was not ready within a minute:\n%s", p.stderr.tail(6000))
	}
}

func (p *testProxy) write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if name == "policy.yaml" {
		suite.policy(path)
	}
	return path
}

// logBuffer collects a log and says when the line "ready" has come.
type logBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	said  bool
	ready chan struct{}
	grown chan struct{} // closed and replaced at each write, once somebody waits
}

// await waits until the log, from a place in it on, says something, and
// returns the place behind it.
func (b *logBuffer) await(t testing.TB, from int, what string) int {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		b.mu.Lock()
		s := b.buf.String()
		if b.grown == nil {
			b.grown = make(chan struct{})
		}
		grown := b.grown
		b.mu.Unlock()
		if at := strings.Index(s[from:], what); at >= 0 {
			return from + at + len(what)
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("the log never says %q", what)
		}
	}
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.buf.Write(p)
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	if !b.said && (bytes.HasPrefix(b.buf.Bytes(), []byte("ready\n")) || bytes.Contains(b.buf.Bytes(), []byte("\nready\n"))) {
		b.said = true
		close(b.ready)
	}
	return n, err
}

func (b *logBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.buf.String()
	return s[max(0, len(s)-n):]
}

// lastPort is where freePort looked last, from a place of this process's own.
var lastPort atomic.Uint32

func init() { lastPort.Store(rand.Uint32N(1 << 16)) }

// freePort is a port of 127.0.0.1 that nobody listens on. It is below those
// that the system gives to outgoing connections, which tests beside this one
// make all the time.
func freePort(t testing.TB) int {
	t.Helper()
	const first, count = 20000, 12000
	for range count {
		port := first + int(lastPort.Add(1)%count)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no port is free")
	return 0
}

// startPostgreSQL starts a server that ends with the test, and creates the
// role backend (password backend-secret) with a database shop of its own.
func startPostgreSQL(t testing.TB, opt throwaway.Options, scripts ...string) *throwaway.Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s, err := throwaway.PostgreSQL(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stopping PostgreSQL: %v", err)
		}
	})
	sql(t, s, "postgres", `CREATE ROLE backend LOGIN CREATEROLE PASSWORD 'backend-secret';
		GRANT pg_monitor, pg_read_all_stats, pg_read_server_files, pg_write_server_files, pg_execute_server_program, pg_signal_backend TO backend;
		CREATE DATABASE shop OWNER backend;`)
	for _, script := range scripts {
		sql(t, s, "shop", "SET ROLE backend;\n"+script)
	}
	return s
}

func sql(t testing.TB, s *throwaway.Server, database, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := s.SQL(ctx, database, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
