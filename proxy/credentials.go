package proxy

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/upstream"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// UpstreamUser is the backend's user of some identities.
type UpstreamUser struct {
	Identities, Groups []string
	User               string
	Password           Secret
}

// Vault is a secret store with Vault's API.
type Vault struct {
	Address, Namespace, CA string
	Token                  Secret
}

func (l *configLoader) vault(n *strictyaml.Node) {
	v := &Vault{}
	n.Map(map[string]func(*strictyaml.Node){
		"address": func(n *strictyaml.Node) {
			v.Address = n.String()
			if u, err := url.Parse(v.Address); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Host)) {
				n.Problem("must be https://HOST:PORT (http on loopback only)")
			}
		},
		"namespace": func(n *strictyaml.Node) { v.Namespace = n.String() },
		"ca":        func(n *strictyaml.Node) { v.CA = resolve(l.c.Dir, n.String()) },
		"token":     func(n *strictyaml.Node) { v.Token = secret(n) },
	})
	if v.Address == "" || v.Token == (Secret{}) {
		n.Problem("needs an address and a token")
	}
	l.c.Vault = v
}

// upstreamSecret reads where a backend's password comes from.
func (l *configLoader) upstreamSecret(n *strictyaml.Node) Secret {
	s := Secret{}
	readSecret(n, map[string]func(*strictyaml.Node){
		"env":  func(n *strictyaml.Node) { s.Env = n.String() },
		"file": func(n *strictyaml.Node) { s.File = n.String() },
		"vault": func(n *strictyaml.Node) {
			s.Vault, l.usesVault = n.String(), true
			path, key, ok := strings.Cut(s.Vault, "#")
			if mount, rest, cut := strings.Cut(path, "/"); !ok || !cut || key == "" || mount == "" || rest == "" {
				n.Problem("must be MOUNT/PATH#KEY of a key-value store, version 2")
			}
		},
		"vault_role": func(n *strictyaml.Node) {
			s.Role, l.usesVault = n.String(), true
			if i := strings.LastIndexByte(s.Role, '/'); i <= 0 || i == len(s.Role)-1 {
				n.Problem("must be MOUNT/ROLE of a database secrets engine")
			}
		},
	})
	return s
}

func (l *configLoader) upstreamUser(n *strictyaml.Node, p *protocols.Protocol) UpstreamUser {
	u := UpstreamUser{}
	n.Map(map[string]func(*strictyaml.Node){
		"identities": func(n *strictyaml.Node) { u.Identities = n.Strings() },
		"groups":     func(n *strictyaml.Node) { u.Groups = n.Strings() },
		"user":       func(n *strictyaml.Node) { u.User = n.String() },
		"password":   func(n *strictyaml.Node) { u.Password = l.upstreamSecret(n) },
	})
	switch {
	case len(u.Identities)+len(u.Groups) == 0:
		n.Problem("needs identities or groups")
	case u.Password == (Secret{}):
		n.Problem("needs a password")
	case p == nil: // which has been said
	case p.Requests && (u.User != "" || u.Password.Role != ""):
		n.Problem("a store over HTTP has no users; the password is its key")
	case !p.Requests && (u.User == "") != (u.Password.Role != ""):
		n.Problem("needs a user, or a vault_role that makes one")
	}
	return u
}

// source is a secret as a source of logins.
func (e *Engine) source(s Secret, target string) (upstream.Source, error) {
	failed := func(err error) {
		e.log.Error().Err(err).Str("target", target).Msg("a backend's credential cannot be read again")
	}
	switch {
	case s.File != "":
		f := &upstream.File{Path: resolve(e.config.Dir, s.File), Failed: failed}
		_, _, err := f.Login(context.Background(), false) // not first when a client comes
		return f, err
	case s.Vault != "":
		path, key, _ := strings.Cut(s.Vault, "#")
		mount, path, _ := strings.Cut(path, "/")
		return &upstream.KV{Vault: e.vault, Mount: mount, Path: path, Key: key}, nil
	case s.Role != "":
		at := strings.LastIndexByte(s.Role, '/')
		r := &upstream.Role{Vault: e.vault, Mount: s.Role[:at], Role: s.Role[at+1:]}
		e.roles = append(e.roles, r)
		return r, nil
	}
	password, err := s.Read(e.config.Dir)
	return upstream.Constant(password), err
}

