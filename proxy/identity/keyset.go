package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

const (
	fetchTime = 5 * time.Second
	// freshFor is how long keys are used without looking for new ones, so that
	// a key that its issuer withdraws is refused soon.
	freshFor = 5 * time.Minute
	// Keys are fetched three times at once and then once each ten seconds,
	// whatever key ids tokens name.
	fetchBurst = 3
	fetchEvery = 10 * time.Second
	// maxKeys bounds a key set.
	maxKeys = 100
)

// unavailable is an issuer that cannot be asked.
type unavailable struct{ err error }

func (u *unavailable) Error() string { return u.err.Error() }
func (u *unavailable) Unwrap() error { return u.err }

// outage is the context's key of a *error that is told of an unavailable
// issuer: go-oidc makes plain text of what a key set returns.
type outage struct{}

// keySet has an issuer's keys. Unlike go-oidc's it does not fetch them for
// each unknown key id, and stops trusting keys that it could not fetch again
// for a while. It finds the issuer by discovery, at the first fetch that
// succeeds. It is safe for concurrent use.
type keySet struct {
	issuer string
	client *http.Client
	stale  time.Duration
	now    func() time.Time
	failed func(error)

	fetching sync.Mutex // held while keys are fetched
	limit    *rate.Limiter

	mu      sync.Mutex
	uri     string // of the keys; "" before discovery
	keys    []jose.JSONWebKey
	fetched time.Time // when keys were fetched; zero for never
	err     error     // of the last fetch
}

var _ oidc.KeySet = (*keySet)(nil)

func newKeySet(o *IssuerOptions, client *http.Client) *keySet {
	return &keySet{issuer: o.Issuer, client: client, stale: o.Stale, now: o.Now, failed: o.Failed, limit: rate.NewLimiter(rate.Every(fetchEvery), fetchBurst)}
}

// VerifySignature returns the payload of a token that one of the keys has
// signed by the very algorithm that the key is for. The caller has bound the
// algorithms.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	var allowed []jose.SignatureAlgorithm
	for _, a := range algorithms {
		allowed = append(allowed, jose.SignatureAlgorithm(a))
	}
	jws, err := jose.ParseSignedCompact(token, allowed)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errors.New("the token cannot be read")
	}
	head := jws.Signatures[0].Header
	keys, err := k.find(ctx, head.KeyID)
	if err != nil {
		if to, ok := ctx.Value(outage{}).(*error); ok && errors.As(err, new(*unavailable)) {
			*to = err
		}
		return nil, err
	}
	for i := range keys {
		if keys[i].Algorithm != "" && keys[i].Algorithm != head.Algorithm {
			continue
		}
		if payload, err := jws.Verify(&keys[i]); err == nil {
			return payload, nil
		}
	}
	return nil, fmt.Errorf("no key of the issuer's has signed it (key id %.40q)", head.KeyID)
}

// find returns the keys with an id, or all for a token that names none.
// Unknown ids make it look for new keys, at a bounded rate; known ones are
// answered from what is at hand while that is good.
func (k *keySet) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, age, _ := k.have(id)
	if len(found) > 0 && age < freshFor {
		return found, nil
	}
	err := k.refresh(ctx, len(found) == 0 || age > k.stale)
	found, age, known := k.have(id)
	switch {
	case !known || age > k.stale:
		return nil, &unavailable{fmt.Errorf("the keys of %s: %w", k.issuer, err)}
	case len(found) == 0:
		return nil, fmt.Errorf("the issuer has no key %.40q", id)
	}
	return found, nil
}

func (k *keySet) have(id string) (found []jose.JSONWebKey, age time.Duration, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if id == "" || key.KeyID == id {
			found = append(found, key)
		}
	}
	return found, k.now().Sub(k.fetched), !k.fetched.IsZero()
}

// refresh fetches the keys where the rate allows it. Callers that come
// meanwhile wait for the same fetch and take its outcome, or do not wait where
// they have something to go on with.
func (k *keySet) refresh(ctx context.Context, wait bool) error {
	asked := k.now()
	if !k.fetching.TryLock() {
		if !wait {
			return nil
		}
		k.fetching.Lock()
	}
	defer k.fetching.Unlock()
	k.mu.Lock()
	fetched, err := k.fetched, k.err
	k.mu.Unlock()
	if fetched.After(asked) {
		return nil
	}
	if !k.limit.AllowN(k.now(), 1) {
		if err == nil {
			err = errors.New("keys were looked for a moment ago")
		}
		return err
	}
	// A client that goes away does not take the others' keys with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	defer cancel()
	uri, keys, err := k.fetch(ctx)
	k.mu.Lock()
	if k.err = err; err == nil {
		k.uri, k.keys, k.fetched = uri, keys, k.now()
	}
	k.mu.Unlock()
	if err != nil && k.failed != nil {
		k.failed(err)
	}
	return err
}

// fetch asks the issuer, by discovery first where that has not been done.
func (k *keySet) fetch(ctx context.Context) (uri string, keys []jose.JSONWebKey, err error) {
	k.mu.Lock()
	uri = k.uri
	k.mu.Unlock()
	if uri == "" {
		if uri, err = k.discover(ctx); err != nil {
			return "", nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return "", nil, fmt.Errorf("fetching keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("fetching keys from %s: %s", uri, resp.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return "", nil, fmt.Errorf("keys of %s: %w", uri, err)
	}
	for _, raw := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var key jose.JSONWebKey
		// A kind of key that is not known is somebody else's; a secret is
		// never taken for a public key.
		if key.UnmarshalJSON(raw) != nil || !key.IsPublic() || !key.Valid() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}
	return uri, keys, nil
}

// discover asks where the keys are. Over TLS the keys are too.
func (k *keySet) discover(ctx context.Context) (string, error) {
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	var doc struct {
		Keys string `json:"jwks_uri"`
	}
	if err := p.Claims(&doc); err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	from, err := url.Parse(k.issuer)
	if err != nil {
		return "", err
	}
	if to, err := url.Parse(doc.Keys); err != nil || to.Scheme != from.Scheme {
		return "", fmt.Errorf("discovery of %s names keys at %q, which is not %s", k.issuer, doc.Keys, from.Scheme)
	}
	return doc.Keys, nil
}
