package mysql_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

var token = strings.Repeat("t0ken", 40)

// TestClientLogins: passwords by both plugins, tokens by the full exchange of caching_sha2_password.
func TestClientLogins(t *testing.T) {
	r := start(t, setup{})
	for name, change := range map[string]func(c *driver.Config){
		"native":      func(*driver.Config) {},
		"token, RSA":  func(c *driver.Config) { c.User, c.Passwd = "worker", token },
		"no database": func(c *driver.Config) { c.DBName = "" },
	} {
		if err := r.connect(t, change).Ping(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(c *driver.Config){
		"wrong password": func(c *driver.Config) { c.Passwd = "x" }, "no password": func(c *driver.Config) { c.Passwd = "" },
		"wrong token": func(c *driver.Config) { c.User, c.Passwd = "worker", "x" }, "unknown": func(c *driver.Config) { c.User = "eve" },
		"other database": func(c *driver.Config) { c.DBName = "mysql" },
	} {
		if err := r.connect(t, change).Ping(); err == nil {
			t.Errorf("%s: logged in", name)
		}
	}
}

// TestClientTLS: required, it is; tokens cross it in the clear by either plugin.
func TestClientTLS(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{TLS: true})
	folder := filepath.Dir(s.CAFile)
	dir := t.TempDir()
	for _, name := range []string{"server.pem", "server.key"} {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, setup{
		server: s, query: "?tls=verify-full&sslrootcert=" + s.CAFile,
		target: fmt.Sprintf("    tls: {mode: require, cert: %q, key: %q}\n", filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")),
	})
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	secure := func(c *driver.Config) { c.TLS = &tls.Config{RootCAs: roots, ServerName: "localhost"} }
	if err := r.connect(t, nil).Ping(); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("without TLS: %v", err)
	}
	for name, change := range map[string]func(c *driver.Config){
		"password": secure,
		"token":    func(c *driver.Config) { secure(c); c.User, c.Passwd = "worker", token },
		"token in the clear": func(c *driver.Config) {
			secure(c)
			c.User, c.Passwd, c.AllowCleartextPasswords = "worker", token, true
		},
	} {
		db := r.connect(t, change)
		if err := db.Ping(); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := query(t, db, "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'ssl_cipher'"); got != "1" {
			t.Errorf("%s: the upstream's connection has no TLS: %s", name, got)
		}
	}
}

// TestUpstreamLogins: MariaDB's own plugins, right after a restart too.
func TestUpstreamLogins(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{Settings: map[string]string{"plugin-load-add": "auth_ed25519", "plugin-maturity": "unknown"}})
	throwtest.SQL(t, s, "mysql", `CREATE USER signer@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('sécret'); GRANT ALL ON *.* TO signer@'127.0.0.1';
CREATE USER open@'127.0.0.1'; GRANT ALL ON *.* TO open@'127.0.0.1';`)
	for _, l := range [][2]string{{"signer", "sécret"}, {"root", s.Password}} {
		r := start(t, setup{server: s, user: l[0], secret: l[1]})
		if got := query(t, r.connect(t, nil), "SELECT 1"); got != "1" {
			t.Errorf("%s: %s", l[0], got)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if got := query(t, r.connect(t, nil), "SELECT 1"); got != "1" {
			t.Errorf("%s after a restart: %s", l[0], got)
		}
	}
	r := start(t, setup{server: s, user: "signer", secret: "wrong"})
	if err := r.connect(t, nil).Ping(); err == nil || strings.Contains(err.Error(), "signer") {
		t.Errorf("a refused upstream login: %v", err)
	}
}

// TestRestart: a server that restarts in mid-session ends sessions with an error, and new ones go on.
func TestRestart(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{})
	r := start(t, setup{server: s, script: people})
	c := r.raw(t, 0)
	c.alive()
	db := r.connect(t, nil)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	c.command(0x03, []byte("SELECT 1"))
	if b := c.read(); errorCode(b) != 1053 {
		t.Errorf("answered with %q", b)
	}
	if _, err := c.try(); err == nil {
		t.Error("the session goes on")
	}
	if got := query(t, r.connect(t, nil), "SELECT COUNT(*) FROM people"); got != "2" {
		t.Errorf("a new session: %s", got)
	}
}
