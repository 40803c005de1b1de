package facts

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestAppendJSON: facts of every form are written as encoding/json writes
// them: each field set and not, alone and with others.
func TestAppendJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	byHand := 0
	for i := range 20_000 {
		var f Facts
		fill(r, reflect.ValueOf(&f).Elem(), 0)
		if i%4 > 0 { // what reflection would write hides the rest
			f.Copy, f.ParamUses, f.Unparsed, f.Plannable, f.PlanText, f.OpenResults, f.Explains = nil, nil, "", false, "", false, false
			byHand++
		}
		want, err := json.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.AppendJSON([]byte("x"))
		if err != nil || string(got) != "x"+string(want) {
			t.Fatalf("%s\nwant\n%s, %v", got[1:], want, err)
		}
	}
	if byHand < 10_000 {
		t.Errorf("%d without reflection", byHand)
	}
}

// fill sets some of a value's fields.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	if r.IntN(3) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			fill(r, v.Index(i), depth+1)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem(), depth+1)
	case reflect.String:
		v.SetString([]string{"", "a", "public.people", `"\`, "<&>", "é\u2028", "\x01\x7f", "\xff"}[r.IntN(8)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(r.Int64N(5) - 1)
	case reflect.Uint8:
		v.SetUint(r.Uint64N(3))
	default:
		panic("no value for " + v.Type().String())
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	f := Facts{
		Effects: []Effect{{Action: Search, Verb: "QUERY", Objects: []Object{{Kind: "collection", Name: Name{Name: "notes"}}}, Columns: []ColumnRef{{Column: 0}}, Limited: true, Limit: 10, TopK: 10}},
		Tables:  []Table{{Name: Name{Name: "notes"}, Columns: []TableColumn{{Name: PathAll}}, Collection: true}},
		Outputs: []Output{{Name: "point", Type: Type{Kind: KindJSON}, Sources: []Source{{Direct: true}}}}, Texts: true,
	}
	b.ReportAllocs()
	buf, err := f.AppendJSON(nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if buf, err = f.AppendJSON(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
