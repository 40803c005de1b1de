package rerun

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// mysqlConnection runs texts as COM_QUERY and executions of prepared statements
// as such, with their parameters in binary, so that results come in the format
// that they were recorded from.
type mysqlConnection struct {
	conn *client.Conn
	opt  *Options
}

const (
	mysqlReadOnly = "SET SESSION TRANSACTION READ ONLY"
	// What a statement may wait for a lock, for the same reason as on PostgreSQL.
	mysqlLockWait = "SET SESSION innodb_lock_wait_timeout = 10, SESSION lock_wait_timeout = 10"
)

func connectMySQL(ctx context.Context, opt *Options, session *replay.Recorded) (connection, error) {
	conn, err := dialMySQL(ctx, opt.Target, session.Options[foundRows] != "")
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c := &mysqlConnection{conn, opt}
	setup := mysqlCharsets(session)
	if !opt.Writes {
		setup = append(setup, mysqlReadOnly)
	}
	switch {
	case opt.Rollback:
		setup = append(setup, "START TRANSACTION")
	case opt.Writes:
		setup = append(setup, mysqlLockWait)
	}
	for _, sql := range setup {
		if err := c.own(sql); err != nil {
			c.close(ctx)
			return nil, err
		}
	}
	return c, nil
}

// foundRows is the attribute by which the record says that the client counts
// the rows that an UPDATE finds, not those that it changes.
const foundRows = "sallyport_found_rows"

var charsetName = regexp.MustCompile(`^[a-zA-Z0-9_]+$`)

// mysqlCharsets give a connection the character sets of the session's first
// statement: what it set later is in its statements.
func mysqlCharsets(session *replay.Recorded) []string {
	var out []string
	for _, s := range session.Statements {
		if s.Settings == "" {
			continue
		}
		charset, collation := s.Settings.Get("character_set_client"), s.Settings.Get("collation_connection")
		if charsetName.MatchString(charset) && charsetName.MatchString(collation) && strings.HasPrefix(collation, charset) {
			out = append(out, "SET NAMES "+charset+" COLLATE "+collation)
		}
		switch results := s.Settings.Get("character_set_results"); {
		case results == "":
			out = append(out, "SET SESSION character_set_results = NULL")
		case charsetName.MatchString(results):
			out = append(out, "SET SESSION character_set_results = "+results)
		}
		break
	}
	return out
}

var (
	// mysqlUnlocks finds statements that may let transactions write again after
	// they were made read-only: with the words themselves, or by a text that the
	// record does not show here.
	mysqlUnlocks = regexp.MustCompile(`(?i)write|read_only|\bexecute\b`)
	// mysqlAutocommit finds what may end a transaction by a setting.
	mysqlAutocommit = regexp.MustCompile(`(?i)autocommit|\bexecute\b`)
	mysqlTemporary  = regexp.MustCompile(`(?i)^\s*(create|drop)\s+temporary\s`)
)

// skipMySQL says what else is not run on MySQL and MariaDB.
//
// Source: https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html
func skipMySQL(s *replay.Statement, opt *Options) string {
	sets := s.Does(facts.SessionSet)
	switch {
	case s.Verb == "KILL":
		return "it ends another connection's work"
	case s.Tag == "columns":
		return "it asked for the definitions of columns alone"
	case s.Tag == "closed":
		return "its client did not fetch all of the rows"
	case !opt.Writes && (s.Transaction || sets) && mysqlUnlocks.MatchString(s.Text):
		return "it lets transactions write"
	case opt.Rollback && s.Does(facts.DDL, facts.Privilege, facts.Admin, facts.Call, facts.Unknown) && !mysqlTemporary.MatchString(s.Text):
		return "it commits, or may"
	case opt.Rollback && sets && mysqlAutocommit.MatchString(s.Text):
		return "it begins or ends a transaction"
	}
	return ""
}

// mysqlBudget tells the proxy's own error from the server's by its words: both
// have the state 42000.
func mysqlBudget(s *replay.Statement) bool {
	return s.Code == "42000" && strings.Contains(s.Message, " is used up")
}

