package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// wireScript is one case of testdata/wire/postgres/*.txt: what a client sends,
// message by message, and what it waits for.
//
// The form: "== name" begins a case, "#" a comment. A step is a line:
//
//	Query "text"                      Parse "name" "text" [oid …]
//	Bind "portal" "statement" [params=1,0] ["value"|NULL …] [results=1]
//	Describe S|P "name"               Execute "portal" [rows]
//	Close S|P "name"                  Flush, Sync, Terminate, CopyDone
//	CopyData "bytes"                  CopyFail "reason"
//	FunctionCall oid "value"|NULL …   Raw "bytes"
//
// and, once what was written so far is sent:
//
//	await Z                  read up to and with a message of that type
//	end                      read until the server closes
//	cancel                   a cancel request of its own connection
//	until "condition"        wait until it holds for another session (SQL)
//	other "statement"        run it in another session
//
// A line "differs VERSION|* reason" says that the proxy answers otherwise and why that
// is right; the test then wants it to. A line "races reason" says that what comes
// before the end is a matter of time; the test then wants that the connection ends.
//
// Strings are Go's. A case may end anywhere: the session is then closed.
type wireScript struct {
	file, name string
	steps      []wireStep
	differs    map[string]string // by major version, "*" for all: why
	races      string            // why
}

type wireStep struct {
	line int
	verb string
	send []byte // of a message
	arg  string // of another step
}

func readWireScripts(t *testing.T, pattern string) []wireScript {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no wire scripts: %v", err)
	}
	var all []wireScript
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(filepath.Base(file), ".txt")
		for i, line := range strings.Split(string(b), "\n") {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			if name, ok := strings.CutPrefix(line, "== "); ok {
				all = append(all, wireScript{file: base, name: name})
				continue
			}
			if reason, ok := strings.CutPrefix(line, "races "); ok && len(all) > 0 {
				all[len(all)-1].races = reason
				continue
			}
			if rest, ok := strings.CutPrefix(line, "differs "); ok && len(all) > 0 {
				version, reason, _ := strings.Cut(rest, " ")
				s := &all[len(all)-1]
				if s.differs == nil {
					s.differs = map[string]string{}
				}
				s.differs[version] = reason
				continue
			}
			step, err := parseWireStep(line)
			if err != nil || len(all) == 0 {
				t.Fatalf("%s:%d: %s: %v", file, i+1, line, err)
			}
			step.line = i + 1
			s := &all[len(all)-1]
			s.steps = append(s.steps, step)
		}
	}
	return all
}

// wireWords splits a line into words and Go strings; a string keeps its
// quotes.
func wireWords(line string) ([]string, error) {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if line[0] == '"' || line[0] == '`' {
			q, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, err
			}
			words, line = append(words, q), line[len(q):]
			continue
		}
		w, rest, _ := strings.Cut(line, " ")
		words, line = append(words, w), rest
	}
	return words, nil
}

// wireArgs takes the words of a step one by one.
type wireArgs struct {
	words []string
	err   error
}

func (a *wireArgs) more() bool { return len(a.words) > 0 }

func (a *wireArgs) word() string {
	if len(a.words) == 0 {
		a.err = fmt.Errorf("a word is missing")
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *wireArgs) string() string {
	s, err := strconv.Unquote(a.word())
	if err != nil {
		a.err = err
	}
	return s
}

func (a *wireArgs) uint32() uint32 {
	n, err := strconv.ParseUint(a.word(), 10, 32)
	if err != nil {
		a.err = err
	}
	return uint32(n)
}

// formats takes key=1,0,… if it comes next.
func (a *wireArgs) formats(key string, dst []byte) []byte {
	var list []string
	if a.more() && strings.HasPrefix(a.words[0], key+"=") {
		list = strings.Split(strings.TrimPrefix(a.word(), key+"="), ",")
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(list)))
	for _, f := range list {
		n, err := strconv.ParseUint(f, 10, 16)
		if err != nil {
			a.err = err
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	}
	return dst
}

// values takes strings and NULLs.
func (a *wireArgs) values(dst []byte) []byte {
	at, n := len(dst), 0
	dst = append(dst, 0, 0)
	for a.more() && (a.words[0] == "NULL" || strings.ContainsAny(a.words[0][:1], "\"`")) {
		n++
		if a.words[0] == "NULL" {
			a.word()
			dst = binary.BigEndian.AppendUint32(dst, 0xffffffff)
			continue
		}
		v := a.string()
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...)
	}
	binary.BigEndian.PutUint16(dst[at:], uint16(n))
	return dst
}

func zero(s string) []byte { return append([]byte(s), 0) }

// wireMessage is a message with its length.
func wireMessage(typ byte, body ...[]byte) []byte {
	b := []byte{typ, 0, 0, 0, 0}
	for _, part := range body {
		b = append(b, part...)
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return b
}

func parseWireStep(line string) (wireStep, error) {
	words, err := wireWords(line)
	if err != nil {
		return wireStep{}, err
	}
	a := &wireArgs{words: words[1:]}
	s := wireStep{verb: words[0]}
	plain := map[string]byte{"Flush": 'H', "Sync": 'S', "Terminate": 'X', "CopyDone": 'c'}
	switch s.verb {
	case "Query":
		s.send = wireMessage('Q', zero(a.string()))
	case "Parse":
		s.send = a.parse()
	case "Bind":
		b := append(zero(a.string()), zero(a.string())...)
		s.send = wireMessage('B', a.formats("results", a.values(a.formats("params", b))))
	case "Describe", "Close":
		s.send = wireMessage(s.verb[0], []byte(a.word()), zero(a.string()))
	case "Execute":
		b, n := zero(a.string()), uint32(0)
		if a.more() {
			n = a.uint32()
		}
		s.send = wireMessage('E', binary.BigEndian.AppendUint32(b, n))
	case "Flush", "Sync", "Terminate", "CopyDone":
		s.send = wireMessage(plain[s.verb])
	case "CopyData":
		s.send = wireMessage('d', []byte(a.string()))
	case "CopyFail":
		s.send = wireMessage('f', zero(a.string()))
	case "FunctionCall":
		b := binary.BigEndian.AppendUint32(nil, a.uint32())
		s.send = wireMessage('F', append(a.values(append(b, 0, 0)), 0, 0))
	case "Raw":
		s.send = []byte(a.string())
	case "await":
		s.arg = a.word()
	case "until", "other":
		s.arg = a.string()
	case "end", "cancel":
	default:
		return s, fmt.Errorf("unknown step")
	}
	if a.err == nil && a.more() {
		a.err = fmt.Errorf("%q is too much", a.words)
	}
	return s, a.err
}

// parse is Parse: name, text, the types of parameters.
func (a *wireArgs) parse() []byte {
	b := append(zero(a.string()), zero(a.string())...)
	types := []byte{}
	n := uint16(0)
	for a.more() {
		types = binary.BigEndian.AppendUint32(types, a.uint32())
		n++
	}
	return wireMessage('P', binary.BigEndian.AppendUint16(b, n), types)
}
