package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"filippo.io/age"
)

// Read gives the events of the transcript at path to each, in order: those of
// its sealed frames, seals left out, then those of an open journal beside it.
// Only whole lines are read, so that a session can be read while it runs.
// identities open what is encrypted.
func Read(path string, identities []age.Identity, each func(*Event) error) error {
	base := baseOf(path)
	journal, sealed, err := readAll(base)
	if err == nil && sealed == nil && journal == nil {
		err = fmt.Errorf("reading a transcript: %w", &fs.PathError{Op: "open", Path: base + ".transcript", Err: fs.ErrNotExist})
	}
	if err != nil {
		return err
	}
	last := int64(0)
	one := func(line []byte) error {
		e := &Event{}
		if len(line) > maxLine {
			return errors.New("an event is too long")
		}
		if err := json.Unmarshal(line, e); err != nil {
			return fmt.Errorf("an event after number %d: %w", last, err)
		}
		if e.Number <= last {
			return nil
		}
		if e.Type == TypeOpen && e.Version > Version {
			return fmt.Errorf("its format has version %d; this program reads up to %d", e.Version, Version)
		}
		last = e.Number
		return each(e)
	}
	frames, rest := splitFrames(sealed)
	if len(rest) > 0 && journal == nil { // else a frame may be on its way there
		return fmt.Errorf("%d bytes at its end are no whole frame", len(rest))
	}
	for _, f := range frames {
		o, err := f.open(identities)
		if err != nil {
			return fmt.Errorf("%s at byte %d: %w", filepath.Base(path), f.offset, err)
		}
		for line := range bytes.Lines(o.events) {
			if err := one(line); err != nil {
				return err
			}
		}
	}
	for line := range bytes.Lines(journal[:bytes.LastIndexByte(journal, '\n')+1]) {
		if err := one(line); err != nil {
			return err
		}
	}
	return nil
}

// Summary is what a list shows of a session.
type Summary struct {
	ID         string     `json:"id"`
	Identity   string     `json:"identity"`
	Target     string     `json:"target"`
	Database   string     `json:"database"`
	Address    string     `json:"address"`
	Started    time.Time  `json:"started"`
	Ended      *time.Time `json:"ended,omitempty"`
	Live       bool       `json:"live"`
	Statements int64      `json:"statements"`
	Refused    int64      `json:"refused"`
	Rows       int64      `json:"rows"`
	Bytes      int64      `json:"bytes"`
	End        string     `json:"end,omitempty"` // why it ended
}

// Summarize reads a transcript for a list. An unreadable one gives what could
// be read with the error.
func Summarize(path string, identities []age.Identity) (Summary, error) {
	s := Summary{ID: SessionOf(path)}
	err := Read(path, identities, func(e *Event) error {
		switch e.Type {
		case TypeOpen:
			s.Identity, s.Target, s.Database, s.Address, s.Started = nameOf(e), e.Target, e.Database, e.Address, e.At
		case TypeStatement:
			s.Statements++
		case TypeComplete:
			s.Rows += e.Rows
			s.Bytes += e.Bytes
		case TypeError:
			if e.Code == RefusedCode {
				s.Refused++
			}
		case TypeClose, TypeRecovered:
			at := e.At
			s.Ended, s.End = &at, e.Reason
			if e.Type == TypeRecovered {
				s.End = "crash"
			}
		}
		return nil
	})
	return s, err
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
