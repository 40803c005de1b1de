package mysql_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// step is a command of a script; silent ones have no answer. A step without a
// command waits for nothing.
type step struct {
	command byte
	body    string
	silent  bool
}

// answers are the packets that answer a command. A COM_PING goes right behind
// it: its answer is the next packet whose number is 1.
func (c *raw) answers(s step) (out [][]byte) {
	c.t.Helper()
	c.command(s.command, []byte(s.body))
	c.command(0x0e)
	first := true
	for {
		var head [4]byte
		c.full(head[:])
		b := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
		c.full(b)
		if head[3] == 1 && (s.silent || !first) {
			return append(out, b) // the ping's
		}
		first = false
		out = append(out, append(head[:], b...))
	}
}

// TestDifferential sends the same commands to a MariaDB and through the proxy
// and compares the packets that come back, byte for byte.
func TestDifferential(t *testing.T) {
	const script = "CREATE OR REPLACE TABLE item (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), price DECIMAL(8,2), at DATETIME(3), data BLOB, ok BIT(3), e ENUM('a','b'), f DOUBLE);" +
		"INSERT INTO item VALUES (1, 'one', 1.50, '2026-01-02 03:04:05.678', X'00ff', b'101', 'a', 1.25), (2, 'zwölf', NULL, NULL, NULL, NULL, NULL, -0.5);" +
		"CREATE OR REPLACE PROCEDURE two() SELECT id FROM item ORDER BY id;"
	r := start(t, setup{script: script})
	query := func(text string) step { return step{command: 0x03, body: text} }
	prepare := func(text string) step { return step{command: 0x16, body: text} }
	u32 := func(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
	last := u32(0xffffffff) // the statement prepared last: servers count statements over all sessions
	execute := func(flags, rest string) step { return step{command: 0x17, body: last + flags + u32(1) + rest} }
	scripts := map[string][]step{
		"queries": {query("SELECT * FROM item ORDER BY id"), query("SELECT 1 AS a, NULL AS b, 'x' AS c"), query("SELECT id FROM item WHERE 1 = 0"), query("DO 1"),
			query("SELECT REPEAT('x', 70000), 'end'"), query("SELECT CAST('x' AS SIGNED), 1/0"), query("SHOW WARNINGS"), query("SHOW COLUMNS FROM item")},
		"writes": {query("START TRANSACTION"), query("INSERT INTO item (name) VALUES ('a'), ('b')"), query("UPDATE item SET name = 'c' WHERE id > 1"), query("SELECT LAST_INSERT_ID(), ROW_COUNT()"),
			query("DELETE FROM item WHERE id > 2"), query("INSERT INTO item (id) VALUES (1)"), query("ROLLBACK"), query("SET autocommit = 0"), query("SELECT 1"), query("SET autocommit = 1")},
		"errors":  {query("SELECT nothing FROM item"), query("SELECT * FROM nowhere"), query("SELECT (SELECT 1 UNION SELECT 2)"), query("KILL 4000000000"), query("SELECT 1")},
		"several": {query("SELECT 1; SELECT 2; DO 3; SELECT id FROM item ORDER BY id"), query("SELECT 1; SELECT (SELECT 1 UNION SELECT 2); SELECT 3"), query("CALL two()"), query("SELECT 1")},
		"prepared": {prepare("SELECT * FROM item WHERE id >= ? ORDER BY id"), execute("\x00", "\x00\x01\x03\x00"+u32(1)), execute("\x00", "\x00\x01\x03\x00"+u32(2)), execute("\x00", "\x01\x01\x03\x00"),
			{command: 0x1a, body: last}, {command: 0x19, body: last, silent: true},
			prepare("SELECT 'no parameters' AS a"), execute("\x00", ""), prepare("INSERT INTO item (name, data) VALUES (?, ?)"),
			{command: 0x18, body: last + "\x01\x00long", silent: true}, {command: 0x18, body: last + "\x01\x00data", silent: true},
			execute("\x00", "\x00\x01\xfd\x00\xfc\x00\x03abc"), query("SELECT name, data FROM item WHERE name = 'abc'"), query("DELETE FROM item WHERE name = 'abc'"),
			prepare("SELECT * FROM nowhere"), query("SELECT 1")},
		"cursors": {prepare("SELECT id, name FROM item ORDER BY id"), execute("\x01", ""), {command: 0x1c, body: last + u32(1)}, {command: 0x1c, body: last + u32(5)}, {command: 0x1a, body: last},
			execute("\x01", ""), {command: 0x19, body: last, silent: true}, query("SELECT 1")},
		"commands": {{command: 0x02, body: r.database}, {command: 0x02, body: "nowhere"}, {command: 0x04, body: "item\x00"}, {command: 0x04, body: "nowhere\x00"}, {command: 0x1b, body: "\x01\x00"}, query("SELECT 1; SELECT 2"),
			{command: 0x1b, body: "\x00\x00"}, query("SELECT 1; SELECT 2"), {command: 0x1f}, query("SELECT 1")},
		"sql": {query("PREPARE p FROM 'SELECT ? + 1 AS n'"), query("SET @a = 5"), query("DEALLOCATE PREPARE p"), query("CREATE TEMPORARY TABLE tmp AS SELECT 1 AS one"),
			query("SELECT * FROM tmp"), query("DROP TEMPORARY TABLE tmp"), query("SELECT 5 INTO @b"), query("SELECT @b"), query("LOCK TABLES item READ"), query("UNLOCK TABLES")},
	}
	sent := 0
	for name, steps := range scripts {
		for _, caps := range []uint32{0, deprecateEOF} {
			play := func(c *raw) (out [][][]byte) {
				for i, s := range steps {
					out = append(out, c.answers(s))
					if first := out[i][0]; s.command == 0x16 && first[4] == 0 {
						copy(first[5:9], "....") // its number
					}
				}
				c.command(0x01)
				throwtest.SQL(t, r.server, r.database, script)
				return out
			}
			want := play(rawLogin(t, r.server.Address(), "root", r.server.Password, r.database, caps))
			got := play(r.raw(t, caps))
			for i, s := range steps {
				sent++
				got[i], want[i] = planless(got[i]), planless(want[i])
				if fmt.Sprintf("%q", got[i]) != fmt.Sprintf("%q", want[i]) && fmt.Sprintf("%q", leveled(got[i])) != fmt.Sprintf("%q", leveled(want[i])) {
					t.Errorf("%s, %#x, step %d (%#02x %.60q)\nthrough the proxy:\n%s\ndirectly:\n%s", name, caps, i, s.command, s.body, dumped(got[i]), dumped(want[i]))
				}
			}
		}
	}
	t.Logf("%d commands", sent)
}

// leveled are a text result's packets without the status that stands between
// columns and rows: an upstream that deprecates EOF does not tell it then.
func leveled(packets [][]byte) [][]byte {
	out := append([][]byte(nil), packets...)
	for i := 0; i < len(out); i++ {
		if out[i][4] == 0 {
			continue // an OK between results
		}
		if len(out[i]) != 5 || out[i][4] >= 0xfb {
			return out // no count of columns
		}
		eof := i + int(out[i][4]) + 1
		if eof >= len(out) || len(out[eof]) != 9 || out[eof][4] != 0xfe {
			return out
		}
		out[eof] = out[eof][:5]
		for i = eof + 1; i < len(out) && (len(out[i]) != 9 || out[i][4] != 0xfe); i++ {
		}
	}
	return out
}

// planless are packets without the flags of the plan (no index used, a bad one
// used, slow), which the proxy tells nobody, in the status of OK and EOF.
func planless(packets [][]byte) [][]byte {
	for _, p := range packets {
		if len(p) >= 9 && (p[4] == 0 || p[4] == 0xfe) {
			p[7] &^= 0x10 | 0x20
			p[8] &^= 0x08
		}
	}
	return packets
}

func dumped(packets [][]byte) string {
	var b bytes.Buffer
	for _, p := range packets {
		fmt.Fprintf(&b, "    %.200q\n", p)
	}
	return b.String()
}

func (c *raw) full(b []byte) {
	c.t.Helper()
	for n := 0; n < len(b); {
		k, err := c.conn.Read(b[n:])
		if err != nil {
			c.t.Fatalf("%s: %v", c.conn.RemoteAddr(), err)
		}
		n += k
	}
}
