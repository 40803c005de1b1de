package llm

import (
	"net/http"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// continues notes what the server has kept that a request goes on from, and
// whether it keeps the answer with it.
func (o *operation) continues(keeps bool) {
	v := o.body
	if id := v.Get("previous_response_id"); !id.Null() {
		o.reads(facts.Read, "response", id.Text)
	}
	if c := v.Get("conversation"); !c.Null() {
		id := c.Text
		if c.Kind == '{' {
			id = c.Get("id").Text
		}
		o.reads(facts.Read, "conversation", id)
		if keeps {
			o.keeps("conversation", id)
		}
	}
	if p := v.Get("prompt"); p.Kind == '{' {
		o.reads(facts.Read, "prompt", p.Get("id").Text)
	}
}

// tools notes what the model may use beside what refers finds.
func (o *operation) tools() error {
	for i := range o.body.Get("tools").Items {
		if o.body.Get("tools").Items[i].Get("type").Text == "" {
			return httpgate.Problem(http.StatusBadRequest, "a tool has no type", "")
		}
	}
	for i := range o.body.Get("functions").Items {
		o.uses("function:" + o.body.Get("functions").Items[i].Get("name").Text)
	}
	if o.body.Get("web_search_options").Has() {
		o.uses("web_search")
	}
	return nil
}

func (o *operation) uses(function string) {
	o.effect.Functions = append(o.effect.Functions, function)
}

// refers notes the tools and the things kept on the server that a request names,
// wherever they stand: tools are in others' lists too, and among the input, and
// files and containers within tools. What a client attaches as metadata names
// nothing.
func (o *operation) refers(v *httpgate.Value) {
	for i := range v.Items {
		item := &v.Items[i]
		name := ""
		if v.Kind == '{' {
			name = v.Names[i]
		}
		switch name {
		case "metadata":
			continue
		case "tools":
			o.listed(item)
		case "vector_store_ids":
			o.names(item, facts.Search, "collection")
		case "file_id", "file_ids":
			o.names(item, facts.Read, "file")
		case "container", "container_id":
			o.names(item, facts.Read, "container")
		case "input", "items":
			o.referenced(item)
		}
		o.refers(item)
	}
}

// names notes what a string, or each of a list of them, names.
func (o *operation) names(v *httpgate.Value, action facts.Action, kind string) {
	if v.Kind == '"' {
		o.reads(action, kind, v.Text)
	}
	if v.Kind == '[' {
		for i := range v.Items {
			o.names(&v.Items[i], action, kind)
		}
	}
}

// listed notes a list of tools, by type, and by name behind a colon.
func (o *operation) listed(list *httpgate.Value) {
	for i := range list.Items {
		t := &list.Items[i]
		kind, name := t.Get("type").Text, t.Get("name").Text
		if list.Kind != '[' || kind == "" {
			continue // a schema's own member of that name
		}
		if f := t.Get("function"); f.Has() {
			name = f.Get("name").Text
		}
		if l := t.Get("server_label"); l.Has() {
			name = l.Text
		}
		if name != "" {
			kind += ":" + name
		}
		o.uses(kind)
	}
}

// referenced notes the items of an input that are another's, by their IDs alone:
// the type is one that need not be given.
func (o *operation) referenced(list *httpgate.Value) {
	for i := range list.Items {
		item := &list.Items[i]
		kind := item.Get("type")
		if list.Kind == '[' && (kind.Text == "item_reference" || kind.Null() && item.Get("id").Has() && item.Get("role").Null() && item.Get("content").Null()) {
			o.reads(facts.Read, "item", item.Get("id").Text)
		}
	}
}
