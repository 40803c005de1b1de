package vector

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// BenchmarkSearch is what a small search takes of the store's own part: its
// request, and ten hits of 1 KB.
func BenchmarkSearch(b *testing.B) {
	body := []byte(`{"query":[` + strings.Repeat("-0.0123456,", 383) + `0.5],"limit":10,"with_payload":true}`)
	names := &aliases{read: time.Now().Add(time.Hour)}
	r := &httpgate.Request{
		Method: "POST", Path: []string{"collections", "notes", "points", "query"}, Query: url.Values{}, Body: body, Type: "application/json",
		Limits: protocols.Limits{Depth: 127, Message: 1 << 20, Row: 1 << 20}, Keep: func(func() any) any { return names },
	}
	routes := newTable(qdrantEndpoints)
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := routes.route(context.Background(), r); err != nil {
				b.Fatal(err)
			}
		}
	})
	var in bytes.Buffer
	in.WriteString(`{"result":{"points":[`)
	for i := range 10 {
		if i > 0 {
			in.WriteByte(',')
		}
		fmt.Fprintf(&in, `{"id":%d,"version":3,"score":0.%d,"payload":{"n":%d,"email":"person%d@example.com","lang":"pt"}}`, 1000+i, 987654-i, i, i)
	}
	in.WriteString(`]},"status":"ok","time":0.000412}`)
	op, err := routes.route(context.Background(), r)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		ticket := &countingTicket{}
		for b.Loop() {
			body := bytes.NewReader(in.Bytes())
			out := httpgate.NewOut(io.Discard, func() error { return nil })
			if err := op.Answer(context.Background(), &httpgate.Answer{Status: 200, Body: body, Ticket: ticket, Out: out, Limits: r.Limits}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// countingTicket masks what is called email.
type countingTicket struct{ protocols.Ticket }

func (*countingTicket) Path(_ string, path []string) (protocols.PathMask, error) {
	if path[0] == "email" {
		return protocols.PathMask{Mask: partial}, nil
	}
	return protocols.PathMask{Below: path[0] == facts.PathVector}, nil
}
func (*countingTicket) PathScope() any                    { return nil }
func (*countingTicket) Detector() (*mask.Detector, error) { return nil, nil }
func (*countingTicket) Row(int) (bool, error)             { return true, nil }
func (*countingTicket) Bytes(int) error                   { return nil }
func (*countingTicket) Keep([][]byte) error               { return nil }
