package pgfacts

import (
	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// overTable analyses expressions that a utility statement evaluates once for
// each stored row of a table: of an index, a constraint, extended statistics,
// ALTER TYPE … USING. What they make of the columns among them decides
// whether the statement fails, so they count as conditions.
func (a *analysis) overTable(r *catalog.Relation, exprs ...*pg_query.Node) {
	e := overRow(r, a.scan(r).columns).deciding()
	for _, x := range exprs {
		if x != nil {
			a.condition(e.place(a.at(location(x))), "an expression over the rows of "+r.Name, a.expr(e, x))
		}
	}
}

// filled analyses what ALTER TABLE … ADD COLUMN fills a new column with: its
// default, and the checks of its domain.
func (a *analysis) filled(def *pg_query.ColumnDef) {
	typ, _ := a.typeName(def.GetTypeName())
	e := a.top()
	a.domainCode(e.place(a.at(def.GetLocation())), typ)
	for _, n := range def.GetConstraints() {
		if c := n.GetConstraint(); c.GetContype() == pg_query.ConstrType_CONSTR_DEFAULT {
			a.expr(e, c.RawExpr)
		}
	}
}

// references compares a table's columns with those that a new foreign key
// refers to; without names they are those of the primary key.
func (a *analysis) references(r *catalog.Relation, own []string, parent *catalog.Relation, theirs []string) {
	if len(theirs) == 0 {
		for _, c := range parent.Constraints {
			if c.Kind != "p" {
				continue
			}
			for _, num := range c.Columns {
				if i := columnIndex(parent, num); i >= 0 {
					theirs = append(theirs, parent.Columns[i].Name)
				}
			}
		}
	}
	p := a.top().deciding().place(-1)
	mine, other := a.scan(r).columns, a.scan(parent).columns
	for k, name := range own {
		i, j := columnNamed(r, name), -1
		if k < len(theirs) {
			j = columnNamed(parent, theirs[k])
		}
		if i < 0 || j < 0 {
			a.fail(notUnderstood("this foreign key", -1))
			return
		}
		a.keyed(p, "a foreign key", mine[i].value, other[j].value)
	}
}
