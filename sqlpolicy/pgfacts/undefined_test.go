package pgfacts

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// TestProblemsAsPostgreSQLTellsThem: what the wants say is PostgreSQL 15's
// answer, its place as a mark in the text.
func TestProblemsAsPostgreSQLTellsThem(t *testing.T) {
	const noOperator = "No operator matches the given name and argument types. You might need to add explicit type casts."
	view := goldenView(t)
	for _, c := range []struct{ sql, code, message, detail, hint string }{
		{"SELECT ^nam FROM customers", "42703", `column "nam" does not exist`, "", `Perhaps you meant to reference the column "customers.name".`},
		{"SELECT ^c.nam FROM customers c", "42703", `column c.nam does not exist`, "", `Perhaps you meant to reference the column "c.name".`},
		{"SELECT ^ids FROM customers a, orders b", "42703", `column "ids" does not exist`, "", `Perhaps you meant to reference the column "a.id" or the column "b.id".`},
		{"SELECT ^ids FROM customers a, orders b, products c", "42703", `column "ids" does not exist`, "", ""},
		{"SELECT ^zzz FROM customers", "42703", `column "zzz" does not exist`, "", ""},
		{"SELECT ^customers.name FROM customers c", "42P01", `invalid reference to FROM-clause entry for table "customers"`, "", `Perhaps you meant to reference the table alias "c".`},
		{"SELECT 1 FROM customers c, orders o JOIN products p ON ^c.id = p.id", "42P01", `invalid reference to FROM-clause entry for table "c"`, "",
			`There is an entry for table "c", but it cannot be referenced from this part of the query.`},
		{"SELECT 1 FROM customers c, (SELECT ^ssn) x", "42703", `column "ssn" does not exist`, "",
			`There is a column named "ssn" in table "c", but it cannot be referenced from this part of the query.`},
		{"SELECT ^sum(name ORDER BY name, id) FROM customers", "42883", "function sum(text) does not exist", "",
			"No aggregate function matches the given name and argument types. Perhaps you misplaced ORDER BY; ORDER BY must appear after all regular arguments of the aggregate."},
		{"SELECT ^sum(name ORDER BY name) FROM customers", "42883", "function sum(text) does not exist", "",
			"No function matches the given name and argument types. You might need to add explicit type casts."},
		{"INSERT INTO scratch (id) VALUES (1, ^DEFAULT)", "42601", "INSERT has more expressions than target columns", "", ""},
		{"INSERT INTO scratch (id, a) VALUES (1, 'x', ^2)", "42601", "INSERT has more expressions than target columns", "", ""},
		{"INSERT INTO scratch (id) SELECT id, ^name FROM customers", "42601", "INSERT has more expressions than target columns", "", ""},
		{"SELECT 1 FROM customers c, orders c", "42712", `table name "c" specified more than once`, "", ""},
		{"SELECT (^c).nope FROM customers c", "42703", `column "nope" not found in data type customers`, "", ""},
		{"SELECT (^ROW(1, 2)).f3", "42703", `could not identify column "f3" in record data type`, "", ""},
		{"SELECT (^id).x FROM customers", "42809", "column notation .x applied to type integer, which is not a composite type", "", ""},
		{"SELECT ^x.name FROM customers c", "42P01", `missing FROM-clause entry for table "x"`, "", ""},
		{"SELECT id FROM orders WHERE placed ^+ placed = 1", "42883", "operator does not exist: timestamp with time zone + timestamp with time zone", "", noOperator},
		{"SELECT ARRAY['a'] ^+ ARRAY[1.5]", "42883", "operator does not exist: text[] + numeric[]", "", noOperator},
		{"SELECT status ^+ 1 FROM orders", "42883", "operator does not exist: order_status + integer", "", noOperator},
		{"SELECT ^@@@ status FROM orders", "42883", "operator does not exist: @@@ order_status", "",
			"No operator matches the given name and argument type. You might need to add an explicit type cast."},
		{"SELECT ^app.dump_all()", "42809", "app.dump_all() is a procedure", "", "To call a procedure, use CALL."},
		{"CALL ^nope(1, 'x', ARRAY[1])", "42883", "procedure nope(integer, unknown, integer[]) does not exist", "",
			"No procedure matches the given name and argument types. You might need to add explicit type casts."},
		{"UPDATE city_stats SET n = 1", "55000", `cannot update view "city_stats"`, "Views containing GROUP BY are not automatically updatable.",
			"To enable updating the view, provide an INSTEAD OF UPDATE trigger or an unconditional ON UPDATE DO INSTEAD rule."},
	} {
		at := strings.Index(c.sql, "^")
		_, err := Analyse(view, strings.Replace(c.sql, "^", "", 1), Limits{})
		var p *facts.Problem
		if !errors.As(err, &p) {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if p.Code != c.code || p.Message != c.message || p.Detail != c.detail || p.Hint != c.hint || p.At != at {
			t.Errorf("%s\n got  %s %s at %d\n      %s\n      %s\n want %s %s at %d\n      %s\n      %s", c.sql, p.Code, p.Message, p.At, p.Detail, p.Hint, c.code, c.message, at, c.detail, c.hint)
		}
	}
}
