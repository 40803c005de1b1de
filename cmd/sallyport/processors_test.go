package main

import (
	"net/url"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy"
)

func TestBesideStores(t *testing.T) {
	for _, c := range []struct {
		urls []string
		want bool
	}{
		{nil, false},
		{[]string{"postgres://app@127.0.0.1:5432/app"}, true},
		{[]string{"postgres://app@localhost/app", "postgres://app@[::1]:5432/app"}, true},
		{[]string{"postgres://app@127.0.0.1/app", "postgres://app@db.internal/app"}, false},
		{[]string{"postgres://app@10.0.0.1/app"}, false},
	} {
		var conf proxy.Config
		for _, s := range c.urls {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			conf.Targets = append(conf.Targets, proxy.Target{Upstream: proxy.Upstream{URL: u}})
		}
		if got := besideStores(&conf); got != c.want {
			t.Errorf("%v: %v, want %v", c.urls, got, c.want)
		}
	}
}
