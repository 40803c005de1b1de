package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Vault asks a server that speaks HashiCorp Vault's HTTP API (OpenBao does
// too) for secrets. It is safe for concurrent use.
//
// Source: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2,
// …/secret/databases and …/system/leases.
type Vault struct {
	Address   string // https://host:8200
	Namespace string // "" for none
	// Token is read at each request, so that an agent may renew it in a file.
	Token func() (string, error)
	// Failed, if set, is told of what went wrong and could be borne.
	Failed func(error)
	Now    func() time.Time // nil for time.Now

	client *http.Client
}

// maxAnswer bounds an answer of the store.
const maxAnswer = 1 << 20

// Open readies the client. ca is a file, "" for the system's authorities.
func (v *Vault) Open(ca string) error {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("reading Vault's CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("the CA file of Vault holds no certificate")
		}
	}
	v.client = &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, MaxIdleConns: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
	}
	return nil
}

func (v *Vault) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

func (v *Vault) fail(err error) {
	if v.Failed != nil {
		v.Failed(err)
	}
}

// do sends a request. Its errors hold the server's own words, which name
// paths and policies and no secrets, and are for the log.
func (v *Vault) do(ctx context.Context, method, path string, body, into any) error {
	token, err := v.Token()
	if err != nil {
		return fmt.Errorf("the token for Vault: %w", err)
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(v.Address, "/")+"/v1/"+path, content)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", token)
	req.Header.Set("X-Vault-Request", "true")
	if v.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", v.Namespace)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking Vault: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the answer of Vault: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		var e struct {
			Errors []string `json:"errors"`
		}
		_ = json.Unmarshal(answer, &e)
		return fmt.Errorf("asking Vault of %s: %s %.200s", path, resp.Status, strings.Join(e.Errors, "; "))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return errors.New("the answer of Vault is not what its API promises") // it may hold a secret
	}
	return nil
}

// segments escapes each part of a path.
func segments(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

func (v *Vault) kv(ctx context.Context, mount, path, key string) (string, error) {
	var answer struct {
		Data struct {
			Data map[string]any `json:"data"`
		} `json:"data"`
	}
	if err := v.do(ctx, http.MethodGet, segments(mount)+"/data/"+segments(path), nil, &answer); err != nil {
		return "", err
	}
	s, ok := answer.Data.Data[key].(string)
	if !ok || s == "" {
		return "", fmt.Errorf("there is no text in Vault under %s of %s/%s", key, mount, path)
	}
	return s, nil
}

// lease is a database login that Vault has made, with an end.
type lease struct {
	ID        string `json:"lease_id"`
	Seconds   int    `json:"lease_duration"`
	Renewable bool   `json:"renewable"`
	Data      struct {
		User     string `json:"username"`
		Password string `json:"password"`
	} `json:"data"`

	whole time.Duration // when it was made
	ends  time.Time     // of Role.mu, as users
	users int           // who are logged in with it
	spent bool          // cannot be stretched any more
}

func (v *Vault) newLease(ctx context.Context, mount, role string) (*lease, error) {
	l := &lease{}
	if err := v.do(ctx, http.MethodGet, segments(mount)+"/creds/"+segments(role), nil, l); err != nil {
		return nil, err
	}
	if l.Data.User == "" || l.Data.Password == "" || l.Seconds <= 0 {
		return nil, fmt.Errorf("the answer of Vault for %s/creds/%s has no login, or one without an end", mount, role)
	}
	l.whole = time.Duration(l.Seconds) * time.Second
	l.ends = v.now().Add(l.whole)
	return l, nil
}

// renew stretches a lease, as far as its most allows, and returns its new end.
func (v *Vault) renew(ctx context.Context, l *lease) (time.Time, error) {
	var answer lease
	body := map[string]any{"lease_id": l.ID, "increment": int(l.whole / time.Second)}
	if err := v.do(ctx, http.MethodPut, "sys/leases/renew", body, &answer); err != nil {
		return time.Time{}, err
	}
	return v.now().Add(time.Duration(answer.Seconds) * time.Second), nil
}

func (v *Vault) revoke(ctx context.Context, l *lease) error {
	return v.do(ctx, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": l.ID}, nil)
}
