package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// wireSchema is what the scripts may use. Roles and passwords are the same
// upstream as at the proxy, so that names need no normalising.
const wireSchema = `
	CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(8,2), made date);
	INSERT INTO item SELECT i, 'item ' || i, i * 1.25, date '2026-01-01' + i FROM generate_series(1, 20) i;
	CREATE TABLE sink (id int, name text);
	CREATE SEQUENCE tick;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;`

// wirePair is a server and a proxy in front of it.
type wirePair struct {
	server  *throwaway.Server
	proxy   *testProxy
	address string // the proxy's
	control *pgx.Conn
}

func startWirePair(t *testing.T, in throwaway.Install) wirePair {
	t.Helper()
	s := startPostgreSQL(t, throwaway.Options{BinDir: in.BinDir}, wireSchema)
	sql(t, s, "shop", "CREATE ROLE ana LOGIN PASSWORD 'ana-secret'; GRANT CREATE, TEMP ON DATABASE shop TO ana; GRANT CREATE ON SCHEMA public TO ana;")
	port := freePort(t)
	p := startProxy(t, permissive, target{name: "shop", port: port, password: "ana-secret",
		upstream: fmt.Sprintf("postgres://ana@%s/shop?sslmode=disable", s.Address())})
	control, err := pgx.Connect(context.Background(), s.URL(s.User, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close(context.Background()) })
	return wirePair{server: s, proxy: p, address: fmt.Sprintf("127.0.0.1:%d", port), control: control}
}

// wireInstalls are Debian's PostgreSQL and the newest one.
func wireInstalls(t *testing.T) []throwaway.Install {
	t.Helper()
	all := throwtest.Installs(t)
	newest := all[0]
	for _, in := range all {
		if in.Major > newest.Major {
			newest = in
		}
	}
	if newest.BinDir == all[0].BinDir {
		return all[:1]
	}
	return []throwaway.Install{all[0], newest}
}

// TestWire sends the same messages to PostgreSQL and through the proxy under a
// policy that forbids nothing, and compares every byte that comes back. Then
// the proxy gets them again one byte at a time.
func TestWire(t *testing.T) {
	t.Parallel()
	scripts := readWireScripts(t, filepath.Join("..", "..", "testdata", "wire", "postgres", "*.txt"))
	for _, in := range wireInstalls(t) {
		t.Run(in.Version, func(t *testing.T) {
			pair := startWirePair(t, in)
			version := uint32(3 << 16)
			if in.Major >= 18 {
				version |= 2
			}
			for _, s := range scripts {
				t.Run(s.file+"/"+s.name, func(t *testing.T) {
					direct := wirePlayer{addr: pair.server.Address(), version: version, control: pair.control}
					proxied := wirePlayer{addr: pair.address, version: version, control: pair.control}
					want := direct.transcript(t, s)
					got := proxied.transcript(t, s)
					proxied.cut, proxied.cutAt = true, -1
					cut := proxied.transcript(t, s)
					if s.races != "" {
						for _, got := range []string{want, got, cut} {
							if !strings.HasSuffix(got, "closed\n") {
								t.Errorf("the connection does not end:\n%s", got)
							}
						}
						return
					}
					if reason := cmp.Or(s.differs["*"], s.differs[strconv.Itoa(in.Major)]); reason != "" {
						if got == want {
							t.Errorf("is the same now: take out the line \"differs … %s\"", reason)
						}
						want = got
					}
					compareWire(t, "whole", want, got)
					compareWire(t, "byte by byte", want, cut)
				})
			}
		})
	}
}

// TestWireCuts cuts what a script sends in two, at every byte boundary.
func TestWireCuts(t *testing.T) {
	t.Parallel()
	pair := startWirePair(t, wireInstalls(t)[0])
	for _, s := range readWireScripts(t, filepath.Join("..", "..", "testdata", "wire", "postgres", "cuts.txt")) {
		direct := wirePlayer{addr: pair.server.Address(), version: 3 << 16, control: pair.control}
		want := direct.transcript(t, s)
		length := 0
		for _, step := range s.steps {
			length += len(step.send)
		}
		for at := 1; at < length; at++ {
			proxied := wirePlayer{addr: pair.address, version: 3 << 16, control: pair.control, cut: true, cutAt: at}
			compareWire(t, fmt.Sprintf("%s, cut at byte %d", s.name, at), want, proxied.transcript(t, s))
		}
		t.Logf("%s: %d boundaries", s.name, length-1)
	}
}

// transcript plays a script and writes what came back in a comparable form.
func (p *wirePlayer) transcript(t *testing.T, s wireScript) string {
	t.Helper()
	frames, closed := p.play(t, s)
	var out bytes.Buffer
	for _, f := range frames {
		normalise(f)
		fmt.Fprintf(&out, "%c %q\n", f[0], wireBody(f))
	}
	if closed {
		out.WriteString("closed\n")
	}
	return out.String()
}

// normalise blanks what differs between two sessions of the same server:
// the notifying process, cancel keys, and identifiers of tables that a script
// makes, which are drawn from a counter.
func normalise(f frame) {
	switch {
	case f[0] == 'A' && len(f) > 9:
		clear(f[5:9])
	case f[0] == 'K':
		clear(f[5:])
	case f[0] == 'T':
		clearOIDs(f)
	case f[0] == 't':
		for b := f[7:]; len(b) >= 4; b = b[4:] {
			if binary.BigEndian.Uint32(b) >= 16384 {
				clear(b[:4])
			}
		}
	}
}

// wireBody is a message's body, but for an error the fields that clients look
// at: file, line and routine say where in PostgreSQL's source it was raised,
// and the proxy has no such place for what it answers itself.
func wireBody(f frame) string {
	if f[0] != 'E' && f[0] != 'N' {
		return string(f[5:])
	}
	var m pgproto3.ErrorResponse
	if err := m.Decode(f[5:]); err != nil {
		return "malformed: " + string(f[5:])
	}
	return fmt.Sprintf("%s/%s %s %s|detail %s|hint %s|position %d/%d %s|where %s|names %s %s %s %s %s", m.Severity, m.SeverityUnlocalized, m.Code, m.Message,
		m.Detail, m.Hint, m.Position, m.InternalPosition, m.InternalQuery, m.Where, m.SchemaName, m.TableName, m.ColumnName, m.DataTypeName, m.ConstraintName)
}

func compareWire(t *testing.T, how, want, got string) {
	t.Helper()
	if d := diff.Diff(want, got); d != "" {
		t.Errorf("%s: differs through the proxy (-direct +proxy):\n%s", how, d)
	}
}
