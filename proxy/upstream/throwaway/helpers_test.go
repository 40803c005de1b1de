package throwaway_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

func TestMain(m *testing.M) { throwtest.Main(m) }

// psql runs a statement over TCP and returns what it prints.
func psql(url, statement string) (string, error) {
	cmd := exec.Command("psql", "-XqAtw", "-d", url, "-c", statement)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = errors.New(stderr.String())
	}
	return strings.TrimSpace(string(out)), err
}

// alive reports whether a process runs; one that has ended and was not waited for does not.
func alive(pid int) bool {
	state, parent := stat(pid)
	return parent >= 0 && state != "Z"
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, dir := range dirs {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if _, parent := stat(child); parent == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

// stat is a process's state and parent, -1 where there is no such process.
func stat(pid int) (state string, parent int) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", -1
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return "", -1
	}
	return fields[0], parent
}

// eventually waits for what the kernel does in its own time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 seconds: %s", what)
		}
	}
}
