package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/identity/idptest"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// startTokens runs a proxy with one target, whose identities are an issuer's.
func startTokens(t *testing.T, policy, target, secret string) (*testProxy, *idptest.Provider) {
	t.Helper()
	idp := idptest.Start(t)
	for _, name := range []string{"rag", "etl"} {
		idp.Register(idptest.Client{Subject: name, Audience: []string{"sallyport"}, Claims: map[string]any{"groups": []string{name}}})
	}
	p := &testProxy{dir: t.TempDir()}
	writeCertificate(t, p.dir, "localhost")
	p.write(t, "upstream", secret+"\n")
	p.write(t, "policy.yaml", policy)
	p.config = p.write(t, "sallyport.yaml", fmt.Sprintf("version: 1\npolicy: policy.yaml\nconsole: {listen: \"127.0.0.1:%d\"}\noidc:\n  - {issuer: %q, audience: sallyport, groups: groups, kind: machine, ca: %q}\ntargets:\n%s",
		freePort(t), idp.Issuer, idp.CA, target))
	p.serve(t)
	return p, idp
}

// TestTokenOpenAI: the official OpenAI client with a token as its key; the
// endpoint sees its own key, and no client does.
func TestTokenOpenAI(t *testing.T) {
	d := startDouble(t)
	port := freePort(t)
	p, idp := startTokens(t, "version: 1\nclasses: {mail: {mask: partial, detect: [email]}}\nunmask: [{classes: [mail], groups: [etl]}]\n", fmt.Sprintf(`  - name: llm
    protocol: openai
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: %q, password: {file: upstream}}
`, port, d.URL), "backend-key")
	seen := startTap(t, port)
	ask := func(token string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, throwtest.Python(t), filepath.Join("..", "..", "testdata", "clients", "openai_token.py"))
		cmd.Env = append(os.Environ(), fmt.Sprintf("BASE_URL=http://127.0.0.1:%d/v1", seen.port), "TOKEN="+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := ask(idp.Token(t, "etl")); err != nil || !strings.Contains(out, "answer: Ask ana@example.com.") {
		t.Errorf("etl: %v: %s", err, out)
	}
	rag := idp.Token(t, "rag")
	if out, err := ask(rag); err != nil || !strings.Contains(out, "answer: Ask ") || strings.Contains(out, "ana@") {
		t.Errorf("rag: %v: %s", err, out)
	}
	d.mu.Lock()
	key := d.header.Get("Authorization")
	d.mu.Unlock()
	if key != "Bearer backend-key" {
		t.Errorf("the endpoint was given %q", key)
	}
	expired := idp.Sign(t, idp.Claims("rag", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}))
	for name, token := range map[string]string{"expired": expired, "another audience": idp.Sign(t, idp.Claims("rag", map[string]any{"aud": "x"})), "garbage": "sk-garbage", "the backend's": "backend-key"} {
		if out, err := ask(token); err == nil || !strings.Contains(out, "error: 401") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if code, out := runMain(t, "identities", "revoke", "--config", p.config, "rag"); code != 0 {
		t.Fatal(out)
	}
	if out, err := ask(rag); err == nil || !strings.Contains(out, "error: 401") {
		t.Errorf("revoked: %v: %s", err, out)
	}
	// An answer that comes bit by bit ends when its identity does.
	d.set(func(w http.ResponseWriter, _, _ string) {
		w.Header().Set("Content-Type", "text/event-stream")
		for w.(http.Flusher).Flush(); ; w.(http.Flusher).Flush() {
			if _, err := fmt.Fprint(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"tiny\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word and word \"}}]}\n\n"); err != nil {
				return
			}
		}
	})
	stream, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", port), strings.NewReader(`{"model":"tiny","stream":true,"messages":[{"role":"user","content":"go on"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	stream.Header.Set("Authorization", "Bearer "+idp.Token(t, "etl"))
	stream.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 1<<16)
	if _, err := resp.Body.Read(b); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() {
		for {
			if _, err := resp.Body.Read(b); err != nil {
				over <- err
				return
			}
		}
	}()
	if code, out := runMain(t, "identities", "revoke", "--config", p.config, "etl"); code != 0 {
		t.Fatal(out)
	}
	if err := within(t, time.Second, "a revoked identity's stream", over); err == nil {
		t.Error("it goes on")
	}
	nowhere(t, p, seen.bytes(), []string{"backend-key", rag})
}

// TestTokenQdrant: the official Qdrant client with a token as its api-key.
func TestTokenQdrant(t *testing.T) {
	qdrant := startQdrant(t)
	port := freePort(t)
	p, idp := startTokens(t, permissive, fmt.Sprintf(`  - name: vectors
    protocol: qdrant
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: "http://%s", password: {file: upstream}}
`, port, qdrant), "backend-key")
	seen := startTap(t, port)
	token := idp.Token(t, "rag")
	out := vectorScript(t, "qdrant_scenario.py", fmt.Sprintf("http://127.0.0.1:%d", seen.port), token)
	if direct := vectorScript(t, "qdrant_scenario.py", "http://"+qdrant, "backend-key"); out != direct || !strings.Contains(out, "missing 404") {
		t.Errorf("it differs through the proxy, or did not get to its end:\n%s\n%s", out, direct)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/collections", port)
	for name, token := range map[string]string{
		"expired":       idp.Sign(t, idp.Claims("rag", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})),
		"the backend's": "backend-key",
	} {
		if a := do(t, "GET", url, token, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if code, out := runMain(t, "identities", "revoke", "--config", p.config, "rag"); code != 0 {
		t.Fatal(out)
	}
	if a := do(t, "GET", url, token, ""); a.status != http.StatusUnauthorized {
		t.Errorf("revoked: %d %s", a.status, a.body)
	}
	nowhere(t, p, seen.bytes(), []string{"backend-key", token})
}
