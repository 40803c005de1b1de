package upstream

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Login is what a backend is logged in to with. User is "" where the source
// has a password alone.
type Login struct{ User, Password string }

// Source gives a backend's login. It is safe for concurrent use.
type Source interface {
	// Login returns the login as of now. fresh says that the last one was
	// refused, so that whatever is remembered is asked for again. release is
	// called once whoever logged in with it has ended.
	Login(ctx context.Context, fresh bool) (l Login, release func(), err error)
}

// Constant is a password that does not change while the process runs.
type Constant string

var _ Source = Constant("")

func (c Constant) Login(context.Context, bool) (Login, func(), error) {
	return Login{Password: string(c)}, func() {}, nil
}

// File is a password in a file, without its last line feed. It is read at each
// login, so that a file that changes counts for the next one; while it cannot
// be read, the last one that could does.
type File struct {
	Path string
	// Failed, if set, is told that it could not be read.
	Failed func(error)

	mu   sync.Mutex
	last *string
}

var _ Source = (*File)(nil)

// Login reads the file.
func (f *File) Login(context.Context, bool) (Login, func(), error) {
	b, err := os.ReadFile(f.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && len(b) > 0 {
		s := strings.TrimRight(string(b), "\r\n")
		f.last = &s
	} else if f.last != nil && f.Failed != nil {
		f.Failed(fmt.Errorf("reading a secret, the last one stays: %w", err))
	}
	if f.last == nil {
		if err == nil {
			err = fmt.Errorf("%s is empty", f.Path)
		}
		return Login{}, nil, fmt.Errorf("reading a secret: %w", err)
	}
	return Login{Password: *f.last}, func() {}, nil
}

// again bounds how often a store is asked for what a backend refuses: whoever
// fails to log in with what it has must not have it asked at each try. It is
// used under its source's lock.
type again struct{ limit *rate.Limiter }

// now says whether the store may be asked.
func (a *again) now(at time.Time) bool {
	if a.limit == nil {
		a.limit = rate.NewLimiter(rate.Every(time.Second), 3)
	}
	return a.limit.AllowN(at, 1)
}

// KV is a password in Vault's key-value store, version 2. It is asked for
// again after kvFresh, or when it was refused.
type KV struct {
	Vault *Vault
	Mount string
	Path  string
	Key   string

	mu    sync.Mutex
	last  *string
	at    time.Time
	again again
}

const kvFresh = 30 * time.Second

var _ Source = (*KV)(nil)

// Login asks the store, or answers with what it said a moment ago. While the
// store is gone, the last one stays: the backend says whether it is still good.
func (k *KV) Login(ctx context.Context, fresh bool) (Login, func(), error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.Vault.now().Sub(k.at)
	if k.last == nil || age > kvFresh || fresh && k.again.now(k.Vault.now()) {
		s, err := k.Vault.kv(ctx, k.Mount, k.Path, k.Key)
		switch {
		case err == nil:
			k.last, k.at = &s, k.Vault.now()
		case k.last == nil:
			return Login{}, nil, err
		default:
			k.at = k.Vault.now() // not at each login
			k.Vault.fail(fmt.Errorf("the last secret stays: %w", err))
		}
	}
	return Login{Password: *k.last}, func() {}, nil
}
