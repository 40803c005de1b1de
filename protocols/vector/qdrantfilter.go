package vector

import (
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// qdrantPath is a payload key (a.b, a[].b, a[0].b, "a key".b) as the policy's
// path: arrays are at their own path.
func qdrantPath(key string) (string, error) {
	bad := refuse("the payload key %.60q is not understood", key)
	var parts []string
	for rest := key; ; {
		var part string
		if strings.HasPrefix(rest, `"`) {
			end := strings.IndexByte(rest[1:], '"')
			if end < 1 || strings.Contains(rest[1:1+end], `\`) {
				return "", bad
			}
			part, rest = rest[1:1+end], rest[2+end:]
		} else {
			end := strings.IndexAny(rest, `.["`)
			if end < 0 {
				end = len(rest)
			}
			part, rest = rest[:end], rest[end:]
		}
		if part == "" || strings.ContainsAny(part, "*]") {
			return "", bad
		}
		parts = append(parts, part)
		for strings.HasPrefix(rest, "[") {
			end := strings.IndexByte(rest, ']')
			if end < 0 || strings.Trim(rest[1:end], "0123456789") != "" {
				return "", bad
			}
			rest = rest[end+1:]
		}
		if rest == "" {
			return strings.Join(parts, "."), nil
		}
		if rest[0] != '.' {
			return "", bad
		}
		rest = rest[1:]
	}
}

// filter notes what a filter compares and says whether it picks points.
func (o *operation) filter(table int, v *httpgate.Value, prefix string) (picks bool, err error) {
	if v.Null() {
		return false, nil
	}
	if err := only(v, "a filter", "must", "should", "must_not", "min_should"); err != nil {
		return false, err
	}
	for i, name := range v.Names {
		part := &v.Items[i]
		if part.Null() {
			continue
		}
		atLeast := int64(1)
		if name == "min_should" {
			if err := only(part, "min_should", "conditions", "min_count"); err != nil {
				return false, err
			}
			n, ok := part.Get("min_count").Int()
			if !ok {
				return false, refuse("min_count must be a whole number")
			}
			atLeast, part = n, part.Get("conditions")
		}
		conditions := part.Items
		if part.Kind == '{' {
			conditions = []httpgate.Value{*part}
		}
		if part.Kind != '{' && part.Kind != '[' || part.Count > 0 && len(conditions) == 0 {
			return false, refuse("%s must be a list of conditions", name)
		}
		all, picking := len(conditions), 0
		for j := range conditions {
			c := &conditions[j]
			if part.Kind == '{' {
				c = part
			}
			yes, notNull, err := o.condition(table, c, prefix)
			if err != nil {
				return false, err
			}
			if name == "must_not" {
				yes = yes && !notNull
			}
			if yes {
				picking++
			}
		}
		switch name {
		case "must", "must_not":
			picks = picks || picking > 0
		case "should":
			picks = picks || all > 0 && picking == all
		case "min_should": // that many must hold, and those that pick nothing may
			picks = picks || atLeast > int64(all-picking)
		}
	}
	return picks, nil
}

// condition notes what one condition compares. isNull says that it is IS NULL
// or IS EMPTY, whose opposite picks nothing.
func (o *operation) condition(table int, v *httpgate.Value, prefix string) (picks, isNull bool, err error) {
	if v.Kind != '{' {
		return false, false, refuse("a condition must be an object")
	}
	at := func(key *httpgate.Value) (facts.ColumnRef, error) {
		if key.Kind != '"' {
			return facts.ColumnRef{}, refuse("a condition's key must be a string")
		}
		path, err := qdrantPath(key.Text)
		if prefix != "" {
			path = prefix + "." + path
		}
		return o.column(table, path), err
	}
	switch {
	case v.Get("key").Has():
		return o.fieldCondition(v, at)
	case v.Get("is_empty").Has() || v.Get("is_null").Has():
		if err := only(v, "a condition", "is_empty", "is_null"); err != nil || len(v.Names) != 1 {
			return false, false, refuse("a condition is not understood")
		}
		if err := only(&v.Items[0], "a condition", "key"); err != nil {
			return false, false, err
		}
		ref, err := at(v.Items[0].Get("key"))
		o.uses(facts.UseEqual, ref, "a filter on what is empty")
		return true, true, err
	case v.Get("has_id").Has():
		return v.Get("has_id").Count > 0, false, only(v, "a condition", "has_id") // none, and so all under must_not
	case v.Get("has_vector").Has():
		return false, false, only(v, "a condition", "has_vector")
	case v.Get("slice").Has():
		return false, false, only(v, "a condition", "slice")
	case v.Get("nested").Has():
		n := v.Get("nested")
		if err := only(v, "a condition", "nested"); err != nil {
			return false, false, err
		}
		if err := only(n, "a nested condition", "key", "filter"); err != nil {
			return false, false, err
		}
		ref, err := at(n.Get("key"))
		if err != nil {
			return false, false, err
		}
		picks, err = o.filter(table, n.Get("filter"), o.f.Tables[ref.Table].Columns[ref.Column].Name)
		return picks, false, err
	}
	picks, err = o.filter(table, v, prefix)
	return picks, false, err
}

func (o *operation) fieldCondition(v *httpgate.Value, at func(*httpgate.Value) (facts.ColumnRef, error)) (picks, isNull bool, err error) {
	if err := only(v, "a condition", "key", "match", "range", "geo_bounding_box", "geo_radius", "geo_polygon", "values_count", "is_empty", "is_null"); err != nil {
		return false, false, err
	}
	ref, err := at(v.Get("key"))
	if err != nil {
		return false, false, err
	}
	tests := 0
	for i, name := range v.Names {
		test := &v.Items[i]
		if name == "key" || test.Null() {
			continue
		}
		tests++
		o.constant(test, ref)
		switch name {
		case "match":
			if picks, err = o.match(test, ref); err != nil {
				return false, false, err
			}
		case "is_empty", "is_null":
			o.uses(facts.UseEqual, ref, "a filter on what is empty")
			picks, isNull = test.Kind == 't', true
		case "range", "values_count":
			o.uses(facts.UseCompare, ref, "a filter by range")
			picks = slices.ContainsFunc(test.Items, func(b httpgate.Value) bool { return !b.Null() })
		default:
			// A place is the numbers below its path.
			o.uses(facts.UseCompare, o.column(ref.Table, o.f.Tables[ref.Table].Columns[ref.Column].Name+facts.PathBelow), "a filter by place")
			picks = true
		}
	}
	if tests != 1 {
		return false, false, refuse("a condition must have one test of its key")
	}
	return picks, isNull, nil
}

func (o *operation) match(v *httpgate.Value, ref facts.ColumnRef) (bool, error) {
	if v.Kind != '{' || len(v.Names) != 1 {
		return false, refuse("a match must have one member")
	}
	with := &v.Items[0]
	switch v.Names[0] {
	case "value":
		o.uses(facts.UseEqual, ref, "a filter")
		return true, nil
	case "any", "except": // of an empty list they pick none or all, and so does the other under must_not
		o.uses(facts.UseEqual, ref, "a filter")
		return with.Count > 0, nil
	case "text", "text_any", "phrase":
		o.uses(facts.UseCompare, ref, "a text filter")
		return strings.ContainsFunc(with.Text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }), nil // else there is no word to look for
	}
	return false, refuse("the match %.40q is not known to the proxy", v.Names[0])
}
