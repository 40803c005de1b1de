package sqlpolicy

import (
	"slices"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// How a class's values were read.
const (
	ReadClear    = "clear"    // they were in the result as they are, or what was computed from them
	ReadMasked   = "masked"   // they were in the result, masked
	ReadCompared = "compared" // they were not in the result: a condition, an order or a write used them
)

// ClassRead is a class that a statement reads in one table or collection.
type ClassRead struct {
	Class  string
	Object facts.Name
	How    string
}

// Reads says which classes, as this policy binds them, a statement read from
// which tables and collections. d is what was decided when it ran.
func (p *Policy) Reads(id facts.Identity, f *facts.Facts, d *facts.Decision, database string) []ClassRead {
	b := p.bind(&Input{Identity: id, Facts: f, Session: facts.Session{Database: database}})
	var out []ClassRead
	add := func(r facts.ColumnRef, how string) {
		if _, ok := f.Column(r); !ok {
			return
		}
		t := &f.Tables[r.Table]
		for _, class := range b.all[r.Table][r.Column] {
			if class == statisticsClass {
				continue
			}
			read := ClassRead{Class: class, Object: t.Name, How: how}
			at := slices.IndexFunc(out, func(o ClassRead) bool { return o.Class == class && o.Object == t.Name })
			switch {
			case at < 0:
				out = append(out, read)
			case how == ReadClear || how == ReadMasked && out[at].How == ReadCompared:
				out[at].How = how // the most that was told
			}
		}
	}
	for i, o := range f.Outputs {
		masked := slices.ContainsFunc(d.Masks, func(m facts.ColumnMask) bool { return m.Output == i })
		for _, s := range o.Sources {
			how := ReadClear
			if masked || f.Tables[s.Table].Collection && len(b.classes(s.ColumnRef)) > 0 {
				how = ReadMasked // of collections, path by path as the answer came
			}
			add(s.ColumnRef, how)
		}
	}
	for _, u := range f.Uses {
		for _, r := range u.Columns {
			add(r, ReadCompared)
		}
	}
	return out
}
