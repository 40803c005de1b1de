package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/upstream"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// TestPolicyChangesWhileRead: a request whose facts were made with the
// detectors of one policy is not decided under another, be it before it is
// admitted or while it is held.
func TestPolicyChangesWhileRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	const loose = "version: 1\nrules:\n  - {name: look, when: 'stmt.verb == \"ASK\"', then: hold, approvers: {groups: [dba]}}\n"
	const strict = loose + "  - {name: no-mail, when: '\"mail\" in stmt.classes', then: deny}\nclasses: {mail: {mask: redact, detect: [email]}}\n"
	write("policy.yaml", loose)
	write("token", "the-token\n")
	write("key", "key\n")
	write("sallyport.yaml", `version: 1
policy: policy.yaml
identities: [{name: worker, kind: machine, token: {file: token}}]
targets: [{name: x, protocol: probe, listen: "127.0.0.1:0", tls: {mode: disable}, upstream: {url: "http://127.0.0.1:1", password: {file: key}}}]
`)
	var engine *Engine
	type outcome struct {
		stale, denied, held error
	}
	got := make(chan outcome, 1)
	probe := protocols.Protocol{Name: "probe", Requests: true, Schemes: []string{"http"}, DefaultPort: 1, Serve: func(ctx context.Context, conn net.Conn, host protocols.Host) error {
		defer conn.Close()
		var o outcome
		defer func() { got <- o }()
		s, err := host.Login(ctx, protocols.Login{Method: "token", Secret: "the-token", Address: "127.0.0.1"})
		if err != nil {
			o.stale = err
			return nil
		}
		defer s.Close(nil)
		const text = "ana@example.com"
		unit := func(verb string) protocols.Unit {
			d, err := s.(protocols.Detecting).Detector()
			if err != nil {
				t.Error(err)
			}
			f := &facts.Facts{Texts: true, Effects: []facts.Effect{{Action: facts.Call, Verb: verb, Limit: facts.NoLimit}}}
			for _, x := range d.Find([]byte(text)) {
				f.Constants = append(f.Constants, facts.Constant{From: x.From, To: x.To, Forms: x.Forms})
			}
			return protocols.Unit{Kind: protocols.Operation, Text: text, Facts: f, Wait: time.Minute}
		}
		u := unit("SAY")
		write("policy.yaml", strict)
		engine.Reload()
		_, o.stale = s.Admit(ctx, u)
		// The engine sees the file change, too, and reads it once more.
		anew := func(unit func() protocols.Unit) (err error) {
			for err = protocols.ErrPolicyChanged; errors.Is(err, protocols.ErrPolicyChanged); {
				_, err = s.Admit(ctx, unit())
			}
			return err
		}
		o.denied = anew(func() protocols.Unit { return unit("SAY") })

		write("policy.yaml", loose)
		engine.Reload()
		o.held = anew(func() protocols.Unit {
			held := unit("ASK")
			held.OnHold = func(h protocols.Held) {
				write("policy.yaml", strict)
				engine.Reload()
				if _, err := engine.approvals.Approve(ctx, h.ID, approval.Approver{Name: "dana", Groups: []string{"dba"}}, approval.Terms{}, ""); err != nil {
					t.Error(err)
				}
			}
			return held
		})
		return nil
	}}
	c, err := LoadConfig(filepath.Join(dir, "sallyport.yaml"), []protocols.Protocol{probe})
	if err != nil {
		t.Fatal(err)
	}
	if engine, err = New(Options{Config: c, Protocols: []protocols.Protocol{probe}, Log: zerolog.Nop(), Program: "test"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- engine.Run(ctx, func() { close(ready) }) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-ready
	conn, err := net.Dial("tcp", engine.targets[0].listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o := <-got
	if !errors.Is(o.stale, protocols.ErrPolicyChanged) {
		t.Errorf("with another policy's facts: %v", o.stale)
	}
	var d *protocols.Denial
	if !errors.As(o.denied, &d) || d.Kind != protocols.DenyPolicy || d.Detail != `rule "no-mail"` {
		t.Errorf("read anew: %v", o.denied)
	}
	if !errors.As(o.held, &d) || d.Kind != protocols.DenyHeld || d.HoldID == "" || d.RetryAfter == 0 {
		t.Errorf("held while the policy changed: %v", o.held)
	}
}

// TestSameIdentity changes each field of an identity in turn: no two that
// differ share a session.
func TestSameIdentity(t *testing.T) {
	a := facts.Identity{Name: "ana", Kind: "machine", Groups: []string{"rag"}, Address: "10.0.0.1"}
	b := a
	b.Groups = []string{"rag"}
	if !sameIdentity(&a, &b) {
		t.Error("equal identities are told apart")
	}
	for i := range reflect.TypeFor[facts.Identity]().NumField() {
		c := a
		switch f := reflect.ValueOf(&c).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("other")
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"rag", "dba"}))
		case reflect.Map:
			f.Set(reflect.ValueOf(map[string]any{"email": "ana@example.com"}))
		default:
			t.Fatalf("a field of kind %s", f.Kind())
		}
		if sameIdentity(&a, &c) || sameIdentity(&c, &a) {
			t.Errorf("field %d makes no difference", i)
		}
	}
}

// leases count their users, as a secret store's do.
type leases struct{ given, back []string }

func (l *leases) Login(_ context.Context, fresh bool) (upstream.Login, func(), error) {
	name := fmt.Sprintf("key-%d", len(l.given))
	l.given = append(l.given, name)
	return upstream.Login{Password: name}, func() { l.back = append(l.back, name) }, nil
}

// TestCredentialOfEachConnection: connections of one run of requests have
// their own logins, each given back when its connection is closed; one that no
// connection takes over, when its request ends.
func TestCredentialOfEachConnection(t *testing.T) {
	source := &leases{}
	e := &Engine{log: zerolog.Nop(), metrics: newMetrics()}
	target := &target{engine: e, config: &Target{Name: "x", Upstream: Upstream{URL: &url.URL{Host: "store"}}}, backends: []backend{{source: source}}}
	target.upstream = upstream.Options{Dial: func(context.Context) (net.Conn, error) { c, _ := net.Pipe(); return c, nil }}
	s := &session{engine: e, target: target, done: make(chan struct{})}
	j := &joint{target: target, session: s, requests: 9}
	dial := func(refused bool) protocols.Upstream {
		t.Helper()
		r := &joined{session: s, joint: j}
		defer r.Close(nil)
		if _, err := r.Credential(t.Context(), refused); err != nil {
			t.Fatal(err)
		}
		if refused {
			if _, err := r.Credential(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		up, err := r.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return up
	}
	given := func(want ...string) {
		t.Helper()
		if !slices.Equal(source.back, want) {
			t.Errorf("%q were given back, want %q", source.back, want)
		}
	}
	one, two := dial(false), dial(false)
	given()
	three := dial(true)
	given("key-2") // what was looked at to see whether there is another
	_ = one.Close()
	given("key-2", "key-0")
	_ = one.Close()
	_ = three.Close()
	_ = two.Close()
	given("key-2", "key-0", "key-3", "key-1")
	r := &joined{session: s, joint: j}
	if _, err := r.Credential(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.Close(nil)
	given("key-2", "key-0", "key-3", "key-1", "key-4")
}
