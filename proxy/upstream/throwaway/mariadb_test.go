package throwaway_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// TestMariaDB: it runs scripts, survives a kill with its data, and takes settings.
func TestMariaDB(t *testing.T) {
	for _, release := range []string{"", throwaway.MariaDB11, throwaway.MySQL8} {
		t.Run(release, func(t *testing.T) { testMariaDB(t, release) })
	}
}

func testMariaDB(t *testing.T, release string) {
	s := throwtest.Maria(t, throwaway.MariaOptions{Release: release, TLS: true, Settings: map[string]string{"sql-mode": "ANSI"}})
	name := throwtest.Database(t, s, "CREATE TABLE t (a INT) ENGINE=InnoDB; INSERT INTO t VALUES (1), (2)")
	if err := s.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if out := throwtest.SQL(t, s, name, "SELECT SUM(a), @@have_ssl, @@sql_mode LIKE '%ANSI%' FROM t"); strings.TrimSpace(out) != "3\tYES\t1" {
		t.Errorf("it answers %q", out)
	}
	if _, err := s.SQL(t.Context(), name, "SELECT nothing"); err == nil || !strings.Contains(err.Error(), "1054") {
		t.Errorf("a failing script: %v", err)
	}
	if u := s.URL("root", "d"); !strings.HasPrefix(u, "mysql://root:") || !strings.Contains(u, "tls=verify-full") {
		t.Errorf("its URL is %s", u)
	}
}
