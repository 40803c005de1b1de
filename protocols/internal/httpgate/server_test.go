package httpgate

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// echo is an API that notes what it is asked and refuses it.
type echo struct {
	mu   sync.Mutex
	seen []string
	hook func(ctx context.Context, r *Request)
}

func (e *echo) api() *API {
	return &API{
		Name: "test", KeyHeaders: []string{"Api-Key"},
		Fault: func(f *Fault) []byte { return fmt.Appendf(nil, `{"error":%q}`, f.Message) },
		Route: func(ctx context.Context, r *Request) (*Operation, error) {
			e.mu.Lock()
			e.seen = append(e.seen, fmt.Sprintf("%s /%s %s", r.Method, strings.Join(r.Path, "/"), r.Body))
			e.mu.Unlock()
			if e.hook != nil {
				e.hook(ctx, r)
			}
			return nil, Problem(http.StatusTeapot, "seen", "")
		},
	}
}

// hostOf lets everybody in, over TLS where it has a configuration.
type hostOf struct {
	openHost
	tls   *tls.Config
	drain chan struct{}
}

func (h hostOf) TLS() (*tls.Config, bool)  { return h.tls, h.tls != nil }
func (h hostOf) Draining() <-chan struct{} { return h.drain }

// serving has Serve take one connection, whose client's side is returned.
func serving(t *testing.T, host protocols.Host, api *API) (client net.Conn, served chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	served = make(chan error, 1)
	go func() { served <- Serve(context.Background(), server, host, api) }()
	return client, served
}

const fields = "Host: x\r\nAuthorization: Bearer t\r\n"

// smuggled follows each broken request: it must never be taken for one.
const smuggled = "GET /smuggled HTTP/1.1\r\n" + fields + "\r\n"

