package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport-proxy/sallyport/proxy/identity/idptest"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// calling is a proxy that trusts an issuer, before a real server: tokens are
// asked for as the password at port, and by SASL OAUTHBEARER at bearer.
type calling struct {
	*testProxy
	server       *throwaway.Server
	idp          *idptest.Provider
	port, bearer int
}

func startCalling(t *testing.T, policy string) *calling {
	t.Helper()
	c := &calling{server: startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql"))), idp: idptest.Start(t), port: freePort(t), bearer: freePort(t)}
	for _, name := range []string{"rag", "etl"} {
		c.idp.Register(idptest.Client{Subject: name, Audience: []string{"sallyport"}, Claims: map[string]any{"groups": []string{name}}})
	}
	up := fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", c.server.Address())
	c.testProxy = writeProxy(t, policy, target{name: "shop", port: c.port, upstream: up, password: "backend-secret"}, target{name: "bearer", port: c.bearer, upstream: up, password: "backend-secret"})
	config := strings.Replace(readFile(t, c.config), "identities:", fmt.Sprintf("oidc:\n  - {issuer: %q, audience: sallyport, groups: groups, kind: machine, ca: %q}\nidentities:", c.idp.Issuer, c.idp.CA), 1)
	c.write(t, "sallyport.yaml", strings.Replace(config, "name: bearer\n", "name: bearer\n    tokens: oauthbearer\n", 1))
	c.serve(t)
	return c
}

// as is a connection string by a token as the password.
func (c *calling) as(user, token string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=shop sslmode=disable", c.port, user, token)
}

// TestTokenPsql: psql with a token as the password is the identity that the
// token names, masks and all.
func TestTokenPsql(t *testing.T) {
	c := startCalling(t, "version: 1\nclasses: {email: {mask: partial}}\ncolumns: [{class: email, match: ['*.email']}]\nunmask: [{classes: [email], groups: [etl]}]\n")
	psql := func(user, token string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(c.server.BinDir, "psql"), "-XAt", fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=shop sslmode=disable", c.port, user), "-c", "SELECT email FROM customers ORDER BY id LIMIT 1")
		cmd.Env = append(os.Environ(), "PGPASSWORD="+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	clear, err := psql("etl", c.idp.Token(t, "etl"))
	if err != nil {
		t.Fatal(clear)
	}
	masked, err := psql("rag", c.idp.Token(t, "rag"))
	if err != nil || masked == clear || !strings.Contains(masked, "***@") {
		t.Errorf("rag got %q where etl got %q: %v", masked, clear, err)
	}
	for name, x := range map[string]struct{ user, token, want string }{
		"another's token":  {"rag", c.idp.Token(t, "etl"), `names "etl"`},
		"expired":          {"rag", c.idp.Sign(t, c.idp.Claims("rag", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})), "expired"},
		"another audience": {"rag", c.idp.Sign(t, c.idp.Claims("rag", map[string]any{"aud": "elsewhere"})), "another audience"},
		"not a token":      {"rag", "hunter2", "wrong"},
		"a static name":    {"ana", c.idp.Sign(t, c.idp.Claims("ana", map[string]any{"aud": "sallyport"})), "ana"},
	} {
		if out, err := psql(x.user, x.token); err == nil || !strings.Contains(out, "authentication failed") || !strings.Contains(out, x.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if !strings.Contains(c.stderr.tail(1<<20), `"reason":"the token is for another audience"`) {
		t.Error("a refused login is not in the log")
	}
	for _, conn := range []string{twinConn(c.port), twinConn(c.bearer)} { // static identities are as before
		must(t, connect(t, conn), "SELECT 1")
	}
}

// TestBearerLibpq: libpq 18 logs in by SASL OAUTHBEARER; without a token at
// hand it is told where to get one.
func TestBearerLibpq(t *testing.T) {
	c := startCalling(t, permissive)
	run := func(user, token string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, throwtest.Python(t), filepath.Join("..", "..", "testdata", "clients", "oauthbearer.py"),
			fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=shop sslmode=disable require_auth=oauth oauth_issuer=%s oauth_client_id=x", c.bearer, user, c.idp.Issuer), "SELECT count(*) FROM customers")
		cmd.Env = append(os.Environ(), "TOKEN="+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("rag", c.idp.Token(t, "rag"))
	if err != nil || !strings.Contains(out, "libpq 18") || !strings.Contains(out, "asked for a token: "+c.idp.Issuer+"/.well-known/openid-configuration openid") || !strings.Contains(out, "[(") {
		t.Errorf("%v: %s", err, out)
	}
	expired := c.idp.Sign(t, c.idp.Claims("rag", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}))
	for name, x := range map[string]struct{ user, token, want string }{
		"expired":         {"rag", expired, "the token expired at"},
		"another's token": {"etl", c.idp.Token(t, "rag"), `names "rag"`},
	} {
		if out, err := run(x.user, x.token); err == nil || !strings.Contains(out, "OAuth bearer authentication failed") || !strings.Contains(out, x.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestBearerMessages sends what no driver would.
func TestBearerMessages(t *testing.T) {
	c := startCalling(t, permissive)
	token := c.idp.Token(t, "rag")
	for name, x := range map[string]struct {
		first, second, code, challenge string
	}{
		"good":                 {"n,,\x01auth=Bearer " + token + "\x01\x01", "", "", ""},
		"good, named":          {"y,a=rag,\x01host=x\x01auth=bearer   " + token + "\x01\x01", "", "", ""},
		"no token":             {"n,,\x01auth=\x01\x01", "\x01", "28000", "openid-configuration"},
		"no token, not taken":  {"n,,\x01auth=\x01\x01", "again", "", "openid-configuration"},
		"wrong token":          {"n,,\x01auth=Bearer x.y.z\x01\x01", "\x01", "28000", "invalid_token"},
		"channel binding":      {"p=tls-unique,,\x01auth=Bearer x\x01\x01", "", "08P01", ""},
		"another authzid":      {"n,a=etl,\x01auth=Bearer " + token + "\x01\x01", "", "08P01", ""},
		"no header":            {"auth=Bearer x", "", "08P01", ""},
		"basic":                {"n,,\x01auth=Basic abc\x01\x01", "", "08P01", ""},
		"two tokens":           {"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01", "", "08P01", ""},
		"not closed":           {"n,,\x01auth=Bearer a\x01", "", "08P01", ""},
		"bytes behind":         {"n,,\x01auth=Bearer a\x01\x01x", "", "08P01", ""},
		"a space in the token": {"n,,\x01auth=Bearer a b\x01\x01", "", "08P01", ""},
		"another mechanism":    {"", "", "08P01", ""},
	} {
		s := &rawSession{conn: dialTCP(t, c.bearer)}
		startup, err := (&pgproto3.StartupMessage{ProtocolVersion: 196608, Parameters: map[string]string{"user": "rag", "database": "shop"}}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.conn.Write(startup); err != nil {
			t.Fatal(err)
		}
		if f, err := s.read(); err != nil || !strings.Contains(string(f), "OAUTHBEARER\x00\x00") {
			t.Fatalf("%s: %q %v", name, f, err)
		}
		mechanism := "OAUTHBEARER"
		if name == "another mechanism" {
			mechanism = "SCRAM-SHA-256"
		}
		if err := s.send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(x.first)}); err != nil {
			t.Fatal(err)
		}
		f, err := s.read()
		if x.challenge != "" {
			if err != nil || f[0] != 'R' || !strings.Contains(string(f), x.challenge) {
				t.Errorf("%s: %q %v", name, f, err)
			}
			if err := s.send(&pgproto3.SASLResponse{Data: []byte(x.second)}); err != nil {
				t.Fatal(err)
			}
			f, err = s.read()
		}
		switch {
		case x.code == "" && x.challenge != "":
			if err == nil {
				t.Errorf("%s: %q", name, f)
			}
		case x.code == "":
			if err != nil || string(f[5:9]) != "\x00\x00\x00\x00" {
				t.Errorf("%s: %q %v", name, f, err)
			}
		default:
			var m pgproto3.ErrorResponse
			if err != nil || f[0] != 'E' || m.Decode(f[5:]) != nil || m.Code != x.code || m.Severity != "FATAL" {
				t.Errorf("%s: %q %v", name, f, err)
			}
		}
		s.conn.Close()
	}
}

func dialTCP(t *testing.T, port int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// endless is a result that nobody takes to its end. The server makes its rows
// as they are taken.
const endless = "SELECT repeat('x', 1000), generate_series(1, 100000000)"

// reading takes rows of an endless result until the session ends, and says
// when and how it did.
func reading(t *testing.T, c *pgx.Conn) <-chan error {
	t.Helper()
	rows, err := c.Query(context.Background(), endless, pgx.QueryExecModeSimpleProtocol)
	if err != nil || !rows.Next() {
		t.Fatal(err, rows.Err())
	}
	ended := make(chan error, 1)
	go func() {
		for rows.Next() {
		}
		ended <- rows.Err()
	}()
	return ended
}

// within waits for something that must come within a time.
func within(t *testing.T, d time.Duration, what string, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(d):
		t.Errorf("%s: not within %v", what, d)
		return nil
	}
}

// endedBy says whether an error is a session's end with these words, or its
// connection's loss in the midst of a row.
func endedBy(err error, words string) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "57P01" && pe.Severity == "FATAL" && strings.Contains(pe.Message, words)
	}
	return err != nil
}

// TestTokenEnds: a session ends when its token does, idle or in mid-result,
// and others go on.
func TestTokenEnds(t *testing.T) {
	c := startCalling(t, permissive)
	other := connect(t, c.as("etl", c.idp.Token(t, "etl")))
	must(t, other, "SELECT 1") // the schema has been read
	c.idp.Lifetime(6 * time.Second)
	token := c.idp.Token(t, "rag")
	began := time.Now()
	idle, busy := connect(t, c.as("rag", token)), connect(t, c.as("rag", token))
	result := reading(t, busy)
	asleep := make(chan error, 1)
	// Nothing is sent: the end comes by itself.
	go func() { asleep <- idle.PgConn().WaitForNotification(context.Background()) }()
	if err := within(t, 20*time.Second, "idle", asleep); !endedBy(err, "the token of this session has expired") {
		t.Errorf("idle: %v", err)
	}
	if err := within(t, 3*time.Second, "in mid-result", result); !endedBy(err, "the token of this session has expired") {
		t.Errorf("in mid-result: %v", err)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it ended after %v already", took)
	}
	must(t, other, "SELECT 1")
	if err := tryConnect(c.as("rag", token)); !hasCode(err, "28P01") {
		t.Errorf("the expired token again: %v", err)
	}
}

// TestRevoke: revoking an identity ends its sessions within a second, in
// mid-result too, whether the client reads or not; others go on; it holds over
// a restart, until it is taken back.
func TestRevoke(t *testing.T) {
	c := startCalling(t, permissive)
	rag := c.as("rag", c.idp.Token(t, "rag"))
	other, otherBusy := connect(t, c.as("etl", c.idp.Token(t, "etl"))), connect(t, twinConn(c.port))
	othersResult := reading(t, otherBusy)
	idle, busy := connect(t, rag), connect(t, rag)
	result := reading(t, busy)
	deaf := dialRaw(t, rag) // asks, and never reads
	if err := deaf.send(&pgproto3.Query{String: endless}); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.read(); err != nil {
		t.Fatal(err)
	}
	awaitSessions(t, c.testProxy, 5)
	at := time.Now()
	code, out := runMain(t, "identities", "revoke", "--config", c.config, "rag", "--reason", "a test")
	if code != 0 || !strings.Contains(out, "ended 3 sessions of rag") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if err := within(t, time.Second, "in mid-result", result); !endedBy(err, "revoked") {
		t.Errorf("in mid-result: %v", err)
	}
	awaitSessions(t, c.testProxy, 2)
	if took := time.Since(at); took > time.Second {
		t.Errorf("the sessions' end took %v", took)
	}
	if err := idle.Ping(context.Background()); !endedBy(err, "revoked") {
		t.Errorf("idle: %v", err)
	}
	must(t, other, "SELECT 1")
	select {
	case err := <-othersResult:
		t.Errorf("another's result ended: %v", err)
	default:
	}
	refused := func(when string) {
		t.Helper()
		if err := tryConnect(rag); !hasCode(err, "28P01") || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("a new login")
	if code, out := runMain(t, "identities", "revoked", "--config", c.config, "--json"); code != 0 || !strings.Contains(out, `"name":"rag"`) || !strings.Contains(out, "a test") {
		t.Errorf("exit %d: %s", code, out)
	}
	otherBusy.PgConn().Conn().Close() // the drain would wait for it
	<-othersResult
	c.stop()
	c.code <- <-c.code
	c.serve(t)
	refused("after a restart")
	if code, out := runMain(t, "identities", "restore", "--config", c.config, "rag"); code != 0 {
		t.Fatal(out)
	}
	again := connect(t, rag)
	if code, out := runMain(t, "sessions", "kill", "--config", c.config, "--identity", "rag"); code != 0 || !strings.Contains(out, "ended 1 sessions of rag") {
		t.Errorf("exit %d: %s", code, out)
	}
	if err := again.Ping(context.Background()); err == nil {
		t.Error("a killed session goes on")
	}
	must(t, connect(t, rag), "SELECT 1") // killed, not revoked
	for _, args := range [][]string{{"sessions", "kill", "--config", c.config}, {"sessions", "kill", "--config", c.config, "--identity", "x", "y"}, {"identities", "restore", "--config", c.config, "nobody"}} {
		if code, out := runMain(t, args...); code == 0 {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// TestRemoved: an identity that a reload takes away, or an issuer, ends its
// sessions and no others.
func TestRemoved(t *testing.T) {
	c := startCalling(t, permissive)
	ana, sam, rag := connect(t, twinConn(c.port)), connect(t, strings.ReplaceAll(twinConn(c.port), "ana", "sam")), connect(t, c.as("rag", c.idp.Token(t, "rag")))
	config := readFile(t, c.config)
	at := c.stderr.await(t, 0, "ready")
	c.write(t, "ana.secret", "another-secret\n") // rotated: the session is carried over
	c.write(t, "sallyport.yaml", config+"\n")
	at = c.stderr.await(t, at, `"message":"reloaded"`)
	for _, conn := range []*pgx.Conn{ana, sam, rag} {
		must(t, conn, "SELECT 1")
	}
	if err := tryConnect(twinConn(c.port)); !hasCode(err, "28P01") {
		t.Errorf("the old password: %v", err)
	}
	must(t, connect(t, strings.Replace(twinConn(c.port), "ana-secret", "another-secret", 1)), "SELECT 1")
	changed := strings.Replace(config, "groups: [support]", "groups: [dba]", 1)
	changed = changed[:strings.Index(changed, "oidc:")] + changed[strings.Index(changed, "identities:"):]
	c.write(t, "sallyport.yaml", changed)
	c.stderr.await(t, at, `"message":"reloaded"`)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := sam.PgConn().WaitForNotification(ctx); !endedBy(err, "groups were changed") {
		t.Errorf("sam, whose groups were changed: %v", err)
	}
	if err := rag.PgConn().WaitForNotification(ctx); !endedBy(err, "removed") {
		t.Errorf("rag, whose issuer was removed: %v", err)
	}
	must(t, ana, "SELECT 1")
}

// TestManyPasswords: a password tried a thousand times is checked a few times
// only; other names and a good password elsewhere are not held back.
func TestManyPasswords(t *testing.T) {
	c := startCalling(t, permissive)
	limited := 0
	for i := range 1000 {
		conn := strings.Replace(twinConn(c.port), "ana-secret", fmt.Sprint("guess", i), 1)
		err := tryConnect(conn)
		if !hasCode(err, "28P01") {
			t.Fatalf("guess %d: %v", i, err)
		}
		if strings.Contains(err.Error(), "too many failed logins") {
			limited++
		}
	}
	if limited < 900 {
		t.Errorf("%d of 1000 were held back", limited)
	}
	if err := tryConnect(twinConn(c.port)); !hasCode(err, "28P01") {
		t.Errorf("the right password at once after: %v", err)
	}
	must(t, connect(t, strings.ReplaceAll(twinConn(c.port), "ana", "sam")), "SELECT 1")
	must(t, connect(t, c.as("rag", c.idp.Token(t, "rag"))), "SELECT 1")
}

// TestRevokedElsewhere: proxies that share a state follow what one of them
// revokes, within a second.
func TestRevokedElsewhere(t *testing.T) {
	c := startCalling(t, permissive)
	port := freePort(t)
	second := writeProxy(t, permissive, target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", c.server.Address())})
	second.write(t, "sallyport.yaml", strings.Replace(readFile(t, second.config), "identities:", fmt.Sprintf("storage: {state: \"sqlite:%s\"}\nidentities:", filepath.Join(c.dir, "var", "state.db")), 1))
	second.serve(t)
	victim, other := connect(t, twinConn(port)), connect(t, strings.ReplaceAll(twinConn(port), "ana", "sam"))
	result := reading(t, victim)
	if code, out := runMain(t, "identities", "revoke", "--config", c.config, "ana"); code != 0 {
		t.Fatal(out)
	}
	if err := within(t, time.Second, "on another proxy", result); !endedBy(err, "revoked") {
		t.Errorf("on another proxy: %v", err)
	}
	must(t, other, "SELECT 1")
	if err := tryConnect(twinConn(port)); !hasCode(err, "28P01") {
		t.Errorf("a login there: %v", err)
	}
}

// TestTokenApproves: who has a token answers holds as their groups allow, and
// not their own.
func TestTokenApproves(t *testing.T) {
	c := startCalling(t, "version: 1\nrules: [{name: writes, when: 'stmt.action == \"delete\"', then: hold, approvers: {groups: [etl], within: 1m}}]\n")
	c.idp.Register(idptest.Client{Subject: "eva", Audience: []string{"sallyport"}, Claims: map[string]any{"groups": []string{"etl"}}})
	held := func(user string) (<-chan error, string) {
		conn := connect(t, c.as(user, c.idp.Token(t, user)))
		done := make(chan error, 1)
		go func() { done <- execute(context.Background(), conn, "simple", "DELETE FROM orders WHERE id < 0") }()
		for { // until the hold is there
			_, list := runMain(t, "approvals", "list", "--config", c.config, "--json")
			var h struct {
				ID string `json:"id"`
			}
			if json.Unmarshal([]byte(list), &h) == nil && h.ID != "" {
				return done, h.ID
			}
			select {
			case err := <-done:
				t.Fatalf("it was not held: %v", err)
			default:
			}
		}
	}
	answer := func(user, token, id string) (int, string) {
		t.Setenv(passwordVariable, token)
		return runMain(t, "approvals", "approve", "--config", c.config, "--user", user, id)
	}
	done, id := held("etl")
	for name, x := range map[string][2]string{"its own": {"etl", c.idp.Token(t, "etl")}, "another group": {"rag", c.idp.Token(t, "rag")}, "another's token": {"eva", c.idp.Token(t, "etl")}} {
		if code, out := answer(x[0], x[1], id); code == 0 {
			t.Errorf("%s: %s", name, out)
		}
	}
	if code, out := answer("eva", c.idp.Token(t, "eva"), id); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	if err := within(t, 20*time.Second, "the held statement", done); err != nil {
		t.Error(err)
	}
}
