package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Role is a login that Vault's database secrets engine makes. One lease is
// shared by those who log in while it is young; leases that somebody is logged
// in with are renewed, so that their sessions go on while new ones get another.
type Role struct {
	Vault *Vault
	Mount string
	Role  string

	mu      sync.Mutex
	current *lease
	old     []*lease // with users
	again   again
}

var _ Source = (*Role)(nil)

// Login returns the current lease's login, or a new one's.
func (r *Role) Login(ctx context.Context, fresh bool) (Login, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh = fresh && r.again.now(r.Vault.now())
	if l := r.current; l == nil || fresh || l.ends.Sub(r.Vault.now()) < l.whole/2 {
		next, err := r.Vault.newLease(ctx, r.Mount, r.Role)
		switch {
		case err == nil:
			r.retire()
			r.current = next
		case l == nil || fresh || !r.Vault.now().Before(l.ends):
			return Login{}, nil, err
		default:
			r.Vault.fail(fmt.Errorf("the lease at hand stays: %w", err))
		}
	}
	l := r.current
	l.users++
	var once sync.Once
	release := func() {
		once.Do(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			l.users--
		})
	}
	return Login{User: l.Data.User, Password: l.Data.Password}, release, nil
}

// retire keeps the current lease for those who use it. The caller holds mu.
func (r *Role) retire() {
	if r.current != nil {
		r.old = append(r.old, r.current)
		r.current = nil
	}
}

// keepEvery is how often leases are looked at; it bounds how short they may be.
const keepEvery = time.Second

// Keep renews leases in use and gives back those that nobody uses any more,
// until ctx ends; then it gives back all.
func (r *Role) Keep(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.retire()
			for _, l := range r.old {
				if err := r.Vault.revoke(end, l); err != nil {
					r.Vault.fail(fmt.Errorf("giving a lease back: %w", err))
				}
			}
			return
		case <-tick.C:
			r.look(ctx)
		}
	}
}

// look renews what is in use and past half of its time.
func (r *Role) look(ctx context.Context) {
	r.mu.Lock()
	all := append([]*lease(nil), r.old...)
	if r.current != nil {
		all = append(all, r.current)
	}
	r.mu.Unlock()
	for _, l := range all {
		if err := r.lookAt(ctx, l); err != nil && ctx.Err() == nil {
			r.Vault.fail(err)
		}
	}
}

func (r *Role) lookAt(ctx context.Context, l *lease) error {
	r.mu.Lock()
	used, current, before := l.users > 0, l == r.current, l.ends
	due := used && l.Renewable && !l.spent && before.Sub(r.Vault.now()) < l.whole/2
	r.mu.Unlock()
	switch {
	case !used && !current:
		r.drop(l)
		return r.Vault.revoke(ctx, l)
	case !due:
		return nil
	}
	ends, err := r.Vault.renew(ctx, l)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.ends = ends; !ends.After(before) {
		l.spent = true // its sessions go on while the database lets them
		return errors.New("a lease in use cannot be stretched any more")
	}
	return nil
}

func (r *Role) drop(l *lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.old {
		if r.old[i] == l {
			r.old = append(r.old[:i], r.old[i+1:]...)
			return
		}
	}
}
