package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/replay"
)

// TestReload: a broken policy is refused and the old one stays; a good one
// counts for the next statement of an open session.
func TestReload(t *testing.T) {
	t.Parallel()
	p, _, conn := shopProxy(t)
	c := connect(t, conn)
	wantRefusal(t, execute(context.Background(), c, "simple", "DELETE FROM orders WHERE true"))
	p.write(t, "policy.yaml", "version: 1\nrules: [{name: x, when: nonsense, then: deny}]\n")
	p.stderr.await(t, 0, "reload refused")
	wantRefusal(t, execute(context.Background(), c, "simple", "DELETE FROM orders WHERE true"))
	p.write(t, "policy.yaml", "version: 1\n")
	p.stderr.await(t, 0, `"message":"reloaded"`)
	must(t, c, "SELECT 1")
	must(t, c, "DELETE FROM orders WHERE true AND id < 0")
}

// TestKillSession ends a session in mid-result and leaves others alone.
func TestKillSession(t *testing.T) {
	t.Parallel()
	h := startHolding(t, "version: 1\n")
	p, conn := h.testProxy, twinConn(h.port)
	other, victim := connect(t, conn), connect(t, conn)
	rows, err := victim.Query(context.Background(), "SELECT repeat('x', 1000) FROM generate_series(1, 10000000)", pgx.QueryExecModeSimpleProtocol)
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	_, list := runMain(t, "sessions", "list", "--config", p.config, "--live", "--json")
	for line := range strings.Lines(list) {
		var s replay.Summary
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		if s.Statements == 1 {
			if code, out := runMain(t, "sessions", "kill", "--config", p.config, s.ID); code != 0 {
				t.Fatal(out)
			}
		}
	}
	n := 0
	for rows.Next() {
		n++
	}
	if rows.Err() == nil || n >= 9_999_999 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	must(t, other, "SELECT 1")
}

// TestConsole: nothing without the token, nothing under another host's name.
func TestConsole(t *testing.T) {
	t.Parallel()
	p, _, conn := shopProxy(t)
	must(t, connect(t, conn), "SELECT 1")
	config := readFile(t, p.config)
	_, rest, _ := strings.Cut(config, "console: {listen: \"")
	address, _, _ := strings.Cut(rest, "\"")
	token := strings.TrimSpace(readFile(t, filepath.Join(p.dir, "var", "keys", "admin.token")))
	for _, c := range []struct {
		path, token, host string
		want              int
	}{
		{"/healthz", "", "", 200}, {"/readyz", "", "", 200}, {"/metrics", "", "", 200}, {"/api/v1/sessions", token, "", 200}, {"/api/v1/status", token, "", 200},
		{"/api/v1/sessions", "", "", 401}, {"/api/v1/sessions", "wrong", "", 401}, {"/api/v1/sessions", token, "evil.example", 421},
		{"/api/v1/sessions/nope", token, "", 404}, {"/api/v1/sessions/..%2f..%2fetc", token, "", 404},
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+address+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		if c.host != "" {
			req.Host = c.host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d: %s", c.path, resp.StatusCode, c.want, body)
		}
	}
}

