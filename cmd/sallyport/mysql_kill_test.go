package main

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// TestMySQLKillStaysOnItsTarget: servers count their threads each from 1, so
// that sessions of one identity on two targets have the same number. KILL ends
// the one on its own session's target.
func TestMySQLKillStaysOnItsTarget(t *testing.T) {
	t.Parallel()
	var targets []target
	for _, name := range []string{"one", "two"} {
		s := throwtest.Maria(t, throwaway.MariaOptions{Password: "root-secret"})
		targets = append(targets, target{name: name, protocol: "mysql", port: freePort(t), password: s.Password, upstream: fmt.Sprintf("mysql://root@%s/mysql?tls=disable", s.Address())})
	}
	startProxy(t, permissive, targets...)
	number := func(c *stdsql.Conn) (n int) {
		if err := c.QueryRowContext(context.Background(), "SELECT CONNECTION_ID()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// Whoever is behind goes on until both servers have reached a number.
	one, two := oneMySQL(t, targets[0].port, "mysql", ""), oneMySQL(t, targets[1].port, "mysql", "")
	for tries := 0; number(one) != number(two); tries++ {
		switch {
		case tries == 100:
			t.Fatalf("the servers' numbers are %d and %d", number(one), number(two))
		case number(one) < number(two):
			one = oneMySQL(t, targets[0].port, "mysql", "")
		default:
			two = oneMySQL(t, targets[1].port, "mysql", "")
		}
	}
	id := number(one)
	killer := oneMySQL(t, targets[0].port, "mysql", "")
	execMySQL(t, killer, fmt.Sprintf("KILL QUERY %d", id), fmt.Sprintf("KILL %d", id))
	if err := one.PingContext(context.Background()); err == nil {
		t.Error("the session on the KILL's target goes on")
	}
	if got := number(two); got != id {
		t.Errorf("the session on the other target is %d now, was %d", got, id)
	}
	// Its number is nobody's on this target any more.
	if _, err := killer.ExecContext(context.Background(), fmt.Sprintf("KILL %d", id)); errNumber(err) != 1094 {
		t.Errorf("a second KILL: %v", err)
	}
	if got := number(two); got != id {
		t.Errorf("the session on the other target is %d after it, was %d", got, id)
	}
}
