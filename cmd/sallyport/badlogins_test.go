package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-proxy/sallyport/proxy/identity/idptest"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
	"github.com/sallyport-proxy/sallyport/replay"
)

// everyWire is a proxy that trusts an issuer and an authority, with a target for each wire, and how each logs in:
// with a password or token, or with a certificate where that is empty.
type everyWire struct {
	*testProxy
	idp   *idptest.Provider
	login map[string]func(name, secret string, pair *tls.Certificate) error
	mysql func(name, secret string) (*mysqlclient.Conn, error)
}

func startEveryWire(t *testing.T) *everyWire {
	t.Helper()
	pg := startPostgreSQL(t, throwaway.Options{}, "CREATE TABLE plain (id int);")
	my := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database := throwtest.Database(t, my, "CREATE TABLE plain (id INT PRIMARY KEY); INSERT INTO plain SELECT seq FROM seq_1_to_1000")
	llm := startDouble(t)
	keys := &testProxy{dir: t.TempDir()}
	pgPort, myPort, llmPort := freePort(t), freePort(t), freePort(t)
	backend := keys.write(t, "pg.secret", "backend-secret\n")
	targets := fmt.Sprintf(`  - {name: postgres, protocol: postgres, listen: "127.0.0.1:%d", tls: {mode: require, cert: cert.pem, key: key.pem}, upstream: {url: "postgres://backend@%s/shop?sslmode=disable", password: {file: %s}}}
  - {name: mysql, protocol: mysql, listen: "127.0.0.1:%d", tls: {mode: require, cert: cert.pem, key: key.pem}, upstream: {url: "mysql://root@%s/%s?tls=disable", password: {file: upstream}}}
  - {name: http, protocol: openai, listen: "127.0.0.1:%d", tls: {mode: require, cert: cert.pem, key: key.pem}, upstream: {url: %q, password: {file: %s}}}
identities:
  - {name: ana, password: {file: %[10]s}}
  - {name: sam, password: {file: %[10]s}}
  - {name: robot, kind: machine, token: {file: %[11]s}}
mtls:
  - {ca: %[12]s, identities: [{name: certified, subject: "CN=certified,O=Acme"}]}
`, pgPort, pg.Address(), backend, myPort, my.Address(), database, llmPort, llm.URL, keys.write(t, "llm.key", "backend-key\n"),
		keys.write(t, "secret", "ana-secret\n"), keys.write(t, "robot.token", "robot-token\n"), filepath.Join(keys.dir, "ours.pem"))
	newAuthority(t, keys, "ours")
	p, idp := startTokens(t, "version: 1\n", targets, my.Password)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(readFile(t, filepath.Join(p.dir, "cert.pem"))))
	conf := func(pair *tls.Certificate) *tls.Config {
		c := &tls.Config{RootCAs: roots, ServerName: "localhost"}
		if pair != nil {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
		}
		return c
	}
	w := &everyWire{testProxy: p, idp: idp}
	dial := func(name, secret string, pair *tls.Certificate) (*mysqlclient.Conn, error) {
		return mysqlclient.Connect(fmt.Sprintf("127.0.0.1:%d", myPort), name, secret, database, func(c *mysqlclient.Conn) error { c.SetTLSConfig(conf(pair)); return nil })
	}
	w.mysql = func(name, secret string) (*mysqlclient.Conn, error) { return dial(name, secret, nil) }
	w.login = map[string]func(string, string, *tls.Certificate) error{
		"postgres": func(name, secret string, pair *tls.Certificate) error {
			c, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop sslmode=require", pgPort))
			if err != nil {
				return err
			}
			c.User, c.Password, c.TLSConfig = name, secret, conf(pair)
			conn, err := pgconn.ConnectConfig(context.Background(), c)
			if err == nil {
				err = conn.Close(context.Background())
			}
			return err
		},
		"mysql": func(name, secret string, pair *tls.Certificate) error {
			c, err := dial(name, secret, pair)
			if err == nil {
				err = c.Close()
			}
			return err
		},
		"http": func(_, secret string, pair *tls.Certificate) error {
			req, err := http.NewRequest("GET", fmt.Sprintf("https://127.0.0.1:%d/v1/models", llmPort), nil)
			if err != nil {
				return err
			}
			if secret != "" {
				req.Header.Set("Authorization", "Bearer "+secret)
			}
			transport := &http.Transport{TLSClientConfig: conf(pair)}
			defer transport.CloseIdleConnections()
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		},
	}
	llm.set(say(`{"object":"list","data":[]}`))
	return w
}

