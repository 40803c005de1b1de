package sqlpolicy

import (
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// vectorClass is the reserved class of raw embeddings: where the policy
// defines it, it is theirs in every collection.
const vectorClass = "vector"

// payloadClasses are the classes of a collection's column: of a path, which
// has the classes of what it is in, too; of a path with all beneath it; or of
// one of the reserved ones.
func (p *Policy) payloadClasses(collection, column string) []string {
	if column == facts.PathVector {
		if p.Classes[vectorClass] != nil {
			return []string{vectorClass}
		}
		return nil
	}
	path, below := strings.CutSuffix(column, facts.PathBelow)
	var parts []string
	if column == facts.PathAll {
		below = true
	} else {
		parts = strings.Split(path, ".")
	}
	var out []string
	for _, b := range p.Payloads {
		for _, pt := range b.patterns {
			if !wild(pt.collection, collection) {
				continue
			}
			if at, under := pt.reaches(parts); at || under && below {
				out = appendNew(out, b.Class)
			}
		}
	}
	return out
}

// reaches says whether the pattern names the path or something that it is in,
// and whether it may name something beneath it.
func (p pattern) reaches(path []string) (at, below bool) {
	if len(path) == 0 {
		return false, true // the document itself has no class
	}
	return reaches(p.parts, path)
}

func reaches(pattern, path []string) (at, below bool) {
	for len(pattern) > 0 && pattern[0] != "**" {
		if len(path) == 0 {
			return false, true
		}
		if !wild(pattern[0], path[0]) {
			return false, false
		}
		pattern, path = pattern[1:], path[1:]
	}
	if len(pattern) == 0 {
		return true, true
	}
	// ** stands for any number of levels, none too, and more can always follow.
	for i := 0; i <= len(path); i++ {
		if at, _ := reaches(pattern[1:], path[i:]); at {
			return true, true
		}
	}
	return false, true
}

// Payload says what becomes of the value at a path of a collection's document
// for an identity: the classes that bind it, with their mask, or none; and
// whether something beneath it may be bound. A dot inside a part counts as
// between two.
func (p *Policy) Payload(id *facts.Identity, collection string, path []string) (classes []string, m facts.Mask, below bool) {
	if slices.ContainsFunc(path, func(s string) bool { return strings.Contains(s, ".") }) {
		path = strings.Split(strings.Join(path, "."), ".")
	}
	var masks []facts.Mask
	bound := false
	if len(path) == 1 && path[0] == facts.PathVector {
		if c := p.Classes[vectorClass]; c != nil {
			classes, masks, bound = []string{vectorClass}, []facts.Mask{c.Mask}, !p.sees(id, vectorClass)
		}
	}
	for _, b := range p.Payloads {
		for _, pt := range b.patterns {
			if !wild(pt.collection, collection) {
				continue
			}
			at, under := pt.reaches(path)
			hidden := !p.sees(id, b.Class)
			below = below || under && hidden
			if at && !slices.Contains(classes, b.Class) {
				classes, masks, bound = append(classes, b.Class), append(masks, p.Classes[b.Class].Mask), bound || hidden
			}
		}
	}
	if !bound {
		return nil, facts.Mask{}, below
	}
	return classes, mask.Strictest(masks...), below
}

// sees says whether the identity may see a class in the clear.
func (p *Policy) sees(id *facts.Identity, class string) bool {
	return slices.ContainsFunc(p.Unmask, func(u Unmask) bool {
		return slices.Contains(u.Classes, class) && (slices.Contains(u.Identities, id.Name) || intersects(u.Groups, id.Groups))
	})
}
