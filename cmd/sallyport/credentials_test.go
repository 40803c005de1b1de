package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestBackendUsers: identities and groups are different users of the backend,
// and a password that changes counts for the next login, while open sessions
// go on.
func TestBackendUsers(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	sql(t, s, "shop", "CREATE ROLE reader LOGIN PASSWORD 'reader-secret'; CREATE ROLE sams LOGIN PASSWORD 'sams-secret'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	port := freePort(t)
	p := writeProxy(t, permissive, target{name: "shop", port: port, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	p.write(t, "reader.upstream", "reader-secret\n")
	p.write(t, "sams.upstream", "sams-secret\n")
	p.write(t, "sallyport.yaml", strings.Replace(readFile(t, p.config), "shop.upstream}", "shop.upstream}, users: [{identities: [sam], user: sams, password: {file: sams.upstream}}, {groups: [analyst, support], user: reader, password: {file: reader.upstream}}]", 1))
	p.serve(t)
	as := func(name string) string { return strings.ReplaceAll(twinConn(port), "ana", name) }
	user := func(c *pgx.Conn) (name string) {
		t.Helper()
		if err := c.QueryRow(context.Background(), "SELECT current_user::text").Scan(&name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	ana, dana := connect(t, as("ana")), connect(t, as("dana"))
	for name, c := range map[string]*pgx.Conn{"reader": ana, "sams": connect(t, as("sam")), "backend": dana} {
		if got := user(c); got != name {
			t.Errorf("%s, want %s", got, name)
		}
	}
	if err := execute(context.Background(), ana, "simple", "DELETE FROM orders WHERE id < 0"); !hasCode(err, "42501") {
		t.Errorf("the reader's delete: %v", err)
	}
	sql(t, s, "shop", "ALTER ROLE reader PASSWORD 'reader-secret-2'; ALTER ROLE backend PASSWORD 'backend-secret-2'")
	p.write(t, "reader.upstream", "reader-secret-2\n")
	p.write(t, "shop.upstream", "backend-secret-2\n")
	for _, c := range []*pgx.Conn{ana, dana} { // carried over
		must(t, c, "SELECT 1")
	}
	for name, who := range map[string]string{"reader": "ana", "backend": "dana"} {
		if got := user(connect(t, as(who))); got != name {
			t.Errorf("%s, want %s", got, name)
		}
	}
	sql(t, s, "shop", "ALTER ROLE reader PASSWORD 'reader-secret-3'") // and nobody told the proxy
	if err := tryConnect(as("ana")); !hasCode(err, "08006") || strings.Contains(err.Error(), "reader") {
		t.Errorf("a password that is wrong: %v", err)
	}
	must(t, ana, "SELECT 1")
}

// vaultDouble has a KV secret, and a database role whose users it makes in a
// real server, as Vault's documented API does.
type vaultDouble struct {
	t       *testing.T
	server  *throwaway.Server
	mu      sync.Mutex
	kv      string
	made    int
	read    int // of the key-value store
	revoked []string
}

func (d *vaultDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Header.Get("X-Vault-Token") != "hvs.vault-token" {
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	}
	var answer any
	switch r.URL.Path {
	case "/v1/secret/data/shop":
		d.read++
		answer = map[string]any{"data": map[string]any{"data": map[string]any{"password": d.kv}}}
	case "/v1/database/creds/reader":
		d.made++
		user := fmt.Sprint("v-reader-", d.made)
		sql(d.t, d.server, "shop", fmt.Sprintf(`CREATE ROLE "%s" LOGIN PASSWORD 'vault-made-%d'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "%[1]s"`, user, d.made))
		answer = map[string]any{"lease_id": fmt.Sprint("lease-", d.made), "lease_duration": 3600, "renewable": true, "data": map[string]any{"username": user, "password": fmt.Sprint("vault-made-", d.made)}}
	case "/v1/sys/leases/revoke":
		var body struct {
			ID string `json:"lease_id"`
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		d.revoked = append(d.revoked, body.ID)
		return
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// TestVault: the proxy's own login from a key-value store, a group's from a
// database role; a secret that was rotated is read anew when the old one is
// refused, and nothing of it reaches a client, the log or a transcript.
func TestVault(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	d := &vaultDouble{t: t, server: s, kv: "backend-secret"}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	port := freePort(t)
	p := writeProxy(t, permissive, target{name: "shop", port: port, password: "unused", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	p.write(t, "vault.token", "hvs.vault-token\n")
	config := strings.Replace(readFile(t, p.config), "version: 1\n", fmt.Sprintf("version: 1\nvault: {address: %q, token: {file: vault.token}}\n", srv.URL), 1)
	before, after, _ := strings.Cut(config, "password: {file: "+filepath.Join(p.dir, "shop.upstream")+"}")
	p.write(t, "sallyport.yaml", before+`password: {vault: "secret/shop#password"}, users: [{groups: [analyst], password: {vault_role: "database/reader"}}]`+after)
	p.serve(t)
	as := func(name string) string { return strings.ReplaceAll(twinConn(port), "ana", name) }
	tap := startTap(t, port)
	dana := connect(t, strings.Replace(as("dana"), fmt.Sprint(port), fmt.Sprint(tap.port), 1))
	ana, ana2 := connect(t, strings.Replace(as("ana"), fmt.Sprint(port), fmt.Sprint(tap.port), 1)), connect(t, as("ana"))
	for _, c := range []*pgx.Conn{dana, ana, ana2} {
		must(t, c, "SELECT count(*) FROM customers")
		_ = execute(context.Background(), c, "simple", "SELECT * FROM pg_stat_activity; SHOW ALL")
		_ = execute(context.Background(), c, "simple", "SELECT nonsense")
	}
	if d.made != 1 {
		t.Errorf("%d users were made for two sessions", d.made)
	}
	sql(t, s, "shop", "ALTER ROLE backend PASSWORD 'backend-rotated'")
	d.mu.Lock()
	d.kv = "backend-rotated"
	d.mu.Unlock()
	sam := connect(t, as("sam")) // the remembered one is refused, the new one is not
	must(t, sam, "SELECT 1")
	must(t, dana, "SELECT 1")
	for _, c := range []*pgx.Conn{dana, ana, ana2, sam} {
		c.Close(context.Background())
	}
	secrets := []string{"backend-secret", "backend-rotated", "vault-made-1", "hvs.vault-token", "ana-secret", "dana-secret"}
	nowhere(t, p, tap.bytes(), secrets)
	p.stop()
	p.code <- <-p.code
	d.mu.Lock()
	defer d.mu.Unlock()
	if fmt.Sprint(d.revoked) != "[lease-1]" {
		t.Errorf("leases given back: %v", d.revoked)
	}
}
