package pgfacts

import (
	"maps"
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// simulate applies a statement to the batch's view, for the statements after
// it. What cannot be simulated refuses the text if one of those needs names.
func (b *batch) simulate(n *pg_query.Node, st *catalog.Statement, rest []*pg_query.RawStmt) error {
	c := st.Change
	if c == nil {
		return nil
	}
	b.prepared(c)
	transaction := len(st.Facts.Effects) > 0 && st.Facts.Effects[0].Action == facts.Transaction
	// The end of a transaction, or its way back to a savepoint, takes back what
	// the transaction has made of names, in this text or before it. COMMIT, where
	// nothing can have failed, takes back what is local.
	reverts := transaction && c.ReloadSession && (b.view.Reverting || b.local || b.moved && st.Facts.Effects[0].Verb != "COMMIT")
	done := c.SearchPath != nil && !c.ReloadSchema || transaction && !b.blind && !reverts || !c.ReloadSession && !c.ReloadSchema
	if c.SearchPath != nil {
		b.view.SearchPath = simulatedPath(b.view, c.SearchPath)
		b.moved, b.local = true, b.local || c.Local
	}
	if c.ReloadSchema {
		done = b.create(n)
	}
	if done {
		return nil
	}
	b.blind = true
	for _, r := range rest {
		if needsNames(r.Stmt) {
			return &facts.Problem{Code: "0A000", At: int(r.StmtLocation),
				Message: "a statement of this text depends on one before it that changes what names mean",
				Hint:    "Send the statements one by one."}
		}
	}
	return nil
}

func (b *batch) prepared(c *catalog.Change) {
	if len(c.Prepare) > 0 || len(c.Deallocate) > 0 {
		b.view.Prepared = maps.Clone(b.view.Prepared)
		if b.view.Prepared == nil {
			b.view.Prepared = map[string]catalog.Prepared{}
		}
		for _, d := range c.Deallocate {
			if d == "" {
				clear(b.view.Prepared)
			}
			delete(b.view.Prepared, d)
		}
		maps.Copy(b.view.Prepared, c.Prepare)
	}
	if len(c.Declare) > 0 {
		b.view.Cursors = maps.Clone(b.view.Cursors)
		if b.view.Cursors == nil {
			b.view.Cursors = map[string]*facts.Facts{}
		}
		maps.Copy(b.view.Cursors, c.Declare)
	}
}

// simulatedPath is a search path as it takes effect, where all its schemas
// can be used.
func simulatedPath(v *catalog.View, setting []string) []string {
	var out []string
	for _, name := range setting {
		if name == "$user" {
			name = v.Role
		}
		if name == "pg_temp" {
			name = v.TempSchema
		}
		if sc := v.Schema(name); (sc != nil && (sc.UsableBy == nil || slices.Contains(sc.UsableBy, v.Role)) || name != "" && name == v.TempSchema) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if !slices.Contains(out, "pg_catalog") {
		out = append([]string{"pg_catalog"}, out...)
	}
	if v.TempSchema != "" && !slices.Contains(out, v.TempSchema) {
		out = append([]string{v.TempSchema}, out...)
	}
	return out
}

// needsNames says that a statement's meaning depends on the schema.
func needsNames(n *pg_query.Node) bool {
	switch n.Node.(type) {
	case *pg_query.Node_TransactionStmt, *pg_query.Node_VariableSetStmt, *pg_query.Node_VariableShowStmt, *pg_query.Node_DiscardStmt,
		*pg_query.Node_ListenStmt, *pg_query.Node_UnlistenStmt, *pg_query.Node_NotifyStmt, *pg_query.Node_DeallocateStmt,
		*pg_query.Node_CreateStmt, *pg_query.Node_DropStmt, *pg_query.Node_CreateSchemaStmt, *pg_query.Node_CommentStmt, *pg_query.Node_GrantStmt,
		*pg_query.Node_CreateEnumStmt, *pg_query.Node_CreateExtensionStmt, *pg_query.Node_CreateFunctionStmt, *pg_query.Node_CreateSeqStmt,
		*pg_query.Node_CreateTrigStmt, *pg_query.Node_AlterOwnerStmt, *pg_query.Node_CreateRoleStmt:
		return false
	}
	return true
}

// parseBool reads a truth value as PostgreSQL's input does: any beginning of
// true, false, yes, no, on and off that is clear, and 1 and 0.
//
// Source: parse_bool_with_len in postgres/src/backend/utils/adt/bool.c.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "t", "tr", "tru", "true", "y", "ye", "yes", "on", "1":
		return true, true
	case "f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0":
		return false, true
	}
	return false, false
}
