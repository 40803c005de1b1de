package vector

import (
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// qdrantWrites are the members that each write may have.
var qdrantWrites = map[string][]string{
	"upsert":            {"points", "batch", "shard_key", "update_filter", "update_mode"},
	"delete":            {"points", "filter", "shard_key"},
	"set_payload":       {"payload", "points", "filter", "shard_key", "key"},
	"overwrite_payload": {"payload", "points", "filter", "shard_key", "key"},
	"delete_payload":    {"keys", "points", "filter", "shard_key"},
	"clear_payload":     {"points", "filter", "shard_key"},
	"update_vectors":    {"points", "shard_key", "update_filter"},
	"delete_vectors":    {"points", "filter", "vector", "shard_key"},
}

func qdrantWrite(kind string) func(o *operation) error {
	return func(o *operation) error {
		if err := o.readJSON(qdrantWrites[kind]...); err != nil {
			return err
		}
		name, err := o.collection()
		if err != nil {
			return err
		}
		o.shape = envelope(passed)
		return o.write(kind, name, o.body)
	}
}

// qdrantBatch is decided write by write.
func qdrantBatch(o *operation) error {
	if err := o.readJSON("operations"); err != nil {
		return err
	}
	name, err := o.collection()
	if err != nil {
		return err
	}
	list := o.body.Get("operations")
	if list.Kind != '[' || list.Count == 0 || len(list.Items) != list.Count {
		return refuse("operations must be a list of writes")
	}
	for i := range list.Items {
		item := &list.Items[i]
		if item.Kind != '{' || len(item.Names) != 1 || qdrantWrites[item.Names[0]] == nil {
			return refuse("each of the operations must be one write that the proxy knows")
		}
		kind, v := item.Names[0], &item.Items[0]
		if err := only(v, kind, qdrantWrites[kind]...); err != nil {
			return err
		}
		if err := o.write(kind, name, v); err != nil {
			return err
		}
	}
	o.shape = envelope(passed)
	return nil
}

// verbs say how each write is called, and what it does.
var qdrantVerbs = map[string]struct {
	verb   string
	action facts.Action
}{
	"upsert": {"UPSERT", facts.Insert}, "delete": {"DELETE POINTS", facts.Delete},
	"set_payload": {"SET PAYLOAD", facts.Update}, "overwrite_payload": {"OVERWRITE PAYLOAD", facts.Update},
	"delete_payload": {"DELETE PAYLOAD", facts.Update}, "clear_payload": {"CLEAR PAYLOAD", facts.Update},
	"update_vectors": {"UPDATE VECTORS", facts.Update}, "delete_vectors": {"DELETE VECTORS", facts.Update},
}

// write notes one write: its effect, and whether it names the points or picks
// them by a filter. Named points come first in the store, too.
func (o *operation) write(kind string, name facts.Name, v *httpgate.Value) error {
	table := o.table(name)
	picks := false
	if kind == "upsert" || kind == "update_vectors" {
		picks = true // each point by its own ID
		if err := o.points(table, v, kind); err != nil {
			return err
		}
		if _, err := o.filter(table, v.Get("update_filter"), ""); err != nil {
			return err
		}
	} else {
		ids := v.Get("points")
		byFilter, err := o.filter(table, v.Get("filter"), "")
		if err != nil {
			return err
		}
		switch {
		case !ids.Null() && !v.Get("filter").Null():
			return refuse("points and filter are both given: the store would take one of them")
		case !ids.Null() && ids.Kind != '[':
			return refuse("points must be a list of IDs")
		case ids.Null() && v.Get("filter").Null():
			return refuse("points or a filter must be given")
		}
		picks = byFilter || !ids.Null()
	}
	prefix := ""
	if key := v.Get("key"); !key.Null() {
		var err error
		if prefix, err = qdrantPath(key.Text); err != nil {
			return err
		}
	}
	o.stored(table, v.Get("payload"), prefix)
	if _, err := o.paths(table, nil, v.Get("keys")); err != nil {
		return err
	}
	verb := qdrantVerbs[kind]
	e := o.effect(verb.action, verb.verb, name)
	e.Filtered = picks
	if kind == "upsert" { // whatever its update_mode, of which older stores know nothing
		e = o.effect(facts.Update, verb.verb, name)
		e.Filtered = true
	}
	return nil
}

// points notes the payloads of the points that are written.
func (o *operation) points(table int, v *httpgate.Value, kind string) error {
	if batch := v.Get("batch"); !batch.Null() {
		if err := only(batch, "batch", "ids", "vectors", "payloads"); err != nil || v.Get("points").Has() {
			return refuse("a batch must have ids, vectors and payloads, and nothing beside it")
		}
		for i := range batch.Get("payloads").Items {
			o.stored(table, &batch.Get("payloads").Items[i], "")
		}
		return nil
	}
	list := v.Get("points")
	if list.Kind != '[' || len(list.Items) != list.Count {
		return refuse("points must be a list of points")
	}
	for i := range list.Items {
		p := &list.Items[i]
		if err := only(p, "a point", "id", "vector", "payload"); err != nil {
			return err
		}
		o.stored(table, p.Get("payload"), "")
	}
	return nil
}

func (o *operation) ddl(verb string, destructive bool, names ...facts.Name) {
	e := o.effect(facts.DDL, verb, names...)
	e.Destructive = destructive
	o.shape = envelope(passed)
}

func qdrantCreate(o *operation) error {
	if err := o.readJSON("vectors", "shard_number", "sharding_method", "replication_factor", "write_consistency_factor", "on_disk_payload", "hnsw_config", "wal_config",
		"optimizers_config", "quantization_config", "sparse_vectors", "strict_mode_config", "metadata", "payload"); err != nil {
		return err
	}
	name, err := o.collection()
	o.ddl("CREATE COLLECTION", false, name)
	o.done = o.aliases().forget
	return err
}

func qdrantAlter(o *operation) error {
	if err := o.readJSON("vectors", "optimizers_config", "params", "hnsw_config", "quantization_config", "sparse_vectors", "strict_mode_config", "metadata"); err != nil {
		return err
	}
	name, err := o.collection()
	o.ddl("ALTER COLLECTION", false, name)
	return err
}

func qdrantDrop(o *operation) error {
	name, err := o.collection()
	if err != nil {
		return err
	}
	o.ddl("DROP COLLECTION", true, name)
	o.done = o.aliases().forget
	return o.noBody()
}

func qdrantIndex(o *operation) error {
	if err := o.readJSON("field_name", "field_schema"); err != nil {
		return err
	}
	name, err := o.collection()
	if err != nil {
		return err
	}
	path, err := qdrantPath(o.body.Get("field_name").Text)
	if err != nil {
		return err
	}
	kind := o.body.Get("field_schema").Text
	if kind == "" {
		kind = o.body.Get("field_schema").Get("type").Text
	}
	use := facts.UseCompare // what sorts or takes apart
	if kind == "keyword" || kind == "uuid" || kind == "bool" {
		use = facts.UseEqual
	}
	if kind == "geo" { // of the numbers below
		path += facts.PathBelow
	}
	o.uses(use, o.column(o.table(name), path), "a payload index")
	o.ddl("CREATE INDEX", false, name)
	return nil
}

func qdrantDropIndex(o *operation) error {
	name, err := o.collection()
	if err != nil {
		return err
	}
	o.ddl("DROP INDEX", true, name)
	return o.noBody()
}

// qdrantAliases is decided action by action.
func qdrantAliases(o *operation) error {
	if err := o.readJSON("actions"); err != nil {
		return err
	}
	list := o.body.Get("actions")
	if list.Kind != '[' || list.Count == 0 || len(list.Items) != list.Count {
		return refuse("actions must be a list")
	}
	for i := range list.Items {
		a := &list.Items[i]
		if a.Kind != '{' || len(a.Names) != 1 {
			return refuse("each of the actions must be one")
		}
		if err := o.aliasAction(a.Names[0], &a.Items[0]); err != nil {
			return err
		}
	}
	o.shape = envelope(passed)
	o.done = o.aliases().forget
	return nil
}

func (o *operation) aliasAction(kind string, v *httpgate.Value) error {
	alias := func(name string) (facts.Name, facts.Object, error) {
		real, err := o.qdrantName(name)
		return facts.Name{Name: real}, facts.Object{Kind: "alias", Name: facts.Name{Name: name}}, err
	}
	switch kind {
	case "create_alias":
		if err := only(v, kind, "collection_name", "alias_name"); err != nil {
			return err
		}
		name, err := o.qdrantName(v.Get("collection_name").Text)
		if err != nil {
			return err
		}
		was, object, err := alias(v.Get("alias_name").Text)
		if err != nil {
			return err
		}
		o.ddl("CREATE ALIAS", was.Name != v.Get("alias_name").Text, facts.Name{Name: name}) // it replaces one that is there
		o.last().Objects = append(o.last().Objects, object)
		return nil
	case "delete_alias":
		if err := only(v, kind, "alias_name"); err != nil {
			return err
		}
		name, object, err := alias(v.Get("alias_name").Text)
		if err != nil {
			return err
		}
		o.ddl("DROP ALIAS", true, name)
		o.last().Objects = append(o.last().Objects, object)
		return nil
	case "rename_alias":
		if err := only(v, kind, "old_alias_name", "new_alias_name"); err != nil {
			return err
		}
		name, object, err := alias(v.Get("old_alias_name").Text)
		if err != nil {
			return err
		}
		o.ddl("RENAME ALIAS", true, name)
		o.last().Objects = append(o.last().Objects, object, facts.Object{Kind: "alias", Name: facts.Name{Name: v.Get("new_alias_name").Text}})
		return nil
	}
	return refuse("the alias action %.40q is not known to the proxy", kind)
}
