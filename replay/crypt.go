package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// An encrypted frame is a skippable frame of its own kind, whose content is the
// seal's line in clear and the zstd frame of the events, encrypted by age. Its
// seal covers what is encrypted, not what is meant, so that chain and
// signatures are checked by whom cannot read it.
//
// Source: RFC 8878, section 3.1.2.
const cryptMagic = "\x51\x2a\x4d\x18"

// ErrEncrypted is the error of reading an encrypted transcript without an
// identity that opens it.
var ErrEncrypted = errors.New("the transcript is encrypted; give the age identity that opens it")

// encrypt encrypts a compressed frame to recipients.
func encrypt(compressed []byte, recipients []age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipients...)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(compressed)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

// cryptFrame frames a seal's line and what it seals.
func cryptFrame(seal, encrypted []byte) []byte {
	out := append(make([]byte, 0, 8+len(seal)+1+len(encrypted)), cryptMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(seal)+1+len(encrypted)))
	out = append(append(out, seal...), '\n')
	return append(out, encrypted...)
}

// cryptLength is the length of the encrypted frame that b begins with, 0
// where it does not hold a whole one.
func cryptLength(b []byte) int {
	if len(b) < 8 || string(b[:4]) != cryptMagic {
		return 0
	}
	n := int64(binary.LittleEndian.Uint32(b[4:8]))
	if n > maxFrame || int64(len(b)) < 8+n {
		return 0
	}
	return int(8 + n)
}

func (f frame) encrypted() bool { return bytes.HasPrefix(f.raw, []byte(cryptMagic)) }

// cryptParts are an encrypted frame's seal and what it seals.
func (f frame) cryptParts() (seal *Event, encrypted []byte, err error) {
	line, rest, ok := bytes.Cut(f.raw[8:], []byte{'\n'})
	seal = &Event{}
	if !ok || json.Unmarshal(line, seal) != nil || seal.Type != TypeSeal {
		return nil, nil, errors.New("the encrypted frame does not begin with a seal")
	}
	return seal, rest, nil
}

// cryptSum is what the seal of an encrypted frame says: that it is the last
// of its session is told, and covered.
func cryptSum(prev [32]byte, end bool, encrypted []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write(prev[:])
	fmt.Fprintf(h, "age %v\n", end)
	h.Write(encrypted)
	h.Sum(sum[:0])
	return sum
}

// decrypt opens an encrypted frame: its events, without the seal.
func decrypt(encrypted []byte, identities []age.Identity) ([]byte, error) {
	if len(identities) == 0 {
		return nil, ErrEncrypted
	}
	r, err := age.Decrypt(bytes.NewReader(encrypted), identities...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncrypted, err)
	}
	compressed, err := io.ReadAll(io.LimitReader(r, maxFrame))
	if err != nil {
		return nil, fmt.Errorf("opening an encrypted frame: %w", err)
	}
	return decompress(compressed)
}
