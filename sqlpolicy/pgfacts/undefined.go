package pgfacts

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// The errors of names that mean nothing, in PostgreSQL's own words.

// undefinedFunction: ordered says that ORDER BY with more than one value stands
// among its arguments.
func (a *analysis) undefinedFunction(schema, name string, args []value, at int, ordered bool) {
	p := &facts.Problem{
		Code: "42883", At: at, Undefined: true,
		Message: fmt.Sprintf("function %s(%s) does not exist", joinName(schema, name), a.typeList(args)),
		Hint:    "No function matches the given name and argument types. You might need to add explicit type casts.",
	}
	if ordered {
		p.Hint = "No aggregate function matches the given name and argument types. Perhaps you misplaced ORDER BY; ORDER BY must appear after all regular arguments of the aggregate."
	}
	types := make([]string, len(args))
	for i, v := range args {
		types[i] = v.typ
	}
	for _, f := range a.view.FunctionsNamed(schema, name) {
		if filled, ok := fill(a, f, len(args), false, false); ok && f.Kind == "p" && a.accepts(filled, types) {
			p.Code, p.Message = "42809", fmt.Sprintf("%s(%s) is a procedure", joinName(schema, name), a.typeList(args))
			p.Hint = "To call a procedure, use CALL."
		}
	}
	a.fail(p)
}

func (a *analysis) undefinedProcedure(schema, name string, args []value, at int) error {
	return &facts.Problem{
		Code: "42883", At: at, Undefined: true,
		Message: fmt.Sprintf("procedure %s(%s) does not exist", joinName(schema, name), a.typeList(args)),
		Hint:    "No procedure matches the given name and argument types. You might need to add explicit type casts.",
	}
}

func (a *analysis) undefinedOperator(op string, args []value, at int) {
	p := &facts.Problem{
		Code: "42883", At: at, Undefined: true,
		Hint: "No operator matches the given name and argument types. You might need to add explicit type casts.",
	}
	if len(args) == 1 {
		p.Message = fmt.Sprintf("operator does not exist: %s %s", op, a.shownType(args[0].typ))
		p.Hint = "No operator matches the given name and argument type. You might need to add an explicit type cast."
	} else {
		p.Message = fmt.Sprintf("operator does not exist: %s %s %s", a.shownType(args[0].typ), op, a.shownType(args[1].typ))
	}
	a.fail(p)
}

// missingFrom is a qualifier that is no table in sight: perhaps one that goes
// by an alias, or that stands where it cannot be seen.
func (a *analysis) missingFrom(sc *scope, parts []string, at int) {
	name := parts[len(parts)-1]
	p := &facts.Problem{Code: "42P01", At: at, Undefined: true, Message: fmt.Sprintf("missing FROM-clause entry for table %q", name)}
	if len(parts) == 1 {
		if p.Hint = entryHint(sc, name); p.Hint != "" {
			p.Message = fmt.Sprintf("invalid reference to FROM-clause entry for table %q", name)
		}
	}
	a.fail(p)
}

func entryHint(sc *scope, name string) string {
	for ; sc != nil; sc = sc.parent {
		for _, it := range sc.items {
			if it.named && it.aliased && it.rel != nil && it.rel.Name == name {
				return fmt.Sprintf("Perhaps you meant to reference the table alias %q.", it.alias)
			}
		}
		for _, it := range sc.besides() {
			if it.alias == name {
				return fmt.Sprintf("There is an entry for table %q, but it cannot be referenced from this part of the query.", name)
			}
		}
	}
	return ""
}

// besides are the items that cannot be referenced by their names.
func (s *scope) besides() []item {
	out := slices.Clone(s.hidden)
	for _, it := range s.items {
		if !it.named {
			out = append(out, it)
		}
	}
	return out
}

// undefinedColumn is a column, with or without a qualifier, that nothing in
// sight has.
func (a *analysis) undefinedColumn(sc *scope, qualifier, name string, at int) {
	p := &facts.Problem{Code: "42703", At: at, Undefined: true, Message: fmt.Sprintf("column %q does not exist", name)}
	if qualifier != "" {
		p.Message = fmt.Sprintf("column %s.%s does not exist", qualifier, name)
	}
	for s := sc; s != nil; s = s.parent {
		for _, it := range s.hidden {
			if it.alias != "" && (qualifier == "" || qualifier == it.alias) && len(matching(it.entry, name)) > 0 {
				p.Hint = fmt.Sprintf("There is a column named %q in table %q, but it cannot be referenced from this part of the query.", name, it.alias)
				a.fail(p)
				return
			}
		}
	}
	switch near := nearColumns(sc, qualifier, name); len(near) {
	case 1:
		p.Hint = fmt.Sprintf("Perhaps you meant to reference the column \"%s\".", near[0])
	case 2:
		p.Hint = fmt.Sprintf("Perhaps you meant to reference the column \"%s\" or the column \"%s\".", near[0], near[1])
	}
	a.fail(p)
}

