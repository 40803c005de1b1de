package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestBook(t *testing.T) {
	b, err := NewBook([]Static{
		{Identity: facts.Identity{Name: "ana", Groups: []string{"dba"}}, Password: "pw"},
		{Identity: facts.Identity{Name: "bot", Kind: "machine"}, Token: "tok"},
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		l    protocols.Login
		want string
	}{
		{protocols.Login{User: "ana", Method: "scram", Address: "10.0.0.1"}, "ana"},
		{protocols.Login{User: "ana", Method: "failed"}, ""},
		{protocols.Login{User: "ana", Method: "password", Secret: "pw"}, ""}, // a password never crosses where SCRAM is
		{protocols.Login{User: "ana", Method: "token", Secret: "pw"}, "ana"},
		{protocols.Login{User: "ana", Method: "token", Secret: "pw2"}, ""},
		{protocols.Login{User: "", Method: "token", Secret: "pw"}, ""}, // a password names nobody
		{protocols.Login{User: "bot", Method: "password", Secret: "tok"}, "bot"},
		{protocols.Login{User: "bot", Method: "token", Secret: "tok"}, "bot"},
		{protocols.Login{User: "", Method: "token", Secret: "tok", Address: "10.0.0.1"}, "bot"},
		{protocols.Login{User: "", Method: "token", Secret: ""}, ""},
		{protocols.Login{User: "ana", Method: "token", Secret: "tok"}, ""},
		{protocols.Login{User: "bot", Method: "password", Secret: "tok2"}, ""},
		{protocols.Login{User: "bot", Method: "password"}, ""},
		{protocols.Login{User: "bot", Method: "scram"}, ""},
		{protocols.Login{User: "bot", Method: "certificate"}, ""},
		{protocols.Login{User: "nobody", Method: "scram"}, ""},
		{protocols.Login{User: "nobody", Method: "password", Secret: ""}, ""},
	} {
		caller, err := b.Identify(context.Background(), c.l)
		if (err == nil) != (c.want != "") || caller.Name != c.want || err == nil && caller.Address != c.l.Address {
			t.Errorf("%+v: %+v, %v", c.l, caller, err)
		}
		var r *Refused
		if err != nil && !errors.As(err, &r) {
			t.Errorf("%+v: %v is not a refusal", c.l, err)
		}
	}
	one, two, other := b.Verifier("nobody"), b.Verifier("nobody"), b.Verifier("nobody2")
	if !bytes.Equal(one.Salt, two.Salt) || bytes.Equal(one.Salt, other.Salt) || one.Iterations != b.Verifier("ana").Iterations || len(one.Salt) != len(b.Verifier("ana").Salt) {
		t.Error("an unknown name can be told from a known one")
	}
	for _, list := range [][]Static{
		{{Identity: facts.Identity{Name: "x"}}},
		{{Identity: facts.Identity{Name: "x"}, Token: "t"}, {Identity: facts.Identity{Name: "y"}, Token: "t"}},
		{{Identity: facts.Identity{Name: "x"}, Token: "t"}, {Identity: facts.Identity{Name: "x"}, Token: "u"}},
	} {
		if _, err := NewBook(list, nil, nil); err == nil {
			t.Errorf("%+v was taken", list)
		}
	}
}

// TestHolds: a session outlives a reload where its identity is still the same,
// whatever became of its secret.
func TestHolds(t *testing.T) {
	book := func(groups ...string) *Book {
		b, err := NewBook([]Static{{Identity: facts.Identity{Name: "ana", Kind: "human", Groups: groups}, Password: fmt.Sprint("pw", time.Now())}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ana := Caller{Identity: facts.Identity{Name: "ana", Kind: "human", Groups: []string{"dba"}}, By: "password"}
	bob := Caller{Identity: facts.Identity{Name: "bob"}, By: "password"}
	foreign := Caller{Identity: facts.Identity{Name: "eve"}, By: "oidc https://idp.example"}
	for _, c := range []struct {
		b      *Book
		caller Caller
		holds  bool
	}{
		{book("dba"), ana, true}, {book("analyst"), ana, false}, {book(), ana, false}, {book("dba"), bob, false}, {book("dba"), foreign, false},
	} {
		if why := c.b.Holds(c.caller); (why == "") != c.holds {
			t.Errorf("%+v: %q", c.caller, why)
		}
	}
}

func TestFailures(t *testing.T) {
	var f Failures
	now := time.Now()
	for range nameBurst {
		if !f.MayTry("10.0.0.1", "ana", now) {
			t.Fatal("refused before ten failures")
		}
		f.Failed("10.0.0.1", "ana", now)
	}
	if f.MayTry("10.0.0.1", "ana", now) {
		t.Error("an eleventh try at once")
	}
	if !f.MayTry("10.0.0.2", "ana", now) || !f.MayTry("10.0.0.1", "bob", now) {
		t.Error("others are refused too")
	}
	if !f.MayTry("10.0.0.1", "ana", now.Add(nameEvery)) {
		t.Error("still refused after a while")
	}
	for i := range burst {
		f.Failed("2001:db8::1", fmt.Sprint("name", i), now)
	}
	if f.MayTry("2001:db8::ffff", "any", now) || !f.MayTry("2001:db8:0:1::1", "any", now) {
		t.Error("an address may try names without end, or its neighbours are taken for it")
	}
	for i := range 3 * maxFailures {
		f.Failed(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "ana", now)
	}
	if n := len(f.seen); n > maxFailures {
		t.Errorf("%d entries", n)
	}
}
