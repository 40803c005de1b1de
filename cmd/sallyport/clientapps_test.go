package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

var update = flag.Bool("update", false, "write docs/clients.md as the clients' tests have seen it")

// clientSteps are the columns of the matrix in docs/clients.md: what a
// client's scenario may show. The last three are run under a policy, over TLS.
var clientSteps = []string{"connect", "introspect", "transact", "prepare", "pipeline", "cancel", "copy", "stream", "listen", "error", "types", "orm", "masked", "refused", "tls"}

// clientApp uses one client as applications do: a program that takes plain or
// policy as its argument, or a scenario in this package. Either says lines
// "step: what was seen".
type clientApp struct {
	name     string
	version  string
	command  func(t *testing.T) []string
	scenario func(t *testing.T, env []string, mode string) []string
	// maps renames steps of its own to the matrix's.
	maps map[string]string
	// unseen are steps under a policy that the client has no means to show.
	unseen []string
}

// run is the scenario as one of two modes of a clientApp, with what it needs
// made ready.
func (a clientApp) run(t *testing.T) func(t *testing.T, env []string, mode string) []string {
	if a.scenario != nil {
		return a.scenario
	}
	command := a.command(t)
	return func(t *testing.T, env []string, mode string) []string { return runApp(t, env, mode, command) }
}

func clientFile(name string) string {
	return filepath.Join("..", "..", "testdata", "clients", name)
}

func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func pythonApp(file string) func(t *testing.T) []string {
	return func(t *testing.T) []string { return []string{throwtest.Python(t), clientFile(file)} }
}

func nodeApp(file string) func(t *testing.T) []string {
	return func(*testing.T) []string { return []string{"node", clientFile(filepath.Join("node", file))} }
}

// javaApp compiles the programs against the jars that .ci/setup has fetched, and runs one of them.
func javaApp(class string, args ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		jars := filepath.Join(cacheDir(t), "java", "jars", "*")
		out := t.TempDir()
		if b, err := exec.Command("javac", "-cp", jars, "-d", out, clientFile(filepath.Join("java", "App.java")), clientFile(filepath.Join("java", "MyApp.java"))).CombinedOutput(); err != nil {
			t.Fatalf("javac (run `make setup-tests`): %v\n%s", err, b)
		}
		return append([]string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jars + string(os.PathListSeparator) + out, class}, args...)
	}
}

var clientApps = []clientApp{
	{name: "psql", version: "15", scenario: psqlScenario},
	{name: "pg_dump and pg_restore", version: "15", scenario: pgDumpScenario, unseen: []string{"refused"}},
	{name: "pgbench", version: "15", scenario: pgbenchScenario, unseen: []string{"masked"}},
	{name: "pgx", version: "5.12.0, in its five modes", scenario: pgxScenario},
	{name: "lib/pq", version: "1.12.3", scenario: pqScenario},
	{name: "libpq", version: "18, SASL OAUTHBEARER", scenario: oauthScenario},
	{name: "psycopg 3", version: "3.3.9, libpq 18", command: pythonApp("psycopg3_app.py")},
	{name: "psycopg 2", version: "2.9.13, libpq 17", command: pythonApp("psycopg2_app.py")},
	{name: "SQLAlchemy 2", version: "2.1.9 on psycopg 3 and psycopg 2", command: pythonApp("sqlalchemy_app.py")},
	{name: "asyncpg", version: "0.32.0", command: pythonApp("asyncpg_app.py")},
	{name: "Django", version: "5.2.19 on psycopg 3", command: pythonApp("django_app.py"), maps: map[string]string{"migrate": "orm"}},
	{name: "node-postgres", version: "pg 8.23.1, pg-cursor, pg-query-stream, pg-copy-streams", command: nodeApp("pg_app.cjs")},
	{name: "postgres.js", version: "3.4.9", command: nodeApp("postgresjs_app.cjs")},
	{name: "Drizzle", version: "0.45.4 on node-postgres", command: nodeApp("drizzle_app.cjs")},
	{name: "pgjdbc and Hibernate", version: "42.7.14 and 7.4.15", command: javaApp("App"),
		maps: map[string]string{"hibernate orm": "orm", "hibernate stream": "orm", "hibernate unique": "orm", "hibernate masked": "masked", "hibernate refused": "refused"}},
}

