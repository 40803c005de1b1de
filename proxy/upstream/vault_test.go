package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// double answers as Vault's documented HTTP API does, for one KV secret and one
// database role.
type double struct {
	mu       sync.Mutex
	password string
	made     int
	reads    int
	live     map[string]time.Duration // leases
	renewals int
	down     bool
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	refuse := func(code int, what string) {
		w.WriteHeader(code)
		answer(map[string]any{"errors": []string{what}})
	}
	var body struct {
		ID string `json:"lease_id"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	switch {
	case d.down:
		refuse(503, "Vault is sealed")
	case r.Header.Get("X-Vault-Token") != "the-token" || r.Header.Get("X-Vault-Namespace") != "team":
		refuse(403, "permission denied")
	case r.Method == "GET" && r.URL.Path == "/v1/secret/data/apps/shop":
		d.reads++
		answer(map[string]any{"data": map[string]any{"data": map[string]any{"password": d.password}, "metadata": map[string]any{"version": 3}}})
	case r.Method == "GET" && r.URL.Path == "/v1/database/creds/reader":
		d.made++
		id := fmt.Sprint("database/creds/reader/", d.made)
		d.live[id] = time.Minute
		answer(map[string]any{"lease_id": id, "lease_duration": 60, "renewable": true, "data": map[string]any{"username": fmt.Sprint("v-reader-", d.made), "password": fmt.Sprint("made-", d.made)}})
	case r.Method == "PUT" && r.URL.Path == "/v1/sys/leases/renew" && d.live[body.ID] > 0:
		d.renewals++
		answer(map[string]any{"lease_id": body.ID, "lease_duration": 60, "renewable": true})
	case r.Method == "PUT" && r.URL.Path == "/v1/sys/leases/revoke" && d.live[body.ID] > 0:
		delete(d.live, body.ID)
		w.WriteHeader(204)
	default:
		refuse(404, "no handler for "+r.URL.Path)
	}
}

func startVault(t *testing.T) (*double, *Vault, func(time.Duration)) {
	t.Helper()
	d := &double{password: "one", live: map[string]time.Duration{}}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	var mu sync.Mutex
	ahead := time.Duration(0)
	v := &Vault{Address: srv.URL, Namespace: "team", Token: func() (string, error) { return "the-token", nil }, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(ahead)
	}}
	if err := v.Open(""); err != nil {
		t.Fatal(err)
	}
	return d, v, func(by time.Duration) { mu.Lock(); ahead += by; mu.Unlock() }
}

func (d *double) set(f func()) { d.mu.Lock(); f(); d.mu.Unlock() }

func TestKV(t *testing.T) {
	d, v, pass := startVault(t)
	ctx := context.Background()
	k := &KV{Vault: v, Mount: "secret", Path: "apps/shop", Key: "password"}
	want := func(fresh bool, password string) {
		t.Helper()
		l, _, err := k.Login(ctx, fresh)
		if err != nil || l.Password != password {
			t.Errorf("%+v, %v, want %s", l, err, password)
		}
	}
	want(false, "one")
	d.set(func() { d.password = "two" })
	want(false, "one") // remembered
	pass(2 * time.Second)
	want(true, "two") // it was refused: read anew
	d.set(func() { d.password = "three" })
	pass(time.Minute)
	want(false, "three")
	d.set(func() { d.down = true })
	pass(time.Minute)
	want(false, "three") // the last one stays
	for _, bad := range []*KV{
		{Vault: v, Mount: "secret", Path: "apps/shop", Key: "password"}, // down
	} {
		if _, _, err := bad.Login(ctx, false); err == nil || !strings.Contains(err.Error(), "sealed") {
			t.Errorf("down: %v", err)
		}
	}
	d.set(func() { d.down = false })
	for what, bad := range map[string]*KV{
		"404": {Vault: v, Mount: "secret", Path: "apps/other", Key: "password"}, "under user": {Vault: v, Mount: "secret", Path: "apps/shop", Key: "user"},
	} {
		if _, _, err := bad.Login(ctx, false); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	v.Token = func() (string, error) { return "stolen", nil }
	if _, _, err := (&KV{Vault: v, Mount: "secret", Path: "apps/shop", Key: "password"}).Login(ctx, false); err == nil || !strings.Contains(err.Error(), "permission denied") || strings.Contains(err.Error(), "stolen") {
		t.Errorf("a wrong token: %v", err)
	}
}

// TestRole: a lease is shared while it is young, renewed while somebody uses
// it, and given back when nobody does.
func TestRole(t *testing.T) {
	d, v, pass := startVault(t)
	ctx := context.Background()
	r := &Role{Vault: v, Mount: "database", Role: "reader"}
	one, release1, err := r.Login(ctx, false)
	if err != nil || one.User != "v-reader-1" || one.Password != "made-1" {
		t.Fatal(one, err)
	}
	if two, release, err := r.Login(ctx, false); err != nil || two != one {
		t.Errorf("%+v, %v: not shared", two, err)
	} else {
		release()
	}
	pass(40 * time.Second)
	r.look(ctx) // in use: renewed
	if d.renewals != 1 {
		t.Errorf("%d renewals", d.renewals)
	}
	pass(40 * time.Second)
	three, release3, err := r.Login(ctx, false)
	if err != nil || three.User != "v-reader-2" {
		t.Fatalf("an old lease was given again: %+v %v", three, err)
	}
	r.look(ctx) // the first one is still in use, and due
	if d.renewals != 2 || len(d.live) != 2 {
		t.Errorf("%d renewals, %d leases", d.renewals, len(d.live))
	}
	release1()
	release1() // twice is once
	r.look(ctx)
	if len(d.live) != 1 || d.live["database/creds/reader/2"] == 0 {
		t.Errorf("leases %v", d.live)
	}
	four, release4, err := r.Login(ctx, true) // the database refused it
	if err != nil || four.User != "v-reader-3" {
		t.Errorf("%+v %v", four, err)
	}
	d.set(func() { d.down = true })
	if _, _, err := r.Login(ctx, true); err == nil {
		t.Error("a refused login was given again")
	}
	if l, release, err := r.Login(ctx, false); err != nil || l != four {
		t.Errorf("%+v %v: the lease at hand does not outlive the store", l, err)
	} else {
		release()
	}
	d.set(func() { d.down = false })
	release3()
	release4()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	r.Keep(ended)
	if len(d.live) != 0 {
		t.Errorf("leases that were not given back: %v", d.live)
	}
}

// TestRefusedStorm: a credential that the backend goes on refusing is not asked
// for at each try, and a new one is found within a second all the same.
func TestRefusedStorm(t *testing.T) {
	d, v, pass := startVault(t)
	ctx := context.Background()
	k := &KV{Vault: v, Mount: "secret", Path: "apps/shop", Key: "password"}
	r := &Role{Vault: v, Mount: "database", Role: "reader"}
	began := time.Now()
	for range 500 {
		if _, _, err := k.Login(ctx, true); err != nil {
			t.Fatal(err)
		}
		_, release, err := r.Login(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if most := 5 + int(time.Since(began)/time.Second); d.reads > most || d.made > most {
		t.Errorf("%d reads and %d leases in %s", d.reads, d.made, time.Since(began))
	}
	d.set(func() { d.password = "new" })
	pass(time.Second)
	if l, _, err := k.Login(ctx, true); err != nil || l.Password != "new" {
		t.Errorf("%+v, %v", l, err)
	}
}
