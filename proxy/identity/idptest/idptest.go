// Package idptest is an OpenID provider for tests, of zitadel's library, which
// is certified: discovery, key set and token endpoint are the library's own,
// over TLS on loopback; clients, keys and claims are the test's.
package idptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Provider is a running provider with one client a subject. Its fields may be
// changed between tokens.
type Provider struct {
	Issuer string
	CA     string // file with the certificate's authority
	// Fetches counts requests for the key set.
	Fetches atomic.Int64

	http    *httptest.Server
	handler http.Handler
	down    atomic.Bool

	mu       sync.Mutex
	keys     []*key // the first one signs
	clients  map[string]*Client
	lifetime time.Duration
}

// Client is who gets tokens by its credentials (grant client_credentials).
type Client struct {
	Subject  string
	Audience []string
	Claims   map[string]any // beside the standard ones
}

// Start starts a provider that ends with the test.
func Start(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{clients: map[string]*Client{}, lifetime: time.Hour}
	p.Rotate(t, "first", "ES256")
	p.http = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.http.Config.ErrorLog = nil
	p.http.StartTLS()
	t.Cleanup(p.http.Close)
	p.Issuer = p.http.URL
	p.CA = filepath.Join(t.TempDir(), "idp.pem")
	if err := os.WriteFile(p.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.http.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	config := &op.Config{AuthMethodPost: true}
	provider, err := op.NewProvider(config, &storage{p: p}, op.StaticIssuer(p.Issuer), op.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		t.Fatal(err)
	}
	p.handler = provider
	return p
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/keys") {
		p.Fetches.Add(1)
	}
	if p.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	p.handler.ServeHTTP(w, r)
}

// Down makes every request fail until Up.
func (p *Provider) Down() { p.down.Store(true) }
func (p *Provider) Up()   { p.down.Store(false) }

// Lifetime sets how long tokens are good that are made from now on.
func (p *Provider) Lifetime(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lifetime = d
}

// Register makes a client known; its secret is its subject with "-secret".
func (p *Provider) Register(c Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.Subject] = &c
}

// Rotate signs by a new key from now on, and publishes no other.
func (p *Provider) Rotate(t testing.TB, id, algorithm string) {
	t.Helper()
	k := &key{id: id, algorithm: jose.SignatureAlgorithm(algorithm)}
	var err error
	if strings.HasPrefix(algorithm, "ES") {
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []*key{k}
}

// Token gets a token from the token endpoint.
func (p *Provider) Token(t testing.TB, subject string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {subject}, "client_secret": {subject + "-secret"}, "scope": {"openid"}}
	resp, err := p.http.Client().PostForm(p.Issuer+"/oauth/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("no token: %s %s %v", resp.Status, answer.Error, err)
	}
	return answer.Token
}

// Claims are a good token's, with some changed; nil takes one away.
func (p *Provider) Claims(subject string, changes map[string]any) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	claims := map[string]any{"iss": p.Issuer, "sub": subject, "iat": now.Unix(), "exp": now.Add(p.lifetime).Unix()}
	if c := p.clients[subject]; c != nil {
		claims["aud"] = c.Audience
		maps.Copy(claims, c.Claims)
	}
	for name, v := range changes {
		if claims[name] = v; v == nil {
			delete(claims, name)
		}
	}
	return claims
}

// Sign makes a token of any claims by the provider's present key, for what
// the provider itself would never issue.
func (p *Provider) Sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	p.mu.Lock()
	k := p.keys[0]
	p.mu.Unlock()
	return Sign(t, k.algorithm, k.private, k.id, claims)
}

// SignWithoutID makes a token that does not say by which key it is signed.
func (p *Provider) SignWithoutID(t testing.TB, claims map[string]any) string {
	t.Helper()
	p.mu.Lock()
	k := p.keys[0]
	p.mu.Unlock()
	return Sign(t, k.algorithm, k.private, "", claims)
}

// Public is the provider's present public key, and its id.
func (p *Provider) Public() (any, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[0].Key(), p.keys[0].id
}

// Sign makes a token by any key.
func Sign(t testing.TB, algorithm jose.SignatureAlgorithm, private any, id string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   any
}

func (k *key) ID() string                                  { return k.id }
func (k *key) Algorithm() jose.SignatureAlgorithm          { return k.algorithm }
func (k *key) SignatureAlgorithm() jose.SignatureAlgorithm { return k.algorithm }
func (k *key) Use() string                                 { return "sig" }
func (k *key) Key() any {
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		return private.Public()
	case *rsa.PrivateKey:
		return private.Public()
	}
	return nil
}

// signing is the key with its private half.
type signing struct{ *key }

func (s signing) Key() any { return s.private }

// storage is what the library asks of its user, in the parts that the grant
// client_credentials needs.
type storage struct {
	op.Storage
	p *Provider
}

var _ op.ClientCredentialsStorage = (*storage)(nil)

func (s *storage) Health(context.Context) error { return nil }

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return signing{s.p.keys[0]}, nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return []jose.SignatureAlgorithm{s.p.keys[0].algorithm}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	var out []op.Key
	for _, k := range s.p.keys {
		out = append(out, k)
	}
	return out, nil
}

func (s *storage) client(id string) (*Client, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if c := s.p.clients[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("no client %s", id)
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	c, err := s.client(id)
	return client{of: c}, err
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if secret != id+"-secret" {
		return errors.New("wrong secret")
	}
	return nil
}

func (s *storage) ClientCredentials(_ context.Context, id, secret string) (op.Client, error) {
	c, err := s.client(id)
	if err == nil && secret != id+"-secret" {
		err = errors.New("wrong secret")
	}
	return client{of: c}, err
}

func (s *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	c, err := s.client(id)
	if err != nil {
		return nil, err
	}
	return &oidc.JWTTokenRequest{Subject: c.Subject, Audience: c.Audience, Scopes: scopes}, nil
}

func (s *storage) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return rand.Text(), time.Now().Add(s.p.lifetime), nil
}

func (s *storage) GetPrivateClaimsFromScopes(_ context.Context, _, id string, _ []string) (map[string]any, error) {
	c, err := s.client(id)
	if err != nil {
		return nil, err
	}
	return c.Claims, nil
}

// client is a Client as the library sees it.
type client struct {
	op.Client // what is not asked for here
	of        *Client
}

func (c client) GetID() string                       { return c.of.Subject }
func (c client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }
func (c client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeClientCredentials}
}
func (c client) AuthMethod() oidc.AuthMethod { return oidc.AuthMethodPost }
func (c client) ClockSkew() time.Duration    { return 0 }
func (c client) IsScopeAllowed(string) bool  { return true }
func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
