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
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// driverSuite is one package of a driver's own tests, which .ci/setup has
// compiled.
type driverSuite struct {
	name    string
	program string // under suites in the cache
	dir     string // that it is run in
}

var driverSuites = []driverSuite{
	{name: "pgx", program: "pgx.test", dir: "pgx"},
	{name: "pgx/pgconn", program: "pgconn.test", dir: "pgx/pgconn"},
	{name: "pgx/stdlib", program: "stdlib.test", dir: "pgx/stdlib"},
	{name: "pgx/pgxpool", program: "pgxpool.test", dir: "pgx/pgxpool"},
	{name: "lib/pq", program: "pq.test", dir: "pq"},
}

var testResult = regexp.MustCompile(`--- (PASS|FAIL|SKIP): (\S+) \(`)

// run runs the suite, or the tests that a pattern names, and returns each
// test's result and the output.
func (s driverSuite) run(t *testing.T, env []string, pattern string) (map[string]string, string) {
	t.Helper()
	root := filepath.Join(cacheDir(t), "suites")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, s.program), "-test.v", "-test.timeout", "4m", "-test.run", pattern)
	cmd.Dir, cmd.Env = filepath.Join(root, s.dir), env
	out, _ := cmd.CombinedOutput() // a suite with a test that fails fails
	results := map[string]string{}
	for _, m := range testResult.FindAllStringSubmatch(string(out), -1) {
		results[m[2]] = m[1]
	}
	if len(results) == 0 {
		t.Fatalf("%s ran no test (run `make setup-tests`):\n%s", s.name, out)
	}
	return results, string(out)
}

// TestDriverSuites runs drivers' own tests against PostgreSQL and through the
// proxy under a policy that forbids nothing. Where a test ends differently,
// testdata/clients/suites.txt says why; it says nothing else.
func TestDriverSuites(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{})
	sql(t, s, "postgres", "ALTER ROLE backend SUPERUSER")
	for _, database := range []string{"straight", "shop"} {
		if database != "shop" {
			sql(t, s, "postgres", "CREATE DATABASE "+database+" OWNER backend")
		}
		sql(t, s, database, "CREATE EXTENSION hstore; CREATE EXTENSION ltree; SET ROLE backend; CREATE DOMAIN uint64 AS numeric(20,0)")
	}
	sql(t, s, "postgres", `CREATE USER " tricky, ' } "" \ test user " SUPERUSER PASSWORD 'secret'`)
	port := freePort(t)
	startProxy(t, permissive, target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	env := func(user, password, database string, port int) []string {
		return append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", port), "PGUSER="+user, "PGPASSWORD="+password, "PGDATABASE="+database, "PGSSLMODE=disable",
			fmt.Sprintf("PGX_TEST_DATABASE=host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=disable", port, user, password, database))
	}
	straight, proxied := env("backend", "backend-secret", "straight", s.Port), env("ana", "ana-secret", "shop", port)
	listed := readSuiteList(t)
	for _, suite := range driverSuites {
		t.Run(suite.name, func(t *testing.T) {
			want, _ := suite.run(t, straight, ".")
			got, out := suite.run(t, proxied, ".")
			counts := map[string]int{}
			for _, name := range slices.Sorted(maps.Keys(want)) {
				counts[want[name]]++
				reason := listed[suite.name+" "+name]
				delete(listed, suite.name+" "+name)
				differs := got[name] != want[name]
				for try := 0; differs && reason == "" && try < 3; try++ { // alone: many of these tests are about time
					pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(name), "/", "$/^") + "$"
					again, _ := suite.run(t, straight, pattern)
					through, text := suite.run(t, proxied, pattern)
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
			t.Logf("%d tests: %v", len(want), counts)
		})
	}
	for name := range listed {
		suite, _, _ := strings.Cut(name, " ")
		if !t.Failed() && slices.ContainsFunc(driverSuites, func(s driverSuite) bool { return s.name == suite }) {
			t.Errorf("%s is on testdata/clients/suites.txt and not in the suite", name)
		}
	}
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

// readSuiteList reads the reviewed differences: "suite test: reason".
func readSuiteList(t *testing.T) map[string]string {
	t.Helper()
	listed := map[string]string{}
	for line := range strings.Lines(readFile(t, clientFile("suites.txt"))) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("testdata/clients/suites.txt: no reason in %q", line)
		}
		listed[name] = reason
	}
	return listed
}
