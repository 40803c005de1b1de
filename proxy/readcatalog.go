package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// ReadCatalog reads a target's schema for a command: from file where one is
// given (as beside the transcripts), else from the upstream.
func ReadCatalog(ctx context.Context, c *Config, t *Target, known []protocols.Protocol, file string) (*catalog.Catalog, error) {
	if file != "" {
		return readCatalogFile(file)
	}
	own := *t
	if i := slices.IndexFunc(known, func(p protocols.Protocol) bool { return p.Name == t.Protocol }); i >= 0 && own.Upstream.TLSMode == "" {
		var err error
		if own.Upstream.TLSMode, err = tlsMode(&known[i], own.Upstream.URL); err != nil {
			return nil, err
		}
	}
	t = &own
	e := &Engine{config: c, protocols: known, log: zerolog.Nop(), metrics: newMetrics()}
	tg, err := e.newTarget(t)
	if err != nil {
		return nil, err
	}
	defer tg.close()
	return tg.catalog(tg.database()).get(ctx, true)
}

func readCatalogFile(file string) (*catalog.Catalog, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	if b, err = dec.DecodeAll(b, nil); err != nil {
		return nil, fmt.Errorf("the catalog file: %w", err)
	}
	c := &catalog.Catalog{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("the catalog file: %w", err)
	}
	return c.Index(), nil
}
