// Package catalog holds an upstream's schema as data, and a session's view of
// it: what a name in a statement means to that session, at that moment. It is
// filled by a protocol (which knows how to ask), read by analysis, and stored
// in transcripts, so that a recorded statement can be understood again
// elsewhere.
//
// A Catalog is immutable and shared between sessions once Index has been
// called. A View is a session's own and not safe for concurrent use.
package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Catalog is one database's schema.
type Catalog struct {
	Dialect  string `json:"dialect"` // postgres, mysql, mariadb
	Version  string `json:"version"` // the server's, as it reports it
	Database string `json:"database"`

	Schemas   []Schema   `json:"schemas"`
	Relations []Relation `json:"relations"`
	Functions []Function `json:"functions"`
	Operators []Operator `json:"operators"`
	Casts     []Cast     `json:"casts"`
	Types     []Type     `json:"types"`

	// Pinned and Marks are for the protocol that reads the schema.
	Pinned Pinned            `json:"-"`
	Marks  map[uint32]string `json:"-"` // a relation that has the same one is still the same

	idx *index
}

// Pinned says how much of a schema is the server's own and need not be read
// again while it has that version: so many entries at the lists' beginnings.
type Pinned struct {
	Version                            string
	Functions, Operators, Casts, Types int
}

// Schema is a namespace. UsableBy lists the roles that may look names up in
// it; nil means every role.
type Schema struct {
	OID      uint32   `json:"oid,omitempty"`
	Name     string   `json:"name"`
	UsableBy []string `json:"usable_by,omitempty"`
}

// RelationKind uses PostgreSQL's pg_class.relkind letters.
type RelationKind string

const (
	RelTable            RelationKind = "r"
	RelPartitioned      RelationKind = "p"
	RelView             RelationKind = "v"
	RelMaterializedView RelationKind = "m"
	RelSequence         RelationKind = "S"
	RelForeign          RelationKind = "f"
	RelComposite        RelationKind = "c"
	RelIndex            RelationKind = "i"
	// RelUncertain is a temporary table of which it is not known what has
	// become: a statement that changed it has failed, or was not followed.
	RelUncertain RelationKind = "?"
)

// Relation is a table, view, sequence or index.
type Relation struct {
	OID     uint32       `json:"oid,omitempty"`
	Schema  string       `json:"schema"`
	Name    string       `json:"name"`
	Kind    RelationKind `json:"kind"`
	Columns []Column     `json:"columns,omitempty"`

	// Definition is a view's query; it means what it says under
	// DefinitionPath, the search path it was written out for.
	Definition     string   `json:"definition,omitempty"`
	DefinitionPath []string `json:"definition_path,omitempty"`

	Parents     []uint32     `json:"parents,omitempty"` // inherited from, or partition of
	Constraints []Constraint `json:"constraints,omitempty"`
	Indexes     []IndexDef   `json:"indexes,omitempty"`
	// Triggers are the user-defined, enabled ones, by the function each calls.
	Triggers []Trigger `json:"triggers,omitempty"`
	// Rules says that rewrite rules other than a view's own exist.
	Rules bool `json:"rules,omitempty"`
	// RowSecurity is set where row security is enabled; Policies are the
	// expressions (USING and WITH CHECK) of its policies.
	RowSecurity bool     `json:"row_security,omitempty"`
	Policies    []string `json:"policies,omitempty"`
	// PartitionKey holds the attnums of a partitioned table's key, 0 for an
	// expression.
	PartitionKey []int32 `json:"partition_key,omitempty"`
	// Extension names the extension that owns the relation.
	Extension string `json:"extension,omitempty"`
	// Temporary marks a relation of a session's temporary schema.
	Temporary bool `json:"temporary,omitempty"`
}

// Column of a relation. Type is qualified ("pg_catalog.text").
type Column struct {
	Num     int32  `json:"num"` // attnum
	Name    string `json:"name"`
	Type    string `json:"type"`
	Mod     string `json:"mod,omitempty"` // the type's modifier as written: "(10,2)"
	NotNull bool   `json:"not_null,omitempty"`
	// Inline marks a type of variable length that is always kept in the row.
	Inline    bool   `json:"inline,omitempty"`
	Default   string `json:"default,omitempty"`   // expression
	Generated string `json:"generated,omitempty"` // expression of a generated column
	// Virtual marks a generated column that is computed when it is read.
	Virtual bool `json:"virtual,omitempty"`
	// Collation is qualified, "" for the type's own.
	Collation string `json:"collation,omitempty"`
	// LooseCollation marks a nondeterministic collation: "equal" values may
	// then be written differently.
	LooseCollation bool `json:"loose_collation,omitempty"`
	// Hidden marks a column that * does not bring (MySQL's INVISIBLE).
	Hidden bool `json:"hidden,omitempty"`
}

