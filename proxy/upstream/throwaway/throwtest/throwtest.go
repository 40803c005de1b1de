// Package throwtest gives tests the throwaway servers. A server that can't start fails the test, and
// never skips it.
package throwtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// PG starts a PostgreSQL of the test's own, which ends with the test. When the test has failed, the
// end of the server's log stands in its output.
func PG(t testing.TB, opt throwaway.Options) *throwaway.Server {
	t.Helper()
	return own(t, func() (*throwaway.Server, error) { return throwaway.PostgreSQL(context.Background(), opt) })
}

// Bouncer starts a PgBouncer of the test's own, which ends with the test.
func Bouncer(t testing.TB, opt throwaway.BouncerOptions) *throwaway.Server {
	t.Helper()
	return own(t, func() (*throwaway.Server, error) { return throwaway.PgBouncer(context.Background(), opt) })
}

// Maria starts a MariaDB of the test's own, which ends with the test.
func Maria(t testing.TB, opt throwaway.MariaOptions) *throwaway.Server {
	t.Helper()
	return own(t, func() (*throwaway.Server, error) { return throwaway.MariaDB(context.Background(), opt) })
}

func own(t testing.TB, start func() (*throwaway.Server, error)) *throwaway.Server {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logTail(t, s)
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// shared are the servers of this test binary, by their options.
var shared struct {
	sync.Mutex
	servers map[string]*throwaway.Server
}

// SharedPG is the PostgreSQL that all tests of this binary with the same options share; the first one
// starts it. It ends with the binary; a TestMain that calls Main has its directory removed then too,
// else the next start does that. Tests keep apart by Database, and do not stop or kill it.
func SharedPG(t testing.TB, opt throwaway.Options) *throwaway.Server {
	t.Helper()
	return share(t, fmt.Sprintf("%+v", opt), func() (*throwaway.Server, error) { // maps print in order
		return throwaway.PostgreSQL(context.Background(), opt)
	})
}

// SharedMaria is SharedPG for MariaDB.
func SharedMaria(t testing.TB, opt throwaway.MariaOptions) *throwaway.Server {
	t.Helper()
	return share(t, fmt.Sprintf("mariadb %+v", opt), func() (*throwaway.Server, error) {
		return throwaway.MariaDB(context.Background(), opt)
	})
}

func share(t testing.TB, key string, start func() (*throwaway.Server, error)) *throwaway.Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if s := shared.servers[key]; s != nil {
		return s
	}
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	if shared.servers == nil {
		shared.servers = map[string]*throwaway.Server{}
	}
	shared.servers[key] = s
	return s
}

// Main runs a binary's tests, stops the shared servers and exits: func TestMain(m *testing.M) {
// throwtest.Main(m) }.
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	for _, s := range shared.servers {
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

var databases atomic.Int64

// Database makes an empty database on a server, runs the scripts in it as the superuser, and returns
// its name. It is dropped when the test ends, whoever is still connected.
func Database(t testing.TB, s *throwaway.Server, scripts ...string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	admin, force := "postgres", " WITH (FORCE)"
	if s.BinDir == "" {
		admin, force = "mysql", ""
	}
	SQL(t, s, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		if s.PID() != 0 {
			SQL(t, s, admin, "DROP DATABASE "+name+force)
		}
	})
	for _, script := range scripts {
		SQL(t, s, name, script)
	}
	return name
}

// SQL runs a script as throwaway.Server.SQL does and fails the test on an error.
func SQL(t testing.TB, s *throwaway.Server, database, script string) string {
	t.Helper()
	out, err := s.SQL(context.Background(), database, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Installs are all installed versions of PostgreSQL, for tests that hold for each.
func Installs(t testing.TB) []throwaway.Install {
	t.Helper()
	all, err := throwaway.FindPostgreSQL()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Python is the interpreter with the drivers of the clients' tests (docs/servers.md lists them).
func Python(t testing.TB) string {
	t.Helper()
	cache, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "python", "bin", "python")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.Fatal("the Python drivers are not installed: run `make setup-tests`")
	} else if err != nil {
		t.Fatal(err)
	}
	return path
}

// logTail shows the end of a server's log.
func logTail(t testing.TB, s *throwaway.Server) {
	t.Helper()
	text, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Logf("reading the server's log: %v", err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	crash := slices.IndexFunc(lines, func(l string) bool {
		return strings.Contains(l, "got signal ") || strings.Contains(l, "terminated by signal") || strings.Contains(l, "Assertion failure")
	})
	if crash >= 0 {
		t.Logf("the server crashed:\n%s", strings.Join(lines[crash:min(len(lines), crash+60)], "\n"))
	}
	t.Logf("the server's log ends with:\n%s", strings.Join(lines[max(0, len(lines)-20):], "\n"))
}
