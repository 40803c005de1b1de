package mysql

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// register lets KILL statements of the same identity find the session: by the
// number that the client was greeted with, and by the upstream's, which
// CONNECTION_ID() and SHOW PROCESSLIST tell.
func (s *session) register(upstream uint32) {
	var forget []func()
	for _, id := range []uint32{s.id, upstream} {
		forget = append(forget,
			s.host.Canceller().Register(s.killKey(id, true), s.killQuery),
			s.host.Canceller().Register(s.killKey(id, false), s.killConnection))
	}
	s.kill = s.killUpstream(upstream)
	s.forget = func() {
		for _, f := range forget {
			f()
		}
	}
}

// kept stands for a target: what the host keeps of it is its own, by its
// address in memory.
type kept struct{ _ byte }

// killKey tells sessions apart by their target, identity and number: servers
// count their threads each from 1.
func (s *session) killKey(id uint32, query bool) string {
	target := s.host.Keep(func() any { return &kept{} })
	return fmt.Sprintf("mysql\x00%p\x00%s\x00%d\x00%t", target, s.user, id, query)
}

// killQuery is another session's KILL QUERY: it ends a wait, or goes on to the
// upstream.
func (s *session) killQuery() {
	if end := s.wait.Load(); end != nil {
		(*end)()
		return
	}
	s.kill(true)
}

// killConnection is another session's KILL.
func (s *session) killConnection() {
	s.killed.Store(true)
	if end := s.wait.Load(); end != nil {
		(*end)()
	}
	s.interrupt()
	s.kill(false)
}

// killUpstream interrupts the upstream's session over a connection of its own.
func (s *session) killUpstream(id uint32) func(query bool) {
	return func(query bool) {
		ctx, cancel := context.WithTimeout(context.Background(), startupTime)
		defer cancel()
		up, err := s.sess.Dial(ctx)
		if err != nil {
			return
		}
		defer up.Close()
		cred := s.cred
		cred.Database = ""
		l, err := logIn(ctx, up, cred, wish{charset: 45})
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, up.Interrupt)
		defer stop()
		what := "KILL CONNECTION "
		if query {
			what = "KILL QUERY "
		}
		// An error says that the session has ended, or has nothing to interrupt.
		_, _ = ownQuery(up, l.r, l.caps, what+strconv.FormatUint(uint64(id), 10), nil)
	}
}

// killText is KILL as clients write it, without comments.
var killText = regexp.MustCompile(`(?is)^\s*KILL\s+(?:(?:HARD|SOFT)\s+)?(CONNECTION\s+|QUERY\s+)?(\d+)\s*;?\s*$`)

// isKill says whether one of the tickets is a KILL.
func isKill(tickets []protocols.Ticket) bool {
	for _, t := range tickets {
		for _, e := range t.Facts().Effects {
			if e.Verb == "KILL" {
				return true
			}
		}
	}
	return false
}

// killStatement carries out an admitted KILL: no KILL of the client's goes
// upstream, where its number may be another client's.
func (s *session) killStatement(tickets []protocols.Ticket, text string, params []facts.Param) error {
	refuse := func(w *wireError) error {
		for _, t := range tickets {
			if err := t.Done(protocols.Outcome{Code: w.state, Message: w.message}); err != nil {
				return err
			}
		}
		return s.replyErr(w)
	}
	if len(params) == 1 && params[0].Known && !params[0].Null {
		text = regexp.MustCompile(`\?`).ReplaceAllLiteralString(text, params[0].Text)
	}
	m := killText.FindStringSubmatch(text)
	if m == nil || len(tickets) != 1 {
		return refuse(&wireError{code: 1235, state: "42000", message: "through the proxy KILL stands alone, with a connection's number"})
	}
	id, err := strconv.ParseUint(m[2], 10, 32)
	query := len(m[1]) > 0 && (m[1][0] == 'Q' || m[1][0] == 'q')
	if err != nil || !s.host.Canceller().Cancel(s.killKey(uint32(id), query)) {
		return refuse(&wireError{code: 1094, state: "HY000", message: "Unknown thread id: " + m[2]})
	}
	if err := tickets[0].Done(protocols.Outcome{Tag: "KILL"}); err != nil {
		return err
	}
	if s.killed.Load() {
		return fatal(1927, "70100", "Connection was killed")
	}
	s.replyOK()
	return nil
}