// TestServe: what is taken, and as what, and what ends the connection.
func TestServe(t *testing.T) {
	post := func(more, body string) string { return "POST /a HTTP/1.1\r\n" + fields + more + "\r\n" + body }
	const chunked = "Transfer-Encoding: chunked\r\n"
	for name, c := range map[string]struct {
		raw      string
		statuses []int // of all answers until the connection ends
		seen     []string
	}{
		"a length":            {post("Connection: close\r\nContent-Length: 2\r\n", "{}"), []int{418}, []string{"POST /a {}"}},
		"space about a value": {post("Connection: close\r\nContent-Length: \t 2 \t\r\n", "{}"), []int{418}, []string{"POST /a {}"}},
		"chunks":              {post("Connection: close\r\n"+chunked, "1\r\n{\r\n01\r\n}\r\n000\r\n\r\n"), []int{418}, []string{"POST /a {}"}},
		"Chunked":             {post("connection: x, CLOSE\r\ntransfer-encoding: Chunked\r\n", "a\r\n{123456789\r\n1\r\n}\r\n0\r\n\r\n"), []int{418}, []string{"POST /a {123456789}"}},
		"pipelined": {post("Content-Length: 2\r\n", "{}") + "GET /b HTTP/1.1\r\n" + fields + "\r\n" + post(chunked, "1\r\n7\r\n0\r\n\r\n") + "GET /c HTTP/1.1\r\nConnection: close\r\n" + fields + "\r\n" + smuggled,
			[]int{418, 418, 418, 418}, []string{"POST /a {}", "GET /b ", "POST /a 7", "GET /c "}},
		"HTTP/1.0":                {"GET /a HTTP/1.0\r\nApi-Key: t\r\n\r\n" + smuggled, []int{418}, []string{"GET /a "}},
		"HTTP/1.0, kept":          {"GET /a HTTP/1.0\r\nConnection: keep-alive\r\nApi-Key: t\r\n\r\n" + smuggled, []int{418}, []string{"GET /a "}},
		"a body that was there":   {post("Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n", "{}"), []int{418}, []string{"POST /a {}"}},
		"refused, then another":   {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + "GET /b HTTP/1.1\r\nConnection: close\r\n" + fields + "\r\n", []int{401, 418}, []string{"GET /b "}},
		"refused in its midst":    {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n" + smuggled[:20], []int{401}, nil},
		"refused, with chunks":    {"POST /a HTTP/1.1\r\nHost: x\r\n" + chunked + "\r\n0\r\n\r\n" + smuggled, []int{401}, nil},
		"two tokens, the same":    {"GET /a HTTP/1.1\r\nHost: x\r\nApi-Key: t\r\nauthorization: BEARER t\r\nConnection: close\r\n\r\n", []int{418}, []string{"GET /a "}},
		"two tokens":              {"GET /a HTTP/1.1\r\nHost: x\r\nApi-Key: t\r\nAuthorization: Bearer u\r\nConnection: close\r\n\r\n", []int{401}, nil},
		"an empty token":          {"GET /a HTTP/1.1\r\nHost: x\r\nApi-Key:\r\nAuthorization: Bearer u\r\nConnection: close\r\n\r\n", []int{401}, nil},
		"basic":                   {"GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: Basic u\r\nConnection: close\r\n\r\n", []int{401}, nil},
		"absolute form":           {"GET http://y/a HTTP/1.1\r\nConnection: close\r\n" + fields + "\r\n", []int{400}, nil},
		"CONNECT":                 {"CONNECT y:1 HTTP/1.1\r\nConnection: close\r\n" + fields + "\r\n", []int{400}, nil},
		"OPTIONS *":               {"OPTIONS * HTTP/1.1\r\nConnection: close\r\n" + fields + "\r\n", []int{400}, nil},
		"an upgrade":              {"GET /a HTTP/1.1\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n" + fields + "\r\n", []int{400}, nil},
		"another method's header": {"GET /a HTTP/1.1\r\nConnection: close\r\nX-HTTP-Method-Override: DELETE\r\n" + fields + "\r\n", []int{400}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &echo{}
			client, served := serving(t, hostOf{}, e.api())
			if _, err := io.WriteString(client, c.raw); err != nil {
				t.Fatal(err)
			}
			got, all := statusesOf(client)
			if !slices.Equal(got, c.statuses) {
				t.Errorf("%v, want %v:\n%s", got, c.statuses, all)
			}
			if !slices.Equal(e.seen, c.seen) {
				t.Errorf("%q was seen, want %q", e.seen, c.seen)
			}
			client.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// statusesOf reads answers until the connection ends.
func statusesOf(c io.Reader) (statuses []int, all string) {
	var copied strings.Builder
	r := bufio.NewReader(io.TeeReader(c, &copied))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses, copied.String()
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		statuses = append(statuses, resp.StatusCode)
	}
}

// TestServeMisread: a request whose end or meaning two readers could see
// differently has one answer, which says so, and is the end of its connection.
// What follows it is never taken for a request.
func TestServeMisread(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked\r\n"
	get := func(more string) string { return "GET /a HTTP/1.1\r\n" + fields + more + "\r\n" }
	for name, c := range map[string]struct {
		status int
		raw    string
	}{
		// Which length is meant (RFC 9112 §6.3, §11.2).
		"length, then chunks":        {400, get("Content-Length: 5\r\n"+chunked) + "0\r\n\r\n"},
		"chunks, then length":        {400, get(chunked+"Content-Length: 5\r\n") + "0\r\n\r\n"},
		"chunks and length 0":        {400, get(chunked+"Content-Length: 0\r\n") + "0\r\n\r\n"},
		"two lengths":                {400, get("Content-Length: 0\r\nContent-Length: 9\r\n")},
		"the same length twice":      {400, get("Content-Length: 0\r\nContent-Length: 0\r\n")},
		"a list of lengths":          {400, get("Content-Length: 0, 0\r\n")},
		"a signed length":            {400, get("Content-Length: +0\r\n")},
		"a negative length":          {400, get("Content-Length: -1\r\n")},
		"a hexadecimal length":       {400, get("Content-Length: 0x0\r\n")},
		"an empty length":            {400, get("Content-Length:\r\n")},
		"a length with a space":      {400, get("Content-Length: 0 0\r\n")},
		"a length beyond all":        {400, get("Content-Length: 18446744073709551616\r\n")},
		"a length of another script": {400, get("Content-Length: ٠\r\n")},
		"identity":                   {501, get("Transfer-Encoding: identity\r\n")},
		"two codings":                {501, get("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n"},
		"chunked twice":              {501, get("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n"},
		"chunked in two fields":      {400, get(chunked+chunked) + "0\r\n\r\n"},
		"chunked, and what follows":  {501, get("Transfer-Encoding: chunked;q=1\r\n") + "0\r\n\r\n"},
		"quoted chunked":             {501, get("Transfer-Encoding: \"chunked\"\r\n") + "0\r\n\r\n"},
		"xchunked":                   {501, get("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n"},
		"chunked behind \\v":         {400, get("Transfer-Encoding: \vchunked\r\n") + "0\r\n\r\n"},
		"chunked before \\0":         {400, get("Transfer-Encoding: chunked\x00\r\n") + "0\r\n\r\n"},
		"chunked in HTTP/1.0":        {400, "GET /a HTTP/1.0\r\n" + fields + chunked + "\r\n0\r\n\r\n"},
		"another expectation":        {417, get("Expect: 200-ok\r\n")},
		// Where a field or the head ends (RFC 9112 §2.2, §5).
		"a space before the colon": {400, get("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n"},
		"a tab before the colon":   {400, get("Content-Length\t: 5\r\n")},
		"a folded field":           {400, get("X: a\r\n Content-Length: 5\r\n")},
		"a folded coding":          {501, get("Transfer-Encoding:\r\n chunked\r\n") + "0\r\n\r\n"},
		"a fold at first":          {400, "GET /a HTTP/1.1\r\n Host: y\r\n" + fields + "\r\n"},
		"no colon":                 {400, get("Content-Length\r\n")},
		"no name":                  {400, get(": 5\r\n")},
		"a name with \\0":          {400, get("Content-Length\x00: 5\r\n")},
		"a name with a bracket":    {400, get("(X): 5\r\n")},
		"a name beyond ASCII":      {400, get("Contént-Length: 5\r\n")},
		"LF alone after a field":   {400, get("X: a\nContent-Length: 5\r\n")},
		"LF alone after the head":  {400, "GET /a HTTP/1.1\r\n" + fields + "\n"},
		"LF alone all through":     {400, "GET /a HTTP/1.1\nHost: x\nApi-Key: t\n\n"},
		"CR alone in a value":      {400, get("X: a\rContent-Length: 5\r\n")},
		"CR alone at the end":      {400, get("X: a\r\r\n")},
		"a control character":      {400, get("X: a\x01b\r\n")},
		"an empty line before":     {400, "\r\n" + get("")},
		"a head that is too long":  {431, get("X: " + strings.Repeat("x", maxRequestHead) + "\r\n")},
		"too many fields":          {431, get(strings.Repeat("X: y\r\n", maxRequestHead/6))},
		"a field that has no end":  {431, "GET /a HTTP/1.1\r\nX: " + strings.Repeat("x", 2*maxRequestHead)},
		"no host":                  {400, "GET /a HTTP/1.1\r\nApi-Key: t\r\n\r\n"},
		"two hosts":                {400, get("host: x\r\n")},
		"a host with a path":       {400, "GET /a HTTP/1.1\r\nHost: x/y\r\nApi-Key: t\r\n\r\n"},
		"a host with a user":       {400, "GET /a HTTP/1.1\r\nHost: u@x\r\nApi-Key: t\r\n\r\n"},
		"two content types":        {400, get("Content-Type: application/json\r\nContent-Type: text/plain\r\n")},
		"two spaces":               {400, "GET  /a HTTP/1.1\r\n" + fields + "\r\n"},
		"a tab in the line":        {400, "GET\t/a HTTP/1.1\r\n" + fields + "\r\n"},
		"a space in the target":    {400, "GET /a b HTTP/1.1\r\n" + fields + "\r\n"},
		"a space behind the line":  {400, "GET /a HTTP/1.1 \r\n" + fields + "\r\n"},
		"a space before the line":  {400, " GET /a HTTP/1.1\r\n" + fields + "\r\n"},
		"a control in the target":  {400, "GET /a\x00 HTTP/1.1\r\n" + fields + "\r\n"},
		"a method that is none":    {400, "G(T /a HTTP/1.1\r\n" + fields + "\r\n"},
		"no method":                {400, " /a HTTP/1.1\r\n" + fields + "\r\n"},
		"a long method":            {400, strings.Repeat("G", 40) + " /a HTTP/1.1\r\n" + fields + "\r\n"},
		"HTTP/0.9":                 {400, "GET /a\r\n"},
		"HTTP/1.2":                 {505, "GET /a HTTP/1.2\r\n" + fields + "\r\n"},
		"HTTP/1.10":                {400, "GET /a HTTP/1.10\r\n" + fields + "\r\n"},
		"http/1.1":                 {400, "GET /a http/1.1\r\n" + fields + "\r\n"},
		"HTTP/2's preface":         {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		"TLS":                      {400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"},
		// Where a chunk ends (RFC 9112 §7.1).
		"an extension":             {400, get(chunked) + "0;a=b\r\n\r\n"},
		"a long extension":         {400, get(chunked) + "1;" + strings.Repeat("a", 5000) + "\r\nx\r\n0\r\n\r\n"},
		"LF in an extension":       {400, get(chunked) + "0;\n\r\n\r\n"},
		"a space behind a size":    {400, get(chunked) + "0 \r\n\r\n"},
		"a size of 0x":             {400, get(chunked) + "0x0\r\n\r\n"},
		"a signed size":            {400, get(chunked) + "+0\r\n\r\n"},
		"a size with an underline": {400, get(chunked) + "0_0\r\n\r\n"},
		"an empty size":            {400, get(chunked) + "\r\n\r\n"},
		"a size beyond all":        {400, get(chunked) + "10000000000000000\r\n\r\n"},
		"a large size":             {400, get(chunked) + "fffffffffffffff\r\nx"},
		"LF alone behind a size":   {400, get(chunked) + "0\n\r\n"},
		"more than the size":       {400, get(chunked) + "1\r\nxyz\r\n0\r\n\r\n"},
		"less than the size":       {400, get(chunked) + "5\r\nx\r\n0\r\n\r\n"},
		"no end of a chunk":        {400, get(chunked) + "1\r\nx0\r\n\r\n"},
		"LF alone behind a chunk":  {400, get(chunked) + "1\r\nx\n0\r\n\r\n"},
		"a trailer":                {400, get(chunked) + "0\r\nX: y\r\n\r\n"},
		"a length as a trailer":    {400, get(chunked) + "0\r\nContent-Length: 5\r\n\r\n"},
		"LF alone at the end":      {400, get(chunked) + "0\r\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &echo{}
			client, served := serving(t, hostOf{}, e.api())
			go func() {
				_, _ = io.WriteString(client, c.raw+smuggled)
				_ = client.(*net.TCPConn).CloseWrite()
			}()
			got, all := statusesOf(client)
			if len(got) != 1 || got[0] != c.status {
				t.Errorf("%v, want %d:\n%.400s", got, c.status, all)
			}
			if !strings.Contains(all, "Connection: close\r\n") || !strings.Contains(all, "\r\n\r\n{\"error\":") {
				t.Errorf("the end is not told:\n%.400s", all)
			}
			if len(e.seen) > 0 {
				t.Errorf("%q was seen", e.seen)
			}
			client.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestServeContinue: a client that waits is told to go on, but where its
// request is refused before its body is wanted.
func TestServeContinue(t *testing.T) {
	e := &echo{}
	client, served := serving(t, hostOf{}, e.api())
	r := bufio.NewReader(client)
	for _, framing := range [][2]string{{"Content-Length: 3\r\n", "123"}, {"Transfer-Encoding: chunked\r\n", "3\r\n123\r\n0\r\n\r\n"}} {
		fmt.Fprintf(client, "POST /a HTTP/1.1\r\n%sExpect: 100-Continue\r\n%s\r\n", fields, framing[0])
		if line, err := r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatal(line, err)
		}
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(client, framing[1])
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 418 {
			t.Fatal(resp, err)
		} else {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	}
	if !slices.Equal(e.seen, []string{"POST /a 123", "POST /a 123"}) {
		t.Errorf("%q", e.seen)
	}
	fmt.Fprintf(client, "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if got, all := statusesOf(r); !slices.Equal(got, []int{401}) || !strings.Contains(all, "Connection: close\r\n") {
		t.Errorf("%v %s", got, all)
	}
	client.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestServeHead: an answer to HEAD has no body.
func TestServeHead(t *testing.T) {
	client, _ := serving(t, hostOf{}, (&echo{}).api())
	_, _ = io.WriteString(client, "HEAD /a HTTP/1.1\r\nConnection: close\r\n"+fields+"\r\n")
	got, _ := io.ReadAll(client)
	if s := string(got); !strings.HasPrefix(s, "HTTP/1.1 418 ") || !strings.HasSuffix(s, "\r\n\r\n") || !strings.Contains(s, "Content-Length: 16\r\n") {
		t.Errorf("%q", s)
	}
}

// TestServeGone: a client that goes away while its request is at work ends it.
func TestServeGone(t *testing.T) {
	working, ended := make(chan struct{}), make(chan struct{})
	e := &echo{hook: func(ctx context.Context, _ *Request) { close(working); <-ctx.Done(); close(ended) }}
	client, served := serving(t, hostOf{}, e.api())
	_, _ = io.WriteString(client, "POST /a HTTP/1.1\r\n"+fields+"Content-Length: 2\r\n\r\n{}")
	<-working
	client.Close()
	<-ended
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestServeNextWhileAtWork: what comes of the next request while one takes
// long is not lost, and ends nothing.
func TestServeNextWhileAtWork(t *testing.T) {
	working, release := make(chan struct{}), make(chan struct{})
	e := &echo{hook: func(ctx context.Context, r *Request) {
		if r.Path[0] == "slow" {
			working <- struct{}{}
			<-release
			if ctx.Err() != nil {
				t.Error(ctx.Err())
			}
		}
	}}
	client, served := serving(t, hostOf{}, e.api())
	for range 2 {
		_, _ = io.WriteString(client, "GET /slow HTTP/1.1\r\n"+fields+"\r\n")
		<-working
		<-time.After(2 * attention) // the client is listened to by now, or soon: both must do
		_, _ = io.WriteString(client, "POST /next HTTP/1.1\r\n"+fields+"Content-Length: 5\r\n\r\nafter")
		release <- struct{}{}
		r := bufio.NewReader(client)
		for range 2 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 418 {
				t.Fatal(resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	}
	if want := []string{"GET /slow ", "POST /next after", "GET /slow ", "POST /next after"}; !slices.Equal(e.seen, want) {
		t.Errorf("%q", e.seen)
	}
	client.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestServeDrain: a drain ends a connection that waits, before its first
// request, in TLS' handshake or after a request, and one at work after its
// answer.
func TestServeDrain(t *testing.T) {
	for _, requests := range []int{0, 1} {
		host := hostOf{drain: make(chan struct{})}
		client, served := serving(t, host, (&echo{}).api())
		r := bufio.NewReader(client)
		for range requests {
			_, _ = io.WriteString(client, smuggled)
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.Close {
				t.Fatal(resp, err)
			} else {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		}
		close(host.drain)
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	host := hostOf{drain: make(chan struct{}), tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	_, served := serving(t, host, (&echo{}).api())
	close(host.drain)
	if err := <-served; err != nil {
		t.Error(err)
	}
	host = hostOf{drain: make(chan struct{})}
	working, release := make(chan struct{}), make(chan struct{})
	client, served := serving(t, host, (&echo{hook: func(context.Context, *Request) { close(working); <-release }}).api())
	_, _ = io.WriteString(client, smuggled)
	<-working
	close(host.drain)
	close(release)
	if got, all := statusesOf(client); !slices.Equal(got, []int{418}) { // it may not have heard of it yet
		t.Errorf("%v %s", got, all)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestServeTLS: requests over TLS, alone and with a slow one; a client without
// TLS is told.
func TestServeTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	host := hostOf{tls: &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12}}
	working, release := make(chan struct{}, 1), make(chan struct{})
	e := &echo{hook: func(_ context.Context, r *Request) {
		if r.Path[0] == "slow" {
			working <- struct{}{}
			<-release
		}
	}}
	client, served := serving(t, host, e.api())
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	r := bufio.NewReader(c)
	for i, raw := range []string{"GET /slow HTTP/1.1\r\n" + fields + "\r\n", "POST /b HTTP/1.1\r\n" + fields + "Content-Length: 40000\r\n\r\n" + strings.Repeat("x", 40000)} {
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-working
			<-time.After(2 * attention)
			close(release)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 418 {
			t.Fatal(resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("%q was chosen", p)
	}
	if len(e.seen) != 2 || len(e.seen[1]) != len("POST /b ")+40000 {
		t.Errorf("%.60q", e.seen)
	}
	c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	plain, served := serving(t, host, e.api())
	_, _ = io.WriteString(plain, smuggled)
	if got, all := statusesOf(plain); !slices.Equal(got, []int{400}) || !strings.Contains(all, "TLS") {
		t.Errorf("%v %s", got, all)
	}
	plain.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
