package pgfacts

import (
	"fmt"
	"strings"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"
)

func BenchmarkQuery(b *testing.B) {
	rows := make([]string, 1000)
	for i := range rows {
		rows[i] = fmt.Sprintf("(%d, 'name %d', 'mail%d@example.com')", i, i, i)
	}
	for _, c := range []struct{ name, sql string }{
		{"point", "SELECT id, email FROM customers WHERE id = 1"},
		{"join", "SELECT c.name, count(o.id) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.city = 'x' GROUP BY c.id, c.name ORDER BY c.id LIMIT 10"},
		{"insert1000", "INSERT INTO customers (id, name, email) VALUES " + strings.Join(rows, ", ")},
		{"view", "SELECT * FROM nested_list"},
	} {
		tree, err := pg_query.Parse(c.sql)
		if err != nil {
			b.Fatal(err)
		}
		v := goldenView(b)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := newAnalysis(v, c.sql).query(tree.Stmts[0].Stmt, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
