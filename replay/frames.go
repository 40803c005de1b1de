package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Bounds of a hostile transcript.
const (
	maxFrame = 64 << 20 // bytes of events in a frame
	maxLine  = 32 << 20
)

// frame is one zstd frame of a transcript, with the sum that follows it.
type frame struct {
	offset int64 // in the file
	raw    []byte
	check  []byte // SHA-256 of raw, as the file says
}

// A skippable frame with the SHA-256 of the frame before it: some bits of a
// compressed frame can change without its content changing, and a changed
// file is to be found all the same. Decompressors pass over it.
//
// Source: RFC 8878, section 3.1.2.
const (
	checkHead   = "\x50\x2a\x4d\x18\x20\x00\x00\x00"
	checkLength = len(checkHead) + sha256.Size
)

// withCheck appends the sum of a compressed frame to it.
func withCheck(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return append(append(raw, checkHead...), sum[:]...)
}

// splitFrames finds the frames' borders without decompressing. rest is what
// is no whole frame with its sum.
//
// Source: RFC 8878, section 3.1.1.
func splitFrames(b []byte) (frames []frame, rest []byte) {
	offset := int64(0)
	for len(b) > 0 {
		n := max(frameLength(b), cryptLength(b))
		if n == 0 || len(b) < n+checkLength || string(b[n:n+len(checkHead)]) != checkHead {
			break
		}
		frames = append(frames, frame{offset: offset, raw: b[:n], check: b[n+len(checkHead) : n+checkLength]})
		b = b[n+checkLength:]
		offset += int64(n + checkLength)
	}
	return frames, b
}

// frameLength is the length of the frame that b begins with, 0 where it does
// not hold a whole one.
func frameLength(b []byte) int {
	var h zstd.Header
	if h.Decode(b) != nil || h.Skippable {
		return 0
	}
	at := h.HeaderSize
	for {
		if at+3 > len(b) {
			return 0
		}
		block := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		at += 3
		if block>>1&3 == 1 { // RLE: one byte stands for all
			at++
		} else {
			at += block >> 3
		}
		if block&1 == 1 {
			break
		}
	}
	if h.HasCheckSum {
		at += 4
	}
	if at > len(b) {
		return 0
	}
	return at
}

var errFrame = errors.New("the frame cannot be decompressed")

// decoder undoes frames, several at once.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderMaxWindow(8<<20))
})

// decompress undoes one zstd frame.
func decompress(raw []byte) ([]byte, error) {
	dec, err := decoder()
	if err != nil {
		return nil, err
	}
	b, err := dec.DecodeAll(raw, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return b, nil
}

// opened is a frame's content: the lines of its events, nil where they are
// encrypted to others, and its seal.
type opened struct {
	events []byte
	seal   *Event
	sum    [32]byte // what the seal should say
}

// open reads a frame. An encrypted one that the identities do not open has a
// seal and ErrEncrypted.
func (f frame) open(identities []age.Identity) (*opened, error) {
	if f.encrypted() {
		seal, encrypted, err := f.cryptParts()
		if err != nil {
			return nil, err
		}
		prev, err := sumOf(seal.Prev)
		if err != nil {
			return nil, err
		}
		o := &opened{seal: seal, sum: cryptSum(prev, seal.End, encrypted)}
		o.events, err = decrypt(encrypted, identities)
		return o, err
	}
	b, err := decompress(f.raw)
	if err != nil {
		return nil, err
	}
	at := bytes.LastIndexByte(b[:max(0, len(b)-1)], '\n') + 1
	seal := &Event{}
	if err := json.Unmarshal(b[at:], seal); err != nil || seal.Type != TypeSeal {
		return nil, errors.New("the frame does not end in a seal")
	}
	prev, err := sumOf(seal.Prev)
	if err != nil {
		return nil, err
	}
	o := &opened{events: b[:at], seal: seal}
	if seal.Version >= lineSums {
		o.sum, _ = sumLines(prev, o.events)
	} else {
		o.sum = sha256.Sum256(append(prev[:], o.events...))
	}
	return o, nil
}

func sumOf(s string) (sum [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return sum, errors.New("a seal's sum is not SHA-256 in hexadecimal")
	}
	copy(sum[:], b)
	return sum, nil
}
