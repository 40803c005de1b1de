package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/xdg-go/scram"
)

// wireClient is a client that speaks the protocol by hand, so that nothing
// between the test and the bytes has an opinion of its own.
type wireClient struct {
	addr     string
	user     string
	password string
	version  uint32
	options  []string // further start-up parameters, name and value

	dialed func(net.Conn) // if set, told of the connection
	conn   net.Conn
	secret []byte  // BackendKeyData's body
	got    []frame // since the start-up packet
}

func (c *wireClient) dial() (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", c.addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(wirePatience))
}

// wirePatience bounds everything that a script waits for.
const wirePatience = 20 * time.Second

func (c *wireClient) startup() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), c.version)
	for _, s := range append([]string{"user", c.user, "database", "shop", "application_name", "wire"}, c.options...) {
		b = append(b, zero(s)...)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// login starts up and authenticates, up to and with the first ReadyForQuery
// or the connection's end.
func (c *wireClient) login() error {
	var err error
	if c.conn, err = c.dial(); err != nil {
		return err
	}
	if c.dialed != nil {
		c.dialed(c.conn)
	}
	if _, err := c.conn.Write(c.startup()); err != nil {
		return err
	}
	client, err := scram.SHA256.NewClient(c.user, c.password, "")
	if err != nil {
		return err
	}
	conv := client.NewConversation()
	for {
		f, err := c.read()
		if err != nil {
			return err
		}
		switch f[0] {
		case 'R':
			if err := c.prove(conv, f); err != nil {
				return err
			}
		case 'K':
			c.secret = f[5:]
		case 'E':
			return errors.New(describeFrames(f))
		case 'Z':
			return nil
		}
	}
}

// prove answers an authentication request.
func (c *wireClient) prove(conv *scram.ClientConversation, f frame) error {
	var challenge string
	code := binary.BigEndian.Uint32(f[5:])
	switch code {
	case 0:
		return nil
	case 11, 12:
		challenge = string(f[9:])
	}
	answer, err := conv.Step(challenge)
	if err != nil || code == 12 {
		return err
	}
	body := []byte(answer)
	if code == 10 {
		body = append(binary.BigEndian.AppendUint32(zero("SCRAM-SHA-256"), uint32(len(answer))), answer...)
	}
	_, err = c.conn.Write(wireMessage('p', body))
	return err
}

func (c *wireClient) read() (frame, error) {
	f, err := (&rawSession{conn: c.conn}).read()
	if err == nil {
		c.got = append(c.got, f)
	}
	return f, err
}

// sendCancel presents the key on a connection of its own and waits until the
// server has closed it, which it does once the request has been carried out.
func (c *wireClient) sendCancel() error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(c.secret)))
	b = append(binary.BigEndian.AppendUint32(b, 80877102), c.secret...)
	if _, err := conn.Write(b); err != nil {
		return err
	}
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) && !isReset(err) {
		return fmt.Errorf("a cancel request was answered with %d bytes, %v", n, err)
	}
	return nil
}

func isReset(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "broken pipe"))
}

// wirePlayer plays scripts against one address.
type wirePlayer struct {
	addr    string
	version uint32
	control *pgx.Conn // a superuser's, direct
	// cut, if set, writes in pieces: before each of the offsets in what a
	// script sends, or before every byte where it is empty.
	cut   bool
	cutAt int // -1 for every byte
}

// play returns what came back, and what went wrong with the play itself.
func (p *wirePlayer) play(t *testing.T, s wireScript) (got []frame, closed bool) {
	t.Helper()
	c := &wireClient{addr: p.addr, user: "ana", password: "ana-secret", version: p.version}
	if err := c.login(); err != nil {
		t.Fatalf("logging in at %s: %v", p.addr, err)
	}
	defer p.quiet(t)
	defer c.conn.Close()
	c.got = nil
	var out []byte
	sent := 0
	for _, step := range s.steps {
		if step.send != nil {
			out = append(out, step.send...)
			continue
		}
		if err := p.write(c.conn, out, sent); err != nil && !isReset(err) {
			t.Fatalf("%s, line %d: %v", s.name, step.line, err)
		}
		sent += len(out)
		out = out[:0]
		if err := p.step(c, step); errors.Is(err, io.EOF) || isReset(err) {
			return c.got, true
		} else if err != nil {
			t.Errorf("%s, line %d (%s %s) at %s: %v\nso far:\n%s", s.name, step.line, step.verb, step.arg, p.addr, err, describeFrames(bytes.Join(framesBytes(c.got), nil)))
			return c.got, false
		}
	}
	_ = p.write(c.conn, out, sent)
	return c.got, false
}

func framesBytes(frames []frame) [][]byte {
	out := make([][]byte, len(frames))
	for i, f := range frames {
		out[i] = f
	}
	return out
}

func (p *wirePlayer) step(c *wireClient, s wireStep) error {
	ctx, cancel := context.WithTimeout(context.Background(), wirePatience)
	defer cancel()
	switch s.verb {
	case "await":
		for {
			if f, err := c.read(); err != nil || f[0] == s.arg[0] {
				return err
			}
		}
	case "end":
		for {
			if _, err := c.read(); err != nil {
				return err
			}
		}
	case "cancel":
		return c.sendCancel()
	case "until":
		return p.until(ctx, s.arg)
	case "other":
		_, err := p.control.Exec(ctx, s.arg, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	return fmt.Errorf("unknown step %s", s.verb)
}

// until asks again and again; what other sessions do can't be waited for
// otherwise.
func (p *wirePlayer) until(ctx context.Context, condition string) error {
	for {
		var holds bool
		// Not with ctx: pgx closes a connection whose context ends in mid-query.
		if err := p.control.QueryRow(context.Background(), "SELECT coalesce(("+condition+"), false)", pgx.QueryExecModeSimpleProtocol).Scan(&holds); err != nil || holds {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("it never holds that %s", condition)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// quiet returns once the play's backend has gone, so that plays do not see
// each other.
func (p *wirePlayer) quiet(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wirePatience)
	defer cancel()
	if err := p.until(ctx, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'wire'"); err != nil {
		t.Errorf("the session at %s does not end: %v", p.addr, err)
	}
}

// write sends b, cut in two or byte by byte if asked. The pause gives the
// reader the time to see the first piece alone.
func (p *wirePlayer) write(conn net.Conn, b []byte, sent int) error {
	const pause = 100 * time.Microsecond
	if !p.cut {
		_, err := conn.Write(b)
		return err
	}
	if p.cutAt < 0 {
		for i := range b {
			if _, err := conn.Write(b[i : i+1]); err != nil {
				return err
			}
			time.Sleep(pause)
		}
		return nil
	}
	if at := p.cutAt - sent; at > 0 && at < len(b) {
		if _, err := conn.Write(b[:at]); err != nil {
			return err
		}
		time.Sleep(pause)
		b = b[at:]
	}
	_, err := conn.Write(b)
	return err
}