// Constraint kinds use pg_constraint.contype letters: c check, f foreign key,
// p primary key, u unique, x exclusion.
type Constraint struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Columns []int32 `json:"columns,omitempty"` // attnums
	Expr    string  `json:"expr,omitempty"`    // of a check
	// NotValid marks a check that rows from before it may violate.
	NotValid bool `json:"not_valid,omitempty"`
	// Foreign keys: the relation and columns referred to.
	RefRelation uint32  `json:"ref_relation,omitempty"`
	RefColumns  []int32 `json:"ref_columns,omitempty"`
	// OnDelete and OnUpdate use pg_constraint's letters: a no action,
	// r restrict, c cascade, n set null, d set default; "" where unknown.
	OnDelete string `json:"on_delete,omitempty"`
	OnUpdate string `json:"on_update,omitempty"`
}

// IndexDef is an index. Columns are attnums, 0 for an expression; Exprs are
// the expressions and the predicate, as text.
type IndexDef struct {
	Name   string `json:"name"`
	Unique bool   `json:"unique,omitempty"`
	// NullsEqual marks a unique index that treats NULLs as equal.
	NullsEqual bool     `json:"nulls_equal,omitempty"`
	Columns    []int32  `json:"columns,omitempty"`
	Exprs      []string `json:"exprs,omitempty"`
	// Lengths are how much of each column is in the index, 0 for all of it; nil
	// where all are there whole. MySQL has such indexes.
	Lengths []int32 `json:"lengths,omitempty"`
}

// Trigger is a user-defined trigger. Events holds any of "insert", "update",
// "delete", "truncate".
type Trigger struct {
	Name     string   `json:"name"`
	Function string   `json:"function"` // schema.name
	Events   []string `json:"events"`
}

// Function is a function, procedure, aggregate or window function.
type Function struct {
	OID        uint32   `json:"oid,omitempty"`
	Schema     string   `json:"schema"`
	Name       string   `json:"name"`
	Kind       string   `json:"kind"` // pg_proc.prokind: f, p, a, w
	Args       []string `json:"args,omitempty"`
	Defaults   int      `json:"defaults,omitempty"` // how many trailing arguments have defaults
	Variadic   bool     `json:"variadic,omitempty"`
	Returns    string   `json:"returns,omitempty"`
	ReturnsSet bool     `json:"returns_set,omitempty"`
	// Out names the columns of a record result, where declared.
	Out        []string `json:"out,omitempty"`
	OutTypes   []string `json:"out_types,omitempty"`
	Volatility string   `json:"volatility,omitempty"` // i, s, v
	Strict     bool     `json:"strict,omitempty"`
	Language   string   `json:"language,omitempty"` // internal, c, sql, plpgsql …
	Extension  string   `json:"extension,omitempty"`
	// Body is the source of a sql or plpgsql function.
	Body string `json:"body,omitempty"`
	// Settings are the function's own SET clauses.
	Settings []string `json:"settings,omitempty"`
}

// Operator's Function is schema.name.
type Operator struct {
	Schema    string `json:"schema"`
	Name      string `json:"name"`
	Left      string `json:"left,omitempty"`
	Right     string `json:"right,omitempty"`
	Result    string `json:"result,omitempty"`
	Function  string `json:"function"`
	Extension string `json:"extension,omitempty"`
}

// Cast's Function is empty for a binary-coercible or I/O cast.
type Cast struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Function  string `json:"function,omitempty"`
	Method    string `json:"method,omitempty"` // f function, i input and output functions, b binary-coercible
	Context   string `json:"context"`          // e explicit, a assignment, i implicit
	Extension string `json:"extension,omitempty"`
}

// Type is a data type. Kind is pg_type.typtype: b base, c composite, d
// domain, e enum, p pseudo, r range, m multirange.
type Type struct {
	OID    uint32 `json:"oid,omitempty"`
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	// Category and Preferred steer overload resolution (pg_type.typcategory).
	Category  string `json:"category,omitempty"`
	Preferred bool   `json:"preferred,omitempty"`
	Base      string `json:"base,omitempty"`     // of a domain
	Element   string `json:"element,omitempty"`  // of an array
	Relation  uint32 `json:"relation,omitempty"` // of a composite
	Checks    bool   `json:"checks,omitempty"`   // a domain with CHECK or NOT NULL
	// Check is what a domain demands of VALUE, as one condition.
	Check     string `json:"check,omitempty"`
	Extension string `json:"extension,omitempty"`
}

