package mysql_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// raw is a client that sends what it is told.
type raw struct {
	t    testing.TB
	conn net.Conn
	seq  byte
}

// Capabilities that the raw client logs in with.
const (
	rawCaps      = 1 | 1<<2 | 1<<3 | 1<<9 | 1<<13 | 1<<15 | 1<<16 | 1<<17 | 1<<18 | 1<<19
	deprecateEOF = 1 << 24
	sessionTrack = 1 << 23
	localFiles   = 1 << 7
)

func (r *running) raw(t testing.TB, caps uint32) *raw {
	t.Helper()
	return rawLogin(t, r.address, "alice", "wonderland", r.database, caps)
}

func rawDial(t testing.TB, address string) (*raw, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &raw{t: t, conn: conn}
	return c, c.read()
}

func rawLogin(t testing.TB, address, user, password, database string, caps uint32) *raw {
	t.Helper()
	c, greeting := rawDial(t, address)
	at := bytes.IndexByte(greeting, 0) + 5
	nonce := append(append([]byte(nil), greeting[at:at+8]...), greeting[at+27:at+39]...)
	c.write(rawHello(caps|rawCaps, user, gomysql.CalcNativePassword(nonce, []byte(password)), database, "mysql_native_password"))
	if b := c.read(); b[0] != 0 {
		t.Fatalf("the login is answered with %q", b)
	}
	return c
}

func rawHello(caps uint32, user string, response []byte, database, plugin string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, caps)
	b = binary.LittleEndian.AppendUint32(b, 1<<24)
	b = append(append(b, 45), make([]byte, 23)...)
	b = append(append(b, user...), 0)
	b = append(append(b, byte(len(response))), response...)
	b = append(append(b, database...), 0)
	return append(append(b, plugin...), 0)
}

func (c *raw) write(payload []byte) {
	c.t.Helper()
	n := len(payload)
	c.bytes(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), c.seq}, payload...))
	c.seq++
}

func (c *raw) bytes(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// command sends a command.
func (c *raw) command(command byte, body ...[]byte) {
	c.t.Helper()
	c.seq = 0
	c.write(append([]byte{command}, bytes.Join(body, nil)...))
}

// try reads a message.
func (c *raw) try() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return nil, err
	}
	if head[3] != c.seq {
		return nil, errors.New("out of order")
	}
	c.seq++
	b := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	_, err := io.ReadFull(c.conn, b)
	return b, err
}

