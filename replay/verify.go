package replay

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// Finding is one thing that is wrong with a transcript.
type Finding struct {
	// Event is the number of the first event that is wrong, Last that of the
	// last; 0 where that cannot be told.
	Event int64 `json:"event,omitempty"`
	Last  int64 `json:"last,omitempty"`
	// Frame counts from 1; it is 0 for what is wrong with the whole. Offset is
	// its place in the transcript, in bytes over all its parts.
	Frame   int    `json:"frame,omitempty"`
	Offset  int64  `json:"offset,omitempty"`
	Message string `json:"message"`
}

// String says where it is and what.
func (f *Finding) String() string {
	var where []string
	switch {
	case f.Last > f.Event:
		where = append(where, fmt.Sprintf("events %d to %d", f.Event, f.Last))
	case f.Event > 0:
		where = append(where, fmt.Sprintf("event %d", f.Event))
	}
	if f.Frame > 0 {
		where = append(where, fmt.Sprintf("frame %d at byte %d", f.Frame, f.Offset))
	}
	return strings.Join(append(where, f.Message), ": ")
}

// Report is the outcome of verifying one transcript.
type Report struct {
	Session string `json:"session"`
	Frames  int    `json:"frames"`
	Events  int64  `json:"events"`
	Live    bool   `json:"live,omitempty"`  // a journal is open beside it
	Ended   bool   `json:"ended,omitempty"` // it has a close or recovered event
	Head    Head   `json:"head"`
	// Encrypted says that events could not be opened.
	Encrypted bool      `json:"encrypted,omitempty"`
	Findings  []Finding `json:"findings,omitempty"`

	// Empty says that there is a journal with nothing in it, and nothing else:
	// the session never began.
	Empty bool `json:"-"`
	// Endless says that nothing was found but that it has no end.
	Endless bool `json:"-"`
}

// Head is the last seal of a transcript: the number of its event and its sum
// in hexadecimal. The zero value is that of a transcript without a seal.
type Head struct {
	Number int64  `json:"n"`
	Sum    string `json:"sum"`
}

// OK says that nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// Verify checks a transcript's chain, signatures and order. The error is one
// of reading; what is wrong with the content is in the report. Of an encrypted
// transcript that identities do not open it checks all but the events' own
// order: chain and signatures are over what is encrypted.
func Verify(path string, pub ed25519.PublicKey, identities []age.Identity) (*Report, error) {
	base := baseOf(path)
	journal, b, err := readAll(base)
	if err != nil {
		return nil, err
	}
	v := &verifier{pub: pub, identities: identities, report: &Report{Session: filepath.Base(base), Live: journal != nil}}
	if journal != nil {
		v.report.Empty = len(journal)+len(b) == 0
		defer v.journal(journal)
	}
	frames, rest := splitFrames(b)
	for i, f := range frames {
		v.frame(i+1, f)
	}
	if len(rest) > 0 {
		v.find(Finding{Event: v.number + 1, Frame: len(frames) + 1, Offset: int64(len(b) - len(rest))},
			"%d bytes are no whole frame: the transcript was cut or overwritten here", len(rest))
	}
	if !v.report.Live && !v.report.Ended && v.report.OK() {
		v.report.Endless = true
		v.find(Finding{Event: v.number + 1}, "missing: the session has no end; frames were cut off, or it is still open elsewhere, or was not recovered yet")
	}
	return v.report, nil
}

// readAll reads a transcript and its journal, nil where there is none. The
// journal comes first: what moves into a frame meanwhile is then seen twice
// instead of not at all.
func readAll(base string) (journal, sealed []byte, err error) {
	for try := 0; ; try++ {
		if journal, err = readJournal(base); err != nil {
			return nil, nil, err
		}
		if sealed, _, _, err = readParts(base); err != nil {
			return nil, nil, err
		}
		// While the session is open, its last frame may be half written.
		if _, rest := splitFrames(sealed); len(rest) == 0 || journal == nil || try == 3 {
			return journal, sealed, nil
		}
	}
}

// ReadHead is the last seal of the transcript at path, unchecked. Where there
// is neither transcript nor journal the error is fs.ErrNotExist.
func ReadHead(path string) (Head, error) {
	b, parts, _, err := readParts(baseOf(path))
	if err != nil {
		return Head{}, err
	}
	if parts == 0 {
		_, err := os.Stat(Journal(path))
		return Head{}, err
	}
	frames, _ := splitFrames(b)
	if len(frames) == 0 {
		return Head{}, errors.New("it has no whole frame")
	}
	o, err := frames[len(frames)-1].open(nil)
	if err != nil && !errors.Is(err, ErrEncrypted) {
		return Head{}, err
	}
	return Head{Number: o.seal.Number, Sum: o.seal.Sum}, nil
}

