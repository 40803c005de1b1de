package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// permissive has no classes and no rules: clients must not notice the proxy.
const permissive = "version: 1\n"

// clientPair is the same database direct and through the proxy.
type clientPair struct {
	server *throwaway.Server
	direct []string // environment
	proxy  []string
}

func startClientPair(t *testing.T, policy string) clientPair {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "noninterference")
	s := startPostgreSQL(t, throwaway.Options{},
		readFile(t, filepath.Join(dir, "schema.sql")), readFile(t, filepath.Join(dir, "common.sql")), readFile(t, filepath.Join(dir, "a.sql")))
	port := freePort(t)
	sql(t, s, "postgres", "ALTER ROLE backend CREATEDB")
	p := writeProxy(t, policy, target{
		name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address()),
	})
	p.write(t, "sallyport.yaml", strings.Replace(readFile(t, p.config), "    upstream: ", "    databases: [restored]\n    upstream: ", 1))
	p.serve(t)
	env := func(user, password string, port int) []string {
		return append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", port), "PGUSER="+user, "PGPASSWORD="+password,
			"PGDATABASE=shop", "PGSSLMODE=disable", "PSQLRC=/dev/null", "PAGER=cat")
	}
	return clientPair{server: s, direct: env("backend", "backend-secret", s.Port), proxy: env("ana", "ana-secret", port)}
}

// run runs a program of the server's own version and returns its output.
func (p clientPair) run(t *testing.T, env []string, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.server.BinDir, program), args...)
	cmd.Env = env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = append(out, fmt.Sprintf("\n[%s: %v]\n", program, err)...)
	}
	return string(out)
}

// same runs it direct and through the proxy and compares.
func (p clientPair) same(t *testing.T, stdin, program string, args ...string) string {
	t.Helper()
	want := p.run(t, p.direct, stdin, program, args...)
	got := p.run(t, p.proxy, stdin, program, args...)
	// pg_dump's restricted mode has a random key.
	want, got = restrict.ReplaceAllString(want, "\\$1 KEY"), restrict.ReplaceAllString(got, "\\$1 KEY")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s %q\n%s\ndiffers through the proxy (-direct +proxy):\n%s", program, args, stdin, diff)
	}
	return got
}

var restrict = regexp.MustCompile(`\\(restrict|unrestrict) \w+`)

var psqlCommands = []string{
	`\d`, `\d+`, `\dt`, `\dt+ products`, `\d customers`, `\d+ customers`, `\d orders`, `\d people`, `\d+ people_2025`, `\d customer_list`, `\d+ mat_people`,
	`\dv`, `\dm`, `\di`, `\di customers*`, `\ds`, `\df app.*`, `\df+ app.read_ssn`, `\sf app.read_ssn`, `\sv customer_list`, `\dn`, `\dn+`, `\dp`, `\dp customers`,
	`\dT`, `\dT+ order_status`, `\dD`, `\dx`, `\dx+ citext`, `\dy`, `\dC citext`, `\do app.*`, `\da`, `\dL`, `\dF`, `\dO`, `\dP`, `\dRp`, `\dRs`, `\det`, `\des`, `\dew`,
	`\ddp`, `\drds`, `\du backend`, `\dg backend`, `\db`, `\dc`, `\dX`, `\l shop`, `\dd`, `\dE`, `\dA`, `\encoding`, `\conninfo_missing`, `\z orders`,
}

// TestPsqlDescribes runs the family of \d, which must read as PostgreSQL's
// own.
func TestPsqlDescribes(t *testing.T) {
	t.Parallel()
	p := startClientPair(t, permissive)
	for _, c := range psqlCommands {
		out := p.same(t, c+"\n", "psql", "-X")
		if !strings.Contains(c, "missing") && strings.Contains(out, "ERROR") {
			t.Errorf("%s: %s", c, out)
		}
	}
}

// TestPsqlDescribesUnderClasses: with classes in force psql's own queries are
// still let pass; only statistics are redacted.
func TestPsqlDescribesUnderClasses(t *testing.T) {
	t.Parallel()
	p := startClientPair(t, readFile(t, filepath.Join("..", "..", "testdata", "noninterference", "policy.yaml")))
	for _, c := range psqlCommands {
		if out := p.run(t, p.proxy, c+"\n", "psql", "-X"); !strings.Contains(c, "missing") && strings.Contains(out, "ERROR") {
			t.Errorf("%s: %s", c, out)
		}
	}
}

