package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// maxToken bounds a token, in bytes, before anything is made of it.
const maxToken = 16 << 10

// algorithms are the signatures that are taken: asymmetric ones. A key set
// that holds a secret, or a token signed by a public key taken for one, is of
// no use to anybody.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// IssuerOptions describe an issuer of tokens. The zero Now is time.Now.
type IssuerOptions struct {
	Issuer   string // exactly as tokens name it; https, or http on loopback
	Audience string // that a token must be for
	Name     string // the claim that names the identity
	Groups   string // the claim that lists its groups, "" for none
	Kind     string // of all its identities: human or machine
	CA       string // file; "" for the system's
	// Skew is how far the issuer's clock may be ahead: for nbf and iat. A
	// token's end is never stretched.
	Skew time.Duration
	// Stale is how long keys are good that cannot be fetched again.
	Stale time.Duration
	Scope string // that clients are told to ask the issuer for
	Now   func() time.Time
	// Failed, if set, is told why keys could not be fetched.
	Failed func(error)
}

// Issuer checks tokens of one OIDC issuer. It is safe for concurrent use, and
// outlives reloads so that its keys do.
type Issuer struct {
	IssuerOptions
	keys     *keySet
	verifier *oidc.IDTokenVerifier
}

// NewIssuer makes an Issuer. Nothing is fetched before Warm or the first token.
func NewIssuer(o IssuerOptions) (*Issuer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	client, err := httpClient(o.CA)
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %w", o.Issuer, err)
	}
	i := &Issuer{IssuerOptions: o, keys: newKeySet(&o, client)}
	// The verifier checks signature, issuer and audience; the times are
	// checked here, because its allowance for nbf is five minutes.
	i.verifier = oidc.NewVerifier(o.Issuer, i.keys, &oidc.Config{ClientID: o.Audience, SupportedSigningAlgs: algorithms, SkipExpiryCheck: true})
	return i, nil
}

// Warm fetches the issuer's keys ahead of the first token.
func (i *Issuer) Warm(ctx context.Context) error { return i.keys.refresh(ctx, true) }

// Discovery is where a client learns about the issuer.
func (i *Issuer) Discovery() string {
	return strings.TrimSuffix(i.Issuer, "/") + "/.well-known/openid-configuration"
}

// Issuers are those of the book, in the configuration's order.
func (b *Book) Issuers() []*Issuer { return b.issuers }

// issuerOf finds the issuer that a token claims to be of, before anything
// about it is proven.
func (b *Book) issuerOf(token string) (*Issuer, error) {
	parts := strings.Split(token, ".")
	if token == "" {
		return nil, &Refused{Reason: "no token was given", Hint: "Give the token as the password."}
	}
	if len(token) > maxToken || len(parts) != 3 {
		return nil, errWrong
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return nil, errWrong
	}
	for _, i := range b.issuers {
		if i.Issuer == claims.Issuer {
			return i, nil
		}
	}
	return nil, refuse("the token's issuer %q is not one that is trusted here", bound(claims.Issuer))
}

func (b *Book) issuerHolds(c Caller) bool {
	return slices.ContainsFunc(b.issuers, func(i *Issuer) bool {
		return c.By == i.by() && b.byName[c.Name] == nil && b.certs.byName(c.Name) == nil
	})
}

func (i *Issuer) by() string { return "oidc " + i.Issuer }

// times are the claims that say when a token is good (RFC 7519 §4.1).
type times struct {
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	Issued    *float64 `json:"iat"`
}

// verify checks a token and makes a caller of its claims.
func (i *Issuer) verify(ctx context.Context, raw string) (Caller, error) {
	var gone error
	token, err := i.verifier.Verify(context.WithValue(ctx, outage{}, &gone), raw)
	switch {
	case gone != nil:
		return Caller{}, &Refused{Reason: "tokens of this issuer cannot be checked now", Hint: "Try again later; the proxy's log has the reason.", Unavailable: true}
	case err != nil && token == nil && strings.Contains(err.Error(), "expected audience"):
		// The library has no type for it.
		return Caller{}, refuse("the token is for another audience")
	case err != nil:
		return Caller{}, refuse("the token's signature, algorithm or form is not good")
	}
	var t times
	if err := token.Claims(&t); err != nil {
		return Caller{}, refuse("the token's times are not numbers")
	}
	expires, err := i.when(t)
	if err != nil {
		return Caller{}, err
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return Caller{}, refuse("the token's claims are not an object")
	}
	id, err := i.identity(claims)
	return Caller{Identity: id, Expires: expires, By: i.by()}, err
}

// when checks that the token is good now and returns until when.
func (i *Issuer) when(t times) (time.Time, error) {
	now := i.Now()
	if t.Expires == nil {
		return time.Time{}, refuse("the token has no end (claim exp)")
	}
	expires := seconds(*t.Expires)
	switch {
	case !now.Before(expires):
		return time.Time{}, &Refused{Reason: "the token expired at " + expires.UTC().Format(time.RFC3339), Hint: "Get a new token and log in again."}
	case t.NotBefore != nil && seconds(*t.NotBefore).After(now.Add(i.Skew)):
		return time.Time{}, refuse("the token is not valid before %s", seconds(*t.NotBefore).UTC().Format(time.RFC3339))
	case t.Issued != nil && seconds(*t.Issued).After(now.Add(i.Skew)):
		return time.Time{}, refuse("the token was issued in the future, at %s", seconds(*t.Issued).UTC().Format(time.RFC3339))
	}
	return expires, nil
}

// seconds is a NumericDate. What no calendar has is the end of time or its
// beginning.
func seconds(s float64) time.Time {
	return time.UnixMilli(int64(max(-1, min(s, 1<<40)) * 1000))
}

// identity maps claims.
func (i *Issuer) identity(claims map[string]any) (facts.Identity, error) {
	name, ok := claim(claims, i.Name).(string)
	if !ok || name == "" || len(name) > 256 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return facts.Identity{}, refuse("the token has no name: its claim %s is missing, empty or not plain text", i.Name)
	}
	id := facts.Identity{Name: name, Kind: i.Kind, Claims: claims}
	if i.Groups == "" {
		return id, nil
	}
	switch v := claim(claims, i.Groups).(type) {
	case nil: // in no group
	case string:
		id.Groups = strings.Fields(v)
	case []any:
		for _, g := range v {
			s, ok := g.(string)
			if !ok {
				return facts.Identity{}, refuse("the token's claim %s holds something that is not a group's name", i.Groups)
			}
			id.Groups = append(id.Groups, s)
		}
	default:
		return facts.Identity{}, refuse("the token's claim %s is not a list of names", i.Groups)
	}
	return id, nil
}

// claim finds a claim by its name, or where no claim is named so, by a path
// with dots.
func claim(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	head, rest, ok := strings.Cut(name, ".")
	inner, isMap := claims[head].(map[string]any)
	if !ok || !isMap {
		return nil
	}
	return claim(inner, rest)
}

// httpClient fetches small documents of an issuer, from where it was sent and
// nowhere else.
func httpClient(ca string) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("reading its CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("its CA file holds no certificate")
		}
	}
	return &http.Client{
		Timeout:       fetchTime,
		Transport:     &bounded{&http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, MaxIdleConns: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// maxDocument bounds what an issuer may make us hold.
const maxDocument = 1 << 20

type bounded struct{ next http.RoundTripper }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxDocument), resp.Body}
	}
	return resp, err
}
