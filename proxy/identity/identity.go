// Package identity says who is calling. It takes a login as a wire hands it
// over and answers with an identity and the time until which it holds:
//
//   - static identities with a password (SCRAM, or checked here) or a token;
//   - tokens of OIDC issuers (oidc.go), whose keys are fetched at a bounded
//     rate and kept for a bounded time when the issuer is gone (keyset.go);
//   - TLS client certificates of named authorities (certificate.go).
//
// It keeps verifiers, not passwords, and answers for unknown names as it does
// for known ones.
package identity

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/xdg-go/scram"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// iterations is PostgreSQL's default for SCRAM-SHA-256.
const iterations = 4096

// Static is one identity of the configuration. One of Password and Token is
// set.
type Static struct {
	Identity facts.Identity
	Password string
	Token    string
}

// Caller is who has logged in.
type Caller struct {
	facts.Identity
	// Expires is when the login ends: a token's or a certificate's own end.
	// Zero is a static identity, which has none.
	Expires time.Time
	// By is how it was established: "password", "token", "oidc ISSUER" or
	// "certificate". It is safe to print.
	By string
}

// Refused is a login that is not accepted. Reason is safe to tell the client:
// it speaks of what the client sent, and of no name's existence.
type Refused struct {
	Reason string
	Hint   string
	// Unavailable says that the login could not be checked, so that it may
	// succeed later.
	Unavailable bool
}

func (r *Refused) Error() string { return r.Reason }

func refuse(format string, args ...any) *Refused {
	return &Refused{Reason: fmt.Sprintf(format, args...)}
}

// errWrong is the one answer to a wrong password or static token.
var errWrong = &Refused{Reason: "wrong name, password or token"}

// Book knows who may log in. It is immutable and safe for concurrent use.
type Book struct {
	byName  map[string]*entry
	byToken map[[32]byte]*entry
	issuers []*Issuer
	certs   *Certificates
	secret  []byte // for the verifiers of names that do not exist
}

type entry struct {
	identity facts.Identity
	verifier protocols.Verifier
	token    [32]byte
	isToken  bool
}

// NewBook makes verifiers of the passwords. issuers and certs may be nil.
func NewBook(list []Static, issuers []*Issuer, certs *Certificates) (*Book, error) {
	b := &Book{byName: map[string]*entry{}, byToken: map[[32]byte]*entry{}, issuers: issuers, certs: certs, secret: make([]byte, 32)}
	rand.Read(b.secret) // never fails
	for _, s := range list {
		name := s.Identity.Name
		if b.byName[name] != nil || certs.byName(name) != nil {
			return nil, fmt.Errorf("two identities are named %s", name)
		}
		e := &entry{identity: s.Identity, isToken: s.Token != "", token: sha256.Sum256([]byte(s.Token))}
		switch {
		case e.isToken && b.byToken[e.token] != nil:
			return nil, fmt.Errorf("identities %s and %s have the same token", b.byToken[e.token].identity.Name, name)
		case e.isToken:
			b.byToken[e.token] = e
		case s.Password == "":
			return nil, errors.New("identity " + name + " has an empty password")
		default:
			var err error
			if e.verifier, err = newVerifier(name, s.Password); err != nil {
				return nil, err
			}
		}
		b.byName[name] = e
	}
	return b, nil
}

func newVerifier(name, password string) (protocols.Verifier, error) {
	client, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		return protocols.Verifier{}, err
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return protocols.Verifier{}, err
	}
	sha2 := sha256.Sum256([]byte(password))
	sha2 = sha256.Sum256(sha2[:])
	return protocols.Verifier{Salt: salt, Iterations: iterations, StoredKey: c.StoredKey, ServerKey: c.ServerKey,
		Native: mysql.NativePasswordHash([]byte(password)), CachingSHA2: sha2[:]}, nil
}

// Verifier says how a name logs in: by its SCRAM verifier, by certificate, or
// by a token. For an unknown name it is a token where there are issuers, whose
// names nobody knows beforehand, and else a made-up verifier, the same at each
// call.
func (b *Book) Verifier(name string) protocols.Verifier {
	if e := b.byName[name]; e != nil {
		return e.verifier // without iterations for a token
	}
	if b.certs.byName(name) != nil {
		return protocols.Verifier{Certificate: true}
	}
	if len(b.issuers) > 0 {
		return protocols.Verifier{}
	}
	return b.madeUp(name)
}

func (b *Book) madeUp(name string) protocols.Verifier {
	derive := func(what string, n int) []byte {
		m := hmac.New(sha256.New, b.secret)
		m.Write([]byte(what + "\x00" + name))
		return m.Sum(nil)[:n]
	}
	return protocols.Verifier{Salt: derive("salt", 16), Iterations: iterations, StoredKey: derive("stored", 32), ServerKey: derive("server", 32),
		Native: derive("native", 20), CachingSHA2: derive("caching_sha2", 32)}
}

