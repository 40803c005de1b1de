package mask

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"math"
	"math/big"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// compilePartial keeps an e-mail address's first character and domain, and of
// anything else the last few characters, never half of them or more.
func compilePartial(p params, _ facts.Kind, _ []byte) (*Mask, error) {
	keep, char := p.int("keep"), p.string("char")
	if keep < 0 || keep > 8 {
		return nil, errors.New("parameter keep of mask partial must be from 0 to 8")
	}
	if utf8.RuneCountInString(char) != 1 || !utf8.ValidString(char) {
		return nil, errors.New("parameter char of mask partial must be one character")
	}
	return &Mask{Text: func(dst, src []byte) []byte {
		if !utf8.Valid(src) {
			return append(dst, "[redacted]"...)
		}
		if at := bytes.IndexByte(src, '@'); at > 0 && isLocalPart(src[:at]) && isDomain(src[at+1:]) {
			if utf8.RuneCount(src[:at]) > 2 {
				_, n := utf8.DecodeRune(src)
				dst = append(dst, src[:n]...)
			}
			for range 3 { // a fixed number: the length is hidden
				dst = append(dst, char...)
			}
			return append(dst, src[at:]...)
		}
		total := utf8.RuneCount(src)
		show := min(int(keep), max(0, (total-1)/2))
		cut := len(src)
		for range show {
			_, n := utf8.DecodeLastRune(src[:cut])
			cut -= n
		}
		for range 4 {
			dst = append(dst, char...)
		}
		return append(dst, src[cut:]...)
	}}, nil
}

// isLocalPart says whether b can be what stands before the "@" of an address
// (RFC 5321 §4.5.3.1.1 bounds it).
func isLocalPart(b []byte) bool {
	return len(b) <= 64 && !bytes.ContainsFunc(b, func(r rune) bool { return r <= ' ' || r == '@' || unicode.IsSpace(r) })
}

// isDomain says whether b has the form of a host name with a top-level domain
// (RFC 1035 §2.3.1). What only looks like one, a sentence or a password with
// an "@" in it, must not be shown.
func isDomain(b []byte) bool {
	if len(b) > 253 {
		return false
	}
	labels := 0
	for more := true; more; labels++ {
		var label []byte
		label, b, more = bytes.Cut(b, []byte{'.'})
		if len(label) == 0 || len(label) > 63 {
			return false
		}
		for _, c := range label {
			letter := c|0x20 >= 'a' && c|0x20 <= 'z'
			if !letter && (!more || c != '-' && (c < '0' || c > '9')) { // the last label has letters only
				return false
			}
		}
		if !more && len(label) < 2 {
			return false
		}
	}
	return labels > 1
}

// compileHash makes equal values equal hashes that cannot be made without the
// installation's key.
func compileHash(p params, _ facts.Kind, key []byte) (*Mask, error) {
	length := p.int("length")
	if length < 8 || length > 64 {
		return nil, errors.New("parameter length of mask hash must be from 8 to 64")
	}
	if len(key) == 0 {
		return nil, errors.New("mask hash needs the installation's hash key")
	}
	key = bytes.Clone(key)
	pool := sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, key)} }}
	return &Mask{Text: func(dst, src []byte) []byte {
		h := pool.Get().(*hasher)
		defer pool.Put(h)
		h.mac.Reset()
		h.mac.Write(src)
		h.sum = h.mac.Sum(h.sum[:0])
		n := len(dst)
		return hex.AppendEncode(dst, h.sum)[:n+int(length)]
	}}, nil
}

type hasher struct {
	mac hash.Hash
	sum []byte
}

// compileBucket rounds down.
func compileBucket(p params, kind facts.Kind, _ []byte) (*Mask, error) {
	width, unit := p.int("width"), p.string("unit")
	if width < 1 {
		return nil, errors.New("parameter width of mask bucket must be above 0")
	}
	switch kind {
	case facts.KindInt:
		return &Mask{Int: func(n int64) int64 { return floorTo(n, width) }}, nil
	case facts.KindFloat, facts.KindNumeric:
		return &Mask{Decimal: func(dst, src []byte) []byte { return bucketDecimal(dst, src, width) }}, nil
	}
	start, ok := units[unit]
	if !ok {
		return nil, errors.New("parameter unit of mask bucket must be day, week, month or year")
	}
	return &Mask{Micros: func(us int64) int64 { return start(time.UnixMicro(us).UTC()).UnixMicro() }}, nil
}

func floorTo(n, width int64) int64 {
	r := n % width
	if r < 0 {
		r += width
	}
	if n < math.MinInt64+r {
		return math.MinInt64
	}
	return n - r
}

// bucketDecimal rounds a decimal number down. What is no finite number
// becomes 0, which shows nothing.
func bucketDecimal(dst, src []byte, width int64) []byte {
	if len(src) > 400 { // far beyond any float, and big.Rat's work grows with it
		return append(dst, '0')
	}
	r, ok := new(big.Rat).SetString(string(src))
	if !ok || r.Num().BitLen() > 4096 {
		return append(dst, '0')
	}
	w := big.NewInt(width)
	n := new(big.Int).Div(r.Num(), new(big.Int).Mul(r.Denom(), w)) // Euclidean: down for a positive divisor
	return n.Mul(n, w).Append(dst, 10)
}

var units = map[string]func(time.Time) time.Time{
	"day": func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) },
	"week": func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day()-(int(t.Weekday())+6)%7, 0, 0, 0, 0, time.UTC)
	},
	"month": func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) },
	"year":  func(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) },
}
