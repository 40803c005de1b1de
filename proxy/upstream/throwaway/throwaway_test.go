package throwaway_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	s := throwtest.PG(t, throwaway.Options{})
	if got := throwtest.SQL(t, s, "postgres", "SELECT 1, 'x'; SELECT 2"); got != "1|x\n2\n" {
		t.Errorf("SQL printed %q", got)
	}
	pids := append(childrenOf(t, s.PID()), s.PID())
	if len(pids) < 3 {
		t.Errorf("a server of %d processes", len(pids))
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d outlives Stop", pid)
		}
	}
	if _, err := os.Stat(s.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory after Stop: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the second Stop: %v", err)
	}
	if err := s.Restart(); err == nil {
		t.Error("Restart after Stop starts a server")
	}
}

func TestContextEndsServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := throwaway.PostgreSQL(ctx, throwaway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pid := s.PID()
	cancel()
	eventually(t, "the server ends with its context", func() bool { return !alive(pid) })
	if err := s.Stop(); err != nil { // waits for the one that the context began
		t.Error(err)
	}
}

// TestKilledParent runs itself as the parent that gets killed.
func TestKilledParent(t *testing.T) {
	const child = "THROWAWAY_TEST_CHILD"
	if os.Getenv(child) != "" {
		s, err := throwaway.PostgreSQL(context.Background(), throwaway.Options{})
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString(strconv.Itoa(s.PID()) + " " + s.DataDir + "\n")
		select {}
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledParent$")
	cmd.Env = append(os.Environ(), child+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	number, dir, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
	pid, err := strconv.Atoi(number)
	if err != nil || !alive(pid) {
		t.Fatalf("the child printed %q", line[:n])
	}
	pids := append(childrenOf(t, pid), pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "killed"
	for _, pid := range pids {
		eventually(t, "the server ends with its killed parent", func() bool { return !alive(pid) })
	}
	throwtest.PG(t, throwaway.Options{})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the killed parent left, after the next start: %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	a, b := throwtest.PG(t, throwaway.Options{}), throwtest.PG(t, throwaway.Options{})
	throwtest.SQL(t, a, "postgres", "CREATE TABLE only_in_a ()")
	if got := throwtest.SQL(t, b, "postgres", "SELECT to_regclass('only_in_a') IS NULL"); got != "t\n" {
		t.Errorf("a table of one server in the other: %q", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s, other := throwtest.PG(t, throwaway.Options{TLS: true}), throwtest.PG(t, throwaway.Options{TLS: true})
	const encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	for _, host := range []string{"127.0.0.1", "localhost"} {
		u := strings.Replace(s.URL(s.User, "postgres"), "127.0.0.1", host, 1)
		if got, err := psql(u, encrypted); err != nil || got != "t" {
			t.Errorf("verify-full at %s: %q, %v", host, got, err)
		}
	}
	wrong := strings.Replace(s.URL(s.User, "postgres"), url.QueryEscape(s.CAFile), url.QueryEscape(other.CAFile), 1)
	if got, err := psql(wrong, encrypted); err == nil {
		t.Errorf("another server's authority is good enough: %q", got)
	}
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	s := throwtest.PG(t, throwaway.Options{})
	port := s.Port
	throwtest.SQL(t, s, "postgres", "CREATE TABLE t AS SELECT 7 AS n; ALTER SYSTEM SET work_mem = '5MB'")
	pids := append(childrenOf(t, s.PID()), s.PID())
	if err := s.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, "the server is dead", func() bool { return !alive(pid) })
	}
	if s.PID() != 0 || s.Kill(syscall.SIGTERM) == nil {
		t.Error("a killed server is said to run")
	}
	for _, how := range []string{"killed", "running"} {
		if err := s.Restart(); err != nil {
			t.Fatalf("restarting a %s server: %v", how, err)
		}
		if got := throwtest.SQL(t, s, "postgres", "SELECT n, current_setting('work_mem') FROM t"); got != "7|5MB\n" || s.Port != port {
			t.Errorf("a %s server after Restart: %q on port %d, before %d", how, got, s.Port, port)
		}
	}
}

func TestHungServer(t *testing.T) {
	t.Parallel()
	s := throwtest.PG(t, throwaway.Options{})
	if err := s.Kill(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.SQL(ctx, "postgres", "SELECT 1"); err == nil {
		t.Error("a halted server answers")
	}
	if err := s.Kill(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	throwtest.SQL(t, s, "postgres", "SELECT 1")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	s := throwtest.PG(t, throwaway.Options{
		User: `o'wner "x"`, Password: "it's", Settings: map[string]string{"work_mem": "7MB", "search_path": `"it's \"`},
		HBA: []string{`host all "o'wner ""x""" 127.0.0.1/32 scram-sha-256`, "host all guest 127.0.0.1/32 trust"},
	})
	got, err := psql(s.URL(s.User, "postgres"), "SELECT current_setting('work_mem'), current_setting('search_path'), rolsuper FROM pg_roles WHERE rolname = current_user")
	if want := `7MB|"it's \"|t`; err != nil || got != want {
		t.Errorf("the asked-for superuser and settings: %q, want %q, %v", got, want, err)
	}
	throwtest.SQL(t, s, "postgres", "CREATE ROLE guest LOGIN; CREATE ROLE stranger LOGIN")
	if got, err := psql(s.URL("guest", "postgres"), "SELECT current_user"); err != nil || got != "guest" {
		t.Errorf("a trusted role: %q, %v", got, err)
	}
	if _, err := psql(s.URL("stranger", "postgres"), "SELECT 1"); err == nil {
		t.Error("a role without a line in pg_hba.conf gets in")
	}
}

func TestKeptDirectory(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "throwaway-kept-*") // not t.TempDir: another user can't reach that
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	opt := throwaway.Options{Dir: dir, Password: "kept"}
	first := throwtest.PG(t, opt)
	throwtest.SQL(t, first, "postgres", "CREATE TABLE t AS SELECT 7 AS n")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	second := throwtest.PG(t, throwaway.Options{Dir: dir})
	if got, err := psql(second.URL(second.User, "postgres"), "SELECT n FROM t"); err != nil || got != "7" {
		t.Errorf("the data of the first server in the second: %q, %v", got, err)
	}
}

func TestDoesNotStart(t *testing.T) {
	t.Parallel()
	_, err := throwaway.PostgreSQL(context.Background(), throwaway.Options{Version: "3"})
	if !errors.Is(err, throwaway.ErrNotInstalled) || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("a version that is not there: %v", err)
	}
	_, err = throwaway.PostgreSQL(context.Background(), throwaway.Options{Settings: map[string]string{"nonsense": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "nonsense"`) {
		t.Errorf("a setting that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if s, err := throwaway.PostgreSQL(ctx, throwaway.Options{}); err == nil {
		s.Stop()
		t.Error("a cancelled context starts a server")
	}
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	pg := throwtest.PG(t, throwaway.Options{TLS: true})
	throwtest.SQL(t, pg, "postgres", "CREATE ROLE app LOGIN PASSWORD 'app'")
	b := throwtest.Bouncer(t, throwaway.BouncerOptions{
		Upstream: pg, TLS: true, Users: map[string]string{"app": "app"}, Settings: map[string]string{"pool_mode": "transaction"},
	})
	app := strings.Replace(b.URL("app", "postgres"), "app@", "app:app@", 1)
	for range 2 {
		if got, err := psql(app, "SELECT current_user"); err != nil || got != "app" {
			t.Errorf("through PgBouncer: %q, %v", got, err)
		}
		if got, err := psql(b.URL(b.User, "pgbouncer"), "SHOW CONFIG"); err != nil || !strings.Contains(got, "pool_mode|transaction") {
			t.Errorf("PgBouncer's settings: %q, %v", got, err)
		}
		if err := b.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	pid := b.PID()
	if err := b.Stop(); err != nil || alive(pid) {
		t.Errorf("PgBouncer after Stop: %v", err)
	}
}

// TestHAProxy: what comes through it is the upstream's, after a restart too, and it ends.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	pg := throwtest.SharedPG(t, throwaway.Options{})
	h, err := throwaway.HAProxy(t.Context(), throwaway.HAProxyOptions{Upstream: pg})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := psql(h.URL(h.User, "postgres"), "SELECT inet_server_port()"); err != nil || got != strconv.Itoa(pg.Port) {
			t.Errorf("through HAProxy: %q, %v", got, err)
		}
		if err := h.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	pid := h.PID()
	if err := h.Stop(); err != nil || alive(pid) {
		t.Errorf("HAProxy after Stop: %v", err)
	}
}

func TestEachInstall(t *testing.T) {
	t.Parallel()
	for _, in := range throwtest.Installs(t) {
		s := throwtest.SharedPG(t, throwaway.Options{BinDir: in.BinDir})
		if s != throwtest.SharedPG(t, throwaway.Options{BinDir: in.BinDir}) {
			t.Error("a shared server is started twice")
		}
		db := throwtest.Database(t, s, "CREATE TABLE t AS SELECT 'é'::text AS word")
		if got := throwtest.SQL(t, s, db, "SELECT upper(word), current_setting('server_version') FROM t"); !strings.HasPrefix(got, "É|"+in.Version) {
			t.Errorf("%s %s answers %q", in.BinDir, in.Version, got)
		}
		if in.Vector {
			throwtest.SQL(t, s, db, "CREATE EXTENSION vector; SELECT '[1,2]'::vector <-> '[3,4]'")
		}
	}
}
