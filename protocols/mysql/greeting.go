package mysql

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

const (
	// startupTime is how long a client may take to log in.
	startupTime = 20 * time.Second
	// maxAuth bounds a message of a client that has not logged in.
	maxAuth = 128 << 10
)

// client is a client's connection before its session.
type client struct {
	conn net.Conn
	host protocols.Host
	tls  *tls.Conn
	r    *reader
	seq  byte // of the next packet to the client

	server  *catalog.Catalog
	id      uint32
	nonce   []byte
	plugin  string // that the greeting names
	offered uint32
	login   loginPacket
}

// loginPacket is what a client says to log in (HandshakeResponse41).
type loginPacket struct {
	caps       uint32
	charset    byte
	user       string
	response   []byte
	database   string
	plugin     string
	attributes []byte // as sent, without their length
}

// ids gives connections their numbers. They begin where no server's own are, so
// that a KILL of a number from CONNECTION_ID(), which is the upstream's, means
// what it says.
var ids atomic.Uint32

func nextID() uint32 { return 1<<30 | ids.Add(1)&(1<<30-1) }

func (c *client) address() string {
	host, _, err := net.SplitHostPort(c.conn.RemoteAddr().String())
	if err != nil {
		return c.conn.RemoteAddr().String()
	}
	return host
}

// send writes a message to the client.
func (c *client) send(payload []byte) error {
	_, err := c.conn.Write(appendMessage(nil, &c.seq, payload))
	return err
}

// receive reads a message of the client's.
func (c *client) receive() ([]byte, error) {
	c.r.seq = c.seq
	if _, err := c.r.next(); err != nil {
		return nil, c.broken(err)
	}
	b, err := c.r.body()
	c.seq = c.r.seq
	return b, c.broken(err)
}

// broken makes a client's malformed message an error that it can be told.
func (c *client) broken(err error) error {
	var size *sizeError
	switch {
	case errors.As(err, &size):
		return &wireError{code: 1153, state: "08S01", message: "got a packet bigger than a login may be"}
	case errors.Is(err, errSequence):
		return &wireError{code: 1156, state: "08S01", message: "got packets out of order"}
	}
	return err
}

// refuse tells the client why it gets no session.
func (c *client) refuse(err error) error {
	w := toWire(err)
	return errors.Join(err, c.send(appendErr(nil, w, c.login.caps|capProtocol41)))
}

// greet tells the client of the upstream's version and asks it to log in.
func (c *client) greet(ctx context.Context) error {
	if err := c.conn.SetDeadline(time.Now().Add(startupTime)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startupTime)
	defer cancel()
	var err error
	if c.server, err = c.host.Server(ctx); err != nil {
		return errors.Join(err, c.refuse(&wireError{code: 1105, state: "08S01", message: "the upstream of this target cannot be reached or refuses the proxy; the proxy's log has the reason"}))
	}
	c.id, c.nonce, c.plugin = nextID(), newNonce(), pluginSHA2
	version, charset := c.server.Version, byte(255) // utf8mb4_0900_ai_ci
	c.offered = offered
	if c.server.Dialect == "mariadb" {
		c.plugin, charset = pluginNative, 45 // utf8mb4_general_ci
		c.offered &^= capQueryAttributes
		if strings.HasPrefix(version, "10.") {
			version = "5.5.5-" + version // as MariaDB itself does, for old clients
		}
	} else if older(version, 8, 0, 23) {
		c.offered &^= capQueryAttributes
	}
	conf, _ := c.host.TLS()
	if conf != nil {
		c.offered |= capSSL
	}
	return c.send(appendGreeting(nil, version, c.id, c.nonce, c.offered, charset, c.plugin))
}

func appendGreeting(dst []byte, version string, id uint32, nonce []byte, caps uint32, charset byte, plugin string) []byte {
	dst = append(append(append(dst, 10), version...), 0)
	dst = binary.LittleEndian.AppendUint32(dst, id)
	dst = append(append(dst, nonce[:8]...), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(caps))
	dst = binary.LittleEndian.AppendUint16(append(dst, charset), statusAutocommit)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(caps>>16))
	dst = append(dst, 21)
	dst = append(dst, make([]byte, 10)...)
	dst = append(append(dst, nonce[8:20]...), 0)
	return append(append(dst, plugin...), 0)
}

