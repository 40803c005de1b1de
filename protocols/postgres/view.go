package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/protocols/internal/sqlwire"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// viewState is how names resolve in this session, and what of it is stale.
type viewState struct {
	view         *catalog.View
	setting      []string // the search path as set
	staleSession bool     // path, role and temporary schema must be asked for
	staleSchema  bool     // the schema was changed by this session
	private      bool     // the catalog is this transaction's own
	touched      bool     // the open transaction changed the path or the role
}

// currentView returns the view as of now. It asks the upstream only where
// something may have changed, and never in a failed transaction, where
// nothing but its end would be run.
func (s *session) currentView(ctx context.Context, fresh bool) (*catalog.View, error) {
	v := &s.view
	if s.status.Load() == 'E' && v.view != nil {
		v.revert(true)
		return v.view, nil
	}
	open := s.status.Load() == 'T' || s.unsynced
	// What a function or DO has made shows in no statement's words: where a name
	// is unknown, the open transaction and the temporary schema are looked at.
	v.staleSession = v.staleSession || fresh
	if open && (v.staleSchema || fresh && (v.private || v.view != nil && builtinsFirst(v.view))) {
		if v.view != nil && !builtinsFirst(v.view) {
			return nil, &wireError{severity: "ERROR", code: "0A000", message: "the schema was changed in this transaction, under a search path that puts other schemas before pg_catalog",
				hint: "End the transaction, or leave pg_catalog out of search_path, which puts it first."}
		}
		var before *catalog.Catalog
		if v.view != nil {
			before = v.view.Catalog
		}
		c, err := loadCatalog(ctx, s.ownQuerier(), before)
		if err != nil {
			return nil, err
		}
		v.private, v.staleSchema = true, false
		v.replace(c.Index())
	} else if !v.private || !open {
		c, err := s.sess.Catalog(ctx, fresh || v.staleSchema)
		if err != nil {
			return nil, err
		}
		v.private, v.staleSchema = false, false
		if v.view == nil || v.view.Catalog != c {
			v.replace(c)
		}
	}
	if v.staleSession {
		names, err := loadSession(ctx, s.ownQuerier())
		if err != nil {
			return nil, err
		}
		n := *v.view
		n.SearchPath, n.Role, n.TempSchema = names.path, names.role, names.temp
		v.view, v.setting, v.staleSession = &n, names.setting, false
	}
	s.types.Store(v.view.Catalog)
	v.revert(open)
	return v.view, nil
}

// revert notes whether the open transaction, if there is one, has changed what
// names mean.
func (v *viewState) revert(open bool) {
	reverting := open && (v.private || v.touched || v.staleSchema)
	if v.view != nil && v.view.Reverting != reverting {
		n := *v.view
		n.Reverting = reverting
		v.view = &n
	}
}

// builtinsFirst says that names which the proxy's own queries leave
// unqualified, operators and types, mean PostgreSQL's own.
func builtinsFirst(v *catalog.View) bool {
	for _, name := range v.SearchPath {
		if name == "pg_catalog" {
			return true
		}
		if name != v.TempSchema {
			return false
		}
	}
	return true
}

// replace puts a catalog in the view's place; everything else stays.
func (v *viewState) replace(c *catalog.Catalog) {
	n := catalog.View{}
	if v.view != nil {
		n = *v.view
	}
	n.Catalog = c
	if v.setting != nil {
		n.SearchPath = effectivePath(&n, v.setting)
	}
	v.view = &n
}

// effectivePath is what a search_path setting means: schemas that exist and
// that the role may use, with the implicit ones in front.
//
// Source: recomputeNamespacePath in postgres/src/backend/catalog/namespace.c.
func effectivePath(v *catalog.View, setting []string) []string {
	var out []string
	for _, name := range setting {
		switch name {
		case "$user":
			name = v.Role
		case "pg_temp":
			if name = v.TempSchema; name == "" {
				continue
			}
		}
		sc := v.Schema(name)
		if sc == nil && name != v.TempSchema || slices.Contains(out, name) {
			continue
		}
		if sc != nil && sc.UsableBy != nil && !slices.Contains(sc.UsableBy, v.Role) {
			continue
		}
		out = append(out, name)
	}
	if !slices.Contains(out, "pg_catalog") {
		out = append([]string{"pg_catalog"}, out...)
	}
	if v.TempSchema != "" && !slices.Contains(out, v.TempSchema) {
		out = append([]string{v.TempSchema}, out...)
	}
	return out
}

