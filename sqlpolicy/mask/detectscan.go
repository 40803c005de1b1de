package mask

// state is what a matcher can say of a place in the text.
type state uint8

const (
	no state = iota
	yes
	more // the text at hand ends before this can be known
)

// maxSpan bounds overlapping values that are taken as one, in bytes.
const maxSpan = 1 << 10

// scan goes over a text once. Whether a value begins at a place depends on the
// two bytes before it and on what follows up to a bounded distance, never on how
// the text was cut: at the end of what is at hand it stops and waits.
type scan struct {
	d     *Detector
	buf   []byte // with the two bytes before pos, if there are
	pos   int
	eof   bool
	open  bool // a value begins at from
	from  int
	to    int
	set   formSet
	cut   bool    // the value was longer than is told whole: its rest goes too
	after [64]int // by pattern: no match begins before this place; 0 is unknown
	match [64]int // by pattern: the end of the match that begins there, 0 for none
}

// next returns the next value, or an empty set at the end of what can be
// decided: then what is before s.held() is clear.
func (s *scan) next() (from, to int, set formSet) {
	for {
		if s.open && s.pos >= s.to {
			s.open = false
			s.cut = s.to-s.from >= maxHeld-64
			return s.from, s.to, s.set
		}
		if s.cut {
			if from = s.pos; s.rest() {
				return from, s.pos, s.set | restOf
			}
		}
		if s.pos >= len(s.buf) {
			return 0, 0, 0
		}
		end, found, st := s.at(s.pos)
		if st == more {
			return 0, 0, 0
		}
		if st == yes {
			switch {
			case !s.open:
				s.open, s.from, s.to, s.set = true, s.pos, end, found
			case end-s.from <= maxSpan:
				s.to, s.set = max(s.to, end), s.set|found
			}
		}
		s.pos++
	}
}

// restOf marks what comes behind a value that was cut: nothing stands for it.
const restOf formSet = 1 << 63

// rest passes over the rest of a value that was cut.
func (s *scan) rest() (any bool) {
	for ; s.pos < len(s.buf); s.pos++ {
		c := s.buf[s.pos]
		if !isWord(c) && c != '-' && c != '.' && c != '=' && c != '+' && c != '/' && c != '\n' && c != '\r' {
			s.cut = false
			break
		}
		any = true
	}
	return any
}

// held is the first byte that cannot be let go yet.
func (s *scan) held() int {
	if s.open {
		return s.from
	}
	return s.pos
}

// at asks all matchers of a place.
func (s *scan) at(i int) (end int, found formSet, st state) {
	set := s.d.starts[s.buf[i]]
	if isLetter(s.buf[i]) && before(s.buf, i, isAlnum) {
		set = 0 // inside a word nothing begins
	}
	for k := 0; set != 0; set, k = set>>1, k+1 {
		if set&1 == 0 {
			continue
		}
		e, r := s.d.forms[k].match(s.buf, i, s.eof)
		if r == more {
			return 0, 0, more
		}
		if r == yes {
			end, found, st = max(end, e), found|1<<k, yes
		}
	}
	for k, p := range s.d.patterns {
		if !s.eof && i+p.longest+1 > len(s.buf) {
			return 0, 0, more
		}
		if s.after[k] < i+1 { // places count from 1 here
			from, to := p.find(s.buf, i)
			s.after[k], s.match[k] = from+1, to
		}
		if s.after[k] == i+1 && s.match[k] > 0 {
			end, found, st = max(end, s.match[k]), found|1<<(len(s.d.forms)+k), yes
		}
	}
	return end, found, st
}

// Stream masks a text that comes in pieces: the output is the one that
// Append gives of the whole text, however it is cut. It holds back only what
// may still become a value: the word that the text ends in, at most
// maxHeld bytes. It is for one goroutine.
type Stream struct {
	scan  scan
	start int // of what has not been let go; before it at most two bytes of context
	found int
}

// Stream begins a text.
func (d *Detector) Stream() *Stream {
	return &Stream{scan: scan{d: d}}
}

// Write takes the next piece and appends to dst what can leave.
func (s *Stream) Write(dst, piece []byte) []byte {
	if s.scan.d == nil {
		return append(dst, piece...)
	}
	c := &s.scan
	c.buf = append(c.buf, piece...)
	clear(c.after[:len(c.d.patterns)])
	return s.run(dst)
}

// Flush ends the text and appends what was held back. The Stream may then
// begin another.
func (s *Stream) Flush(dst []byte) []byte {
	if s.scan.d == nil {
		return dst
	}
	c := &s.scan
	c.eof = true
	clear(c.after[:len(c.d.patterns)])
	dst = s.run(dst)
	s.scan = scan{d: c.d, buf: c.buf[:0]}
	s.start = 0
	return dst
}

// Held is how many bytes are held back.
func (s *Stream) Held() int { return len(s.scan.buf) - s.start }

// Found is how many values were masked since the Stream was made.
func (s *Stream) Found() int { return s.found }

func (s *Stream) run(dst []byte) []byte {
	c := &s.scan
	for {
		from, to, set := c.next()
		if set == 0 {
			break
		}
		dst = append(dst, c.buf[s.start:from]...)
		dst = c.d.mask(dst, c.buf[from:to], set)
		s.start = to
		s.found++
	}
	held := c.held()
	if held > s.start {
		dst = append(dst, c.buf[s.start:held]...)
		s.start = held
	}
	// Two bytes stay before what is held: a matcher looks back as far.
	if cut := s.start - 2; cut > 0 {
		n := copy(c.buf, c.buf[cut:])
		c.buf = c.buf[:n]
		s.start -= cut
		c.pos -= cut
		c.from -= cut
		c.to -= cut
	}
	return dst
}
