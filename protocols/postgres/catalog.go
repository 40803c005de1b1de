package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// openCatalog logs in on a connection of the proxy's own and reads the schema
// over it.
func openCatalog(ctx context.Context, up protocols.Upstream, cred protocols.Credential) (protocols.CatalogSource, error) {
	names := []string{"client_encoding", "standard_conforming_strings", "search_path", "application_name", "statement_timeout", "lock_timeout", "jit"}
	values := []string{"UTF8", "on", "", "sallyport", "0", "0", "off"} // whatever the role's own are; compiling the schema queries takes longer than they do
	l, err := logIn(ctx, up, cred, version30, names, values)
	if err != nil {
		return nil, err
	}
	l.reader.max = 64 << 20 // a function's body is at most 1 GB upstream, and never that here
	return &catalogSource{up: up, r: l.reader}, nil
}

// catalogSource reads over a connection that nobody else uses, by simple
// queries.
type catalogSource struct {
	up     protocols.Upstream
	r      *reader
	before *catalog.Catalog // that was read last
}

var _ protocols.CatalogSource = (*catalogSource)(nil)

func (c *catalogSource) Close() error {
	_ = send(c.up, protocols.ControlTerminate, message('X'))
	return c.up.Close()
}

// Version is the schema's fingerprint.
func (c *catalogSource) Version(ctx context.Context) (string, error) {
	var v string
	err := c.query(ctx, versionSQL, func(cols [][]byte) error {
		v = string(cols[0])
		return nil
	})
	if err == nil && v == "" {
		err = errors.New("the schema has no version")
	}
	return v, err
}

func (c *catalogSource) Load(ctx context.Context) (*catalog.Catalog, error) {
	next, err := loadCatalog(ctx, c, c.before)
	if err == nil {
		c.before = next
	}
	return next, err
}

func (c *catalogSource) query(ctx context.Context, sql string, each func(cols [][]byte) error) error {
	stop := context.AfterFunc(ctx, c.up.Interrupt)
	defer stop()
	if err := send(c.up, protocols.ControlOwn, message('Q', appendString(nil, sql))); err != nil {
		return err
	}
	var failed error
	for {
		typ, _, err := c.r.next()
		if err != nil {
			return err
		}
		body, err := c.r.body()
		if err != nil {
			return err
		}
		switch typ {
		case 'D':
			cols, err := parseRow(body)
			if err == nil {
				err = each(cols)
			}
			failed = errors.Join(failed, err)
		case 'E':
			r := readReport(body)
			failed = errors.Join(failed, fmt.Errorf("%s (%s)", r.message, r.code))
		case 'Z':
			return failed
		}
	}
}

// into decodes a JSON object and appends it to a list.
func into[T any](list *[]T) func([]byte) error {
	return func(b []byte) error {
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		*list = append(*list, v)
		return nil
	}
}
