package pgfacts

import (
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// TestIndexOfLongValues: making an index tells whether some value of a column
// is too long for its pages, but for types that never are.
func TestIndexOfLongValues(t *testing.T) {
	view := goldenView(t)
	for sql, want := range map[string]bool{
		"CREATE INDEX ON customers (email)":              true,
		"CREATE INDEX ON customers (id, email)":          true,
		"CREATE INDEX ON customers (id) INCLUDE (email)": true,
		"CREATE INDEX ON customers (id)":                 false,
		"CREATE INDEX ON orders (customer_id)":           false,
	} {
		st, err := Analyse(view, sql, Limits{})
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		got := false
		for _, u := range st[0].Facts.Uses {
			got = got || u.Kind == facts.UseOpaque && strings.HasPrefix(u.What, "an index")
		}
		if got != want {
			t.Errorf("%s: %v, want %v", sql, got, want)
		}
	}
}
