package main

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	myclient "github.com/go-mysql-org/go-mysql/client"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// TestMySQLIdleSessionEnds: a client that asks nothing is told of its
// upstream's end as the server itself tells it, at once and not by its next
// statement.
func TestMySQLIdleSessionEnds(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"shut down": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			s := throwtest.Maria(t, throwaway.MariaOptions{Password: "root-secret"})
			port := freePort(t)
			p := startProxy(t, permissive, target{name: "shop", protocol: "mysql", port: port, password: s.Password, upstream: fmt.Sprintf("mysql://root@%s/mysql?tls=disable", s.Address())})
			idle := func(address, user, password string) *myclient.Conn {
				c, err := myclient.Connect(address, user, password, "mysql")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				if _, err := c.Execute("SELECT 1"); err != nil {
					t.Fatal(err)
				}
				return c
			}
			direct, proxied := idle(s.Address(), "root", s.Password), idle(fmt.Sprintf("127.0.0.1:%d", port), "ana", "ana-secret")
			if err := s.Kill(signal); err != nil {
				t.Fatal(err)
			}
			told := func(c *myclient.Conn) string {
				if err := c.Conn.Conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(c.Conn.Conn)
				return fmt.Sprintf("%q %v", b, err)
			}
			want, got := told(direct), told(proxied)
			t.Logf("%s: %s", name, want)
			if want != got {
				t.Errorf("the idle client is told %s, direct %s", got, want)
			}
			awaitSessions(t, p, 0)
		})
	}
}
