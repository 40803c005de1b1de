package httpgate

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
)

// openHost lets everybody in and nothing pass.
type openHost struct{ protocols.Host }

func (openHost) TLS() (*tls.Config, bool)  { return nil, false }
func (openHost) Limits() protocols.Limits  { return protocols.Limits{Message: 1 << 20, Depth: 100} }
func (openHost) Draining() <-chan struct{} { return nil }
func (openHost) Wait() time.Duration       { return 0 }
func (openHost) Keep(func() any) any       { return nil }
func (openHost) Timeout() time.Duration    { return time.Minute }
func (openHost) Login(context.Context, protocols.Login) (protocols.Session, error) {
	return &problemSession{}, nil
}

// problemSession returns a unit's problem.
type problemSession struct{ protocols.Session }

func (*problemSession) Close(error)              {}
func (*problemSession) Done() <-chan struct{}    { return nil }
func (*problemSession) Cause() *protocols.Denial { return nil }
func (*problemSession) Admit(_ context.Context, u protocols.Unit) ([]protocols.Ticket, error) {
	return nil, u.Problem
}

// TestSlowClients: a client that gives its request byte by byte has a bounded
// time for all of it, however steadily the bytes come, and is told where that
// can be said.
func TestSlowClients(t *testing.T) {
	defer func(head, body time.Duration) { headTime, bodyTime = head, body }(headTime, bodyTime)
	headTime, bodyTime = 200*time.Millisecond, 200*time.Millisecond
	api := &API{Name: "test", Fault: func(f *Fault) []byte { return fmt.Appendf(nil, `{"error":%q}`, f.Message) }}
	const head = "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n"
	for name, c := range map[string]struct{ once, drips, says string }{
		"a slow head":    {"", head, ""},
		"a slow body":    {head + "Content-Length: 1000\r\n\r\n", strings.Repeat("[", 1000), `{"error":"the request's body did not come in time"}`},
		"a slow chunk":   {head + "Transfer-Encoding: chunked\r\n\r\n3e8\r\n", strings.Repeat("[", 1000), `{"error":"the request's body did not come in time"}`},
		"chunks of one":  {head + "Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\n[\r\n", 200), `{"error":"the request's body did not come in time"}`},
		"no body at all": {head + "Content-Length: 1000\r\n\r\n", "", `{"error":"the request's body did not come in time"}`},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- Serve(t.Context(), server, openHost{}, api) }()
			_ = client.SetDeadline(time.Now().Add(20 * time.Second))
			stop := make(chan struct{})
			dripped := make(chan struct{})
			go func() { // a byte each 5 ms would take seconds
				defer close(dripped)
				_, _ = io.WriteString(client, c.once)
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for i := 0; i < len(c.drips); i++ {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					if _, err := client.Write([]byte{c.drips[i]}); err != nil {
						return
					}
				}
			}()
			got, _ := io.ReadAll(client) // until the proxy hangs up; what it resets is read as far as it came
			close(stop)
			<-dripped
			if !strings.HasSuffix(string(got), c.says) || c.says != "" && !strings.HasPrefix(string(got), "HTTP/1.1 408 ") {
				t.Errorf("%q", got)
			}
			client.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
