package main

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

const myShop = `CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(40), email VARCHAR(80) COLLATE utf8mb4_nopad_bin, note TEXT);
CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, customer INT, total DECIMAL(10,2), placed DATETIME, FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO customers VALUES (1, 'Ada', 'ada@example.org', 'first'), (2, 'Bob', 'bob@example.org', NULL), (3, 'Łucja', NULL, 'tab\tand "quotes"');
INSERT INTO orders (customer, total, placed) VALUES (1, 10.50, '2026-01-02 03:04:05'), (1, 7, '2026-02-03 04:05:06'), (2, 99999.99, NULL);
CREATE TABLE plain (id INT PRIMARY KEY); INSERT INTO plain VALUES (1);
CREATE VIEW totals AS SELECT c.name, SUM(o.total) AS total FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.name;`

const myPolicy = `version: 1
classes:
  email: {mask: partial}
columns:
  - {class: email, match: ["*.email"]}
rules:
  - {name: no-drop, when: 'stmt.destructive', then: deny, reason: Not here.}
`

// startMySQL runs the proxy before a MariaDB with the shop in it.
func startMySQL(t testing.TB, policy string) (s *throwaway.Server, database string, port int, p *testProxy) {
	t.Helper()
	s = throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, port = throwtest.Database(t, s, myShop), freePort(t)
	p = startProxy(t, policy, target{name: "shop", port: port, protocol: "mysql", upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	return s, database, port, p
}

// runClient runs one of MariaDB's programs.
func runClient(t testing.TB, name string, port int, user, password string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, append([]string{"--no-defaults", "--host=127.0.0.1", fmt.Sprintf("--port=%d", port), "--user=" + user, "--default-character-set=utf8mb4"}, args...)...)
	cmd.Env = append(os.Environ(), "MYSQL_PWD="+password)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String() + stderr.String() + err.Error()
	}
	return out.String()
}

// TestMySQLClient: MariaDB's own client prints through the proxy what it prints without it, where nothing is
// masked.
func TestMySQLClient(t *testing.T) {
	t.Parallel()
	s, database, port, _ := startMySQL(t, myPolicy)
	for _, script := range []string{
		"SELECT id, name, note FROM customers ORDER BY id",
		"SELECT * FROM orders; SELECT COUNT(*) FROM orders; SELECT NOW() > '2020-01-01'",
		"SELECT * FROM totals", "SHOW TABLES", "SELECT 1 AS a, NULL AS b, 'x' AS c, 1.50 AS d",
		"START TRANSACTION; INSERT INTO orders (customer, total) VALUES (3, 1); SELECT COUNT(*) FROM orders; ROLLBACK; SELECT COUNT(*) FROM orders",
		"SELECT * FROM nowhere", "SELECT DATABASE()", "SET @a = 5; SELECT @a + 1",
		"UPDATE orders SET total = 11 WHERE id = 1; UPDATE orders SET total = 10.50 WHERE id = 1",
		"INSERT INTO plain VALUES (1)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, REPEAT('x', 100) FROM n",
		"DESCRIBE orders", "SHOW CREATE TABLE orders",
	} {
		for _, flags := range [][]string{{"--batch", "--force"}, {"--table", "--force", "-vvv"}, {"--xml", "--force"}} {
			args := append(flags, database, "--execute="+script)
			direct := runClient(t, "mariadb", s.Port, "root", s.Password, args...)
			through := runClient(t, "mariadb", port, "ana", "ana-secret", args...)
			if timeless(through) != timeless(direct) {
				t.Errorf("%s %v\nthrough the proxy:\n%.600s\ndirectly:\n%.600s", script, flags, through, direct)
			}
		}
	}
	if got := runClient(t, "mariadb", port, "ana", "ana-secret", "--batch", "--skip-column-names", database, "--execute=SELECT email FROM customers"); got != "a***@example.org\nb***@example.org\nNULL\n" {
		t.Errorf("masked: %q", got)
	}
	for script, want := range map[string]string{
		"SELEC 1": "ERROR 1064 (42000)", "SELECT nothing FROM customers": "ERROR 1054 (42S22)",
		// A row that refers to a table with a class is a statement about that table.
		"INSERT INTO orders (id, customer) VALUES (1, 1)": "ERROR 1062 (23000) at line 1: duplicate entry for a key\n",
	} {
		if got := runClient(t, "mariadb", port, "ana", "ana-secret", "--batch", database, "--execute="+script); !strings.Contains(got, want) {
			t.Errorf("%s: %q", script, got)
		}
	}
	if got := runClient(t, "mariadb", port, "ana", "ana-secret", database, "--execute=DROP TABLE orders"); !strings.Contains(got, "ERROR 1227 (42000)") || !strings.Contains(got, "no-drop") {
		t.Errorf("refused: %q", got)
	}
}

