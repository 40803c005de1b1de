package pgfacts

import (
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// candidate is a function or operator that a call may mean, with the types
// of its arguments as this call would fill them.
type candidate struct {
	fn     *catalog.Function
	op     *catalog.Operator
	schema string
	args   []string
}

// pick chooses among candidates of the right number of arguments as
// func_select_candidate does (parse_func.c). Where it cannot tell, it returns
// all that remain; none means that no candidate fits.
func (a *analysis) pick(cands []*candidate, types []string, isOperator bool) []*candidate {
	a.byPath(cands)
	if !slices.Contains(types, "") {
		if c := a.exactMatch(cands, types, isOperator); c != nil {
			return []*candidate{c}
		}
	}
	var viable []*candidate
	for _, c := range cands {
		if a.accepts(c.args, types) && !shadowed(viable, c) {
			viable = append(viable, c)
		}
	}
	if len(viable) <= 1 || slices.Contains(types, "") {
		return viable
	}
	return a.best(viable, types)
}

// byPath orders candidates as their schemas stand on the search path.
func (a *analysis) byPath(cands []*candidate) {
	rank := func(c *candidate) int {
		if i := slices.Index(a.view.SearchPath, c.schema); i >= 0 {
			return i
		}
		return len(a.view.SearchPath)
	}
	slices.SortStableFunc(cands, func(x, y *candidate) int { return rank(x) - rank(y) })
}

// shadowed says that a candidate with the same arguments stands earlier.
func shadowed(earlier []*candidate, c *candidate) bool {
	return slices.ContainsFunc(earlier, func(o *candidate) bool { return o.schema != c.schema && slices.Equal(o.args, c.args) })
}

func (a *analysis) exactMatch(cands []*candidate, types []string, isOperator bool) *candidate {
	want := slices.Clone(types)
	if isOperator && len(want) == 2 {
		if want[0] == typeUnknown {
			want[0] = want[1]
		} else if want[1] == typeUnknown {
			want[1] = want[0]
		}
	}
	if slices.Contains(want, typeUnknown) {
		return nil
	}
	for _, try := range [][]string{want, a.bases(want)} {
		for _, c := range cands {
			if slices.Equal(c.args, try) {
				return c
			}
		}
		if !isOperator {
			break
		}
	}
	return nil
}

func (a *analysis) bases(types []string) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = a.base(t)
	}
	return out
}

func (a *analysis) accepts(args, types []string) bool {
	for i, t := range types {
		if !a.implicit(t, args[i]) {
			return false
		}
	}
	return true
}

// implicit says whether a value of one type can become an argument of another
// without a cast being written.
func (a *analysis) implicit(from, to string) bool {
	switch {
	case from == to, from == "", from == typeUnknown, from == "pg_catalog.void":
		return true
	case isPseudo(to):
		return a.polymorphic(from, to)
	}
	base := a.base(from)
	if base == to {
		return true
	}
	for i := range a.view.Casts {
		c := &a.view.Casts[i]
		if c.Context == "i" && c.To == to && (c.From == from || c.From == base) {
			return true
		}
	}
	if fe, te := a.element(base), a.element(to); fe != "" && te != "" {
		return a.implicit(fe, te)
	}
	if isRowType(a, base) && (to == typeRecord || isRowType(a, to) && (from == typeRecord || a.inherits(base, to))) {
		return true
	}
	return false
}

// inherits says that one row type can stand for another, by inheritance.
func (a *analysis) inherits(from, to string) bool {
	f, t := a.typeOf(from), a.typeOf(to)
	if f == nil || t == nil {
		return false
	}
	r := a.view.RelationByOID(f.Relation)
	if r == nil {
		return false
	}
	for _, m := range a.view.Family(r) {
		if m.OID == t.Relation {
			return true
		}
	}
	return false
}

func (a *analysis) polymorphic(from, to string) bool {
	_, name := splitType(to)
	t := a.typeOf(a.base(from))
	switch name {
	case "anyarray", "anycompatiblearray":
		return t == nil || t.Element != "" || from == "pg_catalog.anyarray"
	case "anynonarray", "anycompatiblenonarray":
		return t == nil || t.Element == ""
	case "anyenum":
		return t == nil || t.Kind == "e"
	case "anyrange", "anycompatiblerange":
		return t == nil || t.Kind == "r"
	case "anymultirange", "anycompatiblemultirange":
		return t == nil || t.Kind == "m"
	case "record":
		return isRowType(a, from)
	case "internal":
		return false
	}
	return true
}

// best keeps the candidates that match best.
func (a *analysis) best(cands []*candidate, types []string) []*candidate {
	bases := a.bases(types)
	score := func(c *candidate, preferred bool) int {
		n := 0
		for i, t := range bases {
			if t == typeUnknown {
				continue
			}
			if c.args[i] == t || preferred && a.preferred(c.args[i], t) {
				n++
			}
		}
		return n
	}
	for _, preferred := range []bool{false, true} {
		cands = keepMost(cands, func(c *candidate) int { return score(c, preferred) })
		if len(cands) == 1 {
			return cands
		}
	}
	return a.bestForUnknown(cands, bases)
}

func (a *analysis) preferred(arg, typ string) bool {
	t, u := a.typeOf(arg), a.typeOf(typ)
	return t != nil && u != nil && t.Preferred && t.Category != "" && t.Category == u.Category
}

func keepMost(cands []*candidate, score func(*candidate) int) []*candidate {
	most := -1
	var out []*candidate
	for _, c := range cands {
		s := score(c)
		if s > most {
			most, out = s, nil
		}
		if s == most {
			out = append(out, c)
		}
	}
	return out
}

// bestForUnknown lets undecided literals choose: the string category first,
// else the one category that all candidates agree on; then the type that all
// decided arguments have.
func (a *analysis) bestForUnknown(cands []*candidate, types []string) []*candidate {
	if !slices.Contains(types, typeUnknown) {
		return cands
	}
	kept := cands
	for i, t := range types {
		if t != typeUnknown {
			continue
		}
		category, agreed := "", true
		for _, c := range cands {
			switch k := a.category(c.args[i]); {
			case k == "S":
				category = "S"
			case category == "":
				category = k
			case k != category && category != "S":
				agreed = false
			}
		}
		if category != "S" && !agreed {
			kept = nil
			break
		}
		kept = slices.DeleteFunc(slices.Clone(kept), func(c *candidate) bool { return a.category(c.args[i]) != category })
		if pref := slices.DeleteFunc(slices.Clone(kept), func(c *candidate) bool {
			t := a.typeOf(c.args[i])
			return t == nil || !t.Preferred
		}); len(pref) > 0 {
			kept = pref
		}
	}
	if len(kept) == 1 {
		return kept
	}
	if known := slices.DeleteFunc(slices.Clone(types), func(t string) bool { return t == typeUnknown }); len(known) > 0 &&
		!slices.ContainsFunc(known, func(t string) bool { return t != known[0] }) {
		same := make([]string, len(types))
		for i := range same {
			same[i] = known[0]
		}
		var out []*candidate
		for _, c := range cands {
			if a.accepts(c.args, same) {
				out = append(out, c)
			}
		}
		if len(out) == 1 {
			return out
		}
	}
	if len(kept) > 0 {
		return kept
	}
	return cands
}

func (a *analysis) category(typ string) string {
	if t := a.typeOf(typ); t != nil {
		return t.Category
	}
	if strings.HasPrefix(typ, "pg_catalog.any") {
		return "P"
	}
	return ""
}
