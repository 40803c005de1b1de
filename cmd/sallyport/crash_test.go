package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// runMainVariable makes the test binary behave as sallyport, so that a test
// can kill it.
const runMainVariable = "SALLYPORT_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMainVariable) != "" {
		main()
		return
	}
	testscript.Main(suiteMain{m}, map[string]func(){"sallyport": main})
}

// child runs sallyport as a process of its own.
func child(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), runMainVariable+"=1")
	return cmd
}

// serveChild starts `serve` as a process and returns once it is ready.
func serveChild(t *testing.T, config string) *exec.Cmd {
	t.Helper()
	cmd := child("serve", "--config", config)
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
	return cmd
}

// TestKill9 kills the proxy while pgbench runs through it. Every statement
// that PostgreSQL's own log holds must stand in a transcript, the transcripts
// must verify after the restart, and a flipped byte must be found.
func TestKill9(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{Settings: map[string]string{"log_statement": "all", "log_line_prefix": "%u|"}})
	p := clientPair{server: s}
	direct := append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", s.Port), "PGUSER=backend", "PGPASSWORD=backend-secret", "PGDATABASE=shop", "PGSSLMODE=disable")
	if out := p.run(t, direct, "", "pgbench", "-i", "-q"); strings.Contains(out, "[pgbench:") {
		t.Fatal(out)
	}
	logged := len(statementsOf(t, s))
	port := freePort(t)
	proxy := startProxy(t, "version: 1\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	proxy.stop() // startProxy wrote the files; the process to kill is a child
	proxy.code <- <-proxy.code

	cmd := serveChild(t, proxy.config)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bench := exec.CommandContext(ctx, filepath.Join(s.BinDir, "pgbench"), "-n", "-S", "-M", "simple", "-c", "8", "-T", "30", "-h", "127.0.0.1",
		"-p", fmt.Sprint(port), "-U", "ana", "shop")
	bench.Env = append(os.Environ(), "PGPASSWORD=ana-secret", "PGSSLMODE=disable")
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(25 * time.Second)
	for len(statementsOf(t, s)) < logged+3000 { // the event to wait for is PostgreSQL's own log
		if time.Now().After(deadline) {
			t.Fatal("pgbench's statements do not arrive")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	_ = bench.Wait()

	// The next start recovers what the killed one left.
	cmd = serveChild(t, proxy.config)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the recovery serve ended with %v", err)
	}
	mustBeRecorded(t, "PostgreSQL", statementsOf(t, s)[logged:], transcriptTexts(t, proxy.config))
	if code, out := runMain(t, "replay", "verify", "--config", proxy.config); code != 0 {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
	flipOneByte(t, proxy)
	code, out := runMain(t, "replay", "verify", "--config", proxy.config)
	if code == 0 {
		t.Errorf("verify found nothing after a byte was flipped:\n%s", out)
	}
	t.Logf("after the flip:\n%s", out)
	flipOneByte(t, proxy) // back: the suite reads it
}

// statementsOf returns the texts of the pgbench statements in the server's
// log, in order.
func statementsOf(t *testing.T, s *throwaway.Server) []string {
	t.Helper()
	b, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte("backend|")) || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		if _, text, ok := bytes.Cut(line, []byte("statement: ")); ok && bytes.Contains(text, []byte("pgbench_accounts WHERE")) {
			out = append(out, strings.TrimSuffix(strings.TrimSpace(string(text)), ";"))
		}
	}
	return out
}

// transcriptTexts counts the statements' texts in all transcripts.
func transcriptTexts(t *testing.T, config string) map[string]int {
	t.Helper()
	code, list := runMain(t, "sessions", "list", "--config", config, "--json")
	if code != 0 {
		t.Fatalf("sessions list: %s", list)
	}
	texts := map[string]int{}
	for line := range strings.Lines(list) {
		var session struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(line), &session); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		code, events := runMain(t, "replay", "show", "--config", config, "--json", session.ID)
		if code != 0 {
			t.Fatalf("replay show: %s", events)
		}
		sc := bufio.NewScanner(strings.NewReader(events))
		sc.Buffer(nil, 16<<20)
		for sc.Scan() {
			var e struct {
				T    string `json:"t"`
				Text string `json:"text"`
			}
			if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
				t.Fatalf("%v in %q", err, sc.Text())
			}
			if e.T == "statement" {
				texts[strings.TrimSpace(e.Text)]++
			}
		}
	}
	return texts
}

// runMain runs a command in this process.
func runMain(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	m := &Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
	code := m.Run(context.Background(), args)
	return code, out.String()
}

// flipOneByte changes one bit in the middle of the largest transcript.
func flipOneByte(t *testing.T, p *testProxy) {
	t.Helper()
	var largest string
	var size int64
	err := filepath.Walk(filepath.Join(p.dir, "var", "transcripts"), func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && strings.HasSuffix(path, ".transcript") && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil || largest == "" {
		t.Fatalf("no transcript to damage: %v", err)
	}
	b, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(largest, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// mustBeRecorded: what a server's log has was recorded before it went there.
// recorded counts the records of each text.
func mustBeRecorded(t *testing.T, server string, logged []string, recorded map[string]int) {
	t.Helper()
	missing := 0
	for _, text := range logged {
		if recorded[text] == 0 {
			missing++
			t.Logf("not recorded: %s", text)
			continue
		}
		recorded[text]--
	}
	t.Logf("%d statements in %s's log, %d missing in the transcripts", len(logged), server, missing)
	if missing > 0 {
		t.Errorf("%d statements reached %s without a record", missing, server)
	}
}