// runApp runs a program and returns its lines.
func runApp(t *testing.T, env []string, mode string, command []string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], mode)...)
	cmd.Env = append(env, "NODE_PATH="+filepath.Join(cacheDir(t), "node", "node_modules"), "PYTHONDONTWRITEBYTECODE=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || strings.Contains(string(out), ": FAILED") {
		t.Errorf("%s %s: %v (run `make setup-tests` if a program is missing)\n%s\n%s", command, mode, err, out, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestClients runs each client's scenario direct and through the proxy, which
// must print the same, and again under a policy over TLS with the channel
// bound where the client can: a masked value and a refusal that reads as any
// other error of the database. docs/clients.md is what was seen.
func TestClients(t *testing.T) {
	t.Parallel()
	plain := startClientPair(t, permissive)
	guarded := startTLSPair(t, readFile(t, filepath.Join("..", "..", "testdata", "noninterference", "policy.yaml")))
	clientMatrix{test: "TestClients", steps: clientSteps, apps: clientApps, refusal: "42501"}.run(t, plain, guarded)
}

// clientMatrix is a table of docs/clients.md and the clients in it.
type clientMatrix struct {
	test    string // that writes it
	steps   []string
	apps    []clientApp
	refusal string // the code that a refusal must have
}

// run plays each client's scenario and holds the table against what was seen.
func (m clientMatrix) run(t *testing.T, plain clientPair, guarded []string) {
	seen := map[string]map[string]bool{}
	for _, app := range m.apps {
		t.Run(app.name, func(t *testing.T) {
			run := app.run(t)
			want := run(t, plain.direct, "plain")
			got := run(t, plain.proxy, "plain")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("differs through the proxy (-direct +proxy):\n%s", diff)
			}
			under := run(t, guarded, "policy")
			checkGuarded(t, under, app.unseen, m.refusal)
			if !t.Failed() {
				seen[app.name] = stepsOf(app, slices.Concat(got, under))
			}
		})
	}
	if !t.Failed() && len(seen) == len(m.apps) { // not where -run has chosen some
		m.compare(t, seen)
	}
}

func stepsOf(app clientApp, lines []string) map[string]bool {
	steps := map[string]bool{}
	for _, l := range lines {
		name, _, _ := strings.Cut(l, ":")
		if to := app.maps[name]; to != "" {
			name = to
		}
		steps[name] = true
	}
	return steps
}

// checkGuarded looks at the lines of a run under the policy.
func checkGuarded(t *testing.T, lines, unseen []string, refusal string) {
	t.Helper()
	masked, refused := slices.Contains(unseen, "masked"), slices.Contains(unseen, "refused")
	for _, l := range lines {
		switch name, rest, _ := strings.Cut(l, ":"); strings.TrimPrefix(name, "hibernate ") {
		case "masked":
			masked = true
			if !strings.Contains(rest, "***@") || strings.Contains(rest, "ana@example.com") {
				t.Errorf("not masked: %s", l)
			}
		case "refused":
			refused = true
			if !strings.Contains(rest, refusal) && !strings.Contains(rest, "refused by policy") { // not every client tells the code
				t.Errorf("not refused as a database refuses: %s", l)
			}
		}
	}
	if !masked || !refused {
		t.Errorf("no masked value, or no refusal, in %q", lines)
	}
}

// startTLSPair starts a proxy that takes TLS only and returns a client's
// environment for it.
func startTLSPair(t *testing.T, policy string) []string {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "noninterference")
	s := startPostgreSQL(t, throwaway.Options{},
		readFile(t, filepath.Join(dir, "schema.sql")), readFile(t, filepath.Join(dir, "common.sql")), readFile(t, filepath.Join(dir, "a.sql")))
	port := freePort(t)
	p := writeProxy(t, policy, target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	ca := writeCertificate(t, p.dir, "localhost")
	p.write(t, "sallyport.yaml", strings.Replace(readFile(t, p.config), "tls: {mode: disable}", "tls: {mode: require, cert: cert.pem, key: key.pem}", 1))
	p.serve(t)
	return append(os.Environ(), "PGHOST=localhost", "PGHOSTADDR=127.0.0.1", fmt.Sprintf("PGPORT=%d", port), "PGUSER=ana", "PGPASSWORD=ana-secret", "PGDATABASE=shop",
		"PGSSLMODE=verify-full", "PGSSLROOTCERT="+ca, "PGCHANNELBINDING=require")
}

const matrixEnd = "<!-- end -->\n"

// compare holds docs/clients.md against what the scenarios have shown, or
// writes it.
func (m clientMatrix) compare(t *testing.T, seen map[string]map[string]bool) {
	t.Helper()
	begin := fmt.Sprintf("<!-- the matrix: go test ./cmd/sallyport -run '^%s$' -update -->\n", m.test)
	var table strings.Builder
	table.WriteString(begin + "| client | version | " + strings.Join(m.steps, " | ") + " |\n|---|---|" + strings.Repeat("---|", len(m.steps)) + "\n")
	for _, app := range m.apps {
		fmt.Fprintf(&table, "| %s | %s |", app.name, app.version)
		for _, step := range m.steps {
			if seen[app.name][step] {
				table.WriteString(" ✓ |")
			} else {
				table.WriteString(" |")
			}
		}
		table.WriteString("\n")
	}
	table.WriteString(matrixEnd)
	path := filepath.Join("..", "..", "docs", "clients.md")
	text := readFile(t, path)
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, matrixEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the matrix of %s", path, m.test)
	}
	want := before + table.String() + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(text, want); diff != "" {
		t.Errorf("docs/clients.md is not what the tests have seen (-page +seen); run with -update:\n%s", diff)
	}
}
