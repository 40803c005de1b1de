package proxy

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/protocols"
)

var known = []protocols.Protocol{{Name: "postgres", DefaultPort: 5432, Schemes: []string{"postgres"}, TLSMode: func(q url.Values) (string, error) {
	if m, ok := map[string]string{"": "verify-full", "disable": "disable"}[q.Get("sslmode")]; ok {
		return m, nil
	}
	return "", errors.New("sslmode must be something else")
}}}

func loadText(t *testing.T, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path, known)
}

func TestConfigDefaults(t *testing.T) {
	c, err := loadText(t, `version: 1
policy: policy.yaml
targets:
  - name: app
    protocol: postgres
    listen: "127.0.0.1:6432"
    tls: {mode: disable}
    upstream: {url: "postgres://app@db.internal/app", password: {env: APP}}
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Keys != filepath.Join(c.Dir, "var/keys") || c.Transcripts.Dir != filepath.Join(c.Dir, "var/transcripts") || c.Policy != filepath.Join(c.Dir, "policy.yaml") {
		t.Errorf("%+v", c)
	}
	if got := c.Targets[0].Upstream.TLSMode; got != "verify-full" {
		t.Errorf("sslmode %s", got)
	}
}

// TestConfigProblems: all at once, each with its place.
func TestConfigProblems(t *testing.T) {
	_, err := loadText(t, `version: 1
polisy: x
console: {listen: "0.0.0.0:7070"}
identities:
  - {name: a, password: secret}
  - {name: a, password: {env: A}, token: {env: B}}
oidc:
  - {issuer: "http://idp.example", audience: sallyport}
  - {issuer: "https://idp.example"}
mtls:
  - {ca: ca.pem, identities: [{name: w, spiffe: "https://x/y"}, {name: v, spiffe: "spiffe://x/y", subject: "CN=v"}]}
targets:
  - name: one
    protocol: oracle
    listen: "0.0.0.0:6432"
    tls: {mode: disable}
    upstream: {url: "postgres://app:hunter2@db/app"}
  - name: two
    protocol: postgres
    listen: "0.0.0.0:6433"
    tls: {mode: disable}
    upstream: {url: "postgres://app@db/app?sslmode=sometimes"}
  - name: three
    protocol: postgres
    listen: nowhere
    tls: {mode: require}
    upstream: {url: "mysql://app@db/app"}
`)
	if err == nil {
		t.Fatal("it was loaded")
	}
	for _, want := range []string{
		"sallyport.yaml:2:1: unknown key \"polisy\"", "key \"policy\" is missing", "console listens on loopback only", "a secret never stands in the file",
		"needs a password or a token", "must be an https URL", "needs issuer, audience and name", "must be spiffe://", "one of spiffe and subject", "must be one of postgres", "the URL holds a password", "loopback only", "sslmode must be",
		"must be HOST:PORT", "needs cert and key", "must be postgres://",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("an error tells a password")
	}
}

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	a, err := LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadKeys(dir)
	if err != nil || a.AdminToken != b.AdminToken || string(a.Sign) != string(b.Sign) || string(a.Hash) != string(b.Hash) || len(a.AdminToken) != 64 {
		t.Errorf("the keys changed between two starts (%v)", err)
	}
	for _, name := range []string{"admin.token", "sign.key", "sign.pub", "hash.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	pub, err := ReadPublicKey(filepath.Join(dir, "sign.pub"))
	if err != nil || !pub.Equal(a.Sign.Public()) {
		t.Errorf("sign.pub is not sign.key's (%v)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sign.key"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(dir); err == nil {
		t.Error("a broken key was taken")
	}
}
