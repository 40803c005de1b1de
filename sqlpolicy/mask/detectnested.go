package mask

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// nestings is how many times over a text may be JSON's string (RFC 8259 §7) and
// still be looked into: a tool call's arguments are JSON in a string, and may
// have JSON in a string of their own.
const nestings = 2

// FindNested is Find that also looks into JSON which stands in the text as a
// string's inner text, escapes and all: "pay\u0020to 4111…". A range is that of
// the escaped text. Ranges do not overlap.
func (d *Detector) FindNested(src []byte) []Found {
	out := d.Find(src)
	if d == nil || bytes.IndexByte(src, '\\') < 0 {
		return out
	}
	for level := 1; level <= nestings; level++ {
		v := newView(d, level)
		v.take(src)
		v.end()
		for _, f := range d.Find(v.scan.buf) {
			out = append(out, Found{From: v.at(f.From), To: v.at(f.To), Forms: f.Forms})
		}
	}
	slices.SortFunc(out, func(a, b Found) int { return a.From - b.From })
	merged := out[:0]
	for _, f := range out {
		if n := len(merged); n > 0 && f.From < merged[n-1].To {
			last := &merged[n-1]
			last.To = max(last.To, f.To)
			last.Forms = slices.Concat(last.Forms, f.Forms)
			slices.Sort(last.Forms)
			last.Forms = slices.Compact(last.Forms)
			continue
		}
		merged = append(merged, f)
	}
	return merged
}

// AppendNested is Append that also looks into JSON in the text. What is not
// found stays as it is, escapes and all.
func (d *Detector) AppendNested(dst, src []byte) []byte {
	if d == nil || bytes.IndexByte(src, '\\') < 0 {
		dst, _ = d.Append(dst, src)
		return dst
	}
	s := d.NestedStream()
	return s.Flush(s.Write(dst, src))
}

// NestedStream masks a text that comes in pieces as AppendNested masks the
// whole, however it is cut. It is for one goroutine.
type NestedStream struct {
	views [nestings]*view
	plain *Stream
	piece [2][]byte // between the stages
}

// NestedStream begins a text.
func (d *Detector) NestedStream() *NestedStream {
	s := &NestedStream{plain: d.Stream()}
	if d != nil {
		for i := range s.views {
			s.views[i] = newView(d, nestings-i) // the innermost first
		}
	}
	return s
}

// Write takes the next piece and appends to dst what can leave.
func (s *NestedStream) Write(dst, piece []byte) []byte {
	if s.views[0] == nil {
		return s.plain.Write(dst, piece)
	}
	for i, v := range s.views {
		v.take(piece)
		s.piece[i%2] = v.run(s.piece[i%2][:0])
		piece = s.piece[i%2]
	}
	return s.plain.Write(dst, piece)
}

// Flush ends the text and appends what was held back. The stream may then
// begin another.
func (s *NestedStream) Flush(dst []byte) []byte {
	if s.views[0] == nil {
		return s.plain.Flush(dst)
	}
	var piece []byte
	for i, v := range s.views {
		v.take(piece)
		v.end()
		s.piece[i%2] = v.run(s.piece[i%2][:0])
		piece = s.piece[i%2]
		*v = *newView(v.scan.d, v.level)
	}
	return s.plain.Flush(s.plain.Write(dst, piece))
}

// Held is how many bytes are held back.
func (s *NestedStream) Held() int {
	n := s.plain.Held()
	for _, v := range s.views {
		if v != nil {
			n += len(v.raw) - v.gone
		}
	}
	return n
}

// view is a text as it reads once its escapes are undone, level times over. It
// knows where each of its bytes is from, so that what is masked in it is cut
// out of the text itself.
type view struct {
	level int
	scan  scan
	src   []int  // by byte of scan.buf: where what it stands for begins, from the text's start
	start int    // of what has not been let go, in scan.buf
	raw   []byte // the text, from rawAt on
	rawAt int    // where raw begins
	gone  int    // of raw, has been let go
	undo  [nestings]unescaper
}

func newView(d *Detector, level int) *view { return &view{level: level, scan: scan{d: d}} }

// take reads more of the text.
func (v *view) take(piece []byte) {
	at := v.rawAt + len(v.raw)
	v.raw = append(v.raw, piece...)
	for i, c := range piece {
		v.feed(0, escapedByte{c, at + i})
	}
	clear(v.scan.after[:len(v.scan.d.patterns)])
}

// feed gives a byte to the undoing of one level, and what comes of it to the
// next.
func (v *view) feed(level int, c escapedByte) {
	if level == v.level {
		v.scan.buf = append(v.scan.buf, c.c)
		v.src = append(v.src, c.at)
		return
	}
	v.undo[level].feed(c, func(c escapedByte) { v.feed(level+1, c) })
}

// end ends the text.
func (v *view) end() {
	for level := range v.level {
		v.undo[level].flush(func(c escapedByte) { v.feed(level+1, c) })
	}
	v.scan.eof = true
}

