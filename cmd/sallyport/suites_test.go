package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// driverSuite is a part of a driver's own tests, which .ci/setup has compiled
// or unpacked.
type driverSuite struct {
	name    string
	program string   // of Go's, under suites in the cache
	modules []string // of Python's, that testdata/clients/unittests.py runs
	dir     string   // that it is run in, under suites
	skip    string   // what Go's program leaves out
	on      string   // the database it has to itself with the suites of the same, through the proxy
}

// What is left out: 100,000 statements of one pipeline, twice. They take longer
// than all the rest, and pipelines of thousands are among it.
const hugeBatches = "^(TestConnExecBatchHuge|TestConnExecBatchWriteError)$"

var driverSuites = []driverSuite{
	{name: "pgx", program: "pgx.test", dir: "pgx", on: "pgx"},
	{name: "pgx/pgconn", program: "pgconn.test", dir: "pgx/pgconn", skip: hugeBatches, on: "pgx"},
	{name: "pgx/stdlib", program: "stdlib.test", dir: "pgx/stdlib", on: "pgx"},
	{name: "pgx/pgxpool", program: "pgxpool.test", dir: "pgx/pgxpool", on: "pgx"},
	{name: "lib/pq", program: "pq.test", dir: "pq", on: "pq"},
	{name: "asyncpg", dir: "asyncpg", on: "postgres", modules: []string{"cache_invalidation", "cancellation", "codecs", "copy", "cursor", "execute",
		"listeners", "prepare", "record", "timeout", "transaction"}},
	{name: "psycopg 2", dir: "psycopg2", on: "psycopg2", modules: []string{"async", "cancel", "connection", "copy", "cursor",
		"fast_executemany", "green", "lobject", "notify", "quote", "transaction", "types_basic"}},
}

var testResult = regexp.MustCompile(`--- (PASS|FAIL|SKIP): (\S+) \(`)

// run runs the suite, or one test of it, and returns each test's result and
// the output. A test that panics takes the rest with it, which is then run
// without those that have ended.
func (s driverSuite) run(t *testing.T, env []string, test string) (map[string]string, string) {
	t.Helper()
	results, all := map[string]string{}, ""
	skip := s.skip
	for range 3 {
		out := s.output(t, env, test, skip)
		all += out
		for _, m := range testResult.FindAllStringSubmatch(out, -1) {
			results[m[2]] = m[1]
		}
		if test != "" || !strings.Contains(out, "\npanic: ") {
			break
		}
		var ended []string
		for name := range results {
			if !strings.Contains(name, "/") {
				ended = append(ended, regexp.QuoteMeta(name))
			}
		}
		skip = "^(" + strings.Join(ended, "|") + "|" + strings.Trim(s.skip, "^$") + ")$"
	}
	if len(results) == 0 {
		t.Errorf("%s ran no test (run `make setup-tests`):\n%s", s.name, all)
	}
	return results, all
}

