package mysql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/sqlwire"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// tracked are the system variables whose changes the upstream tells.
var tracked = []string{"autocommit", "character_set_client", "character_set_connection", "character_set_results", "collation_connection", "sql_mode", "time_zone"}

// trackSQL asks the upstream to tell them; the current database too.
var trackSQL = "SET SESSION session_track_schema = ON, SESSION session_track_system_variables = '" + strings.Join(tracked, ",") + "'"

// trackedName is the setting that says what is told.
const trackedName = "session_track_system_variables"

// trackAgainSQL adds what the proxy must be told to what the client has asked for.
var trackAgainSQL = "SET SESSION " + trackedName + " = CONCAT_WS(',', NULLIF(@@SESSION." + trackedName + ", ''), '" + strings.Join(tracked, ",") + "')"

// stateSQL asks for what a session begins with.
const stateSQL = `SELECT DATABASE(), CURRENT_USER(), @@SESSION.sql_mode, @@SESSION.character_set_client, @@SESSION.character_set_connection,
	@@SESSION.character_set_results, @@SESSION.collation_connection, @@SESSION.autocommit, @@GLOBAL.lower_case_table_names`

var stateNames = []string{"sql_mode", "character_set_client", "character_set_connection", "character_set_results", "collation_connection", "autocommit", "lower_case_table_names"}

// viewState is how names and texts are read in this session.
type viewState struct {
	view     *catalog.View // as of the last statement, nil where it must be put together
	catalog  *catalog.Catalog
	settings map[string]string
	database string
	role     string
	temps    int

	prepared  map[string]catalog.Prepared
	variables map[string]*string
	temporary map[[2]string]*catalog.Relation

	tracks      bool // the upstream tells of changes
	untracked   bool // the client has said what is to be tracked
	stale       bool // the session must be asked
	staleSchema bool // the schema was changed by this session
}

func (v *viewState) set(name, value string) {
	if v.settings == nil {
		v.settings = map[string]string{}
	}
	if v.settings[name] != value {
		v.settings[name] = value
		v.view = nil
	}
}

// prepareSession makes the upstream's session tell of its changes and asks
// for its state.
func (s *session) prepareSession(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.up.Interrupt)
	defer stop()
	v := &s.view
	v.prepared, v.variables, v.temporary = nil, nil, nil
	v.tracks = s.upCaps&capSessionTrack != 0
	if v.tracks {
		err := s.own(trackSQL, nil)
		var r *report
		if errors.As(err, &r) {
			v.tracks = false
		} else if err != nil {
			return err
		}
	}
	return s.readState()
}

// trackAgain has the upstream tell what the proxy must know, after the client has set what it is told itself.
func (s *session) trackAgain() error {
	v := &s.view
	v.untracked, v.stale = false, true
	if !v.tracks {
		return nil
	}
	err := s.own(trackAgainSQL, nil)
	var r *report
	if errors.As(err, &r) {
		v.tracks = false
		return nil
	}
	return err
}

func (s *session) readState() error {
	v := &s.view
	v.stale, v.view = false, nil
	return s.own(stateSQL, func(cells [][]byte) error {
		if len(cells) != 2+len(stateNames) {
			return errAnswer
		}
		v.database, v.role = string(cells[0]), string(cells[1])
		for i, name := range stateNames {
			v.set(name, string(cells[2+i]))
		}
		return s.checkCharset()
	})
}

// checkCharset ends a session whose texts could mean something else than they
// say.
func (s *session) checkCharset() error {
	if c := s.view.settings["character_set_client"]; slices.Contains(unsafeCharsets, c) {
		return fatal(1115, "42000", "character set "+c+" does not pass the proxy: a byte of ASCII can be part of another character in it")
	}
	return nil
}

// track takes what a result says of the session.
func (s *session) track(e *ended) error {
	s.status = e.status
	if len(e.state) == 0 {
		return nil
	}
	v := &s.view
	err := changes(e.state, func(name, value string) {
		switch {
		case name == "":
			v.database, v.view = value, nil
		case name == "autocommit":
			v.set(name, onOff(value))
		case slices.Contains(stateNames, name):
			v.set(name, value)
		}
	})
	if err != nil {
		return &upstreamError{err}
	}
	return s.checkCharset()
}

func onOff(value string) string {
	if strings.EqualFold(value, "ON") || value == "1" {
		return "1"
	}
	return "0"
}

// currentView is the view as of now.
func (s *session) currentView(ctx context.Context, fresh bool) (*catalog.View, error) {
	v := &s.view
	if v.untracked {
		if err := s.trackAgain(); err != nil {
			return nil, err
		}
	}
	if v.stale {
		if err := s.readState(); err != nil {
			return nil, err
		}
	}
	c, err := s.sess.Catalog(ctx, fresh || v.staleSchema)
	if err != nil {
		return nil, err
	}
	v.staleSchema = false
	if v.view != nil && v.catalog == c {
		return v.view, nil
	}
	v.catalog = c
	n := &catalog.View{
		Catalog: c, Role: v.role, Settings: catalog.NewSettings(v.settings),
		Prepared: v.prepared, Variables: v.variables, Temporary: v.temporary,
	}
	if v.database != "" {
		n.SearchPath = []string{v.database}
	}
	if len(v.temporary) > 0 {
		n.TempSchema = fmt.Sprintf("%s#%d", s.sess.ID(), v.temps)
	}
	v.view = n
	return n, nil
}

