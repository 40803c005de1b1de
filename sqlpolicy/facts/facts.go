// Package facts holds the nouns that every room of Sallyport shares: who is
// calling, what a statement is, what its AST and the catalog say of it, and
// what was decided. It is data only: it imports nothing of ours, decides
// nothing and performs no I/O, so that a wire, the policy, a transcript and a
// test speak of the same things without knowing each other.
//
// Values are immutable once handed on: facts are cached and shared between
// sessions and goroutines.
package facts

import "time"

// Action is the neutral kind of an effect (docs/policy.md lists them).
type Action string

const (
	Read        Action = "read"
	Insert      Action = "insert"
	Update      Action = "update"
	Delete      Action = "delete"
	DDL         Action = "ddl"
	Privilege   Action = "privilege"
	SessionSet  Action = "session"
	Transaction Action = "transaction"
	Admin       Action = "admin"
	Copy        Action = "copy"
	Call        Action = "call"
	Search      Action = "search"
	Unknown     Action = "unknown"
)

// Identity is who is calling, as established before the first statement.
type Identity struct {
	Name    string         `json:"name"`
	Kind    string         `json:"kind"` // "human" or "machine"
	Groups  []string       `json:"groups,omitempty"`
	Claims  map[string]any `json:"claims,omitempty"`
	Address string         `json:"address,omitempty"` // the client's IP address, no port
}

// Session is what rules may know of the session a statement belongs to.
type Session struct {
	ID       string    `json:"id"`
	Target   string    `json:"target"`
	Protocol string    `json:"protocol"`
	Database string    `json:"database"`
	RowsRead int64     `json:"rows_read"` // rows sent to the client so far
	Started  time.Time `json:"started"`
}

// Type is a column's or result's type: its qualified name as the upstream
// spells it ("pg_catalog.int4", "public.vector"), and the kind that masks
// understand.
type Type struct {
	Name string `json:"name,omitempty"`
	Kind Kind   `json:"kind,omitempty"`
}

// Kind is a family of types that a mask treats alike.
type Kind string

const (
	KindText      Kind = "text" // text, varchar, char, name, citext: any characters are valid
	KindInt       Kind = "int"
	KindFloat     Kind = "float"
	KindNumeric   Kind = "numeric"
	KindBool      Kind = "bool"
	KindDate      Kind = "date"
	KindTime      Kind = "time"
	KindTimestamp Kind = "timestamp" // with or without time zone
	KindUUID      Kind = "uuid"
	KindJSON      Kind = "json" // json and jsonb
	KindBytes     Kind = "bytes"
	KindVector    Kind = "vector" // pgvector's and store embeddings
	KindArray     Kind = "array"
	KindOther     Kind = "other" // enums, ranges, composites, geometry …: no safe constant, only NULL
)

// Name names an object; Schema and Database are empty where the store has
// none.
type Name struct {
	Database string `json:"database,omitempty"`
	Schema   string `json:"schema,omitempty"`
	Name     string `json:"name"`
}

// String is schema.name, or name alone.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}

// Object is something a statement names, with its real name however it was
// quoted or aliased.
type Object struct {
	Kind string `json:"kind"` // table, view, materialized view, sequence, index, function, schema, database, role, type, extension, collection, model …
	Name
}

// Table is a base relation that a statement reaches, directly or through
// views. Columns are all its columns, used or not: whether a statement
// touches a classed table depends on them.
type Table struct {
	Name
	// Family names the tables whose classes this one shares: its partitions
	// and children, and its parents.
	Family  []Name        `json:"family,omitempty"`
	Columns []TableColumn `json:"columns,omitempty"`
	// System marks the store's own catalog.
	System bool `json:"system,omitempty"`
	// Collection marks a collection of documents: a column is a path in them
	// (PathAll, PathVector and PathBelow are others), and classes come from the
	// policy's payloads.
	Collection bool `json:"collection,omitempty"`
}

// Paths of a Collection's documents that are no single path.
const (
	PathAll    = "**"      // all of a document but its embeddings
	PathVector = "#vector" // its embeddings
	// PathBelow ends the name of a column that is a path with all beneath it.
	PathBelow = ".**"
)

