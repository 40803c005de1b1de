package mysql

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// localVerb is what analysis calls a statement that reads a file of the
// client's.
const localVerb = "LOAD DATA LOCAL"

// localFile answers the upstream's request for a file of the client's. It may
// ask only in answer to a statement that says so, and the policy has let pass.
func (s *session) localFile(p *pending, name string) (more bool, err error) {
	t := p.ticket()
	if t == nil || s.caps&capLocalFiles == 0 || !slices.ContainsFunc(t.Facts().Effects, func(e facts.Effect) bool { return e.Verb == localVerb }) {
		return false, &upstreamError{errors.New("the upstream asks for a file of the client's, unasked")}
	}
	s.reply(append([]byte{headLocal}, name...))
	if err := s.flush(); err != nil {
		return false, err
	}
	s.cr.seq, s.useq = s.seq, s.ur.seq
	for {
		n, err := s.cr.next()
		if err != nil {
			return false, s.broken(err)
		}
		for {
			if err := s.sendPart(t, n); err != nil {
				return false, err
			}
			if !s.cr.more {
				break
			}
			if err := s.cr.packet(); err != nil {
				return false, s.broken(err)
			}
			n = s.cr.left
		}
		if n == 0 {
			break
		}
	}
	s.seq, s.ur.seq = s.cr.seq, s.useq
	if err := s.up.Flush(); err != nil {
		return false, &upstreamError{err}
	}
	return s.oneResult(p)
}

// sendPart sends one packet of the file.
func (s *session) sendPart(t protocols.Ticket, n int) error {
	var head [4]byte
	putHeader(head[:], n, &s.useq)
	if err := s.up.Send(t, head[:]); err != nil {
		return &upstreamError{err}
	}
	for s.cr.left > 0 {
		if err := s.cr.fill(1); err != nil {
			return fmt.Errorf("reading the client's file: %w", err)
		}
		k := min(s.cr.left, s.cr.end-s.cr.start)
		b := s.cr.buf[s.cr.start : s.cr.start+k]
		s.cr.start += k
		s.cr.left -= k
		if err := s.up.Send(t, b); err != nil {
			return &upstreamError{err}
		}
	}
	return nil
}
