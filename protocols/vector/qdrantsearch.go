package vector

import (
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// The members that each kind of search may have.
var (
	queryMembers     = []string{"shard_key", "prefetch", "query", "using", "filter", "params", "score_threshold", "limit", "offset", "with_vector", "with_vectors", "with_payload", "lookup_from"}
	searchMembers    = []string{"shard_key", "vector", "filter", "params", "limit", "top", "offset", "with_vector", "with_vectors", "with_payload", "score_threshold"}
	recommendMembers = []string{"shard_key", "positive", "negative", "strategy", "filter", "params", "limit", "top", "offset", "with_vector", "with_vectors", "with_payload", "score_threshold", "using", "lookup_from"}
	discoverMembers  = []string{"shard_key", "target", "context", "filter", "params", "limit", "top", "offset", "with_vector", "with_vectors", "with_payload", "using", "lookup_from"}
	groupMembers     = []string{"group_by", "group_size", "with_lookup"}
)

// qdrantMatrix finds how far sampled points are from each other.
func qdrantMatrix(o *operation) error {
	_, table, err := o.reading(facts.Search, "SEARCH MATRIX", "shard_key", "filter", "sample", "limit", "using")
	if err != nil {
		return err
	}
	sample, err := number(o.body, 10, "sample")
	if err != nil {
		return err
	}
	limit, err := number(o.body, 3, "limit")
	if err != nil {
		return err
	}
	picks, err := o.filter(table, o.body.Get("filter"), "")
	e := o.last()
	e.Filtered, e.Limited = picks, true
	e.Limit, e.TopK = times(sample, limit), limit
	o.shape = envelope(obj(map[string]*shape{"pairs": passed, "offsets_row": passed, "offsets_col": passed, "scores": passed, "ids": passed}))
	return err
}

// times multiplies without overflow.
func times(a, b int64) int64 {
	if a > 0 && b > facts.NoLimit/a {
		return facts.NoLimit
	}
	return a * b
}

// search reads one search of a request, and begins its effect.
func (o *operation) search(name facts.Name, table int, v *httpgate.Value, verb string) (orderBy string, cols []facts.ColumnRef, err error) {
	if cols, err = o.selected(table, v, false); err != nil {
		return "", nil, err
	}
	limit, err := number(v, 10, "limit", "top")
	if err != nil {
		return "", nil, err
	}
	picks, err := o.filter(table, v.Get("filter"), "")
	if err != nil {
		return "", nil, err
	}
	o.effect(facts.Search, verb, name)
	i := len(o.f.Effects) - 1
	topK := limit
	if v.Get("query").Null() && v.Get("vector").Null() && v.Get("positive").Null() && v.Get("target").Null() && v.Get("context").Null() && v.Get("prefetch").Null() {
		o.f.Effects[i].Action, topK = facts.Read, 0 // it is a scroll
	}
	if orderBy, err = o.query(table, v.Get("query")); err != nil {
		return "", nil, err
	}
	if orderBy != "" || v.Get("query").Get("sample").Has() {
		o.f.Effects[i].Action = facts.Read
	}
	deepest, err := o.prefetch(table, v.Get("prefetch"), i)
	if err != nil {
		return "", nil, err
	}
	if err := o.lookupFrom(v.Get("lookup_from"), i); err != nil {
		return "", nil, err
	}
	e := &o.f.Effects[i]
	e.Filtered, e.Columns = picks, cols
	e.Limited, e.Limit, e.TopK = true, limit, max(topK, deepest)
	return orderBy, cols, nil
}

// query notes what a query reads of payloads.
func (o *operation) query(table int, v *httpgate.Value) (orderBy string, err error) {
	if v.Kind != '{' {
		return "", nil // a vector, or a point's ID
	}
	for i, name := range v.Names {
		part := &v.Items[i]
		switch name {
		case "order_by":
			if orderBy, err = o.orderBy(table, part); err != nil {
				return "", err
			}
		case "formula", "defaults":
			o.formula(table, part, name == "defaults", false)
		case "nearest", "mmr", "recommend", "discover", "context", "fusion", "rrf", "sample", "relevance_feedback",
			"indices", "values", "text", "model", "options", "image", "object": // vectors, and what a model makes them of
		default:
			return "", refuse("the query %.40q is not known to the proxy", name)
		}
	}
	return orderBy, nil
}

// formula takes every string in a formula for a payload key: the score is
// computed from it, or where it names a place, from what is below.
func (o *operation) formula(table int, v *httpgate.Value, named, place bool) {
	add := func(s string) {
		path, err := qdrantPath(s)
		switch {
		case err != nil: // who knows what it names
			path = facts.PathAll
		case place:
			path += facts.PathBelow
		}
		o.uses(facts.UseOpaque, o.column(table, path), "a formula")
	}
	if v.Kind == '"' {
		add(v.Text)
	}
	place = place || slices.ContainsFunc(v.Names, func(name string) bool { return strings.HasPrefix(name, "geo_") })
	for i := range v.Items {
		if named {
			add(v.Names[i])
		}
		o.formula(table, &v.Items[i], false, place)
	}
}

// prefetch notes what the nested searches compare, and returns the most that
// one of them asks for.
func (o *operation) prefetch(table int, v *httpgate.Value, effect int) (deepest int64, err error) {
	list := v.Items
	if v.Kind == '{' {
		list = []httpgate.Value{*v}
	}
	for i := range list {
		p := &list[i]
		if v.Kind == '{' {
			p = v
		}
		if err := only(p, "a prefetch", "prefetch", "query", "using", "filter", "params", "score_threshold", "limit", "lookup_from"); err != nil {
			return 0, err
		}
		limit, err := number(p, 10, "limit")
		if err != nil {
			return 0, err
		}
		if _, err := o.filter(table, p.Get("filter"), ""); err != nil {
			return 0, err
		}
		if _, err := o.query(table, p.Get("query")); err != nil {
			return 0, err
		}
		if err := o.lookupFrom(p.Get("lookup_from"), effect); err != nil {
			return 0, err
		}
		below, err := o.prefetch(table, p.Get("prefetch"), effect)
		if err != nil {
			return 0, err
		}
		deepest = max(deepest, limit, below)
	}
	return deepest, nil
}

// lookupFrom notes another collection, whose vectors a search uses.
func (o *operation) lookupFrom(v *httpgate.Value, effect int) error {
	if v.Null() {
		return nil
	}
	if err := only(v, "lookup_from", "collection", "vector", "shard_key"); err != nil {
		return err
	}
	_, err := o.other(v.Get("collection"), effect)
	return err
}

// other is another collection that a request names, by its real name.
func (o *operation) other(v *httpgate.Value, effect int) (int, error) {
	if v.Kind != '"' || v.Text == "" {
		return 0, refuse("a collection's name must be a string")
	}
	real, err := o.qdrantName(v.Text)
	if err != nil {
		return 0, err
	}
	if real != v.Text {
		return 0, refuse("inside of a request a collection is named by its own name: %.60q is an alias", v.Text)
	}
	name := facts.Name{Name: real}
	e := &o.f.Effects[effect]
	e.Objects = append(e.Objects, facts.Object{Kind: "collection", Name: name})
	return o.table(name), nil
}

func qdrantSearch(verb string, members []string, batch bool) func(o *operation) error {
	return func(o *operation) error {
		name, err := o.collection()
		if err != nil {
			return err
		}
		table := o.table(name)
		known := members
		if batch {
			known = []string{"searches"}
		}
		if err := o.readJSON(known...); err != nil {
			return err
		}
		searches := []*httpgate.Value{o.body}
		if batch {
			list := o.body.Get("searches")
			if list.Kind != '[' || len(list.Items) != list.Count {
				return refuse("searches must be a list")
			}
			searches = nil
			for i := range list.Items {
				if err := only(&list.Items[i], "a search", members...); err != nil {
					return err
				}
				searches = append(searches, &list.Items[i])
			}
			if len(searches) == 0 {
				o.effect(facts.Search, verb, name)
			}
		}
		var shown []facts.ColumnRef
		var orderBy string
		total := int64(0)
		for _, v := range searches {
			by, cols, err := o.search(name, table, v, verb)
			if err != nil {
				return err
			}
			if by != "" && orderBy != "" && by != orderBy {
				return refuse("the searches of a batch are ordered by different keys")
			}
			orderBy = max(orderBy, by)
			if n := o.last().Limit; n < facts.NoLimit-total {
				total += n
			} else {
				total = facts.NoLimit
			}
			for _, c := range o.ordered(table, cols, by) {
				if !slices.Contains(shown, c) {
					shown = append(shown, c)
				}
			}
		}
		for i := range o.f.Effects { // many small searches are a large one
			o.f.Effects[i].Limit = max(o.f.Effects[i].Limit, total)
		}
		o.result("point", shown...)
		// The older searches answer with a bare list.
		o.shape = o.searched(shapeKey{collection: name.Name, orderBy: orderBy, bare: verb != "QUERY", batch: batch})
		return nil
	}
}

func qdrantGroups(verb string, members []string) func(o *operation) error {
	return func(o *operation) error {
		name, err := o.collection()
		if err != nil {
			return err
		}
		table := o.table(name)
		if err := o.readJSON(append(slices.Clone(members), groupMembers...)...); err != nil {
			return err
		}
		_, cols, err := o.search(name, table, o.body, verb)
		if err != nil {
			return err
		}
		path, err := qdrantPath(o.body.Get("group_by").Text)
		if err != nil {
			return err
		}
		by := o.column(table, path)
		o.uses(facts.UseEqual, by, "group_by")
		size, err := number(o.body, 3, "group_size")
		if err != nil {
			return err
		}
		e := o.last()
		e.Limit = times(e.Limit, size)
		e.Columns = append(cols[:len(cols):len(cols)], by)
		shown := e.Columns
		id := &shape{kind: value, collection: name.Name, path: path}
		group := obj(map[string]*shape{"hits": {kind: array, row: true, elem: point(name.Name, "")}, "id": id})
		if lookup := o.body.Get("with_lookup"); !lookup.Null() {
			var found *shape
			if found, shown, err = o.withLookup(lookup, shown); err != nil {
				return err
			}
			// The points are looked up by the groups' values: it is a join with IDs,
			// and their IDs are the values.
			o.uses(facts.UseCompare, by, "with_lookup, which looks for points by the groups' values")
			found.replace("id", id)
			group.set("lookup", found)
		}
		o.f.Texts = true
		o.result("point", shown...)
		o.shape = envelope(obj(map[string]*shape{"groups": list(group)}))
		return nil
	}
}

// withLookup notes a second collection, whose points stand beside the groups.
func (o *operation) withLookup(v *httpgate.Value, shown []facts.ColumnRef) (*shape, []facts.ColumnRef, error) {
	name := v
	if v.Kind == '{' {
		if err := only(v, "with_lookup", append([]string{"collection"}, selectMembers...)...); err != nil {
			return nil, nil, err
		}
		name = v.Get("collection")
	}
	table, err := o.other(name, len(o.f.Effects)-1)
	if err != nil {
		return nil, nil, err
	}
	all := &httpgate.Value{}
	if v.Kind == '{' {
		all = v
	}
	cols, err := o.selected(table, all, true)
	if err != nil {
		return nil, nil, err
	}
	e := o.last()
	e.Columns = append(e.Columns, cols...)
	return point(o.f.Tables[table].Name.Name, ""), append(shown, cols...), nil
}
