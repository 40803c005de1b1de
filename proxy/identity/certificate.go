package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Authority is a CA file with the identities that its certificates stand for.
type Authority struct {
	CA         string
	Identities []Certified
}

// Certified is an identity that logs in with a TLS client certificate. One of
// SPIFFE and Subject is set.
type Certified struct {
	Identity facts.Identity
	SPIFFE   string // the URI of a SPIFFE id, exactly: spiffe://trust-domain/path
	Subject  string // the subject's distinguished name in RFC 2253's form, exactly
}

// Certificates know who certificates stand for. A nil one knows nobody. It is
// immutable and safe for concurrent use.
type Certificates struct {
	authorities []authority
	identities  map[string]*facts.Identity
	now         func() time.Time
}

type authority struct {
	roots *x509.CertPool
	list  []Certified
}

// NewCertificates reads the authorities' files. now is time.Now where nil.
func NewCertificates(list []Authority, now func() time.Time) (*Certificates, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if now == nil {
		now = time.Now
	}
	c := &Certificates{identities: map[string]*facts.Identity{}, now: now}
	for _, a := range list {
		pem, err := os.ReadFile(a.CA)
		if err != nil {
			return nil, fmt.Errorf("reading an authority of client certificates: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", a.CA)
		}
		for i := range a.Identities {
			id := &a.Identities[i].Identity
			if c.identities[id.Name] != nil {
				return nil, fmt.Errorf("two identities are named %s", id.Name)
			}
			c.identities[id.Name] = id
		}
		c.authorities = append(c.authorities, authority{roots: roots, list: a.Identities})
	}
	return c, nil
}

func (c *Certificates) byName(name string) *facts.Identity {
	if c == nil {
		return nil
	}
	return c.identities[name]
}

// Any says whether clients are to be asked for certificates.
func (c *Certificates) Any() bool { return c != nil }

// WantsCertificates says whether clients are to be asked for certificates.
func (b *Book) WantsCertificates() bool { return b.certs.Any() }

// identify verifies the certificate of the connection. TLS has proven that the
// client holds its key; chain, time and purpose are checked here, so that a
// refusal is said in the protocol's own words.
func (c *Certificates) identify(l protocols.Login) (Caller, error) {
	if c == nil || l.TLS == nil || len(l.TLS.PeerCertificates) == 0 {
		return Caller{}, &Refused{Reason: "this identity logs in with a TLS client certificate, and none was given", Hint: "Connect over TLS with the certificate and its key."}
	}
	leaf := l.TLS.PeerCertificates[0]
	opts := x509.VerifyOptions{Intermediates: x509.NewCertPool(), CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, cert := range l.TLS.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	var reason error
	for _, a := range c.authorities {
		opts.Roots = a.roots
		chains, err := leaf.Verify(opts)
		if err != nil {
			reason = err
			continue
		}
		for i := range a.list {
			if !a.list[i].fits(leaf) {
				continue
			}
			if id := a.list[i].Identity; l.User == "" || l.User == id.Name {
				return Caller{Identity: id, Expires: shortest(chains), By: "certificate"}, nil
			}
		}
		reason = nil
		break
	}
	var invalid x509.CertificateInvalidError
	switch {
	case reason == nil:
		return Caller{}, refuse("the client certificate does not stand for this identity")
	case errors.As(reason, &invalid) && invalid.Reason == x509.Expired:
		return Caller{}, refuse("the client certificate has expired or is not yet valid")
	}
	return Caller{}, refuse("the client certificate is not of an authority that is trusted here")
}

// shortest is when the first certificate of the best chain ends.
func shortest(chains [][]*x509.Certificate) time.Time {
	var best time.Time
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, cert := range chain {
			if cert.NotAfter.Before(end) {
				end = cert.NotAfter
			}
		}
		if end.After(best) {
			best = end
		}
	}
	return best
}

// fits says whether a certificate stands for the identity. A SPIFFE
// certificate has exactly one URI (SPIFFE X.509-SVID §2).
func (c *Certified) fits(leaf *x509.Certificate) bool {
	if c.SPIFFE != "" {
		return len(leaf.URIs) == 1 && leaf.URIs[0].String() == c.SPIFFE
	}
	return leaf.Subject.String() == c.Subject
}