func TestPsqlScripts(t *testing.T) {
	t.Parallel()
	p := startClientPair(t, permissive)
	for _, script := range []string{
		"SELECT 1;\nSELECT 'two' AS x, NULL AS y;\n",
		"SELECT 1\\; SELECT 2\\; SELECT 3;\n",
		"BEGIN; INSERT INTO scratch VALUES (5, 'x'); SELECT count(*) FROM scratch; ROLLBACK; SELECT count(*) FROM scratch;\n",
		"SELECT nonsense;\nSELECT * FROM nowhere;\nSELECT 1/0;\nSELECT nofunc(1);\nSELECT 'a'::int;\nSELECT * FROM customers WHERE\n;\nSELECT 1;\n",
		"\\copy (SELECT id, name FROM customers ORDER BY id) TO STDOUT\n",
		"\\copy scratch (id, a) FROM STDIN\n91\tcopied\n92\t\\N\n\\.\nSELECT * FROM scratch WHERE id > 90 ORDER BY id;\nDELETE FROM scratch WHERE id > 90;\n",
		"COPY scratch (id, a) FROM STDIN CSV;\n93,\"quoted, text\"\n\\.\nSELECT a FROM scratch WHERE id = 93;\nDELETE FROM scratch WHERE id = 93;\n",
		"COPY products TO STDOUT WITH (FORMAT csv, HEADER);\n",
		"SELECT * FROM generate_series(1, 2000);\n",
		"\\set ON_ERROR_STOP 1\nSELECT 1;\nSELECT bad;\nSELECT 2;\n",
		"PREPARE p (int) AS SELECT name FROM customers WHERE id = $1;\nEXECUTE p (1);\nEXECUTE p (2);\nDEALLOCATE p;\nEXECUTE p (1);\n",
		"BEGIN;\nDECLARE c CURSOR FOR SELECT id FROM customers ORDER BY id;\nFETCH 2 FROM c;\nFETCH ALL FROM c;\nCOMMIT;\nFETCH c;\n",
		"SET search_path TO crm;\nSELECT topic FROM contacts ORDER BY id;\nRESET search_path;\nSELECT topic FROM contacts;\n",
		"BEGIN ISOLATION LEVEL SERIALIZABLE;\nSHOW transaction_isolation;\nCOMMIT;\nBEGIN;\nSET TRANSACTION READ ONLY;\nINSERT INTO scratch VALUES (1);\nROLLBACK;\n",
		"CREATE TEMP TABLE t (a int);\nINSERT INTO t VALUES (1), (2);\nSELECT sum(a) FROM t;\nDROP TABLE t;\n",
		"LISTEN news;\nNOTIFY news, 'hello';\nUNLISTEN news;\n",
		"DO $$BEGIN RAISE NOTICE 'hi'; END$$;\nSELECT app.read_ssn(1);\nSELECT 'x' \\gset\n\\echo :x\n",
		"SELECT 1 \\gdesc\nSELECT id, name FROM customers WHERE id = $1 \\bind 1 \\g\n",
		"\\crosstabview_missing\nVALUES (1,2)\\gx\n\\timing off\nSHOW server_version;\n",
		"CREATE PROCEDURE app.half(a int, INOUT b int, OUT c int) LANGUAGE plpgsql AS $$BEGIN c := a / 2; b := b + 1; END$$;\n" +
			"CALL app.half(8, 1, NULL);\nCALL app.half(8, b => 2, c => NULL);\nCALL app.half(8);\nCALL app.none(8, 'x');\nDROP PROCEDURE app.half;\n",
		"BEGIN;\nDO $$BEGIN CREATE TEMP TABLE made (a int); END$$;\nSELECT * FROM made;\nCOMMIT;\nDROP TABLE made;\nDO $$BEGIN CREATE TEMP TABLE made (a text); END$$;\nSELECT * FROM made;\n",
		"CREATE TEMP TABLE parts (a int[], b point);\nINSERT INTO parts (a[1], a[3]) VALUES (1, 3), (4, DEFAULT);\nINSERT INTO parts (a[1:2], a[4]) VALUES ('{1,2}', 4);\n" +
			"INSERT INTO parts (b[0], b[1]) VALUES (1, 2);\nINSERT INTO parts (a.x) VALUES (1);\nUPDATE parts SET a[2] = 9, b[0] = 5;\nSELECT * FROM parts;\n",
		"SELECT current_user, session_user;\n",
	} {
		if strings.Contains(script, "NOTIFY") {
			continue // psql prints the server process's id
		}
		p.same(t, script, "psql", "-X")
	}
}
