package identity

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Failures bounds how often logins may fail: of one name from one address,
// and from one address whatever the names. An IPv6 address counts as its /64.
// Others are never held back: nobody can lock an identity out from elsewhere.
// The zero value is ready; it is safe for concurrent use.
type Failures struct {
	mu   sync.Mutex
	seen map[string]*rate.Limiter
}

const (
	// maxFailures bounds the table; each entry takes some 200 bytes.
	maxFailures = 10000
	nameBurst   = 10
	nameEvery   = 5 * time.Second
	burst       = 100 // of an address
	every       = time.Second
)

// MayTry says whether an address may try a name: ten failures of the name at
// once and then one each five seconds, a hundred of all names and then one a
// second.
func (f *Failures) MayTry(address, name string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return true
	}
	network := networkOf(address)
	for _, key := range []string{network, network + "\x00" + name} {
		if l := f.seen[key]; l != nil && l.TokensAt(now) < 1 {
			return false
		}
	}
	return true
}

// Failed notes a failed login.
func (f *Failures) Failed(address, name string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	network := networkOf(address)
	f.note(network, burst, every, now)
	f.note(network+"\x00"+name, nameBurst, nameEvery, now)
}

func (f *Failures) note(key string, burst int, every time.Duration, now time.Time) {
	l := f.seen[key]
	if l == nil {
		f.makeRoom(now)
		l = rate.NewLimiter(rate.Every(every), burst)
		f.seen[key] = l
	}
	l.AllowN(now, 1)
}

// makeRoom forgets those whose failures are long ago, and where there are
// none, any one: a flood of names from one address stays bounded by that
// address's own entry, which the next failure makes again at worst.
func (f *Failures) makeRoom(now time.Time) {
	if f.seen == nil {
		f.seen = map[string]*rate.Limiter{}
	}
	if len(f.seen) < maxFailures {
		return
	}
	for key, l := range f.seen {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(f.seen, key)
		}
	}
	for key := range f.seen {
		if len(f.seen) < maxFailures*9/10 { // not one by one: looking at all takes long
			return
		}
		delete(f.seen, key)
	}
}

func networkOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Unmap().Is4() {
		return address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}