type verifier struct {
	pub        ed25519.PublicKey
	identities []age.Identity
	report     *Report
	prev       [32]byte
	number     int64
	lost       bool // the frame before could not be read
}

func (v *verifier) find(f Finding, format string, args ...any) {
	f.Message = fmt.Sprintf(format, args...)
	v.report.Findings = append(v.report.Findings, f)
}

func (v *verifier) frame(n int, f frame) {
	v.report.Frames++
	at := Finding{Frame: n, Offset: f.offset}
	o, err := f.open(v.identities)
	if err != nil && !errors.Is(err, ErrEncrypted) {
		at.Event = v.number + 1
		v.find(at, "%v", err)
		v.lost = true
		return
	}
	seal := o.seal
	first := v.number + 1
	if v.lost { // go on from what this one says
		first = max(first, seal.Number-int64(bytes.Count(o.events, []byte{'\n'})))
		v.report.Findings[len(v.report.Findings)-1].Last = first - 1
		v.number = first - 1
	}
	all := at
	all.Event, all.Last = first, max(first, seal.Number)
	if sum := sha256.Sum256(f.raw); !bytes.Equal(sum[:], f.check) {
		v.find(all, "the frame's bytes are not those that were written")
	}
	if !v.lost && seal.Prev != hex.EncodeToString(v.prev[:]) {
		v.find(all, "the frame does not follow the one before it: frames were removed, reordered or put in")
	}
	v.lost = false
	signed := v.signature(all, seal)
	whole := hex.EncodeToString(o.sum[:]) == seal.Sum
	switch {
	case o.events == nil:
		v.report.Encrypted, v.report.Ended = true, v.report.Ended || seal.End
		v.report.Events += max(0, seal.Number-v.number)
		if !whole {
			v.find(all, "the frame is not what was sealed")
		}
	case whole:
		v.events(at, o.events)
		v.report.Events++ // the seal
		if seal.Number != v.number+1 {
			at.Event = seal.Number
			v.find(at, "the seal follows event %d", v.number)
		}
	default:
		v.report.Events += int64(bytes.Count(o.events, []byte{'\n'})) + 1
		v.changed(all, seal, o.events, signed)
	}
	v.number = seal.Number
	v.prev, _ = sumOf(seal.Sum) // one that is none was found to be unsigned
	v.report.Head = Head{Number: seal.Number, Sum: seal.Sum}
}

// signature checks a seal's.
func (v *verifier) signature(at Finding, seal *Event) bool {
	if seal.Version > Version {
		v.find(at, "it was sealed in version %d of the format; this program knows up to %d", seal.Version, Version)
		return false
	}
	sig, err := hex.DecodeString(seal.Signature)
	if err == nil && ed25519.Verify(v.pub, sealText(v.report.Session, seal), sig) {
		return true
	}
	why := "the seal's signature is not good for this session"
	if id := KeyID(v.pub); seal.Key != id {
		why += fmt.Sprintf(": it names key %.16q, this is key %s", seal.Key, id)
	}
	v.find(at, "%s", why)
	return false
}

// changed says which events of a frame are not those that were sealed.
func (v *verifier) changed(all Finding, seal *Event, events []byte, signed bool) {
	var list []wrong
	if want := readMarks(seal.Marks); signed && len(want) > 0 {
		list = compareMarks(seal.Number-int64(len(want)), want, events)
	}
	if len(list) == 0 {
		v.find(all, "the frame's events are not those that were sealed")
	}
	for _, w := range list {
		at := all
		at.Event, at.Last = w.first, w.last
		v.find(at, "%s", w.message)
	}
}

// events checks the order of a frame's events, which are as they were sealed.
func (v *verifier) events(at Finding, lines []byte) {
	for line := range bytes.Lines(lines) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			at.Event = v.number + 1
			v.find(at, "it cannot be read: %v", err)
			return
		}
		at.Event = e.Number
		if e.Number != v.number+1 {
			v.find(at, "it follows event %d", v.number)
		}
		if e.Type == TypeOpen && e.Session != v.report.Session {
			v.find(at, "the events are those of session %q", e.Session)
		}
		v.number = e.Number
		v.report.Events++
		v.report.Ended = v.report.Ended || e.Type == TypeClose || e.Type == TypeRecovered
	}
}

// journal checks the order of what is not sealed yet.
func (v *verifier) journal(b []byte) {
	runs, err := unsealed(b, v.number)
	if err != nil {
		v.find(Finding{Event: v.number + 1}, "the journal: %v", err)
		return
	}
	for i, r := range runs {
		first := r.last - int64(bytes.Count(r.lines, []byte{'\n'})) + 1
		if due := v.number + 1; first > due && (i == 0 || first > due+1) { // between two runs a seal is due
			v.find(Finding{Event: due, Last: first - 1}, "missing: the journal goes on after it")
		}
		v.number = r.last
	}
}