func (c *raw) read() []byte {
	c.t.Helper()
	b, err := c.try()
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// alive says whether the session still answers.
func (c *raw) alive() {
	c.t.Helper()
	c.command(0x0e)
	if b := c.read(); b[0] != 0 {
		c.t.Fatalf("COM_PING is answered with %q", b)
	}
}

// errorCode is that of an ERR packet, 0 for anything else.
func errorCode(b []byte) int {
	if len(b) < 3 || b[0] != 0xff {
		return 0
	}
	return int(binary.LittleEndian.Uint16(b[1:]))
}

// TestEOF: a result ends as the client asked for, whatever the upstream does.
func TestEOF(t *testing.T) {
	r := start(t, setup{script: people, policy: classes})
	for _, caps := range []uint32{0, deprecateEOF, sessionTrack, deprecateEOF | sessionTrack} {
		c := r.raw(t, caps)
		c.command(0x03, []byte("SELECT id, ssn FROM people"))
		var got []byte
		for range 7 {
			b := c.read()
			got = append(got, b[0])
			if b[0] == 0xfe && len(got) > 4 {
				break
			}
		}
		rows := 2
		if caps&deprecateEOF == 0 {
			if len(got) != 3+1+rows+1 || got[3] != 0xfe {
				t.Errorf("without DEPRECATE_EOF: %x", got)
			}
		} else if len(got) != 3+rows+1 {
			t.Errorf("with DEPRECATE_EOF: %x", got)
		}
		c.alive()
	}
}

// TestCommands: what each command is answered with, and that the session goes on.
func TestCommands(t *testing.T) {
	r := start(t, setup{script: people, policy: classes})
	c := r.raw(t, 0)
	expect := func(what string, first byte, code int) []byte {
		t.Helper()
		b := c.read()
		if b[0] != first || errorCode(b) != code {
			t.Errorf("%s is answered with %q", what, b)
		}
		return b
	}
	c.command(0x02, []byte("mysql"))
	expect("COM_INIT_DB", 0, 0)
	c.command(0x03, []byte("USE `"+r.database+"`"))
	expect("USE", 0, 0)
	c.command(0x02, []byte("no`where"))
	expect("COM_INIT_DB of nothing", 0xff, 1049)
	c.command(0x09)
	if b := c.read(); !strings.HasPrefix(string(b), "Uptime: ") {
		t.Errorf("COM_STATISTICS: %q", b)
	}
	c.command(0x04, []byte("people\x00"))
	for range 6 {
		expect("COM_FIELD_LIST", 3, 0)
	}
	expect("COM_FIELD_LIST", 0xfe, 0)
	c.command(0x1b, []byte{1, 0})
	expect("COM_SET_OPTION off", 0xfe, 0)
	c.command(0x03, []byte("SELECT id FROM people; SELECT 2"))
	expect("several statements after that", 0xff, 1064)
	c.command(0x1b, []byte{0, 0})
	expect("COM_SET_OPTION on", 0xfe, 0)
	c.command(0x1b, []byte{7, 0})
	expect("COM_SET_OPTION 7", 0xff, 1047)
	c.command(0x1f)
	expect("COM_RESET_CONNECTION", 0, 0)
	for _, short := range []string{"", "b", "bob\x00", "bob\x00\x14abc"} {
		c.command(0x11, []byte(short))
		expect("a short COM_CHANGE_USER", 0xff, 1835)
	}
	for _, command := range []byte{0x00, 0x05, 0x07, 0x08, 0x0a, 0x0d, 0x10, 0x12, 0x13, 0x14, 0x15, 0x1d, 0x1e, 0x20, 0xfa, 0xff} {
		c.command(command, []byte("abc"))
		expect("a command that is not passed on", 0xff, 1047)
	}
	for _, command := range []byte{0x17, 0x1a, 0x1c} {
		c.command(command, []byte{9, 0, 0, 0, 0, 1, 0, 0, 0}[:map[byte]int{0x17: 9, 0x1a: 4, 0x1c: 8}[command]])
		expect("an unknown statement", 0xff, 1243)
		c.command(command, []byte{1})
		expect("a truncated command", 0xff, 1835)
	}
	c.command(0x0c, []byte{1, 2, 3, 4})
	expect("COM_PROCESS_KILL", 0xff, 1094)
	c.command(0x03, []byte("  "))
	expect("an empty text", 0xff, 1065)
	c.command(0x18, []byte{1, 0}) // no answer
	c.command(0x19, []byte{1})    // no answer
	c.alive()
}

// prepare returns a statement's number.
func (c *raw) prepare(text string, params, columns int) []byte {
	c.t.Helper()
	c.command(0x16, []byte(text))
	b := c.read()
	if b[0] != 0 || int(b[5]) != columns || int(b[7]) != params {
		c.t.Fatalf("COM_STMT_PREPARE is answered with %q", b)
	}
	for _, n := range []int{params, columns} {
		for range n {
			c.read()
		}
		if n > 0 {
			if e := c.read(); e[0] != 0xfe {
				c.t.Fatalf("no EOF but %q", e)
			}
		}
	}
	return b[1:5]
}

// TestCursor: rows are fetched in parts, masked, by clients of either kind.
func TestCursor(t *testing.T) {
	r := start(t, setup{script: people + "INSERT INTO people SELECT seq, 'N', 'n@example.org', NULL, 5, 'x' FROM seq_10_to_17;", policy: classes})
	c := r.raw(t, 0)
	id := c.prepare("SELECT id, ssn FROM people", 0, 2)
	for range 2 {
		c.command(0x17, id, []byte{1, 1, 0, 0, 0}) // a read-only cursor
		for _, first := range []byte{2, 3, 3, 0xfe} {
			if b := c.read(); b[0] != first {
				t.Fatalf("the cursor's columns: %q", b)
			}
		}
		rows := 0
		for last := false; !last; {
			c.command(0x1c, id, []byte{4, 0, 0, 0})
			for {
				b := c.read()
				if b[0] == 0xfe {
					last = b[3]&0x80 != 0
					break
				}
				if rows++; !bytes.Contains(b, []byte("[redacted]")) {
					t.Errorf("a row in the clear: %q", b)
				}
				if rows > 100 {
					t.Fatal("no end")
				}
			}
			c.alive()
		}
		if rows != 10 {
			t.Errorf("%d rows were fetched", rows)
		}
	}
	c.command(0x1c, id, []byte{4, 0, 0, 0})
	if b := c.read(); errorCode(b) != 1326 {
		t.Errorf("a fetch after the end: %q", b)
	}
	c.command(0x1a, id)
	if b := c.read(); b[0] != 0 {
		t.Errorf("COM_STMT_RESET: %q", b)
	}
	c.command(0x19, id)
	c.alive()
}

// TestLongData: parts of a parameter are put together, and belong to one execution.
func TestLongData(t *testing.T) {
	r := start(t, setup{script: people})
	c := r.raw(t, 0)
	id := c.prepare("SELECT CONCAT(?, '!')", 1, 1)
	c.command(0x18, id, []byte{0, 0}, []byte("ab"))
	c.command(0x18, id, []byte{0, 0}, []byte("cd"))
	c.command(0x18, id, []byte{7, 0}, []byte("no such parameter"))
	c.command(0x17, id, []byte{0, 1, 0, 0, 0, 0, 1, 252, 0})
	var row []byte
	for range 4 {
		row = c.read()
	}
	if !bytes.Contains(row, []byte("abcd!")) {
		t.Errorf("the row is %q", row)
	}
	if b := c.read(); b[0] != 0xfe {
		t.Errorf("no EOF but %q", b)
	}
	c.command(0x17, id, []byte{0, 1, 0, 0, 0, 0, 1, 253, 0, 1, 'x'})
	for range 4 {
		row = c.read()
	}
	if !bytes.Contains(row, []byte("x!")) || bytes.Contains(row, []byte("abcd")) {
		t.Errorf("the row is %q", row)
	}
}

// TestBadInput: truncated, oversize and disordered packets of a client end its session with an error, and
// nobody else's.
func TestBadInput(t *testing.T) {
	r := start(t, setup{script: people, extra: "limits: {message: 65536}\n"})
	other := r.raw(t, 0)
	for name, b := range map[string]string{
		"wrong sequence": "\x05\x00\x00\x07\x03DO 1", "empty": "\x00\x00\x00\x00", "too large": "\xff\xff\x7f\x00\x03",
		"largest packet": "\xff\xff\xff\x00\x03",
	} {
		c := r.raw(t, 0)
		c.bytes([]byte(b))
		c.seq = 1
		if name == "wrong sequence" {
			c.seq = 8
		}
		_ = c.conn.(*net.TCPConn).CloseWrite()
		var head [4]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			t.Errorf("%s: no answer: %v", name, err)
			continue
		}
		rest, _ := io.ReadAll(c.conn)
		if code := errorCode(rest); code != 1156 && code != 1153 && code != 1047 {
			t.Errorf("%s: answered with %q", name, rest)
		}
	}
	for cut := range 8 {
		c := r.raw(t, 0)
		c.bytes([]byte("\x0b\x00\x00\x00\x03SELECT 1")[:cut])
		c.conn.Close()
	}
	other.alive()
}