// newNonce is 20 bytes of printable ASCII, as servers make them: no NUL, no $.
func newNonce() []byte {
	b := make([]byte, 20)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = '%' + b[i]%('~'-'%'+1)
	}
	return b
}

// older says whether a server's version is before major.minor.patch.
func older(version string, major, minor, patch int) bool {
	var have [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &have[0], &have[1], &have[2]); err != nil {
		return true
	}
	for i, want := range []int{major, minor, patch} {
		if have[i] != want {
			return have[i] < want
		}
	}
	return false
}

// hello reads the client's login, with TLS where it asks for it.
func (c *client) hello(ctx context.Context) error {
	b, err := c.receive()
	if err != nil {
		return err
	}
	conf, required := c.host.TLS()
	if len(b) == 32 && binary.LittleEndian.Uint32(b)&capSSL != 0 {
		if conf == nil {
			return errors.New("a client asks for TLS where the target has none")
		}
		// Clients begin TLS without waiting. What came with the request is read
		// as TLS, and as nothing else.
		began := append([]byte(nil), c.r.buf[c.r.start:c.r.end]...)
		c.tls = tls.Server(&begunConn{Conn: c.conn, r: io.MultiReader(bytes.NewReader(began), c.conn)}, conf)
		if err := c.tls.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS with the client: %w", err)
		}
		c.conn = c.tls
		c.r = newReader(c.conn, maxAuth)
		if b, err = c.receive(); err != nil {
			return err
		}
	}
	if c.login, err = parseLogin(b); err != nil {
		return err
	}
	c.login.caps &= c.offered | capSSL
	if required && c.tls == nil {
		return &wireError{code: 3159, state: "HY000", message: "connections without TLS are not accepted here"}
	}
	if mixesASCII(int(c.login.charset)) {
		return &wireError{code: 1115, state: "42000", message: "character sets in which a byte of ASCII can be part of another character (big5, sjis, gbk, cp932, gb18030) do not pass the proxy; use utf8mb4"}
	}
	return nil
}

// begunConn is a connection of which something has been read.
type begunConn struct {
	net.Conn
	r io.Reader
}

func (c *begunConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// parseLogin reads a HandshakeResponse41.
func parseLogin(b []byte) (loginPacket, error) {
	malformed := &wireError{code: 1043, state: "08S01", message: "bad handshake"}
	f := fields{b: b}
	var l loginPacket
	l.caps = f.uint32()
	f.uint32() // the client's own max_allowed_packet
	l.charset = f.byte()
	f.take(23)
	if f.bad || l.caps&capProtocol41 == 0 || l.caps&capSecureConnection == 0 {
		return l, malformed
	}
	l.user = f.string()
	if l.caps&capAuthLenenc != 0 {
		l.response = f.bytes()
	} else {
		l.response = f.take(int(f.byte()))
	}
	if l.caps&capConnectWithDB != 0 && len(f.b) > 0 {
		l.database = f.string()
	}
	l.plugin = pluginNative
	if l.caps&capPluginAuth != 0 && len(f.b) > 0 {
		if name := f.string(); name != "" {
			l.plugin = name
		}
	}
	if l.caps&capConnectAttrs != 0 && len(f.b) > 0 {
		l.attributes = f.bytes()
	}
	if f.bad {
		return l, malformed
	}
	l.response = append([]byte(nil), l.response...)
	l.attributes = append([]byte(nil), l.attributes...)
	return l, nil
}

// options are the connection's attributes, for the record, and whether the
// client has the rows counted that an UPDATE finds, not those that it changes.
func (l *loginPacket) options() map[string]string {
	out := map[string]string{}
	if l.caps&capFoundRows != 0 {
		out["sallyport_found_rows"] = "true"
	}
	f := fields{b: l.attributes}
	for len(f.b) > 0 && len(out) < 64 {
		name := string(f.bytes())
		value := string(f.bytes())
		if f.bad {
			break
		}
		out[name] = value
	}
	return out
}