// succeed applies what a statement has done to the view.
func (s *session) succeed(t protocols.Ticket) {
	v, c := &s.view, t.Change()
	if c == nil {
		return
	}
	v.view = nil
	v.stale = v.stale || c.ReloadSession && !v.tracks
	v.staleSchema = v.staleSchema || c.ReloadSchema
	if c.SearchPath != nil && !v.tracks {
		v.stale = true
	}
	for name, value := range c.Settings {
		if name == trackedName || v.tracks && slices.Contains(tracked, name) {
			continue // the upstream's own word is better
		}
		v.stale = v.stale || !v.tracks
		v.set(name, value)
	}
	v.prepared = sqlwire.Changed(v.prepared, c.Prepare, c.Deallocate)
	v.variables = sqlwire.Changed(v.variables, c.Variables, c.Forget)
	if len(c.Temporary) > 0 {
		v.temps++
		v.temporary = maps.Clone(v.temporary)
		if v.temporary == nil {
			v.temporary = map[[2]string]*catalog.Relation{}
		}
		for name, r := range c.Temporary {
			if r == nil {
				delete(v.temporary, name)
			} else {
				v.temporary[name] = r
			}
		}
	}
}

// unsettle takes from the view what a statement that did not succeed may have
// changed before it failed: assignments of variables stay, tables may be gone.
// code is the upstream's error, 0 where the statement was stopped.
func (s *session) unsettle(t protocols.Ticket, code uint16) {
	v, c := &s.view, t.Change()
	if c == nil {
		return
	}
	v.view = nil
	v.stale = v.stale || c.ReloadSession || c.SearchPath != nil || len(c.Settings) > 0
	v.staleSchema = v.staleSchema || c.ReloadSchema
	v.prepared = sqlwire.Changed(v.prepared, nil, slices.Collect(maps.Keys(c.Prepare)))
	v.prepared = sqlwire.Changed(v.prepared, nil, c.Deallocate)
	v.variables = sqlwire.Changed(v.variables, nil, slices.Concat(c.Forget, slices.Collect(maps.Keys(c.Variables))))
	const tableExists = 1050
	for name, r := range c.Temporary {
		_, there := v.temporary[name]
		if there && code != tableExists || r == nil || r.Kind == catalog.RelUncertain {
			v.temps++
			v.temporary = maps.Clone(v.temporary)
			v.temporary[name] = &catalog.Relation{Schema: name[0], Name: name[1], Kind: catalog.RelUncertain, Temporary: true}
		}
	}
}

// diagnose notes whether what the upstream keeps of the last statement's
// warnings and errors speaks of classed values. A statement over no table may
// leave them as they were.
func (s *session) diagnose(t protocols.Ticket) {
	switch {
	case t.Decision().Scrub:
		s.view.set("diagnostics", "classed")
	case len(t.Facts().Tables) > 0:
		s.view.set("diagnostics", "")
	}
}

// admit asks the engine, with a fresher schema once where a name was unknown.
func (s *session) admit(ctx context.Context, u protocols.Unit) ([]protocols.Ticket, error) {
	return s.admitIn(ctx, u, nil)
}

// viewFor is the view as of now, for a prepared statement in the database that
// it was prepared in.
func (s *session) viewFor(ctx context.Context, fresh bool, st *statement) (*catalog.View, error) {
	view, err := s.currentView(ctx, fresh)
	if err != nil || st == nil {
		return view, err
	}
	if st.under == view {
		return st.view, nil
	}
	for _, name := range readBy {
		if st.settings.Get(name) != view.Settings.Get(name) {
			return nil, &wireError{code: 1105, state: "0A000", message: "a statement that was prepared under another sql_mode or character set does not pass the proxy; Prepare it again."}
		}
	}
	st.under, st.view = view, view
	if !slices.Equal(view.SearchPath, st.path) {
		n := *view
		n.SearchPath = st.path
		st.view = &n
	}
	return st.view, nil
}

// readBy are the settings by which a text is read.
var readBy = []string{"sql_mode", "character_set_client", "collation_connection"}

// admitIn is admit for an execution of a prepared statement, if one is given.
func (s *session) admitIn(ctx context.Context, u protocols.Unit, st *statement) ([]protocols.Ticket, error) {
	u.Fresh = func(ctx context.Context) (*catalog.View, error) { return s.viewFor(ctx, true, st) }
	for fresh := false; ; fresh = true {
		view, err := s.viewFor(ctx, fresh, st)
		if err != nil {
			return nil, err
		}
		u.View, u.InTransaction = view, s.status&statusInTransaction != 0
		h := s.watchHold(ctx)
		u.OnHold = h.onHold
		tickets, err := s.sess.Admit(h.ctx, u)
		h.end()
		var p *facts.Problem
		if fresh || !errors.As(err, &p) || !p.Undefined {
			for _, t := range tickets {
				if c := t.Change(); c != nil && c.Settings[trackedName] != "" {
					s.view.untracked = true // whether it succeeds or not
				}
			}
			return tickets, err
		}
	}
}
