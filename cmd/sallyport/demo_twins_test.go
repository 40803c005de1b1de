package main

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// twinCase is a statement that both databases understand, and what becomes of it.
type twinCase struct {
	who  string
	text string
	want string // rows, held, or what refused it
}

// demoTwins are played on the shop in PostgreSQL and in MariaDB under the demo's policy.
var demoTwins = []twinCase{
	{"ana", "SELECT id, name, email, phone, ssn, city, salary, joined FROM customers WHERE id < 40 ORDER BY id", "rows"},
	{"sam", "SELECT id, name, email, phone, ssn, city, salary, joined FROM customers WHERE id < 40 ORDER BY id", "rows"},
	{"dana", "SELECT id, email, ssn FROM customers ORDER BY id LIMIT 7", "rows"},
	{"ana", "SELECT * FROM products ORDER BY id", "rows"},
	{"ana", "SELECT id, customer_id, status, total, card FROM orders ORDER BY id LIMIT 50", "rows"},
	{"ana", "SELECT o.id, c.email, o.card FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id < 20 ORDER BY o.id", "rows"},
	{"ana", "SELECT t.id, t.tax FROM (SELECT id, ssn AS tax FROM customers) t WHERE t.id < 5 ORDER BY t.id", "rows"},
	{"ana", "WITH c AS (SELECT id, email FROM customers) SELECT email FROM c WHERE id < 3 ORDER BY id", "rows"},
	{"ana", "SELECT id, title FROM documents ORDER BY id LIMIT 3", "rows"},
	{"sam", "SELECT id, name, email, orders, spent FROM customer_totals WHERE id < 10 ORDER BY id", "rows"},
	{"ana", "SELECT id FROM customers WHERE email = 'bruno.braga1@mail.example'", "rows"},
	{"ana", "SELECT id, UPPER(email), CONCAT(ssn, '!') FROM customers WHERE id < 4 ORDER BY id", "rows"},
	{"ana", "SELECT COUNT(*) FROM customers", "rows"},
	{"ana", "SELECT city, COUNT(*) FROM customers GROUP BY city ORDER BY city", "rows"},
	{"ana", "SELECT email FROM customers WHERE id = 1 UNION ALL SELECT name FROM customers WHERE id = 1", "rows"},
	{"ana", "INSERT INTO products (title, price) VALUES ('Sieve', 7.5)", "rows"},
	{"ana", "UPDATE products SET price = 8 WHERE title = 'Sieve'", "rows"},
	{"ana", "DELETE FROM products WHERE title = 'Sieve'", "rows"},
	{"ana", "DELETE FROM orders", "unfiltered-write"},
	{"ana", "DELETE FROM orders WHERE 1 = 1", "unfiltered-write"},
	{"sam", "UPDATE orders SET total = 0 WHERE id = id", "unfiltered-write"},
	{"dana", "DROP TABLE orders", "no-destructive-ddl"},
	{"dana", "TRUNCATE TABLE orders", "no-destructive-ddl"},
	{"dana", "ALTER TABLE orders DROP COLUMN total", "no-destructive-ddl"},
	{"ana", "SELECT 1 / (salary - 71000) FROM customers WHERE id = 1", "non-interference of class salary"},
	{"ana", "SELECT id FROM customers WHERE salary > 50000", "non-interference of class salary"},
	{"ana", "SELECT id FROM customers ORDER BY ssn LIMIT 1", "non-interference of class ssn"},
	{"sam", "SELECT id FROM customers WHERE ssn = '137-21-6151'", "non-interference of class ssn"},
	{"ana", "SELECT id FROM customers WHERE email LIKE 'b%'", "non-interference of class email"},
	{"ana", "SELECT id FROM customers ORDER BY email LIMIT 3", "non-interference of class email"},
	{"ana", "INSERT INTO products (title, price) SELECT ssn, 1 FROM customers", "non-interference of class ssn"},
	{"ana", "SELECT * FROM orders", "held"},
	{"sam", "SELECT id, card FROM orders LIMIT 20000", "held"},
	{"ana", "SELECT id, status FROM orders ORDER BY id LIMIT 5000", "rows"}, // fewer than the rule's plan.rows
}

