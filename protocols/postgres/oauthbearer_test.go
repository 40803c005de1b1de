package postgres

import (
	"strings"
	"testing"
)

// FuzzBearer: what is taken for a token is one, and stands in the message.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{"n,,\x01auth=Bearer abc.def\x01\x01", "y,a=ana,\x01host=x\x01auth=bearer  t\x01\x01", "n,,\x01auth=\x01\x01", "p=x,,\x01auth=Bearer t\x01\x01", "", "n,,\x01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, problem := parseBearer(s, "ana")
		if problem != "" && token != "" {
			t.Errorf("%q: token %q with the problem %q", s, token, problem)
		}
		if token != "" && (!strings.Contains(s, token) || strings.ContainsFunc(token, notBearer)) {
			t.Errorf("%q: token %q", s, token)
		}
		if problem == "" && !strings.HasPrefix(s, "n,") && !strings.HasPrefix(s, "y,") {
			t.Errorf("%q was taken", s)
		}
	})
}
