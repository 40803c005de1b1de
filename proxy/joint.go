package proxy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// keep holds what a protocol keeps for a target.
type keep struct {
	once  sync.Once
	value any
}

func (k *keep) get(make func() any) any {
	k.once.Do(func() { k.value = make() })
	return k.value
}

// joints are a target's sessions that are runs of requests.
type joints struct {
	mu      sync.Mutex
	open    map[jointKey]*joint
	closing sync.WaitGroup
}

// jointKey is what requests of one session have in common. Two tokens of one
// name are two sessions: they may say different things of it.
type jointKey struct {
	name, address, database string
	token                   [sha256.Size]byte
}

// joint is a session that requests share. It ends when none has come for a
// while.
type joint struct {
	target  *target
	key     jointKey
	opened  chan struct{} // closed once session or err is set
	session *session
	err     error

	// Of joints.mu:
	requests int
	idle     *time.Timer
}

// joined is the session as one request has it: its Close ends the request. One
// goroutine uses it.
type joined struct {
	*session
	joint  *joint
	once   sync.Once
	policy *sqlpolicy.Policy // of the detector that the facts are made with; nil for none

	release func() // gives back the credential that no connection has taken over; nil for none
}

var _ protocols.Session = (*joined)(nil)

func (r *joined) Close(error) {
	r.once.Do(func() {
		r.giveBack()
		r.joint.leave()
	})
}

// Credential is for the connection that Dial makes next: the session has many,
// each with a login of its own.
func (r *joined) Credential(ctx context.Context, refused bool) (protocols.Credential, error) {
	c, release, err := r.login(ctx, refused)
	if err == nil {
		r.giveBack()
		r.release = release
	}
	return c, err
}

func (r *joined) giveBack() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// Dial connects. The connection gives its credential back when it is closed.
func (r *joined) Dial(ctx context.Context) (protocols.Upstream, error) {
	up, err := r.session.Dial(ctx)
	if err != nil || r.release == nil {
		return up, err
	}
	c := &leased{Upstream: up, release: r.release}
	r.release = nil
	return c, nil
}

// leased is a connection with the credential that it is logged in with.
type leased struct {
	protocols.Upstream
	once    sync.Once
	release func()
}

func (l *leased) Close() error {
	err := l.Upstream.Close()
	l.once.Do(l.release)
	return err
}

var _ protocols.Detecting = (*joined)(nil)

// Detector finds what the policy in force looks for, whoever asks. The request
// is then admitted under that policy or not at all.
func (r *joined) Detector() (*mask.Detector, error) {
	r.policy = r.engine.policy.Load()
	return r.policy.Detector(r.policy.Detects(), r.engine.keys.Hash)
}

// Admit is the session's, under the policy that the facts are made with.
func (r *joined) Admit(ctx context.Context, u protocols.Unit) ([]protocols.Ticket, error) {
	return r.admit(ctx, u, r.policy)
}

// join takes a request into its caller's session, and opens one where there
// is none. token is the hash of what the caller has logged in with.
func (t *target) join(ctx context.Context, caller identity.Caller, database string, l protocols.Login, token [sha256.Size]byte) (protocols.Session, error) {
	id := caller.Identity
	key := jointKey{name: id.Name, address: l.Address, database: database, token: token}
	t.joints.mu.Lock()
	j := t.joints.open[key]
	if j != nil && !j.fits(id) {
		j = nil // its requests end it
	}
	first := j == nil
	if first {
		j = &joint{target: t, key: key, opened: make(chan struct{})}
		if t.joints.open == nil {
			t.joints.open = map[jointKey]*joint{}
		}
		t.joints.open[key] = j
	}
	j.requests++
	if j.idle != nil {
		j.idle.Stop()
		j.idle = nil
	}
	t.joints.mu.Unlock()
	if first {
		l.Secret = ""
		j.session, j.err = t.open(context.WithoutCancel(ctx), caller, database, l)
		if j.err == nil {
			j.session.onEnd(j.killed)
		}
		close(j.opened)
	}
	<-j.opened
	if j.err != nil {
		j.leave()
		return nil, j.err
	}
	return &joined{session: j.session, joint: j}, nil
}

// fits says whether the session may go on for an identity as it is now.
func (j *joint) fits(id facts.Identity) bool {
	select {
	case <-j.opened:
	default:
		return true // it is just being opened, for the same token
	}
	return j.err == nil && !j.session.over() && sameIdentity(&j.session.identity, &id)
}

func sameIdentity(a, b *facts.Identity) bool {
	if len(a.Claims) == 0 && len(b.Claims) == 0 {
		return a.Name == b.Name && a.Kind == b.Kind && a.Address == b.Address && slices.Equal(a.Groups, b.Groups)
	}
	return reflect.DeepEqual(a, b)
}

// leave ends a request.
func (j *joint) leave() {
	js := &j.target.joints
	js.mu.Lock()
	defer js.mu.Unlock()
	j.requests--
	if j.requests > 0 {
		return
	}
	switch current := js.open[j.key] == j; {
	case j.err != nil:
		if current {
			delete(js.open, j.key)
		}
	case !current || j.session.over():
		js.closing.Go(func() { j.close("") })
	default:
		wait := j.target.config.Idle
		j.idle = time.AfterFunc(wait, func() { j.close(fmt.Sprintf("no request for %s", wait)) })
	}
}

// killed ends a session that no request is at work in.
func (j *joint) killed() {
	js := &j.target.joints
	js.mu.Lock()
	defer js.mu.Unlock()
	if j.requests == 0 {
		js.closing.Go(func() { j.close("") })
	}
}

// close ends the session unless a request has come meanwhile.
func (j *joint) close(reason string) {
	js := &j.target.joints
	js.mu.Lock()
	if j.requests > 0 {
		js.mu.Unlock()
		return
	}
	if j.idle != nil {
		j.idle.Stop()
	}
	if js.open[j.key] == j {
		delete(js.open, j.key)
	}
	js.closing.Add(1)
	js.mu.Unlock()
	defer js.closing.Done()
	var why error
	if cause := j.session.Cause(); cause != nil {
		why = cause
	} else if reason != "" {
		why = fmt.Errorf("%s", reason)
	}
	j.session.Close(why)
}

// close ends the sessions that no request is at work in, for the end of the
// process.
func (js *joints) close() {
	js.mu.Lock()
	var idle []*joint
	for _, j := range js.open {
		if j.requests == 0 {
			idle = append(idle, j)
		}
	}
	js.mu.Unlock()
	for _, j := range idle {
		j.close("")
	}
	js.closing.Wait()
}
