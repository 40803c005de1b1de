package pgfacts

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// plannable notes whether the planner can be asked about a statement. Planning
// folds constants and estimates by running functions: where code that analysis
// cannot read is among them, it is not asked.
func (o *one) plannable(n *pg_query.Node, version int32) {
	f := o.f
	if f.Explains || slices.ContainsFunc(f.Uses, func(u facts.Use) bool { return u.Kind == facts.UseCode }) {
		return
	}
	switch {
	case n.GetSelectStmt() != nil, n.GetInsertStmt() != nil, n.GetUpdateStmt() != nil, n.GetDeleteStmt() != nil, n.GetMergeStmt() != nil,
		n.GetCreateTableAsStmt() != nil, n.GetDeclareCursorStmt() != nil, n.GetExecuteStmt() != nil:
		f.Plannable = true
	case n.GetCopyStmt() != nil && !n.GetCopyStmt().IsFrom:
		f.PlanText = o.copiedQuery(n.GetCopyStmt(), version)
		f.Plannable = f.PlanText != ""
	}
}

// copiedQuery is the query whose rows COPY TO copies, "" where it cannot be
// written. version is the parser's, of the tree.
func (o *one) copiedQuery(c *pg_query.CopyStmt, version int32) string {
	query := c.Query
	if query == nil {
		query = o.selectOf(c)
	}
	text, err := pg_query.Deparse(&pg_query.ParseResult{Version: version, Stmts: []*pg_query.RawStmt{{Stmt: query}}})
	if err != nil {
		return ""
	}
	return text
}