// own runs a statement on our own account.
func (c *mysqlConnection) own(sql string) error {
	if _, err := c.conn.Execute(sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (c *mysqlConnection) close(context.Context) {
	_ = c.conn.SetDeadline(deadline())
	_ = c.conn.Quit()
}

func (c *mysqlConnection) run(ctx context.Context, s *replay.Statement, text string) (out *outcome, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	defer notMySQL(&err)
	out = &outcome{}
	var failed error
	if s.Kind == "execute" {
		failed, err = c.execute(s, out)
	} else {
		_, err = c.conn.ExecuteMultiple(text, func(r *mysql.Result, e error) { failed = firstOf(failed, out.mysql(r, false, e)) })
	}
	var theirs *mysql.MyError
	switch {
	case err != nil:
		return nil, fmt.Errorf("it ended the connection: %w", err)
	case errors.As(failed, &theirs):
		out.code = theirs.State
	case failed != nil:
		return nil, failed
	}
	return out, c.guard(s)
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// guard keeps what was promised of transactions after a statement.
func (c *mysqlConnection) guard(s *replay.Statement) error {
	switch {
	case c.opt.Rollback && !c.conn.IsInTransaction():
		return errors.New("the statement ended the transaction that was to be rolled back")
	case !c.opt.Writes && s.Does(facts.SessionSet):
		return c.own(mysqlReadOnly)
	}
	return nil
}

// execute prepares the statement and executes it with its parameters. failed
// is the server's error.
func (c *mysqlConnection) execute(s *replay.Statement, out *outcome) (failed, err error) {
	var theirs *mysql.MyError
	st, err := c.conn.Prepare(s.Text)
	if errors.As(err, &theirs) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	defer st.Close()
	if st.ParamNum() != len(s.Params) {
		return nil, fmt.Errorf("it has %d parameters there, and %d are recorded", st.ParamNum(), len(s.Params))
	}
	args := make([]any, len(s.Params))
	for i, p := range s.Params {
		args[i] = mysqlArgument(p)
	}
	err = st.ExecuteProcedureMultiResults(func(r *mysql.Result, e error) error {
		failed = firstOf(failed, out.mysql(r, true, e))
		return nil
	}, args...)
	return failed, err
}

// mysql adds one result. Of several, the last one's tag is recorded, and the
// rows of all.
func (o *outcome) mysql(r *mysql.Result, inBinary bool, err error) error {
	if err != nil {
		return err
	}
	if r.Resultset == nil || len(r.Fields) == 0 {
		o.tag = "affected " + strconv.FormatUint(r.AffectedRows, 10)
		o.sameTag = func(s *replay.Statement) bool { return s.Scrubbed && countsMore(s.Tag, r.AffectedRows) }
		return nil
	}
	o.columns, o.sameTag = true, nil
	o.tag = "rows " + strconv.Itoa(len(r.RowDatas))
	for i, raw := range r.RowDatas {
		row, err := cells(r, i, raw, inBinary)
		if err != nil {
			return err
		}
		o.rows = append(o.rows, row)
	}
	return nil
}

// countsMore says that the record counts at least so many rows: of statements on
// classed tables the client is told what an UPDATE found, and not how much of it
// changed.
func countsMore(tag string, affected uint64) bool {
	n, err := strconv.ParseUint(strings.TrimPrefix(tag, "affected "), 10, 64)
	return err == nil && n >= affected
}

// cells are a row's values as text: as the server wrote it, or for binary rows
// as the proxy's record writes them.
func cells(r *mysql.Result, i int, raw mysql.RowData, inBinary bool) ([][]byte, error) {
	out := make([][]byte, len(r.Fields))
	for j, f := range r.Fields {
		if !inBinary {
			v, null, n, err := mysql.LengthEncodedString(raw)
			if err != nil {
				return nil, err
			}
			if raw = raw[n:]; !null {
				out[j] = append([]byte{}, v...)
			}
			continue
		}
		switch v := r.Values[i][j]; v.Type {
		case mysql.FieldValueTypeNull:
		case mysql.FieldValueTypeUnsigned:
			out[j] = strconv.AppendUint(nil, v.AsUint64(), 10)
		case mysql.FieldValueTypeSigned:
			out[j] = strconv.AppendInt(nil, v.AsInt64(), 10)
		case mysql.FieldValueTypeFloat:
			bits := 64
			if f.Type == mysql.MYSQL_TYPE_FLOAT {
				bits = 32
			}
			out[j] = strconv.AppendFloat(nil, v.AsFloat64(), 'g', -1, bits)
		default:
			out[j] = append([]byte{}, v.AsString()...)
		}
	}
	return out, nil
}
