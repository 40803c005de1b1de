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
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestUpstreamAuthentication takes each way in that a server asks for.
func TestUpstreamAuthentication(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{TLS: true, HBA: []string{
		"host m all 127.0.0.1/32 md5", "host p all 127.0.0.1/32 password", "host t all 127.0.0.1/32 trust", "host n all 127.0.0.1/32 reject",
		"hostssl s all 127.0.0.1/32 scram-sha-256", "host shop all 127.0.0.1/32 scram-sha-256",
	}})
	sql(t, s, "postgres", "CREATE DATABASE m")
	sql(t, s, "postgres", "CREATE DATABASE p")
	sql(t, s, "postgres", "CREATE DATABASE t")
	sql(t, s, "postgres", "CREATE DATABASE n")
	sql(t, s, "postgres", "CREATE DATABASE s")
	sql(t, s, "postgres", "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'backend-secret'")
	full := "sslmode=verify-full&sslrootcert=" + s.CAFile
	var targets []target
	cases := []struct {
		name, user, database, query, password string
		ok                                    bool
	}{
		{"scram", "backend", "shop", "sslmode=disable", "backend-secret", true},
		{"scram over TLS, bound", "backend", "s", full, "backend-secret", true},
		{"scram, wrong password", "backend", "shop", "sslmode=disable", "nope", false},
		{"md5", "old", "m", "sslmode=disable", "backend-secret", true},
		{"md5, wrong password", "old", "m", "sslmode=disable", "nope", false},
		{"cleartext on loopback", "backend", "p", "sslmode=disable", "backend-secret", true},
		{"cleartext over TLS", "backend", "p", full, "backend-secret", true},
		{"trust", "backend", "t", "sslmode=disable", "unused", true},
		{"rejected", "backend", "n", "sslmode=disable", "backend-secret", false},
		{"TLS asked for, plain refused", "backend", "s", "sslmode=disable", "backend-secret", false},
		{"verify-full by another authority", "backend", "s", "sslmode=verify-full", "backend-secret", false},
		{"prefer", "backend", "s", "sslmode=prefer", "backend-secret", true},
	}
	for i, c := range cases {
		targets = append(targets, target{name: fmt.Sprint("t", i), port: freePort(t), password: c.password,
			upstream: fmt.Sprintf("postgres://%s@%s/%s?%s", c.user, s.Address(), c.database, c.query)})
	}
	p := startProxy(t, "version: 1\n", targets...)
	for i, c := range cases {
		conn := strings.Replace(twinConn(targets[i].port), "dbname=shop", "dbname="+c.database, 1)
		if c.ok {
			must(t, connect(t, conn), "SELECT 1")
			continue
		}
		err := tryConnect(conn)
		if !hasCode(err, "08006") || strings.Contains(err.Error(), "backend") || strings.Contains(err.Error(), "old") {
			t.Errorf("%s: %v, want 08006 without the backend's name", c.name, err)
		}
	}
	if log := p.stderr.tail(1 << 20); strings.Contains(log, "backend-secret") {
		t.Error("the log holds a password")
	}
}

// TestUpstreamCertificate logs in upstream with a client certificate, which
// stands for the role that it names and no other.
func TestUpstreamCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := writeCertificate(t, dir, "backend")
	for path, mode := range map[string]os.FileMode{ca: 0o644, dir: 0o755, filepath.Dir(dir): 0o755} { // the server reads it, as another user
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	s := startPostgreSQL(t, throwaway.Options{TLS: true, Settings: map[string]string{"ssl_ca_file": ca}, HBA: []string{"hostssl shop all 127.0.0.1/32 cert"}})
	var targets []target
	for i, user := range []string{"backend", "postgres", "backend"} {
		targets = append(targets, target{name: fmt.Sprint("t", i), port: freePort(t), password: "unused",
			upstream: fmt.Sprintf("postgres://%s@%s/shop?sslmode=verify-full&sslrootcert=%s", user, s.Address(), s.CAFile)})
	}
	p := writeProxy(t, "version: 1\n", targets...)
	config := readFile(t, p.config)
	for i := range 2 { // the third has none
		config = strings.Replace(config, fmt.Sprintf("t%d.upstream}", i), fmt.Sprintf("t%d.upstream}, cert: %s, key: %s", i, ca, filepath.Join(dir, "key.pem")), 1)
	}
	p.write(t, "sallyport.yaml", config)
	p.serve(t)
	must(t, connect(t, twinConn(targets[0].port)), "SELECT 1")
	for _, tg := range targets[1:] {
		if err := tryConnect(twinConn(tg.port)); !hasCode(err, "08006") {
			t.Errorf("%s: %v, want 08006", tg.upstream, err)
		}
	}
}