// dropCursor forgets a cursor's name, which a portal takes.
func (v *viewState) dropCursor(name string) (f *facts.Facts, ok bool) {
	if v.view == nil || name == "" {
		return nil, false
	}
	if f, ok = v.view.Cursors[name]; ok {
		n := *v.view
		n.Cursors = maps.Clone(n.Cursors)
		delete(n.Cursors, name)
		v.view = &n
	}
	return f, ok
}

// dropPrepared forgets a name that PREPARE made. If the upstream then keeps
// the statement after all, EXECUTE of it is refused, which is safe.
func (v *viewState) dropPrepared(name string) {
	if v.view == nil || name == "" {
		return
	}
	if _, ok := v.view.Prepared[name]; ok {
		n := *v.view
		n.Prepared = sqlwire.Changed(n.Prepared, nil, []string{name})
		v.view = &n
	}
}

func (v *viewState) declare(name string, f *facts.Facts) {
	n := *v.view
	n.Cursors = maps.Clone(n.Cursors)
	if n.Cursors == nil {
		n.Cursors = map[string]*facts.Facts{}
	}
	n.Cursors[name] = f
	v.view = &n
}

// succeed applies what a statement has done to the view.
func (s *session) succeed(t protocols.Ticket) {
	c := t.Change()
	v := &s.view
	if c == nil || v.view == nil {
		return
	}
	transaction := len(t.Facts().Effects) > 0 && t.Facts().Effects[0].Action == facts.Transaction
	if transaction {
		// BEGIN, COMMIT and ROLLBACK matter only where the path or the role
		// was changed inside.
		v.staleSession = v.staleSession || c.ReloadSession && v.touched
	} else {
		v.staleSession = v.staleSession || c.ReloadSession
		v.touched = v.touched || c.ReloadSession || c.SearchPath != nil
	}
	v.staleSchema = v.staleSchema || c.ReloadSchema
	n := *v.view
	if c.SearchPath != nil {
		v.setting = c.SearchPath
		n.SearchPath = effectivePath(&n, c.SearchPath)
	}
	n.Prepared = sqlwire.Changed(n.Prepared, c.Prepare, c.Deallocate)
	n.Cursors = sqlwire.Changed(n.Cursors, c.Declare, c.Close)
	v.view = &n
	for name := range c.Declare {
		s.portals.set(name, nil) // it can only be a stale one
	}
	for name, p := range c.Prepare {
		s.stmts[name] = &statement{name: name, text: p.Text, sql: true}
	}
	for _, name := range c.Deallocate {
		if name == "" {
			clear(s.stmts)
		}
		delete(s.stmts, name)
	}
}

// transactionEnded forgets what ends with a transaction: portals bound before
// it, the private catalog.
func (s *session) transactionEnded(turn int) {
	if p := s.portals.unnamed; p != nil && p.turn < turn {
		s.portals.unnamed = nil
		s.reuse(p)
	}
	for name, p := range s.portals.named {
		if p.turn < turn {
			delete(s.portals.named, name)
		}
	}
	if s.view.private {
		s.view.private, s.view.staleSchema = false, true
	}
	s.view.touched = false
}

// splitPath reads the value of SHOW search_path: identifiers, quoted where
// needed, with commas between them.
func splitPath(s string) []string {
	out := []string{}
	for len(s) > 0 {
		s = strings.TrimLeft(s, " ,")
		if s == "" {
			break
		}
		if s[0] != '"' {
			name, rest, _ := strings.Cut(s, ",")
			out, s = append(out, strings.ToLower(strings.TrimSpace(name))), rest
			continue
		}
		var name strings.Builder
		i := 1
		for ; i < len(s); i++ {
			if s[i] == '"' {
				if i+1 < len(s) && s[i+1] == '"' {
					i++
				} else {
					break
				}
			}
			name.WriteByte(s[i])
		}
		out, s = append(out, name.String()), s[min(i+1, len(s)):]
	}
	return out
}
