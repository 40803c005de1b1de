package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// loadCatalog reads the whole schema as the connection sees it. What of
// before, which may be nil, still holds is taken from there: functions,
// operators, casts and types of the server's own are most of a schema, and
// hardly ever change.
func loadCatalog(ctx context.Context, q querier, before *catalog.Catalog) (*catalog.Catalog, error) {
	c := &catalog.Catalog{Dialect: "postgres"}
	err := q.query(ctx, serverSQL, func(cols [][]byte) error {
		c.Version, c.Database = string(cols[0]), string(cols[1])
		return nil
	})
	if err == nil {
		err = loadPinned(ctx, q, c, before)
	}
	for _, part := range []struct {
		what string
		sql  string
		into func([]byte) error
	}{
		{"schemas", schemasSQL, into(&c.Schemas)},
		{"functions", fmt.Sprintf(functionsSQL, unpinned), into(&c.Functions)},
		{"operators", fmt.Sprintf(operatorsSQL, unpinned), into(&c.Operators)},
		{"casts", fmt.Sprintf(castsSQL, unpinned), into(&c.Casts)},
		{"types", fmt.Sprintf(typesSQL, unpinned), into(&c.Types)},
	} {
		if err == nil {
			err = q.query(ctx, part.sql, func(cols [][]byte) error { return part.into(cols[0]) })
		}
		if err != nil {
			return nil, fmt.Errorf("reading the schema's %s: %w", part.what, err)
		}
	}
	if err := loadRelations(ctx, q, c, before); err != nil {
		return nil, fmt.Errorf("reading the schema's relations: %w", err)
	}
	for i := range c.Relations {
		r := &c.Relations[i]
		r.Temporary = strings.HasPrefix(r.Schema, "pg_temp_")
	}
	return c, nil
}

// loadPinned reads the pinned objects, or takes them from before where they
// are still the same.
func loadPinned(ctx context.Context, q querier, c, before *catalog.Catalog) error {
	err := q.query(ctx, pinnedSQL, func(cols [][]byte) error {
		c.Pinned.Version = string(cols[0])
		return nil
	})
	if err != nil {
		return err
	}
	if before != nil && before.Pinned.Version == c.Pinned.Version {
		p := before.Pinned
		c.Pinned = p
		// Full slices: what is appended goes elsewhere.
		c.Functions, c.Operators = before.Functions[:p.Functions:p.Functions], before.Operators[:p.Operators:p.Operators]
		c.Casts, c.Types = before.Casts[:p.Casts:p.Casts], before.Types[:p.Types:p.Types]
		return nil
	}
	for _, part := range []struct {
		sql  string
		into func([]byte) error
	}{{functionsSQL, into(&c.Functions)}, {operatorsSQL, into(&c.Operators)}, {castsSQL, into(&c.Casts)}, {typesSQL, into(&c.Types)}} {
		if err := q.query(ctx, fmt.Sprintf(part.sql, pinned), func(cols [][]byte) error { return part.into(cols[0]) }); err != nil {
			return err
		}
	}
	c.Pinned.Functions, c.Pinned.Operators, c.Pinned.Casts, c.Pinned.Types = len(c.Functions), len(c.Operators), len(c.Casts), len(c.Types)
	return nil
}

// loadRelations reads the relations that are not as they were. A relation's
// expressions name other objects, so that all are read where a name from
// before means something else now.
func loadRelations(ctx context.Context, q querier, c, before *catalog.Catalog) error {
	marks := map[uint32]string{}
	err := q.query(ctx, marksSQL, func(cols [][]byte) error {
		oid, err := strconv.ParseUint(string(cols[0]), 10, 32)
		marks[uint32(oid)] = string(cols[1])
		return err
	})
	if err != nil {
		return err
	}
	c.Marks = marks
	if before == nil || before.Pinned.Version != c.Pinned.Version || !namesKept(before, c) {
		return readRelations(ctx, q, c, "")
	}
	var kept []catalog.Relation
	old := map[uint32]bool{}
	var ids []string
	for _, r := range before.Relations {
		mark, there := marks[r.OID]
		// What was written out for a longer search path may be hidden now by an
		// object that is new in it.
		if there && before.Marks[r.OID] == mark && (len(r.DefinitionPath) == 0 || len(r.DefinitionPath) == 1 && r.DefinitionPath[0] == "pg_catalog") {
			kept = append(kept, r)
			old[r.OID] = true
		}
	}
	for oid := range marks {
		if !old[oid] {
			ids = append(ids, strconv.FormatUint(uint64(oid), 10))
		}
	}
	if len(ids) > 0 {
		if err := readRelations(ctx, q, c, " AND c.oid = ANY ('{"+strings.Join(ids, ",")+"}'::pg_catalog.oid[])"); err != nil {
			return err
		}
	}
	for i := range c.Relations {
		if r := &c.Relations[i]; !keepsNames(before.RelationByOID(r.OID), r) {
			c.Relations = nil
			return readRelations(ctx, q, c, "")
		}
	}
	c.Relations = append(c.Relations, kept...)
	slices.SortFunc(c.Relations, func(a, b catalog.Relation) int { return cmp.Compare(a.OID, b.OID) })
	return nil
}

func readRelations(ctx context.Context, q querier, c *catalog.Catalog, which string) error {
	each := into(&c.Relations)
	return q.query(ctx, relationsSQL+which+relationsEnd, func(cols [][]byte) error { return each(cols[0]) })
}

// keepsNames says that a relation, which may be new (before is nil), and its
// columns are called as before, and that there are no further columns: those
// may need other words in a view's query.
func keepsNames(before, r *catalog.Relation) bool {
	return before == nil || before.Schema == r.Schema && before.Name == r.Name && before.Kind == r.Kind &&
		slices.EqualFunc(before.Columns, r.Columns, func(a, b catalog.Column) bool { return a.Num == b.Num && a.Name == b.Name && a.Type == b.Type })
}

// namesKept says that schemas, functions, operators and types from before that
// are still there are called the same, and that pg_catalog, whose names are
// written without it, has no more of them.
func namesKept(before, c *catalog.Catalog) bool {
	schemas := map[uint32]string{}
	for _, s := range c.Schemas {
		schemas[s.OID] = s.Name
	}
	for _, s := range before.Schemas {
		if name, there := schemas[s.OID]; there && name != s.Name {
			return false
		}
	}
	p, was := c.Pinned, before.Pinned
	return keptByOID(before.Functions[was.Functions:], c.Functions[p.Functions:], func(f *catalog.Function) (uint32, [2]string) { return f.OID, [2]string{f.Schema, f.Name} }) &&
		keptByOID(before.Types[was.Types:], c.Types[p.Types:], func(t *catalog.Type) (uint32, [2]string) { return t.OID, [2]string{t.Schema, t.Name} }) &&
		slices.Equal(before.Operators[was.Operators:], c.Operators[p.Operators:])
}

func keptByOID[T any](before, now []T, name func(*T) (uint32, [2]string)) bool {
	names := make(map[uint32][2]string, len(before))
	for i := range before {
		oid, n := name(&before[i])
		names[oid] = n
	}
	for i := range now {
		oid, n := name(&now[i])
		if was, there := names[oid]; there && was != n || !there && n[0] == "pg_catalog" {
			return false
		}
	}
	return true
}
