package myfacts

import (
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// alter is ALTER TABLE. What is not known to leave the rows as they are counts
// as an operation on all of them.
func (o *one) alter(s *ast.AlterTableStmt) (destructive bool) {
	r := o.relation(s.Table)
	if r == nil {
		return false
	}
	own := o.columnsOf(r)
	named := func(n *ast.ColumnName) []value {
		if i := columnNamed(r, n.Name.O); i >= 0 {
			return []value{own[i].value}
		}
		return columnValues(own)
	}
	all := func(what string) { o.opaqueUnless(nowhere, what, typ{}, columnValues(own)...) }
	for _, sp := range s.Specs {
		if !quietOnTemporary(sp) {
			o.unfollowed(s.Table)
		}
		switch sp.Tp {
		case ast.AlterTableAddColumns:
			for _, c := range sp.NewColumns {
				o.columnOptions(r, c, all)
			}
		case ast.AlterTableDropColumn:
			destructive = true
			o.droppedColumn(r, sp.OldColumnName)
		case ast.AlterTableDropPartition, ast.AlterTableTruncatePartition:
			destructive = true
			o.compared(nowhere, "the choice of a partition", o.partitionKey(r, own)...)
		case ast.AlterTableDropPrimaryKey, ast.AlterTableDropIndex, ast.AlterTableDropForeignKey, ast.AlterTableDropCheck:
			destructive = true
		case ast.AlterTableExchangePartition:
			destructive = true
			o.exchanged(r, own, sp.NewTable)
		case ast.AlterTableImportTablespace, ast.AlterTableDiscardTablespace:
			o.ledger.Code(nowhere, "tablespace", "a file of the server's in a table's place")
		case ast.AlterTableAlterColumn, ast.AlterTableRenameIndex, ast.AlterTableIndexInvisible, ast.AlterTableLock, ast.AlterTableAlgorithm,
			ast.AlterTableEnableKeys, ast.AlterTableDisableKeys, ast.AlterTableForce:
		case ast.AlterTableRenameColumn:
			o.store(facts.Name{Schema: r.Schema, Name: r.Name}, []column{{name: sp.NewColumnName.Name.O, value: named(sp.OldColumnName)[0]}})
		case ast.AlterTableChangeColumn, ast.AlterTableModifyColumn:
			old := sp.OldColumnName
			if old == nil && len(sp.NewColumns) > 0 {
				old = sp.NewColumns[0].Name
			}
			if old == nil || len(sp.NewColumns) != 1 {
				all("ALTER TABLE")
				continue
			}
			vs := named(old)
			o.opaqueUnless(nowhere, "a change of its type", typ{}, vs...)
			o.store(facts.Name{Schema: r.Schema, Name: r.Name}, []column{{name: sp.NewColumns[0].Name.Name.O, value: vs[0]}})
			o.columnOptions(r, sp.NewColumns[0], all)
		case ast.AlterTableAddConstraint:
			o.constraint(r, sp.Constraint, all)
		case ast.AlterTableRenameTable:
			o.renamed(s.Table, sp.NewTable)
			o.unfollowed(s.Table, sp.NewTable)
		case ast.AlterTableOption:
			o.tableOptions(sp.Options)
			for _, op := range sp.Options {
				if op.Tp != ast.TableOptionComment && op.Tp != ast.TableOptionAutoIncrement && op.Tp != ast.TableOptionEngine {
					all("ALTER TABLE")
				}
			}
		default:
			all("ALTER TABLE")
		}
	}
	return destructive
}

// quietOnTemporary says that a change of a table leaves its columns as they
// are described.
func quietOnTemporary(sp *ast.AlterTableSpec) bool {
	switch sp.Tp {
	case ast.AlterTableOption, ast.AlterTableEnableKeys, ast.AlterTableDisableKeys, ast.AlterTableForce, ast.AlterTableLock, ast.AlterTableAlgorithm,
		ast.AlterTableRenameTable: // which says so itself
		return true
	case ast.AlterTableAddConstraint:
		return sp.Constraint.Tp == ast.ConstraintKey || sp.Constraint.Tp == ast.ConstraintIndex
	}
	return false
}

// droppedColumn: the unique keys that the column was a part of go on without
// it, and are checked anew.
func (o *one) droppedColumn(r *catalog.Relation, n *ast.ColumnName) {
	if n == nil {
		return
	}
	own := o.columnsOf(r)
	gone := columnNamed(r, n.Name.O)
	for _, ix := range r.Indexes {
		if gone < 0 || !ix.Unique || !slices.Contains(ix.Columns, r.Columns[gone].Num) {
			continue
		}
		for i := range r.Columns {
			if i != gone && slices.Contains(ix.Columns, r.Columns[i].Num) {
				o.known(nowhere, "the unique key "+ix.Name, own[i].value)
			}
		}
	}
}

// exchanged: a partition and a table take each other's rows.
func (o *one) exchanged(r *catalog.Relation, own []column, with *ast.TableName) {
	if with == nil {
		o.fail(notUnderstood("this EXCHANGE PARTITION", -1))
		return
	}
	other := o.relation(with)
	if other == nil {
		return
	}
	theirs := o.columnsOf(other)
	o.store(facts.Name{Schema: r.Schema, Name: r.Name}, theirs)
	o.store(facts.Name{Schema: other.Schema, Name: other.Name}, own)
	o.compared(nowhere, "the choice of a partition", append(o.partitionKey(r, theirs), o.partitionKey(r, own)...)...)
}

// partitionKey are the values, of a table's columns, that rows are distributed
// by: all of them where that is not known.
func (a *analysis) partitionKey(r *catalog.Relation, cols []column) []value {
	if len(r.PartitionKey) == 0 || slices.Contains(r.PartitionKey, 0) || len(cols) < len(r.Columns) {
		return columnValues(cols)
	}
	var out []value
	for i := range r.Columns {
		if slices.Contains(r.PartitionKey, r.Columns[i].Num) {
			out = append(out, cols[i].value)
		}
	}
	return out
}
