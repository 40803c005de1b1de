package myfacts

import (
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// ownEffects gives its effects to a statement that is read by its words.
func (o *one) ownEffects() {
	l, s := o.s.lexed, o.s
	verb := s.own
	effect := func(a facts.Action) { o.effect(facts.Effect{Action: a, Verb: verb, Objects: o.tableList()}) }
	code := func(what string) {
		o.ledger.Code(nowhere, strings.ToLower(verb), what)
		o.changes().ReloadSession, o.changes().ReloadSchema = true, true
		o.changes().Forget = []string{""}
	}
	kind := ""
	if w, k, ok := strings.Cut(verb, " "); ok && (w == "CREATE" || w == "ALTER" || w == "DROP") {
		kind = k
	}
	switch {
	case verb == "SHOW":
		o.show()
	case verb == "KILL":
		o.kill()
	case verb == "BEGIN NOT ATOMIC":
		code("a compound statement")
		effect(facts.Call)
		o.f.OpenResults = true
	case kind == "PROCEDURE" || kind == "FUNCTION" || kind == "PACKAGE":
		o.routine(kind)
	case kind == "TRIGGER" || kind == "EVENT":
		code("what a " + strings.ToLower(kind) + " runs with its definer's rights")
		o.effect(facts.Effect{Action: facts.DDL, Verb: verb, Destructive: strings.HasPrefix(verb, "DROP")})
	case kind == "SEQUENCE":
		o.effect(facts.Effect{Action: facts.DDL, Verb: verb, Destructive: strings.HasPrefix(verb, "DROP")})
		o.changes().ReloadSchema = true
	case kind == "USER" || kind == "ROLE" || verb == "GRANT" || verb == "REVOKE" || verb == "RENAME" || verb == "SET PASSWORD" || verb == "SET DEFAULT" || verb == "SET ROLE":
		if (kind == "USER" || verb == "SET PASSWORD") && o.ownAccount() {
			o.fail(&facts.Problem{Code: "0A000", At: -1, Message: "changing the account that the proxy itself logs in with does not pass the proxy",
				Hint: "Whoever has its password needs no proxy: change it on the server, and then in the proxy's configuration."})
			return
		}
		o.effect(facts.Effect{Action: facts.Privilege, Verb: strings.TrimSuffix(verb, " DEFAULT")})
		o.changes().ReloadSession, o.changes().ReloadSchema = true, true
	case kind != "":
		o.effect(facts.Effect{Action: facts.Admin, Verb: verb})
	case verb == "SET TRANSACTION", verb == "XA", verb == "UNLOCK":
		o.effect(facts.Effect{Action: facts.Transaction, Verb: verb})
		o.f.OpenResults = l.word(s.first+1) == "RECOVER"
	case verb == "LOCK":
		effect(facts.Transaction)
	case verb == "SIGNAL" || verb == "RESIGNAL":
		o.effect(facts.Effect{Action: facts.SessionSet, Verb: verb})
	case verb == "GET":
		o.getDiagnostics()
	case verb == "CHECKSUM":
		for _, r := range o.tablesNamed() {
			o.opaqueUnless(nowhere, "CHECKSUM TABLE", typ{}, columnValues(o.scan(r).columns)...)
		}
		effect(facts.Read)
		o.f.OpenResults = true
	case verb == "HELP":
		o.effect(facts.Effect{Action: facts.Read, Verb: verb})
		o.f.OpenResults = true
	default: // ANALYZE, CHECK, OPTIMIZE, REPAIR, FLUSH, CACHE, RESET
		effect(facts.Admin)
		o.f.OpenResults = true
	}
}

// ownAccount says that a statement about accounts is about the one that the
// session has upstream.
func (o *one) ownAccount() bool {
	l := o.s.lexed
	name, _, _ := strings.Cut(o.view.Role, "@")
	named := false
	for i := o.s.first + 2; i < o.s.last; i++ {
		t := l.tokens[i]
		named = named || l.word(i) == "FOR"
		if l.word(i) == "CURRENT_USER" || l.word(i) == "USER" && l.punct(i+1, '(') {
			return true
		}
		if (t.kind == tokWord || t.kind == tokQuoted || t.kind == tokString) && unquote(l.text[t.from:t.to]) == name {
			return true
		}
	}
	return o.s.own == "SET PASSWORD" && !named
}

// kill must name its session by number: the wire maps it.
func (o *one) kill() {
	l := o.s.lexed
	i := o.s.first + 1
	for w := l.word(i); w == "HARD" || w == "SOFT" || w == "CONNECTION" || w == "QUERY"; w = l.word(i) {
		i++
	}
	if i+1 != o.s.last || l.tokens[i].kind != tokNumber {
		o.fail(notUnderstood("KILL of anything but a session's number", o.s.from))
		return
	}
	o.effect(facts.Effect{Action: facts.Admin, Verb: "KILL"})
}

func (o *one) getDiagnostics() {
	o.effect(facts.Effect{Action: facts.SessionSet, Verb: "GET DIAGNOSTICS"})
	o.changes().Forget = []string{""}
	if o.view.Settings.Get(settingDiagnostics) == "classed" {
		v := value{}
		v.Flow = o.statistic(diagnostics, "MESSAGE")
		o.opaque(nowhere, "GET DIAGNOSTICS", typ{}, v)
	}
}

// routine is DDL of a procedure or a function: what it does is judged when it
// is called.
func (o *one) routine(kind string) {
	l := o.s.lexed
	e := facts.Effect{Action: facts.DDL, Verb: o.s.own, Destructive: strings.HasPrefix(o.s.own, "DROP") || l.word(o.s.first+1) == "OR"}
	for i := o.s.first; i < o.s.last; i++ {
		if l.word(i) != kind {
			continue
		}
		for i++; l.word(i) == "IF" || l.word(i) == "NOT" || l.word(i) == "EXISTS" || l.word(i) == "BODY"; {
			i++
		}
		if n := o.nameAt(i); n.Name != "" {
			e.Objects = []facts.Object{{Kind: strings.ToLower(kind), Name: n}}
		}
		break
	}
	if len(e.Objects) == 0 {
		o.fail(notUnderstood("this "+o.s.own, o.s.from))
		return
	}
	o.effect(e)
	o.changes().ReloadSchema = true
}

// nameAt reads a qualified name at a token.
func (o *one) nameAt(i int) facts.Name {
	l := o.s.lexed
	part := func(i int) string {
		if i >= o.s.last || l.tokens[i].kind != tokWord && l.tokens[i].kind != tokQuoted {
			return ""
		}
		return unquote(l.text[l.tokens[i].from:l.tokens[i].to])
	}
	n := facts.Name{Schema: o.database(), Name: part(i)}
	if l.punct(i+1, '.') {
		n.Schema, n.Name = n.Name, part(i+2)
	}
	return n
}

// tablesNamed are the tables that a statement's words name after TABLE.
func (o *one) tablesNamed() (out []*catalog.Relation) {
	l := o.s.lexed
	for i := o.s.first; i < o.s.last; i++ {
		w := l.word(i)
		if len(out) > 0 && (w == "ON" || w == "PERSISTENT") {
			break // columns follow
		}
		if w == "TABLE" || w == "TABLES" || len(out) > 0 && l.punct(i, ',') {
			n := o.nameAt(i + 1)
			if n.Name == "" {
				continue
			}
			t := &ast.TableName{Schema: ast.NewCIStr(n.Schema), Name: ast.NewCIStr(n.Name)}
			if r := o.relation(t); r != nil {
				out = append(out, r)
			}
		}
	}
	return out
}

func (o *one) tableList() (out []facts.Object) {
	switch o.s.own {
	case "CHECKSUM", "CHECK", "REPAIR", "OPTIMIZE", "ANALYZE", "LOCK":
		for _, r := range o.tablesNamed() {
			o.table(r)
			out = append(out, relationObject(r))
		}
	}
	return out
}

// show is SHOW. What tells of values beside rows is masked or refused where a
// class binds the identity; the rest is the schema's.
func (o *one) show() {
	l, i := o.s.lexed, o.s.first+1
	for w := l.word(i); w == "FULL" || w == "GLOBAL" || w == "SESSION" || w == "LOCAL" || w == "EXTENDED" || w == "ALL" || w == "EXPLAIN" && l.word(i+1) != "FOR"; w = l.word(i) {
		i++
	}
	if p := o.showCondition(); p != nil {
		o.fail(p)
		return
	}
	w := l.word(i)
	verb := strings.TrimSpace("SHOW " + w)
	o.effect(facts.Effect{Action: facts.Read, Verb: verb})
	classed := o.view.Settings.Get(settingDiagnostics) == "classed"
	outputs := func(table, names string, told ...string) {
		for _, n := range strings.Fields(names) {
			out := facts.Output{Name: n}
			for _, t := range told {
				if t == n {
					out.Sources = o.statistic(table, strings.ToUpper(n))
				}
			}
			o.f.Outputs = append(o.f.Outputs, out)
		}
	}
	opaque := func() {
		v := value{}
		v.Flow = o.statistic("SESSION_STATUS", "VARIABLE_VALUE")
		o.opaque(nowhere, verb, typ{}, v)
		o.f.OpenResults = true
	}
	if t := showTold[w]; t != "" && o.showWhere(t) {
		v := value{}
		v.Flow = o.statistic("SESSION_STATUS", "VARIABLE_VALUE")
		o.opaque(nowhere, "WHERE over what "+verb+" tells", typ{}, v)
	}
	switch w {
	case "WARNINGS", "ERRORS":
		if classed {
			outputs(diagnostics, "Level Code Message", "Message")
			return
		}
		outputs(diagnostics, "Level Code Message")
	case "COUNT":
		if classed {
			outputs(diagnostics, "count", "count")
			return
		}
		outputs(diagnostics, "count")
	case "STATUS":
		outputs("SESSION_STATUS", "Variable_name VARIABLE_VALUE", "VARIABLE_VALUE")
	case "TABLE":
		o.showTables(outputs, opaque, l.word(i+1))
	case "INDEX", "INDEXES", "KEYS":
		names := "Table Non_unique Key_name Seq_in_index Column_name Collation CARDINALITY Sub_part Packed Null Index_type Comment Index_comment "
		if o.d.mariadb {
			names += "Ignored"
		} else {
			names += "Visible Expression"
		}
		outputs("STATISTICS", names, "CARDINALITY")
	case "PROCESSLIST":
		names := "Id User Host db Command Time State INFO"
		if o.d.mariadb {
			names += " Progress"
		}
		outputs("PROCESSLIST", names, "INFO")
	case "TABLES", "DATABASES", "SCHEMAS", "COLUMNS", "FIELDS", "CREATE", "GRANTS", "VARIABLES", "COLLATION", "CHARACTER", "CHARSET", "ENGINES", "STORAGE",
		"PLUGINS", "PRIVILEGES", "TRIGGERS", "EVENTS", "PROCEDURE", "FUNCTION", "CONTRIBUTORS", "AUTHORS", "PACKAGE":
		if (w == "PROCEDURE" || w == "FUNCTION") && l.word(i+1) == "CODE" {
			opaque()
			return
		}
		o.f.OpenResults = true
	default:
		opaque()
	}
}

// showTold are the columns by which SHOW tells of values, by its first word.
var showTold = map[string]string{
	"STATUS": "VALUE VARIABLE_VALUE", "INDEX": "CARDINALITY", "INDEXES": "CARDINALITY", "KEYS": "CARDINALITY",
	"TABLE": "ROWS TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH MAX_DATA_LENGTH INDEX_LENGTH MAX_INDEX_LENGTH DATA_FREE UPDATE_TIME CHECKSUM",
}

// showWhere says that the WHERE of a SHOW names one of those columns.
func (o *one) showWhere(told string) bool {
	l := o.s.lexed
	where := false
	for i := o.s.first; i < o.s.last; i++ {
		switch {
		case l.word(i) == "WHERE":
			where = true
		case where && (l.tokens[i].kind == tokWord || l.tokens[i].kind == tokQuoted):
			if slices.Contains(strings.Fields(told), strings.ToUpper(unquote(l.text[l.tokens[i].from:l.tokens[i].to]))) {
				return true
			}
		}
	}
	return false
}

// showTables is SHOW TABLE STATUS.
func (o *one) showTables(outputs func(string, string, ...string), opaque func(), next string) {
	if next != "STATUS" {
		opaque()
		return
	}
	names := "Name Engine Version Row_format TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH MAX_DATA_LENGTH INDEX_LENGTH DATA_FREE Auto_increment Create_time " +
		"UPDATE_TIME Check_time Collation CHECKSUM Create_options Comment"
	if o.d.mariadb {
		names += " MAX_INDEX_LENGTH Temporary"
	}
	for _, n := range strings.Fields(names) {
		out := facts.Output{Name: n}
		if n == strings.ToUpper(n) {
			out.Sources = o.statistic("TABLES", "TABLE_ROWS")
		}
		o.f.Outputs = append(o.f.Outputs, out)
	}
}

// showCondition refuses a WHERE that could run more than a comparison.
func (o *one) showCondition() *facts.Problem {
	l := o.s.lexed
	for i := o.s.first + 1; i < o.s.last; i++ {
		switch w := l.word(i); {
		case w == "SELECT" || w == "WITH" || l.punct(i, '@'):
			return notUnderstood("this SHOW", l.tokens[i].from)
		case l.punct(i, '('):
			switch p := l.word(i - 1); {
			case p == "IN" || p == "AND" || p == "OR" || p == "NOT" || p == "WHERE" || p == "COUNT" || l.punct(i-1, '('):
			case natives[strings.ToLower(p)] && o.stored("", strings.ToLower(p)) == "" && p != "LOAD_FILE":
			default:
				return notUnderstood("this SHOW", l.tokens[i].from)
			}
		}
	}
	return nil
}