func tryConnect(conn string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, conn)
	if err == nil {
		err = c.Close(ctx)
	}
	return err
}

// TestClientTLS: libpq insists on TLS, the right name and channel binding;
// plaintext is refused.
func TestClientTLS(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{})
	port := freePort(t)
	p := startProxy(t, "version: 1\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	p.stop()
	p.code <- <-p.code
	ca := writeCertificate(t, p.dir, "localhost")
	config := strings.Replace(readFile(t, p.config), "tls: {mode: disable}", "tls: {mode: require, cert: cert.pem, key: key.pem}", 1)
	p.write(t, "sallyport.yaml", config)
	cmd := serveChild(t, p.config)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	psql := func(conn string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, "psql"), "-XAt", fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=ana password=ana-secret dbname=shop %s", port, conn), "-c", "SELECT 1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := psql("sslmode=verify-full channel_binding=require sslrootcert=" + ca); err != nil || out != "1\n" {
		t.Errorf("verify-full with channel binding: %v\n%s", err, out)
	}
	if out, err := psql("sslmode=require channel_binding=disable"); err != nil || out != "1\n" {
		t.Errorf("without channel binding: %v\n%s", err, out)
	}
	if answer := smuggle(t, port); !strings.HasPrefix(answer, "S") || strings.Contains(answer, "SCRAM") {
		t.Errorf("smuggled bytes were answered: %q", answer)
	}
	// Who can bind, and was told by somebody in between that we cannot, is not let in (RFC 5802 §6).
	for name, x := range map[string]struct {
		mechanism, header string
		answer            string
	}{
		"binds":                   {"SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", "R"},
		"cannot bind":             {"SCRAM-SHA-256", "n,,", "R"},
		"was told that we cannot": {"SCRAM-SHA-256", "y,,", "E28P01"},
		"binds by name only":      {"SCRAM-SHA-256-PLUS", "n,,", "E28P01"},
		"binds another way":       {"SCRAM-SHA-256-PLUS", "p=tls-unique,,", "E28P01"},
		"another mechanism":       {"SCRAM-SHA-1", "n,,", "E08P01"},
	} {
		if got := scramFirst(t, port, x.mechanism, x.header); got != x.answer {
			t.Errorf("SCRAM, %s: %s, want %s", name, got, x.answer)
		}
	}
	if out, err := psql("sslmode=disable"); err == nil || !strings.Contains(out, "encrypted connections only") {
		t.Errorf("plaintext: %v\n%s", err, out)
	}
}

// scramFirst begins a login over TLS and says how its first message is answered: by the type of what came, and an
// error's code.
func scramFirst(t *testing.T, port int, mechanism, header string) string {
	t.Helper()
	plain := dialTCP(t, port)
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(plain, "\x00\x00\x00\x08\x04\xd2\x16\x2f"); err != nil {
		t.Fatal(err)
	}
	var yes [1]byte
	if _, err := io.ReadFull(plain, yes[:]); err != nil || yes[0] != 'S' {
		t.Fatalf("TLS: %q, %v", yes, err)
	}
	s := &rawSession{conn: tls.Client(plain, &tls.Config{InsecureSkipVerify: true})}
	startup, err := (&pgproto3.StartupMessage{ProtocolVersion: 196608, Parameters: map[string]string{"user": "ana", "database": "shop"}}).Encode(nil)
	if err == nil {
		_, err = s.conn.Write(startup)
	}
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.read(); err != nil || !strings.Contains(string(f), "SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00") {
		t.Fatalf("mechanisms: %q %v", f, err)
	}
	if err := s.send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(header + "n=,r=abcdefghijklmnop")}); err != nil {
		t.Fatal(err)
	}
	f, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	var m pgproto3.ErrorResponse
	if f[0] != 'E' || m.Decode(f[5:]) != nil {
		return string(f[:1])
	}
	return "E" + m.Code
}

// smuggle sends a TLS request with a start-up packet behind it in the clear,
// in one write: what was buffered before TLS must not count (CVE-2021-23214).
func smuggle(t *testing.T, port int) string {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	startup := "\x00\x03\x00\x00user\x00ana\x00database\x00shop\x00\x00"
	if _, err := io.WriteString(c, "\x00\x00\x00\x08\x04\xd2\x16\x2f\x00\x00\x00"+string(rune(len(startup)+4))+startup); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// writeCertificate makes a certificate of its own authority for a name, on
// localhost.
func writeCertificate(t *testing.T, dir, name string) (ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert.pem")
}
