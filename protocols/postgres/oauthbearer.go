package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
)

const mechanismBearer = "OAUTHBEARER"

// loginBearer takes a token by SASL OAUTHBEARER. A client without one sends an
// empty one, is told where to get one, and comes back with it on a new
// connection.
//
// Source: RFC 7628; https://www.postgresql.org/docs/18/sasl-authentication.html.
func (c *client) loginBearer(ctx context.Context, l protocols.Login, b *protocols.Bearer) (protocols.Session, error) {
	token, err := c.bearer(l.User)
	if err != nil {
		return nil, c.gaveUp(err)
	}
	refusal := fatal("28000", "OAuth bearer authentication needs a token", "")
	if token != "" {
		l.Secret = token
		s, err := c.host.Login(ctx, l)
		if err == nil {
			return s, nil
		}
		if refusal = toLogin(err); refusal.code == codes[protocols.DenyLogin] {
			refusal.code = "28000"
			refusal.message = "OAuth bearer" + strings.TrimPrefix(refusal.message, "password")
		}
	}
	if err := c.bearerFailed(b); err != nil {
		return nil, c.gaveUp(err)
	}
	return nil, c.refuse(refusal)
}

// bearer asks for a token; "" is a client that has none.
func (c *client) bearer(user string) (string, error) {
	if err := c.private(); err != nil {
		return "", err
	}
	if _, err := c.conn.Write(authMessage(authSASL, append(appendString(nil, mechanismBearer), 0))); err != nil {
		return "", err
	}
	b, err := c.receive()
	if err != nil {
		return "", err
	}
	f := fields{b: b}
	chosen := f.string()
	n := f.int32()
	if f.bad || chosen != mechanismBearer {
		return "", fatal("08P01", "malformed SASL initial response, or a mechanism other than OAUTHBEARER", "")
	}
	first := f.b
	if n < 0 { // nothing yet: an empty challenge asks for it
		if _, err := c.conn.Write(authMessage(authContinue)); err != nil {
			return "", err
		}
		if first, err = c.receive(); err != nil {
			return "", err
		}
	} else if int(n) != len(first) {
		return "", fatal("08P01", "malformed SASL initial response", "")
	}
	token, problem := parseBearer(string(first), user)
	if problem != "" {
		return "", fatal("08P01", "malformed OAUTHBEARER message: "+problem, "")
	}
	return token, nil
}

// parseBearer reads the client's message of RFC 7628 §3.1: a GS2 header, and
// pairs of which auth counts. problem says what is wrong with it.
func parseBearer(s, user string) (token, problem string) {
	header, rest, ok := strings.Cut(s, "\x01")
	binding, authzid, okay := strings.Cut(header, ",")
	authzid, end, closed := strings.Cut(authzid, ",")
	switch {
	case !ok || !okay || !closed || end != "":
		return "", "its header is not closed"
	case binding != "n" && binding != "y":
		return "", "it asks for channel binding, which the mechanism does not have"
	case authzid != "" && authzid != "a="+user:
		return "", "it asks for another name than the connection's user"
	}
	auth, seen := "", false
	for {
		pair, more, ok := strings.Cut(rest, "\x01")
		if !ok {
			return "", "it is not closed"
		}
		if pair == "" {
			if more != "" {
				return "", "something follows its end"
			}
			break
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return "", "it has a pair without a value"
		}
		if key == "auth" {
			if seen {
				return "", "it has two values of auth"
			}
			auth, seen = value, true
		}
		rest = more
	}
	if !seen {
		return "", "it has no value of auth"
	}
	if auth == "" {
		return "", ""
	}
	scheme, token, ok := strings.Cut(auth, " ")
	token = strings.TrimLeft(token, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsFunc(token, notBearer) {
		return "", "auth is not a bearer token"
	}
	return token, ""
}

// notBearer is what RFC 6750 §2.1 has no place for in a token.
func notBearer(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// bearerFailed tells a client where tokens are to be had, and takes its
// acknowledgement (RFC 7628 §3.2.2).
func (c *client) bearerFailed(b *protocols.Bearer) error {
	answer, err := json.Marshal(struct {
		Status    string `json:"status"`
		Scope     string `json:"scope,omitempty"`
		Discovery string `json:"openid-configuration,omitempty"`
	}{"invalid_token", b.Scope, b.Discovery})
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(authMessage(authContinue, answer)); err != nil {
		return err
	}
	ack, err := c.receive()
	if err == nil && string(ack) != "\x01" {
		err = errors.New("something else than an acknowledgement follows a refused token")
	}
	return err
}
