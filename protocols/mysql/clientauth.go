package mysql

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"sync"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// authenticate finds out who the client is and opens its session in the
// engine. A wrong proof goes to Login too, where failures are counted; the
// answer to all of them is one.
func (c *client) authenticate(ctx context.Context) (protocols.Session, error) {
	l := protocols.Login{User: c.login.user, Database: c.login.database, Address: c.address(), Options: c.login.options()}
	if c.tls != nil {
		state := c.tls.ConnectionState()
		l.TLS = &state
	}
	v, err := c.host.Verifier(ctx, l.User)
	if err != nil {
		return nil, err
	}
	switch {
	case v.Certificate:
		l.Method = "certificate"
	case len(v.Native) == 0 || len(v.CachingSHA2) == 0:
		l.Method = "password"
		l.Secret, err = c.secret()
	default:
		l.Method, err = c.prove(v)
	}
	if err != nil {
		return nil, err
	}
	return c.host.Login(ctx, l)
}

// prove checks the client's proof of its password and returns the method, or
// "failed".
func (c *client) prove(v protocols.Verifier) (string, error) {
	plugin, response := c.login.plugin, c.login.response
	if plugin != pluginNative && plugin != pluginSHA2 {
		var err error
		plugin = c.plugin
		if response, err = c.switchTo(plugin); err != nil {
			return "", err
		}
	}
	switch {
	case plugin == pluginNative && len(response) == sha1.Size && mysql.CompareNativePassword(response, v.Native, c.nonce):
		return plugin, nil
	case plugin == pluginSHA2 && compareSHA2(response, v.CachingSHA2, c.nonce):
		return plugin, c.send([]byte{headMore, fastAuth})
	}
	return "failed", nil
}

// switchTo asks for the proof of another plugin.
func (c *client) switchTo(plugin string) ([]byte, error) {
	if c.login.caps&capPluginAuth == 0 {
		return nil, &wireError{code: 1251, state: "08004", message: "the client does not know how to log in by " + plugin}
	}
	b := append(append([]byte{headEOF}, plugin...), 0)
	if err := c.send(append(append(b, c.nonce...), 0)); err != nil {
		return nil, err
	}
	b, err := c.receive()
	return append([]byte(nil), b...), err
}

// compareSHA2 checks the fast proof of caching_sha2_password: the reply is
// SHA256(password) XOR SHA256(stored, nonce).
func compareSHA2(reply, stored, nonce []byte) bool {
	if len(reply) != sha256.Size || len(stored) != sha256.Size {
		return false
	}
	m := sha256.Sum256(append(append([]byte(nil), stored...), nonce...))
	for i := range m {
		m[i] ^= reply[i]
	}
	again := sha256.Sum256(m[:])
	return subtle.ConstantTimeCompare(again[:], stored) == 1
}

// Codes of caching_sha2_password.
const (
	requestKey = 2
	fastAuth   = 3
	fullAuth   = 4
)

// secret gets the password itself, which a token is: by mysql_clear_password
// where the client has chosen it, else by the full exchange of
// caching_sha2_password, which every client knows. It crosses a connection
// under TLS, or one of this machine.
func (c *client) secret() (string, error) {
	if c.tls == nil && !isLoopback(c.conn.RemoteAddr()) {
		return "", &wireError{code: 3159, state: "HY000", message: "this identity logs in with a token, which must not cross the network in the clear; connect with TLS"}
	}
	response := c.login.response
	switch c.login.plugin {
	case pluginClear:
		return cString(response), nil
	case pluginSHA2:
	default:
		if _, err := c.switchTo(pluginSHA2); err != nil {
			return "", err
		}
	}
	if err := c.send([]byte{headMore, fullAuth}); err != nil {
		return "", err
	}
	b, err := c.receive()
	if err != nil {
		return "", err
	}
	if c.tls != nil || len(b) != 1 || b[0] != requestKey {
		return cString(b), nil
	}
	key, public, err := keyPair()
	if err != nil {
		return "", err
	}
	if err := c.send(append([]byte{headMore}, public...)); err != nil {
		return "", err
	}
	if b, err = c.receive(); err != nil {
		return "", err
	}
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, key, b, nil)
	if err != nil {
		return "", nil // a wrong password like any other
	}
	for i := range plain {
		plain[i] ^= c.nonce[i%len(c.nonce)]
	}
	return cString(plain), nil
}

func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// keyPair is the process's RSA key for passwords on plaintext connections,
// made when one is first asked for.
var keyPair = func() func() (*rsa.PrivateKey, []byte, error) {
	type pair struct {
		key    *rsa.PrivateKey
		public []byte
	}
	once := sync.OnceValues(func() (pair, error) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return pair{}, fmt.Errorf("making an RSA key: %w", err)
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		return pair{key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}, err
	})
	return func() (*rsa.PrivateKey, []byte, error) {
		p, err := once()
		return p.key, p.public, err
	}
}()

func isLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}
