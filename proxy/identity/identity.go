// Package identity says who is calling: static identities with a password or
// a token. It keeps verifiers, not passwords, and answers for unknown names as
// it does for known ones.
package identity

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"sync"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/xdg-go/scram"
	"golang.org/x/time/rate"

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

// Book knows the identities. It is immutable but for its counts of failures
// and safe for concurrent use.
type Book struct {
	byName map[string]*entry
	secret []byte // for the verifiers of names that do not exist

	mu       sync.Mutex
	failures map[string]*rate.Limiter
}

type entry struct {
	identity facts.Identity
	verifier protocols.Verifier
	token    [32]byte
	isToken  bool
}

// NewBook makes verifiers of the passwords.
func NewBook(list []Static) (*Book, error) {
	b := &Book{byName: map[string]*entry{}, secret: make([]byte, 32), failures: map[string]*rate.Limiter{}}
	rand.Read(b.secret) // never fails
	for _, s := range list {
		e := &entry{identity: s.Identity, isToken: s.Token != "", token: sha256.Sum256([]byte(s.Token))}
		if !e.isToken {
			if s.Password == "" {
				return nil, errors.New("identity " + s.Identity.Name + " has an empty password")
			}
			client, err := scram.SHA256.NewClient(s.Identity.Name, s.Password, "")
			if err != nil {
				return nil, err
			}
			salt := make([]byte, 16)
			rand.Read(salt)
			c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
			if err != nil {
				return nil, err
			}
			sha2 := sha256.Sum256([]byte(s.Password))
			sha2 = sha256.Sum256(sha2[:])
			e.verifier = protocols.Verifier{Salt: salt, Iterations: iterations, StoredKey: c.StoredKey, ServerKey: c.ServerKey,
				Native: mysql.NativePasswordHash([]byte(s.Password)), CachingSHA2: sha2[:]}
		}
		b.byName[s.Identity.Name] = e
	}
	return b, nil
}

// Verifier returns the name's verifier; one without iterations for a token
// identity, and a made-up one, the same at each call, for an unknown name.
func (b *Book) Verifier(name string) protocols.Verifier {
	if e := b.byName[name]; e != nil {
		if e.isToken {
			return protocols.Verifier{}
		}
		return e.verifier
	}
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

// Check returns the identity of a login whose proof the wire has verified, or
// whose secret is checked here.
func (b *Book) Check(l protocols.Login) (facts.Identity, bool) {
	e := b.byName[l.User]
	switch {
	case e == nil:
		return facts.Identity{}, false
	case e.isToken:
		got := sha256.Sum256([]byte(l.Secret))
		if proved[l.Method] || subtle.ConstantTimeCompare(got[:], e.token[:]) != 1 {
			return facts.Identity{}, false
		}
	case !proved[l.Method]:
		return facts.Identity{}, false
	}
	id := e.identity
	id.Address = l.Address
	return id, true
}

// Groups are those of an identity, nil for an unknown one.
func (b *Book) Groups(name string) []string {
	if e := b.byName[name]; e != nil {
		return e.identity.Groups
	}
	return nil
}

// Knows says whether secret is the name's password or token. It takes as long
// for an unknown name.
func (b *Book) Knows(name, secret string) bool {
	e := b.byName[name]
	if e != nil && e.isToken {
		got := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(got[:], e.token[:]) == 1
	}
	v := b.Verifier(name)
	salted, err := pbkdf2.Key(sha256.New, secret, v.Salt, v.Iterations, sha256.Size)
	if err != nil {
		return false
	}
	m := hmac.New(sha256.New, salted) // RFC 5802 §3
	m.Write([]byte("Client Key"))
	stored := sha256.Sum256(m.Sum(nil))
	return subtle.ConstantTimeCompare(stored[:], v.StoredKey) == 1 && e != nil
}

// Has says whether the name is still known, for sessions that outlive a
// reload.
func (b *Book) Has(name string) bool { return b.byName[name] != nil }

// maxFailures bounds the table of addresses.
const maxFailures = 10000

// MayTry says whether an address may try a name again: ten times at once, and
// then one each five seconds. Failed notes a failure.
func (b *Book) MayTry(address, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.failures[address+"\x00"+name]
	return l == nil || l.Tokens() >= 1
}

// Failed notes a failed login.
func (b *Book) Failed(address, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := address + "\x00" + name
	l := b.failures[key]
	if l == nil {
		if len(b.failures) >= maxFailures {
			clear(b.failures)
		}
		l = rate.NewLimiter(0.2, 10)
		b.failures[key] = l
	}
	l.Allow()
}