// Hash identifies the catalog's content: hex SHA-256 of its JSON form. It is
// computed once, at the first call after Index; safe for concurrent use.
func (c *Catalog) Hash() string {
	hash, _ := c.Encode()
	return hash
}

// Encode is Hash and, at the call that computes it, the JSON form as well: who
// keeps a schema needs both, and each pass over a large one takes
// milliseconds. At any other call form is nil.
func (c *Catalog) Encode() (hash string, form []byte) {
	c.idx.hashed.Do(func() {
		var err error
		if form, err = json.Marshal(c); err != nil {
			panic(err) // the type has nothing that JSON cannot hold
		}
		sum := sha256.Sum256(form)
		c.idx.hash = hex.EncodeToString(sum[:])
	})
	return c.idx.hash, form
}

// View is a catalog as one session resolves names in it, with the objects and
// names that only this session has.
type View struct {
	*Catalog
	// SearchPath is the effective one, in order, with the implicit schemas
	// (pg_temp's real name, pg_catalog) in their places.
	SearchPath []string `json:"search_path"`
	// TempSchema is the session's temporary schema's real name, "" until it
	// has one.
	TempSchema string `json:"temp_schema,omitempty"`
	Role       string `json:"role"`
	// Reverting says that the open transaction has changed what names mean, so
	// that its end, or a way back to a savepoint, may take that back.
	Reverting bool `json:"reverting,omitempty"`
	// Prepared are SQL-level and protocol-level prepared statements.
	Prepared map[string]Prepared `json:"prepared,omitempty"`
	// Cursors are the open cursors, by what FETCH from them returns.
	Cursors map[string]*facts.Facts `json:"cursors,omitempty"`
	// Settings are what else decides how the session reads a text.
	Settings Settings `json:"settings,omitempty"`
	// Variables are the user variables whose value is known, because the session
	// has set them to a constant: what they hold as text, nil for NULL.
	Variables map[string]*string `json:"variables,omitempty"`
	// Temporary are the session's temporary tables where the store keeps them in
	// the schemas of the others (MySQL), by schema and name. They shadow those
	// of the catalog. TempSchema then changes whenever they do.
	Temporary map[[2]string]*Relation `json:"-"`
}

// Settings are pairs of a name and a value, a line each ("sql_mode=ANSI\n"),
// sorted by name. Being comparable, they are part of the key by which an
// analysis is kept.
type Settings string

// NewSettings writes settings down. Line breaks in values become spaces.
func NewSettings(values map[string]string) Settings {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.WriteString(name + "=" + strings.ReplaceAll(values[name], "\n", " ") + "\n")
	}
	return Settings(b.String())
}

// Get returns a setting's value, "" where there is none.
func (s Settings) Get(name string) string {
	for line := range strings.Lines(string(s)) {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSuffix(v, "\n")
		}
	}
	return ""
}

// Prepared is a statement that EXECUTE can run.
type Prepared struct {
	Text string `json:"text"`
	// Types are the declared parameter types.
	Types []string `json:"types,omitempty"`
	// Path and Settings are those of the session that prepared it, where the
	// store goes on reading it by them (MySQL).
	Path     []string `json:"path,omitempty"`
	Settings Settings `json:"settings,omitempty"`
}

// Change is what a statement will have done to its session's view once it
// has succeeded.
type Change struct {
	// SearchPath is the new setting as written (nil: unchanged); Local says
	// until the end of the transaction.
	SearchPath []string
	Local      bool
	// Reload says that the session must ask its upstream for the path, role,
	// temporary schema (Session) or for the catalog itself (Schema) before
	// its next statement is analysed.
	ReloadSession bool
	ReloadSchema  bool
	Prepare       map[string]Prepared
	Deallocate    []string // "" for all
	Declare       map[string]*facts.Facts
	Close         []string // "" for all
	// Settings are new values of View.Settings.
	Settings map[string]string
	// Variables are new values of View.Variables; Forget are those that are not
	// known any more, "" for all.
	Variables map[string]*string
	Forget    []string
	// Temporary are tables that View.Temporary gets, nil for one that is gone.
	Temporary map[[2]string]*Relation
}

// Statement is what analysis says of one statement of a text.
type Statement struct {
	Text   string // this statement's own words, without its terminator
	Offset int    // of Text in the whole text, in bytes
	Facts  *facts.Facts
	Change *Change // nil where it changes nothing of its session's view
	// Unready says why it cannot be run as things are, though it can be
	// prepared: a cursor that it names is not open.
	Unready *facts.Problem
	// Volatile says that the facts came from the session's cursors or
	// prepared statements and must not be cached by text.
	Volatile bool
	// Free are the places, in the whole text, of constants on whose values
	// nothing here depends but the places in Facts, beyond what their
	// Literal.Kind tells.
	Free []int
}
