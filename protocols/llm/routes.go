package llm

import (
	"net/http"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// endpoint is one route: what it does, and how its bodies are read.
type endpoint struct {
	method, path string // {…} is any one segment
	action       facts.Action
	destructive  bool
	object       string // the kind of what the first {…} names, or of what is made
	lists        string // the kind of what its answer lists, where scopes say who may reach which
	model        bool   // the body may name a model; where it does not, any may answer
	body         bodyKind
	answer       answerKind
}

type bodyKind uint8

const (
	noBody   bodyKind = iota
	jsonBody          // any document: all its texts are looked through
	chatBody
	completionBody
	responseBody
	countBody // as responseBody, of which nothing but the tokens is counted
	embeddingBody
	itemsBody // what is put into a conversation
	rawBody   // what no detector reads: multipart forms, mostly
)

type answerKind uint8

const (
	jsonAnswer answerKind = iota
	rawAnswer             // bytes of a file
)

// endpoints is the whole of what may pass. Paths stand below /v1.
var endpoints = []endpoint{
	{method: "POST", path: "chat/completions", action: facts.Call, model: true, body: chatBody},
	{method: "GET", path: "chat/completions", action: facts.Read, object: "completion"},
	{method: "GET", path: "chat/completions/{id}", action: facts.Read, object: "completion"},
	{method: "POST", path: "chat/completions/{id}", action: facts.Update, object: "completion", body: jsonBody},
	{method: "GET", path: "chat/completions/{id}/messages", action: facts.Read, object: "completion"},
	{method: "DELETE", path: "chat/completions/{id}", action: facts.Delete, destructive: true, object: "completion"},

	{method: "POST", path: "completions", action: facts.Call, model: true, body: completionBody},
	{method: "POST", path: "embeddings", action: facts.Call, model: true, body: embeddingBody},
	{method: "POST", path: "moderations", action: facts.Call, model: true, body: jsonBody},

	{method: "POST", path: "responses", action: facts.Call, model: true, body: responseBody},
	{method: "POST", path: "responses/input_tokens", action: facts.Call, model: true, body: countBody},
	{method: "GET", path: "responses/{id}", action: facts.Read, object: "response"},
	{method: "GET", path: "responses/{id}/input_items", action: facts.Read, object: "response"},
	{method: "POST", path: "responses/{id}/cancel", action: facts.Update, object: "response", body: jsonBody},
	{method: "DELETE", path: "responses/{id}", action: facts.Delete, destructive: true, object: "response"},

	{method: "POST", path: "conversations", action: facts.Insert, object: "conversation", body: itemsBody},
	{method: "GET", path: "conversations/{id}", action: facts.Read, object: "conversation"},
	{method: "POST", path: "conversations/{id}", action: facts.Update, object: "conversation", body: jsonBody},
	{method: "DELETE", path: "conversations/{id}", action: facts.Delete, destructive: true, object: "conversation"},
	{method: "GET", path: "conversations/{id}/items", action: facts.Read, object: "conversation"},
	{method: "POST", path: "conversations/{id}/items", action: facts.Insert, object: "conversation", body: itemsBody},
	{method: "GET", path: "conversations/{id}/items/{item}", action: facts.Read, object: "conversation"},
	{method: "DELETE", path: "conversations/{id}/items/{item}", action: facts.Delete, destructive: true, object: "conversation"},

	{method: "GET", path: "models", action: facts.Read, lists: "model"},
	{method: "GET", path: "models/{id}", action: facts.Read, object: "model"},
	{method: "DELETE", path: "models/{id}", action: facts.Delete, destructive: true, object: "model"},

	{method: "GET", path: "files", action: facts.Read, object: "file"},
	{method: "POST", path: "files", action: facts.Insert, destructive: true, object: "file", body: rawBody},
	{method: "GET", path: "files/{id}", action: facts.Read, object: "file"},
	{method: "GET", path: "files/{id}/content", action: facts.Read, object: "file", answer: rawAnswer},
	{method: "DELETE", path: "files/{id}", action: facts.Delete, destructive: true, object: "file"},
	{method: "POST", path: "uploads", action: facts.Insert, destructive: true, object: "upload", body: jsonBody},
	{method: "POST", path: "uploads/{id}/parts", action: facts.Insert, destructive: true, object: "upload", body: rawBody},
	{method: "POST", path: "uploads/{id}/complete", action: facts.Insert, destructive: true, object: "upload", body: jsonBody},
	{method: "POST", path: "uploads/{id}/cancel", action: facts.Delete, destructive: true, object: "upload", body: jsonBody},

	// The prompts of a batch are in a file: any model may answer them.
	{method: "POST", path: "batches", action: facts.Admin, destructive: true, object: "batch", model: true, body: jsonBody},
	{method: "GET", path: "batches", action: facts.Read, object: "batch"},
	{method: "GET", path: "batches/{id}", action: facts.Read, object: "batch"},
	{method: "POST", path: "batches/{id}/cancel", action: facts.Admin, destructive: true, object: "batch", body: jsonBody},

	{method: "POST", path: "fine_tuning/jobs", action: facts.Admin, destructive: true, object: "fine-tuning", model: true, body: jsonBody},
	{method: "GET", path: "fine_tuning/jobs", action: facts.Read, object: "fine-tuning"},
	{method: "GET", path: "fine_tuning/jobs/{id}", action: facts.Read, object: "fine-tuning"},
	{method: "GET", path: "fine_tuning/jobs/{id}/events", action: facts.Read, object: "fine-tuning"},
	{method: "GET", path: "fine_tuning/jobs/{id}/checkpoints", action: facts.Read, object: "fine-tuning"},
	{method: "POST", path: "fine_tuning/jobs/{id}/cancel", action: facts.Admin, destructive: true, object: "fine-tuning", body: jsonBody},
	{method: "POST", path: "fine_tuning/jobs/{id}/pause", action: facts.Admin, destructive: true, object: "fine-tuning", body: jsonBody},
	{method: "POST", path: "fine_tuning/jobs/{id}/resume", action: facts.Admin, destructive: true, object: "fine-tuning", body: jsonBody},

	{method: "GET", path: "vector_stores", action: facts.Read, object: "collection"},
	{method: "POST", path: "vector_stores", action: facts.DDL, object: "collection", body: jsonBody},
	{method: "GET", path: "vector_stores/{id}", action: facts.Read, object: "collection"},
	{method: "POST", path: "vector_stores/{id}", action: facts.DDL, object: "collection", body: jsonBody},
	{method: "DELETE", path: "vector_stores/{id}", action: facts.DDL, destructive: true, object: "collection"},
	{method: "POST", path: "vector_stores/{id}/search", action: facts.Search, object: "collection", body: jsonBody},
	{method: "GET", path: "vector_stores/{id}/files", action: facts.Read, object: "collection"},
	{method: "POST", path: "vector_stores/{id}/files", action: facts.Insert, object: "collection", body: jsonBody},
	{method: "GET", path: "vector_stores/{id}/files/{file}", action: facts.Read, object: "collection"},
	{method: "POST", path: "vector_stores/{id}/files/{file}", action: facts.Update, object: "collection", body: jsonBody},
	{method: "DELETE", path: "vector_stores/{id}/files/{file}", action: facts.Delete, destructive: true, object: "collection"},
	{method: "GET", path: "vector_stores/{id}/files/{file}/content", action: facts.Read, object: "collection"},
	{method: "POST", path: "vector_stores/{id}/file_batches", action: facts.Insert, object: "collection", body: jsonBody},
	{method: "GET", path: "vector_stores/{id}/file_batches/{batch}", action: facts.Read, object: "collection"},
	{method: "GET", path: "vector_stores/{id}/file_batches/{batch}/files", action: facts.Read, object: "collection"},
	{method: "POST", path: "vector_stores/{id}/file_batches/{batch}/cancel", action: facts.Update, object: "collection", body: jsonBody},
}

// refused are families that no policy can open, and why.
var refused = map[string]string{
	"assistants": "the assistants API is not let pass: its models and texts are chosen on the server",
	"threads":    "the assistants API is not let pass: its models and texts are chosen on the server",
	"realtime":   "realtime sessions are not let pass: they hand out tokens that lead round the proxy",
	"audio":      "audio is not let pass", "images": "images are not let pass", "videos": "videos are not let pass",
	"containers": "containers are not let pass", "skills": "skills are not let pass", "evals": "evals are not let pass", "chatkit": "ChatKit is not let pass",
}

// find returns the endpoint of a path below /v1 and what its first {…} is.
func find(method string, path []string) (*endpoint, string) {
	if len(path) > 0 && (path[0] == "organization" || path[0] == "projects") {
		return administration(method, path), ""
	}
	var best *endpoint
	id := ""
	for i := range endpoints {
		e := &endpoints[i]
		if e.method != method {
			continue
		}
		if n, ok := fits(strings.Split(e.path, "/"), path); ok && (best == nil || n == "") { // fixed words come first
			best, id = e, n
		}
	}
	return best, id
}

func fits(pattern, path []string) (id string, ok bool) {
	if len(pattern) != len(path) {
		return "", false
	}
	for i, p := range pattern {
		if strings.HasPrefix(p, "{") {
			if id == "" {
				id = path[i]
			}
		} else if p != path[i] {
			return "", false
		}
	}
	return id, true
}

// administration is what the organisation's owner does: all of it one kind of
// endpoint. What hands out keys is none: they would lead round the proxy.
func administration(method string, path []string) *endpoint {
	for _, p := range path {
		if p == "admin_api_keys" || p == "api_keys" || p == "service_accounts" {
			return nil
		}
	}
	e := &endpoint{method: method, path: path[0] + "/…", action: facts.Admin, object: "organization", destructive: method != http.MethodGet}
	switch method {
	case http.MethodPost:
		e.body = jsonBody
	case http.MethodGet, http.MethodDelete:
	default:
		return nil
	}
	return e
}