// TestBadLogins: what is no login is refused or dropped, before anything is allocated for it.
func TestBadLogins(t *testing.T) {
	r := start(t, setup{script: people})
	good := rawHello(rawCaps, "alice", make([]byte, sha1.Size), "x", "mysql_native_password")
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:20], "no user": good[:33], "response over the end": append(append([]byte{}, good[:38]...), 200, 1),
		"old protocol": append([]byte{5, 0}, good[2:]...), "oversize": make([]byte, 200<<10),
	} {
		c, _ := rawDial(t, r.address)
		c.seq = 1
		c.write(b)
		if got, err := c.try(); err == nil && errorCode(got) == 0 {
			t.Errorf("%s: answered with %q", name, got)
		}
	}
	for name, login := range map[string][2]string{"wrong password": {"alice", "x"}, "unknown name": {"nobody", "x"}} {
		c, _ := rawDial(t, r.address)
		c.seq = 1
		c.write(rawHello(rawCaps, login[0], make([]byte, sha1.Size), r.database, "mysql_native_password"))
		if got := c.read(); errorCode(got) != 1045 {
			t.Errorf("%s: answered with %q", name, got)
		}
	}
	c, _ := rawDial(t, r.address)
	c.seq = 1
	gbk := rawHello(rawCaps, "alice", nil, "x", "mysql_native_password")
	gbk[8] = 28
	c.write(gbk)
	if got := c.read(); errorCode(got) != 1115 {
		t.Errorf("gbk: answered with %q", got)
	}
}

