package replay

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "SELECT 1", "a<b>&c\"\\", "\b\f\n\r\t\x00\x1f\x7f", "é\u2028\u2029\U0001f600", "\xff\xc3", "\ufffd", "a\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendText(nil, s); string(got) != string(want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	})
}

// TestAppendEvent writes events with any of their fields set, each both ways.
func TestAppendEvent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	texts := []string{"x", "SELECT a<b", "é\n", "\xff"}
	plain := 0
	for range 20000 {
		e := &Event{Number: r.Int64N(100), At: time.Unix(r.Int64N(2e9), r.Int64N(1e9)).UTC().Truncate(time.Microsecond)}
		v := reflect.ValueOf(e).Elem()
		rare := -1 // one field more than usual ones, if any: each alone must be written
		if r.IntN(4) == 0 {
			rare = r.IntN(v.NumField())
		}
		for i := range v.NumField() {
			f := v.Field(i)
			if i != rare && r.IntN(3) > 0 {
				continue
			}
			switch name := v.Type().Field(i).Name; {
			case name == "Milliseconds":
				f.SetFloat([]float64{0.001, 0.5, 12.345, 1e-7, 1e22, 3}[r.IntN(6)])
			case name == "Params":
				e.Params = []facts.Param{{Known: true, Text: texts[r.IntN(4)], Type: "int4", Kind: facts.KindInt}, {Null: true}, {}}[:r.IntN(4)]
			case name == "SearchPath":
				e.SearchPath = []string{"pg_catalog", texts[r.IntN(4)]}[:r.IntN(3)]
			case name == "ID" || name == "Same" || name == "RowsRead" || name == "Rows" || name == "Bytes":
				f.SetInt(r.Int64() - r.Int64())
			case name == "InTransaction":
				f.SetBool(true)
			case name == "Policy" || name == "Kind" || name == "Text" || name == "Catalog" || name == "Role" || name == "Settings" || name == "Reason" || name == "Tag" || name == "Code" || name == "Message" || name == "Hash":
				f.SetString(texts[r.IntN(4)])
			case i != rare || f.Kind() == reflect.Struct:
			case f.Kind() == reflect.String:
				f.SetString(texts[r.IntN(4)])
			case f.Kind() == reflect.Int, f.Kind() == reflect.Int64:
				f.SetInt(r.Int64N(10))
			case f.Kind() == reflect.Pointer:
				f.Set(reflect.New(f.Type().Elem()))
			case f.Kind() == reflect.Bool:
				f.SetBool(true)
			}
		}
		e.Type = []string{TypeStatement, TypeComplete, TypeError, TypeHold}[r.IntN(4)]
		e.Facts, e.Decision = nil, nil
		if plainEvent(e) {
			plain++
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendEvent(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want)+"\n" {
			t.Fatalf("%s\nwant %s", got, want)
		}
		e.Facts, e.Decision = json.RawMessage(`{"effects":null}`), json.RawMessage(`{"verdict":"allow"}`)
		got, err = appendEvent(nil, e)
		if err != nil || string(got) != string(want[:len(want)-1])+`,"facts":{"effects":null},"decision":{"verdict":"allow"}}`+"\n" {
			t.Fatalf("%v: %s", err, got)
		}
	}
	if plain < 1000 {
		t.Errorf("only %d events were plain", plain)
	}
}
