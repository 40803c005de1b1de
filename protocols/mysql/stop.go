package mysql

import (
	"errors"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// stop ends the statement whose result is coming with an error of ours, as the
// server's own would end it: what the upstream still sends of it is thrown
// away. The transaction stays as it is. It returns err where the error could
// not be the whole truth, because the statement has done something, or others
// follow it: the session must end then. end is the EOF after the columns,
// where there is one and nothing has been read since.
func (s *session) stop(p *pending, err error, end *ended) (more bool, _ error) {
	w := toWire(err)
	var u *upstreamError
	if errors.As(err, &u) || w.fatal || s.whole < 0 {
		return false, err
	}
	if !s.stoppable(p) {
		lost := *w
		lost.fatal = true
		return false, &lost
	}
	s.out = s.out[:s.whole]
	t := p.ticket()
	if err := p.fail(protocols.Outcome{Code: w.state, Message: w.message}); err != nil {
		return false, err
	}
	s.diagnose(t)
	s.unsettle(t, 0)
	killed := make(chan struct{})
	if end == nil || end.status&statusCursor == 0 {
		go func() {
			defer close(killed)
			s.kill(true)
		}()
		err = s.drain()
		<-killed // else it would hit what comes next
		if err != nil {
			return false, err
		}
	}
	if p.st != nil {
		p.st.cursor = nil
	}
	s.reply(appendErr(nil, w, s.caps))
	return false, nil
}

// stoppable says whether an error can be the whole truth: where the statement
// is the last one and only reads.
func (s *session) stoppable(p *pending) bool {
	if p.at != len(p.tickets)-1 || open(p.ticket()) {
		return false
	}
	for _, e := range p.ticket().Facts().Effects {
		if e.Action != facts.Read && e.Action != facts.SessionSet {
			return false
		}
	}
	return true
}

// drain throws the rest of a result's rows away.
func (s *session) drain() error {
	for {
		n, err := s.next()
		if err != nil {
			return err
		}
		first, _, err := s.ur.first()
		if err != nil {
			return &upstreamError{err}
		}
		if first == headErr && n < maxPacket {
			return nil
		}
		if isEnd(first, n) {
			b, err := s.ur.body()
			if err != nil {
				return &upstreamError{err}
			}
			e, err := parseEnd(b, s.upCaps)
			if err != nil {
				return &upstreamError{err}
			}
			if e.status&statusMoreResults != 0 {
				return &upstreamError{errors.New("results for what was not admitted")}
			}
			return s.track(&e)
		}
	}
}
