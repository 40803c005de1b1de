package sqlpolicy

import (
	"errors"
	"maps"
	"path"
	"strings"
	"sync"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// pattern matches names part by part, from the right.
type pattern struct {
	parts      []string
	collection string // payload patterns: before the colon
}

// columnPattern reads [database.][schema.]table.column.
func columnPattern(s string) (pattern, error) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return pattern{}, errors.New("has more parts than database.schema.table.column")
	}
	if len(parts) < 2 {
		return pattern{}, errors.New("needs at least table.column; write *." + s + " for a column of any table")
	}
	return pattern{parts: parts}, checkParts(parts)
}

// payloadPattern reads collection:path; ** crosses levels of the path.
func payloadPattern(s string) (pattern, error) {
	collection, rest, ok := strings.Cut(s, ":")
	if !ok || collection == "" || rest == "" {
		return pattern{}, errors.New("must be collection:path")
	}
	parts := strings.Split(rest, ".")
	return pattern{parts: parts, collection: collection}, checkParts(append(parts, collection))
}

func checkParts(parts []string) error {
	for _, p := range parts {
		if p == "" {
			return errors.New("has an empty part")
		}
		if strings.ContainsAny(p, `[]\`) {
			return errors.New("may use * and ? as wildcards, nothing else")
		}
	}
	return nil
}

func wild(p, s string) bool {
	if p == "*" {
		return true
	}
	if !strings.ContainsAny(p, "*?") {
		return p == s
	}
	ok, err := path.Match(strings.ReplaceAll(p, "/", "\x00"), strings.ReplaceAll(s, "/", "\x00"))
	return ok && err == nil
}

// matches says whether the pattern names that column.
func (p pattern) matches(n facts.Name, column string) bool {
	name := [4]string{n.Database, n.Schema, n.Name, column}
	for i, part := range p.parts {
		if !wild(part, name[4-len(p.parts)+i]) {
			return false
		}
	}
	return true
}

// classCache remembers which classes a column has, by names only: facts come
// anew with every text and must not be kept by it.
type classCache struct {
	mu     sync.RWMutex
	tables map[cacheKey]map[string][]string
}

type cacheKey struct {
	facts.Name
	system bool
	family string
}

// maxCached bounds the cache; it starts over when it is full.
const maxCached = 20000

// columnClasses are the classes of each of a table's columns. database stands
// in for names that have none.
func (p *Policy) columnClasses(t *facts.Table, database string) [][]string {
	out := make([][]string, len(t.Columns))
	if t.Collection {
		for i, c := range t.Columns {
			out[i] = p.payloadClasses(t.Name.Name, c.Name)
		}
		return out
	}
	key := cacheKey{Name: inDatabase(t.Name, database), system: t.System}
	for _, n := range t.Family {
		key.family += inDatabase(n, database).Database + "\x00" + n.Schema + "\x00" + n.Name + "\x00"
	}
	p.cache.mu.RLock()
	known := p.cache.tables[key]
	p.cache.mu.RUnlock()
	var missing map[string][]string
	for i, c := range t.Columns {
		classes, ok := known[c.Name]
		if !ok {
			classes = p.classesOf(t, c.Name, database)
			if missing == nil {
				missing = map[string][]string{}
			}
			missing[c.Name] = classes
		}
		out[i] = classes
	}
	if missing == nil {
		return out
	}
	// What others read is not written to: the entry is replaced.
	maps.Copy(missing, known)
	if len(missing) > maxColumns {
		return out
	}
	p.cache.mu.Lock()
	defer p.cache.mu.Unlock()
	if p.cache.tables == nil || len(p.cache.tables) >= maxCached {
		p.cache.tables = map[cacheKey]map[string][]string{}
	}
	p.cache.tables[key] = missing
	return out
}

// maxColumns is the most that a table has (PostgreSQL 1600, MySQL 4096); what
// schema changes add up beyond it is not remembered.
const maxColumns = 4096

func inDatabase(n facts.Name, database string) facts.Name {
	if n.Database == "" {
		n.Database = database
	}
	return n
}

var statistics = func() []pattern {
	var out []pattern
	for _, s := range facts.StatisticsColumns() {
		p, err := columnPattern(s)
		if err != nil {
			panic(err) // a constant of the program
		}
		out = append(out, p)
	}
	return out
}()

// classesOf are the classes of one column. Statistics are told by the store's
// catalog and by extensions in whatever schema.
func (p *Policy) classesOf(t *facts.Table, column, database string) []string {
	var out []string
	if len(p.Columns) == 0 {
		return nil
	}
	own := inDatabase(t.Name, database)
	for _, s := range statistics {
		if s.matches(own, column) {
			out = []string{statisticsClass}
			break
		}
	}
	if t.System {
		return out
	}
	names := []facts.Name{own}
	for _, n := range t.Family {
		names = append(names, inDatabase(n, database))
	}
	for _, b := range p.Columns {
		if b.matchesAny(names, column) {
			out = appendNew(out, b.Class)
		}
	}
	return out
}

func (b Binding) matchesAny(names []facts.Name, column string) bool {
	for _, pt := range b.patterns {
		for _, n := range names {
			if pt.matches(n, column) {
				return true
			}
		}
	}
	return false
}

func appendNew(list []string, s string) []string {
	for _, x := range list {
		if x == s {
			return list
		}
	}
	return append(list, s)
}
