package httpgate

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

type waitingHost struct{ protocols.Host }

func (waitingHost) Wait() time.Duration { return time.Second }

// changingSession says twice that the policy has changed.
type changingSession struct {
	protocols.Session
	asked []string
}

func (s *changingSession) Admit(_ context.Context, u protocols.Unit) ([]protocols.Ticket, error) {
	s.asked = append(s.asked, u.Text)
	if len(s.asked) < 3 {
		return nil, protocols.ErrPolicyChanged
	}
	return nil, nil
}

// TestReadAnew: a request is read again, not only asked for again, for as long
// as the policy changes in between.
func TestReadAnew(t *testing.T) {
	routed := 0
	g := &gate{host: waitingHost{}, api: &API{Route: func(_ context.Context, r *Request) (*Operation, error) {
		routed++
		return &Operation{Text: string(rune('0' + routed)), Facts: &facts.Facts{}}, nil
	}}}
	s := &changingSession{}
	op, _, err := g.admit(t.Context(), s, &Request{}, nil)
	if err != nil || op.Text != "3" || len(s.asked) != 3 || s.asked[2] != "3" {
		t.Errorf("%v %v %q", op, err, s.asked)
	}
}
