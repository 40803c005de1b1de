package proxy

import (
	"encoding/json"
	"strings"
	"sync"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// analysed is a text's statements with their facts as the record wants them.
type analysed struct {
	statements []catalog.Statement
	facts      []json.RawMessage
}

func newAnalysed(statements []catalog.Statement) (*analysed, error) {
	a := &analysed{statements: statements}
	for _, s := range statements {
		b, err := json.Marshal(s.Facts)
		if err != nil {
			return nil, err
		}
		a.facts = append(a.facts, b)
	}
	return a, nil
}

// key is all that an analysis depends on.
type key struct {
	text     string
	catalog  *catalog.Catalog
	path     string
	role     string
	temp     string
	settings catalog.Settings
}

func keyOf(v *catalog.View, text string) key {
	return key{text: text, catalog: v.Catalog, path: strings.Join(v.SearchPath, "\x00"), role: v.Role, temp: v.TempSchema, settings: v.Settings}
}

// analyses caches analyses by their inputs. It keeps two generations: what was
// used in the last one moves on, the rest goes when the new one is full.
type analyses struct {
	mu       sync.RWMutex
	new, old map[key]*analysed
	bytes    int
}

// maxAnalysesBytes bounds a generation by the texts' lengths, counted with
// what facts cost beside them.
const (
	maxAnalysesBytes = 16 << 20
	analysisCost     = 2 << 10
)

func newAnalyses() *analyses { return &analyses{new: map[key]*analysed{}} }

func (c *analyses) get(k key) *analysed {
	c.mu.RLock()
	a, ok := c.new[k]
	if !ok {
		a = c.old[k]
	}
	c.mu.RUnlock()
	if a != nil && !ok {
		c.put(k, a)
	}
	return a
}

func (c *analyses) put(k key, a *analysed) {
	if len(k.text) > 64<<10 {
		return // not worth its place
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes += len(k.text) + analysisCost; c.bytes > maxAnalysesBytes {
		c.old, c.new, c.bytes = c.new, map[key]*analysed{}, len(k.text)+analysisCost
	}
	c.new[k] = a
}