// openVault readies the secret store where there is one.
func (e *Engine) openVault() error {
	c := e.config.Vault
	if c == nil || e.vault != nil {
		return nil
	}
	if _, err := c.Token.Read(e.config.Dir); err != nil {
		return fmt.Errorf("vault: its token: %w", err)
	}
	v := &upstream.Vault{
		Address: c.Address, Namespace: c.Namespace, Now: e.now,
		Token:  func() (string, error) { return c.Token.Read(e.config.Dir) },
		Failed: func(err error) { e.log.Error().Err(err).Msg("the secret store") },
	}
	if err := v.Open(c.CA); err != nil {
		return err
	}
	e.vault = v
	return nil
}

// backend is whom some identities are to the upstream.
type backend struct {
	config *UpstreamUser // nil: of everybody else
	source upstream.Source
}

func (t *target) openBackends() error {
	c := &t.config.Upstream
	if err := t.engine.openVault(); err != nil {
		return err
	}
	for i := range c.Users {
		s, err := t.engine.source(c.Users[i].Password, t.config.Name)
		if err != nil {
			return err
		}
		t.backends = append(t.backends, backend{&c.Users[i], s})
	}
	s, err := t.engine.source(c.Password, t.config.Name)
	t.backends = append(t.backends, backend{nil, s})
	return err
}

// backendOf is the first that fits an identity. Nil is the proxy itself,
// which reads schemas.
func (t *target) backendOf(id *facts.Identity) *backend {
	for i := range t.backends {
		b := &t.backends[i]
		if b.config == nil || id != nil && b.config.fits(id) {
			return b
		}
	}
	return nil // the last one fits everybody
}

func (u *UpstreamUser) fits(id *facts.Identity) bool {
	return slices.Contains(u.Identities, id.Name) || slices.ContainsFunc(id.Groups, func(g string) bool { return slices.Contains(u.Groups, g) })
}

// UserOf names whom an identity is to the backend; "" where it has no users.
func (u *Upstream) UserOf(id *facts.Identity) string {
	for i := range u.Users {
		switch x := &u.Users[i]; {
		case !x.fits(id):
		case x.User == "" && x.Password.Role != "":
			return "a user that Vault makes by " + x.Password.Role
		default:
			return x.User
		}
	}
	return u.URL.User.Username()
}

// credential is what to log in upstream with for an identity. release is
// called when the connection has ended.
func (t *target) credential(ctx context.Context, id *facts.Identity, database string, fresh bool) (protocols.Credential, func(), error) {
	u, b := t.config.Upstream.URL, t.backendOf(id)
	login, release, err := b.source.Login(ctx, fresh)
	if err != nil {
		t.engine.log.Error().Err(err).Str("target", t.config.Name).Msg("no credential for the upstream")
		return protocols.Credential{}, nil, &protocols.Denial{Kind: protocols.DenyUnavailable, Message: "the proxy has no credential for this target now", Hint: "The proxy's log has the reason.", At: -1}
	}
	switch {
	case login.User != "":
	case b.config != nil && b.config.User != "":
		login.User = b.config.User
	default:
		login.User = u.User.Username()
	}
	return protocols.Credential{User: login.User, Password: login.Password, Database: database, TLSMode: t.config.Upstream.TLSMode, Host: u.Hostname()}, release, nil
}

// Credential is what this session logs in upstream with. One that was refused
// is noted in the log, and whether there is another.
func (s *session) Credential(ctx context.Context, refused bool) (protocols.Credential, error) {
	c, release, err := s.login(ctx, refused)
	if err != nil {
		return c, err
	}
	s.mu.Lock()
	before := s.release
	s.release = release
	s.mu.Unlock()
	if before != nil {
		before()
	}
	return c, nil
}

// login is Credential, with what gives it back.
func (s *session) login(ctx context.Context, refused bool) (protocols.Credential, func(), error) {
	c, release, err := s.target.credential(ctx, &s.identity, s.database, refused)
	if err != nil {
		return c, nil, err
	}
	s.mu.Lock()
	last := s.password
	s.password = c.Password
	s.mu.Unlock()
	if refused {
		s.engine.metrics.refusals.WithLabelValues(s.target.config.Name).Inc()
		s.engine.log.Warn().Str("session", s.id).Str("target", s.target.config.Name).Bool("changed", c.Password != last).
			Msg("the upstream refused the proxy's credential, which was read anew")
	}
	return c, release, nil
}