// TableColumn is one column of a Table. Origin is its number upstream
// (PostgreSQL's attnum), for the check on the wire.
type TableColumn struct {
	Name   string `json:"name"`
	Type   Type   `json:"type"`
	Origin int32  `json:"origin,omitempty"`
}

// ColumnRef points into Facts.Tables.
type ColumnRef struct {
	Table  int `json:"t"`
	Column int `json:"c"`
}

// Source is a base column that a result column's value can depend on. Direct
// says that the value passes unchanged (through aliases, subqueries, views,
// arms of a set operation); otherwise it was computed by operations known
// total, so that it can be redacted whole.
type Source struct {
	ColumnRef
	Direct bool `json:"direct,omitempty"`
}

// Output is one result column.
type Output struct {
	Name    string   `json:"name"`
	Type    Type     `json:"type"` // zero where analysis does not know it; the wire does
	Sources []Source `json:"sources,omitempty"`
}

// UseKind says what a statement does with columns beyond returning them.
type UseKind string

const (
	// UseEqual compares by the built-in equality of the exact type under a
	// deterministic collation, against constants, parameters or the columns
	// in With; also IS NULL, GROUP BY and DISTINCT on the bare column, and
	// writing under a unique or foreign-key constraint.
	UseEqual UseKind = "equal"
	// UseCompare is any other comparing: order, patterns, ranges, operators
	// not known built in, predicates over computed values.
	UseCompare UseKind = "compare"
	// UseOpaque is an operation that may fail or warn depending on the value,
	// or whose result cannot be followed.
	UseOpaque UseKind = "opaque"
	// UseWrite stores the columns' values in Into.
	UseWrite UseKind = "write"
	// UseCode runs code that analysis cannot read (Name says which); Columns
	// are its arguments. Vouching for Name in the policy allows it where no
	// classed column is among the arguments.
	UseCode UseKind = "code"
	// UsePlan chooses how statements are planned (Name says by which
	// setting), and with it the order of rows that statements leave open. It
	// has no columns.
	UsePlan UseKind = "plan"
)

// Use is one such use. What completes the sentence "… is used by" in plain
// words ("the cast to integer", "ORDER BY"); At is the byte offset in the
// statement's text, -1 where unknown.
type Use struct {
	Kind    UseKind     `json:"kind"`
	Columns []ColumnRef `json:"columns,omitempty"`
	With    []ColumnRef `json:"with,omitempty"`
	Into    *ColumnRef  `json:"into,omitempty"`
	Name    string      `json:"name,omitempty"`
	What    string      `json:"what"`
	At      int         `json:"at"`
	// Params says how parameters must be bound for an equality to be one: bound
	// otherwise the value is converted, and the use counts as UseCompare.
	Params []ParamKind `json:"params,omitempty"`
	// InPredicate says that only the outcome of a condition depends on an
	// opaque use, so that it tells no more than a comparison could.
	InPredicate bool `json:"in_predicate,omitempty"`
}

// ParamKind is the kind that a parameter is compared as. Param is 1-based.
type ParamKind struct {
	Param int  `json:"param"`
	Kind  Kind `json:"kind"`
}

// NoLimit is Effect.Limit where nothing limits the rows.
const NoLimit = int64(1<<63 - 1)

// Effect is one thing a statement does; rules run once an effect. Param
// numbers are 1-based; 0 means none.
type Effect struct {
	Action      Action   `json:"action"`
	Verb        string   `json:"verb"` // upper case: SELECT, DROP TABLE, COPY …
	Destructive bool     `json:"destructive,omitempty"`
	Objects     []Object `json:"objects,omitempty"`
	// Columns are the base columns that this effect reads or writes.
	Columns  []ColumnRef `json:"columns,omitempty"`
	Filtered bool        `json:"filtered,omitempty"`
	Limited  bool        `json:"limited,omitempty"`
	Limit    int64       `json:"limit"` // NoLimit where not Limited
	TopK     int64       `json:"top_k,omitempty"`
	// Tokens is the most tokens that a model's answer may have: NoLimit where
	// the request does not say, 0 where no model answers.
	Tokens    int64    `json:"tokens,omitempty"`
	Functions []string `json:"functions,omitempty"` // schema.name of the functions called

	// LimitParam is the parameter that LIMIT (or top-k) takes its value
	// from; until bound, the effect counts as unlimited. LimitScale 0 is 1.
	LimitParam int  `json:"limit_param,omitempty"`
	TopKParam  bool `json:"top_k_param,omitempty"` // LimitParam gives TopK too
}

