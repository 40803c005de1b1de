package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// openCatalog logs in on a connection of the proxy's own and reads the schema
// over it.
func openCatalog(ctx context.Context, up protocols.Upstream, cred protocols.Credential) (protocols.CatalogSource, error) {
	names := []string{"client_encoding", "standard_conforming_strings", "search_path", "application_name", "statement_timeout", "lock_timeout"}
	values := []string{"UTF8", "on", "", "sallyport", "0", "0"} // whatever the role's own are
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
	up protocols.Upstream
	r  *reader
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
	return loadCatalog(ctx, c)
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

// loadCatalog reads the whole schema as the connection sees it.
func loadCatalog(ctx context.Context, q querier) (*catalog.Catalog, error) {
	c := &catalog.Catalog{Dialect: "postgres"}
	err := q.query(ctx, serverSQL, func(cols [][]byte) error {
		c.Version, c.Database = string(cols[0]), string(cols[1])
		return nil
	})
	for _, part := range []struct {
		what string
		sql  string
		into func([]byte) error
	}{
		{"schemas", schemasSQL, into(&c.Schemas)},
		{"relations", relationsSQL, into(&c.Relations)},
		{"functions", functionsSQL, into(&c.Functions)},
		{"operators", operatorsSQL, into(&c.Operators)},
		{"casts", castsSQL, into(&c.Casts)},
		{"types", typesSQL, into(&c.Types)},
	} {
		if err == nil {
			err = q.query(ctx, part.sql, func(cols [][]byte) error { return part.into(cols[0]) })
		}
		if err != nil {
			return nil, fmt.Errorf("reading the schema's %s: %w", part.what, err)
		}
	}
	for i := range c.Relations {
		r := &c.Relations[i]
		r.Temporary = strings.HasPrefix(r.Schema, "pg_temp_")
	}
	return c, nil
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