func (s driverSuite) output(t *testing.T, env []string, test, skip string) string {
	t.Helper()
	root := filepath.Join(cacheDir(t), "suites")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	program, args := filepath.Join(root, s.program), []string{"-test.v", "-test.timeout", "4m", "-test.run", "."}
	switch {
	case s.program == "":
		script, err := filepath.Abs(clientFile("unittests.py"))
		if err != nil {
			t.Error(err)
			return ""
		}
		program, args = filepath.Join(cacheDir(t), "python", "bin", "python"), []string{script, test}
		if test == "" {
			args = args[:1]
			for _, m := range s.modules {
				args = append(args, "tests.test_"+m)
			}
		}
	case test != "":
		args[len(args)-1] = "^" + strings.ReplaceAll(regexp.QuoteMeta(test), "/", "$/^") + "$"
	case skip != "":
		args = append(args, "-test.skip", skip)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = filepath.Join(root, s.dir), append(env, "PYTHONPATH=.")
	out, _ := cmd.CombinedOutput() // a suite with a test that fails fails
	return string(out)
}

// both runs the suite on both ways at once: much of it is waiting.
func (s driverSuite) both(t *testing.T, straight, proxied []string, test string) (want, got map[string]string, out string) {
	t.Helper()
	var direct sync.WaitGroup
	if s.modules == nil {
		direct.Go(func() { want, _ = s.run(t, straight, test) })
	} else {
		want, _ = s.run(t, straight, test) // on the same database
	}
	got, out = s.run(t, proxied, test)
	direct.Wait()
	return want, got, out
}

// TestDriverSuites runs drivers' own tests against PostgreSQL and through the
// proxy under a policy that forbids nothing. Where a test ends differently,
// testdata/clients/suites.txt says why; it says nothing else.
func TestDriverSuites(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{})
	sql(t, s, "postgres", "ALTER ROLE backend SUPERUSER")
	sql(t, s, "postgres", `CREATE USER " tricky, ' } "" \ test user " SUPERUSER PASSWORD 'secret'`)
	ports := map[string]int{}
	var targets []target
	for _, suite := range driverSuites {
		if ports[suite.on] != 0 {
			continue
		}
		ports[suite.on] = freePort(t)
		targets = append(targets, target{name: suite.on, port: ports[suite.on], password: "backend-secret",
			upstream: fmt.Sprintf("postgres://backend@%s/%s?sslmode=disable", s.Address(), suite.on)})
		for _, database := range slices.Compact([]string{suite.on, suite.straight()}) {
			if database != "postgres" {
				sql(t, s, "postgres", "CREATE DATABASE "+database+" OWNER backend")
			}
			if suite.modules == nil {
				sql(t, s, database, "CREATE EXTENSION hstore; CREATE EXTENSION ltree; SET ROLE backend; CREATE DOMAIN uint64 AS numeric(20,0)")
			}
		}
	}
	startProxy(t, permissive, targets...)
	env := func(user, password, database string, port int) []string {
		return append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", port), "PGUSER="+user, "PGPASSWORD="+password, "PGDATABASE="+database, "PGSSLMODE=disable",
			"PYTHONDONTWRITEBYTECODE=1", "PSYCOPG2_TEST_FAST=1", "PSYCOPG2_TESTDB="+database,
			fmt.Sprintf("PGX_TEST_DATABASE=host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=disable", port, user, password, database))
	}
	listed := readReviewed(t, "suites.txt")
	for _, suite := range driverSuites {
		mine := map[string]string{}
		for name, reason := range listed {
			if test, ok := strings.CutPrefix(name, suite.name+": "); ok {
				mine[test] = reason
				delete(listed, name)
			}
		}
		t.Run(suite.name, func(t *testing.T) {
			t.Parallel()
			suite.compare(t, env("backend", "backend-secret", suite.straight(), s.Port), env("ana", "ana-secret", suite.on, ports[suite.on]), mine)
		})
	}
	for name := range listed {
		t.Errorf("testdata/clients/suites.txt: no suite has %q", name)
	}
}

// straight is the database of the direct run. Python's tests name some things
// that they make: they have one database, one run after the other.
func (s driverSuite) straight() string {
	if s.modules != nil {
		return s.on
	}
	return s.on + "_straight"
}

// compare runs the suite on both ways and holds its tests against the list.
func (s driverSuite) compare(t *testing.T, straight, proxied []string, listed map[string]string) {
	want, got, out := s.both(t, straight, proxied, "")
	counts := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		counts[want[name]]++
		reason := listed[name]
		delete(listed, name)
		differs := got[name] != want[name]
		for try := 0; differs && reason == "" && try < 3; try++ { // alone: many of these tests are about time
			again, through, text := s.both(t, straight, proxied, name)
			if differs = again[name] != through[name]; differs {
				out = text
			}
		}
		switch {
		case differs && reason == "":
			t.Errorf("%s: %s direct, %s through the proxy\n%s", name, want[name], got[name], excerpt(out, name))
		case !differs && reason != "" && !strings.HasPrefix(reason, "at times: "):
			t.Errorf("%s does not differ any more: take it off testdata/clients/suites.txt", name)
		case differs:
			counts["differs"]++
		}
	}
	for name := range listed {
		t.Errorf("%s is on testdata/clients/suites.txt and not in the suite", name)
	}
	t.Logf("%d tests: %v", len(want), counts)
}

// excerpt is what a test said before it ended.
func excerpt(out, name string) string {
	at := strings.Index(out, "--- FAIL: "+name+" ")
	if at < 0 {
		return ""
	}
	from := max(strings.LastIndex(out[:at], "=== RUN   "+name), at-1500)
	return out[max(0, from):min(len(out), at+600)]
}

// readReviewed reads a list of reviewed differences, "what differs: reason". A
// line that ends in a colon names what those below it are of, with "suite: test"
// as the key here.
func readReviewed(t *testing.T, file string) map[string]string {
	t.Helper()
	listed, suite := map[string]string{}, ""
	for line := range strings.Lines(readFile(t, clientFile(file))) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name, ok := strings.CutSuffix(line, ":"); ok {
			suite = name
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("testdata/clients/%s: no reason in %q", file, line)
		}
		if suite != "" {
			name = suite + ": " + name
		}
		listed[name] = reason
	}
	return listed
}
