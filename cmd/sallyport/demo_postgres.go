package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// startPostgreSQL starts the shop in PostgreSQL. The server, where there is one, is the caller's to stop.
func (d *demo) startPostgreSQL(ctx context.Context) (shop demoShop, err error) {
	installs, err := throwaway.FindPostgreSQL()
	if err != nil {
		return shop, err
	}
	vector := false
	for _, in := range installs {
		vector = vector || in.Vector
	}
	port, err := portOr(d.port)
	if err != nil {
		return shop, err
	}
	pg, err := throwaway.PostgreSQL(ctx, throwaway.Options{Vector: vector})
	if err != nil {
		return shop, err
	}
	shop.server = pg
	psql := filepath.Join(pg.BinDir, "psql")
	if _, err := os.Stat(psql); err != nil {
		if psql, err = exec.LookPath("psql"); err != nil {
			return shop, err
		}
	}
	shop = demoShop{
		server: pg, target: "shop", protocol: "postgres", port: port, told: true,
		upstream: fmt.Sprintf("postgres://shop@%s/shop?sslmode=disable", pg.Address()),
		program:  []string{psql, "-X"},
		arguments: func(user, password, statement string, plain bool) []string {
			out := []string{fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=shop sslmode=disable", port, user, password), "-c", statement}
			if plain {
				out = append([]string{"-At"}, out...)
			}
			return out
		},
	}
	return shop, d.fillPostgreSQL(ctx, pg, vector)
}

func (d *demo) fillPostgreSQL(ctx context.Context, pg *throwaway.Server, vector bool) error {
	shop, err := demoFiles.ReadFile("demo/shop.sql")
	if err != nil {
		return err
	}
	scripts := [][2]string{
		{"postgres", "CREATE ROLE shop LOGIN PASSWORD '" + demoUpstreamPassword + "';"},
		{"postgres", "CREATE DATABASE shop OWNER shop;"},
		{"shop", "SET ROLE shop;\n" + string(shop)},
	}
	if vector {
		more, err := demoFiles.ReadFile("demo/vector.sql")
		if err != nil {
			return err
		}
		scripts = append(scripts, [2]string{"shop", string(more)})
	} else {
		d.say("This PostgreSQL has no pgvector (Debian 12 has no package of it): the documents' embeddings are real[].")
	}
	for _, s := range scripts {
		if _, err := pg.SQL(ctx, s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}
