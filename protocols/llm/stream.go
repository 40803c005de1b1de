package llm

import (
	"errors"
	"io"

	"github.com/sallyport-proxy/sallyport/protocols/internal/httpgate"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// stream is one event stream on its way.
type stream struct {
	o     *operation
	a     *httpgate.Answer
	chat  *chunks     // chat completions and completions
	resp  *respEvents // responses
	usage *facts.Usage
	size  int  // bytes of data so far
	ended bool // the API's own end was seen
	paid  bool // what the model has taken was charged
	buf   []byte
}

// events writes an event stream. Whatever way it ends, what the model has
// taken is charged.
func (o *operation) events(a *httpgate.Answer) (err error) {
	a.Out.Type = "text/event-stream"
	s := &stream{o: o, a: a}
	if o.endpoint.body == responseBody {
		s.resp = &respEvents{pieces: pieces{d: o.detector}}
	} else {
		s.chat = &chunks{pieces: pieces{d: o.detector}, stripUsage: !o.usage}
	}
	defer func() { err = errors.Join(err, s.charge()) }()
	r := newEventReader(a.Body, min(a.Limits.Message, a.Limits.Row))
	for {
		ev, err := r.next()
		if err == io.EOF && s.ended {
			return a.Out.Flush()
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return httpgate.Broken("the upstream's stream broke off", err)
		}
		if err := s.event(ev); err != nil {
			return err
		}
		if !r.buffered() {
			if err := a.Out.Flush(); err != nil {
				return err
			}
		}
	}
}

// charge charges what the model has taken, once.
func (s *stream) charge() error {
	if s.paid {
		return nil
	}
	s.paid = true
	u := s.o.counted(s.size)
	if s.usage != nil {
		u = *s.usage
	}
	return used(s.a.Ticket, u)
}

// end is charged for before the client hears of it: its next request finds
// given back what this one had reserved.
func (s *stream) end() error {
	s.ended = true
	return s.charge()
}

// event writes one.
func (s *stream) event(ev *event) error {
	switch {
	case !plain(ev.Name) || !plain(ev.ID):
		return httpgate.Broken("the upstream's stream is not what its API promises", errors.New("a name or an id that is none"))
	case ev.Comment, ev.Data == nil:
		ev.Data = nil
		return s.write(ev)
	case string(ev.Data) == "[DONE]":
		if s.chat != nil {
			for _, b := range s.chat.close() {
				if err := s.write(&event{Data: b}); err != nil {
					return err
				}
			}
		}
		if err := s.end(); err != nil {
			return err
		}
		return s.write(ev)
	case s.paid:
		return httpgate.Broken("the upstream's stream is not what its API promises", errors.New("it goes on behind its end"))
	}
	v, err := httpgate.ParseJSON(ev.Data, 127)
	if err != nil || v.Kind != '{' {
		return httpgate.Broken("the upstream's stream is no JSON", errors.Join(err, errors.New("in an event")))
	}
	s.size += len(ev.Data)
	var out [][]byte
	if s.chat != nil {
		s.note(v.Get("usage"))
		out = s.chat.rewrite(v)
	} else {
		s.note(v.Get("response").Get("usage"))
		out = s.resp.rewrite(v)
		if terminal(v.Get("type").Text) {
			if err := s.end(); err != nil {
				return err
			}
		}
	}
	for i, b := range out {
		e := *ev
		e.Data = b
		if i < len(out)-1 { // what was held back of a text
			e.ID, e.Retry = "", ""
			if s.resp != nil && e.Name != "" {
				if held, err := httpgate.ParseJSON(b, 127); err == nil {
					e.Name = held.Get("type").Text
				}
			}
		}
		if err := s.write(&e); err != nil {
			return err
		}
	}
	return nil
}

// note keeps what is told of the usage: some tell what it is so far, again and
// again, and it never becomes less.
func (s *stream) note(v *httpgate.Value) {
	if u, ok := usageOf(v); ok {
		if s.usage != nil {
			u.Input, u.Output = max(u.Input, s.usage.Input), max(u.Output, s.usage.Output)
		}
		s.usage = &u
	}
}

// write records an event and sends it.
func (s *stream) write(ev *event) error {
	s.buf = ev.appendTo(s.buf[:0])
	if ev.Data != nil {
		if err := sent(s.a.Ticket, ev.Data); err != nil {
			return err
		}
	}
	_, err := s.a.Out.Write(s.buf)
	return err
}
