package lineage

import (
	"fmt"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Ledger collects a statement's uses, each once. The zero Ledger is empty. It
// is used by one goroutine.
type Ledger struct {
	// Borrowed, if set, says that a column only stands for others of the same
	// flow (a view's column for what the view reads). Two sides of a
	// comparison are then held against each other by the others; a borrowed
	// column is compared as with a constant.
	Borrowed func(facts.ColumnRef) bool

	uses []facts.Use
	seen map[string]bool
}

// Place is where a use stands: the byte offset in the statement's text (-1
// where unknown), and whether only a condition's outcome depends on it.
type Place struct {
	At        int
	Predicate bool
	// Params is how an equality's parameters must be bound.
	Params []facts.ParamKind
}

// Uses are the uses collected so far, in order.
func (l *Ledger) Uses() []facts.Use { return l.uses }

// Add records a use unless an equal one is there. A use without columns says
// nothing, unless it is of code.
func (l *Ledger) Add(u facts.Use) {
	if len(u.Columns) == 0 && u.Kind != facts.UseCode {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v %v %v %q %q %v %v", u.Kind, u.Columns, u.With, u.Into, u.Name, u.What, u.InPredicate, u.Params)
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	if k := b.String(); !l.seen[k] {
		l.seen[k] = true
		l.uses = append(l.uses, u)
	}
}

// Opaque records that the values go into something that cannot be shown
// total, and returns what comes out: it still depends on all of them.
func (l *Ledger) Opaque(p Place, what string, args ...Value) Value {
	out := Total(Endless, args...)
	out.Noisy = true
	l.Add(facts.Use{Kind: facts.UseOpaque, Columns: out.Flow.Refs(), What: what, At: p.At, InPredicate: p.Predicate})
	return out
}

// Compare records a comparison that is not by the built-in equality of bare
// columns. Its result has no sources.
func (l *Ledger) Compare(p Place, what string, args ...Value) Value {
	v := Either(args...)
	l.Add(facts.Use{Kind: facts.UseCompare, Columns: v.Flow.Refs(), What: what, At: p.At})
	return Value{Noisy: v.Noisy}
}

// Equal records that a bare value is compared with constants, or with the
// columns of with, by the built-in equality of its exact type: both ways, so
// that whoever judges one side's class sees the other.
func (l *Ledger) Equal(p Place, what string, a, b Value) Value {
	left, leftOnly := l.split(a.Flow)
	right, rightOnly := l.split(b.Flow)
	l.equal(p, what, left, right)
	l.equal(p, what, right, left)
	l.equal(p, what, append(leftOnly, rightOnly...), nil)
	return Value{Noisy: a.Noisy || b.Noisy}
}

func (l *Ledger) equal(p Place, what string, cols, with []facts.ColumnRef) {
	l.Add(facts.Use{Kind: facts.UseEqual, Columns: cols, With: with, What: what, At: p.At, Params: p.Params})
}

// split parts a flow's columns into its own and those that stand for them.
func (l *Ledger) split(f Flow) (own, borrowed []facts.ColumnRef) {
	for _, r := range f.Refs() {
		if l.Borrowed != nil && l.Borrowed(r) {
			borrowed = append(borrowed, r)
		} else {
			own = append(own, r)
		}
	}
	if len(own) == 0 {
		return borrowed, nil
	}
	return own, borrowed
}

// Known records what is told of a value by grouping by it or testing it for
// NULL: equality with itself if it is bare and exact, else a comparison.
func (l *Ledger) Known(p Place, what string, v Value, exact bool) Value {
	if v.Flow.Bare() && exact {
		l.equal(p, what, v.Flow.Refs(), nil)
		return Value{Noisy: v.Noisy}
	}
	return l.Compare(p, what, v)
}

// Grouped is Known for what puts equal values of different rows together:
// where they come from several columns, those are compared with each other.
func (l *Ledger) Grouped(p Place, what string, v Value, exact bool) Value {
	if own, borrowed := l.split(v.Flow); v.Flow.Bare() && exact && len(own) > 1 {
		l.equal(p, what, own, own)
		l.equal(p, what, borrowed, nil)
		return Value{Noisy: v.Noisy}
	}
	return l.Known(p, what, v, exact)
}

// Write records that the value is stored in a column.

func (l *Ledger) Write(p Place, what string, v Value, into facts.ColumnRef) {
	l.Add(facts.Use{Kind: facts.UseWrite, Columns: v.Flow.Refs(), Into: &into, What: what, At: p.At})
}

// Code records that code which cannot be read runs with the values.
func (l *Ledger) Code(p Place, name, what string, args ...Value) Value {
	out := Total(Endless, args...)
	out.Noisy = true
	l.Add(facts.Use{Kind: facts.UseCode, Columns: out.Flow.Refs(), Name: name, What: what, At: p.At})
	return out
}
