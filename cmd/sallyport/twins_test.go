package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// startTwins starts two servers from the same template, fills them with the
// same schema and rows that differ in classed values only, and puts one proxy
// before both.
func startTwins(t *testing.T) *twins {
	t.Helper()
	return startTwinsUnder(t, readFile(t, filepath.Join("..", "..", "testdata", "noninterference", "policy.yaml")))
}

func startTwinsUnder(t *testing.T, policy string) *twins {
	t.Helper()
	return startTwinsOf(t, policy, startTwin)
}

// startTwinsOf has the two servers started in another way.
func startTwinsOf(t *testing.T, policy string, start func(t *testing.T, side string) *throwaway.Server) *twins {
	t.Helper()
	var targets []target
	var conns []string
	for _, side := range []string{"a", "b"} {
		s := start(t, side)
		port := freePort(t)
		targets = append(targets, target{
			name: "twin-" + side, port: port, password: "backend-secret",
			upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address()),
		})
		conns = append(conns, twinConn(port))
	}
	return &twins{a: conns[0], b: conns[1], proxy: startProxy(t, policy, targets...)}
}

// startTwin starts one of the two servers.
func startTwin(t *testing.T, side string) *throwaway.Server {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "noninterference")
	return startPostgreSQL(t, throwaway.Options{
		Settings: map[string]string{
			"autovacuum":                      "off", // what it does depends on timing
			"jit":                             "off",
			"max_parallel_workers_per_gather": "0", // rows' order would depend on timing
		},
	},
		readFile(t, filepath.Join(dir, "schema.sql")),
		readFile(t, filepath.Join(dir, "common.sql")),
		readFile(t, filepath.Join(dir, side+".sql")))
}
