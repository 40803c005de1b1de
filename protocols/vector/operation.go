package vector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// operation gathers what is known of a request while its store's table reads
// it.
type operation struct {
	ctx  context.Context
	r    *httpgate.Request
	body *httpgate.Value
	path []string // as it is forwarded
	f    facts.Facts

	constants map[*httpgate.Value][]facts.ColumnRef
	shape     *shape
	plain     bool // the answer is a line of text
	done      func()
}

// refuse is a request that the proxy does not take.
func refuse(format string, args ...any) error {
	return httpgate.Problem(http.StatusBadRequest, fmt.Sprintf(format, args...), "The proxy must understand a request to let it pass: see docs/vector.md.")
}

// readJSON reads the request's body, where its endpoint takes one. Only names
// that are listed may stand in it.
func (o *operation) readJSON(known ...string) error {
	if len(o.r.Body) == 0 {
		o.body = &httpgate.Value{}
		return nil
	}
	if o.r.Type != "application/json" {
		return httpgate.Problem(http.StatusUnsupportedMediaType, "the request's body must be application/json", "")
	}
	var err error
	if o.body, err = o.r.JSON(); err != nil {
		return err
	}
	return only(o.body, "the request", known...)
}

// only refuses an object's names that are not listed, and what is no object.
func only(v *httpgate.Value, what string, known ...string) error {
	if v.Kind != '{' {
		return refuse("%s must be a JSON object", what)
	}
	for _, n := range v.Names {
		if !slices.Contains(known, n) {
			return refuse("%s has the member %.60q, which is not known to the proxy", what, n)
		}
	}
	return nil
}

// noBody refuses a body where the endpoint takes none.
func (o *operation) noBody() error {
	if len(o.r.Body) > 0 {
		return refuse("a %s request to this route has no body", o.r.Method)
	}
	o.body = &httpgate.Value{}
	return nil
}

// table is the index of a collection among the tables.
func (o *operation) table(n facts.Name) int {
	i := slices.IndexFunc(o.f.Tables, func(t facts.Table) bool { return t.Name == n })
	if i < 0 {
		i = len(o.f.Tables)
		o.f.Tables = append(o.f.Tables, facts.Table{Name: n, Collection: true})
	}
	o.column(i, facts.PathAll) // errors can tell of any
	return i
}

// column is a path in a collection's documents.
func (o *operation) column(table int, path string) facts.ColumnRef {
	t := &o.f.Tables[table]
	i := slices.IndexFunc(t.Columns, func(c facts.TableColumn) bool { return c.Name == path })
	if i < 0 {
		i = len(t.Columns)
		t.Columns = append(t.Columns, facts.TableColumn{Name: path})
	}
	return facts.ColumnRef{Table: table, Column: i}
}

// effect adds one; what it reads and names is added to it later.
func (o *operation) effect(a facts.Action, verb string, names ...facts.Name) *facts.Effect {
	e := facts.Effect{Action: a, Verb: verb, Limit: facts.NoLimit}
	for _, n := range names {
		e.Objects = append(e.Objects, facts.Object{Kind: "collection", Name: n})
	}
	o.f.Effects = append(o.f.Effects, e)
	return &o.f.Effects[len(o.f.Effects)-1]
}

// uses notes what a request does with a path beyond returning it.
func (o *operation) uses(kind facts.UseKind, ref facts.ColumnRef, what string) {
	o.f.Uses = append(o.f.Uses, facts.Use{Kind: kind, Columns: []facts.ColumnRef{ref}, What: what, At: -1, InPredicate: kind == facts.UseOpaque})
}

// constant notes that a value is compared with or stored at a path.
func (o *operation) constant(v *httpgate.Value, ref facts.ColumnRef) {
	if o.constants == nil {
		o.constants = map[*httpgate.Value][]facts.ColumnRef{}
	}
	o.constants[v] = append(o.constants[v], ref)
}

// stored notes a payload that is written, each of its values at its path.
func (o *operation) stored(table int, v *httpgate.Value, prefix string) {
	switch v.Kind {
	case '{':
		for i, name := range v.Names {
			path := name
			if prefix != "" {
				path = prefix + "." + name
			}
			o.stored(table, &v.Items[i], path)
		}
	case '[':
		for i := range v.Items {
			o.stored(table, &v.Items[i], prefix)
		}
		if v.Items == nil && v.Count > 0 {
			o.constant(v, o.column(table, prefix))
		}
	case 'n', 0:
	default:
		o.constant(v, o.column(table, prefix))
	}
}

// result is one column of the result, with what it may hold.
func (o *operation) result(name string, refs ...facts.ColumnRef) {
	out := facts.Output{Name: name, Type: facts.Type{Kind: facts.KindJSON}}
	for _, r := range refs {
		out.Sources = append(out.Sources, facts.Source{ColumnRef: r, Direct: true})
	}
	o.f.Outputs = append(o.f.Outputs, out)
}