// change sends COM_CHANGE_USER and proves the password as it is asked to.
func (c *raw) change(user, password, database string) []byte {
	c.t.Helper()
	body := append([]byte(user+"\x00\x14"), make([]byte, 20)...) // a proof over the last nonce: not looked at
	body = append(append(append(body, database...), 0), 45, 0)
	c.command(0x11, append(append(body, "mysql_native_password"...), 0))
	b := c.read()
	plugin, rest, ok := bytes.Cut(b, []byte{0})
	if !ok || string(plugin) != "\xfemysql_native_password" || len(rest) < 20 {
		return b
	}
	c.write(gomysql.CalcNativePassword(rest[:20], []byte(password)))
	return c.read()
}

// TestChangeUser: COM_CHANGE_USER ends the session and begins another one, of
// whoever proves to be somebody, with nothing of the one before.
func TestChangeUser(t *testing.T) {
	r := start(t, setup{script: people, policy: classes})
	c := r.raw(t, 0)
	id := c.prepare("SELECT id FROM people", 0, 1)
	c.command(0x03, []byte("SET @mine = 5"))
	if b := c.read(); b[0] != 0 {
		t.Fatalf("%q", b)
	}
	for range 2 {
		if b := c.change("bob", "wonderland", r.database); b[0] != 0 {
			t.Fatalf("as bob: %q", b)
		}
	}
	c.command(0x17, id, []byte{0, 1, 0, 0, 0})
	if b := c.read(); errorCode(b) != 1243 {
		t.Errorf("what was prepared before is answered with %q", b)
	}
	c.alive()
	if b := c.change("alice", "wonderland", ""); b[0] != 0 {
		t.Fatalf("as alice again: %q", b)
	}
	c.alive()
	if b := c.change("bob", "wrong", r.database); errorCode(b) != 1045 {
		t.Errorf("a wrong password: %q", b)
	}
	if _, err := c.try(); err == nil {
		t.Error("the connection goes on after a wrong password")
	}
	c = r.raw(t, 0)
	if b := c.change("nobody", "wonderland", r.database); errorCode(b) != 1045 {
		t.Errorf("an unknown user: %q", b)
	}
	c = r.raw(t, 0)
	if b := c.change("alice", "wonderland", "nowhere"); errorCode(b) == 0 {
		t.Errorf("a database that is not the target's: %q", b)
	}
}
