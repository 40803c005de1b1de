package llm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// event is one message of an event stream (WHATWG HTML §9.2). Comment marks
// one that holds nothing but comments.
type event struct {
	Name, ID, Retry string
	Data            []byte // the lines joined by \n; nil where there is none
	Comment         bool
}

var errEvent = errors.New("an event is longer than is let pass")

// eventReader reads an event stream of a hostile server. No event may have
// more than limit bytes.
type eventReader struct {
	r     *bufio.Reader
	limit int
	line  []byte
	first bool
	cr    bool // the last line ended in CR: a LF that follows belongs to it
}

func newEventReader(r io.Reader, limit int) *eventReader {
	return &eventReader{r: bufio.NewReaderSize(r, 32<<10), limit: limit, first: true}
}

// buffered says that another event may be at hand without waiting.
func (e *eventReader) buffered() bool { return e.r.Buffered() > 1 }

// next returns the next event. Its bytes are the caller's. io.EOF is the end
// of the stream; io.ErrUnexpectedEOF says that it broke off in an event.
func (e *eventReader) next() (*event, error) {
	ev, any, size := &event{}, false, 0
	for {
		line, err := e.readLine(e.limit - size)
		if err == io.EOF && any {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if size += len(line) + 1; size > e.limit {
			return nil, errEvent
		}
		if len(line) == 0 {
			if any {
				ev.Comment = ev.Comment && ev.Data == nil && ev.Name == "" && ev.ID == "" && ev.Retry == ""
				return ev, nil
			}
			continue
		}
		any = true
		ev.field(line)
	}
}

// field takes one line; what is not known is left out.
func (ev *event) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "":
		ev.Comment = true
	case "data":
		if ev.Data == nil {
			ev.Data = append([]byte{}, value...)
			return
		}
		ev.Data = append(append(ev.Data, '\n'), value...)
	case "event":
		ev.Name = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			ev.ID = string(value)
		}
	case "retry":
		if len(value) > 0 && len(value) < 10 && !bytes.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
			ev.Retry = string(value)
		}
	}
}

// readLine returns a line without its end: CR LF, LF or CR.
func (e *eventReader) readLine(most int) ([]byte, error) {
	e.line = e.line[:0]
	for {
		c, err := e.r.ReadByte()
		if err != nil {
			if err == io.EOF && len(e.line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if e.cr {
			e.cr = false
			if c == '\n' {
				continue
			}
		}
		if c == '\n' || c == '\r' {
			e.cr = c == '\r'
			if e.first {
				e.first = false
				e.line = bytes.TrimPrefix(e.line, []byte("\xef\xbb\xbf"))
			}
			return e.line, nil
		}
		if e.line = append(e.line, c); len(e.line) > most {
			return nil, errEvent
		}
	}
}

// appendTo writes the event as it is sent to clients: LF, one space after the
// colon, comments without their words.
func (ev *event) appendTo(dst []byte) []byte {
	field := func(name, value string) {
		if value != "" {
			dst = fmt.Appendf(dst, "%s: %s\n", name, value)
		}
	}
	if ev.Comment {
		return append(dst, ":\n\n"...)
	}
	field("event", ev.Name)
	field("id", ev.ID)
	field("retry", ev.Retry)
	if ev.Data != nil {
		for line := range bytes.SplitSeq(ev.Data, []byte{'\n'}) {
			dst = append(append(append(dst, "data: "...), line...), '\n')
		}
	}
	return append(dst, '\n')
}

// plain says whether an event's own words may be sent: names that APIs use.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 || !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return len(s) <= 64
}