// demoDiffers are the statements that MariaDB answers otherwise, as docs/mysql.md says: what is seen there.
var demoDiffers = []struct{ who, text, postgres, maria string }{
	// GROUP BY sorts there.
	{"ana", "SELECT COUNT(*) FROM customers WHERE id < 3 GROUP BY email", "rows\n1|\n1|", "non-interference of class email"},
	// Rows that nothing orders come as the index on email has them.
	{"ana", "SELECT t.id, t.tax FROM (SELECT id, ssn AS tax FROM customers) t WHERE t.id = 3", "rows\n3|[redacted]|", "non-interference of class email"},
	// A view that groups, and so orders, by itself.
	{"ana", "SELECT id, email FROM customer_totals WHERE id < 2 ORDER BY id", "rows\n1|b***@mail.example|", "non-interference of class email"},
	// Embeddings are an array on one side and a text on the other.
	{"ana", "SELECT id, embedding FROM documents ORDER BY id LIMIT 1", "rows\n1|NULL|", "rows\n1|[redacted]|"},
}

// TestDemoPolicyOnBoth: the demo's policy decides and masks on MariaDB as it does on PostgreSQL, over the same rows.
func TestDemoPolicyOnBoth(t *testing.T) {
	t.Parallel()
	pg := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	maria := throwtest.SharedMaria(t, throwaway.MariaOptions{})
	database := throwtest.Database(t, maria, readFile(t, filepath.Join("demo", "shop.mariadb.sql")))
	pgPort, myPort := freePort(t), freePort(t)
	p := startProxy(t, readFile(t, filepath.Join("demo", "policy.yaml")),
		target{name: "shop", port: pgPort, password: "backend-secret", upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", pg.Address())},
		target{name: "shop-mariadb", protocol: "mysql", port: myPort, password: maria.Password, upstream: fmt.Sprintf("mysql://root@%s/%s?tls=disable", maria.Address(), database)})
	for _, table := range []string{"customers", "products", "orders"} { // the shops hold the same
		text := "SELECT * FROM " + table + " ORDER BY id"
		a := played(t, playPG(t, fmt.Sprintf("host=%s port=%d user=backend password=backend-secret dbname=shop sslmode=disable options='-c timezone=UTC'", pg.Host, pg.Port), text))
		b := played(t, playMySQL(t, fmt.Sprintf("root:%s@tcp(%s)/%s", maria.Password, maria.Address(), database), text))
		if diff := cmp.Diff(strings.ReplaceAll(a, "+00", ""), b); diff != "" {
			t.Fatalf("%s differs (-PostgreSQL +MariaDB):\n%.2000s", table, diff)
		}
	}
	both := func(c twinCase) (postgres, mysql string) {
		postgres = outcomeOf(t, p, c, playPG(t, fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s-secret dbname=shop sslmode=disable", pgPort, c.who, c.who), c.text))
		return postgres, outcomeOf(t, p, c, playMySQL(t, fmt.Sprintf("%s:%s-secret@tcp(127.0.0.1:%d)/%s", c.who, c.who, myPort, database), c.text))
	}
	for _, d := range demoDiffers {
		if postgres, mysql := both(twinCase{who: d.who, text: d.text}); postgres != d.postgres || mysql != d.maria {
			t.Errorf("%s: %s: PostgreSQL %.300s\nMariaDB %.300s\nwant %s\nand %s", d.who, d.text, postgres, mysql, d.postgres, d.maria)
		}
	}
	for _, c := range demoTwins {
		outcome, mysql := both(c)
		if diff := cmp.Diff(outcome, mysql); diff != "" {
			t.Errorf("%s: %s differs (-PostgreSQL +MariaDB):\n%.2000s", c.who, c.text, diff)
		}
		if got, _, _ := strings.Cut(outcome, "\n"); got != c.want {
			t.Errorf("%s: %s: %s, want %s", c.who, c.text, outcome, c.want)
		}
	}
}

// playPG starts a statement and tells its rows or its error.
func playPG(t *testing.T, conn, text string) <-chan string {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1)
	go func() {
		defer c.Close(context.Background())
		results, err := c.Exec(t.Context(), text).ReadAll()
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			out <- fmt.Sprintf("ERROR %s %s %s", refused.Code, refused.Message, refused.Detail)
			return
		} else if err != nil {
			out <- err.Error()
			return
		}
		var b strings.Builder
		b.WriteString("rows")
		for _, row := range results[0].Rows {
			b.WriteByte('\n')
			for _, cell := range row {
				fmt.Fprintf(&b, "%s|", cellText(cell))
			}
		}
		out <- b.String()
	}()
	return out
}

func cellText(cell []byte) string {
	if cell == nil {
		return "NULL"
	}
	return string(cell)
}

// playMySQL is playPG for MariaDB.
func playMySQL(t *testing.T, dsn, text string) <-chan string {
	t.Helper()
	db, err := stdsql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1)
	go func() {
		defer db.Close()
		rows, err := db.QueryContext(t.Context(), text)
		var refused *mysqldriver.MySQLError
		if errors.As(err, &refused) {
			out <- fmt.Sprintf("ERROR %d %s", refused.Number, refused.Message)
			return
		} else if err != nil {
			out <- err.Error()
			return
		}
		defer rows.Close()
		var b strings.Builder
		b.WriteString("rows")
		names, _ := rows.Columns()
		for rows.Next() {
			cells, to := make([]stdsql.RawBytes, len(names)), make([]any, len(names))
			for i := range cells {
				to[i] = &cells[i]
			}
			if err := rows.Scan(to...); err != nil {
				out <- err.Error()
				return
			}
			b.WriteByte('\n')
			for _, cell := range cells {
				fmt.Fprintf(&b, "%s|", cellText(cell))
			}
		}
		out <- b.String()
	}()
	return out
}

