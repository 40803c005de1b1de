package main

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/approval"
)

// TestApprovalPages answers a hold as a person with a browser does, and as
// another site's page would like to.
func TestApprovalPages(t *testing.T) {
	t.Parallel()
	h := startHolding(t, holdPolicy)
	base := "http://" + regexp.MustCompile(`console: \{listen: "([^"]+)"`).FindStringSubmatch(readFile(t, h.config))[1]
	c := h.client(t)
	id, end := c.start(t, "SELECT * FROM orders")
	ask := func(user, method, path string, head map[string]string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, base+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, user+"-secret")
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range head {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	yes := url.Values{"answer": {"approve"}, "reason": {"<b>because</b>"}}
	for name, x := range map[string]struct {
		user, method, path string
		head               map[string]string
		form               url.Values
		code               int
		want               string
	}{
		"nobody":                 {"", "GET", "/approvals", nil, nil, 401, "Log in"},
		"a wrong password":       {"mallory", "GET", "/approvals", nil, nil, 401, "Log in"},
		"an approver's list":     {"dana", "GET", "/approvals", nil, nil, 200, id},
		"a stranger's list":      {"sam", "GET", "/approvals", nil, nil, 200, "None."},
		"a stranger's look":      {"sam", "GET", "/approvals/" + id, nil, nil, 404, "no such hold"},
		"one's own":              {"ana", "GET", "/approvals/" + id, nil, nil, 200, "Somebody else must answer"},
		"one's own yes":          {"ana", "POST", "/approvals/" + id, nil, yes, 200, "nobody can grant their own"},
		"another site's form":    {"dana", "POST", "/approvals/" + id, map[string]string{"Origin": "http://evil.example"}, yes, 403, ""},
		"another site's page":    {"dana", "POST", "/approvals/" + id, map[string]string{"Sec-Fetch-Site": "cross-site"}, yes, 403, ""},
		"the API, as a stranger": {"sam", "POST", "/api/v1/approvals/" + id + "/approve", nil, nil, 400, "JSON"},
	} {
		code, body := ask(x.user, x.method, x.path, x.head, x.form)
		if code != x.code || !strings.Contains(body, x.want) {
			t.Errorf("%s: %d, want %d with %q:\n%s", name, code, x.code, x.want, body)
		}
	}
	if got := h.hold(t, id); got.State != approval.Waiting {
		t.Fatalf("the hold is %s", got.State)
	}
	code, body := ask("dana", "POST", "/approvals/"+id, map[string]string{"Sec-Fetch-Site": "same-origin"}, yes)
	if code != 200 || !strings.Contains(body, "granted") || !strings.Contains(body, "&lt;b&gt;because") {
		t.Errorf("%d %s", code, body)
	}
	if err := awaitEnd(t, end); err != nil {
		t.Error(err)
	}
}