// timeless takes the durations out of what the client prints.
func timeless(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if at := strings.LastIndex(line, " ("); at >= 0 && strings.HasSuffix(line, "sec)\n") {
			line = line[:at] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// TestMySQLDump: mariadb-dump through the proxy is byte for byte what it is without it.
func TestMySQLDump(t *testing.T) {
	t.Parallel()
	s, database, port, _ := startMySQL(t, "version: 1\n")
	args := []string{"--skip-dump-date", "--skip-comments", "--routines", "--single-transaction", database}
	direct := runClient(t, "mariadb-dump", s.Port, "root", s.Password, args...)
	through := runClient(t, "mariadb-dump", port, "ana", "ana-secret", args...)
	if through != direct {
		t.Errorf("through the proxy:\n%.3000s\ndirectly:\n%.3000s", through, direct)
	}
}

// TestMySQLDriver: Go's driver prepares, executes and streams; masks hold in both formats.
func TestMySQLDriver(t *testing.T) {
	t.Parallel()
	_, database, port, _ := startMySQL(t, myPolicy)
	db, err := stdsql.Open("mysql", fmt.Sprintf("ana:ana-secret@tcp(127.0.0.1:%d)/%s?parseTime=true", port, database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{"SELECT email FROM customers WHERE id = 1", "SELECT email FROM customers WHERE id = ?"} {
		var email string
		args := []any{1}[:strings.Count(q, "?")]
		if err := db.QueryRowContext(context.Background(), q, args...).Scan(&email); err != nil || email != "a***@example.org" {
			t.Errorf("%s: %q, %v", q, email, err)
		}
	}
	if _, err := db.Exec("SET @leak = (SELECT email FROM customers LIMIT 1)"); err == nil {
		t.Error("a user variable takes a classed value")
	}
	if _, err := db.Exec("DROP TABLE orders"); err == nil {
		t.Error("DROP passes")
	}
	res, err := db.Exec("INSERT INTO orders (customer, total) VALUES (?, ?)", 2, "5.25")
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := res.LastInsertId(); id != 4 {
		t.Errorf("its id is %d", id)
	}
}

// TestMySQLScopes: who may reach one database reaches no other by its name.
func TestMySQLScopes(t *testing.T) {
	s := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database, other, port := throwtest.Database(t, s, myShop), throwtest.Database(t, s, "CREATE TABLE pay (id INT PRIMARY KEY, sum INT); INSERT INTO pay VALUES (1, 7777)"), freePort(t)
	startProxy(t, fmt.Sprintf("version: 1\nscopes: [{groups: [analyst], databases: [%s]}]\n", database), target{name: "shop", port: port, protocol: "mysql",
		upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", s.Address(), database), password: s.Password})
	run := func(user, script string) string {
		t.Helper()
		return runClient(t, "mariadb", port, user, user+"-secret", "--batch", database, "--execute="+script)
	}
	if got := run("ana", "SELECT COUNT(*) FROM orders; SELECT COUNT(*) FROM "+database+".orders"); strings.Contains(got, "ERROR") {
		t.Errorf("its own: %s", got)
	}
	for _, script := range []string{
		"SELECT * FROM O.pay", "SELECT * FROM `O`.pay", "SELECT * FROM /* */ O . pay", "SELECT (SELECT MAX(sum) FROM O.pay)", "INSERT INTO plain SELECT sum FROM O.pay", "USE O", "USE O; SELECT * FROM pay",
		"CREATE VIEW v AS SELECT * FROM O.pay", "UPDATE O.pay SET sum = 1", "DROP TABLE O.pay", "CREATE TABLE O.x (i INT)", "CREATE TABLE x LIKE O.pay", "DESCRIBE O.pay",
		"CREATE DATABASE more", "DROP DATABASE O", "PREPARE p FROM 'SELECT * FROM O.pay'; EXECUTE p", "WITH w AS (SELECT * FROM O.pay) SELECT * FROM w", "RENAME TABLE O.pay TO pay", "TRUNCATE O.pay",
	} {
		script = strings.NewReplacer("O.", other+".", "`O`", "`"+other+"`", "O .", other+" .", "USE O", "USE "+other, "DATABASE O", "DATABASE "+other).Replace(script)
		if got := run("ana", script); !strings.Contains(got, "ERROR 1227") || strings.Contains(got, "7777") {
			t.Errorf("%s: %s", script, got)
		}
	}
	if got := run("sam", "SELECT sum FROM "+other+".pay"); !strings.Contains(got, "7777") {
		t.Errorf("who no scope names: %s", got)
	}
}
