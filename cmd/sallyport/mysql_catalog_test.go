package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/mysql"
	"github.com/sallyport-proxy/sallyport/proxy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

var updateCatalog = flag.Bool("update-catalog", false, "rewrite the golden catalog of MariaDB's corpus")

// TestMySQLGoldenCatalog: the schema that the tests of analysis have is what
// the reader says of a MariaDB with that schema.
func TestMySQLGoldenCatalog(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "noninterference", "mysql")
	s := mariaTwin(t, "", dir, "a.sql")
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	for name, text := range map[string]string{
		file: fmt.Sprintf("version: 1\npolicy: policy.yaml\ntargets:\n  - name: shop\n    protocol: mysql\n    listen: \"127.0.0.1:%d\"\n    tls: {mode: disable}\n"+
			"    upstream: {url: \"mysql://root@%s/shop?tls=disable\", password: {file: upstream}}\n", freePort(t), s.Address()),
		filepath.Join(filepath.Dir(file), "policy.yaml"): "version: 1\n",
		filepath.Join(filepath.Dir(file), "upstream"):    s.Password,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wires := []protocols.Protocol{mysql.New()}
	c, err := proxy.LoadConfig(file, wires)
	if err != nil {
		t.Fatal(err)
	}
	read, err := proxy.ReadCatalog(context.Background(), c, &c.Targets[0], wires, "")
	if err != nil {
		t.Fatal(err)
	}
	golden := goldenMaria(t)
	got, want := ofCorpus(t, read, golden), ofCorpus(t, golden, golden)
	if !bytes.Equal(got, want) && *updateCatalog {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(got); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("..", "..", "sqlpolicy", "myfacts", "testdata", "catalog.json.gz"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Errorf("-update-catalog rewrites it. The reader says\n…%.300s\nwhere the golden file has\n…%.300s", got[max(0, at-100):], want[max(0, at-100):])
	}
}

// ofCorpus is a catalog as JSON: of the corpus's own databases all, of the
// server's the tables that the golden one has.
func ofCorpus(t *testing.T, c, golden *catalog.Catalog) []byte {
	t.Helper()
	own := func(schema string) bool { return schema == "shop" || schema == "crm" }
	out := catalog.Catalog{Dialect: c.Dialect, Version: golden.Version, Database: c.Database, Schemas: c.Schemas}
	number := map[uint32]uint32{}
	for _, r := range c.Relations {
		if own(r.Schema) || golden.RelationIn(r.Schema, r.Name) != nil {
			number[r.OID] = uint32(len(number) + 1)
			out.Relations = append(out.Relations, r)
		}
	}
	for i := range out.Relations {
		r := &out.Relations[i]
		r.OID = number[r.OID]
		r.Constraints = slices.Clone(r.Constraints)
		for k := range r.Constraints {
			r.Constraints[k].RefRelation = number[r.Constraints[k].RefRelation]
		}
	}
	for _, f := range c.Functions {
		if own(f.Schema) {
			f.OID = uint32(len(out.Functions) + 1)
			out.Functions = append(out.Functions, f)
		}
	}
	b, err := json.Marshal(&out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
