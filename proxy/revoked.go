package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/identity"
)

// revokedEvery is how often the state is asked what others have revoked.
const revokedEvery = 300 * time.Millisecond

// revokedDenial ends sessions of an identity that was revoked.
var revokedDenial = &protocols.Denial{Kind: protocols.DenyShutdown, Message: "terminating connection: the identity was revoked", At: -1}

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
	for _, s := range e.all() {
		if names[s.identity.Name] {
			s.kill(revokedDenial)
		}
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

// Revoke keeps a name from logging in and ends its sessions. Once it returns
// the list is in the state.
func (e *Engine) Revoke(ctx context.Context, r identity.Revocation) error {
	if err := e.revocations.Add(ctx, r); err != nil {
		return err
	}
	e.log.Warn().Str("identity", r.Name).Str("by", r.By).Str("reason", r.Reason).Msg("identity revoked")
	return e.loadRevoked(ctx)
}

// Restore takes a name off the list; false where it was not on it.
func (e *Engine) Restore(ctx context.Context, name, by string) (bool, error) {
	was, err := e.revocations.Remove(ctx, name)
	if err != nil || !was {
		return false, err
	}
	e.log.Warn().Str("identity", name).Str("by", by).Msg("identity restored")
	return true, e.loadRevoked(ctx)
}
