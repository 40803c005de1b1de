package main

import (
	"net"
	"os"
	"runtime"

	"github.com/sallyport-proxy/sallyport/proxy"
)

// share takes half of the processors where every target's store is on this
// machine too: each statement then needs both in turn, and what the proxy's
// idle threads spend on looking for work is the store's loss
// (docs/performance.md). GOMAXPROCS in the environment decides otherwise.
func share(c *proxy.Config) {
	if os.Getenv("GOMAXPROCS") == "" && besideStores(c) {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// besideStores says that all targets' stores are reached over the loopback.
func besideStores(c *proxy.Config) bool {
	for i := range c.Targets {
		host := c.Targets[i].Upstream.URL.Hostname()
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return len(c.Targets) > 0
}
