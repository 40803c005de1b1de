package identity_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/proxy/identity/idptest"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// clock is a time that tests move.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

type fixture struct {
	*idptest.Provider
	clock clock
	book  *identity.Book
}

func start(t *testing.T) *fixture {
	f := &fixture{Provider: idptest.Start(t)}
	f.Register(idptest.Client{Subject: "rag", Audience: []string{"sallyport"}, Claims: map[string]any{"groups": []string{"rag", "readers"}, "realm": map[string]any{"roles": []string{"deep"}}}})
	f.Register(idptest.Client{Subject: "ana", Audience: []string{"sallyport"}})
	issuer, err := identity.NewIssuer(identity.IssuerOptions{Issuer: f.Issuer, Audience: "sallyport", Name: "sub", Groups: "groups", Kind: "machine", CA: f.CA,
		Skew: 30 * time.Second, Stale: time.Hour, Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	f.book, err = identity.NewBook([]identity.Static{{Identity: facts.Identity{Name: "ana"}, Password: "pw"}}, []*identity.Issuer{issuer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) login(user, token string) (identity.Caller, error) {
	return f.book.Identify(context.Background(), protocols.Login{User: user, Method: "token", Secret: token, Address: "10.0.0.1"})
}

// TestToken takes a token of the provider's own making.
func TestToken(t *testing.T) {
	f := start(t)
	for _, algorithm := range []string{"ES256", "RS256", "PS256"} {
		f.clock.move(time.Minute) // a new key may be looked for
		f.Rotate(t, "key of "+algorithm, algorithm)
		for _, user := range []string{"rag", ""} {
			c, err := f.login(user, f.Token(t, "rag"))
			if err != nil {
				t.Fatalf("%s: %v", algorithm, err)
			}
			if c.Name != "rag" || c.Kind != "machine" || !slices.Equal(c.Groups, []string{"rag", "readers"}) || c.Address != "10.0.0.1" || c.By != "oidc "+f.Issuer {
				t.Errorf("%+v", c)
			}
			if left := time.Until(c.Expires); left < 59*time.Minute || left > 61*time.Minute {
				t.Errorf("expires in %v", left)
			}
			if c.Claims["iss"] != f.Issuer {
				t.Errorf("claims %v", c.Claims)
			}
		}
	}
}

// TestBadTokens: each is refused, for its own reason.
func TestBadTokens(t *testing.T) {
	f := start(t)
	now := time.Now()
	sign := func(changes map[string]any) string { return f.Sign(t, f.Claims("rag", changes)) }
	public, id := f.Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(nil)
	parts := strings.Split(good, ".")
	claims, err := json.Marshal(f.Claims("rag", nil))
	if err != nil {
		t.Fatal(err)
	}
	raw := func(head string, sig string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString(claims) + "." + sig
	}
	hmacOf := func(secret []byte) string {
		return idptest.Sign(t, jose.HS256, append(secret, bytes.Repeat([]byte{0}, max(0, 32-len(secret)))...), id, f.Claims("rag", nil))
	}
	for name, c := range map[string]struct{ user, token, reason string }{
		"good":                   {"rag", good, ""},
		"expired":                {"rag", sign(map[string]any{"exp": now.Add(-time.Second).Unix()}), "expired"},
		"no end":                 {"rag", sign(map[string]any{"exp": nil}), "exp"},
		"not yet valid":          {"rag", sign(map[string]any{"nbf": now.Add(time.Minute).Unix()}), "not valid before"},
		"nbf within the skew":    {"rag", sign(map[string]any{"nbf": now.Add(10 * time.Second).Unix()}), ""},
		"issued in the future":   {"rag", sign(map[string]any{"iat": now.Add(time.Hour).Unix()}), "in the future"},
		"exp is text":            {"rag", sign(map[string]any{"exp": "tomorrow"}), "form is not good"},
		"another audience":       {"rag", sign(map[string]any{"aud": "elsewhere"}), "another audience"},
		"no audience":            {"rag", sign(map[string]any{"aud": nil}), "another audience"},
		"one of its audiences":   {"rag", sign(map[string]any{"aud": []string{"elsewhere", "sallyport"}}), ""},
		"another issuer":         {"rag", sign(map[string]any{"iss": "https://idp.example"}), "not one that is trusted"},
		"issuer with a slash":    {"rag", sign(map[string]any{"iss": f.Issuer + "/"}), "not one that is trusted"},
		"another name":           {"sam", good, `names "rag"`},
		"no name":                {"rag", sign(map[string]any{"sub": nil}), "no name"},
		"name is a number":       {"rag", sign(map[string]any{"sub": 7}), "form is not good"},
		"name with a line feed":  {"rag\n", sign(map[string]any{"sub": "rag\n"}), "no name"},
		"a static one's name":    {"", sign(map[string]any{"sub": "ana"}), "belongs to another"},
		"groups are numbers":     {"rag", sign(map[string]any{"groups": []int{1}}), "not a group's name"},
		"groups are a map":       {"rag", sign(map[string]any{"groups": map[string]any{"a": 1}}), "not a list"},
		"groups are words":       {"rag", sign(map[string]any{"groups": "a b"}), ""},
		"unsigned":               {"rag", raw(`{"alg":"none"}`, ""), "signature, algorithm or form"},
		"unsigned, odd case":     {"rag", raw(`{"alg":"nOnE"}`, ""), "signature, algorithm or form"},
		"HS256 by public DER":    {"rag", hmacOf(der), "signature, algorithm or form"},
		"HS256 by public PEM":    {"rag", hmacOf(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "signature, algorithm or form"},
		"a key in its header":    {"rag", embedded(t, other, f.Claims("rag", nil)), "signature, algorithm or form"},
		"another's key, same id": {"rag", idptest.Sign(t, jose.ES256, other, id, f.Claims("rag", nil)), "signature, algorithm or form"},
		"another's key, no id":   {"rag", idptest.Sign(t, jose.ES256, other, "", f.Claims("rag", nil)), "signature, algorithm or form"},
		"no key id":              {"rag", noID(t, f), ""},
		"claims swapped":         {"rag", parts[0] + "." + base64.RawURLEncoding.EncodeToString(bytes.Replace(claims, []byte(`"rag"`), []byte(`"dba"`), 1)) + "." + parts[2], "signature, algorithm or form"},
		"no signature":           {"rag", parts[0] + "." + parts[1] + ".", "signature, algorithm or form"},
		"two parts":              {"rag", parts[0] + "." + parts[1], "wrong"},
		"garbage":                {"rag", "garbage", "wrong"},
		"empty":                  {"rag", "", "no token"},
		"huge":                   {"rag", good + strings.Repeat("A", 20000), "wrong"},
	} {
		_, err := f.login(c.user, c.token)
		switch {
		case c.reason == "" && err != nil:
			t.Errorf("%s: refused: %v", name, err)
		case c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)):
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
		if err != nil && len(c.token) > 100 && strings.Contains(err.Error(), c.token[:100]) {
			t.Errorf("%s: the refusal tells the token", name)
		}
	}
}

// embedded is a token with its own public key in the header (jwk).
func embedded(t *testing.T, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(claims)
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := jws.CompactSerialize()
	return s
}

// noID is a good token that does not say by which key.
func noID(t *testing.T, f *fixture) string {
	t.Helper()
	return f.SignWithoutID(t, f.Claims("rag", nil))
}

// TestUnknownKeys: a flood of key ids makes the key set be fetched a few
// times, and a new key is found all the same.
func TestUnknownKeys(t *testing.T) {
	f := start(t)
	if _, err := f.login("rag", f.Token(t, "rag")); err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before := f.Fetches.Load()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				token := idptest.Sign(t, jose.ES256, other, fmt.Sprint("flood", worker, i), f.Claims("rag", nil))
				if _, err := f.login("rag", token); err == nil {
					t.Error("a token by an unknown key was taken")
				}
			}
		})
	}
	wg.Wait()
	if n := f.Fetches.Load() - before; n > 3 {
		t.Errorf("800 unknown key ids made the key set be fetched %d times", n)
	}
	// Known keys go on meanwhile.
	if _, err := f.login("rag", f.Token(t, "rag")); err != nil {
		t.Errorf("a good token during the flood: %v", err)
	}
	f.Rotate(t, "second", "ES256")
	f.clock.move(11 * time.Second)
	if _, err := f.login("rag", f.Token(t, "rag")); err != nil {
		t.Errorf("a token by a new key: %v", err)
	}
}