// undefinedField is a field that a composite value does not have.
func (a *analysis) undefinedField(v value, name string, at int) {
	p := &facts.Problem{Code: "42703", At: at, Undefined: true, Message: fmt.Sprintf("column %q not found in data type %s", name, a.shownType(v.typ))}
	switch {
	case v.typ == "":
		p.Message = fmt.Sprintf("column %q does not exist", name)
	case v.typ == typeRecord:
		p.Message = fmt.Sprintf("could not identify column %q in record data type", name)
	case !isRowType(a, v.typ):
		p.Code, p.Message = "42809", fmt.Sprintf("column notation .%s applied to type %s, which is not a composite type", name, a.shownType(v.typ))
	}
	a.fail(p)
}

// leftmost is where an expression begins, as PostgreSQL's errors place it, -1
// where that is not known.
func leftmost(n *pg_query.Node) int32 {
	switch x := n.GetNode().(type) {
	case *pg_query.Node_ColumnRef:
		return x.ColumnRef.Location
	case *pg_query.Node_RowExpr:
		return x.RowExpr.Location
	case *pg_query.Node_AConst:
		return x.AConst.Location
	case *pg_query.Node_FuncCall:
		return x.FuncCall.Location
	case *pg_query.Node_SetToDefault:
		return x.SetToDefault.Location
	case *pg_query.Node_TypeCast:
		return leftmost(x.TypeCast.Arg)
	case *pg_query.Node_AIndirection:
		return leftmost(x.AIndirection.Arg)
	}
	return -1
}

// tooFar is one more than the edits by which a column's name may differ to be
// a suggestion.
const tooFar = 4

// nearColumns are the columns in sight whose names are nearest to a wrong one:
// none where more than two are equally near.
//
// Source: errorMissingColumn and updateFuzzyAttrMatch in
// postgres/src/backend/parser/parse_relation.c, of PostgreSQL 15.
func nearColumns(sc *scope, qualifier, name string) []string {
	best, near := tooFar, []string(nil)
	for ; sc != nil; sc = sc.parent {
		for _, it := range append(slices.Clone(sc.items), sc.hidden...) {
			if it.alias == "" {
				continue // a join's own columns are those of its sides
			}
			penalty := 0
			if qualifier != "" {
				penalty = edits(it.alias, qualifier)
			}
			for _, c := range it.columns {
				d := edits(c.name, name)
				if c.name == "" || penalty > best || d > len(name)/2 {
					continue
				}
				switch d += penalty; {
				case d < best:
					best, near = d, []string{it.alias + "." + c.name}
				case d == best && best < tooFar && len(near) == 2:
					best, near = d-1, nil
				case d == best && best < tooFar:
					near = append(near, it.alias+"."+c.name)
				}
			}
		}
	}
	return near
}

// edits is Levenshtein's distance, in bytes as PostgreSQL limits names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

// typeList is the types of arguments as messages name them.
func (a *analysis) typeList(args []value) string {
	types := make([]string, len(args))
	for i, v := range args {
		types[i] = a.shownType(v.typ)
	}
	return strings.Join(types, ", ")
}

// sqlNames are the types that SQL has other names for.
//
// Source: format_type_extended in postgres/src/backend/utils/adt/format_type.c.
var sqlNames = map[string]string{
	"bool": "boolean", "bpchar": "character", "char": `"char"`, "float4": "real", "float8": "double precision", "int2": "smallint", "int4": "integer",
	"int8": "bigint", "time": "time without time zone", "timetz": "time with time zone", "timestamp": "timestamp without time zone",
	"timestamptz": "timestamp with time zone", "varbit": "bit varying", "varchar": "character varying",
}

// printable is a type's name as people know it.
func printable(typ string) string {
	s, name := splitType(typ)
	if s != "pg_catalog" {
		return typ
	}
	if element, ok := strings.CutPrefix(name, "_"); ok {
		return printable("pg_catalog."+element) + "[]"
	}
	return cmp.Or(sqlNames[name], name)
}

// shownType is a type as PostgreSQL's messages name it: with its schema where
// its name alone would mean another.
func (a *analysis) shownType(typ string) string {
	s, name := splitType(typ)
	if s == "pg_catalog" || s == "" {
		return printable(typ)
	}
	t := a.typeOf(typ)
	if t == nil {
		return typ
	}
	suffix := ""
	if t.Element != "" && strings.HasPrefix(name, "_") {
		if t = a.typeOf(t.Element); t == nil {
			return typ
		}
		suffix = "[]"
	}
	if seen := a.view.Type("", t.Name); seen != nil && seen.Schema == t.Schema {
		return quoteName(t.Name) + suffix
	}
	return quoteName(t.Schema) + "." + quoteName(t.Name) + suffix
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// quoteName is an identifier as it must be written.
func quoteName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
