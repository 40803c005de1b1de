package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/console"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
)

// revokedEvery is how often the state is asked what others have revoked.
const revokedEvery = 300 * time.Millisecond

// revokedDenial ends sessions of an identity that was revoked.
var revokedDenial = &protocols.Denial{Kind: protocols.DenyShutdown, Message: "terminating connection: the identity was revoked", At: -1}

// killedDenial ends sessions that an administrator ends.
var killedDenial = &protocols.Denial{Kind: protocols.DenyShutdown, Message: "terminating connection: an administrator ended the session", At: -1}

// revoked are the names that may not log in, as the state has them.
type revoked struct {
	names atomic.Pointer[map[string]bool]
}

func (r *revoked) has(name string) bool {
	names := r.names.Load()
	return names != nil && (*names)[name]
}

// loadRevoked reads the list and ends the sessions of those on it.
func (e *Engine) loadRevoked(ctx context.Context) error {
	list, err := e.revocations.List(ctx)
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(list))
	for _, r := range list {
		names[r.Name] = true
	}
	e.revoked.names.Store(&names)
	if len(names) == 0 {
		return nil
	}
	for name := range names {
		e.killIdentity(name, revokedDenial)
	}
	return nil
}

// watchRevoked looks for what other processes on the same state have revoked.
func (e *Engine) watchRevoked(ctx context.Context) {
	tick := time.NewTicker(revokedEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := e.loadRevoked(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			e.log.Error().Err(err).Msg("the list of revoked identities cannot be read; the last one stays")
		}
		failing = err != nil
	}
}

// killIdentity ends the sessions of a name, and returns how many.
func (e *Engine) killIdentity(name string, why *protocols.Denial) int {
	n := 0
	for _, s := range e.all() {
		if s.identity.Name == name {
			s.kill(why)
			n++
		}
	}
	return n
}

// identitiesView is the engine's callers as the console sees them.
type identitiesView struct{ e *Engine }

var _ console.Identities = identitiesView{}

func (v identitiesView) Revoked(ctx context.Context) (any, error) { return v.e.revocations.List(ctx) }

func (v identitiesView) Revoke(ctx context.Context, name, by, reason string) (int, error) {
	e := v.e
	if err := e.revocations.Add(ctx, identity.Revocation{Name: name, At: e.now(), By: by, Reason: reason}); err != nil {
		return 0, err
	}
	e.log.Warn().Str("identity", name).Str("by", by).Str("reason", reason).Msg("identity revoked")
	n := e.killIdentity(name, revokedDenial)
	return n, e.loadRevoked(ctx)
}

func (v identitiesView) Restore(ctx context.Context, name, by string) (bool, error) {
	was, err := v.e.revocations.Remove(ctx, name)
	if err != nil || !was {
		return false, err
	}
	v.e.log.Warn().Str("identity", name).Str("by", by).Msg("identity restored")
	return true, v.e.loadRevoked(ctx)
}

func (v identitiesView) KillIdentity(name, by string) int {
	n := v.e.killIdentity(name, killedDenial)
	v.e.log.Warn().Str("identity", name).Str("by", by).Int("sessions", n).Msg("an identity's sessions were killed")
	return n
}
