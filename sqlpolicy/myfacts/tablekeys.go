package myfacts

import (
	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// readsColumns says that an expression names a column.
func readsColumns(x ast.ExprNode) bool {
	found := false
	if x != nil {
		walk(x, func(n ast.Node) bool {
			_, column := n.(*ast.ColumnName)
			found = found || column
			return !found
		})
	}
	return found
}

func (o *one) columnOptions(r *catalog.Relation, c *ast.ColumnDef, all func(string)) {
	for _, op := range c.Options {
		switch op.Tp {
		case ast.ColumnOptionDefaultValue, ast.ColumnOptionOnUpdate:
			if readsColumns(op.Expr) {
				all("a column that is made of others")
			}
		case ast.ColumnOptionGenerated, ast.ColumnOptionCheck, ast.ColumnOptionReference:
			all("a column that is made of others")
		case ast.ColumnOptionPrimaryKey, ast.ColumnOptionUniqKey:
			if i := columnNamed(r, c.Name.Name.O); i >= 0 {
				o.known(nowhere, "a unique key", o.columnsOf(r)[i].value)
			}
		}
	}
}

func (o *one) constraint(r *catalog.Relation, c *ast.Constraint, all func(string)) {
	switch c.Tp {
	case ast.ConstraintKey, ast.ConstraintIndex, ast.ConstraintFulltext:
	case ast.ConstraintPrimaryKey, ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
		o.uniqueParts(r, c.Keys, all)
	default:
		all("a constraint")
	}
}

func (o *one) uniqueParts(r *catalog.Relation, keys []*ast.IndexPartSpecification, all func(string)) {
	own := o.columnsOf(r)
	for _, k := range keys {
		i := -1
		if k.Column != nil && k.Length <= 0 {
			i = columnNamed(r, k.Column.Name.O)
		}
		if i < 0 {
			all("a unique key")
			continue
		}
		o.known(nowhere, "a unique key", own[i].value)
	}
}

func (o *one) createIndex(s *ast.CreateIndexStmt) {
	r := o.relation(s.Table)
	if r == nil {
		return
	}
	all := func(what string) { o.opaqueUnless(nowhere, what, typ{}, columnValues(o.columnsOf(r))...) }
	for _, k := range s.IndexPartSpecifications {
		if k.Expr != nil {
			all("an index over an expression")
		}
	}
	if s.KeyType == ast.IndexKeyTypeUnique {
		o.uniqueParts(r, s.IndexPartSpecifications, all)
	}
}
