// Package proxy is the engine: it loads the configuration, listens, and takes
// every statement through admission in one order: analyse, decide, record,
// forward, mask. It knows no wire format; protocols and dialects come as
// values from cmd.
package proxy

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// Config is a loaded configuration. Relative paths have been taken from the
// file's folder.
type Config struct {
	Path        string
	Dir         string
	Policy      string
	State       string // as in the file
	Transcripts Transcripts
	Keys        string
	Console     string // address, "" for none
	// AdminApproves says that the admin token may answer holds.
	AdminApproves bool
	Identities    []Identity
	OIDC          []OIDC
	Authorities   []identity.Authority // of the section mtls
	Targets       []Target
	Vault         *Vault
	LogLevel      string
	Drain         time.Duration
	Limits        protocols.Limits
	Sessions      int // of one target at once
}

// Transcripts say where transcripts are and for how long.
type Transcripts struct {
	Place      string        // as in the file: file:PATH or s3://BUCKET
	Dir        string        // the folder, or the one in which sessions are until they are in the bucket
	PartSize   int64         // bytes
	Retain     time.Duration // 0 for ever
	Recipients []age.Recipient
}

// Secret is where a secret comes from.
type Secret struct {
	Env, File string
	Vault     string // of an upstream: MOUNT/PATH#KEY of a key-value store, version 2
	Role      string // of an upstream: MOUNT/ROLE of a database secrets engine, which makes the user too
}

// Read returns the secret, without its last line feed.
func (s Secret) Read(dir string) (string, error) {
	if s.Env != "" {
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set", s.Env)
		}
		return v, nil
	}
	if s.File == "" {
		return "", nil
	}
	b, err := os.ReadFile(resolve(dir, s.File))
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Target is one upstream store and the listener in front of it.
type Target struct {
	Name      string
	Protocol  string
	Listen    string
	TLS       TLS
	Upstream  Upstream
	Databases []string
	// Bearer says that tokens are asked for as SASL OAUTHBEARER instead of as
	// the password.
	Bearer bool
	// Where sessions are runs of requests, Wait is how long a held one blocks,
	// Idle how long a session stays open without one, and Timeout how long the
	// upstream may be silent within one.
	Wait, Idle, Timeout time.Duration
}

// TLS is what clients are offered.
type TLS struct{ Mode, Cert, Key string }

// Upstream is how a store is reached.
type Upstream struct {
	URL       *url.URL
	TLSMode   string // libpq's sslmode
	Password  Secret
	Users     []UpstreamUser // the first that fits an identity comes before URL and Password
	CA        string
	Cert, Key string
}

