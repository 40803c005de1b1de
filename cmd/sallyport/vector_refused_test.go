package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVectorClientsRefused: what the stores' own clients are told of a drop, of
// a delete without a filter and of a large scroll, and that the scroll passes
// once it is granted. No classed value is in what they see.
func TestVectorClientsRefused(t *testing.T) {
	t.Parallel()
	qdrant, chroma := startQdrant(t), startChroma(t)
	seedQdrant(t, qdrant, "ana")
	seedChroma(t, chroma, "ana")
	p := startVector(t, storePolicy, map[string]string{"qdrant": qdrant, "chroma": chroma})
	python, _ := vectorPython(t)
	masked := strings.TrimSuffix(strings.Repeat("'[redacted]', ", 12), ", ")
	for store, wants := range map[string][]string{
		"qdrant": {"search passed ['[redacted]', '[redacted]']", "drop qdrant_client UnexpectedResponse", "delete qdrant_client UnexpectedResponse", "scroll qdrant_client UnexpectedResponse", "scroll passed [" + masked + "]"},
		"chroma": {"search passed ['[redacted]', '[redacted]']", "drop chromadb AuthorizationError", "delete chromadb AuthorizationError", "scroll chromadb AuthorizationError", "scroll passed [" + masked + "]"},
	} {
		cmd := exec.Command(python, "-W", "ignore", filepath.Join(vectorDir, "refused_client.py"), store, p.at[store], "worker-token")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i, want := range wants {
			if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) || strings.Contains(lines.Text(), "@example.com") {
				t.Errorf("%s, line %d: %s\nwant %s", store, i, lines.Text(), want)
			}
			for line, says := range map[int]string{1: "no-destructive-ddl", 2: "unfiltered-write", 3: "held for approval"} {
				if i == line && !strings.Contains(lines.Text(), says) {
					t.Errorf("%s is not told %q: %s", store, says, lines.Text())
				}
			}
			if i == 3 {
				id := vectorHold.FindStringSubmatch(lines.Text())
				if id == nil {
					in.Close()
					break
				}
				if code, out := runMain(t, "approvals", "approve", "--config", p.config, "--as", "dana", id[1]); code != 0 {
					t.Error(out)
				}
				fmt.Fprintln(in)
			}
		}
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", store, err)
		}
	}
}
