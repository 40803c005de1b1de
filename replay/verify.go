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

	"filippo.io/age"
)

// Finding is one thing that is wrong with a transcript. Frame counts from 1,
// Offset is its place in the file, Event the number after which it is.
type Finding struct {
	Frame   int    `json:"frame,omitempty"`
	Offset  int64  `json:"offset"`
	Event   int64  `json:"event"`
	Message string `json:"message"`
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
	b, _, _, err := readParts(base)
	if err != nil {
		return nil, err
	}
	v := &verifier{pub: pub, identities: identities, report: &Report{Session: filepath.Base(base)}}
	if journal, err := os.ReadFile(base + ".journal"); err == nil {
		v.report.Live = true
		defer v.journal(journal)
	}
	frames, rest := splitFrames(b)
	for i, f := range frames {
		v.frame(i+1, f)
	}
	if len(rest) > 0 {
		v.find(len(frames)+1, int64(len(b)-len(rest)), "%d bytes are no whole frame: the transcript was cut or overwritten here", len(rest))
	}
	if !v.report.Live && !v.report.Ended && v.report.OK() {
		v.find(len(frames), int64(len(b)), "the session has no end: frames were cut off, or the proxy has not recovered it yet")
	}
	return v.report, nil
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
}

func (v *verifier) find(frame int, offset int64, format string, args ...any) {
	v.report.Findings = append(v.report.Findings, Finding{Frame: frame, Offset: offset, Event: v.number, Message: fmt.Sprintf(format, args...)})
}

func (v *verifier) frame(n int, f frame) {
	v.report.Frames++
	if sum := sha256.Sum256(f.raw); !bytes.Equal(sum[:], f.check) {
		v.find(n, f.offset, "the frame's bytes are not those that were written")
	}
	o, err := f.open(v.identities)
	if err != nil && !errors.Is(err, ErrEncrypted) {
		v.find(n, f.offset, "%v", err)
		return
	}
	seal := o.seal
	if seal.Prev != hex.EncodeToString(v.prev[:]) {
		v.find(n, f.offset, "the frame does not follow the one before it: frames were removed, reordered or put in")
	}
	if hex.EncodeToString(o.sum[:]) != seal.Sum {
		v.find(n, f.offset, "the frame's events are not those that were sealed")
	}
	sealed, err := sumOf(seal.Sum)
	if err != nil {
		v.find(n, f.offset, "%v", err)
	}
	sig, err := hex.DecodeString(seal.Signature)
	if err != nil || !ed25519.Verify(v.pub, sealText(v.report.Session, seal.Number, sealed), sig) {
		why := "the seal's signature is not good for this session"
		if id := KeyID(v.pub); seal.Key != id {
			why += fmt.Sprintf(": it names key %.16q, this is key %s", seal.Key, id)
		}
		v.find(n, f.offset, "%s", why)
	}
	if o.events == nil {
		v.report.Encrypted, v.report.Ended = true, v.report.Ended || seal.End
		v.report.Events += seal.Number - v.number
	} else {
		v.events(n, f.offset, o.events)
		v.report.Events++ // the seal
		if seal.Number != v.number+1 {
			v.find(n, f.offset, "the seal's number is %d, after event %d", seal.Number, v.number)
		}
	}
	v.number, v.prev = seal.Number, sealed
	v.report.Head = Head{Number: seal.Number, Sum: seal.Sum}
}

func (v *verifier) events(n int, offset int64, lines []byte) {
	for line := range bytes.Lines(lines) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			v.find(n, offset, "an event cannot be read: %v", err)
			return
		}
		if e.Number != v.number+1 {
			v.find(n, offset, "event %d follows event %d", e.Number, v.number)
		}
		if e.Type == TypeOpen && e.Session != v.report.Session {
			v.find(n, offset, "the events are those of session %q", e.Session)
		}
		v.number = e.Number
		v.report.Events++
		v.report.Ended = v.report.Ended || e.Type == TypeClose || e.Type == TypeRecovered
	}
}

// journal checks the order of what is not sealed yet.
func (v *verifier) journal(b []byte) {
	first, _, err := span(b[:bytes.LastIndexByte(b, '\n')+1])
	switch {
	case err != nil:
		v.find(0, 0, "the journal: %v", err)
	case first > v.number+1:
		v.find(0, 0, "the journal begins with event %d, the sealed frames end with %d", first, v.number)
	}
}