func played(t *testing.T, out <-chan string) string {
	t.Helper()
	select {
	case s := <-out:
		return s
	case <-time.After(time.Minute):
		t.Fatal("the statement does not end")
	}
	return ""
}

var refusedBy = regexp.MustCompile(`^ERROR (?:42501|1227) .*rule:? (?:"([^"]+)"|(non-interference of class \w+))`)

// outcomeOf is what became of a statement: its rows as they came, the rule that refused it, or that it was held (it
// is denied then) and by which rules.
func outcomeOf(t *testing.T, p *testProxy, c twinCase, out <-chan string) string {
	t.Helper()
	if c.want == "held" {
		deadline := time.Now().Add(30 * time.Second)
		for time.Now().Before(deadline) {
			select {
			case s := <-out:
				return "not held: " + s
			default:
			}
			_, list := runMain(t, "approvals", "list", "--config", p.config, "--json")
			if list == "" {
				continue
			}
			var h approval.Hold
			if err := json.Unmarshal([]byte(list), &h); err != nil {
				t.Fatal(err)
			}
			if code, said := runMain(t, "approvals", "deny", "--config", p.config, "--as", "erik", h.ID); code != 0 {
				t.Fatal(said)
			}
			if s := played(t, out); !strings.HasPrefix(s, "ERROR") {
				t.Errorf("denied, and yet: %.200s", s)
			}
			return "held\n" + strings.Join(h.Rules, ", ")
		}
		t.Fatalf("%s is not held", c.text)
	}
	s := played(t, out)
	if m := refusedBy.FindStringSubmatch(s); m != nil {
		return m[1] + m[2]
	}
	return s
}
