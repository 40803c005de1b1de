package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// open is an engine that lets all pass and does nothing besides.
type open struct {
	protocols.Session
	catalog *catalog.Catalog
	tickets []protocols.Ticket
}

func (o *open) Catalog(context.Context, bool) (*catalog.Catalog, error) { return o.catalog, nil }
func (o *open) Flush() error                                            { return nil }
func (o *open) Admit(context.Context, protocols.Unit) ([]protocols.Ticket, error) {
	return o.tickets, nil
}

type let struct {
	facts    facts.Facts
	decision facts.Decision
	masks    []*mask.Mask
}

func (l *let) Facts() *facts.Facts                                 { return &l.facts }
func (l *let) Decision() *facts.Decision                           { return &l.decision }
func (l *let) Change() *catalog.Change                             { return nil }
func (l *let) Bind([]protocols.ResultColumn) ([]*mask.Mask, error) { return l.masks, nil }
func (l *let) Row(int) (bool, error)                               { return true, nil }
func (l *let) Keep([][]byte) error                                 { return nil }
func (l *let) Done(protocols.Outcome) error                        { return nil }

// toUpstream and toClient take what is written.
type (
	toUpstream struct{ protocols.Upstream }
	toClient   struct{ net.Conn }
)

func (toUpstream) Send(protocols.Ticket, []byte) error     { return nil }
func (toUpstream) Control(protocols.Control, []byte) error { return nil }
func (toUpstream) Flush() error                            { return nil }
func (toClient) Write(p []byte) (int, error)               { return len(p), nil }

// roundTrip is a session whose client and upstream say the same again and
// again; asked and answered are the messages of one turn.
type roundTrip struct {
	*session
	asked, answered int
}

func newRoundTrip(ask, answer [][]byte) *roundTrip {
	flat := func(ms [][]byte) (b []byte) {
		for _, m := range ms {
			b = append(b, m...)
		}
		return b
	}
	c := (&catalog.Catalog{}).Index()
	s := &session{
		sess: &open{catalog: c, tickets: []protocols.Ticket{&let{masks: make([]*mask.Mask, 1)}}}, up: toUpstream{}, client: toClient{}, q: newQueue(),
		cr: newReader(&endless{b: flat(ask)}, 1<<20), ur: newReader(&endless{b: flat(answer)}, 1<<20), stmts: map[string]*statement{},
	}
	s.status.Store('I')
	s.view.view = &catalog.View{Catalog: c}
	return &roundTrip{s, len(ask), len(answer)}
}

func (r *roundTrip) turn(ctx context.Context) error {
	if err := r.ask(ctx, r.asked); err != nil {
		return err
	}
	return r.answer(r.answered)
}

// ask takes the client's next n messages, answer the upstream's.
func (r *roundTrip) ask(ctx context.Context, n int) error {
	for range n {
		typ, n, err := r.cr.next()
		if err == nil {
			err = r.askOne(ctx, typ, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *roundTrip) answer(n int) error {
	for range n {
		typ, n, err := r.ur.next()
		if err == nil && typ == 'D' {
			err = r.row(n)
		} else if err == nil {
			err = r.answerOne(typ)
		}
		if err != nil {
			return err
		}
	}
	return r.flush()
}

// prepared is what pgbench -S -M prepared says in each transaction, and its
// answers; extended has a Parse before.
func prepared(name string) (ask, answer [][]byte) {
	bind := append([]byte{0}, appendString(nil, name)...)
	bind = append(bind, 0, 0, 0, 1)
	bind = append(binary.BigEndian.AppendUint32(bind, 6), "123456"...)
	columns := append([]byte{0, 1}, appendString(nil, "abalance")...)
	columns = binary.BigEndian.AppendUint32(columns, 16384)
	columns = append(columns, 0, 3, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0)
	ask = [][]byte{message('B', bind, []byte{0, 0}), message('D', []byte{'P', 0}), message('E', []byte{0, 0, 0, 0, 0}), message('S')}
	answer = [][]byte{message('2'), message('T', columns), message('D', dataRow("0")), message('C', []byte("SELECT 1\x00")), message('Z', []byte{'I'})}
	return ask, answer
}

func extended() (ask, answer [][]byte) {
	ask, answer = prepared("")
	parse := message('P', []byte{0}, appendString(nil, "SELECT abalance FROM pgbench_accounts WHERE aid = $1"), []byte{0, 0})
	return append([][]byte{parse}, ask...), append([][]byte{message('1')}, answer...)
}

// TestAllocations: a statement that is asked again and again allocates nothing
// on the wire but its parameter's text and, where it is prepared each time,
// what is kept of it.
func TestAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		make func() *roundTrip
		most float64
	}{
		"prepared": {func() *roundTrip {
			r := newRoundTrip(prepared("P0"))
			r.stmts["P0"] = &statement{name: "P0", ticket: r.sess.(*open).tickets[0]}
			return r
		}, 1},
		"extended": {func() *roundTrip { return newRoundTrip(extended()) }, 2},
	} {
		r := c.make()
		got := testing.AllocsPerRun(1000, func() {
			if err := r.turn(t.Context()); err != nil {
				t.Fatal(name, err)
			}
		})
		if got > c.most {
			t.Errorf("%s: %.1f allocations a statement, at most %.0f were expected", name, got, c.most)
		}
	}
}

// TestSettled: what a statement has changed is known to the next message, where
// its answer comes between that message's arrival and its decision.
func TestSettled(t *testing.T) {
	r := newRoundTrip(prepared(""))
	e := r.q.expect(expectExecute)
	r.q.push(e)
	r.q.changes.Add(1)
	done := false
	r.q.later(effectFunc(func() { done = true }), true)
	if ok, err := r.settle(false); !ok || err != nil || !done {
		t.Errorf("settled %v, %v; the change is known: %v", ok, err, done)
	}
}

// TestPortalAgain: a portal is used again only where nothing on its way can mean
// it.
func TestPortalAgain(t *testing.T) {
	r := newRoundTrip(prepared(""))
	r.stmts[""] = &statement{ticket: r.sess.(*open).tickets[0]}
	turn := func(asked, answered int) {
		t.Helper()
		if err := errors.Join(r.ask(t.Context(), asked), r.answer(answered)); err != nil {
			t.Fatal(err)
		}
	}
	turn(4+1, 5) // and a Bind ahead of the answers
	first, second := r.portals.unnamed, r.spare
	if first == nil || second != nil {
		t.Fatal("the Bind ahead made no portal of its own")
	}
	turn(3, 0) // its Describe, Execute and Sync: the transaction before has ended
	if r.spare != nil {
		t.Error("a portal was given away while others were on their way")
	}
	turn(0, 5)
	if r.q.catchUp(r.session); r.spare != first || len(first.params) != 0 || first.stmt != nil || r.portals.unnamed != nil {
		t.Error("the portal is not used again, or not empty")
	}
}

// BenchmarkPrepared is the wire's part of a prepared statement with one row.
func BenchmarkPrepared(b *testing.B) {
	r := newRoundTrip(prepared("P0"))
	r.stmts["P0"] = &statement{name: "P0", ticket: r.sess.(*open).tickets[0]}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.turn(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExtended is the same with a Parse before it.
func BenchmarkExtended(b *testing.B) {
	r := newRoundTrip(extended())
	b.ReportAllocs()
	for b.Loop() {
		if err := r.turn(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
