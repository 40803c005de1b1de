package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

var regressionKeep = flag.String("regression.keep", "", "keep the answers to PostgreSQL's regression files in this directory")

// regression is a server of its own that PostgreSQL's regression files run
// on, and the way to it.
type regression struct {
	bin, source string
	env         []string
}

// answered is what one statement of a file was answered with.
type answered struct{ statement, answer string }

// singleStep is what psql prints before each statement in its single-step
// mode, at whose prompt it reads on where nobody answers.
var singleStep = regexp.MustCompile(`(?s)\*\*\*\(Single step mode: verify command\)\*+\n(.*?)\n\*\*\*\(press return to proceed[^\n]*\n`)

// run runs one file and returns its statements in order. What psql's own
// commands print belongs to the statement before them.
func (r regression) run(ctx context.Context, name string) ([]answered, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "psql"), "-X", "-a", "-q", "-s", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on",
		"-f", filepath.Join(r.source, "sql", name+".sql"))
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, out[max(0, len(out)-1000):])
	}
	text := string(out)
	var all []answered
	marks := singleStep.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		all = append(all, answered{statement: text[m[2]:m[3]], answer: text[m[1]:end]})
	}
	return all, nil
}

// startRegression starts PostgreSQL, with a database as pg_regress makes it.
func startRegression(t *testing.T, source string, proxied bool) regression {
	t.Helper()
	s := startPostgreSQL(t, throwaway.Options{})
	sql(t, s, "postgres", "ALTER ROLE backend SUPERUSER")
	sql(t, s, "postgres", "CREATE DATABASE regression OWNER backend TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	sql(t, s, "postgres", `ALTER DATABASE regression SET lc_messages TO 'C'; ALTER DATABASE regression SET lc_monetary TO 'C'; ALTER DATABASE regression SET lc_numeric TO 'C';
		ALTER DATABASE regression SET lc_time TO 'C'; ALTER DATABASE regression SET bytea_output TO 'hex'; ALTER DATABASE regression SET timezone_abbreviations TO 'Default'`)
	port, user, password := s.Port, "backend", "backend-secret"
	if proxied {
		port, user, password = freePort(t), "ana", "ana-secret"
		startProxy(t, permissive, target{name: "regression", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/regression?sslmode=disable", s.Address())})
	}
	build := filepath.Join(filepath.Dir(s.DataDir), "regress")
	results := filepath.Join(build, "results")
	if err := errors.Join(os.MkdirAll(results, 0o755), os.Chmod(results, 0o777)); err != nil { // the server's account writes there
		t.Fatal(err)
	}
	return regression{bin: s.BinDir, source: source, env: append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", port), "PGUSER="+user, "PGPASSWORD="+password,
		"PGDATABASE=regression", "PGSSLMODE=disable", "PSQLRC=/dev/null", "PAGER=cat", "PGTZ=PST8PDT", "PGDATESTYLE=Postgres, MDY", "PGOPTIONS=-c intervalstyle=postgres_verbose",
		"LC_ALL=C", "PG_ABS_SRCDIR="+source, "PG_ABS_BUILDDIR="+build, "PG_LIBDIR=$libdir", "PG_DLSUFFIX=.so")}
}

// regressionFiles are those that are run, in the order of PostgreSQL's own
// schedule: types and expressions, queries, writes, COPY, cursors, prepared
// statements, transactions, procedures. The others are about storage, plans
// and the many forms of DDL, each of which has the proxy read the schema anew.
var regressionFiles = strings.Fields(`test_setup
	boolean char name varchar text int2 int4 int8 oid float4 float8 bit numeric uuid enum money regproc
	numerology point lseg line box path polygon circle date time timetz timestamp timestamptz interval inet macaddr
	geometry horology tstypes regex expressions
	copy copyselect copydml insert insert_conflict
	create_procedure select_into select_distinct select_distinct_on select_implicit select_having subselect union case join
	aggregates transactions random portals arrays delete select rowtypes
	update namespace groupingsets merge
	limit returning json jsonb jsonpath jsonb_jsonpath plancache copy2 temp prepare with window tsrf guc`)

// TestRegression runs PostgreSQL's own regression files against PostgreSQL
// and through the proxy under a policy that forbids nothing, and compares
// statement by statement. Where a statement is answered differently,
// testdata/clients/regress.txt says why; it says nothing else.
func TestRegression(t *testing.T) {
	t.Parallel()
	source := filepath.Join(cacheDir(t), "regress")
	if of, _, _ := strings.Cut(readFile(t, filepath.Join(source, "stamp")), "."); of != strconv.Itoa(installed(t).Major) {
		t.Fatalf("the regression files are of PostgreSQL %s, the server is %s (run `make setup-tests`)", of, installed(t).Version)
	}
	var results [2][][]answered
	var took [2][]time.Duration
	var both sync.WaitGroup
	for i := range results {
		r := startRegression(t, source, i == 1)
		both.Go(func() {
			for _, name := range regressionFiles {
				began := time.Now()
				all, err := r.run(t.Context(), name)
				if err != nil {
					t.Error(err)
				}
				results[i], took[i] = append(results[i], all), append(took[i], time.Since(began))
				if *regressionKeep != "" {
					keepAnswers(t, fmt.Sprintf("%s.%d", name, i), all)
				}
			}
		})
	}
	both.Wait()
	listed := readReviewed(t, "regress.txt")
	seen := map[string]bool{}
	statements, differing := 0, 0
	for i, name := range regressionFiles {
		direct, proxied := results[0][i], results[1][i]
		if len(direct) != len(proxied) {
			t.Errorf("%s: %d statements direct, %d through the proxy", name, len(direct), len(proxied))
			continue
		}
		n := 0
		for j, d := range direct {
			want, got := normalRegression(d), normalRegression(proxied[j])
			if want == got {
				continue
			}
			n++
			key := regressionKey(name, d.statement)
			if listed[key] == "" && !seen[key] {
				t.Errorf("%s\n%s", key, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
			}
			seen[key] = true
		}
		statements, differing = statements+len(direct), differing+n
		t.Logf("%-20s %6.2f s direct, %6.2f s through the proxy, %4d statements, %d differ", name, took[0][i].Seconds(), took[1][i].Seconds(), len(direct), n)
	}
	for _, key := range slices.Sorted(maps.Keys(listed)) {
		if !seen[key] {
			t.Errorf("%s does not differ any more: take it off testdata/clients/regress.txt", key)
		}
	}
	t.Logf("%d files, %d statements, %d differ", len(regressionFiles), statements, differing)
}

func keepAnswers(t *testing.T, name string, all []answered) {
	var out strings.Builder
	for _, a := range all {
		fmt.Fprintf(&out, "%s\n%s", a.statement, a.answer)
	}
	if err := os.WriteFile(filepath.Join(*regressionKeep, name), []byte(out.String()), 0o644); err != nil {
		t.Error(err)
	}
}

// regressionKey is how the list names a statement: its file and how it begins.
func regressionKey(file, statement string) string {
	words := strings.Join(strings.Fields(statement), " ")
	words = strings.ReplaceAll(words, ": ", ":")
	return file + " " + strings.TrimSpace(words[:min(len(words), 110)])
}

// regressionPlace is where a server has its files.
var regressionPlace = regexp.MustCompile(`/\S*/sallyport-run-\d+/`)

// normalRegression is a statement and its answer without what differs between
// two runs of one server.
func normalRegression(a answered) string {
	return regressionPlace.ReplaceAllString(a.statement+"\n"+a.answer, "/")
}
