// Package llm puts endpoints that speak OpenAI's API behind the gate: chat
// completions, completions, responses and embeddings, and beside them models,
// files, batches, fine-tuning and vector stores. A request becomes facts (the
// model is its object, tools are its functions, what is kept on the server is
// an effect of its own), its texts and the answer's are looked through by the
// policy's detectors, and the tokens of the answer are charged and recorded.
//
//	client            gate                         endpoint
//	POST /v1/chat/completions ─► canonical JSON, facts, Admit
//	                  └► texts masked, stream_options.include_usage ─►
//	data: {…}     ◄── each event: texts masked, the end held back ◄── data: {…}
//	data: [DONE]  ◄── what was held back, tokens charged ◄── data: [DONE]
//
// Every route is known or refused. What no detector can look into (images,
// audio, files, token numbers) is refused to whom a detected class binds.
//
// The API: https://platform.openai.com/docs/api-reference; event streams:
// https://html.spec.whatwg.org/multipage/server-sent-events.html.
package llm

import (
	"context"
	"encoding/json"
	"net"
	"net/http"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
)

// New returns the protocol openai.
func New() protocols.Protocol {
	return protocols.Protocol{
		Name: "openai", Doc: "OpenAI-compatible model endpoints over HTTP", DefaultPort: 443,
		Schemes: []string{"https", "http"}, ALPN: "http/1.1", Requests: true,
		Serve: func(ctx context.Context, conn net.Conn, host protocols.Host) error {
			return httpgate.Serve(ctx, conn, host, api())
		},
	}
}

func api() *httpgate.API {
	return &httpgate.API{
		Name: "openai", KeyHeaders: []string{"Api-Key"}, // Azure's name
		Key:     func(h http.Header, key string) { h.Set("Authorization", "Bearer "+key) },
		Route:   route,
		Fault:   fault,
		Headers: []string{"X-Request-Id", "Openai-Processing-Ms", "Openai-Version", "Retry-After"},
	}
}

// fault writes OpenAI's error object.
func fault(f *httpgate.Fault) []byte {
	kind, code := "invalid_request_error", "sallyport_refused"
	switch {
	case f.Upstream:
		code = "upstream_error"
	case f.Status == http.StatusUnauthorized:
		code = "invalid_api_key"
	case f.Kind == protocols.DenyHeld:
		code = "sallyport_held"
	case f.Kind == protocols.DenyBudget:
		kind, code = "insufficient_quota", "insufficient_quota"
	case f.Status >= 500:
		kind, code = "server_error", "sallyport_unavailable"
	}
	e := map[string]any{"message": f.Text(), "type": kind, "param": nil, "code": code}
	if f.HoldID != "" {
		e["hold_id"] = f.HoldID
	}
	b, err := json.Marshal(map[string]any{"error": e})
	if err != nil { // of strings: never fails
		panic(err)
	}
	return b
}