// refused are the reasons of refused logins by target and name, as reported.
func (w *everyWire) refused(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	deadline := time.Now().Add(20 * time.Second)
	for seen := -1; len(out) != seen || seen == 0; { // until all is written down
		seen = len(out)
		code, text := runMain(t, "report", "--config", w.config, "--format", "json")
		var a replay.Access
		if err := json.Unmarshal([]byte(text), &a); err != nil || code != 0 {
			t.Fatalf("exit %d, %v: %s", code, err, text)
		}
		for _, r := range a.RefusedLogins {
			out[r.Target+" "+r.Identity] += r.Why + "; "
		}
		if time.Now().After(deadline) {
			break
		}
	}
	return out
}

// TestBadLogins: what is no good token, and a certificate of another authority, are refused on every wire, for their
// own reasons; floods of unknown keys do not reach the issuer; and good tokens pass all the while, also when the
// issuer is gone.
func TestBadLogins(t *testing.T) {
	w := startEveryWire(t)
	now := time.Now()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, id := w.idp.Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	cases := []struct {
		name   string
		token  func(claims map[string]any) string
		change map[string]any
		reason string
	}{
		{"expired", nil, map[string]any{"exp": now.Add(-time.Minute).Unix()}, "expired"},
		{"early", nil, map[string]any{"nbf": now.Add(time.Hour).Unix()}, "not valid before"},
		{"audience", nil, map[string]any{"aud": "elsewhere"}, "another audience"},
		{"unsigned", func(c map[string]any) string {
			return part(map[string]any{"alg": "none", "kid": id}) + "." + part(c) + "."
		}, nil, "algorithm"},
		{"confused", func(c map[string]any) string {
			return idptest.Sign(t, jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), id, c)
		}, nil, "algorithm"},
		{"stranger", func(c map[string]any) string { return idptest.Sign(t, jose.ES256, other, id, c) }, nil, "signature"},
	}
	good := func(when string) {
		t.Helper()
		for wire, login := range w.login {
			if err := login("rag", w.idp.Token(t, "rag"), nil); err != nil {
				t.Errorf("%s: %s: a good token: %v", when, wire, err)
			}
		}
	}
	good("at first")
	for _, c := range cases {
		for wire, login := range w.login {
			claims := w.idp.Claims(c.name, map[string]any{"aud": "sallyport"})
			maps.Copy(claims, c.change)
			token := ""
			if c.token != nil {
				token = c.token(claims)
			} else {
				token = w.idp.Sign(t, claims)
			}
			if err := login(c.name, token, nil); err == nil {
				t.Errorf("%s: %s: it got in", wire, c.name)
			}
		}
	}
	before, began := w.idp.Fetches.Load(), time.Now()
	for i := range 12 {
		for wire, login := range w.login {
			if err := login("flood", idptest.Sign(t, jose.ES256, other, fmt.Sprint(wire, i), w.idp.Claims("flood", map[string]any{"aud": "sallyport"})), nil); err == nil {
				t.Errorf("%s: a token by an unknown key got in", wire)
			}
		}
	}
	if n, most := w.idp.Fetches.Load()-before, 3+int64(time.Since(began)/(10*time.Second)); n > most {
		t.Errorf("%d unknown keys had the key set fetched %d times in %s", 36, n, time.Since(began))
	}
	good("after the flood")
	token := w.idp.Token(t, "rag")
	w.idp.Down()
	for wire, login := range w.login {
		if err := login("rag", token, nil); err != nil {
			t.Errorf("%s: without the issuer: %v", wire, err)
		}
	}
	w.idp.Up()
	theirs := &testProxy{dir: t.TempDir()}
	newAuthority(t, theirs, "theirs").issue(t, theirs, "client", "certified", "", time.Hour, x509.ExtKeyUsageClientAuth)
	pair, err := tls.LoadX509KeyPair(filepath.Join(theirs.dir, "client.crt"), filepath.Join(theirs.dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	for wire, login := range w.login {
		if err := login("certified", "", &pair); err == nil {
			t.Errorf("%s: a certificate of another authority got in", wire)
		}
	}
	why := w.refused(t)
	for _, c := range cases {
		for _, key := range []string{"postgres " + c.name, "mysql " + c.name, "http "} { // HTTP has no user names
			if !strings.Contains(why[key], c.reason) {
				t.Errorf("%s: %s: refused for %q, want %q", key, c.name, why[key], c.reason)
			}
		}
	}
}

// TestManyTries: a password or token tried a thousand times is looked at a few times only, on MySQL's wire and over
// HTTP as on PostgreSQL's (TestManyPasswords), and others are not held back.
func TestManyTries(t *testing.T) {
	w := startEveryWire(t)
	for _, wire := range []string{"mysql", "http"} {
		for i := range 1000 {
			if err := w.login[wire]("ana", "wrong", nil); err == nil {
				t.Fatalf("%s: try %d got in", wire, i)
			}
		}
		secret := map[string]string{"mysql": "ana-secret", "http": "robot-token"}[wire]
		if err := w.login[wire]("sam", secret, nil); err != nil {
			t.Errorf("%s: another identity: %v", wire, err)
		}
	}
	code, out := runMain(t, "report", "--config", w.config, "--format", "json")
	for deadline := time.Now().Add(20 * time.Second); ; code, out = runMain(t, "report", "--config", w.config, "--format", "json") {
		var a replay.Access
		if err := json.Unmarshal([]byte(out), &a); err != nil || code != 0 {
			t.Fatalf("exit %d, %v: %s", code, err, out)
		}
		looked, all := map[string]int64{}, map[string]int64{}
		for _, r := range a.RefusedLogins {
			if all[r.Target] += r.Logins; r.Outcome == "refused" {
				looked[r.Target] += r.Logins
			}
		}
		if all["mysql"] == 1000 && all["http"] == 1000 {
			for wire, n := range looked {
				if n > 200 { // ten at once, and then one in five seconds
					t.Errorf("%s: %d of 1000 tries were looked at", wire, n)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counted: %v", all)
		}
	}
}

// TestMySQLEndsInResult: a token's end, a kill and a revocation each end a session in mid-result, within a second, and
// others go on.
func TestMySQLEndsInResult(t *testing.T) {
	w := startEveryWire(t)
	other, err := w.mysql("etl", w.idp.Token(t, "etl"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, how := range []string{"its token", "a kill", "a revocation"} {
		w.idp.Lifetime(time.Hour)
		if how == "its token" {
			w.idp.Lifetime(6 * time.Second)
		}
		c, err := w.mysql("rag", w.idp.Token(t, "rag"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		flowing, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			n := 0
			var r mysql.Result
			ended <- c.ExecuteSelectStreaming("SELECT a.id, REPEAT('x', 1000) FROM plain a JOIN plain b JOIN plain c", &r, func([]mysql.FieldValue) error {
				if n++; n == 1000 {
					close(flowing)
				}
				return nil
			}, nil)
		}()
		select {
		case <-flowing:
		case err := <-ended:
			t.Fatalf("%s: no rows: %v", how, err)
		case <-time.After(30 * time.Second):
			t.Fatal("no rows")
		}
		limit := time.Second
		switch how {
		case "its token":
			limit = 7 * time.Second
		case "a kill":
			if code, out := runMain(t, "sessions", "kill", "--config", w.config, "--identity", "rag"); code != 0 {
				t.Fatal(out)
			}
		case "a revocation":
			if code, out := runMain(t, "identities", "revoke", "--config", w.config, "rag"); code != 0 {
				t.Fatal(out)
			}
		}
		if err := within(t, limit, how, ended); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: the result came to its end: %v", how, err)
		}
	}
	if _, err := other.Execute("SELECT 1"); err != nil {
		t.Errorf("another's session: %v", err)
	}
	if err := w.login["mysql"]("rag", w.idp.Token(t, "rag"), nil); err == nil {
		t.Error("a revoked identity's next token logs it in")
	}
}
