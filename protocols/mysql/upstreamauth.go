package mysql

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// greeting is what a server says first (HandshakeV10).
type greeting struct {
	version string
	id      uint32
	nonce   []byte
	caps    uint32
	plugin  string
}

// parseGreeting reads a server's greeting, or the error in its place.
func parseGreeting(b []byte) (*greeting, error) {
	if len(b) > 0 && b[0] == headErr {
		r, err := parseErr(b)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the server refuses the connection: %s (%d)", r.message, r.code)
	}
	f := fields{b: b}
	if f.byte() != 10 {
		return nil, errors.New("the server does not speak version 10 of the protocol")
	}
	g := &greeting{version: f.string(), id: f.uint32()}
	g.nonce = append(g.nonce, f.take(8)...)
	f.byte()
	g.caps = uint32(f.uint16())
	f.byte()
	f.uint16()
	g.caps |= uint32(f.uint16()) << 16
	n := int(f.byte())
	f.take(10)
	if f.bad || g.caps&capProtocol41 == 0 || g.caps&capSecureConnection == 0 || g.caps&capPluginAuth == 0 {
		return nil, errors.New("the server's greeting is malformed, or of a server before MySQL 5.5")
	}
	rest := f.take(max(13, n-8))
	if f.bad {
		return nil, errAnswer
	}
	g.nonce = append(g.nonce, bytes.TrimSuffix(rest, []byte{0})...)
	g.plugin = cString(f.rest())
	return g, nil
}

// wish is what an upstream session is asked for.
type wish struct {
	caps       uint32
	charset    byte
	attributes []byte
}

// upstreamLogin is a connection that has logged in.
type upstreamLogin struct {
	r    *reader
	g    *greeting
	caps uint32 // agreed
	ok   ended
}

// errCredential is a credential that the upstream refused: it may have been
// changed a moment ago.
var errCredential = errors.New("the credential was refused")

// logIn takes a new connection through greeting, TLS and authentication.
func logIn(ctx context.Context, up protocols.Upstream, cred protocols.Credential, w wish) (*upstreamLogin, error) {
	stop := context.AfterFunc(ctx, up.Interrupt)
	defer stop()
	a := &authenticator{up: up, cred: cred, r: newReader(up, maxAuth)}
	b, err := a.receive()
	if err != nil {
		return nil, fmt.Errorf("reading the server's greeting: %w", err)
	}
	g, err := parseGreeting(b)
	if err != nil {
		return nil, err
	}
	caps := w.caps&passed | capLongPassword | capLongFlag | capProtocol41 | capTransactions | capSecureConnection | capPluginAuth | capAuthLenenc | capSessionTrack | capDeprecateEOF | capConnectWithDB
	caps &= g.caps | capLongPassword
	if cred.Database == "" {
		caps &^= capConnectWithDB
	}
	if err := a.encrypt(ctx, &caps, g.caps, w.charset); err != nil {
		return nil, err
	}
	if err := a.authenticate(g, caps, w); err != nil {
		return nil, err
	}
	ok, err := parseOK(a.last, caps)
	if err != nil {
		return nil, err
	}
	return &upstreamLogin{r: a.r, g: g, caps: caps, ok: ok}, nil
}

// authenticator logs in upstream.
type authenticator struct {
	up   protocols.Upstream
	cred protocols.Credential
	r    *reader
	seq  byte
	last []byte
}

func (a *authenticator) receive() ([]byte, error) {
	a.r.seq = a.seq
	if _, err := a.r.next(); err != nil {
		return nil, err
	}
	b, err := a.r.body()
	a.seq = a.r.seq
	return b, err
}

func (a *authenticator) send(kind protocols.Control, payload []byte) error {
	if err := a.up.Control(kind, appendMessage(nil, &a.seq, payload)); err != nil {
		return err
	}
	return a.up.Flush()
}

// encrypt starts TLS as the mode asks.
func (a *authenticator) encrypt(ctx context.Context, caps *uint32, server uint32, charset byte) error {
	switch {
	case a.cred.TLSMode == "disable", a.cred.TLSMode == "prefer" && server&capSSL == 0:
		return nil
	case server&capSSL == 0:
		return errors.New("the server does not support TLS, which the target's URL asks for")
	}
	*caps |= capSSL
	if err := a.send(protocols.ControlStartup, loginHead(*caps, charset)); err != nil {
		return err
	}
	if a.r.buffered() > 0 {
		return errors.New("the server sent bytes before TLS begins")
	}
	return a.up.StartTLS(ctx)
}

