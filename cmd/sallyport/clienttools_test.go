package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// postgresTool runs one of the server's own client programs and returns what
// it printed, on both outputs.
func postgresTool(t *testing.T, env []string, stdin, program string, args ...string) string {
	t.Helper()
	in := installed(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(in.BinDir, program), args...)
	cmd.Env, cmd.Stdin = append(env, "PSQLRC=/dev/null", "PAGER=cat"), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = fmt.Appendf(out, "[%s: %v]\n", program, err)
	}
	return string(out)
}

// installed is the PostgreSQL that throwaway servers are of.
func installed(t *testing.T) throwaway.Install {
	t.Helper()
	all, err := throwaway.FindPostgreSQL()
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// said is a scenario's line.
func said(step, out string) string {
	return step + ": " + strings.ReplaceAll(strings.TrimSpace(out), "\n", " ⏎ ")
}

func psqlScenario(t *testing.T, env []string, mode string) []string {
	psql := func(script string, args ...string) string {
		return postgresTool(t, env, script, "psql", append([]string{"-X", "-v", "VERBOSITY=verbose"}, args...)...)
	}
	if mode == "policy" {
		return []string{
			said("masked", psql("SELECT email FROM customers WHERE id = 1;\nCOPY (SELECT email FROM customers WHERE id = 1) TO STDOUT;\n")),
			said("refused", psql("BEGIN;\nSELECT id FROM customers WHERE ssn = '1';\nSELECT 1;\nROLLBACK;\nSELECT 1;\n")),
			said("tls", regexp.MustCompile(`SSL connection \(protocol: \S+`).FindString(psql("\\conninfo\n"))),
		}
	}
	lines := []string{
		said("connect", psql("SELECT 1;\n\\echo :SERVER_VERSION_NUM :ENCODING\n")),
		said("introspect", psql(strings.Join(psqlCommands, "\n"))),
		said("transact", psql("BEGIN;\nINSERT INTO scratch VALUES (5, 'x');\nSAVEPOINT s;\nSELECT 1/0;\nROLLBACK TO s;\nSELECT count(*) FROM scratch;\nROLLBACK;\nSELECT count(*) FROM scratch;\n", "-a")),
		said("prepare", psql("PREPARE p (int) AS SELECT name FROM customers WHERE id = $1;\nEXECUTE p (1);\nEXECUTE p (2);\nDEALLOCATE p;\nEXECUTE p (1);\n")),
		said("cancel", psqlCancel(t, env)),
		said("copy", psql("COPY scratch (id, a) FROM STDIN;\n91\tcopied\n92\t\\N\n\\.\n\\copy (SELECT id, a FROM scratch WHERE id > 90 ORDER BY id) TO STDOUT CSV\nDELETE FROM scratch WHERE id > 90;\n")),
		said("stream", psql("\\set FETCH_COUNT 7\nSELECT generate_series(1, 100);\n", "-At")),
		said("listen", regexp.MustCompile(`PID \d+`).ReplaceAllString(psql("LISTEN news;\nNOTIFY news, 'hello';\nUNLISTEN news;\n"), "PID x")),
		said("error", psql("SELECT nonsense;\nSELECT * FROM nowhere;\nSELEC;\nINSERT INTO products (id) VALUES (1);\n\\errverbose\n")),
		said("types", psql("SELECT 1.5::numeric, '\\x00ff'::bytea, '2026-01-02'::date, ARRAY[1,NULL], '{\"a\": [1]}'::jsonb, '1 day'::interval, int4range(1, 5);\n\\gdesc\n", "-x")),
	}
	for i, line := range lines {
		lines[i] = errorPlace.ReplaceAllString(line, "LOCATION: x")
	}
	return lines
}

// errorPlace is where in the server's source an error was raised, which the
// proxy does not say of those that it answers itself.
var errorPlace = regexp.MustCompile(`( ⏎ )?LOCATION:\s+[^⏎]*`)

// psqlCancel interrupts psql, as ^C does, once the statement runs.
func psqlCancel(t *testing.T, env []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(installed(t).BinDir, "psql"), "-XAt", "-c", "SET application_name = 'cancelled'", "-c", "SELECT pg_sleep(60)", "-c", "SELECT 'after'")
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil && !strings.Contains(postgresTool(t, env, "", "psql", "-XAt", "-c", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cancelled' AND wait_event = 'PgSleep'"), "1") {
		continue
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	return out.String()
}

func pgbenchScenario(t *testing.T, env []string, mode string) []string {
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "script.sql")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	counted := regexp.MustCompile(`number of (transactions actually processed|failed transactions): .*`)
	bench := func(args ...string) string {
		out := postgresTool(t, env, "", "pgbench", append([]string{"-n", "-c", "4", "-t", "50"}, args...)...)
		if strings.Contains(out, "[pgbench") {
			return out
		}
		return strings.Join(counted.FindAllString(out, -1), " ")
	}
	if mode == "policy" {
		out := postgresTool(t, env, "", "pgbench", "-n", "-c", "1", "-t", "1", "-M", "prepared", "-f", script("SELECT id FROM customers WHERE ssn = '1';\n"))
		return []string{said("refused", out), said("tls", bench("-S"))}
	}
	postgresTool(t, env, "", "pgbench", "-i", "-I", "d")
	made := postgresTool(t, env, "", "pgbench", "-i", "-q", "-I", "dtGp")
	lines := []string{said("copy", regexp.MustCompile(`\d+\.\d+ s`).ReplaceAllString(regexp.MustCompile(`(?m)^\d+ of .*\n`).ReplaceAllString(made, ""), ""))}
	lines = append(lines, said("connect", bench("-C", "-S", "-t", "5")))
	for _, protocol := range []string{"simple", "extended", "prepared"} {
		lines = append(lines, said("transact", bench("-M", protocol, "-b", "tpcb-like")), said("prepare", bench("-M", protocol, "-S")))
	}
	lines = append(lines, said("pipeline", bench("-M", "extended", "-f", script("\\startpipeline\nSELECT 1;\nSELECT abalance FROM pgbench_accounts WHERE aid = 7;\nUPDATE pgbench_accounts SET abalance = abalance WHERE aid = 7;\n\\endpipeline\n"))))
	postgresTool(t, env, "", "pgbench", "-i", "-I", "d")
	return lines
}

// pgDumpScenario dumps a database in every format, restores it and dumps what
// came of it: all three must say the same.
func pgDumpScenario(t *testing.T, env []string, mode string) []string {
	dir := t.TempDir()
	dump := func(args ...string) string {
		return restrict.ReplaceAllString(postgresTool(t, env, "", "pg_dump", args...), "\\$1 KEY")
	}
	if mode == "policy" {
		return []string{said("masked", dump("--data-only", "--table=customers")), said("introspect", dump("--schema-only")), said("tls", fmt.Sprint(len(dump("--schema-only")) > 1000))}
	}
	whole := dump("--enable-row-security")
	lines := []string{said("introspect", dump("--schema-only")), said("copy", whole), said("types", dump("--data-only", "--inserts", "--enable-row-security"))}
	for _, x := range []struct {
		name          string
		dump, restore []string
	}{
		{"custom", []string{"-Fc"}, nil},
		{"directory", []string{"-Fd", "-j2"}, nil},
		{"tar", []string{"-Ft"}, []string{"--single-transaction"}},
	} {
		file := filepath.Join(dir, x.name)
		out := dump(append(x.dump, "--enable-row-security", "-f", file)...)
		out += postgresTool(t, env, "", "psql", "-XAt", "-c", "CREATE DATABASE restored")
		to := append(env, "PGDATABASE=restored")
		out += postgresTool(t, to, "", "pg_restore", append(x.restore, "--no-owner", "--exit-on-error", "-d", "restored", file)...)
		again := restrict.ReplaceAllString(postgresTool(t, to, "", "pg_dump", "--enable-row-security"), "\\$1 KEY")
		out += fmt.Sprintf("restored the same: %v ", again == whole)
		if again != whole {
			out += cmp.Diff(whole, again)
		}
		out += postgresTool(t, env, "", "psql", "-XAt", "-c", "DROP DATABASE restored WITH (FORCE)")
		lines = append(lines, said("transact", x.name+" "+out))
	}
	return lines
}
