package proxy

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// storeCatalog keeps a view's schema for the record, and says by which hash.
func (s *session) storeCatalog(v *catalog.View) (string, error) {
	names := s.scope(v)
	if stored := names.stored.Load(); stored != nil {
		return *stored, nil
	}
	hash, err := s.engine.storeCatalog(v.Catalog)
	if err != nil {
		return "", err
	}
	stored := hash
	names.stored.Store(&stored)
	return hash, nil
}

// storeCatalog keeps a schema beside the transcripts, once, under its hash.
func (e *Engine) storeCatalog(c *catalog.Catalog) (string, error) {
	h, form := c.Encode()
	if _, ok := e.stored.Load(h); ok {
		return h, nil
	}
	path := filepath.Join(e.config.Transcripts.Dir, "catalogs", h+".json.zst")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if form == nil {
			if form, err = json.Marshal(c); err != nil {
				return "", err
			}
		}
		enc, err := catalogEncoder()
		if err != nil {
			return "", err
		}
		if err := writeOnce(path, enc.EncodeAll(form, nil)); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	e.stored.Store(h, true)
	return h, nil
}

// catalogEncoder packs schemas. A new one's tables would cost as much as the
// packing, with each DDL statement.
var catalogEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
})

func writeOnce(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
