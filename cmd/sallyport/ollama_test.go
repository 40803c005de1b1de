package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// startOllama has a model tiny that writes an address, cut into tokens, and
// another one, other.
func startOllama(t *testing.T) *throwaway.Models {
	t.Helper()
	pieces := []string{"▁Write", "▁to", "▁an", "a@ex", "ampl", "e.co", "m", "▁or", "▁call", "▁nobody", "."}
	m, err := throwaway.Ollama(t.Context(), map[string][]string{"tiny": pieces, "other": pieces[:2]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestOllama: the official clients see what the policy lets them see of a real
// server's answers, and nothing else changes.
func TestOllama(t *testing.T) {
	t.Parallel()
	m := startOllama(t)
	p := startLLM(t, llmPolicy, m.URL)
	const clear, masked = "Write to ana@example.com or call nobody.", "Write to a***@example.com or call nobody."
	cache, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	script := func(name string) string {
		path, err := filepath.Abs(filepath.Join("..", "..", "testdata", "clients", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(base, token, program, name string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, script(name))
		cmd.Env = append(os.Environ(), "BASE_URL="+base+"/v1", "TOKEN="+token, "MODULES="+filepath.Join(cache, "javascript"), "LANGSMITH_TRACING=false", "NO_PROXY=127.0.0.1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s%s", name, err, out, stderr.Bytes())
		}
		return string(out)
	}
	for program, name := range map[string]string{filepath.Join(cache, "python", "bin", "python"): "openai_client.py", "node": "openai_client.mjs"} {
		direct := run(m.URL, "any", program, name)
		if !strings.Contains(direct, clear) || strings.Contains(direct, "refused") {
			t.Errorf("%s direct:\n%s", name, direct)
		}
		// metered is in no scope and sees no class: only the address changes.
		if got := run(p.url, "metered-token", program, name); got != strings.ReplaceAll(direct, clear, masked) {
			t.Errorf("%s masked:\n%s\ndirect:\n%s", name, got, direct)
		}
		if got := run(p.url, "clear-token", program, name); got != direct {
			t.Errorf("%s in the clear:\n%s\ndirect:\n%s", name, got, direct)
		}
		got := run(p.url, "rag-token", program, name)
		if !strings.Contains(got, "other model refused") || strings.Contains(got, "ana@") {
			t.Errorf("%s of an identity with one model:\n%s", name, got)
		}
	}
	t.Run("a name that differs in case", func(t *testing.T) {
		const body = `{"model":"nope","MODEL":"other","messages":[{"role":"user","content":"x"}]}`
		resp, err := http.Post(m.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 { // that is why it is refused
			t.Errorf("the server itself answers %d %s", resp.StatusCode, b)
		}
		if status, got := p.ask(t, "rag", "POST", "/v1/chat/completions", body); status != 400 {
			t.Errorf("%d %s", status, got)
		}
	})
	records := p.records(t)
	if !strings.Contains(records, masked[:9]) || !strings.Contains(records, `"usage":{"input":`) || strings.Contains(records, `"counted":true`) {
		t.Errorf("the record: %.2000s", records)
	}
}
