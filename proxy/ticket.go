package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// ticket lets one statement pass. It belongs to its session; one goroutine at
// a time uses it.
type ticket struct {
	session   *session
	statement *catalog.Statement
	unit      protocols.UnitKind
	id        int64
	text      string
	facts     *facts.Facts
	rawFacts  json.RawMessage
	decision  *facts.Decision
	policy    *sqlpolicy.Policy
	memo      *decided // of a steady decision
	issued    time.Time

	// What the decision depends on besides, as input puts it together.
	params        []facts.Param
	rowsRead      int64
	plan          *facts.Plan
	budgets       []facts.Spent
	inTransaction bool

	view     *catalog.View
	catalogs *catalogs
	seen     *schemaSeen

	spent   atomic.Bool
	columns []string // not yet recorded
	rows    int64
	bytes   int64
	kept    int
	hash    *replay.ResultHash // where the policy asks for it
	meters  []meter            // of the budgets that the rows are charged to
	usage   *facts.Usage       // of a model's answer
	granted []facts.Need       // what people have let pass, where it was held

	// Where a unit of one statement keeps its slices of tickets.
	alone  [1]*ticket
	handed [1]protocols.Ticket
}

// input is what the statement is decided by.
func (t *ticket) input() sqlpolicy.Input {
	s := t.session
	return sqlpolicy.Input{
		Identity: s.identity, Facts: t.facts, Text: t.text, Params: t.params, InTransaction: t.inTransaction, Now: t.issued,
		Prepare: t.unit == protocols.Prepare, Plan: t.plan, Spent: t.budgets,
		Session: facts.Session{ID: s.id, Target: s.target.config.Name, Protocol: s.target.protocol.Name, Database: s.database, RowsRead: t.rowsRead, Started: s.started},
	}
}

// schemaSeen is what tickets know of the schema. Those of a session share it
// that were decided under the same: a change that the session itself makes
// next is no surprise to what it asked before.
type schemaSeen struct {
	generation atomic.Int64
	unsure     bool // another session's change was open when it was decided
}

var _ protocols.Ticket = (*ticket)(nil)

// events are reused: a statement makes two.
var events = sync.Pool{New: func() any { return &replay.Event{} }}

func (t *ticket) Facts() *facts.Facts       { return t.facts }
func (t *ticket) Decision() *facts.Decision { return t.decision }
func (t *ticket) Change() *catalog.Change   { return t.statement.Change }

func (t *ticket) deny(kind protocols.DenialKind, format string, args ...any) *protocols.Denial {
	return &protocols.Denial{Kind: kind, Message: fmt.Sprintf(format, args...), At: -1, Hint: "Nothing of the result was sent; run the statement again."}
}

// Bind gives each result column its mask. It is the second net under lineage:
// a column whose origin is classed and that is not masked ends the statement.
func (t *ticket) Bind(columns []protocols.ResultColumn) ([]*mask.Mask, error) {
	if t.catalogs != nil && (t.seen.unsure || t.catalogs.generation.Load() != t.seen.generation.Load()) {
		if err := t.decideAgain(); err != nil {
			return nil, err
		}
	}
	if masks, ok := t.remembered(columns); ok {
		return masks, nil
	}
	if n := len(t.facts.Outputs); n != len(columns) && t.facts.Unparsed == "" && !t.facts.OpenResults {
		return nil, t.deny(protocols.DenySchema, "the result has %d columns where %d were expected", len(columns), n)
	}
	masks := make([]*mask.Mask, len(columns))
	t.columns = make([]string, len(columns))
	for i, c := range columns {
		t.columns[i] = c.Name
	}
	for _, m := range t.decision.Masks {
		c := columns[m.Output]
		compiled, err := mask.Compile(m.Mask, c.Kind, t.session.engine.keys.Hash)
		if err != nil {
			return nil, t.deny(protocols.DenyUnsupported, "column %q (class %s) cannot be masked: %v", c.Name, strings.Join(m.Classes, ", "), err)
		}
		masks[m.Output] = compiled
	}
	for i, c := range columns {
		if masks[i] == nil && t.classedOrigin(c) {
			t.session.engine.metrics.caught.Inc()
			t.session.engine.log.Error().Str("session", t.session.id).Int64("statement", t.id).Msg("a classed column was about to leave unmasked")
			return nil, t.deny(protocols.DenySchema, "column %q comes from a classed column and was not expected to", c.Name)
		}
	}
	t.remember(columns, masks)
	return masks, nil
}

// classedOrigin says that the column's origin, as the upstream announces it,
// has a class that the identity may not see.
func (t *ticket) classedOrigin(c protocols.ResultColumn) bool {
	if c.OriginColumn != "" && c.Origin.Name != "" {
		return t.policy.Hides(t.session.identity, c.Origin, c.OriginColumn, false)
	}
	if c.Table == 0 || c.Column <= 0 || t.view == nil {
		return false
	}
	r := t.view.RelationByOID(c.Table)
	if r == nil {
		return false
	}
	for _, col := range r.Columns {
		if col.Num == c.Column {
			return t.policy.Hides(t.session.identity, facts.Name{Database: t.view.Database, Schema: r.Schema, Name: r.Name}, col.Name, r.Schema == "pg_catalog")
		}
	}
	return false
}

