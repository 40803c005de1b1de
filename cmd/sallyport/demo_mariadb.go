package main

import (
	"context"
	"fmt"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// startMariaDB starts the same shop in MariaDB. The server, where there is one, is the caller's to stop.
func (d *demo) startMariaDB(ctx context.Context) (shop demoShop, err error) {
	port, err := portOr(3307)
	if err != nil {
		return shop, err
	}
	s, err := throwaway.MariaDB(ctx, throwaway.MariaOptions{})
	if err != nil {
		return shop, err
	}
	shop = demoShop{
		server: s, target: "shop-mariadb", protocol: "mysql", port: port,
		upstream: fmt.Sprintf("mysql://shop@%s/shop?tls=disable", s.Address()),
		program:  []string{"mariadb", "--no-defaults"},
		arguments: func(user, password, statement string, plain bool) []string {
			out := []string{"--host=127.0.0.1", fmt.Sprintf("--port=%d", port), "--user=" + user, "--password=" + password, "--table", "shop", "-e", statement}
			if plain {
				out[4] = "-NB"
			}
			return out
		},
	}
	script, err := demoFiles.ReadFile("demo/shop.mariadb.sql")
	if err != nil {
		return shop, err
	}
	for _, q := range [][2]string{
		{"mysql", "CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE USER shop@'127.0.0.1' IDENTIFIED BY '" + demoUpstreamPassword + "'; GRANT ALL ON shop.* TO shop@'127.0.0.1';"},
		{"shop", string(script)},
	} {
		if _, err := s.SQL(ctx, q[0], q[1]); err != nil {
			return shop, err
		}
	}
	return shop, nil
}
