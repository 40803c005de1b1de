package llm

import (
	"net/http"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// generation reads a request that a model answers.
func (o *operation) generation() error {
	v := o.body
	o.stream = v.Get("stream").Kind == 't'
	o.usage = v.Get("stream_options").Get("include_usage").Kind == 't'
	o.effect.Tokens = facts.NoLimit
	limit := []string{"max_completion_tokens", "max_tokens", "max_output_tokens"}
	for _, name := range limit {
		if n, ok := v.Get(name).Int(); ok {
			o.effect.Tokens = min(o.effect.Tokens, n)
		}
	}
	most := int64(1) // choices that are paid for
	for _, name := range []string{"n", "best_of"} {
		if n, ok := v.Get(name).Int(); ok {
			most = max(most, n)
		}
	}
	o.effect.Tokens = times(o.effect.Tokens, most)
	if o.stream {
		o.Accept = "text/event-stream"
	}
	switch o.endpoint.body {
	case chatBody:
		if v.Get("store").Kind == 't' {
			o.keeps("completion", "*")
		}
		o.modalities(v.Get("modalities"))
	case completionBody:
		if hasNumbers(v.Get("prompt")) {
			o.opaque = "token numbers"
		}
	case responseBody:
		return o.response()
	}
	return o.tools()
}

// keeps notes that the server stores what is said, reads that it has.
func (o *operation) keeps(kind, name string) {
	o.more = append(o.more, facts.Effect{Action: facts.Insert, Verb: "STORE", Limit: facts.NoLimit, Objects: []facts.Object{object(kind, name)}})
}

func (o *operation) reads(action facts.Action, kind, name string) {
	o.more = append(o.more, facts.Effect{Action: action, Verb: "READ STORED", Limit: facts.NoLimit, Filtered: true, Objects: []facts.Object{object(kind, name)}})
}

// response reads what the responses API has beside: state on the server.
func (o *operation) response() error {
	v := o.body
	if v.Get("background").Kind == 't' {
		return httpgate.Problem(http.StatusBadRequest, "background answers are not let pass: what they take could not be counted", "Send background: false.")
	}
	if v.Get("store").Kind != 'f' { // stored unless the request says no
		o.keeps("response", "*")
	}
	if id := v.Get("previous_response_id"); id.Kind == '"' {
		o.reads(facts.Read, "response", id.Text)
	}
	if c := v.Get("conversation"); !c.Null() {
		id := c.Text
		if c.Kind == '{' {
			id = c.Get("id").Text
		}
		o.reads(facts.Read, "conversation", id)
		o.keeps("conversation", id)
	}
	if p := v.Get("prompt"); p.Kind == '{' {
		o.reads(facts.Read, "prompt", p.Get("id").Text)
	}
	return o.tools()
}

// tools notes what the model may use, by type, and by name behind a colon.
func (o *operation) tools() error {
	add := func(name string) { o.effect.Functions = append(o.effect.Functions, name) }
	for i := range o.body.Get("tools").Items {
		t := &o.body.Get("tools").Items[i]
		kind := t.Get("type").Text
		name := t.Get("name").Text
		if f := t.Get("function"); f.Has() {
			name = f.Get("name").Text
		}
		if l := t.Get("server_label"); l.Has() {
			name = l.Text
		}
		if kind == "" {
			return httpgate.Problem(http.StatusBadRequest, "a tool has no type", "")
		}
		if name != "" {
			kind += ":" + name
		}
		add(kind)
		for j := range t.Get("vector_store_ids").Items {
			o.reads(facts.Search, "collection", t.Get("vector_store_ids").Items[j].Text)
		}
	}
	for i := range o.body.Get("functions").Items {
		add("function:" + o.body.Get("functions").Items[i].Get("name").Text)
	}
	if o.body.Get("web_search_options").Has() {
		add("web_search")
	}
	return nil
}

// look finds parts that no detector can look into, wherever they stand: kinds
// of parts that are not known yet are found by their names, and files by how
// they are written (RFC 2397).
func (o *operation) look(v *httpgate.Value) {
	if v.Kind == '{' {
		switch kind := v.Get("type").Text; {
		case kind == "file" || kind == "input_file":
			o.opaque = "a file"
		case kind == "item_reference":
			o.reads(facts.Read, "item", v.Get("id").Text)
		case kind == "image_generation", kind == "image_generation_call": // the tool, and what it has made
			o.opaque = "a tool that answers with images"
		case strings.Contains(kind, "image"), kind == "computer_call_output":
			o.opaque = "an image"
		case strings.Contains(kind, "audio"):
			o.opaque = "audio"
		case strings.Contains(kind, "video"):
			o.opaque = "a video"
		}
	}
	if v.Kind == '"' && len(v.Text) > 5 && strings.EqualFold(v.Text[:5], "data:") && strings.Contains(v.Text[:min(len(v.Text), 256)], ";base64,") {
		o.opaque = "a file in base64"
	}
	for i := range v.Items {
		o.look(&v.Items[i])
	}
}

func (o *operation) modalities(v *httpgate.Value) {
	for i := range v.Items {
		if v.Items[i].Text != "text" {
			o.opaque = "a wish for " + bounded(v.Items[i].Text)
		}
	}
}

// bounded is a client's word in a message.
func bounded(s string) string {
	if len(s) > 32 || !plain(s) {
		return "something else than text"
	}
	return s
}
