package postgres

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// maxIterations bounds the work that an upstream can make us do in SCRAM
// (CVE-2026-42198).
const maxIterations = 1_000_000

// upstreamLogin is a logged-in upstream connection, before its first query.
type upstreamLogin struct {
	reader     *reader
	version    uint32
	parameters [][2]string
	pid        uint32
	key        []byte
}

// errUpstream marks errors that are for the log: a client must not learn the
// backend's user or its server's words at login.
type errUpstream struct{ err error }

func (e *errUpstream) Error() string { return "logging in upstream: " + e.err.Error() }
func (e *errUpstream) Unwrap() error { return e.err }

// errCredential is a credential that the upstream refused: it may have been
// changed since it was read.
var errCredential = errors.New("the credential was refused")

// logIn encrypts as the credential's sslmode asks, starts up with the
// settings of names and values, and authenticates.
func logIn(ctx context.Context, up protocols.Upstream, cred protocols.Credential, version uint32, names, values []string) (*upstreamLogin, error) {
	stop := context.AfterFunc(ctx, up.Interrupt)
	defer stop()
	l := &upstreamLogin{version: version}
	if err := encrypt(ctx, up, cred.TLSMode); err != nil {
		return nil, &errUpstream{err}
	}
	b := binary.BigEndian.AppendUint32(nil, version)
	b = appendString(appendString(b, "user"), cred.User)
	b = appendString(appendString(b, "database"), cred.Database)
	for i, n := range names {
		b = appendString(appendString(b, n), values[i])
	}
	b = append(b, 0)
	packet := append(binary.BigEndian.AppendUint32(nil, uint32(len(b)+4)), b...)
	if err := send(up, protocols.ControlStartup, packet); err != nil {
		return nil, &errUpstream{err}
	}
	l.reader = newReader(up, 1<<20)
	if err := l.authenticate(up, cred); err != nil {
		return nil, &errUpstream{err}
	}
	return l, nil
}

func send(up protocols.Upstream, kind protocols.Control, b []byte) error {
	if err := up.Control(kind, b); err != nil {
		return err
	}
	return up.Flush()
}

// encrypt asks for TLS. Exactly one byte is read of the answer, so that
// nothing sent in the clear behind it can pass for encrypted.
func encrypt(ctx context.Context, up protocols.Upstream, mode string) error {
	if mode == "disable" {
		return nil
	}
	packet := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), codeSSL)
	if err := send(up, protocols.ControlStartup, packet); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(up, answer[:]); err != nil {
		return err
	}
	switch answer[0] {
	case 'S':
		return up.StartTLS(ctx)
	case 'N':
		if mode == "prefer" || mode == "allow" {
			return nil
		}
		return fmt.Errorf("the server has no TLS and sslmode is %s", mode)
	}
	return fmt.Errorf("answer %q to a TLS request", answer[0])
}

// authenticate reads until ReadyForQuery.
func (l *upstreamLogin) authenticate(up protocols.Upstream, cred protocols.Credential) error {
	var conv *scram.ClientConversation
	authenticated := false
	for {
		typ, _, err := l.reader.next()
		if err != nil {
			return err
		}
		b, err := l.reader.body()
		if err != nil {
			return err
		}
		f := fields{b: b}
		switch typ {
		case 'R':
			code := f.int32()
			switch {
			case code == authOK:
				if conv != nil && !conv.Valid() {
					return errors.New("the server ended SCRAM before it had proved itself")
				}
				authenticated = true
			case code == authSASL && conv == nil:
				conv, err = startScram(up, cred, f.b)
			case code == authContinue && conv != nil:
				err = stepScram(up, conv, f.b)
			case code == authFinal && conv != nil:
				if _, err = conv.Step(string(f.b)); err == nil && !conv.Valid() {
					err = errors.New("the server's SCRAM signature is wrong")
				}
			case code == authCleartext || code == authMD5:
				err = sendPassword(up, cred, code, f.b)
			default:
				err = fmt.Errorf("the server asks for authentication %d, which is not supported", code)
			}
			if err != nil {
				return err
			}
		case 'E':
			r := readReport(b)
			err := fmt.Errorf("%s: %s (%s)", r.severity, r.message, r.code)
			if r.code == "28P01" || r.code == "28000" {
				err = errors.Join(errCredential, err)
			}
			return err
		case 'N':
		case 'v':
			l.version = min(l.version, f.uint32())
		case 'S':
			if name, value := f.string(), f.string(); f.done() {
				l.parameters = append(l.parameters, [2]string{name, value})
			}
		case 'K':
			l.pid = f.uint32()
			l.key = slices.Clone(f.b)
		case 'Z':
			if !authenticated {
				return errors.New("the server is ready before it has authenticated us")
			}
			return nil
		default:
			return fmt.Errorf("message %q during login", typ)
		}
	}
}

