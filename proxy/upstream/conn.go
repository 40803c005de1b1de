// Package upstream is the way to the stores: dialing, TLS as the target's
// sslmode asks, and the rule that only what was admitted may be written.
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/socket"
)

// Gate decides whether a ticket lets bytes pass.
type Gate interface {
	// Pass is called for each write under t; an error refuses it.
	Pass(t protocols.Ticket) error
}

// Options say how to reach a store. The zero Dial is TCP, or a Unix socket
// where Address begins with /.
type Options struct {
	Address string
	Host    string // to verify the certificate by
	Mode    string // libpq's sslmode
	CA      string // file; "" for the system's
	Cert    string // client certificate, with Key
	Key     string
	ALPN    string // of the protocol inside TLS, "" for none
	Dial    func(ctx context.Context) (net.Conn, error)
}

// DialGate connects; gate decides over statements, nil for a connection that
// carries none. The caller closes the result.
func (o *Options) DialGate(ctx context.Context, gate Gate) (*Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = func(ctx context.Context) (net.Conn, error) {
			d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
			if o.Address[0] == '/' {
				return d.DialContext(ctx, "unix", o.Address)
			}
			return d.DialContext(ctx, "tcp", o.Address)
		}
	}
	c, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to the upstream: %w", err)
	}
	c = socket.Direct(c)
	u := &Conn{options: o, gate: gate, raw: c, conn: c}
	return u, nil
}

// bufferSize is what a connection collects at most before it writes, and
// idleBuffer what it keeps of that when it is idle.
const (
	bufferSize = 64 << 10
	idleBuffer = 8 << 10
)

// Conn is a connection to a store. One goroutine reads; the other methods may
// be called by any, and a call's bytes stay together.
type Conn struct {
	options *Options
	gate    Gate
	raw     net.Conn
	conn    net.Conn   // raw, or TLS over it
	mu      sync.Mutex // of what follows
	buf     []byte     // not yet written
	failed  error      // of a write; it stays
	state   *tls.ConnectionState
}

var _ protocols.Upstream = (*Conn)(nil)

// Send writes what t admits.
func (c *Conn) Send(t protocols.Ticket, b []byte) error {
	if c.gate == nil {
		return errors.New("this connection carries no statements")
	}
	if err := c.gate.Pass(t); err != nil {
		return err
	}
	return c.write(b)
}

func (c *Conn) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf)+len(b) > bufferSize {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if len(b) > bufferSize {
		_, c.failed = c.conn.Write(b)
		return c.failed
	}
	c.buf = append(c.buf, b...)
	return c.failed
}

func (c *Conn) flush() error {
	if c.failed == nil && len(c.buf) > 0 {
		_, c.failed = c.conn.Write(c.buf)
	}
	c.buf = c.buf[:0]
	return c.failed
}

// Control writes a message of the closed list.
func (c *Conn) Control(k protocols.Control, b []byte) error {
	if k < protocols.ControlStartup || k > protocols.ControlSession {
		return fmt.Errorf("control message of unknown kind %d", k)
	}
	return c.write(b)
}

func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	if cap(c.buf) > idleBuffer {
		c.buf = nil
	}
	return err
}

func (c *Conn) Read(p []byte) (int, error) { return c.conn.Read(p) }

// TLS is the state of a TLS connection, or nil.
func (c *Conn) TLS() *tls.ConnectionState { return c.state }

// StartTLS verifies the server as libpq does for the mode: verify-ca its
// authority, verify-full its name too, require and prefer nothing unless a CA
// is given, in which case require is verify-ca.
func (c *Conn) StartTLS(ctx context.Context) error {
	o := c.options
	conf := &tls.Config{ServerName: o.Host, MinVersion: tls.VersionTLS12}
	if o.ALPN != "" {
		conf.NextProtos = []string{o.ALPN}
	}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return fmt.Errorf("reading the upstream's CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("the upstream's CA file holds no certificate")
		}
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return fmt.Errorf("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if o.Mode != "verify-full" {
		conf.InsecureSkipVerify = true // the name is not checked; the chain is, below
		if o.Mode == "verify-ca" || o.CA != "" {
			conf.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, conf.RootCAs) }
		}
	}
	t := tls.Client(c.raw, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with the upstream: %w", err)
	}
	state := t.ConnectionState()
	c.conn, c.state = t, &state
	return nil
}

func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

// Interrupt makes blocked and later reads and writes fail.
func (c *Conn) Interrupt() { _ = c.raw.SetDeadline(time.Unix(1, 0)) }

func (c *Conn) Close() error { return c.conn.Close() }
