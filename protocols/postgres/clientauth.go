package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/xdg-go/scram"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// Codes of the Authentication message.
const (
	authOK        = 0
	authCleartext = 3
	authMD5       = 5
	authSASL      = 10
	authContinue  = 11
	authFinal     = 12
)

const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
	// maxAuth bounds a message of a client that has not logged in.
	maxAuth = 64 << 10
)

func authMessage(code uint32, data ...[]byte) []byte {
	return message('R', append([][]byte{binary.BigEndian.AppendUint32(nil, code)}, data...)...)
}

// login authenticates the client and opens its session in the engine.
func (c *client) login(ctx context.Context) (protocols.Session, error) {
	l := protocols.Login{User: c.up.get("user"), Database: c.up.get("database"), Address: c.address(), Options: map[string]string{}}
	for i, n := range c.up.names {
		if n != "user" && n != "database" {
			l.Options[n] = c.up.values[i]
		}
	}
	if c.tls != nil {
		state := c.tls.ConnectionState()
		l.TLS = &state
	}
	v, err := c.host.Verifier(ctx, l.User)
	if err != nil {
		return nil, c.refuse(toLogin(err))
	}
	switch {
	case v.Iterations > 0:
		l.Method = "scram"
		if err = c.scram(v); errors.Is(err, errProof) {
			l.Method, err = "failed", nil
		}
	case v.Certificate:
		l.Method = "certificate"
	case v.Bearer != nil:
		l.Method = "token"
		return c.loginBearer(ctx, l, v.Bearer)
	default:
		l.Method = "password"
		l.Secret, err = c.password()
	}
	if err != nil {
		return nil, c.gaveUp(err)
	}
	s, err := c.host.Login(ctx, l)
	if err != nil {
		return nil, c.refuse(toLogin(err))
	}
	return s, nil
}

func toLogin(err error) *wireError {
	e := *toWire(err, "")
	e.severity = "FATAL"
	return &e
}

// gaveUp ends a login that did not get to its proof: the client is told what
// it did wrong, where it has not simply gone.
func (c *client) gaveUp(err error) error {
	var w *wireError
	if errors.As(err, &w) {
		return c.refuse(w)
	}
	return fmt.Errorf("the client did not log in: %w", err)
}

// errProof is a proof that is wrong, of a name that exists or not.
var errProof = errors.New("SCRAM proof failed")

// receive reads one message of type p.
func (c *client) receive() ([]byte, error) {
	var head [5]byte
	if err := readAll(c.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != 'p' || n < 4 || n > maxAuth {
		return nil, fatal("08P01", "expected a password or SASL response", "")
	}
	b := make([]byte, n-4)
	return b, readAll(c.conn, b)
}

func (c *client) password() (string, error) {
	if err := c.private(); err != nil {
		return "", err
	}
	if _, err := c.conn.Write(authMessage(authCleartext)); err != nil {
		return "", err
	}
	b, err := c.receive()
	if err != nil {
		return "", err
	}
	f := fields{b: b}
	s := f.string()
	if !f.done() {
		return "", fatal("08P01", "invalid password packet size", "")
	}
	return s, nil
}

// private says that a token may cross: over TLS, or on loopback.
func (c *client) private() error {
	if c.tls == nil && !isLoopback(c.conn.RemoteAddr()) {
		return fatal("28000", "this identity logs in with a token, which must not cross the network in the clear", "Connect with sslmode=require or stricter.")
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	host, _, err := net.SplitHostPort(a.String())
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// scram proves the client's password against v.
//
// Source: https://www.postgresql.org/docs/current/sasl-authentication.html.
func (c *client) scram(v protocols.Verifier) error {
	var mechanisms []byte
	binding, bound := c.binding()
	if bound {
		mechanisms = appendString(mechanisms, mechanismPlus)
	}
	mechanisms = append(appendString(mechanisms, mechanism), 0)
	if _, err := c.conn.Write(authMessage(authSASL, mechanisms)); err != nil {
		return err
	}
	b, err := c.receive()
	if err != nil {
		return err
	}
	f := fields{b: b}
	chosen := f.string()
	first := f.take(int(f.int32()))
	offered := []string{mechanism}
	if bound {
		offered = append(offered, mechanismPlus)
	}
	if !f.done() || !slices.Contains(offered, chosen) {
		return fatal("08P01", "malformed SASL initial response", "")
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Iterations},
			StoredKey:  v.StoredKey, ServerKey: v.ServerKey,
		}, nil
	})
	if err != nil {
		return err
	}
	conv := server.NewConversation()
	if bound && chosen == mechanismPlus {
		conv = server.NewConversationWithChannelBindingRequired(binding)
	} else if bound {
		conv = server.NewConversationWithChannelBinding(binding)
	}
	challenge, err := conv.Step(string(first))
	if err != nil {
		return errors.Join(errProof, err)
	}
	if _, err := c.conn.Write(authMessage(authContinue, []byte(challenge))); err != nil {
		return err
	}
	if b, err = c.receive(); err != nil {
		return err
	}
	final, err := conv.Step(string(b))
	if err != nil || !conv.Valid() {
		return errors.Join(errProof, err)
	}
	_, err = c.conn.Write(authMessage(authFinal, []byte(final)))
	return err
}

// binding is tls-server-end-point (RFC 5929) for our certificate.
func (c *client) binding() (scram.ChannelBinding, bool) {
	conf, _ := c.host.TLS()
	if c.tls == nil || conf == nil || len(conf.Certificates) == 0 {
		return scram.ChannelBinding{}, false
	}
	leaf, err := x509.ParseCertificate(conf.Certificates[0].Certificate[0])
	if err != nil {
		return scram.ChannelBinding{}, false
	}
	cb, err := scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	return cb, err == nil
}

// readAll fills b, exactly.
func readAll(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	return err
}
