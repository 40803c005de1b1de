package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// hidden is what stands in the record for a constant: equal ones look equal,
// and nobody without the key can tell what they were.
func (e *Engine) hidden(s string) string {
	m := hmac.New(sha256.New, e.keys.Hash)
	m.Write([]byte(s))
	return "‹hmac:" + hex.EncodeToString(m.Sum(nil)[:8]) + "›"
}

// hider hides one secret for the record or for people.
type hider func(s string) (string, error)

// hashed hides behind the installation's key.
func (e *Engine) hashed(s string) (string, error) { return e.hidden(s), nil }

// forRecord hides as the policy says: hashed, or sealed to its recipients.
func (e *Engine) forRecord(p *sqlpolicy.Policy) hider {
	if !p.Record.Sealed() {
		return e.hashed
	}
	return func(s string) (string, error) {
		sealed, err := p.Record.Seal(s)
		return replay.SealedBefore + sealed + replay.SealedAfter, err
	}
}

// redactText hides the secret constants of a text.
func redactText(hide hider, text string, constants []facts.Constant, secret []int) (string, error) {
	if len(secret) == 0 {
		return text, nil
	}
	var ranges []facts.Constant
	for _, i := range secret {
		if i >= 0 && i < len(constants) {
			ranges = append(ranges, constants[i])
		}
	}
	slices.SortFunc(ranges, func(a, b facts.Constant) int { return a.From - b.From })
	var b strings.Builder
	at := 0
	for _, r := range ranges {
		if r.From < at || r.To > len(text) || r.From > r.To {
			continue // overlapping: the first one hid it
		}
		hidden, err := hide(text[r.From:r.To])
		if err != nil {
			return "", err
		}
		b.WriteString(text[at:r.From])
		b.WriteString(hidden)
		at = r.To
	}
	b.WriteString(text[at:])
	return b.String(), nil
}

// redactParams hides the secret parameters.
func redactParams(hide hider, params []facts.Param, secret []int) ([]facts.Param, error) {
	if len(secret) == 0 {
		return params, nil
	}
	out := slices.Clone(params)
	for _, n := range secret {
		if n >= 1 && n <= len(out) && !out[n-1].Null {
			var err error
			if out[n-1].Text, err = hide(out[n-1].Text); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
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
