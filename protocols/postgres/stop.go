package postgres

import (
	"errors"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// stop ends the statement whose result is coming with an error of ours, as
// PostgreSQL's own error would end it: what the upstream still sends of it is
// thrown away, and an open transaction is made to fail. It returns err where
// that cannot be done truthfully, because the client would take as undone what
// the upstream has done: the session must end then.
func (s *session) stop(err error) error {
	var w *wireError
	if !errors.As(err, &w) || w.severity == "FATAL" || s.stopping || s.whole < 0 || s.whole > len(s.out) {
		return err
	}
	e := s.q.head()
	open := s.status.Load() == 'T'
	if !s.stoppable(e, open) || !s.q.stop(e, open) {
		return err
	}
	s.out = append(s.out[:s.whole], appendError(nil, w)...)
	if err := s.finish(e, protocols.Outcome{Code: w.code, Message: w.message}); err != nil {
		return err
	}
	s.stopping, s.spoil = true, open
	s.cancelled = make(chan struct{})
	go func() {
		defer close(s.cancelled)
		s.cancel()
	}()
	return s.flush()
}

// stoppable says whether the error can be the whole truth: in a transaction
// block, which will fail as a whole, or where the statement is alone and only
// reads.
func (s *session) stoppable(e *expect, open bool) bool {
	t := e.ticket()
	if t == nil || s.copy.Load() != nil || e.kind == expectQuery && len(e.tickets) != 1 || e.kind == expectCall {
		return false
	}
	if open {
		return true
	}
	f := t.Facts()
	for _, effect := range f.Effects {
		if effect.Action != facts.Read && (effect.Action != facts.Copy || f.Copy == nil || f.Copy.In) {
			return false
		}
	}
	return s.executed == 0 && s.status.Load() == 'I'
}

// stop readies the queue: nothing but the Sync of e may have followed it, and
// where the transaction is to fail, nothing after that. What the client sends
// before its Sync is dropped from now on.
func (q *queue) stop(e *expect, open bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.list[1:]
	if e.kind == expectExecute {
		if len(rest) == 0 {
			q.failed.Store(true)
		} else if rest[0].kind != expectSync {
			return false
		} else {
			rest = rest[1:]
		}
	}
	if open && len(rest) > 0 {
		return false
	}
	if e.undo != nil {
		q.add(outcome{effect: e.undo})
		e.undo = nil
	}
	return true
}

// drained takes what the upstream still sends of a stopped statement.
func (s *session) drained(typ byte, body []byte) error {
	e := s.q.head()
	switch typ {
	case 'S':
		return s.parameterStatus(body)
	case 'A':
		return s.pass(typ, body)
	case 'C', 'I', 's', 'E':
		if e != nil && e.kind == expectExecute {
			s.q.pop()
		}
	case 'Z':
		// A cancel request that is still on its way would hit what comes next.
		<-s.cancelled
		s.stopping = false
		if e == nil || len(body) != 1 {
			return errProtocol(typ, e)
		}
		if s.spoil && body[0] == 'T' {
			return s.spoilTransaction()
		}
		return s.ready(e, body)
	}
	return nil
}

// spoilTransaction makes the upstream's transaction fail, before the client
// is told that its statement is over. The answer is a syntax error, which is
// swallowed, and a ReadyForQuery, which takes the place of the one at hand.
func (s *session) spoilTransaction() error {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if len(s.q.list) != 1 {
		return fatal("40001", "a statement was stopped while others were on their way", "Connect again: the transaction is rolled back.")
	}
	s.q.list[0] = &expect{kind: expectQuery, swallow: true, refused: &wireError{}}
	s.q.front()
	// Under the lock nothing of the client's can get in between.
	if err := s.up.Control(protocols.ControlRefuse, message('Q', appendString(nil, refusedText))); err != nil {
		return err
	}
	return s.up.Flush()
}