// TestWithdrawnKey: a key that its issuer no longer publishes is refused soon.
func TestWithdrawnKey(t *testing.T) {
	f := start(t)
	old := f.Token(t, "rag")
	if _, err := f.login("rag", old); err != nil {
		t.Fatal(err)
	}
	f.Rotate(t, "second", "ES256")
	f.clock.move(6 * time.Minute)
	if _, err := f.login("rag", old); err == nil {
		t.Error("a token by a withdrawn key was taken")
	}
}

// TestOutage: known keys are good for a bounded time without their issuer, and
// nobody is let in who cannot be checked.
func TestOutage(t *testing.T) {
	f := start(t)
	f.Down()
	f.Lifetime(3 * time.Hour)
	token := f.Sign(t, f.Claims("rag", nil))
	var r *identity.Refused
	if _, err := f.login("rag", token); !errors.As(err, &r) || !r.Unavailable {
		t.Fatalf("before discovery: %v", err)
	}
	f.Up()
	f.clock.move(11 * time.Second)
	if _, err := f.login("rag", token); err != nil {
		t.Fatalf("once it is there: %v", err)
	}
	f.Down()
	for _, after := range []time.Duration{time.Minute, 20 * time.Minute, 30 * time.Minute} {
		f.clock.move(after)
		if _, err := f.login("rag", token); err != nil {
			t.Errorf("%v into the outage: %v", f.clock.ahead, err)
		}
	}
	f.clock.move(15 * time.Minute)
	if _, err := f.login("rag", token); !errors.As(err, &r) || !r.Unavailable {
		t.Errorf("after an hour: %v", err)
	}
	f.Up()
	f.clock.move(11 * time.Second)
	if _, err := f.login("rag", token); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

// FuzzToken: no token makes anything but a refusal.
func FuzzToken(f *testing.F) {
	issuer, err := identity.NewIssuer(identity.IssuerOptions{Issuer: "http://127.0.0.1:1", Audience: "a", Name: "sub", Groups: "groups"})
	if err != nil {
		f.Fatal(err)
	}
	book, err := identity.NewBook(nil, []*identity.Issuer{issuer}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjEifQ.")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := book.Identify(context.Background(), protocols.Login{Method: "token", Secret: token}); err == nil {
			t.Error("a token that nobody signed was taken")
		}
	})
}
