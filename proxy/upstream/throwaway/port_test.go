package throwaway

import (
	"context"
	"errors"
	"net"
	"testing"
)

// TestPortTaken holds the texts by which a taken port is known: onPort tries another one for them.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	pg, err := PostgreSQL(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	bouncer, err := PgBouncer(context.Background(), BouncerOptions{Upstream: pg})
	if err != nil {
		t.Fatal(err)
	}
	defer bouncer.Stop()
	haproxy, err := HAProxy(context.Background(), HAProxyOptions{Upstream: pg})
	if err != nil {
		t.Fatal(err)
	}
	defer haproxy.Stop()
	for _, s := range []*Server{pg, bouncer, haproxy} {
		if err := s.Kill(s.signal.now); err != nil {
			t.Fatal(err)
		}
		<-s.running.done
		l, err := net.Listen("tcp4", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(); !errors.Is(err, errPortTaken) {
			t.Errorf("starting on a taken port: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Restart(); err != nil {
			t.Errorf("starting once the port is free: %v", err)
		}
	}
}
