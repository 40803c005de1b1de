package facts

import (
	"encoding/json"
	"strconv"
)

// AppendJSON appends the facts as encoding/json writes them, byte for byte.
// What most requests and statements have goes without reflection.
func (f *Facts) AppendJSON(b []byte) ([]byte, error) {
	if f == nil || f.Copy != nil || len(f.ParamUses) > 0 || f.Unparsed != "" || f.Plannable || f.PlanText != "" || f.OpenResults || f.Explains {
		rest, err := json.Marshal(f)
		return append(b, rest...), err
	}
	if b = append(b, `{"effects":`...); f.Effects == nil {
		b = append(b, "null"...)
	} else {
		b = appendList(append(b, '['), f.Effects, (*Effect).appendJSON)
	}
	if len(f.Tables) > 0 {
		b = appendList(append(b, `,"tables":[`...), f.Tables, (*Table).appendJSON)
	}
	if len(f.Outputs) > 0 {
		b = appendList(append(b, `,"outputs":[`...), f.Outputs, (*Output).appendJSON)
	}
	if len(f.Uses) > 0 {
		b = appendList(append(b, `,"uses":[`...), f.Uses, (*Use).appendJSON)
	}
	if len(f.Constants) > 0 {
		b = appendList(append(b, `,"constants":[`...), f.Constants, (*Constant).appendJSON)
	}
	b = appendTrue(b, "texts", f.Texts)
	return append(b, '}'), nil
}

func (e *Effect) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"action":`...), string(e.Action))
	b = appendString(append(b, `,"verb":`...), e.Verb)
	b = appendTrue(b, "destructive", e.Destructive)
	if len(e.Objects) > 0 {
		b = appendList(append(b, `,"objects":[`...), e.Objects, (*Object).appendJSON)
	}
	b = appendRefs(b, "columns", e.Columns)
	b = appendTrue(b, "filtered", e.Filtered)
	b = appendTrue(b, "limited", e.Limited)
	b = strconv.AppendInt(append(b, `,"limit":`...), e.Limit, 10)
	b = appendInt(b, "top_k", e.TopK)
	b = appendInt(b, "tokens", e.Tokens)
	b = appendStrings(b, "functions", e.Functions)
	b = appendInt(b, "limit_param", int64(e.LimitParam))
	b = appendTrue(b, "top_k_param", e.TopKParam)
	return append(b, '}')
}

func (o *Object) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"kind":`...), o.Kind)
	return append(o.Name.appendMembers(append(b, ',')), '}')
}

// appendMembers appends a name's members without the object about them.
func (n *Name) appendMembers(b []byte) []byte {
	if n.Database != "" {
		b = append(appendString(append(b, `"database":`...), n.Database), ',')
	}
	if n.Schema != "" {
		b = append(appendString(append(b, `"schema":`...), n.Schema), ',')
	}
	return appendString(append(b, `"name":`...), n.Name)
}

func (t *Table) appendJSON(b []byte) []byte {
	b = t.Name.appendMembers(append(b, '{'))
	if len(t.Family) > 0 {
		b = appendList(append(b, `,"family":[`...), t.Family, func(n *Name, b []byte) []byte {
			return append(n.appendMembers(append(b, '{')), '}')
		})
	}
	if len(t.Columns) > 0 {
		b = appendList(append(b, `,"columns":[`...), t.Columns, (*TableColumn).appendJSON)
	}
	b = appendTrue(b, "system", t.System)
	b = appendTrue(b, "collection", t.Collection)
	return append(b, '}')
}

func (c *TableColumn) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"name":`...), c.Name)
	b = c.Type.appendJSON(append(b, `,"type":`...))
	b = appendInt(b, "origin", int64(c.Origin))
	return append(b, '}')
}

func (t *Type) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if t.Name != "" {
		b = appendString(append(b, `"name":`...), t.Name)
	}
	if t.Kind != "" {
		if t.Name != "" {
			b = append(b, ',')
		}
		b = appendString(append(b, `"kind":`...), string(t.Kind))
	}
	return append(b, '}')
}

func (o *Output) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"name":`...), o.Name)
	b = o.Type.appendJSON(append(b, `,"type":`...))
	if len(o.Sources) > 0 {
		b = appendList(append(b, `,"sources":[`...), o.Sources, func(s *Source, b []byte) []byte {
			return append(appendTrue(s.ColumnRef.appendMembers(append(b, '{')), "direct", s.Direct), '}')
		})
	}
	return append(b, '}')
}

func (r *ColumnRef) appendMembers(b []byte) []byte {
	b = strconv.AppendInt(append(b, `"t":`...), int64(r.Table), 10)
	return strconv.AppendInt(append(b, `,"c":`...), int64(r.Column), 10)
}

func (u *Use) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"kind":`...), string(u.Kind))
	b = appendRefs(b, "columns", u.Columns)
	b = appendRefs(b, "with", u.With)
	if u.Into != nil {
		b = append(u.Into.appendMembers(append(b, `,"into":{`...)), '}')
	}
	if u.Name != "" {
		b = appendString(append(b, `,"name":`...), u.Name)
	}
	b = appendString(append(b, `,"what":`...), u.What)
	b = strconv.AppendInt(append(b, `,"at":`...), int64(u.At), 10)
	if len(u.Params) > 0 {
		b = appendList(append(b, `,"params":[`...), u.Params, func(p *ParamKind, b []byte) []byte {
			b = strconv.AppendInt(append(b, `{"param":`...), int64(p.Param), 10)
			return append(appendString(append(b, `,"kind":`...), string(p.Kind)), '}')
		})
	}
	b = appendTrue(b, "in_predicate", u.InPredicate)
	return append(b, '}')
}

func (c *Constant) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"from":`...), int64(c.From), 10)
	b = strconv.AppendInt(append(b, `,"to":`...), int64(c.To), 10)
	if len(c.Columns) == 0 { // nil and none differ, and always stand there
		word := "null"
		if c.Columns != nil {
			word = "[]"
		}
		b = append(append(b, `,"columns":`...), word...)
	}
	b = appendRefs(b, "columns", c.Columns)
	b = appendStrings(b, "forms", c.Forms)
	return append(b, '}')
}

// appendList appends elements, and the bracket behind the last.
func appendList[T any](b []byte, list []T, one func(*T, []byte) []byte) []byte {
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(&list[i], b)
	}
	return append(b, ']')
}

func appendKey(b []byte, key string) []byte {
	return append(append(append(b, ',', '"'), key...), '"', ':')
}

func appendRefs(b []byte, key string, refs []ColumnRef) []byte {
	if len(refs) == 0 {
		return b
	}
	return appendList(append(appendKey(b, key), '['), refs, func(r *ColumnRef, b []byte) []byte {
		return append(r.appendMembers(append(b, '{')), '}')
	})
}

func appendStrings(b []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	return appendList(append(appendKey(b, key), '['), list, func(s *string, b []byte) []byte { return appendString(b, *s) })
}

func appendTrue(b []byte, key string, v bool) []byte {
	if !v {
		return b
	}
	return append(appendKey(b, key), "true"...)
}

func appendInt(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(appendKey(b, key), n, 10)
}

// appendString leaves what needs an escape to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil { // of a string: never fails
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
