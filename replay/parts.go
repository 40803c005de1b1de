package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A transcript that grows past Options.PartSize goes on in another part: its
// bytes are those of its parts, one after the other.
//
//	<session>.transcript  <session>.transcript.2  <session>.transcript.3 …

// partPath is the path of the part n, from 1, of the transcript at base.
func partPath(base string, n int) string {
	if n <= 1 {
		return base + ".transcript"
	}
	return base + ".transcript." + strconv.Itoa(n)
}

var partName = regexp.MustCompile(`^(.+)\.transcript(?:\.([2-9]|[1-9][0-9]{1,5}))?$`)

// PartOf tells the base and number of a part's path; ok is false for others.
func PartOf(path string) (base string, n int, ok bool) {
	dir, name := filepath.Split(path)
	m := partName.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	n = 1
	if m[2] != "" {
		n, _ = strconv.Atoi(m[2])
	}
	return dir + m[1], n, true
}

// readParts reads the whole transcript at base, and says which part is its
// last and how long that is. A transcript that is not there has no parts.
func readParts(base string) (b []byte, last int, size int64, err error) {
	for n := 1; ; n++ {
		part, err := os.ReadFile(partPath(base, n))
		if errors.Is(err, fs.ErrNotExist) {
			if n == 1 {
				return nil, 0, 0, nil
			}
			// Parts that move elsewhere go from the first on: while that is
			// there, none after it was taken.
			if _, err = os.Stat(partPath(base, 1)); err == nil {
				return b, n - 1, size, nil
			}
		}
		if err != nil {
			return nil, 0, 0, fmt.Errorf("reading a transcript: %w", err)
		}
		if size = int64(len(part)); n == 1 {
			b = part
		} else {
			b = append(b, part...)
		}
	}
}

// Parts lists the files of the transcript at path, in order: those that are
// there, since moving them elsewhere may have been cut short.
func Parts(path string) ([]string, error) {
	base := baseOf(path)
	list, err := os.ReadDir(filepath.Dir(base))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	numbers := []int{}
	for _, e := range list {
		if b, n, ok := PartOf(e.Name()); ok && b == filepath.Base(base) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var out []string
	for _, n := range numbers {
		out = append(out, partPath(base, n))
	}
	return out, nil
}

// Journal is the path of the journal of the transcript at path.
func Journal(path string) string { return baseOf(path) + ".journal" }

// Day is the folder of a session below those of transcripts, by the day that
// its id begins with: "2026/01/31/", or "" for an id that begins otherwise.
func Day(session string) string {
	at, err := time.Parse("20060102", session[:min(8, len(session))])
	if err != nil {
		return ""
	}
	return at.Format("2006/01/02/")
}

// baseOf is a transcript's path without its ending.
func baseOf(path string) string { return strings.TrimSuffix(path, ".transcript") }

// SessionOf is the session of a transcript's path.
func SessionOf(path string) string { return filepath.Base(baseOf(path)) }
