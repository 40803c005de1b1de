package vector

import (
	"regexp"
	"slices"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// reading starts a read of the path's collection by its ID.
func (o *operation) records(action facts.Action, verb string, members ...string) (facts.Name, int, error) {
	if err := o.readJSON(members...); err != nil {
		return facts.Name{}, 0, err
	}
	name, err := o.chromaID(7)
	if err != nil {
		return facts.Name{}, 0, err
	}
	table := o.table(name)
	o.effect(action, verb, name)
	return name, table, nil
}

func chromaCount(verb string) func(o *operation) error {
	return func(o *operation) error {
		_, _, err := o.records(facts.Read, verb)
		if err != nil {
			return err
		}
		o.last().Limited, o.last().Limit = true, 1
		o.shape = passed
		return o.noBody()
	}
}

// included are the columns of what is asked for, and the answer's shape.
// nested answers have a list a query.
func (o *operation) included(name facts.Name, table int, nested bool, otherwise ...string) (*shape, []facts.ColumnRef, error) {
	want := otherwise
	if list := o.body.Get("include"); !list.Null() {
		want = nil
		for i := range list.Items {
			want = append(want, list.Items[i].Text)
		}
		if list.Kind != '[' {
			return nil, nil, refuse("include must be a list")
		}
	}
	column := func(cell string, elem *shape) *shape {
		s := &shape{kind: array, cell: cell, elem: elem}
		if nested {
			return list(s)
		}
		return s
	}
	ids := &shape{kind: array, row: true, cell: "ids", elem: passed}
	if nested {
		ids = list(ids)
	}
	fields := map[string]*shape{"ids": ids, "include": passed, "distances": column("distances", passed)}
	fields["metadatas"] = column("metadatas", &shape{kind: payload, collection: name.Name})
	fields["documents"] = column("documents", &shape{kind: value, collection: name.Name, path: chromaDocument})
	fields["uris"] = column("uris", &shape{kind: value, collection: name.Name, path: chromaURI})
	fields["embeddings"] = &shape{kind: vector, collection: name.Name, cell: "embeddings", elem: column("embeddings", passed)}
	var cols []facts.ColumnRef
	for _, w := range want {
		switch w {
		case "metadatas":
			cols = append(cols, o.column(table, facts.PathAll))
		case "documents":
			cols = append(cols, o.column(table, chromaDocument))
		case "uris":
			cols = append(cols, o.column(table, chromaURI))
		case "embeddings":
			cols = append(cols, o.column(table, facts.PathVector))
		case "distances", "data":
		default:
			return nil, nil, refuse("include has %.40q, which is not known to the proxy", w)
		}
	}
	o.f.Texts = true
	o.result("field")
	o.result("value", cols...)
	return obj(fields), cols, nil
}

func chromaQuery(o *operation) error {
	name, table, err := o.records(facts.Search, "QUERY", "query_embeddings", "n_results", "where", "where_document", "ids", "include")
	if err != nil {
		return err
	}
	var cols []facts.ColumnRef
	if o.shape, cols, err = o.included(name, table, true, "metadatas", "documents", "distances"); err != nil {
		return err
	}
	picks, err := o.wheres(table)
	if err != nil {
		return err
	}
	n, err := number(o.body, 10, "n_results")
	queries := max(1, int64(o.body.Get("query_embeddings").Count))
	e := o.last()
	e.Columns, e.Filtered, e.Limited = cols, picks || o.body.Get("ids").Count > 0, true
	e.Limit, e.TopK = times(n, queries), n
	return err
}

func chromaGet(o *operation) error {
	name, table, err := o.records(facts.Read, "GET", "ids", "where", "where_document", "limit", "offset", "include")
	if err != nil {
		return err
	}
	var cols []facts.ColumnRef
	if o.shape, cols, err = o.included(name, table, false, "metadatas", "documents"); err != nil {
		return err
	}
	picks, err := o.wheres(table)
	if err != nil {
		return err
	}
	limit, err := number(o.body, facts.NoLimit, "limit")
	if ids := o.body.Get("ids"); !ids.Null() {
		limit, picks = min(limit, int64(ids.Count)), picks || ids.Count > 0
		if ids.Count == 0 { // an empty list is no list
			limit = facts.NoLimit
		}
	}
	e := o.last()
	e.Columns, e.Filtered, e.Limited, e.Limit = cols, picks, limit != facts.NoLimit, limit
	return err
}

// chromaWrite names each record by its ID.
func chromaWrite(verb string, actions ...facts.Action) func(o *operation) error {
	return func(o *operation) error {
		if err := o.readJSON("ids", "embeddings", "documents", "metadatas", "uris"); err != nil {
			return err
		}
		name, err := o.chromaID(7)
		if err != nil {
			return err
		}
		table := o.table(name)
		for _, a := range actions {
			e := o.effect(a, verb, name)
			e.Filtered = true
		}
		for field, path := range map[string]string{"documents": chromaDocument, "uris": chromaURI, "metadatas": ""} {
			list := o.body.Get(field)
			for i := range list.Items {
				o.stored(table, &list.Items[i], path)
			}
		}
		o.shape = passed
		return nil
	}
}

func chromaDelete(o *operation) error {
	_, table, err := o.records(facts.Delete, "DELETE", "ids", "where", "where_document", "limit")
	if err != nil {
		return err
	}
	picks, err := o.wheres(table)
	ids := o.body.Get("ids")
	if ids.Has() && ids.Kind != '[' && ids.Kind != 'n' {
		return refuse("ids must be a list")
	}
	o.last().Filtered = picks || ids.Count > 0
	o.shape = passed
	return err
}

// wheres notes both filters of a request and says whether they pick records.
func (o *operation) wheres(table int) (picks bool, err error) {
	if picks, err = o.where(table, o.body.Get("where")); err != nil {
		return false, err
	}
	also, err := o.whereDocument(table, o.body.Get("where_document"))
	return picks || also, err
}

func (o *operation) where(table int, v *httpgate.Value) (picks bool, err error) {
	if v.Null() {
		return false, nil
	}
	if v.Kind != '{' {
		return false, refuse("where must be an object")
	}
	for i, name := range v.Names {
		test := &v.Items[i]
		if name == "$and" || name == "$or" {
			yes, err := o.both(test, name == "$or", func(e *httpgate.Value) (bool, error) { return o.where(table, e) })
			if err != nil {
				return false, err
			}
			picks = picks || yes
			continue
		}
		if name == "" || name[0] == '$' {
			return false, refuse("the condition %.40q is not known to the proxy", name)
		}
		yes, err := o.compares(o.column(table, name), test)
		if err != nil {
			return false, err
		}
		picks = picks || yes
	}
	return picks, nil
}

// both reads a list of conditions: of which one must pick, or where any may
// hold, all.
func (o *operation) both(v *httpgate.Value, any bool, read func(*httpgate.Value) (bool, error)) (bool, error) {
	if v.Kind != '[' || len(v.Items) != v.Count {
		return false, refuse("$and and $or must have a list")
	}
	picking := 0
	for i := range v.Items {
		yes, err := read(&v.Items[i])
		if err != nil {
			return false, err
		}
		if yes {
			picking++
		}
	}
	if any {
		return v.Count > 0 && picking == v.Count, nil
	}
	return picking > 0, nil
}

// compares notes one key's conditions.
func (o *operation) compares(ref facts.ColumnRef, v *httpgate.Value) (picks bool, err error) {
	if v.Kind != '{' { // short for $eq
		o.uses(facts.UseEqual, ref, "a filter")
		o.constant(v, ref)
		return true, nil
	}
	for i, op := range v.Names {
		to := &v.Items[i]
		o.constant(to, ref)
		switch op {
		case "$eq", "$ne", "$in":
			o.uses(facts.UseEqual, ref, "a filter")
			picks = true
		case "$nin":
			o.uses(facts.UseEqual, ref, "a filter")
			picks = picks || to.Count > 0
		case "$gt", "$gte", "$lt", "$lte":
			o.uses(facts.UseCompare, ref, "a filter by range")
			picks = true
		case "$contains", "$not_contains", "$regex", "$not_regex":
			o.uses(facts.UseCompare, ref, "a text filter")
			picks = picks || textPicks(op, to)
		default:
			return false, refuse("the condition %.40q is not known to the proxy", op)
		}
	}
	return picks, nil
}

// textPicks says whether a text condition can tell texts apart. An expression
// that fits texts that have nothing in common fits any.
func textPicks(op string, to *httpgate.Value) bool {
	if op == "$contains" || op == "$not_contains" {
		return to.Text != ""
	}
	re, err := regexp.Compile(to.Text)
	return err == nil && !re.MatchString("") && !(re.MatchString("a") && re.MatchString("7") && re.MatchString("Ω, – x"))
}

func (o *operation) whereDocument(table int, v *httpgate.Value) (picks bool, err error) {
	if v.Null() {
		return false, nil
	}
	if v.Kind != '{' {
		return false, refuse("where_document must be an object")
	}
	ref := o.column(table, chromaDocument)
	for i, op := range v.Names {
		to := &v.Items[i]
		var yes bool
		switch {
		case op == "$and" || op == "$or":
			yes, err = o.both(to, op == "$or", func(e *httpgate.Value) (bool, error) { return o.whereDocument(table, e) })
		case slices.Contains([]string{"$contains", "$not_contains", "$regex", "$not_regex"}, op):
			o.uses(facts.UseCompare, ref, "a text filter")
			o.constant(to, ref)
			yes = textPicks(op, to)
		default:
			err = refuse("the condition %.40q is not known to the proxy", op)
		}
		if err != nil {
			return false, err
		}
		picks = picks || yes
	}
	return picks, nil
}
