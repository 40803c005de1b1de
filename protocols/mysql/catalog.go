package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// openCatalog logs in on a connection of the proxy's own and reads the schema
// over it.
func openCatalog(ctx context.Context, up protocols.Upstream, cred protocols.Credential) (protocols.CatalogSource, error) {
	l, err := logIn(ctx, up, cred, wish{charset: 45}) // utf8mb4
	if err != nil {
		return nil, err
	}
	l.r.max = 64 << 20
	c := &catalogSource{up: up, r: l.r, caps: l.caps, version: l.g.version}
	// Lists must not be cut, and quotes must be what they look like.
	if err := c.query(ctx, readerSQL, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// catalogSource reads over a connection that nobody else uses.
type catalogSource struct {
	up      protocols.Upstream
	r       *reader
	caps    uint32
	version string
}

var _ protocols.CatalogSource = (*catalogSource)(nil)

func (c *catalogSource) Close() error {
	var seq byte
	if c.up.Control(protocols.ControlTerminate, appendMessage(nil, &seq, []byte{comQuit})) == nil {
		_ = c.up.Flush()
	}
	return c.up.Close()
}

func (c *catalogSource) query(ctx context.Context, sql string, each func(cells [][]byte) error) error {
	stop := context.AfterFunc(ctx, c.up.Interrupt)
	defer stop()
	_, err := ownQuery(c.up, c.r, c.caps, sql, each)
	return err
}

// Version is the schema's fingerprint.
func (c *catalogSource) Version(ctx context.Context) (string, error) {
	var parts []string
	for _, sql := range versionSQL(server(c.version)) {
		err := c.query(ctx, sql, func(cells [][]byte) error {
			for _, cell := range cells {
				parts = append(parts, string(cell))
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return strings.Join(parts, "/"), nil
}

// server is the dialect and the version without MariaDB's prefix.
func server(version string) (dialect, plain string) {
	if strings.Contains(strings.ToLower(version), "mariadb") {
		return "mariadb", strings.TrimPrefix(version, "5.5.5-")
	}
	return "mysql", version
}

// unknownTable is the error of a table that information_schema does not have (ER_UNKNOWN_TABLE).
const unknownTable = 1109

// Load reads the schema of the whole server.
func (c *catalogSource) Load(ctx context.Context) (*catalog.Catalog, error) {
	l := &loader{c: &catalog.Catalog{}, relations: map[[2]string]int{}}
	l.c.Dialect, l.c.Version = server(c.version)
	parts := []struct {
		what string
		sql  string
		each func(r row)
	}{
		{"databases", databasesSQL, l.database},
		{"tables", tablesSQL, l.table},
		{"columns", columnsSQL, l.column},
		{"views", viewsSQL, l.view},
		{"indexes", indexesSQL(l.c.Dialect, l.c.Version), l.index},
		{"partitions", partitionsSQL, l.partition},
		{"constraints", constraintsSQL, l.constraint},
		{"foreign keys", foreignSQL, l.foreign},
		{"checks", checksSQL(l.c.Dialect), l.check},
		{"routines", routinesSQL, l.routine},
		{"parameters", parametersSQL, l.parameter},
		{"triggers", triggersSQL, l.trigger},
	}
	for _, p := range parts {
		err := c.query(ctx, p.sql, func(cells [][]byte) error { p.each(cells); return nil })
		var r *report
		if p.what == "checks" && errors.As(err, &r) && r.code == unknownTable {
			continue // MySQL before 8.0.16, which reads checks and forgets them
		}
		if err != nil {
			return nil, fmt.Errorf("reading the schema's %s: %w", p.what, err)
		}
	}
	// Loadable functions stand where an account may not look: one that it
	// cannot see is unknown to analysis, and refused.
	err := c.query(ctx, loadableSQL, func(cells [][]byte) error { l.loadable(cells); return nil })
	var r *report
	if err != nil && !errors.As(err, &r) {
		return nil, err
	}
	if err := c.query(ctx, "SELECT IFNULL(DATABASE(), '')", func(cells [][]byte) error { l.c.Database = string(cells[0]); return nil }); err != nil {
		return nil, err
	}
	return l.c, nil
}

// row is a row of information_schema. A missing cell is empty.
type row [][]byte

func (r row) text(i int) string {
	if i < len(r) {
		return string(r[i])
	}
	return ""
}

func (r row) int(i int) int {
	n, _ := strconv.Atoi(r.text(i))
	return n
}

// loader puts the rows together.
type loader struct {
	c         *catalog.Catalog
	relations map[[2]string]int
}

func (l *loader) relation(schema, name string) *catalog.Relation {
	if i, ok := l.relations[[2]string{schema, name}]; ok {
		return &l.c.Relations[i]
	}
	return nil
}

func (l *loader) database(r row) {
	l.c.Schemas = append(l.c.Schemas, catalog.Schema{OID: uint32(len(l.c.Schemas) + 1), Name: r.text(0)})
}

func (l *loader) table(r row) {
	kind := catalog.RelTable
	switch r.text(2) {
	case "VIEW", "SYSTEM VIEW":
		kind = catalog.RelView
	case "SEQUENCE":
		kind = catalog.RelSequence
	}
	l.relations[[2]string{r.text(0), r.text(1)}] = len(l.c.Relations)
	l.c.Relations = append(l.c.Relations, catalog.Relation{OID: uint32(len(l.c.Relations) + 1), Schema: r.text(0), Name: r.text(1), Kind: kind})
}

func (l *loader) column(r row) {
	rel := l.relation(r.text(0), r.text(1))
	if rel == nil {
		return
	}
	typ := strings.ToLower(r.text(4))
	c := catalog.Column{
		Num: int32(r.int(2)), Name: r.text(3), Type: typ, Mod: strings.TrimPrefix(r.text(5), typ), NotNull: r.text(6) == "NO",
		Default: r.text(7), Generated: l.expression(r.text(8)), Collation: r.text(9),
	}
	extra := strings.ToUpper(r.text(10))
	c.Hidden = strings.Contains(extra, "INVISIBLE")
	c.Virtual = strings.Contains(extra, "VIRTUAL GENERATED")
	switch {
	case l.c.Dialect != "mysql" || c.Default == "":
	case strings.Contains(extra, "DEFAULT_GENERATED"):
		c.Default = l.expression(c.Default)
	default:
		c.Default = "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(c.Default) + "'" // a literal, which MariaDB quotes itself
	}
	c.LooseCollation = c.Collation != "" && !exactCollation(c.Collation)
	rel.Columns = append(rel.Columns, c)
}

// expression is an expression of the schema as a statement would have it: in
// information_schema MySQL's stand escaped as in a string.
func (l *loader) expression(text string) string {
	if l.c.Dialect != "mysql" {
		return text
	}
	return unescape.Replace(text)
}

var unescape = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`, `\n`, "\n", `\r`, "\r", `\0`, "\x00", `\Z`, "\x1a")

// exactCollation says that only equal bytes are equal under a collation:
// without case, accents, or the padding with spaces that most have.
func exactCollation(name string) bool {
	return name == "binary" || strings.HasSuffix(name, "nopad_bin") || name == "utf8mb4_0900_bin"
}

func (l *loader) view(r row) {
	if rel := l.relation(r.text(0), r.text(1)); rel != nil {
		rel.Definition, rel.DefinitionPath = r.text(2), []string{r.text(0)}
	}
}

// number is a column's by name, 0 for none.
func number(rel *catalog.Relation, name string) int32 {
	i := slices.IndexFunc(rel.Columns, func(c catalog.Column) bool { return strings.EqualFold(c.Name, name) })
	if i < 0 {
		return 0
	}
	return rel.Columns[i].Num
}

func (l *loader) index(r row) {
	rel := l.relation(r.text(0), r.text(1))
	if rel == nil {
		return
	}
	if n := len(rel.Indexes); n == 0 || rel.Indexes[n-1].Name != r.text(2) {
		rel.Indexes = append(rel.Indexes, catalog.IndexDef{Name: r.text(2), Unique: r.text(3) == "0"})
	}
	x := &rel.Indexes[len(rel.Indexes)-1]
	x.Columns = append(x.Columns, number(rel, r.text(4)))
	if r.text(4) == "" {
		x.Exprs = append(x.Exprs, l.expression(r.text(6)))
	}
	if n := r.int(5); n > 0 {
		x.Lengths = append(x.Lengths, make([]int32, len(x.Columns)-len(x.Lengths))...)
		x.Lengths[len(x.Columns)-1] = int32(n)
	}
}

// partition notes the columns that rows are distributed by: those that the
// expression names, the primary key's where it names none, and 0 for an
// expression of which that is not clear.
func (l *loader) partition(r row) {
	rel := l.relation(r.text(0), r.text(1))
	if rel == nil || len(rel.PartitionKey) > 0 || r.text(2) == "SYSTEM_TIME" {
		return
	}
	expr := r.text(3) + " " + r.text(4)
	for _, c := range rel.Columns {
		if strings.Contains(strings.ToLower(expr), strings.ToLower(quoteName(c.Name))) {
			rel.PartitionKey = append(rel.PartitionKey, c.Num)
		}
	}
	if len(rel.PartitionKey) > 0 {
		return
	}
	if strings.TrimSpace(expr) == "" {
		for _, ix := range rel.Indexes {
			if ix.Name == "PRIMARY" {
				rel.PartitionKey = ix.Columns
				return
			}
		}
	}
	rel.PartitionKey = []int32{0}
}

func (l *loader) constraint(r row) {
	rel := l.relation(r.text(0), r.text(1))
	if rel == nil {
		return
	}
	kind := map[string]string{"PRIMARY KEY": "p", "UNIQUE": "u"}[r.text(3)]
	if kind == "" {
		return // foreign keys and checks come by themselves
	}
	if n := len(rel.Constraints); n == 0 || rel.Constraints[n-1].Name != r.text(2) || rel.Constraints[n-1].Kind != kind {
		rel.Constraints = append(rel.Constraints, catalog.Constraint{Name: r.text(2), Kind: kind})
	}
	k := &rel.Constraints[len(rel.Constraints)-1]
	k.Columns = append(k.Columns, number(rel, r.text(4)))
}

// actions are pg_constraint's letters.
var actions = map[string]string{"NO ACTION": "a", "RESTRICT": "r", "CASCADE": "c", "SET NULL": "n", "SET DEFAULT": "d"}

func (l *loader) foreign(r row) {
	rel, to := l.relation(r.text(0), r.text(1)), l.relation(r.text(4), r.text(5))
	if rel == nil {
		return
	}
	if n := len(rel.Constraints); n == 0 || rel.Constraints[n-1].Name != r.text(2) || rel.Constraints[n-1].Kind != "f" {
		rel.Constraints = append(rel.Constraints, catalog.Constraint{Name: r.text(2), Kind: "f", OnUpdate: actions[r.text(7)], OnDelete: actions[r.text(8)]})
	}
	k := &rel.Constraints[len(rel.Constraints)-1]
	k.Columns = append(k.Columns, number(rel, r.text(3)))
	if to != nil {
		k.RefRelation = to.OID
		k.RefColumns = append(k.RefColumns, number(to, r.text(6)))
	}
}

func (l *loader) check(r row) {
	if rel := l.relation(r.text(0), r.text(1)); rel != nil {
		rel.Constraints = append(rel.Constraints, catalog.Constraint{Name: r.text(2), Kind: "c", Expr: l.expression(r.text(3))})
	}
}

func (l *loader) addFunction(f catalog.Function) {
	f.OID = uint32(len(l.c.Functions) + 1)
	l.c.Functions = append(l.c.Functions, f)
}

func (l *loader) routine(r row) {
	kind, volatility := "f", "v"
	if r.text(2) == "PROCEDURE" {
		kind = "p"
	}
	if r.text(5) == "YES" {
		volatility = "i"
	}
	l.addFunction(catalog.Function{
		Schema: r.text(0), Name: r.text(1), Kind: kind, Returns: strings.ToLower(r.text(3)), Volatility: volatility, Language: "sql", Body: r.text(4),
		Settings: []string{"sql_mode=" + r.text(6), "security=" + strings.ToLower(r.text(7))},
	})
}

func (l *loader) parameter(r row) {
	kind := "f"
	if r.text(2) == "PROCEDURE" {
		kind = "p"
	}
	i := slices.IndexFunc(l.c.Functions, func(f catalog.Function) bool { return f.Schema == r.text(0) && f.Name == r.text(1) && f.Kind == kind })
	if i < 0 {
		return
	}
	f := &l.c.Functions[i]
	f.Args = append(f.Args, strings.ToLower(r.text(3)))
	if mode := r.text(4); mode == "OUT" || mode == "INOUT" {
		f.Out, f.OutTypes = append(f.Out, r.text(5)), append(f.OutTypes, strings.ToLower(r.text(3)))
	}
}

func (l *loader) trigger(r row) {
	name := "trigger " + r.text(1)
	l.addFunction(catalog.Function{Schema: r.text(0), Name: name, Kind: "t", Volatility: "v", Language: "sql", Body: r.text(4), Settings: []string{"sql_mode=" + r.text(5), "security=definer"}})
	if rel := l.relation(r.text(0), r.text(3)); rel != nil {
		rel.Triggers = append(rel.Triggers, catalog.Trigger{Name: r.text(1), Function: r.text(0) + "." + name, Events: []string{strings.ToLower(r.text(2))}})
	}
}

func (l *loader) loadable(r row) {
	kind := "f"
	if r.text(1) == "aggregate" {
		kind = "a"
	}
	l.addFunction(catalog.Function{Schema: "mysql", Name: r.text(0), Kind: kind, Volatility: "v", Language: "c"})
}
