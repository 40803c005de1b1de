package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/identity/idptest"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
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

// TestTokenMySQL: a token as the password over TLS, on MySQL's wire; the
// session ends with it, and with the identity.
func TestTokenMySQL(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{})
	database := throwtest.Database(t, s, "CREATE TABLE customers (id INT PRIMARY KEY, email VARCHAR(100)); INSERT INTO customers VALUES (1, 'ana@example.com')")
	port := freePort(t)
	// A certificate is an identity here too.
	certified := "mtls:\n  - {ca: ours.pem, identities: [{name: certified, subject: \"CN=certified,O=Acme\"}]}\n"
	authorities := &testProxy{dir: t.TempDir()}
	ours := newAuthority(t, authorities, "ours")
	ours.issue(t, authorities, "client", "certified", "", time.Hour, x509.ExtKeyUsageClientAuth)
	certified = strings.Replace(certified, "ours.pem", filepath.Join(authorities.dir, "ours.pem"), 1)
	p, idp := startTokens(t, "version: 1\nclasses: {email: {mask: partial}}\ncolumns: [{class: email, match: ['*.email']}]\nunmask: [{classes: [email], groups: [etl]}]\n", fmt.Sprintf(`  - name: app
    protocol: mysql
    listen: "127.0.0.1:%d"
    tls: {mode: require, cert: cert.pem, key: key.pem}
    upstream: {url: "mysql://root@%s/%s?tls=disable", password: {file: upstream}}
`, port, s.Address(), database)+certified, s.Password)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(readFile(t, filepath.Join(p.dir, "cert.pem"))))
	pair, err := tls.LoadX509KeyPair(filepath.Join(authorities.dir, "client.crt"), filepath.Join(authorities.dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	dial := func(user, token string) (*mysqlclient.Conn, error) {
		return mysqlclient.Connect(fmt.Sprintf("127.0.0.1:%d", port), user, token, database, func(c *mysqlclient.Conn) error {
			conf := &tls.Config{RootCAs: roots, ServerName: "localhost"}
			if token == "" {
				conf.Certificates = []tls.Certificate{pair}
			}
			c.SetTLSConfig(conf)
			return nil
		})
	}
	email := func(name string) string {
		t.Helper()
		c, err := dial(name, idp.Token(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer c.Close()
		r, err := c.Execute("SELECT email FROM customers")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v, _ := r.GetString(0, 0)
		return v
	}
	if clear, masked := email("etl"), email("rag"); clear != "ana@example.com" || masked == clear {
		t.Errorf("etl got %q, rag got %q", clear, masked)
	}
	for user, token := range map[string]string{
		"etl":  idp.Token(t, "rag"),
		"rag":  idp.Sign(t, idp.Claims("rag", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})),
		"root": s.Password,
	} {
		var e *mysql.MyError
		if _, err := dial(user, token); !errors.As(err, &e) || e.Code != mysql.ER_ACCESS_DENIED_ERROR {
			t.Errorf("%s: %v", user, err)
		}
	}
	byCertificate, err := dial("certified", "")
	if err != nil {
		t.Fatalf("by certificate: %v", err)
	}
	byCertificate.Close()
	if _, err := dial("rag", ""); err == nil {
		t.Error("a certificate logged another identity in")
	}
	other, err := dial("etl", idp.Token(t, "etl"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	idp.Lifetime(5 * time.Second)
	short, err := dial("rag", idp.Token(t, "rag"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := short.Execute("SELECT SLEEP(60)"); ended <- err }()
	if err := within(t, 20*time.Second, "a session past its token", ended); err == nil {
		t.Error("the session goes on")
	}
	idp.Lifetime(time.Hour)
	busy, err := dial("rag", idp.Token(t, "rag"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, err := busy.Execute("SELECT SLEEP(60)"); ended <- err }()
	awaitSessions(t, p, 2)
	if code, out := runMain(t, "identities", "revoke", "--config", p.config, "rag"); code != 0 {
		t.Fatal(out)
	}
	if err := within(t, time.Second, "a revoked identity's session", ended); err == nil {
		t.Error("the session goes on")
	}
	if _, err := other.Execute("SELECT 1"); err != nil {
		t.Errorf("another's: %v", err)
	}
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
