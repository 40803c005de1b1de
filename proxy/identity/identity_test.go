package identity

import (
	"bytes"
	"testing"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

func TestBook(t *testing.T) {
	b, err := NewBook([]Static{
		{Identity: facts.Identity{Name: "ana", Groups: []string{"dba"}}, Password: "pw"},
		{Identity: facts.Identity{Name: "bot", Kind: "machine"}, Token: "tok"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		l  protocols.Login
		ok bool
	}{
		{protocols.Login{User: "ana", Method: "scram", Address: "10.0.0.1"}, true},
		{protocols.Login{User: "ana", Method: "password", Secret: "pw"}, false}, // a password never crosses
		{protocols.Login{User: "bot", Method: "password", Secret: "tok"}, true},
		{protocols.Login{User: "bot", Method: "password", Secret: "tok2"}, false},
		{protocols.Login{User: "bot", Method: "password"}, false},
		{protocols.Login{User: "bot", Method: "scram"}, false},
		{protocols.Login{User: "nobody", Method: "scram"}, false},
		{protocols.Login{User: "nobody", Method: "password", Secret: ""}, false},
	} {
		id, ok := b.Check(c.l)
		if ok != c.ok || ok && (id.Name != c.l.User || id.Address != c.l.Address) {
			t.Errorf("%+v: %+v, %v", c.l, id, ok)
		}
	}
	one, two, other := b.Verifier("nobody"), b.Verifier("nobody"), b.Verifier("nobody2")
	if !bytes.Equal(one.Salt, two.Salt) || bytes.Equal(one.Salt, other.Salt) || one.Iterations != b.Verifier("ana").Iterations || len(one.Salt) != len(b.Verifier("ana").Salt) {
		t.Error("an unknown name can be told from a known one")
	}
	if _, err := NewBook([]Static{{Identity: facts.Identity{Name: "x"}}}); err == nil {
		t.Error("an empty password was taken")
	}
}

func TestFailures(t *testing.T) {
	b, err := NewBook(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if !b.MayTry("10.0.0.1", "ana") {
			t.Fatal("refused before ten failures")
		}
		b.Failed("10.0.0.1", "ana")
	}
	if b.MayTry("10.0.0.1", "ana") {
		t.Error("an eleventh try at once")
	}
	if !b.MayTry("10.0.0.2", "ana") || !b.MayTry("10.0.0.1", "bob") {
		t.Error("others are refused too")
	}
}
