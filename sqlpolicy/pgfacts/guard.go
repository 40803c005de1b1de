package pgfacts

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode/utf8"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// Limits bound a text before it reaches the parser, which is C and would take
// the whole process with it if its stack ran out. Zero fields take the
// defaults.
type Limits struct {
	Statement int // bytes of a whole text
	Depth     int // nesting, and operators chained at one level of it
}

const (
	defaultStatement = 4 << 20
	defaultDepth     = 3000

	// The parser's output functions need about 180 bytes of C stack a
	// message, and two messages a node; a unit of depth makes up to 1.5
	// nodes. Three times that is asked for.
	stackPerDepth = 1600
	// A thread's stack where RLIMIT_STACK is unlimited (glibc on x86-64).
	stackUnlimited = 2 << 20
	// CREATE FUNCTION … BEGIN ATOMIC nests without brackets.
	maxAtomic = 64
)

// depth is the bound in force: never more than the C stack allows.
func (l Limits) depth() int {
	n := l.Depth
	if n <= 0 {
		n = defaultDepth
	}
	return min(n, defaultDepth, int(threadStack()/stackPerDepth))
}

// threadStack is the size of the stacks that cgo calls run on: what
// RLIMIT_STACK was, which is what the C library gives a new thread.
func threadStack() uint64 {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_STACK, &r); err != nil || r.Cur > 1<<40 {
		return stackUnlimited
	}
	return min(r.Cur, 64<<20)
}

// guard refuses a text that must not reach the parser: too long, nested too
// deeply, not UTF-8, or cut short by a NUL (the parser takes C strings).
func guard(text string, lim Limits) error {
	size := lim.Statement
	if size <= 0 {
		size = defaultStatement
	}
	if len(text) > size {
		return &facts.Problem{
			Code: "54000", At: -1,
			Message: fmt.Sprintf("statement of %d bytes exceeds the limit of %d", len(text), size),
			Hint:    "Send the values as parameters, use COPY, or raise limits.statement.",
		}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return &facts.Problem{Code: "22021", At: i, Message: "a statement must not contain a zero byte"}
	}
	if !utf8.ValidString(text) {
		return &facts.Problem{Code: "22021", At: -1, Message: "invalid byte sequence for encoding \"UTF8\":" + invalidBytes(text)}
	}
	bound := lim.depth()
	if len(text) <= bound {
		return nil // each unit of depth takes at least a byte
	}
	scan, err := pg_query.Scan(text)
	if err != nil {
		return syntaxProblem(err, text)
	}
	if at, deep := measureDepth(scan.Tokens, bound); deep {
		return &facts.Problem{
			Code: "54001", At: at,
			Message: fmt.Sprintf("statement is nested too deeply, or chains more than %d operators", bound),
			Hint:    "Use IN or = ANY (array) for long chains of OR, and VALUES or a table for long chains of UNION.",
		}
	}
	return nil
}

// invalidBytes shows the first character that is not valid UTF-8, as long as
// its first byte says that it is.
//
// Source: report_invalid_encoding in postgres/src/backend/utils/mb/mbutils.c.
func invalidBytes(text string) string {
	i := 0
	for i < len(text) {
		if r, n := utf8.DecodeRuneInString(text[i:]); r != utf8.RuneError || n > 1 {
			i += n
			continue
		}
		break
	}
	n := 1
	for _, lead := range []struct{ mask, want byte }{{0xe0, 0xc0}, {0xf0, 0xe0}, {0xf8, 0xf0}} {
		n++
		if text[i]&lead.mask == lead.want {
			return hexBytes(text[i:min(i+n, len(text))])
		}
	}
	return hexBytes(text[i : i+1])
}

func hexBytes(b string) string {
	var out strings.Builder
	for i := range len(b) {
		fmt.Fprintf(&out, " 0x%02x", b[i])
	}
	return out.String()
}

// syntaxProblem is the parser's error in PostgreSQL's words. The parser
// counts characters from 1; At counts bytes from 0.
func syntaxProblem(err error, text string) *facts.Problem {
	p := &facts.Problem{Code: "42601", At: -1, Message: "syntax error"}
	var pe *parser.Error
	if !errors.As(err, &pe) {
		// The parser's tree could not be decoded: deeper than Go's protobuf reads.
		return &facts.Problem{Code: "54001", At: -1, Message: "statement is nested too deeply"}
	}
	p.Message, p.Unparsed = pe.Message, true
	if strings.HasPrefix(pe.Message, "memory exhausted") {
		p.Code = "54001"
	}
	if pe.Cursorpos > 0 {
		p.At = byteOffset(text, pe.Cursorpos-1)
	}
	return p
}

// byteOffset is where the character of that number starts.
func byteOffset(text string, char int) int {
	n := 0
	for i := range text {
		if n == char {
			return i
		}
		n++
	}
	return len(text)
}