// TestNoSecretLeaks: no backend credential stands in the proxy's log or in
// anything that it has recorded.
func TestNoSecretLeaks(t *testing.T) {
	t.Parallel()
	p, _, conn := shopProxy(t)
	c := connect(t, conn)
	for _, text := range []string{"SELECT current_user", "SHOW ALL", "SELECT * FROM pg_stat_activity", "SELECT nonsense", "SELECT pg_read_file('x')"} {
		_ = execute(context.Background(), c, "simple", text)
	}
	if got := c.PgConn().ParameterStatus("session_authorization"); got != "ana" {
		t.Errorf("session_authorization is %q", got)
	}
	c.Close(context.Background())
	_, err := pgx.Connect(context.Background(), strings.Replace(conn, "ana-secret", "wrong", 1))
	if !hasCode(err, "28P01") {
		t.Errorf("a wrong password: %v", err)
	}
	_, unknown := pgx.Connect(context.Background(), strings.Replace(conn, "user=ana", "user=nobody", 1))
	if !hasCode(unknown, "28P01") {
		t.Errorf("an unknown user: %v", unknown)
	}
	awaitSessions(t, p, 0)
	secrets := []string{"backend-secret", "ana-secret"}
	for _, secret := range secrets {
		if strings.Contains(p.stderr.tail(1<<20), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
	_, list := runMain(t, "sessions", "list", "--config", p.config, "--json")
	for line := range strings.Lines(list) {
		var sum replay.Summary
		if err := json.Unmarshal([]byte(line), &sum); err != nil {
			t.Fatal(err)
		}
		_, events := runMain(t, "replay", "show", "--config", p.config, "--json", sum.ID)
		for _, secret := range secrets {
			if strings.Contains(events, secret) {
				t.Errorf("the transcript of %s holds %s", sum.ID, secret)
			}
		}
	}
}

// TestRecordedSecrets: constants that meet a classed column are not in the
// record.
func TestRecordedSecrets(t *testing.T) {
	t.Parallel()
	p, _, conn := shopProxy(t)
	c := connect(t, conn)
	ctx := context.Background()
	must(t, c, "SELECT id FROM customers WHERE email = 'quite.secret@example.com'")
	must(t, c, "INSERT INTO customers (name, email, ssn, city, joined) VALUES ('N', 'also.secret@example.com', '999-11-7777', 'Faro', '2026-01-01')")
	if _, err := c.Exec(ctx, "SELECT id FROM customers WHERE email = $1", "bound.secret@example.com"); err != nil {
		t.Fatal(err)
	}
	must(t, c, "PREPARE q (text) AS SELECT id FROM customers WHERE email = $1")
	must(t, c, "EXECUTE q ('executed.secret@example.com')")
	_ = execute(ctx, c, "simple", "SELECT FROM customers WHERE WHERE email = 'broken.secret@example.com'")
	c.Close(ctx)
	awaitSessions(t, p, 0)
	_, out := runMain(t, "replay", "show", "--config", p.config, "--json", "last")
	for _, secret := range []string{"quite.secret", "also.secret", "999-11-7777", "bound.secret", "executed.secret", "broken.secret"} {
		if strings.Contains(out, secret) {
			t.Errorf("the record holds %s", secret)
		}
	}
	if !strings.Contains(out, "‹hmac:") {
		t.Error("nothing was hidden")
	}
}

// TestSealedConstants: constants that meet a classed column can be read by the
// recipients that the policy names, and by nobody else.
func TestSealedConstants(t *testing.T) {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h := startHolding(t, fmt.Sprintf(`version: 1
classes: {email: {mask: partial}}
columns: [{class: email, match: ["*.email"]}]
record: {constants: sealed, recipients: [%s]}
`, key.Recipient()))
	c := h.client(t)
	c.passes(t, "SELECT id FROM customers WHERE email = 'secret@example.com'")
	c.passes(t, "SELECT id FROM customers WHERE email = $1", "param@example.com")
	c.Close(context.Background())
	ids := h.write(t, "ids.txt", key.String()+"\n")
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args []string
		want bool
	}{
		{nil, false}, {[]string{"--unseal", ids}, true}, {[]string{"--unseal", h.write(t, "other.txt", other.String()+"\n")}, false},
	} {
		code, out := runMain(t, append([]string{"replay", "show", "--config", h.config, "last"}, x.args...)...)
		if code != 0 || strings.Contains(out, "secret@") != x.want || strings.Contains(out, "param@") != x.want {
			t.Errorf("%v: exit %d, want the constants %v:\n%s", x.args, code, x.want, out)
		}
	}
	if code, out := runMain(t, "replay", "verify", "--config", h.config); code != 0 {
		t.Error(out)
	}
	bad := h.write(t, "bad.yaml", "version: 1\nrecord: {constants: sealed}\n")
	if code, out := runMain(t, "policy", "check", bad); code != 3 || !strings.Contains(out, "need recipients") {
		t.Errorf("exit %d: %s", code, out)
	}
}
