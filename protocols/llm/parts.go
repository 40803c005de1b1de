package llm

import (
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
)

// look finds parts that no detector can look into, wherever they stand: kinds
// of parts that are not known yet are found by their names, and files by how
// they are written (RFC 2397).
func (o *operation) look(v *httpgate.Value) {
	if v.Kind == '{' {
		switch kind := v.Get("type").Text; {
		case kind == "file" || kind == "input_file":
			o.opaque = "a file"
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
	if v.Kind == '"' {
		o.opaque = "a wish for something else than text"
	}
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