func loginHead(caps uint32, charset byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, caps)
	b = binary.LittleEndian.AppendUint32(b, 1<<30)
	return append(append(b, charset), make([]byte, 23)...)
}

// authenticate answers what the server asks until it says OK.
func (a *authenticator) authenticate(g *greeting, caps uint32, w wish) error {
	plugin, nonce := g.plugin, g.nonce
	response, err := a.answer(plugin, nonce)
	if err != nil { // let the server choose another
		plugin, response = pluginNative, mysql.CalcNativePassword(g.nonce, []byte(a.cred.Password))
	}
	b := append(append(loginHead(caps, w.charset), a.cred.User...), 0)
	if caps&capAuthLenenc != 0 {
		b = appendBytes(b, response)
	} else {
		b = append(append(b, byte(len(response))), response...)
	}
	if caps&capConnectWithDB != 0 {
		b = append(append(b, a.cred.Database...), 0)
	}
	b = append(append(b, plugin...), 0)
	if caps&capConnectAttrs != 0 {
		b = appendBytes(b, w.attributes)
	}
	if err := a.send(protocols.ControlStartup, b); err != nil {
		return err
	}
	for range 8 { // a switch and a full exchange take five
		if b, err = a.receive(); err != nil {
			return err
		}
		if len(b) == 0 {
			return errAnswer
		}
		switch b[0] {
		case headOK:
			a.last = append([]byte(nil), b...)
			return nil
		case headErr:
			r, err := parseErr(b)
			if err != nil {
				return err
			}
			err = fmt.Errorf("the server refuses the login: %s (%d)", r.message, r.code)
			if r.state == "28000" { // ER_ACCESS_DENIED_ERROR and its kin
				err = errors.Join(errCredential, err)
			}
			return err
		case headEOF:
			f := fields{b: b[1:]}
			plugin = f.string()
			if f.bad {
				return errors.New("the server asks for the authentication of MySQL 4.0")
			}
			nonce = append([]byte(nil), bytes.TrimSuffix(f.rest(), []byte{0})...)
			if response, err = a.answer(plugin, nonce); err != nil {
				return err
			}
			err = a.send(protocols.ControlAuth, response)
		case headMore:
			err = a.more(plugin, nonce, b[1:])
		default:
			err = errAnswer
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the server's authentication does not end")
}

// answer is the proof that a plugin asks for.
func (a *authenticator) answer(plugin string, nonce []byte) ([]byte, error) {
	password := []byte(a.cred.Password)
	switch plugin {
	case pluginNative, "":
		return mysql.CalcNativePassword(nonce, password), nil
	case pluginSHA2:
		return mysql.CalcCachingSha2Password(nonce, password), nil
	case pluginEd25519:
		return mysql.CalcEd25519Password(nonce, a.cred.Password)
	case pluginClear:
		if a.up.TLS() == nil {
			return nil, errors.New("the server asks for the password in the clear, and the connection has no TLS")
		}
		return append(password, 0), nil
	}
	return nil, fmt.Errorf("the server asks for authentication by %s, which the proxy does not have", quote(plugin))
}

// more continues caching_sha2_password.
func (a *authenticator) more(plugin string, nonce, data []byte) error {
	switch {
	case plugin != pluginSHA2:
		return errAnswer
	case len(data) == 1 && data[0] == fastAuth:
		return nil
	case len(data) != 1 || data[0] != fullAuth:
		return errAnswer
	case a.up.TLS() != nil:
		return a.send(protocols.ControlAuth, append([]byte(a.cred.Password), 0))
	case !loopbackHost(a.cred.Host):
		// Whoever is in between could give a key of its own.
		return errors.New("the server asks for the password under a key that nobody vouches for: use TLS")
	}
	if err := a.send(protocols.ControlAuth, []byte{requestKey}); err != nil {
		return err
	}
	b, err := a.receive()
	if err != nil {
		return err
	}
	if len(b) < 1 || b[0] != headMore {
		return errAnswer
	}
	block, _ := pem.Decode(b[1:])
	if block == nil {
		return errors.New("the server's public key is not PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("the server's public key: %w", err)
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return errors.New("the server's public key is not an RSA key")
	}
	sealed, err := mysql.EncryptPassword(a.cred.Password, nonce, public)
	if err != nil {
		return err
	}
	return a.send(protocols.ControlAuth, sealed)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
