package vector

import (
	"context"
	"net"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
)

// Stores are the protocols of this package.
func Stores() []protocols.Protocol {
	return []protocols.Protocol{
		store("qdrant", "Qdrant's REST API", 6333, qdrantAPI()),
		store("chroma", "Chroma's v2 API", 8000, chromaAPI()),
	}
}

func store(name, doc string, port int, api *httpgate.API) protocols.Protocol {
	return protocols.Protocol{
		Name: name, Doc: doc, DefaultPort: port, Schemes: []string{"http", "https"}, ALPN: "http/1.1", Requests: true,
		Serve: func(ctx context.Context, conn net.Conn, host protocols.Host) error {
			return httpgate.Serve(ctx, conn, host, api)
		},
	}
}
