package rerun

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// mysqlTarget is where and as whom to connect.
type mysqlTarget struct {
	address, user, password, database string
	tls                               *tls.Config // nil for none
}

const mysqlForm = "mysql://USER@HOST:PORT/DATABASE?tls=verify-full|verify-ca|require|disable&ca=FILE"

// parseMySQLTarget reads a target's URL. Without TLS it must be on loopback: the
// driver would send a password in the clear where a server asks for it.
func parseMySQLTarget(target string) (*mysqlTarget, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "mysql" && u.Scheme != "mariadb" || u.Hostname() == "" || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" {
		return nil, errors.New("the target of sessions of MySQL's is " + mysqlForm) // a parser's error would repeat a password
	}
	t := &mysqlTarget{address: u.Host, user: u.User.Username(), database: strings.Trim(u.Path, "/"), password: os.Getenv("MYSQL_PWD")}
	if u.Port() == "" {
		t.address = net.JoinHostPort(u.Hostname(), "3306")
	}
	if p, ok := u.User.Password(); ok {
		t.password = p
	}
	q := u.Query()
	mode, ca := q.Get("tls"), q.Get("ca")
	q.Del("tls")
	q.Del("ca")
	for name := range q {
		return nil, fmt.Errorf("the target's URL has no parameter %q: it is %s", name, mysqlForm)
	}
	local := isLoopback(u.Hostname())
	switch mode {
	case "":
		if local {
			return t, nil
		}
		fallthrough
	case "verify-full":
		t.tls = &tls.Config{ServerName: u.Hostname()}
	case "verify-ca":
		t.tls = &tls.Config{InsecureSkipVerify: true}
		t.tls.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, t.tls.RootCAs) }
	case "require":
		t.tls = &tls.Config{InsecureSkipVerify: true}
	case "disable":
		if !local {
			return nil, errors.New("tls=disable is for targets on loopback: a password would cross in the clear")
		}
		return t, nil
	default:
		return nil, fmt.Errorf("tls=%s: it is %s", mode, mysqlForm)
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("reading the authority of the target's certificate: %w", err)
		}
		if t.tls.RootCAs = x509.NewCertPool(); !t.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
		}
	}
	return t, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// verifyChain checks the chain of a certificate and not its name.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

func deadline() time.Time { return time.Now().Add(5 * time.Second) }

// dialMySQL connects. found has the server count the rows that an UPDATE finds.
func dialMySQL(ctx context.Context, target string, found bool) (conn *client.Conn, err error) {
	t, err := parseMySQLTarget(target)
	if err != nil {
		return nil, err
	}
	defer notMySQL(&err)
	return client.ConnectWithContext(ctx, t.address, t.user, t.password, t.database, 10*time.Second, func(c *client.Conn) error {
		if t.tls != nil {
			c.SetTLSConfig(t.tls)
		}
		capabilities := []uint32{mysql.CLIENT_MULTI_RESULTS, mysql.CLIENT_PS_MULTI_RESULTS}
		if found {
			capabilities = append(capabilities, mysql.CLIENT_FOUND_ROWS)
		}
		for _, capability := range capabilities {
			if err := c.SetCapability(capability); err != nil {
				return err
			}
		}
		return nil
	})
}

// notMySQL makes an error of a panic: the driver trusts what a server sends.
func notMySQL(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("the target sends what is not MySQL's protocol: %v", v)
	}
}