// Facts is what analysis says of one statement. It knows columns, not
// classes: one Facts serves every policy and identity.
type Facts struct {
	Effects []Effect `json:"effects"`
	Tables  []Table  `json:"tables,omitempty"`
	Outputs []Output `json:"outputs,omitempty"` // nil where the statement returns no rows
	Uses    []Use    `json:"uses,omitempty"`
	// Copy is set where the statement starts a COPY with the client.
	Copy *CopyFormat `json:"copy,omitempty"`
	// Constants are where the statement's text holds literals that are
	// compared with or stored in columns, so that a transcript can hide them.
	Constants []Constant `json:"constants,omitempty"`
	// ParamUses say the same of parameters (1-based).
	ParamUses []ParamUse `json:"param_uses,omitempty"`
	// Unparsed is set where the policy may still let pass a text that the
	// parser did not understand: it holds the parser's message.
	Unparsed string `json:"unparsed,omitempty"`
	// Plannable says that the planner can be asked about the statement without
	// running any user's code: about PlanText, or its own text where that is
	// empty.
	Plannable bool   `json:"plannable,omitempty"`
	PlanText  string `json:"plan_text,omitempty"`
	// OpenResults says that the statement runs what returns results whose
	// columns are not known before they come (MySQL's CALL): any number of
	// results, each with any columns. Outputs is then nil, and only the check of
	// their origin stands behind them.
	OpenResults bool `json:"open_results,omitempty"`
	// Explains marks a client's own EXPLAIN of the effects.
	Explains bool `json:"explains,omitempty"`
	// Texts says that the statement sends or returns texts that belong to no
	// known column: the policy's detectors look through them, and Constants are
	// what they found.
	Texts bool `json:"texts,omitempty"`
}

// Constant is the half-open byte range of a literal in the statement's text.
type Constant struct {
	From    int         `json:"from"`
	To      int         `json:"to"`
	Columns []ColumnRef `json:"columns"`
	// Forms are those that a detector found the literal to have.
	Forms []string `json:"forms,omitempty"`
}

// ParamUse says which columns a parameter is compared with or stored in.
type ParamUse struct {
	Param   int         `json:"param"`
	Columns []ColumnRef `json:"columns"`
}

// CopyFormat is how COPY's rows are written on the wire. Bytes are 0 where
// the format has none.
type CopyFormat struct {
	In         bool   `json:"in,omitempty"`
	Format     string `json:"format"` // text, csv, binary
	Delimiter  byte   `json:"delimiter,omitempty"`
	Quote      byte   `json:"quote,omitempty"`
	Escape     byte   `json:"escape,omitempty"`
	Null       string `json:"null"`
	Header     bool   `json:"header,omitempty"`
	ForceQuote []bool `json:"force_quote,omitempty"` // by output; nil for none
}

// Param is a bound parameter. Known is false where the wire could not render
// the value as text.
type Param struct {
	Null  bool   `json:"null,omitempty"`
	Known bool   `json:"known"`
	Text  string `json:"text,omitempty"`
	Type  string `json:"type,omitempty"`
	// Kind is that of Type, where the wire knows it.
	Kind Kind `json:"kind,omitempty"`
}

// Plan is what the upstream's planner says of a statement's root, rounded up
// to a power of ten. Known is false where it was not asked or could not say.
type Plan struct {
	Known bool    `json:"known"`
	Rows  int64   `json:"rows"`
	Cost  float64 `json:"cost"`
}

// Column returns the column that r points to; ok is false for a reference out
// of range.
func (f *Facts) Column(r ColumnRef) (c TableColumn, ok bool) {
	if r.Table < 0 || r.Table >= len(f.Tables) || r.Column < 0 || r.Column >= len(f.Tables[r.Table].Columns) {
		return TableColumn{}, false
	}
	return f.Tables[r.Table].Columns[r.Column], true
}
