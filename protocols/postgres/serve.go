package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// New returns the protocol for the list in cmd.
func New() protocols.Protocol {
	return protocols.Protocol{
		Name:        "postgres",
		Doc:         "PostgreSQL's wire protocol, 3.0 and 3.2",
		DefaultPort: 5432,
		Dialect:     "postgres",
		Schemes:     []string{"postgres", "postgresql"},
		TLSMode:     tlsMode,
		ALPN:        "postgresql",
		Serve:       serve,
		Catalog:     openCatalog,
	}
}

// tlsMode is sslmode, verify-full unless the URL says otherwise.
func tlsMode(q url.Values) (string, error) {
	switch m := q.Get("sslmode"); m {
	case "":
		return "verify-full", nil
	case "disable", "prefer", "require", "verify-ca", "verify-full":
		return m, nil
	}
	return "", errors.New("sslmode must be disable, prefer, require, verify-ca or verify-full")
}

func serve(ctx context.Context, conn net.Conn, host protocols.Host) error {
	c := &client{conn: conn, host: host}
	defer func() { c.conn.Close() }()
	if err := c.start(ctx); err != nil || c.up == nil {
		return err
	}
	sess, err := c.login(ctx)
	if err != nil {
		return err
	}
	s, err := c.connect(ctx, sess)
	if err != nil {
		sess.Close(err)
		return err
	}
	defer s.up.Close()
	err = s.run(ctx)
	sess.Close(err)
	return err
}

// ownSettings are the client's settings that the proxy sets itself.
var ownSettings = []string{"user", "database", "client_encoding", "standard_conforming_strings", "replication"}

// connect logs in upstream with the client's settings and tells the client
// that it is logged in.
func (c *client) connect(ctx context.Context, sess protocols.Session) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, startupTime)
	defer cancel()
	unavailable := func(err error) error {
		return errors.Join(c.refuse(fatal("08006", "the upstream of this target cannot be reached or refuses the proxy", "The proxy's log has the reason.")), err)
	}
	s, l, err := c.connectOnce(ctx, sess, false)
	if errors.Is(err, errCredential) {
		s, l, err = c.connectOnce(ctx, sess, true)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return s, c.welcome(s, l)
}

func (c *client) connectOnce(ctx context.Context, sess protocols.Session, refused bool) (*session, *upstreamLogin, error) {
	cred, err := sess.Credential(ctx, refused)
	if err != nil {
		return nil, nil, err
	}
	up, err := sess.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	names := []string{"client_encoding", "standard_conforming_strings"}
	values := []string{"UTF8", "on"}
	for i, n := range c.up.names {
		if !slices.Contains(ownSettings, strings.ToLower(n)) {
			names, values = append(names, n), append(values, c.up.values[i])
		}
	}
	l, err := logIn(ctx, up, cred, c.up.version, names, values)
	if err != nil {
		up.Close()
		return nil, nil, err
	}
	return newSession(c, sess, up, cred, l), l, nil
}

// welcome sends the upstream's parameters, the process that serves the session
// with a secret of our own, and ReadyForQuery. Clients ask about that process
// (pg_stat_activity, pg_terminate_backend) and know their own notifications by it;
// the upstream's own secret stays here.
func (c *client) welcome(s *session, l *upstreamLogin) error {
	b := authMessage(authOK)
	for _, p := range l.parameters {
		if p[0] == "session_authorization" {
			p[1] = c.up.get("user") // not the backend's
		}
		if err := s.parameter(p[0], p[1]); err != nil {
			return errors.Join(c.refuse(err), s.up.Close())
		}
		b = append(b, message('S', appendString(appendString(nil, p[0]), p[1]))...)
	}
	n := 4
	if c.up.version >= version32 {
		n = 32
	}
	key := binary.BigEndian.AppendUint32(make([]byte, 0, 4+n), l.pid)[:4+n]
	rand.Read(key[4:]) // never fails
	s.cancel = s.cancelUpstream(l)
	s.forget = c.host.Canceller().Register(string(key), s.cancelRequest)
	b = append(b, message('K', key)...)
	b = append(b, message('Z', []byte{'I'})...)
	if _, err := c.conn.Write(b); err != nil {
		s.forget()
		return errors.Join(err, s.up.Close())
	}
	return c.conn.SetDeadline(time.Time{})
}

// cancelUpstream returns what a client's cancel request does: it opens a
// connection of its own with the backend's key.
func (s *session) cancelUpstream(l *upstreamLogin) func() {
	pid, key, mode := l.pid, l.key, s.cred.TLSMode
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), startupTime)
		defer cancel()
		up, err := s.sess.Dial(ctx)
		if err != nil {
			return
		}
		defer up.Close()
		stop := context.AfterFunc(ctx, up.Interrupt)
		defer stop()
		if encrypt(ctx, up, mode) != nil {
			return
		}
		b := binary.BigEndian.AppendUint32(nil, uint32(12+len(key)))
		b = binary.BigEndian.AppendUint32(b, codeCancel)
		b = binary.BigEndian.AppendUint32(b, pid)
		if send(up, protocols.ControlCancel, append(b, key...)) == nil {
			var end [1]byte
			_, _ = up.Read(end[:]) // the server closes when it has passed the request on
		}
	}
}
