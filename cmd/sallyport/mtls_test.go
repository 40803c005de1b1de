package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, p *testProxy, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// issue writes name.crt and name.key, and returns libpq's options for them.
func (a *authority) issue(t *testing.T, p *testProxy, name, subject, spiffe string, until time.Duration, usage x509.ExtKeyUsage) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject, Organization: []string{"Acme"}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(until),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	if spiffe != "" {
		id, err := url.Parse(spiffe)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = []*url.URL{id}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt := p.write(t, name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return fmt.Sprintf("sslcert=%s sslkey=%s", crt, p.write(t, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))))
}

// TestClientCertificates: psql with a certificate is the identity that its
// SPIFFE id or subject stands for, until the certificate ends; others are
// refused in the protocol's words.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{})
	port := freePort(t)
	p := writeProxy(t, permissive, target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	ca := writeCertificate(t, p.dir, "localhost")
	ours, theirs := newAuthority(t, p, "ours"), newAuthority(t, p, "theirs")
	config := strings.Replace(readFile(t, p.config), "tls: {mode: disable}", "tls: {mode: require, cert: cert.pem, key: key.pem}", 1)
	p.write(t, "sallyport.yaml", strings.Replace(config, "identities:", `mtls:
  - ca: ours.pem
    identities:
      - {name: worker, spiffe: "spiffe://acme.internal/ns/rag/sa/worker", groups: [rag]}
      - {name: reports, subject: "CN=reports,O=Acme"}
identities:`, 1))
	p.serve(t)
	psql := func(user, options, statement string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, "psql"), "-XAt", fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=%s dbname=shop sslmode=verify-full sslrootcert=%s %s", port, user, ca, options), "-c", statement)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const id, client = "spiffe://acme.internal/ns/rag/sa/worker", x509.ExtKeyUsageClientAuth
	worker := ours.issue(t, p, "worker", "anything", id, time.Hour, client)
	reports := ours.issue(t, p, "reports", "reports", "", time.Hour, client)
	for name, x := range map[string]struct{ user, options, want string }{
		"spiffe":                    {"worker", worker, ""},
		"subject":                   {"reports", reports, ""},
		"another's":                 {"reports", worker, "does not stand for"},
		"another SPIFFE id":         {"worker", ours.issue(t, p, "w2", "worker", id+"2", time.Hour, client), "does not stand for"},
		"wrong authority":           {"worker", theirs.issue(t, p, "w3", "worker", id, time.Hour, client), "not of an authority"},
		"expired":                   {"worker", ours.issue(t, p, "w4", "worker", id, -time.Minute, client), "expired"},
		"a server's certificate":    {"worker", ours.issue(t, p, "w5", "worker", id, time.Hour, x509.ExtKeyUsageServerAuth), "not of an authority"},
		"no certificate":            {"worker", "sslcert=/none", "none was given"},
		"a password identity's own": {"ana", worker + " password=ana-secret", ""},
	} {
		out, err := psql(x.user, x.options, "SELECT 1")
		switch {
		case x.want == "" && (err != nil || out != "1\n"):
			t.Errorf("%s: %v: %s", name, err, out)
		case x.want != "" && (err == nil || !strings.Contains(out, "certificate authentication failed") || !strings.Contains(out, x.want)):
			t.Errorf("%s: %v: %s, want %q", name, err, out, x.want)
		}
	}
	began := time.Now()
	out, err := psql("worker", ours.issue(t, p, "short", "worker", id, 6*time.Second, client), "SELECT pg_sleep(60)")
	if err == nil || !strings.Contains(out, "the certificate of this session has expired") || time.Since(began) > 20*time.Second {
		t.Errorf("a session past its certificate's end, after %v: %v: %s", time.Since(began), err, out)
	}
	if code, out := runMain(t, "identities", "revoke", "--config", p.config, "worker"); code != 0 {
		t.Fatal(out)
	}
	if out, err := psql("worker", worker, "SELECT 1"); err == nil || !strings.Contains(out, "revoked") {
		t.Errorf("a revoked identity's certificate: %v: %s", err, out)
	}
	if out, err := psql("reports", reports, "SELECT 1"); err != nil {
		t.Errorf("another's: %v: %s", err, out)
	}
}

// TestClientCertificateHTTP: a certificate stands in a token's place on HTTP.
func TestClientCertificateHTTP(t *testing.T) {
	t.Parallel()
	d := startDouble(t)
	port := freePort(t)
	p := &testProxy{dir: t.TempDir()}
	writeCertificate(t, p.dir, "localhost")
	ours, theirs := newAuthority(t, p, "ours"), newAuthority(t, p, "theirs")
	p.write(t, "upstream", "backend-key\n")
	p.write(t, "policy.yaml", permissive)
	p.config = p.write(t, "sallyport.yaml", fmt.Sprintf(`version: 1
policy: policy.yaml
console: {listen: "127.0.0.1:%d"}
mtls:
  - {ca: ours.pem, identities: [{name: worker, spiffe: "spiffe://acme.internal/worker"}]}
targets:
  - name: llm
    protocol: openai
    listen: "127.0.0.1:%d"
    tls: {mode: require, cert: cert.pem, key: key.pem}
    upstream: {url: %q, password: {file: upstream}}
`, freePort(t), port, d.URL))
	p.serve(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(readFile(t, filepath.Join(p.dir, "cert.pem"))))
	ask := func(name string) int {
		t.Helper()
		conf := &tls.Config{RootCAs: roots, ServerName: "localhost"}
		if name != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(p.dir, name+".crt"), filepath.Join(p.dir, name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		transport := &http.Transport{TLSClientConfig: conf}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("https://127.0.0.1:%d/v1/chat/completions", port), strings.NewReader(`{"model":"tiny","messages":[{"role":"user","content":"hello"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	const id, client = "spiffe://acme.internal/worker", x509.ExtKeyUsageClientAuth
	ours.issue(t, p, "good", "x", id, time.Hour, client)
	ours.issue(t, p, "other", "x", id+"2", time.Hour, client)
	theirs.issue(t, p, "foreign", "x", id, time.Hour, client)
	for name, want := range map[string]int{"good": 200, "other": 401, "foreign": 401, "": 401} {
		if got := ask(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	if code, out := runMain(t, "identities", "revoke", "--config", p.config, "worker"); code != 0 {
		t.Fatal(out)
	}
	if got := ask("good"); got != 401 {
		t.Errorf("revoked: %d", got)
	}
}