// finish makes the operation.
func (o *operation) finish(query ...string) (*httpgate.Operation, error) {
	if err := o.r.Only(query...); err != nil {
		return nil, err
	}
	for _, v := range o.r.Query {
		if len(v) != 1 || len(v[0]) > 200 {
			return nil, refuse("a value of the query is too long")
		}
	}
	out := &httpgate.Operation{Method: o.r.Method, Path: o.path, Query: o.r.Query, Facts: &o.f, Done: o.done}
	if o.body.Has() {
		out.Body = o.body.Raw
	}
	t := text{o: o, made: make([]byte, 0, 128)}
	t.b.Grow(512)
	t.b.WriteString(o.r.Method)
	for i, part := range o.path {
		if i == 0 {
			t.b.WriteByte(' ')
		}
		t.b.WriteByte('/')
		t.b.WriteString(part)
	}
	if len(o.path) == 0 {
		t.b.WriteString(" /")
	}
	if len(o.r.Query) > 0 {
		t.b.WriteString("?" + o.r.Query.Encode())
	}
	if o.body.Has() {
		t.b.WriteByte('\n')
		t.value(o.body)
	}
	out.Text = t.b.String()
	if o.plain {
		out.Accept = "*/*"
		out.Answer = func(_ context.Context, a *httpgate.Answer) error { return plainText(a) }
		return out, nil
	}
	s := o.shape
	out.Answer = func(_ context.Context, a *httpgate.Answer) error { return s.answer(a) }
	return out, nil
}

// text writes a request as the record and approvers see it: vectors and what
// is beyond a bound stand as their hashes, so that it is still exactly one
// request's.
type text struct {
	o    *operation
	b    strings.Builder
	made []byte
}

const (
	maxText   = 64 << 10
	fewValues = 8 // numbers that are written out
)

// appendDigest appends what stands for bytes that are not written out.
func appendDigest(dst, b []byte) []byte {
	sum := sha256.Sum256(b)
	return hex.AppendEncode(append(dst, "sha256:"...), sum[:16])
}

func (t *text) value(v *httpgate.Value) {
	from := t.b.Len()
	switch {
	case v.Kind == '[' && v.Count > fewValues && v.Vector():
		t.digested(v.Count, " numbers, ", v.Raw)
	case v.Kind == '"' && len(v.Raw) > maxText:
		t.digested(len(v.Raw), " bytes, ", v.Raw)
	case v.Kind == '[' && v.Items != nil:
		t.array(v)
	case v.Kind == '{':
		t.b.WriteByte('{')
		for i := range v.Items {
			if i > 0 {
				t.b.WriteByte(',')
			}
			t.made = append(httpgate.AppendQuote(t.made[:0], v.Names[i]), ':')
			t.b.Write(t.made)
			t.value(&v.Items[i])
		}
		t.b.WriteByte('}')
	default:
		t.b.Write(v.Raw)
	}
	if refs := t.o.constants[v]; len(refs) > 0 {
		t.o.f.Constants = append(t.o.f.Constants, facts.Constant{From: from, To: t.b.Len(), Columns: refs})
	}
}

// digested writes how much of what stands there, and its hash.
func (t *text) digested(n int, of string, raw []byte) {
	t.made = strconv.AppendInt(append(t.made[:0], `"‹`...), int64(n), 10)
	t.made = append(appendDigest(append(t.made, of...), raw), `›"`...)
	t.b.Write(t.made)
}

// array writes elements until the text is long. What looks like a mask's
// placeholder is always written: the policy looks for it.
func (t *text) array(v *httpgate.Value) {
	t.b.WriteByte('[')
	left := 0
	rest := sha256.New()
	for i := range v.Items {
		e := &v.Items[i]
		if t.b.Len() > maxText && !bytes.Contains(e.Raw, []byte("***")) && !bytes.Contains(e.Raw, []byte("[redacted]")) {
			left++
			rest.Write(e.Raw)
			rest.Write([]byte{','})
			continue
		}
		if i > left {
			t.b.WriteByte(',')
		}
		t.value(e)
	}
	if left > 0 {
		fmt.Fprintf(&t.b, `,"‹%d more, sha256:%x›"`, left, rest.Sum(nil)[:16])
	}
	t.b.WriteByte(']')
}

// plainText passes a line of text on.
func plainText(a *httpgate.Answer) error {
	var b [1024]byte
	n := 0
	for n < len(b) {
		m, err := a.Body.Read(b[n:])
		n += m
		if err != nil {
			break
		}
	}
	a.Out.Type = "text/plain; charset=utf-8"
	_, err := a.Out.Write(b[:n])
	return err
}