// sendPassword answers a request for the password itself or its MD5. The
// clear text goes over TLS or a local connection only.
func sendPassword(up protocols.Upstream, cred protocols.Credential, code int32, salt []byte) error {
	if cred.Password == "" {
		return errors.New("the server asks for a password and the target has none")
	}
	answer := cred.Password
	if code == authMD5 {
		if len(salt) != 4 {
			return errors.New("MD5 salt of the wrong length")
		}
		inner := md5.Sum([]byte(cred.Password + cred.User))
		outer := md5.Sum(append([]byte(hex.EncodeToString(inner[:])), salt...))
		answer = "md5" + hex.EncodeToString(outer[:])
	} else if up.TLS() == nil && !localHost(cred.Host) {
		return errors.New("the server asks for the password in the clear, without TLS")
	}
	return send(up, protocols.ControlAuth, message('p', appendString(nil, answer)))
}

func localHost(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "/")
}

func startScram(up protocols.Upstream, cred protocols.Credential, list []byte) (*scram.ClientConversation, error) {
	if cred.Password == "" {
		return nil, errors.New("the server asks for a password and the target has none")
	}
	offered := strings.Split(strings.TrimRight(string(list), "\x00"), "\x00")
	client, err := scram.SHA256.NewClient("", cred.Password, "")
	if err != nil {
		return nil, err
	}
	// A server may be set to fewer iterations than the library's minimum; how
	// many it uses is its own administrator's matter.
	client.WithMinIterations(1)
	conv, chosen := client.NewConversation(), mechanism
	if state := up.TLS(); state != nil {
		if slices.Contains(offered, mechanismPlus) {
			binding, err := scram.NewTLSServerEndpointBinding(state)
			if err != nil {
				return nil, err
			}
			conv, chosen = client.NewConversationWithChannelBinding(binding), mechanismPlus
		} else {
			conv = client.NewConversationAdvertisingChannelBinding()
		}
	}
	if !slices.Contains(offered, chosen) {
		return nil, fmt.Errorf("the server offers none of the SASL mechanisms we know: %q", offered)
	}
	first, err := conv.Step("")
	if err != nil {
		return nil, err
	}
	b := appendString(nil, chosen)
	b = binary.BigEndian.AppendUint32(b, uint32(len(first)))
	return conv, send(up, protocols.ControlAuth, message('p', append(b, first...)))
}

func stepScram(up protocols.Upstream, conv *scram.ClientConversation, challenge []byte) error {
	for part := range strings.SplitSeq(string(challenge), ",") {
		if n, ok := strings.CutPrefix(part, "i="); ok {
			if i, err := strconv.Atoi(n); err != nil || i < 1 || i > maxIterations {
				return fmt.Errorf("the server asks for %.12s SCRAM iterations", n)
			}
		}
	}
	answer, err := conv.Step(string(challenge))
	if err != nil {
		return err
	}
	return send(up, protocols.ControlAuth, message('p', []byte(answer)))
}
