package pgfacts

import "testing"

func TestPlannable(t *testing.T) {
	view := goldenView(t)
	for _, c := range []struct {
		sql  string
		want bool
		text string
	}{
		{"SELECT * FROM orders", true, ""},
		{"INSERT INTO scratch (id) VALUES (1)", true, ""},
		{"DELETE FROM orders WHERE id = 1", true, ""},
		{"CREATE TABLE t AS SELECT 1", true, ""},
		{"DECLARE c CURSOR FOR SELECT 1", true, ""},
		{"COPY orders (id) TO STDOUT", true, "SELECT id FROM orders"},
		{"COPY (SELECT id FROM orders WHERE id = 1) TO STDOUT (FORMAT csv)", true, "SELECT id FROM orders WHERE id = 1"},
		{"COPY scratch FROM STDIN", false, ""},
		{"EXPLAIN SELECT 1", false, ""},
		{"DO 'BEGIN END'", false, ""},
		{"SET work_mem = 1", false, ""},
		{"BEGIN", false, ""},
	} {
		st, err := Analyse(view, c.sql, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if f := st[0].Facts; f.Plannable != c.want || f.PlanText != c.text {
			t.Errorf("%s: %v %q, want %v %q", c.sql, f.Plannable, f.PlanText, c.want, c.text)
		}
	}
}
