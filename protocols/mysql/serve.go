package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// New returns the protocol for the list in cmd.
func New() protocols.Protocol {
	return protocols.Protocol{
		Name:        "mysql",
		Doc:         "MySQL's and MariaDB's client/server protocol",
		DefaultPort: 3306,
		Dialect:     "mysql",
		Schemes:     []string{"mysql", "mariadb"},
		TLSMode:     tlsMode,
		Serve:       serve,
		Catalog:     openCatalog,

		ServerCatalog: true,
		CommitsDDL:    true,
	}
}

// tlsMode is the URL's tls, verify-full unless it says otherwise: libpq's
// words, MySQL's ssl-mode and go-sql-driver's.
func tlsMode(q url.Values) (string, error) {
	switch strings.ToLower(strings.ReplaceAll(q.Get("tls"), "_", "-")) {
	case "", "verify-full", "verify-identity", "true":
		return "verify-full", nil
	case "verify-ca":
		return "verify-ca", nil
	case "require", "required", "skip-verify":
		return "require", nil
	case "prefer", "preferred":
		return "prefer", nil
	case "disable", "disabled", "false":
		return "disable", nil
	}
	return "", errors.New("tls must be disable, prefer, require, verify-ca or verify-full")
}

func serve(ctx context.Context, conn net.Conn, host protocols.Host) error {
	c := &client{conn: conn, host: host, r: newReader(conn, maxAuth)}
	defer func() { c.conn.Close() }()
	if err := c.greet(ctx); err != nil {
		return err
	}
	if err := c.hello(ctx); err != nil {
		var w *wireError
		if errors.As(err, &w) {
			return c.refuse(w)
		}
		return err
	}
	for {
		next, err := c.session(ctx)
		if next == nil {
			return err
		}
		if err := c.again(next); err != nil {
			return err
		}
	}
}

// session logs the client in and serves it until its session ends. next is who
// it wants to be then, after COM_CHANGE_USER: somebody else has a session, a
// record and an upstream connection of their own.
func (c *client) session(ctx context.Context) (next *loginPacket, err error) {
	sess, err := c.authenticate(ctx)
	if err != nil {
		return nil, c.refuse(c.denied(err))
	}
	s, err := c.connect(ctx, sess)
	if err != nil {
		sess.Close(err)
		return nil, err
	}
	defer s.up.Close()
	err = s.run(ctx)
	if errors.Is(err, errChangeUser) {
		sess.Close(nil)
		c.r, c.seq = s.cr, s.seq
		return s.becomes, nil
	}
	sess.Close(err)
	return nil, err
}

// again makes the client one that logs in as COM_CHANGE_USER says: it is asked
// for a proof over a nonce of its own.
func (c *client) again(l *loginPacket) error {
	l.caps = c.login.caps
	c.login, c.nonce, c.r.max = *l, newNonce(), maxAuth
	return c.conn.SetDeadline(time.Now().Add(startupTime))
}

// denied is the one answer to every failed login, in MySQL's words.
func (c *client) denied(err error) error {
	var d *protocols.Denial
	if errors.As(err, &d) && d.Kind == protocols.DenyLogin && !strings.HasPrefix(d.Message, "too many") {
		using := "NO"
		if len(c.login.response) > 0 {
			using = "YES"
		}
		user := c.login.user
		if len(user) > 64 {
			user = user[:64]
		}
		return fatal(1045, "28000", fmt.Sprintf("Access denied for user '%s'@'%s' (using password: %s)", user, c.address(), using))
	}
	return err
}

// connect logs in upstream as the client asked and tells it that it is logged
// in.
func (c *client) connect(ctx context.Context, sess protocols.Session) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, startupTime)
	defer cancel()
	unavailable := func(err error) error {
		return errors.Join(c.refuse(&wireError{code: 1105, state: "08S01", message: "the upstream of this target cannot be reached or refuses the proxy; the proxy's log has the reason"}), err)
	}
	s, l, err := c.connectOnce(ctx, sess, false)
	if errors.Is(err, errCredential) {
		s, l, err = c.connectOnce(ctx, sess, true)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	up := s.up
	if err := s.prepareSession(ctx); err != nil {
		up.Close()
		return nil, unavailable(err)
	}
	s.register(l.g.id)
	ok := ended{status: l.ok.status}
	if err := c.send(appendOK(nil, headOK, &ok, s.caps)); err != nil {
		s.forget()
		up.Close()
		return nil, err
	}
	s.cr = newReader(c.conn, s.limits.Message)
	if c.r.buffered() > 0 { // commands that came with the login
		copy(s.cr.buf, c.r.buf[c.r.start:c.r.end])
		s.cr.end = c.r.buffered()
	}
	return s, c.conn.SetDeadline(time.Time{})
}

// connectOnce logs in upstream. refused says that the last credential was.
func (c *client) connectOnce(ctx context.Context, sess protocols.Session, refused bool) (*session, *upstreamLogin, error) {
	cred, err := sess.Credential(ctx, refused)
	if err != nil {
		return nil, nil, err
	}
	up, err := sess.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	l, err := logIn(ctx, up, cred, wish{caps: c.login.caps, charset: c.login.charset, attributes: c.login.attributes})
	if err != nil {
		up.Close()
		return nil, nil, err
	}
	return newSession(c, sess, up, cred, l), l, nil
}
