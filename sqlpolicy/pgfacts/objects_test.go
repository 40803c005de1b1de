package pgfacts

import (
	"fmt"
	"testing"
)

// TestObjectsOfDefinitions: what a definition names is told, for scopes.
func TestObjectsOfDefinitions(t *testing.T) {
	view := goldenView(t)
	for sql, want := range map[string]string{
		"CREATE SCHEMA elsewhere":                                          "[schema elsewhere]",
		"ALTER SCHEMA public RENAME TO x":                                  "[schema public] [schema x]",
		"CREATE TYPE hr.t AS ENUM ('a')":                                   "[type hr.t]",
		"CREATE DOMAIN hr.d AS int":                                        "[type hr.d]",
		"CREATE SEQUENCE hr.s":                                             "[table hr.s]",
		"ALTER SEQUENCE hr.s RESTART":                                      "[table hr.s]",
		"ALTER TABLE orders SET SCHEMA hr":                                 "[table public.orders] [schema hr]",
		"GRANT SELECT ON orders TO x":                                      "[table public.orders]",
		"GRANT USAGE ON SCHEMA hr TO x":                                    "[schema hr]",
		"GRANT EXECUTE ON FUNCTION hr.f(int) TO x":                         "[object hr.f]",
		"COMMENT ON TABLE hr.t IS 'x'":                                     "[object hr.t]",
		"CREATE TRIGGER t BEFORE INSERT ON orders EXECUTE FUNCTION hr.f()": "[function hr.f] [table public.orders]",
		"ALTER TYPE hr.t RENAME TO y":                                      "[type hr.t]",
		"CREATE OPERATOR hr.+ (procedure=int4pl,leftarg=int,rightarg=int)": "[object hr.+]",
		"CREATE COLLATION hr.c FROM \"C\"":                                 "[object hr.c] [object C]",
		"CREATE FOREIGN TABLE hr.ft (a int) SERVER s":                      "[table hr.ft]",
		"IMPORT FOREIGN SCHEMA x FROM SERVER s INTO hr":                    "[schema hr]",
		"CLUSTER hr.t":                                                     "[table hr.t]",
		"REINDEX SCHEMA hr":                                                "[schema hr]",
		"REINDEX TABLE hr.t":                                               "[table hr.t]",
	} {
		st, err := Analyse(view, sql, Limits{})
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		got := ""
		for i, o := range st[0].Facts.Effects[0].Objects {
			if i > 0 {
				got += " "
			}
			got += fmt.Sprintf("[%s %s]", o.Kind, o.Name)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
