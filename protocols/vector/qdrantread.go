package vector

import (
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// selectMembers say what an answer shows of points.
var selectMembers = []string{"with_payload", "with_vector", "with_vectors"}

// number reads a whole number under one of its names, or its default.
func number(v *httpgate.Value, otherwise int64, names ...string) (int64, error) {
	found := otherwise
	seen := false
	for _, name := range names {
		m := v.Get(name)
		if m.Null() {
			continue
		}
		n, ok := m.Int()
		if !ok || seen {
			return 0, refuse("%s must be a whole number, given once", name)
		}
		found, seen = n, true
	}
	return found, nil
}

// selected are the columns of what an answer shows of a collection's points.
func (o *operation) selected(table int, v *httpgate.Value, payloads bool) ([]facts.ColumnRef, error) {
	var out []facts.ColumnRef
	vectors := v.Get("with_vector")
	if other := v.Get("with_vectors"); other.Has() {
		if vectors.Has() {
			return nil, refuse("with_vector is given twice")
		}
		vectors = other
	}
	if !vectors.Null() && vectors.Kind != 'f' && (vectors.Kind != '[' || vectors.Count > 0) {
		out = append(out, o.column(table, facts.PathVector))
	}
	p := v.Get("with_payload")
	switch p.Kind {
	case 0, 'n':
	case 't', 'f':
		payloads = p.Kind == 't'
	case '[':
		return o.paths(table, out, p)
	case '{':
		if err := only(p, "with_payload", "include", "exclude"); err != nil {
			return nil, err
		}
		if in := p.Get("include"); !in.Null() {
			return o.paths(table, out, in)
		}
		payloads = true
	default:
		return nil, refuse("with_payload is not understood")
	}
	if payloads {
		o.f.Texts = true
		out = append(out, o.column(table, facts.PathAll))
	}
	return out, nil
}

// paths are those of a list of payload keys, with all beneath them.
func (o *operation) paths(table int, out []facts.ColumnRef, list *httpgate.Value) ([]facts.ColumnRef, error) {
	o.f.Texts = true
	for i := range list.Items {
		path, err := qdrantPath(list.Items[i].Text)
		if err != nil {
			return nil, err
		}
		out = append(out, o.column(table, path+facts.PathBelow))
	}
	return out, nil
}

// reading starts a read of the path's collection.
func (o *operation) reading(action facts.Action, verb string, members ...string) (facts.Name, int, error) {
	if err := o.readJSON(members...); err != nil {
		return facts.Name{}, 0, err
	}
	name, err := o.collection()
	if err != nil {
		return facts.Name{}, 0, err
	}
	table := o.table(name)
	o.effect(action, verb, name)
	return name, table, nil
}

// last is the effect that was begun last.
func (o *operation) last() *facts.Effect { return &o.f.Effects[len(o.f.Effects)-1] }

func qdrantInfo(o *operation) error {
	name, _, err := o.reading(facts.Read, "DESCRIBE COLLECTION")
	if err != nil {
		return err
	}
	o.last().Limited, o.last().Limit = true, 1
	o.shape = envelope(obj(map[string]*shape{
		"status": passed, "optimizer_status": passed, "warnings": passed, "vectors_count": passed, "indexed_vectors_count": passed, "points_count": passed,
		"segments_count": passed, "config": passed, "update_queue": passed,
		"payload_schema": {kind: names, collection: name.Name, elem: passed},
	}))
	return o.noBody()
}

func qdrantExists(o *operation) error {
	_, _, err := o.reading(facts.Read, "DESCRIBE COLLECTION")
	if err != nil {
		return err
	}
	o.last().Limited, o.last().Limit = true, 1
	o.shape = envelope(passed)
	return o.noBody()
}

func qdrantGet(o *operation) error {
	name, table, err := o.reading(facts.Read, "GET POINTS", append([]string{"shard_key", "ids"}, selectMembers...)...)
	if err != nil {
		return err
	}
	cols, err := o.selected(table, o.body, true)
	e := o.last()
	e.Filtered, e.Columns = true, cols
	e.Limited, e.Limit = true, int64(o.body.Get("ids").Count)
	o.result("point", cols...)
	o.shape = envelope(&shape{kind: array, row: true, elem: point(name.Name, "")})
	return err
}

func qdrantGetOne(o *operation) error {
	name, err := o.collection()
	if err != nil {
		return err
	}
	table := o.table(name)
	o.f.Texts = true
	cols := []facts.ColumnRef{o.column(table, facts.PathVector), o.column(table, facts.PathAll)}
	e := o.effect(facts.Read, "GET POINTS", name)
	e.Filtered, e.Columns = true, cols
	e.Limited, e.Limit = true, 1
	o.result("point", cols...)
	s := point(name.Name, "")
	s.row = true
	o.shape = envelope(s)
	return o.noBody()
}

func qdrantScroll(o *operation) error {
	name, table, err := o.reading(facts.Read, "SCROLL", append([]string{"shard_key", "offset", "limit", "filter", "order_by"}, selectMembers...)...)
	if err != nil {
		return err
	}
	cols, err := o.selected(table, o.body, true)
	if err != nil {
		return err
	}
	limit, err := number(o.body, 10, "limit")
	if err != nil {
		return err
	}
	picks, err := o.filter(table, o.body.Get("filter"), "")
	if err != nil {
		return err
	}
	orderBy, err := o.orderBy(table, o.body.Get("order_by"))
	if err != nil {
		return err
	}
	e := o.last()
	e.Filtered, e.Columns = picks, cols
	e.Limited, e.Limit = true, limit
	o.result("point", o.ordered(table, cols, orderBy)...)
	o.shape = envelope(obj(map[string]*shape{"points": {kind: array, row: true, elem: point(name.Name, orderBy)}, "next_page_offset": passed}))
	return nil
}

// ordered adds the value that an answer is sorted by to what it shows.
func (o *operation) ordered(table int, cols []facts.ColumnRef, orderBy string) []facts.ColumnRef {
	if orderBy == "" {
		return cols
	}
	return append(cols[:len(cols):len(cols)], o.column(table, orderBy))
}

// orderBy notes that points are sorted by a path.
func (o *operation) orderBy(table int, v *httpgate.Value) (string, error) {
	key := v
	switch v.Kind {
	case 0, 'n':
		return "", nil
	case '{':
		if err := only(v, "order_by", "key", "direction", "start_from"); err != nil {
			return "", err
		}
		key = v.Get("key")
	}
	if key.Kind != '"' {
		return "", refuse("order_by must name a payload key")
	}
	path, err := qdrantPath(key.Text)
	ref := o.column(table, path)
	o.uses(facts.UseCompare, ref, "order_by")
	if from := v.Get("start_from"); from.Has() {
		o.constant(from, ref)
	}
	return path, err
}

func qdrantCount(o *operation) error {
	_, table, err := o.reading(facts.Read, "COUNT", "shard_key", "filter", "exact")
	if err != nil {
		return err
	}
	picks, err := o.filter(table, o.body.Get("filter"), "")
	e := o.last()
	e.Filtered, e.Limited, e.Limit = picks, true, 1
	o.shape = envelope(obj(map[string]*shape{"count": passed}))
	return err
}

func qdrantFacet(o *operation) error {
	name, table, err := o.reading(facts.Read, "FACET", "shard_key", "key", "limit", "filter", "exact")
	if err != nil {
		return err
	}
	path, err := qdrantPath(o.body.Get("key").Text)
	if err != nil {
		return err
	}
	ref := o.column(table, path)
	o.uses(facts.UseCompare, ref, "facets, which are sorted by it") // by count, then by value
	limit, err := number(o.body, 10, "limit")
	if err != nil {
		return err
	}
	picks, err := o.filter(table, o.body.Get("filter"), "")
	e := o.last()
	e.Filtered, e.Columns = picks, []facts.ColumnRef{ref}
	e.Limited, e.Limit = true, limit
	o.f.Texts = true
	o.result("facet", ref)
	o.shape = envelope(obj(map[string]*shape{"hits": {kind: array, row: true, elem: obj(map[string]*shape{
		"value": {kind: value, collection: name.Name, path: path}, "count": passed})}}))
	return err
}
