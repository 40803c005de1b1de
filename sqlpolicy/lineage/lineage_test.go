package lineage

import (
	"math/rand"
	"reflect"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func ref(t, c int) facts.ColumnRef { return facts.ColumnRef{Table: t, Column: c} }

func TestMerge(t *testing.T) {
	a, b := Of(ref(0, 1)), Of(ref(0, 2))
	for _, c := range []struct {
		name string
		in   []Flow
		want Flow
	}{
		{"nothing", nil, nil},
		{"one", []Flow{a, nil}, a},
		{"ordered", []Flow{b, a}, Flow{{ColumnRef: ref(0, 1), Direct: true}, {ColumnRef: ref(0, 2), Direct: true}}},
		{"computed once is computed", []Flow{a, a.Computed()}, Flow{{ColumnRef: ref(0, 1)}}},
		{"computed first", []Flow{a.Computed(), a}, Flow{{ColumnRef: ref(0, 1)}}},
		{"covered", []Flow{Merge(a, b), b}, Merge(a, b)},
	} {
		if got := Merge(c.in...); !got.Equal(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestMergeIsAUnion holds merge to what a map says.
func TestMergeIsAUnion(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 2000 {
		want := map[facts.ColumnRef]bool{}
		var flows []Flow
		for range 1 + r.Intn(4) {
			var f Flow
			for range r.Intn(5) {
				one := Of(ref(r.Intn(3), r.Intn(3)))
				if r.Intn(2) == 0 {
					one = one.Computed()
				}
				f = Merge(f, one)
			}
			for _, s := range f {
				before, seen := want[s.ColumnRef]
				want[s.ColumnRef] = s.Direct && (before || !seen)
			}
			flows = append(flows, f)
		}
		got := Merge(flows...)
		if len(got) != len(want) {
			t.Fatalf("Merge(%v) = %v, want %v", flows, got, want)
		}
		for i, s := range got {
			if i > 0 && compareRefs(got[i-1].ColumnRef, s.ColumnRef) >= 0 {
				t.Fatalf("Merge(%v) = %v is out of order", flows, got)
			}
			if direct, ok := want[s.ColumnRef]; !ok || direct != s.Direct {
				t.Fatalf("Merge(%v) = %v, want %v", flows, got, want)
			}
		}
	}
}

func TestFlowsAreImmutable(t *testing.T) {
	a := Merge(Of(ref(0, 1)), Of(ref(0, 2)))
	before := append(Flow(nil), a...)
	a.Computed()
	Merge(a, Of(ref(0, 0)), a.Computed())
	if !a.Equal(before) {
		t.Errorf("a flow changed: %v, was %v", a, before)
	}
}

func TestBare(t *testing.T) {
	a := Of(ref(0, 1))
	for _, c := range []struct {
		flow Flow
		want bool
	}{{nil, false}, {a, true}, {a.Computed(), false}, {Merge(a, Of(ref(1, 1))), true}, {Merge(a, Of(ref(1, 1)).Computed()), false}} {
		if got := c.flow.Bare(); got != c.want {
			t.Errorf("%v bare: got %v", c.flow, got)
		}
	}
}

func TestSizes(t *testing.T) {
	if n := AddSizes(Value{}, Value{Pieces: 3}); n != 4 {
		t.Errorf("a constant and three pieces are %d", n)
	}
	if n := AddSizes(Value{Pieces: Endless}, Value{Pieces: Endless}); n != Endless {
		t.Errorf("two endless values are %d", n)
	}
	if n := Scale(MaxPieces, 2); n != Endless {
		t.Errorf("twice the most is %d", n)
	}
	if n := Scale(Endless, 1); n != Endless {
		t.Errorf("an endless value once is %d", n)
	}
	if n := Scale(0, 0); n != 1 {
		t.Errorf("nothing is %d pieces", n)
	}
}

func TestWidenEnds(t *testing.T) {
	v := Value{Flow: Of(ref(0, 0)), Pieces: 1}
	rounds := 0
	for {
		next := Value{Flow: v.Flow, Pieces: Scale(v.Size(), 2)}
		w, grown := Widen(v, next)
		v = w
		if rounds++; rounds > 3 {
			t.Fatal("a column that doubles each round does not settle")
		}
		if !grown {
			break
		}
	}
	if !v.Large() {
		t.Errorf("a column that doubles each round has %d pieces", v.Pieces)
	}
}

func TestLedger(t *testing.T) {
	col, other, view := Of(ref(0, 0)), Of(ref(1, 0)), Of(ref(2, 0))
	p := Place{At: 7, Predicate: true}
	for _, c := range []struct {
		name string
		do   func(l *Ledger) Value
		want []facts.Use
		left Flow
	}{
		{"constants say nothing", func(l *Ledger) Value { return l.Equal(p, "=", Value{}, Value{}) }, nil, nil},
		{"column and constant", func(l *Ledger) Value { return l.Equal(p, "=", Value{Flow: col}, Value{}) },
			[]facts.Use{{Kind: facts.UseEqual, Columns: col.Refs(), What: "=", At: 7}}, nil},
		{"two columns, both ways", func(l *Ledger) Value { return l.Equal(p, "=", Value{Flow: col}, Value{Flow: other}) },
			[]facts.Use{{Kind: facts.UseEqual, Columns: col.Refs(), With: other.Refs(), What: "=", At: 7},
				{Kind: facts.UseEqual, Columns: other.Refs(), With: col.Refs(), What: "=", At: 7}}, nil},
		{"a view's column stands behind its table's", func(l *Ledger) Value {
			l.Borrowed = func(r facts.ColumnRef) bool { return r.Table == 2 }
			return l.Equal(p, "=", Value{Flow: col}, Value{Flow: Merge(other, view)})
		}, []facts.Use{{Kind: facts.UseEqual, Columns: col.Refs(), With: other.Refs(), What: "=", At: 7},
			{Kind: facts.UseEqual, Columns: other.Refs(), With: col.Refs(), What: "=", At: 7},
			{Kind: facts.UseEqual, Columns: view.Refs(), What: "=", At: 7}}, nil},
		{"comparing takes the sources away", func(l *Ledger) Value { return l.Compare(p, "<", Value{Flow: col}) },
			[]facts.Use{{Kind: facts.UseCompare, Columns: col.Refs(), What: "<", At: 7}}, nil},
		{"opaque keeps them", func(l *Ledger) Value { return l.Opaque(p, "f()", Value{Flow: col}) },
			[]facts.Use{{Kind: facts.UseOpaque, Columns: col.Refs(), What: "f()", At: 7, InPredicate: true}}, col.Computed()},
		{"code is told without columns", func(l *Ledger) Value { return l.Code(p, "s.f", "f()") },
			[]facts.Use{{Kind: facts.UseCode, Name: "s.f", What: "f()", At: 7}}, nil},
		{"grouping by a bare column", func(l *Ledger) Value { return l.Known(p, "GROUP BY", Value{Flow: col}, true) },
			[]facts.Use{{Kind: facts.UseEqual, Columns: col.Refs(), What: "GROUP BY", At: 7}}, nil},
		{"grouping by a loose one", func(l *Ledger) Value { return l.Known(p, "GROUP BY", Value{Flow: col}, false) },
			[]facts.Use{{Kind: facts.UseCompare, Columns: col.Refs(), What: "GROUP BY", At: 7}}, nil},
		{"grouping by a computed one", func(l *Ledger) Value { return l.Known(p, "GROUP BY", Value{Flow: col.Computed()}, true) },
			[]facts.Use{{Kind: facts.UseCompare, Columns: col.Refs(), What: "GROUP BY", At: 7}}, nil},
		{"once", func(l *Ledger) Value { l.Compare(p, "<", Value{Flow: col}); return l.Compare(p, "<", Value{Flow: col}) },
			[]facts.Use{{Kind: facts.UseCompare, Columns: col.Refs(), What: "<", At: 7}}, nil},
	} {
		l := &Ledger{}
		v := c.do(l)
		if !reflect.DeepEqual(l.Uses(), c.want) {
			t.Errorf("%s: uses\n%+v, want\n%+v", c.name, l.Uses(), c.want)
		}
		if !v.Flow.Equal(c.left) {
			t.Errorf("%s: leaves %v, want %v", c.name, v.Flow, c.left)
		}
	}
}
