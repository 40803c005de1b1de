package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"slices"
)

// mark is the first bytes of an event line's SHA-256. Marks find which event
// of a frame was changed; that one was, the frame's sum tells.
type mark [2]byte

func markOf(line []byte) mark {
	sum := sha256.Sum256(line)
	return mark(sum[:])
}

// sumLines is what a seal says of whole lines: the sum over the one before and
// the SHA-256 of each line, and their marks. Each byte is hashed once.
func sumLines(prev [32]byte, lines []byte) (sum [32]byte, marks string) {
	h := sha256.New()
	each := append(make([]byte, 0, 128*sha256.Size), prev[:]...)
	b := make([]byte, 0, 2*bytes.Count(lines, []byte{'\n'}))
	for line := range bytes.Lines(lines) {
		if len(each) == cap(each) {
			h.Write(each)
			each = each[:0]
		}
		of := sha256.Sum256(line)
		each, b = append(each, of[:]...), append(b, of[:len(mark{})]...)
	}
	h.Write(each)
	h.Sum(sum[:0])
	return sum, base64.RawStdEncoding.EncodeToString(b)
}

// readMarks are a seal's, nil where it has none.
func readMarks(s string) []mark {
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil || len(b)%2 != 0 {
		return nil
	}
	out := make([]mark, 0, len(b)/2)
	for pair := range slices.Chunk(b, 2) {
		out = append(out, mark(pair))
	}
	return out
}

// span of events that are wrong, and in which way.
type wrong struct {
	first, last int64
	message     string
}

// compareMarks says which of the events whose marks are want, the first of them
// with the number first, are not as they were. Nothing is what marks cannot
// tell.
func compareMarks(first int64, want []mark, lines []byte) []wrong {
	var have []mark
	for line := range bytes.Lines(lines) {
		have = append(have, markOf(line))
	}
	if len(have) == len(want) {
		return changedMarks(first, want, have)
	}
	n := min(len(have), len(want))
	head, tail := 0, 0
	for head < n && have[head] == want[head] {
		head++
	}
	for tail < n-head && have[len(have)-1-tail] == want[len(want)-1-tail] {
		tail++
	}
	from, to := first+int64(head), first+int64(len(want)-tail)-1
	switch {
	case to < from:
		return []wrong{{from - 1, 0, "events were put in after it"}}
	case len(have) == head+tail:
		return []wrong{{from, to, "removed"}}
	}
	return []wrong{{from, to, "removed, and others put in their place"}}
}

// changedMarks is compareMarks for as many events as there were.
func changedMarks(first int64, want, have []mark) []wrong {
	var out []wrong
	for i := range want {
		if want[i] == have[i] {
			continue
		}
		message := "changed after it was sealed"
		if slices.Contains(want, have[i]) && slices.Contains(have, want[i]) {
			message = "not in its place: events were reordered"
		}
		out = append(out, wrong{first + int64(i), 0, message})
	}
	return out
}
