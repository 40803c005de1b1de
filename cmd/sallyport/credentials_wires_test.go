package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// vaulted gives a proxy's only target a password of Vault's.
func vaulted(t *testing.T, p *testProxy, d *vaultDouble) {
	t.Helper()
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	p.write(t, "vault.token", "hvs.vault-token\n")
	config := strings.Replace(readFile(t, p.config), "version: 1\n", fmt.Sprintf("version: 1\nvault: {address: %q, token: {file: vault.token}}\n", srv.URL), 1)
	at := strings.LastIndex(config, "password: {file: ")
	end := at + strings.Index(config[at:], "}") + 1
	p.write(t, "sallyport.yaml", config[:at]+`password: {vault: "secret/shop#password"}`+config[end:])
}

func (d *vaultDouble) set(kv string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kv = kv
}

func (d *vaultDouble) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read
}

// TestVaultMySQL: a password of Vault's on MySQL's wire, by both plugins. One that was rotated is read anew when the
// old one is refused, open sessions go on, one that stays refused is not asked for at each login, and nothing of
// either reaches a client, the log or a transcript.
func TestVaultMySQL(t *testing.T) {
	for _, x := range []struct{ release, plugin string }{{"", "mysql_native_password"}, {throwaway.MySQL8, "caching_sha2_password"}} {
		t.Run(x.plugin, func(t *testing.T) {
			s := throwtest.Maria(t, throwaway.MariaOptions{Release: x.release})
			database := throwtest.Database(t, s, "CREATE TABLE customers (id INT PRIMARY KEY, email VARCHAR(100)); INSERT INTO customers VALUES (1, 'ana@example.com')")
			identified := func(verb, password string) {
				t.Helper()
				how := fmt.Sprintf("IDENTIFIED WITH %s BY '%s'", x.plugin, password)
				if x.release == "" {
					how = fmt.Sprintf("IDENTIFIED VIA %s USING PASSWORD('%s')", x.plugin, password)
				}
				throwtest.SQL(t, s, "mysql", fmt.Sprintf("%s USER backend@'127.0.0.1' %s; GRANT ALL ON *.* TO backend@'127.0.0.1';", verb, how))
			}
			identified("CREATE", "backend-secret")
			d := &vaultDouble{t: t, kv: "backend-secret"}
			port := freePort(t)
			p := writeProxy(t, myPolicy, target{name: "shop", port: port, protocol: "mysql", password: "unused", upstream: fmt.Sprintf("mysql://backend@%s/%s?tls=disable", s.Address(), database)})
			vaulted(t, p, d)
			p.serve(t)
			tap := startTap(t, port)
			dial := func() (*mysqlclient.Conn, error) {
				return mysqlclient.Connect(fmt.Sprintf("127.0.0.1:%d", tap.port), "ana", "ana-secret", database)
			}
			connected := func() *mysqlclient.Conn {
				t.Helper()
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			look := func(c *mysqlclient.Conn) {
				t.Helper()
				if r, err := c.Execute("SELECT COUNT(*) FROM customers"); err != nil || r.RowNumber() != 1 {
					t.Errorf("%v", err)
				}
				for _, text := range []string{
					"SHOW VARIABLES", "SHOW FULL PROCESSLIST", "SHOW GRANTS", "SELECT CURRENT_USER(), USER()", "SELECT nonsense", "SHOW CREATE USER backend@'127.0.0.1'",
					"SELECT * FROM performance_schema.session_connect_attrs", "SELECT * FROM mysql.user", "SHOW STATUS", "SHOW WARNINGS",
				} {
					_, _ = c.Execute(text)
				}
				if st, err := c.Prepare("SELECT email FROM customers WHERE id = ?"); err == nil {
					_, _ = st.Execute(1)
				}
			}
			first := connected()
			look(first)
			identified("ALTER", "backend-rotated")
			d.set("backend-rotated")
			second := connected() // the remembered one is refused, the new one is not
			look(second)
			look(first)
			identified("ALTER", "backend-nobody-knows")
			before := d.asked()
			for range 30 {
				if c, err := dial(); err == nil {
					t.Error("a login with a refused credential")
					c.Close()
				} else if strings.Contains(err.Error(), "backend") {
					t.Errorf("the client is told of the backend's user: %v", err)
				}
			}
			if n := d.asked() - before; n < 1 || n > 20 {
				t.Errorf("Vault was asked %d times in 30 refused logins", n)
			}
			look(first) // carried over
			if _, err := mysqlclient.Connect(fmt.Sprintf("127.0.0.1:%d", tap.port), "ana", "backend-nobody-knows", database); err == nil {
				t.Error("the backend's password is the proxy's")
			}
			first.Close()
			second.Close()
			if log := p.stderr.tail(1 << 24); !strings.Contains(log, `"changed":true`) || !strings.Contains(log, `"changed":false`) {
				t.Error("the log does not say that the credential was refused and read anew")
			}
			nowhere(t, p, tap.bytes(), []string{"backend-secret", "backend-rotated", "backend-nobody-knows", "hvs.vault-token", "ana-secret", s.Password})
		})
	}
}

// TestVaultHTTP: the same of a store's key over HTTP: one that was rotated is read anew when the store refuses it, in
// the midst of a session; a write is not sent twice; and the words in which a store refuses the proxy's key are kept
// from clients.
func TestVaultHTTP(t *testing.T) {
	double := startDouble(t)
	d := &vaultDouble{t: t, kv: "sk-backend-secret"}
	key, done := "sk-backend-secret", 0
	double.set(func(w http.ResponseWriter, path, body string) {
		double.mu.Lock()
		got := strings.TrimPrefix(double.header.Get("Authorization"), "Bearer ")
		fits := got == key
		if fits {
			done++
		}
		double.mu.Unlock()
		if !fits {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s","type":"invalid_request_error","code":"invalid_api_key"}}`, got)
			return
		}
		say(`{"id":"c","object":"chat.completion","model":"tiny","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}}`)(w, path, body)
	})
	p := &testProxy{dir: t.TempDir()}
	port := freePort(t)
	p.config = p.write(t, "sallyport.yaml", fmt.Sprintf("version: 1\npolicy: policy.yaml\nconsole: {listen: \"127.0.0.1:%d\"}\nidentities:\n  - {name: rag, kind: machine, token: {file: %s}}\ntargets:\n  - name: llm\n    protocol: openai\n    listen: \"127.0.0.1:%d\"\n    tls: {mode: disable}\n    idle: 1s\n    upstream: {url: %q, password: {file: unused}}\n",
		freePort(t), p.write(t, "rag.token", "rag-token\n"), port, double.URL))
	p.write(t, "policy.yaml", "version: 1\n")
	vaulted(t, p, d)
	p.serve(t)
	tap := startTap(t, port)
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // the tap waits for them
	chat := func() (int, string) {
		t.Helper()
		req, err := http.NewRequest("POST", fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", tap.port), strings.NewReader(`{"model":"tiny","messages":[{"role":"user","content":"Well?"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer rag-token")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for i, kv := range []string{"sk-backend-secret", "sk-backend-rotated", "sk-backend-again"} {
		d.set(kv)
		double.mu.Lock()
		key = kv
		double.mu.Unlock()
		for range 3 {
			if status, body := chat(); status != 200 {
				t.Errorf("%s: %d %s", kv, status, body)
			}
		}
		if done != 3*(i+1) {
			t.Errorf("%s: the store has answered %d of %d", kv, done, 3*(i+1))
		}
	}
	double.mu.Lock()
	key = "sk-nobody-knows"
	double.mu.Unlock()
	before := d.asked()
	for range 50 {
		if status, body := chat(); status != http.StatusBadGateway || strings.Contains(body, "sk-") || !strings.Contains(body, "credential") {
			t.Fatalf("a store that refuses the proxy: %d %s", status, body)
		}
	}
	if n := d.asked() - before; n > 20 {
		t.Errorf("Vault was asked %d times in 50 refused requests", n)
	}
	nowhere(t, p, tap.bytes(), []string{"sk-backend", "hvs.vault-token", "rag-token", "sk-nobody"})
}

// TestVectorCredentials: through the vector stores' own wires, in every answer, good and bad, nothing is seen of the
// store's key, which a refusing store quotes.
func TestVectorCredentials(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Api-Key") + r.Header.Get("X-Chroma-Token") + r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Echo", key)
		w.WriteHeader([]int{401, 403, 302, 200}[len(r.URL.Path)%4])
		fmt.Fprintf(w, `{"status":{"error":"the key %s is not good"},"error":"%[1]s","result":null}`, key)
	}))
	t.Cleanup(store.Close)
	address := strings.TrimPrefix(store.URL, "http://")
	v := startVector(t, "version: 1\n", map[string]string{"qdrant": address, "chroma": address})
	var sent strings.Builder
	statuses := map[int]bool{}
	for _, name := range []string{"qdrant", "chroma"} {
		for _, path := range []string{"/collections", "/collections/a", "/collections/ab", "/collections/abc", "/collections/abcd", "/api/v2/heartbeat", "/api/v2/tenants/t/databases/d/collections",
			"/api/v2/tenants/t/databases/de/collections", "/api/v2/tenants/t/databases/def/collections", "/api/v2/tenants/t/databases/defg/collections"} {
			got := do(t, "GET", "http://"+v.at[name]+path, "worker-token", "")
			statuses[got.status] = true
			sent.WriteString(got.body)
			if err := got.header.Write(&sent); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !statuses[http.StatusBadGateway] || !statuses[http.StatusForbidden] {
		t.Errorf("statuses %v: the store's refusals were not met", statuses)
	}
	if code, out := runMain(t, "sessions", "kill", "--config", v.config, "--identity", "worker"); code != 0 {
		t.Fatal(out)
	}
	nowhere(t, v.testProxy, []byte(sent.String()), []string{"backend-key", "worker-token"})
}
