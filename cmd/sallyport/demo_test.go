package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDemo: the demo's walk ends, and each of its steps shows what its title
// says.
func TestDemo(t *testing.T) {
	t.Parallel()
	code, out := runMain(t, "demo", "--once", "--dir", filepath.Join(t.TempDir(), "demo"), "--port", fmt.Sprint(freePort(t)))
	if code != 0 {
		t.Fatalf("%d\n%s", code, out)
	}
	steps := regexp.MustCompile(`(?m)^(\d+)\. `).FindAllStringSubmatch(out, -1)
	for i, s := range steps {
		if s[1] != fmt.Sprint(i+1) {
			t.Errorf("step %d is numbered %s", i+1, s[1])
		}
	}
	for _, want := range []string{
		`b***@mail.example`, `unfiltered-write`, `20000 rows, cards masked`, `|  1 | Bruno Braga | b***@mail.example | [redacted] |      0 |`,
		`ERROR 1227 (42000) at line 1: DELETE refused by policy`,
		`"email":"c***@example.com","name":"Customer 25","phone":"****0024"`,
		`DROP COLLECTION refused by policy. rule \"no-destructive-ddl\"`, `2000 points, masked`, `all good`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	for _, secret := range []string{demoStoreKey, demoUpstreamPassword, "customer1@example.com", "4111 1111"} {
		if strings.Contains(out, secret) {
			t.Errorf("the demo shows %q", secret)
		}
	}
}