// decideAgain looks whether a schema change between the decision and the
// result makes another decision of it.
func (t *ticket) decideAgain() error {
	u := protocols.Unit{Kind: t.unit, Text: t.text, View: t.view}
	// A change that is not known to have ended may have been committed already.
	// One that has ended is in what is compared after it: many tickets of a
	// pipeline need one comparison.
	open := t.seen.unsure || t.catalogs.altering.Load() > 0
	generation := t.catalogs.generation.Load()
	if !t.session.altering.Load() { // else the view is its own transaction's, and is kept
		c, err := t.catalogs.get(context.Background(), open)
		if err != nil {
			return t.deny(protocols.DenySchema, "the schema changed while the statement ran, and cannot be read")
		}
		fresh := *t.view
		fresh.Catalog = c
		u.View = &fresh
	} else if generation != t.seen.generation.Load() {
		return t.deny(protocols.DenySchema, "the schema was changed by others while the statement ran")
	}
	a, err := t.session.analyse(&u)
	if err == nil && len(a.statements) == 1 {
		in := t.input()
		in.Facts = a.statements[0].Facts
		if t.unit == protocols.Execute {
			in.Facts = in.Facts.Bind(in.Params)
		}
		if sameDecision(t.decision, t.policy.Decide(in)) {
			t.seen = &schemaSeen{unsure: t.seen.unsure} // this ticket alone was looked at
			t.seen.generation.Store(generation)
			return nil
		}
	}
	return t.deny(protocols.DenySchema, "the schema changed while the statement ran")
}

// alters notes that the statement changes the schema, if it does.
func (t *ticket) alters() {
	if c := t.statement.Change; c != nil && c.ReloadSchema && t.catalogs != nil {
		before := t.seen.generation.Load()
		if g := t.session.altered(t.catalogs); g == before+1 {
			t.seen.generation.Store(g) // our own change is no surprise to the unit
		}
	}
}

// settles notes that the statement's change of the schema, if it makes one, is
// committed: others need not wait for the end of a transaction to rely on the
// schema again.
func (t *ticket) settles() {
	if c := t.statement.Change; c == nil || !c.ReloadSchema || t.catalogs == nil {
		return
	}
	before := t.seen.generation.Load()
	t.session.settled()
	if g := t.catalogs.generation.Load(); g == before+1 {
		t.seen.generation.Store(g)
	}
}

func sameDecision(a, b *facts.Decision) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

var _ protocols.Documents = (*ticket)(nil)

// Path is the mask of a value in a document.
func (t *ticket) Path(collection string, path []string) (protocols.PathMask, error) {
	classes, m, below := t.policy.Payload(&t.session.identity, collection, path)
	if len(classes) == 0 {
		return protocols.PathMask{Below: below}, nil
	}
	compiled, err := mask.CompileJSON(m, t.session.engine.keys.Hash)
	if err != nil {
		return protocols.PathMask{}, t.deny(protocols.DenyUnsupported, "a value of class %s cannot be masked: %v", strings.Join(classes, ", "), err)
	}
	return protocols.PathMask{Mask: compiled}, nil
}

// PathScope is the caller's session and the policy: what masks depend on.
func (t *ticket) PathScope() any { return pathScope{t.session, t.policy} }

type pathScope struct {
	session *session
	policy  *sqlpolicy.Policy
}

// Bytes charges bytes that belong to rows counted already.
func (t *ticket) Bytes(n int) error {
	t.bytes += int64(n)
	for i := range t.meters {
		if err := t.meters[i].more(t.session, int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// Row counts a row before it is written.
func (t *ticket) Row(bytes int) (keep bool, err error) {
	t.rows++
	t.bytes += int64(bytes)
	for i := range t.meters {
		if err := t.meters[i].row(t.session, int64(bytes)); err != nil {
			return false, err
		}
	}
	return t.records() || t.policy.Record.Hash, nil
}

// records says that the next row goes into the record.
func (t *ticket) records() bool {
	limit := t.decision.Record
	return limit < 0 || t.kept < limit
}

// Keep records the row just counted.
func (t *ticket) Keep(cells [][]byte) error {
	if t.policy.Record.Hash {
		if t.hash == nil {
			t.hash = &replay.ResultHash{}
		}
		t.hash.Add(cells)
		if !t.records() {
			return nil
		}
	}
	t.kept++
	err := t.session.record.AppendRow(t.id, t.columns, cells)
	t.columns = nil
	if err != nil {
		return t.session.engine.unrecorded(err)
	}
	return nil
}

// Done records the end. A ticket that is done twice was done once.
func (t *ticket) Done(o protocols.Outcome) error {
	if t.spent.Swap(true) || t.unit == protocols.Prepare {
		return nil
	}
	s := t.session
	now := s.engine.now()
	for i := range t.meters {
		t.meters[i].done(s)
		t.meters[i].giveBackTokens(s)
	}
	s.active.Add(-1)
	s.rows.Add(t.rows)
	ms := float64(now.Sub(t.issued).Microseconds()) / 1000
	e := events.Get().(*replay.Event)
	defer events.Put(e)
	*e = replay.Event{Type: replay.TypeComplete, At: now, ID: t.id, Tag: o.Tag, Rows: t.rows, Bytes: t.bytes, Milliseconds: ms, Usage: t.usage}
	if t.hash != nil && t.hash.Rows() == t.rows { // a row over the limits is not seen whole
		e.Hash = t.hash.String()
	}
	switch {
	case o.Lost:
		e.Type, e.Tag, e.Code, e.Message = replay.TypeError, "", "lost", "the session ended before the statement did"
	case o.Skipped:
		e.Type, e.Tag, e.Code, e.Message = replay.TypeError, "", "skipped", "not run: what came before it failed"
	case o.Code != "":
		e.Type, e.Tag, e.Code, e.Message = replay.TypeError, "", o.Code, o.Message
	default:
		t.alters()
	}
	if s.target.protocol.CommitsDDL {
		t.settles()
	}
	s.target.counts.ended(t.rows, t.bytes, now.Sub(t.issued))
	if err := s.record.Append(e); err != nil {
		return s.engine.unrecorded(err)
	}
	return nil
}
