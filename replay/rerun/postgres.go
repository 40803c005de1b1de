package rerun

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-proxy/sallyport/replay"
)

// pgConnection runs statements of PostgreSQL's simple protocol, so that
// results come as text, as they are recorded.
type pgConnection struct {
	conn *pgconn.PgConn
	opt  *Options
}

// writable finds statements that let transactions write again after they were
// made read-only. Source: https://www.postgresql.org/docs/current/sql-set-transaction.html
var writable = regexp.MustCompile(`(?i)\bread\s+write\b|read_only`)

func skipPostgres(s *replay.Statement, opt *Options) string {
	if !opt.Writes && writable.MatchString(s.Text) {
		return "it lets transactions write"
	}
	return ""
}

func connectPostgres(ctx context.Context, opt *Options, _ *replay.Recorded) (connection, error) {
	conn, err := pgconn.Connect(ctx, opt.Target)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c := &pgConnection{conn, opt}
	var setup []string
	if !opt.Writes {
		setup = append(setup, readOnly)
	}
	switch {
	case opt.Rollback:
		setup = append(setup, "BEGIN")
	case opt.Writes:
		// Two statements that were at work at once can come to a row the other way
		// round than they did, and then one waits for what is to come after it.
		setup = append(setup, "SET lock_timeout = '10s'")
	}
	for _, sql := range setup {
		if err := c.own(ctx, sql); err != nil {
			c.close(ctx)
			return nil, err
		}
	}
	return c, nil
}

const readOnly = "SET default_transaction_read_only = on"

// own runs a statement on our own account.
func (c *pgConnection) own(ctx context.Context, sql string) error {
	if _, err := c.conn.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (c *pgConnection) close(ctx context.Context) { _ = c.conn.Close(ctx) }

func (c *pgConnection) run(ctx context.Context, _ *replay.Statement, text string) (*outcome, error) {
	before := c.conn.TxStatus()
	if c.opt.Rollback {
		if err := c.own(ctx, "SAVEPOINT sallyport_rerun"); err != nil {
			return nil, err
		}
	}
	results, err := c.conn.Exec(ctx, text).ReadAll()
	if c.conn.IsClosed() {
		return nil, fmt.Errorf("it ended the connection: %w", err)
	}
	if gerr := c.guard(ctx, before, err != nil); gerr != nil {
		return nil, gerr
	}
	out := &outcome{}
	var pe *pgconn.PgError
	switch {
	case errors.As(err, &pe):
		out.code = pe.Code
	case err != nil:
		out.code = err.Error()
	case len(results) > 0:
		last := results[len(results)-1]
		out.tag, out.columns, out.rows = last.CommandTag.String(), len(last.FieldDescriptions) > 0, last.Rows
	}
	return out, nil
}

// guard keeps what was promised of transactions after a statement.
func (c *pgConnection) guard(ctx context.Context, before byte, failed bool) error {
	switch {
	case c.opt.Rollback && c.conn.TxStatus() == 'I':
		return errors.New("the statement ended the transaction that was to be rolled back")
	case c.opt.Rollback && failed:
		return c.own(ctx, "ROLLBACK TO SAVEPOINT sallyport_rerun")
	case c.opt.Rollback:
		return c.own(ctx, "RELEASE SAVEPOINT sallyport_rerun")
	case c.opt.Writes:
		return nil
	case before == 'I' && c.conn.TxStatus() == 'T':
		return c.own(ctx, "SET TRANSACTION READ ONLY")
	case c.conn.TxStatus() == 'I' && c.conn.ParameterStatus("default_transaction_read_only") == "off": // reported since PostgreSQL 14
		return c.own(ctx, readOnly)
	}
	return nil
}
