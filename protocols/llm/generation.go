package llm

import (
	"net/http"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// generation reads a request that a model answers.
func (o *operation) generation() error {
	v := o.body
	o.stream = v.Get("stream").Kind == 't'
	o.usage = v.Get("stream_options").Get("include_usage").Kind == 't'
	if err := o.tokens(); err != nil {
		return err
	}
	if o.stream {
		o.Accept = "text/event-stream"
	}
	o.refers(v)
	switch o.endpoint.body {
	case chatBody:
		if wished(v.Get("store")) {
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

// limits are the members by which each kind of request bounds its answer. Of
// two in one request, servers differ in which they heed.
var limits = map[bodyKind][]string{
	chatBody: {"max_completion_tokens", "max_tokens"}, completionBody: {"max_tokens"}, responseBody: {"max_output_tokens"},
}

// tokens are the most that a request's answers may have: its limit for each
// choice of each prompt.
func (o *operation) tokens() error {
	v := o.body
	limit, bounded := int64(0), false
	for _, name := range limits[o.endpoint.body] {
		n, ok, err := count(v, name)
		if err != nil {
			return err
		}
		if ok && n == 0 { // of which servers make no limit
			n = facts.NoLimit
		}
		limit, bounded = max(limit, n), bounded || ok
	}
	if !bounded {
		limit = facts.NoLimit
	}
	most := int64(1) // choices that are paid for
	for _, name := range []string{"n", "best_of"} {
		n, _, err := count(v, name)
		if err != nil {
			return err
		}
		most = max(most, n)
	}
	if p := v.Get("prompt"); o.endpoint.body == completionBody && p.Kind == '[' && len(p.Items) == p.Count && (p.Count == 0 || p.Items[0].Kind != '0') {
		most = times(most, max(1, int64(p.Count)))
	}
	o.effect.Tokens = times(limit, most)
	return nil
}

// count reads a number that counts. Written otherwise than as a whole one,
// servers would read what the proxy does not.
func count(v *httpgate.Value, name string) (n int64, ok bool, err error) {
	m := v.Get(name)
	if m.Null() {
		return 0, false, nil
	}
	if n, ok = m.Int(); !ok || n < 0 {
		return 0, false, httpgate.Problem(http.StatusBadRequest, name+" must be a whole number that is not negative", "")
	}
	return n, true, nil
}

// wished says that a switch may be on: some servers take "true" and 1 for it.
func wished(v *httpgate.Value) bool { return !v.Null() && v.Kind != 'f' }

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
	if wished(v.Get("background")) {
		return httpgate.Problem(http.StatusBadRequest, "background answers are not let pass: what they take could not be counted", "Send background: false.")
	}
	if v.Get("store").Kind != 'f' { // stored unless the request says no
		o.keeps("response", "*")
	}
	o.continues(true)
	return o.tools()
}
