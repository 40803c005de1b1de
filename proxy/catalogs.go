package proxy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// pollEvery is how soon a schema change made past the proxy is seen.
const pollEvery = time.Second

// catalogs keeps one database's schema, read over a connection of the
// proxy's own.
type catalogs struct {
	target   *target
	database string

	current atomic.Pointer[catalog.Catalog]
	checked atomic.Int64 // when the version was last compared, in nanoseconds
	// generation grows with each DDL that goes through the proxy and with
	// each new version.
	generation atomic.Int64
	// altering counts the sessions that have changed the schema in a transaction
	// which has not ended yet, as far as is known.
	altering atomic.Int64

	mu      sync.Mutex // held while the schema is read
	source  protocols.CatalogSource
	version string
}

func (t *target) catalog(database string) *catalogs {
	if t.protocol.ServerCatalog {
		database = t.database() // one for all, so that a change made in one is seen in all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.catalogs[database]
	if c == nil {
		c = &catalogs{target: t, database: database}
		t.catalogs[database] = c
	}
	return c
}

// get returns the schema: at once where it was compared within the last poll
// and fresh is not asked for.
func (c *catalogs) get(ctx context.Context, fresh bool) (*catalog.Catalog, error) {
	if cur := c.current.Load(); cur != nil && !fresh && time.Since(time.Unix(0, c.checked.Load())) < pollEvery {
		return cur, nil
	}
	asked := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if cur := c.current.Load(); cur != nil && time.Unix(0, c.checked.Load()).After(asked) {
		return cur, nil // another session has just compared it
	}
	cur, err := c.refresh(ctx)
	if err != nil && c.source != nil {
		// The connection may have died while it was idle: once more on a new one.
		_ = c.source.Close()
		c.source = nil
		cur, err = c.refresh(ctx)
	}
	return cur, err
}

func (c *catalogs) refresh(ctx context.Context) (*catalog.Catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if c.source == nil {
		if err := c.open(ctx); err != nil {
			return nil, err
		}
	}
	at, generation := time.Now(), c.generation.Load()
	v, err := c.source.Version(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the schema's version: %w", err)
	}
	if cur := c.current.Load(); cur == nil || v != c.version {
		next, err := c.source.Load(ctx)
		if err != nil {
			return nil, err
		}
		c.current.Store(next.Index())
		c.version = v
		c.generation.Add(1)
		generation++
		c.target.engine.metrics.catalogs.WithLabelValues(c.target.config.Name).Inc()
	}
	c.checked.Store(at.UnixNano())
	if c.generation.Load() != generation {
		c.checked.Store(0) // a change was sent or committed meanwhile: it may not be in what was read
	}
	return c.current.Load(), nil
}

func (c *catalogs) open(ctx context.Context) error {
	if c.target.protocol.Catalog == nil {
		return fmt.Errorf("protocol %s has no catalog", c.target.protocol.Name)
	}
	src, release, err := c.connect(ctx, false)
	if err != nil {
		// The credential may have been changed a moment ago.
		if src, release, err = c.connect(ctx, true); err != nil {
			return err
		}
	}
	c.source, c.version = &credited{src, release}, ""
	return nil
}

// credited gives the credential back when its connection ends.
type credited struct {
	protocols.CatalogSource
	release func()
}

func (c *credited) Close() error {
	defer c.release()
	return c.CatalogSource.Close()
}

func (c *catalogs) connect(ctx context.Context, fresh bool) (protocols.CatalogSource, func(), error) {
	cred, release, err := c.target.credential(ctx, nil, c.database, fresh)
	if err != nil {
		return nil, nil, err
	}
	up, err := c.target.upstream.DialGate(ctx, nil)
	if err != nil {
		release()
		return nil, nil, err
	}
	src, err := c.target.protocol.Catalog(ctx, up, cred)
	if err != nil {
		_ = up.Close()
		release()
		return nil, nil, err
	}
	return src, release, nil
}

// changed notes a change of the schema, or its commit: decisions taken before
// it are looked at again when their rows come. It returns the generation that
// it made.
func (c *catalogs) changed() int64 {
	generation := c.generation.Add(1)
	c.checked.Store(0) // after it: a read that is under way looks at the generation last
	return generation
}

func (c *catalogs) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source != nil {
		_ = c.source.Close()
		c.source = nil
	}
}
