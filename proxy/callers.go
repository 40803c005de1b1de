package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// Identity is a static identity.
type Identity struct {
	Name     string
	Kind     string
	Password Secret
	Token    Secret
	Groups   []string
}

// OIDC is an issuer of tokens. It is comparable, so that an issuer whose
// section has not changed keeps its keys over a reload.
type OIDC struct {
	Issuer, Audience, Name, Groups, Kind, CA string
	Scope                                    string
	Skew, Stale                              time.Duration
}

func (l *configLoader) identity(n *strictyaml.Node) {
	id := Identity{Kind: "human"}
	secrets := 0
	n.Map(map[string]func(*strictyaml.Node){
		"name":     func(n *strictyaml.Node) { id.Name = n.String() },
		"kind":     func(n *strictyaml.Node) { id.Kind = n.OneOf("human", "machine") },
		"password": func(n *strictyaml.Node) { id.Password = secret(n); secrets++ },
		"token":    func(n *strictyaml.Node) { id.Token = secret(n); secrets++ },
		"groups":   func(n *strictyaml.Node) { id.Groups = n.Strings() },
	})
	switch {
	case id.Name == "":
		n.Problem("an identity needs a name")
	case secrets != 1:
		n.Problem("an identity needs a password or a token")
	case l.names["identity "+id.Name]:
		n.Problem("another identity is named %q", id.Name)
	}
	l.names["identity "+id.Name] = true
	l.c.Identities = append(l.c.Identities, id)
}

func (l *configLoader) oidc(n *strictyaml.Node) {
	o := OIDC{Name: "sub", Kind: "human", Scope: "openid", Skew: 30 * time.Second, Stale: time.Hour}
	n.Map(map[string]func(*strictyaml.Node){
		"issuer": func(n *strictyaml.Node) {
			o.Issuer = n.String()
			if u, err := url.Parse(o.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Host)) {
				n.Problem("must be an https URL, exactly as tokens name it (http on loopback only)")
			}
		},
		"audience": func(n *strictyaml.Node) { o.Audience = n.String() },
		"name":     func(n *strictyaml.Node) { o.Name = n.String() },
		"groups":   func(n *strictyaml.Node) { o.Groups = n.String() },
		"kind":     func(n *strictyaml.Node) { o.Kind = n.OneOf("human", "machine") },
		"ca":       func(n *strictyaml.Node) { o.CA = resolve(l.c.Dir, n.String()) },
		"scope":    func(n *strictyaml.Node) { o.Scope = n.String() },
		"skew": func(n *strictyaml.Node) {
			if o.Skew = n.Duration(); o.Skew > 5*time.Minute {
				n.Problem("must be 5m at most")
			}
		},
		"stale": func(n *strictyaml.Node) {
			if o.Stale = n.Duration(); o.Stale < 5*time.Minute || o.Stale > 24*time.Hour {
				n.Problem("must be between 5m and 24h")
			}
		},
	})
	switch {
	case o.Issuer == "" || o.Audience == "" || o.Name == "":
		n.Problem("needs issuer, audience and name")
	case l.names["issuer "+o.Issuer]:
		n.Problem("the issuer %s is there already", o.Issuer)
	}
	l.names["issuer "+o.Issuer] = true
	l.c.OIDC = append(l.c.OIDC, o)
}

func (l *configLoader) authority(n *strictyaml.Node) {
	a := identity.Authority{}
	n.Map(map[string]func(*strictyaml.Node){
		"ca": func(n *strictyaml.Node) { a.CA = resolve(l.c.Dir, n.String()) },
		"identities": func(n *strictyaml.Node) {
			for _, e := range n.List() {
				a.Identities = append(a.Identities, l.certified(e))
			}
		},
	})
	if a.CA == "" || len(a.Identities) == 0 {
		n.Problem("needs a ca and identities")
	}
	l.c.Authorities = append(l.c.Authorities, a)
}

func (l *configLoader) certified(n *strictyaml.Node) identity.Certified {
	c := identity.Certified{Identity: facts.Identity{Kind: "machine"}}
	n.Map(map[string]func(*strictyaml.Node){
		"name":   func(n *strictyaml.Node) { c.Identity.Name = n.String() },
		"kind":   func(n *strictyaml.Node) { c.Identity.Kind = n.OneOf("human", "machine") },
		"groups": func(n *strictyaml.Node) { c.Identity.Groups = n.Strings() },
		"spiffe": func(n *strictyaml.Node) {
			c.SPIFFE = n.String()
			if u, err := url.Parse(c.SPIFFE); err != nil || u.Scheme != "spiffe" || u.Host == "" || strings.Trim(u.Path, "/") == "" {
				n.Problem("must be spiffe://TRUST-DOMAIN/PATH")
			}
		},
		"subject": func(n *strictyaml.Node) { c.Subject = n.String() },
	})
	switch {
	case c.Identity.Name == "" || (c.SPIFFE == "") == (c.Subject == ""):
		n.Problem("needs a name and one of spiffe and subject")
	case l.names["identity "+c.Identity.Name]:
		n.Problem("another identity is named %q", c.Identity.Name)
	}
	l.names["identity "+c.Identity.Name] = true
	return c
}

// newBook makes the book of who may log in. Issuers whose configuration has not
// changed are those of before, with their keys.
func (e *Engine) newBook(c *Config) (*identity.Book, error) {
	var list []identity.Static
	for _, id := range c.Identities {
		s := identity.Static{Identity: facts.Identity{Name: id.Name, Kind: id.Kind, Groups: id.Groups}}
		var err error
		if s.Password, err = id.Password.Read(c.Dir); err == nil {
			s.Token, err = id.Token.Read(c.Dir)
		}
		if err != nil {
			return nil, fmt.Errorf("identity %s: %w", id.Name, err)
		}
		list = append(list, s)
	}
	issuers := map[OIDC]*identity.Issuer{}
	var ordered []*identity.Issuer
	for _, o := range c.OIDC {
		i := e.issuers[o]
		if i == nil {
			var err error
			if i, err = identity.NewIssuer(identity.IssuerOptions{
				Issuer: o.Issuer, Audience: o.Audience, Name: o.Name, Groups: o.Groups, Kind: o.Kind, CA: o.CA, Scope: o.Scope, Skew: o.Skew, Stale: o.Stale, Now: e.now,
				Failed: func(err error) {
					e.log.Error().Err(err).Str("issuer", o.Issuer).Msg("the keys of an issuer cannot be fetched")
				},
			}); err != nil {
				return nil, err
			}
		}
		issuers[o], ordered = i, append(ordered, i)
	}
	certs, err := identity.NewCertificates(c.Authorities, e.now)
	if err != nil {
		return nil, err
	}
	book, err := identity.NewBook(list, ordered, certs)
	if err == nil {
		e.issuers = issuers
	}
	return book, err
}

// warmIssuers fetches the issuers' keys ahead of the first login. Who cannot
// be reached is tried again when a token comes.
func (e *Engine) warmIssuers(ctx context.Context) {
	for _, i := range e.book.Load().Issuers() {
		if err := i.Warm(ctx); err == nil {
			e.log.Info().Str("issuer", i.Issuer).Msg("the issuer's keys are here")
		}
	}
}

// toRefused is what a client and the log are told of a login that failed.
func toRefused(err error) *identity.Refused {
	var r *identity.Refused
	if errors.As(err, &r) {
		return r
	}
	return &identity.Refused{Reason: "the login cannot be checked", Unavailable: true}
}
