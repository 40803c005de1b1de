package postgres

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// Request codes in the place of a protocol version.
const (
	codeCancel   = 80877102
	codeSSL      = 80877103
	codeGSS      = 80877104
	version30    = 3 << 16
	version32    = 3<<16 | 2
	maxStartup   = 10000 // MAX_STARTUP_PACKET_LENGTH of PostgreSQL
	startupTime  = 20 * time.Second
	tlsHandshake = 0x16 // first byte of a TLS record: direct TLS
)

// startup is what a client's start-up packet says. Parameters keep their
// order.
type startup struct {
	version uint32
	names   []string
	values  []string
	cancel  string // the key of a cancel request; "" otherwise
	unknown []string
}

func (s *startup) get(name string) string {
	for i := len(s.names) - 1; i >= 0; i-- { // the last one counts, as in PostgreSQL
		if s.names[i] == name {
			return s.values[i]
		}
	}
	return ""
}

var (
	errGarbage = errors.New("not a PostgreSQL start-up packet")
	// errLayout is told as PostgreSQL does (ProcessStartupPacket in
	// src/backend/tcop/backend_startup.c).
	errLayout = fatal("08P01", "invalid startup packet layout: expected terminator as last byte", "")
)

// parseStartup reads a start-up packet without its length.
func parseStartup(b []byte) (*startup, error) {
	f := fields{b: b}
	s := &startup{version: f.uint32()}
	if f.bad {
		return nil, errGarbage
	}
	if s.version == codeCancel {
		if len(f.b) < 8 || len(f.b) > 4+256 {
			return nil, errGarbage
		}
		s.cancel = string(f.b)
		return s, nil
	}
	if s.version>>16 != 3 {
		return s, nil
	}
	for {
		name := f.string()
		if name == "" {
			break
		}
		value := f.string()
		if f.bad {
			return nil, errLayout
		}
		if strings.HasPrefix(name, "_pq_.") {
			s.unknown = append(s.unknown, name)
			continue
		}
		s.names, s.values = append(s.names, name), append(s.values, value)
	}
	if !f.done() {
		return nil, errLayout
	}
	return s, nil
}

// client is a client's connection before its session.
type client struct {
	conn net.Conn
	host protocols.Host
	tls  *tls.Conn
	up   *startup
}

func (c *client) address() string {
	host, _, err := net.SplitHostPort(c.conn.RemoteAddr().String())
	if err != nil {
		return c.conn.RemoteAddr().String()
	}
	return host
}

func (c *client) refuse(e *wireError) error {
	_, err := c.conn.Write(appendError(nil, e))
	return errors.Join(e, err)
}

// start negotiates encryption and reads the start-up packet. A cancel request
// has been carried out when it returns nil without a packet.
func (c *client) start(ctx context.Context) error {
	if err := c.conn.SetDeadline(time.Now().Add(startupTime)); err != nil {
		return err
	}
	conf, required := c.host.TLS()
	for range 4 { // SSL and GSS may each be asked for, once and again
		var head [4]byte
		if _, err := io.ReadFull(c.conn, head[:1]); err != nil {
			return fmt.Errorf("reading the start-up packet: %w", err)
		}
		if head[0] == tlsHandshake && c.tls == nil {
			if conf == nil {
				return errors.New("direct TLS where the target has none")
			}
			if err := c.startTLS(ctx, conf, head[:1]); err != nil {
				return err
			}
			continue
		}
		if _, err := io.ReadFull(c.conn, head[1:]); err != nil {
			return fmt.Errorf("reading the start-up packet: %w", err)
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if n < 8 || n > maxStartup {
			return errGarbage // PostgreSQL, too, says nothing to a stranger
		}
		b := make([]byte, n-4)
		if _, err := io.ReadFull(c.conn, b); err != nil {
			return fmt.Errorf("reading the start-up packet: %w", err)
		}
		switch binary.BigEndian.Uint32(b) {
		case codeSSL, codeGSS:
			if len(b) != 4 {
				return errGarbage
			}
			if c.tls != nil || conf == nil || binary.BigEndian.Uint32(b) == codeGSS {
				if _, err := c.conn.Write([]byte{'N'}); err != nil {
					return err
				}
				continue
			}
			if _, err := c.conn.Write([]byte{'S'}); err != nil {
				return err
			}
			if err := c.startTLS(ctx, conf, nil); err != nil {
				return err
			}
			continue
		}
		s, err := parseStartup(b)
		var told *wireError
		if errors.As(err, &told) {
			return c.refuse(told)
		}
		if err != nil {
			return err
		}
		c.up = s
		return c.check(required)
	}
	return errGarbage
}

// startTLS wraps the connection. Nothing was read from it beyond head, so no
// plaintext can be smuggled into the encrypted stream (CVE-2021-23214).
func (c *client) startTLS(ctx context.Context, conf *tls.Config, head []byte) error {
	direct := len(head) > 0
	conf = conf.Clone()
	conf.NextProtos = []string{"postgresql"}
	t := tls.Server(&prefixed{Conn: c.conn, head: head}, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with the client: %w", err)
	}
	if direct && t.ConnectionState().NegotiatedProtocol != "postgresql" {
		return errors.New("direct TLS without ALPN postgresql")
	}
	c.conn, c.tls = t, t
	return nil
}

func (c *client) check(required bool) error {
	s := c.up
	switch {
	case s.cancel != "":
		c.host.Canceller().Cancel(s.cancel)
		c.up = nil
		return nil
	case s.version>>16 != 3:
		return c.refuse(fatal("0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: the proxy speaks 3.0 and 3.2", s.version>>16, s.version&0xffff), ""))
	case required && c.tls == nil:
		return c.refuse(fatal("28000", "this target takes encrypted connections only", "Connect with sslmode=require or stricter."))
	case s.get("user") == "":
		return c.refuse(fatal("28000", "no PostgreSQL user name specified in startup packet", ""))
	}
	if r := s.get("replication"); r != "" && r != "false" && r != "off" && r != "0" && r != "no" {
		return c.refuse(fatal("0A000", "replication does not pass the proxy", "Rows of a replication stream cannot be masked; connect to the upstream directly with a role of its own."))
	}
	for i, name := range s.names {
		if e := checkSetting(name, s.values[i]); e != nil {
			return c.refuse(e)
		}
	}
	if s.version > version32 || len(s.unknown) > 0 {
		return c.negotiate()
	}
	if s.version != version30 && s.version != version32 {
		return c.negotiate()
	}
	return nil
}

// negotiate tells the client which minor version it gets and which options
// are not known.
func (c *client) negotiate() error {
	minor := uint32(0)
	if c.up.version >= version32 {
		minor = 2
	}
	c.up.version = version30 | minor
	b := binary.BigEndian.AppendUint32(nil, version30|minor)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.up.unknown)))
	for _, o := range c.up.unknown {
		b = appendString(b, o)
	}
	_, err := c.conn.Write(message('v', b))
	return err
}

// prefixed gives back bytes that were read to look at.
type prefixed struct {
	net.Conn
	head []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