// at is where the view's byte i is from in the text; behind the last, where
// what has not been undone begins.
func (v *view) at(i int) int {
	if i < len(v.src) {
		return v.src[i]
	}
	end := v.rawAt + len(v.raw)
	for level := range v.level {
		if u := &v.undo[level]; u.n > 0 {
			end = min(end, u.held[0].at)
		}
	}
	return end
}

// run appends to dst what can leave of the text.
func (v *view) run(dst []byte) []byte {
	c := &v.scan
	for {
		from, to, set := c.next()
		if set == 0 {
			break
		}
		dst = v.letGo(dst, from)
		dst = appendEscaped(dst, c.d.mask(nil, c.buf[from:to], set), v.level)
		v.skip(to)
	}
	if held := c.held(); held >= v.start {
		dst = v.letGo(dst, held)
	}
	// Two bytes stay before what is held: a matcher looks back as far.
	if cut := v.start - 2; cut > 0 {
		c.buf = c.buf[:copy(c.buf, c.buf[cut:])]
		v.src = v.src[:copy(v.src, v.src[cut:])]
		v.start -= cut
		c.pos -= cut
		c.from -= cut
		c.to -= cut
	}
	v.rawAt += v.gone
	v.raw = v.raw[:copy(v.raw, v.raw[v.gone:])]
	v.gone = 0
	return dst
}

// letGo appends the text up to the view's byte i.
func (v *view) letGo(dst []byte, i int) []byte {
	dst = append(dst, v.raw[v.gone:v.at(i)-v.rawAt]...)
	v.skip(i)
	return dst
}

func (v *view) skip(i int) { v.gone, v.start = v.at(i)-v.rawAt, i }

// appendEscaped appends what stands for a value, in as many quotations.
func appendEscaped(dst, s []byte, level int) []byte {
	for ; level > 0 && bytes.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }); level-- {
		q := AppendString(nil, s)
		s = q[1 : len(q)-1]
	}
	return append(dst, s...)
}

// escapedByte is a byte and where what it stands for begins.
type escapedByte struct {
	c  byte
	at int
}

// unescaper undoes the escapes of a JSON string. What is none stays as it is.
type unescaper struct {
	held [12]escapedByte // of an escape that has not ended
	n    int
}

func (u *unescaper) feed(c escapedByte, emit func(escapedByte)) {
	if u.n == 0 && c.c != '\\' {
		emit(c)
		return
	}
	u.held[u.n] = c
	u.n++
	switch known := u.known(); {
	case known == 0:
		u.giveUp(emit)
	case known > 0:
		u.done(emit)
	}
}

// known says of what is held: 0 that it is no escape, above it that it is a
// whole one, below it that more must come.
func (u *unescaper) known() int {
	for i := range u.n {
		c := u.held[i].c
		switch i % 6 {
		case 0:
			if c != '\\' {
				return 0
			}
		case 1:
			if i == 1 && bytes.IndexByte([]byte(`"\/bfnrt`), c) >= 0 {
				return 1
			}
			if c != 'u' {
				return 0
			}
		default:
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return 0
			}
		}
	}
	switch {
	case u.n == 12, u.n == 6 && (u.rune(0) < 0xD800 || u.rune(0) > 0xDBFF):
		return 1
	}
	return -1
}

// rune is the number of a \u escape.
func (u *unescaper) rune(i int) rune {
	var hex [4]byte
	for k := range hex {
		hex[k] = u.held[i+2+k].c
	}
	n, _ := strconv.ParseUint(string(hex[:]), 16, 16) // its digits were looked at
	return rune(n)
}

// done emits what an escape stands for.
func (u *unescaper) done(emit func(escapedByte)) {
	at := u.held[0].at
	if u.n == 2 {
		c := u.held[1].c
		if i := bytes.IndexByte([]byte("bfnrt"), c); i >= 0 {
			c = "\b\f\n\r\t"[i]
		}
		u.n = 0
		emit(escapedByte{c, at})
		return
	}
	r := u.rune(0)
	if u.n == 12 {
		if r = utf16.DecodeRune(r, u.rune(6)); r == utf8.RuneError { // two halves of different ones
			u.giveUp(emit)
			return
		}
	}
	u.n = 0
	var b [utf8.UTFMax]byte
	for _, c := range b[:utf8.EncodeRune(b[:], r)] {
		emit(escapedByte{c, at})
	}
}

// giveUp lets go what is no escape: its first byte, and what follows as if it
// came anew.
func (u *unescaper) giveUp(emit func(escapedByte)) {
	held, n := u.held, u.n
	u.n = 0
	emit(held[0])
	for _, c := range held[1:n] {
		u.feed(c, emit)
	}
}

func (u *unescaper) flush(emit func(escapedByte)) {
	for u.n > 0 {
		held, n := u.held, u.n
		u.n = 0
		emit(held[0])
		for _, c := range held[1:n] {
			u.feed(c, emit)
		}
	}
}