// proved are the methods by which the wire has checked a password.
var proved = map[string]bool{"scram": true, "mysql_native_password": true, "caching_sha2_password": true}

// Identify checks a login: the one way in for every wire. Its error is a
// *Refused.
func (b *Book) Identify(ctx context.Context, l protocols.Login) (Caller, error) {
	var c Caller
	var err error
	var known *entry
	if l.User == "" {
		// The map is keyed by the token's hash: how long a lookup takes says
		// nothing of a token.
		known = b.byToken[sha256.Sum256([]byte(l.Secret))]
	}
	switch {
	case l.Method == "failed":
		err = errWrong
	case proved[l.Method]:
		c, err = b.proven(l.User)
	case l.Method == "certificate":
		c, err = b.certs.identify(l)
	case known != nil:
		c = Caller{Identity: known.identity, By: "token"}
	case l.User != "" && b.byName[l.User] != nil:
		c, err = b.static(l)
	case len(b.issuers) > 0:
		c, err = b.token(ctx, l)
	default:
		_ = b.Knows(l.User, l.Secret) // takes as long as for a known name
		err = errWrong
	}
	if err != nil {
		return Caller{}, err
	}
	c.Address = l.Address
	return c, nil
}

// proven is a name whose proof the wire has checked.
func (b *Book) proven(name string) (Caller, error) {
	if e := b.byName[name]; e != nil && !e.isToken {
		return Caller{Identity: e.identity, By: "password"}, nil
	}
	return Caller{}, errWrong
}

// static checks the secret of a static identity. A wire that could have asked
// for a SCRAM proof ("password") does not get in with the password itself.
func (b *Book) static(l protocols.Login) (Caller, error) {
	e := b.byName[l.User]
	if !e.isToken && l.Method == "password" || !b.Knows(l.User, l.Secret) {
		return Caller{}, errWrong
	}
	by := "password"
	if e.isToken {
		by = "token"
	}
	return Caller{Identity: e.identity, By: by}, nil
}

// token checks an issuer's token.
func (b *Book) token(ctx context.Context, l protocols.Login) (Caller, error) {
	issuer, err := b.issuerOf(l.Secret)
	if err != nil {
		return Caller{}, err
	}
	c, err := issuer.verify(ctx, l.Secret)
	switch {
	case err != nil:
		return Caller{}, err
	case l.User != "" && l.User != c.Name:
		return Caller{}, &Refused{Reason: fmt.Sprintf("the token names %q", bound(c.Name)), Hint: "Log in under the name that the token names."}
	case b.byName[c.Name] != nil || b.certs.byName(c.Name) != nil:
		return Caller{}, refuse("the token's name belongs to another identity")
	}
	return c, nil
}

// Static says whether the name is one of the configuration's own, with a
// password or a token.
func (b *Book) Static(name string) bool { return b.byName[name] != nil }

// Knows says whether secret is the name's password or token. It takes as long
// for an unknown name.
func (b *Book) Knows(name, secret string) bool {
	e := b.byName[name]
	if e != nil && e.isToken {
		got := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(got[:], e.token[:]) == 1
	}
	v := b.madeUp(name)
	if e != nil {
		v = e.verifier
	}
	salted, err := pbkdf2.Key(sha256.New, secret, v.Salt, v.Iterations, sha256.Size)
	if err != nil {
		return false
	}
	m := hmac.New(sha256.New, salted) // RFC 5802 §3
	m.Write([]byte("Client Key"))
	stored := sha256.Sum256(m.Sum(nil))
	return subtle.ConstantTimeCompare(stored[:], v.StoredKey) == 1 && e != nil
}

// Holds says whether a caller that logged in earlier would still be the same
// identity, for sessions that outlive a reload: "" where it would, else why
// not. A password or token that changed does not matter.
func (b *Book) Holds(c Caller) string {
	var now *facts.Identity
	switch {
	case b.byName[c.Name] != nil && (c.By == "password" || c.By == "token"):
		now = &b.byName[c.Name].identity
	case c.By == "certificate" && b.certs.byName(c.Name) != nil:
		now = b.certs.byName(c.Name)
	case b.issuerHolds(c):
		return ""
	}
	switch {
	case now == nil:
		return "the identity was removed"
	case now.Kind != c.Kind || !slices.Equal(now.Groups, c.Groups):
		return "the identity's groups were changed"
	}
	return ""
}

// bound limits what is told back of a client's input.
func bound(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
