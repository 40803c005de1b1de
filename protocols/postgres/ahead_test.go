package postgres

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// held is an engine that holds each unit until the client has sent what the
// test says, and then lets it pass.
type held struct {
	protocols.Session
	ahead chan struct{}
	texts []string
}

func (h *held) Catalog(context.Context, bool) (*catalog.Catalog, error) {
	return (&catalog.Catalog{}).Index(), nil
}
func (h *held) Flush() error { return nil }
func (h *held) Admit(_ context.Context, u protocols.Unit) ([]protocols.Ticket, error) {
	h.texts = append(h.texts, u.Text)
	u.OnHold(protocols.Held{ID: "1", Until: time.Now()})
	<-h.ahead
	return []protocols.Ticket{passed{}}, nil
}

type passed struct{ protocols.Ticket }

func (passed) Change() *catalog.Change   { return nil }
func (passed) Facts() *facts.Facts       { return &facts.Facts{} }
func (passed) Decision() *facts.Decision { return &facts.Decision{} }

type sent struct {
	protocols.Upstream
	bytes.Buffer
}

func (s *sent) Send(_ protocols.Ticket, b []byte) error { _, err := s.Write(b); return err }
func (s *sent) Read(p []byte) (int, error)              { return 0, nil }
func (s *sent) Flush() error                            { return nil }

// TestHeldIsWhatIsSent: what a client sends while its statement waits for
// people must not take the statement's place.
func TestHeldIsWhatIsSent(t *testing.T) {
	for _, size := range []int{0, 100, idleBuffer - 200, idleBuffer, 8 << 10, 40 << 10, bufferSize - 100, bufferSize + 100} {
		for _, kind := range []byte{'Q', 'P'} {
			text := "SELECT 1 " + strings.Repeat("a", size)
			body := appendString(nil, text)
			if kind == 'P' {
				body = append(appendString([]byte{0}, text), 0, 0)
			}
			ours, theirs := net.Pipe()
			h, up := &held{ahead: make(chan struct{})}, &sent{}
			s := &session{client: ours, sess: h, up: up, cr: newReader(ours, 1<<20), q: newQueue(), stmts: map[string]*statement{}}
			s.status.Store('I')
			s.view.view = &catalog.View{Catalog: (&catalog.Catalog{}).Index()}
			go func() {
				_, _ = theirs.Write(message(kind, body))
				notice := make([]byte, 4096)
				_, _ = theirs.Read(notice)
				for range 15 { // less than sqlwire reads ahead
					_, _ = theirs.Write(bytes.Repeat([]byte("DROP "), 200))
				}
				close(h.ahead)
			}()
			typ, n, err := s.cr.next()
			if err == nil {
				err = s.askOne(t.Context(), typ, n)
			}
			if err != nil {
				t.Fatalf("%c of %d bytes: %v", kind, len(body), err)
			}
			if want := message(kind, body); !bytes.Equal(up.Bytes(), want) || len(h.texts) != 1 || h.texts[0] != text {
				t.Errorf("%c of %d bytes: decided on %.40q, sent %.60q", kind, len(body), h.texts, up.Bytes())
			}
			ours.Close()
			theirs.Close()
		}
	}
}
