package mysql_test

import (
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// TestMySQL8Logins: caching_sha2_password upstream. A server that has just
// started has no cache and asks for the whole password, under its RSA key or
// over TLS; after that it is content with a proof.
func TestMySQL8Logins(t *testing.T) {
	t.Setenv("GODEBUG", "tlsrsakex=1") // this release knows no other key exchange that Go has
	s := throwtest.Maria(t, throwaway.MariaOptions{Release: throwaway.MySQL8, TLS: true})
	throwtest.SQL(t, s, "mysql", `CREATE USER sha@'127.0.0.1' IDENTIFIED WITH caching_sha2_password BY 'sécret'; GRANT ALL ON *.* TO sha@'127.0.0.1';
CREATE USER old@'127.0.0.1' IDENTIFIED WITH mysql_native_password BY 'sécret'; GRANT ALL ON *.* TO old@'127.0.0.1';`)
	for _, l := range []struct{ user, query, cipher string }{
		{"sha", "?tls=disable", ""},
		{"sha", "?tls=verify-full&sslrootcert=" + s.CAFile, "AES"},
		{"old", "?tls=disable", ""},
		{"old", "?tls=verify-full&sslrootcert=" + s.CAFile, "AES"},
	} {
		t.Run(l.user+l.query[:8], func(t *testing.T) {
			r := start(t, setup{server: s, user: l.user, secret: "sécret", query: l.query})
			for _, when := range []string{"at first", "again", "after a restart", "and again"} {
				if when == "after a restart" {
					if err := s.Restart(); err != nil {
						t.Fatal(err)
					}
				}
				// A session's own login is whole or fast; the proxy's reader of the schema logs in too.
				got := query(t, r.connect(t, nil), "SELECT CURRENT_USER(), variable_value FROM performance_schema.session_status WHERE variable_name = 'Ssl_cipher'")
				user, cipher, _ := strings.Cut(got, "|")
				if user != l.user+"@127.0.0.1" || (cipher != "") != (l.cipher != "") || !strings.Contains(cipher, l.cipher) {
					t.Errorf("%s: %s", when, got)
				}
			}
		})
	}
	r := start(t, setup{server: s, user: "sha", secret: "wrong"})
	if err := r.connect(t, nil).Ping(); err == nil || strings.Contains(err.Error(), "sha") {
		t.Errorf("a refused upstream login: %v", err)
	}
}

// TestMySQL8 plays the wire's scenarios on MySQL 8: its greeting, masks in both
// formats, several results, a refusal, big messages, its own types.
func TestMySQL8(t *testing.T) {
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{Release: throwaway.MySQL8, Settings: map[string]string{"local-infile": "1"}})
	r := start(t, setup{server: s, policy: classes, script: people + `
CREATE TABLE big (id INT, body LONGTEXT);
CREATE TABLE kinds (id INT PRIMARY KEY, doc JSON, at DATETIME(6), bits BIT(10), y YEAR, e ENUM('a','b'), s SET('x','y'), g GEOMETRY, t TIME(3));
INSERT INTO kinds VALUES (1, '{"a": [1, null]}', '2026-01-02 03:04:05.000006', b'1010', 2026, 'b', 'x,y', ST_GeomFromText('POINT(1 2)'), '-12:34:56.789');
DELIMITER $$
CREATE PROCEDURE two() BEGIN SELECT id FROM people; SELECT name FROM people; END$$
DELIMITER ;`})
	db := r.connect(t, func(c *driver.Config) { c.MultiStatements, c.MaxAllowedPacket = true, 1<<30 })
	for text, want := range map[string]string{
		"SELECT VERSION(), @@version_comment LIKE 'MySQL%'":     "8.0.15|1",
		"SELECT id, name, email, born, salary, ssn FROM people": "1|Ada|a***@example.org|1815-12-10|9000|[redacted]\n2|Bob|NULL|NULL|NULL|[redacted]",
		"CALL two()": "1\n2\nAda\nBob",
		"SELECT id FROM people; SELECT email FROM people; SELECT 3":     "1\n2\na***@example.org\nNULL\n3",
		"SELECT doc, at, bits + 0, y, e, s, ST_AsText(g), t FROM kinds": `{"a": [1, null]}|2026-01-02 03:04:05.000006|10|2026|b|x,y|POINT(1 2)|-12:34:56.789`,
	} {
		if got := query(t, db, text); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"SELECT id, name, email, born, salary, ssn FROM people WHERE id > ?": "1|Ada|a***@example.org|1815-12-10|9000|[redacted]\n2|Bob|NULL|NULL|NULL|[redacted]",
		"SELECT doc, at, bits + 0, y, e, s, t FROM kinds WHERE id > ?":       `{"a": [1, null]}|2026-01-02 03:04:05.000006|10|2026|b|x,y|-12:34:56.789`,
	} {
		if got := query(t, db, text, 0); got != want {
			t.Errorf("prepared %s:\n%s\nwant\n%s", text, got, want)
		}
	}
	body := strings.Repeat("x", 1<<24+5)
	if _, err := db.Exec("INSERT INTO big VALUES (?, ?)", 1, body); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := db.QueryRow("SELECT body FROM big WHERE id = ?", 1).Scan(&got); err != nil || got != body {
		t.Errorf("a long row comes back as %d bytes: %v", len(got), err)
	}
}
