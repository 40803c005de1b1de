package pgfacts

import (
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// copy is COPY in all its forms.
func (o *one) copy(c *pg_query.CopyStmt) error {
	format, force, err := copyFormat(c)
	if err != nil {
		return err
	}
	e := facts.Effect{Action: facts.Copy, Verb: "COPY TO", Limit: facts.NoLimit}
	if c.IsFrom {
		e.Verb = "COPY FROM"
	}
	if c.IsProgram || c.Filename != "" {
		what := "COPY with a file of the server's"
		if c.IsProgram {
			what = "COPY with a program on the server"
		}
		o.use(facts.Use{Kind: facts.UseCode, Name: "COPY PROGRAM", What: what, At: -1})
	} else {
		o.f.Copy = format
	}
	var out []facts.Output
	switch {
	case c.Query != nil:
		if out, err = o.queries(c.Query, nil); err != nil {
			return err
		}
		o.f.Effects = append([]facts.Effect{e}, o.f.Effects...)
	case c.IsFrom:
		if err := o.copyFrom(c, e); err != nil {
			return err
		}
	default:
		// As the SELECT of its columns would be.
		if out, err = o.queries(o.selectOf(c), nil); err != nil {
			return err
		}
		for i := range o.f.Effects {
			e.Objects = append(e.Objects, o.f.Effects[i].Objects...)
		}
		o.f.Effects = append([]facts.Effect{e}, o.f.Effects...)
	}
	if !c.IsFrom && o.f.Copy != nil {
		o.f.Outputs = out
		if force != nil {
			format.ForceQuote = make([]bool, len(out))
			for i, x := range out {
				format.ForceQuote[i] = force["*"] || force[x.Name]
			}
		}
	}
	return nil
}

// selectOf is the query that COPY of a table stands for: without a list, of
// all columns but generated ones.
//
// Source: CopyGetAttnums in postgres/src/backend/commands/copy.c.
func (o *one) selectOf(c *pg_query.CopyStmt) *pg_query.Node {
	list := c.Attlist
	if r := o.view.Relation(c.Relation.Schemaname, c.Relation.Relname); r != nil && len(list) == 0 {
		for _, col := range r.Columns {
			if col.Generated == "" {
				list = append(list, pg_query.MakeStrNode(col.Name))
			}
		}
	}
	fields := [][]*pg_query.Node{}
	for _, a := range list {
		fields = append(fields, []*pg_query.Node{a})
	}
	s := &pg_query.SelectStmt{LimitOption: pg_query.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg_query.SetOperation_SETOP_NONE,
		FromClause: []*pg_query.Node{{Node: &pg_query.Node_RangeVar{RangeVar: c.Relation}}}}
	for _, f := range fields {
		s.TargetList = append(s.TargetList, &pg_query.Node{Node: &pg_query.Node_ResTarget{ResTarget: &pg_query.ResTarget{
			Val: &pg_query.Node{Node: &pg_query.Node_ColumnRef{ColumnRef: &pg_query.ColumnRef{Fields: f, Location: c.Relation.Location}}}, Location: c.Relation.Location}}})
	}
	return &pg_query.Node{Node: &pg_query.Node_SelectStmt{SelectStmt: s}}
}

// copyFrom writes the client's rows, as an INSERT of parameters does: keys
// are compared and triggers run.
func (o *one) copyFrom(c *pg_query.CopyStmt, e facts.Effect) error {
	r := o.view.Relation(c.Relation.Schemaname, c.Relation.Relname)
	if r == nil {
		p := undefinedRelation(c.Relation)
		p.At = -1 // PostgreSQL has no position for COPY's table
		return p
	}
	cols := names(c.Attlist)
	if len(cols) == 0 {
		for _, col := range r.Columns {
			if col.Generated == "" {
				cols = append(cols, col.Name)
			}
		}
	}
	o.copied(r, cols)
	if o.problem != nil {
		return o.problem
	}
	if c.WhereClause != nil {
		// It sees the client's rows, not the table's; functions still count.
		walk(c.WhereClause, func(n *pg_query.Node) bool {
			if f := n.GetFuncCall(); f != nil {
				name := strings.Join(names(f.Funcname), ".")
				o.use(facts.Use{Kind: facts.UseCode, Name: name, What: "COPY's WHERE", At: -1})
			}
			return true
		})
	}
	e.Objects = []facts.Object{relationObject(r)}
	o.effect(e)
	w := e
	w.Action, w.Verb = facts.Insert, "COPY FROM"
	o.effect(w)
	return nil
}

func undefinedRelation(rv *pg_query.RangeVar) *facts.Problem {
	name := rv.Relname
	if rv.Schemaname != "" {
		name = rv.Schemaname + "." + name
	}
	return &facts.Problem{Code: "42P01", At: int(rv.Location), Undefined: true, Message: "relation \"" + name + "\" does not exist"}
}

// copyFormat reads COPY's options.
//
// Source: ProcessCopyOptions in postgres/src/backend/commands/copy.c.
func copyFormat(c *pg_query.CopyStmt) (f *facts.CopyFormat, force map[string]bool, err error) {
	f = &facts.CopyFormat{In: c.IsFrom, Format: "text"}
	null, set := "", map[string]bool{}
	for _, n := range c.Options {
		d := n.GetDefElem()
		v := d.GetArg().GetString_().GetSval()
		set[d.Defname] = true
		switch d.Defname {
		case "format":
			f.Format = v
		case "delimiter", "quote", "escape":
			if len(v) != 1 {
				return nil, nil, notUnderstood("COPY's "+d.Defname, -1)
			}
			*map[string]*byte{"delimiter": &f.Delimiter, "quote": &f.Quote, "escape": &f.Escape}[d.Defname] = v[0]
		case "null":
			null = v
		case "header":
			f.Header = optionOn(d, v)
		case "force_quote":
			force = map[string]bool{}
			for _, x := range d.GetArg().GetList().GetItems() {
				force[x.GetString_().GetSval()] = true
			}
			if d.GetArg().GetAStar() != nil {
				force["*"] = true
			}
		case "encoding":
			if u := strings.ToLower(v); u != "utf8" && u != "utf-8" {
				return nil, nil, &facts.Problem{Code: "0A000", At: -1, Message: "COPY in another encoding than UTF8 does not pass the proxy"}
			}
		case "freeze", "force_not_null", "force_null", "default", "on_error", "log_verbosity", "reject_limit":
		default:
			return nil, nil, notUnderstood("COPY's option "+d.Defname, -1)
		}
	}
	csv := f.Format == "csv"
	if f.Format != "text" && f.Format != "binary" && !csv {
		return nil, nil, notUnderstood("COPY's format "+f.Format, -1)
	}
	if f.Delimiter == 0 && f.Format != "binary" {
		f.Delimiter = '\t'
		if csv {
			f.Delimiter = ','
		}
	}
	if csv {
		if f.Quote == 0 {
			f.Quote = '"'
		}
		if f.Escape == 0 {
			f.Escape = f.Quote
		}
	}
	f.Null = null
	if !set["null"] && !csv {
		f.Null = `\N`
	}
	return f, force, nil
}

func optionOn(d *pg_query.DefElem, v string) bool {
	if d.GetArg() == nil {
		return true
	}
	if i := d.GetArg().GetInteger(); i != nil {
		return i.Ival != 0
	}
	if b := d.GetArg().GetBoolean(); b != nil {
		return b.Boolval
	}
	v = strings.ToLower(v)
	return v == "true" || v == "on" || v == "match"
}
