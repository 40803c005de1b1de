package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sysbenchScenario runs sysbench's own scripts, with prepared statements and
// with texts of values, for a number of events: what it counts of queries,
// transactions and errors must be the same. Its numbers are drawn from a seed.
func sysbenchScenario(t *testing.T, env []string, mode string) []string {
	of := func(name string) string {
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v
			}
		}
		return ""
	}
	dir := t.TempDir()
	run := func(script, command string, more ...string) string { // localhost would be a socket
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		args := append([]string{script, "--db-driver=mysql", "--mysql-host=" + strings.Replace(of("MYSQL_HOST"), "localhost", "127.0.0.1", 1), "--mysql-port=" + of("MYSQL_PORT"), "--mysql-user=" + of("MYSQL_USER"),
			"--mysql-password=" + of("MYSQL_PASSWORD"), "--mysql-db=" + of("MYSQL_DATABASE"), "--rand-seed=7", "--time=0"}, more...)
		cmd := exec.CommandContext(ctx, "sysbench", append(args, command)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("sysbench %s %s: %v (run `make setup-tests` if it is missing)\n%s", script, command, err, out)
		}
		return string(out)
	}
	if mode == "policy" {
		// Its names of the files that TLS is made of are fixed.
		ca := readFile(t, of("MYSQL_CA"))
		writeCertificate(t, dir, "sysbench")
		for from, to := range map[string]string{"cert.pem": "client-cert.pem", "key.pem": "client-key.pem"} {
			if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cacert.pem"), []byte(ca), 0o600); err != nil {
			t.Fatal(err)
		}
		script, err := filepath.Abs(clientFile("sysbench.lua"))
		if err != nil {
			t.Fatal(err)
		}
		out := run(script, "run", "--mysql-ssl=on", "--events=1", "--threads=1")
		lines := regexp.MustCompile(`(?m)^(masked|refused): .*`).FindAllString(out, -1)
		return append(lines, said("tls", regexp.MustCompile(`total number of events: +\d+`).FindString(out)))
	}
	counted := regexp.MustCompile(`(?m)^ +(read|write|other|total|transactions|queries|ignored errors|reconnects|total number of events): +\d+`)
	events := func(script string, more ...string) string {
		return strings.Join(strings.Fields(strings.Join(counted.FindAllString(run(script, "run", append([]string{"--tables=2", "--table-size=500"}, more...)...), -1), " ")), " ")
	}
	lines := []string{said("connect", run("oltp_read_write", "prepare", "--tables=2", "--table-size=500"))}
	for _, prepared := range []string{"--db-ps-mode=auto", "--db-ps-mode=disable"} {
		step := map[string]string{"--db-ps-mode=auto": "prepare", "--db-ps-mode=disable": "transact"}[prepared]
		lines = append(lines, said(step, events("oltp_read_only", prepared, "--events=20", "--threads=4")), said(step, events("oltp_point_select", prepared, "--events=200", "--threads=4")))
		for _, script := range []string{"oltp_read_write", "oltp_write_only", "oltp_update_index", "oltp_delete", "oltp_insert"} {
			lines = append(lines, said("transact", events(script, prepared, "--events=10", "--threads=1")))
		}
	}
	return append(lines, said("connect", run("oltp_read_write", "cleanup", "--tables=2")))
}
