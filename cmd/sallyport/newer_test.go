package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

const vectorPolicy = `
  - name: wide-search
    when: stmt.top_k > 10
    then: deny
    reason: At most ten neighbours at a time.
  - name: no-vectors-by-rule
    when: stmt.action == "read" && "embedding" in stmt.classes && !stmt.limited
    then: deny
`

// TestNewerPostgreSQL takes the newest server at hand, with pgvector: the
// schema is read, columns are masked in both protocols, similarity search
// passes with its limit known, bound or written, and raw vectors do not leave.
func TestNewerPostgreSQL(t *testing.T) {
	t.Parallel()
	s := startPostgreSQL(t, throwaway.Options{Vector: true}, readFile(t, filepath.Join("demo", "shop.sql")))
	sql(t, s, "shop", readFile(t, filepath.Join("demo", "vector.sql")))
	sql(t, s, "shop", "ALTER TABLE documents OWNER TO backend")
	port := freePort(t)
	startProxy(t, readFile(t, filepath.Join("demo", "policy.yaml"))+vectorPolicy, target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	ctx := context.Background()
	c := connect(t, twinConn(port))
	t.Logf("server %s", c.PgConn().ParameterStatus("server_version"))
	var id int
	var email, ssn string
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
		if err := c.QueryRow(ctx, "SELECT id, email, ssn FROM customers WHERE id = $1", mode, 1).Scan(&id, &email, &ssn); err != nil || id != 1 || email != "b***@mail.example" || ssn != "[redacted]" {
			t.Errorf("mode %v: %d %q %q, %v", mode, id, email, ssn, err)
		}
	}
	const search = "SELECT id, title FROM documents ORDER BY embedding_v <-> '[1,0,0,0]' LIMIT "
	must(t, c, search+"5")
	wantRefusal(t, execute(ctx, c, "simple", search+"50"))
	if _, err := c.Exec(ctx, search+"$1", 5); err != nil {
		t.Errorf("bound to 5: %v", err)
	}
	_, err := c.Exec(ctx, search+"$1", 50)
	wantRefusal(t, err)
	var vector *string
	if err := c.QueryRow(ctx, "SELECT embedding_v FROM documents WHERE id = 1 LIMIT 1", pgx.QueryExecModeSimpleProtocol).Scan(&vector); err != nil || vector != nil {
		t.Errorf("a raw vector left: %v, %v", vector, err)
	}
	err = execute(ctx, c, "simple", "SELECT embedding_v::text FROM documents LIMIT 1")
	if err == nil {
		var text *string
		if err := c.QueryRow(ctx, "SELECT embedding_v::text FROM documents WHERE id = 1 LIMIT 1", pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil || text != nil && strings.Contains(*text, "0.84") {
			t.Errorf("a vector left as text: %v, %v", text, err)
		}
	}
	wantRefusal(t, execute(ctx, c, "simple", "DROP TABLE documents"))
}
