package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"filippo.io/age"
)

// Read gives the events of the transcript at path to each, in order: those of
// its sealed frames, seals left out, then those of an open journal beside it.
// Only whole lines are read, so that a session can be read while it runs.
// identities open what is encrypted.
func Read(path string, identities []age.Identity, each func(*Event) error) error {
	s, err := openSource(path)
	if err != nil {
		return err
	}
	last := int64(0)
	for i := range s.pieces() {
		if last, err = s.piece(i, last, identities, each); err != nil {
			return err
		}
	}
	return nil
}

// source is a transcript in pieces that can be read by themselves: its sealed
// frames, and its journal.
type source struct {
	name    string
	frames  []frame
	journal []byte // whole lines
}

func openSource(path string) (*source, error) {
	base := baseOf(path)
	journal, sealed, err := readAll(base)
	if err == nil && sealed == nil && journal == nil {
		err = fmt.Errorf("reading a transcript: %w", &fs.PathError{Op: "open", Path: base + ".transcript", Err: fs.ErrNotExist})
	}
	if err != nil {
		return nil, err
	}
	frames, rest := splitFrames(sealed)
	if len(rest) > 0 && journal == nil { // else a frame may be on its way there
		return nil, fmt.Errorf("%d bytes at its end are no whole frame", len(rest))
	}
	return &source{name: filepath.Base(path), frames: frames, journal: journal}, nil
}

func (s *source) pieces() int {
	if len(s.journal) > 0 {
		return len(s.frames) + 1
	}
	return len(s.frames)
}

// piece gives the events of one piece that come after number last to each. It
// returns the last event's number.
func (s *source) piece(i int, last int64, identities []age.Identity, each func(*Event) error) (int64, error) {
	events := s.journal
	if i < len(s.frames) {
		o, err := s.frames[i].open(identities)
		if err != nil {
			return last, fmt.Errorf("%s at byte %d: %w", s.name, s.frames[i].offset, err)
		}
		events = o.events
	}
	var said resolver
	for line := range bytes.Lines(events) {
		e, err := parseEvent(line, last)
		if err == nil {
			err = said.resolve(e)
		}
		if err != nil {
			return last, err
		}
		if e.Number <= last {
			continue
		}
		last = e.Number
		if err := each(e); err != nil {
			return last, err
		}
	}
	return last, nil
}

// parseEvent reads a line; last is the event before it, for the error.
func parseEvent(line []byte, last int64) (*Event, error) {
	if len(line) > maxLine {
		return nil, errors.New("an event is too long")
	}
	e := &Event{}
	if err := json.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("an event after number %d: %w", last, err)
	}
	if e.Type == TypeOpen && e.Version > Version {
		return nil, fmt.Errorf("its format has version %d; this program reads up to %d", e.Version, Version)
	}
	return e, nil
}

// RefusedCode is the code of an error event for a statement that the policy
// refused.
const RefusedCode = "refused"

func nameOf(e *Event) string {
	if e.Identity == nil {
		return ""
	}
	return e.Identity.Name
}