// LoadConfig reads and checks the configuration at path: all problems at once.
func LoadConfig(path string, known []protocols.Protocol) (*Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	c := &Config{
		Path: abs, Dir: filepath.Dir(abs), State: "sqlite:./var/state.db", Transcripts: Transcripts{Place: "file:./var/transcripts", PartSize: 64 << 20}, LogLevel: "info", AdminApproves: true, Sessions: 1000, Drain: 30 * time.Second,
		Limits: protocols.Limits{Statement: 8 << 20, Message: 64 << 20, Row: 16 << 20, Depth: 1000},
	}
	l := &configLoader{c: c, known: known, names: map[string]bool{}}
	file, root := strictyaml.Parse(filepath.Base(path), src)
	if root != nil {
		l.root(root)
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	for _, p := range []*string{&c.Policy, &c.Transcripts.Dir, &c.Keys} {
		*p = resolve(c.Dir, *p)
	}
	return c, nil
}

func resolve(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

type configLoader struct {
	c     *Config
	known []protocols.Protocol
	names map[string]bool
	// usesVault says that some secret is of Vault's.
	usesVault bool
}

func (l *configLoader) root(root *strictyaml.Node) {
	c := l.c
	has := map[string]bool{}
	text := func(key string, to *string) func(*strictyaml.Node) {
		return func(n *strictyaml.Node) { *to = n.String(); has[key] = true }
	}
	root.Map(map[string]func(*strictyaml.Node){
		"version": func(n *strictyaml.Node) { n.Int(1, 1); has["version"] = true },
		"policy":  text("policy", &c.Policy),
		"storage": l.storage,
		"keys": func(n *strictyaml.Node) {
			n.Map(map[string]func(*strictyaml.Node){"dir": text("keys", &c.Keys)})
		},
		"console": func(n *strictyaml.Node) {
			n.Map(map[string]func(*strictyaml.Node){
				"listen":         func(n *strictyaml.Node) { c.Console = address(n) },
				"admin_approves": func(n *strictyaml.Node) { c.AdminApproves = n.Bool() },
			})
			if c.Console != "" && !loopback(c.Console) {
				n.Problem("the console listens on loopback only; put a TLS proxy in front of it for others")
			}
		},
		"identities": func(n *strictyaml.Node) {
			for _, e := range n.List() {
				l.identity(e)
			}
		},
		"oidc": func(n *strictyaml.Node) {
			for _, e := range n.List() {
				l.oidc(e)
			}
		},
		"mtls": func(n *strictyaml.Node) {
			for _, e := range n.List() {
				l.authority(e)
			}
		},
		"vault": l.vault,
		"targets": func(n *strictyaml.Node) {
			has["targets"] = true
			for _, e := range n.List() {
				l.target(e)
			}
		},
		"log": func(n *strictyaml.Node) {
			n.Map(map[string]func(*strictyaml.Node){"level": func(n *strictyaml.Node) { c.LogLevel = n.OneOf("debug", "info", "warn", "error") }})
		},
		"drain": func(n *strictyaml.Node) { c.Drain = n.Duration() },
		"limits": func(n *strictyaml.Node) {
			bound := func(to *int, least, most int64) func(*strictyaml.Node) {
				return func(n *strictyaml.Node) { *to = int(n.Int(least, most)) }
			}
			n.Map(map[string]func(*strictyaml.Node){
				"row": bound(&c.Limits.Row, 1<<10, 1<<30), "statement": bound(&c.Limits.Statement, 1<<10, 64<<20),
				"message": bound(&c.Limits.Message, 1<<10, 1<<30), "depth": bound(&c.Limits.Depth, 10, 3000),
				"sessions": bound(&c.Sessions, 1, 1_000_000),
			})
		},
	})
	if l.usesVault && c.Vault == nil {
		root.Problem("secrets are of Vault's and there is no section vault")
	}
	for _, key := range []string{"version", "policy", "targets"} {
		if !has[key] {
			root.Problem("key %q is missing", key)
		}
	}
	if t := &c.Transcripts; t.Dir == "" {
		t.Dir = "./var/spool"
		if path, ok := strings.CutPrefix(t.Place, "file:"); ok {
			t.Dir = path
		}
	}
	if !has["keys"] {
		c.Keys = "./var/keys"
	}
}

func (l *configLoader) storage(n *strictyaml.Node) {
	c, t := l.c, &l.c.Transcripts
	n.Map(map[string]func(*strictyaml.Node){
		"state": func(n *strictyaml.Node) {
			if c.State = n.String(); !strings.HasPrefix(c.State, "sqlite:") {
				n.Problem("must be sqlite:PATH")
			}
		},
		"transcripts": func(n *strictyaml.Node) {
			t.Place = n.String()
			u, err := url.Parse(t.Place)
			switch path, file := strings.CutPrefix(t.Place, "file:"); {
			case file && path != "":
			case err == nil && u.Scheme == "s3" && u.Host != "" && u.User == nil:
			default:
				n.Problem("must be file:PATH or s3://BUCKET?region=…&endpoint=…, without credentials, which come from the environment")
			}
		},
		"spool":     func(n *strictyaml.Node) { t.Dir = n.String() },
		"part_size": func(n *strictyaml.Node) { t.PartSize = n.Int(1<<20, 1<<30) },
		"retain": func(n *strictyaml.Node) {
			if t.Retain = n.Duration(); t.Retain < time.Hour {
				n.Problem("must be an hour at least")
			}
		},
		"recipients": func(n *strictyaml.Node) { t.Recipients = sqlpolicy.Recipients(n) },
	})
	if t.Dir != "" && strings.HasPrefix(t.Place, "file:") {
		n.Problem("spool is for buckets: it is where sessions are until they are in one")
	}
}

// secret reads {env: NAME} or {file: PATH}.
func secret(n *strictyaml.Node) Secret {
	s := Secret{}
	readSecret(n, map[string]func(*strictyaml.Node){
		"env":  func(n *strictyaml.Node) { s.Env = n.String() },
		"file": func(n *strictyaml.Node) { s.File = n.String() },
	})
	return s
}

// readSecret reads one of the ways to name a secret.
func readSecret(n *strictyaml.Node, ways map[string]func(*strictyaml.Node)) {
	if !n.IsMap() {
		n.Problem("a secret never stands in the file: give {env: NAME} or {file: PATH}")
		return
	}
	given := 0
	for key, read := range ways {
		ways[key] = func(n *strictyaml.Node) { given++; read(n) }
	}
	n.Map(ways)
	if given != 1 {
		n.Problem("give one of %s", strings.Join(slices.Sorted(maps.Keys(ways)), ", "))
	}
}

func address(n *strictyaml.Node) string {
	s := n.String()
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		n.Problem("must be HOST:PORT")
	}
	return s
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func (l *configLoader) target(n *strictyaml.Node) {
	t := Target{Wait: 3 * time.Second, Idle: 5 * time.Minute, Timeout: 5 * time.Minute}
	requests := false // a key that is for those alone
	var up *strictyaml.Node
	n.Map(map[string]func(*strictyaml.Node){
		"name": func(n *strictyaml.Node) {
			t.Name = n.String()
			if l.names["target "+t.Name] {
				n.Problem("another target is named %q", t.Name)
			}
			l.names["target "+t.Name] = true
		},
		"protocol": func(n *strictyaml.Node) {
			var names []string
			for _, p := range l.known {
				names = append(names, p.Name)
			}
			t.Protocol = n.OneOf(names...)
		},
		"listen": func(n *strictyaml.Node) { t.Listen = address(n) },
		"tls": func(n *strictyaml.Node) {
			n.Map(map[string]func(*strictyaml.Node){
				"mode": func(n *strictyaml.Node) { t.TLS.Mode = n.OneOf("disable", "require") },
				"cert": func(n *strictyaml.Node) { t.TLS.Cert = resolve(l.c.Dir, n.String()) },
				"key":  func(n *strictyaml.Node) { t.TLS.Key = resolve(l.c.Dir, n.String()) },
			})
			if t.TLS.Mode == "require" && (t.TLS.Cert == "" || t.TLS.Key == "") {
				n.Problem("mode require needs cert and key")
			}
		},
		"upstream":  func(n *strictyaml.Node) { up = n },
		"databases": func(n *strictyaml.Node) { t.Databases = n.Strings() },
		"tokens":    func(n *strictyaml.Node) { t.Bearer = n.OneOf("password", "oauthbearer") == "oauthbearer" },
		"wait":      func(n *strictyaml.Node) { t.Wait, requests = n.Duration(), true },
		"idle":      func(n *strictyaml.Node) { t.Idle, requests = n.Duration(), true },
		"timeout":   func(n *strictyaml.Node) { t.Timeout, requests = n.Duration(), true },
		"grpc":      func(n *strictyaml.Node) { n.Problem("grpc is not supported by this version") },
	})
	if up != nil {
		var p *protocols.Protocol
		if i := slices.IndexFunc(l.known, func(p protocols.Protocol) bool { return p.Name == t.Protocol }); i >= 0 {
			p = &l.known[i]
		}
		l.upstream(up, &t.Upstream, p)
		if requests && p != nil && !p.Requests {
			n.Problem("wait, idle and timeout are for stores over HTTP")
		}
	}
	switch {
	case t.Name == "" || t.Protocol == "" || t.Listen == "" || up == nil:
		n.Problem("a target needs name, protocol, listen and upstream")
	case t.TLS.Mode == "":
		n.Problem("a target needs tls: {mode: require} with cert and key, or {mode: disable} on loopback")
	case t.TLS.Mode == "disable" && !loopback(t.Listen):
		n.Problem("tls mode disable is for loopback only; %s can be reached from elsewhere", t.Listen)
	}
	l.c.Targets = append(l.c.Targets, t)
}

// upstream reads how a store is reached; p is nil for an unknown protocol.
func (l *configLoader) upstream(n *strictyaml.Node, u *Upstream, p *protocols.Protocol) {
	n.Map(map[string]func(*strictyaml.Node){
		"url": func(n *strictyaml.Node) {
			parsed, err := url.Parse(n.String())
			switch {
			case err != nil:
				n.Problem("is not a URL")
			case parsed.User != nil && hasPassword(parsed):
				n.Problem("the URL holds a password; give it as password: {env: NAME} or {file: PATH}")
			case p == nil: // which has been said
			case !fits(n, p, parsed):
			default:
				u.URL = parsed
				if u.TLSMode, err = tlsMode(p, parsed); err != nil {
					n.Problem("%v", err)
				}
			}
		},
		"password": func(n *strictyaml.Node) { u.Password = l.upstreamSecret(n) },
		"users": func(n *strictyaml.Node) {
			for _, e := range n.List() {
				u.Users = append(u.Users, l.upstreamUser(e, p))
			}
		},
		"ca":   func(n *strictyaml.Node) { u.CA = resolve(l.c.Dir, n.String()) },
		"cert": func(n *strictyaml.Node) { u.Cert = resolve(l.c.Dir, n.String()) },
		"key":  func(n *strictyaml.Node) { u.Key = resolve(l.c.Dir, n.String()) },
	})
}

// fits checks an upstream's URL against what the protocol takes.
func fits(n *strictyaml.Node, p *protocols.Protocol, u *url.URL) bool {
	database := strings.Trim(u.Path, "/")
	switch {
	case !slices.Contains(p.Schemes, u.Scheme) && p.Requests:
		n.Problem("must be %s://HOST:PORT", strings.Join(p.Schemes, "://HOST:PORT or "))
	case !slices.Contains(p.Schemes, u.Scheme):
		n.Problem("must be %s://USER@HOST:PORT/DATABASE", p.Schemes[0])
	case p.Requests && (u.User != nil || database != "" || u.RawQuery != "" || u.Hostname() == ""):
		n.Problem("must be %s://HOST:PORT and nothing more; the store's key is the password", u.Scheme)
	case !p.Requests && (u.User.Username() == "" || u.Host == "" || database == ""):
		n.Problem("needs user, host and database")
	default:
		return true
	}
	return false
}

// tlsMode is what the URL asks of TLS.
func tlsMode(p *protocols.Protocol, u *url.URL) (string, error) {
	switch {
	case p.TLSMode != nil:
		return p.TLSMode(u.Query())
	case u.Scheme == "http":
		return "disable", nil
	}
	return "verify-full", nil
}

func hasPassword(u *url.URL) bool { _, ok := u.User.Password(); return ok }
