package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// pgFraming is how PostgreSQL's messages are told apart.
var pgFraming = framing{
	read: readPacket,
	mine: func(first []byte) bool { return bytes.Contains(first, []byte("application_name\x00wire\x00")) },
}

// readPacket reads one message; a start-up packet has no type.
func readPacket(r io.Reader, startup bool) ([]byte, error) {
	head := 5
	if startup {
		head = 4
	}
	b := make([]byte, head)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	b = append(b, make([]byte, int(binary.BigEndian.Uint32(b[head-4:]))-4)...)
	_, err := io.ReadFull(r, b[head:])
	return b, err
}

// faultScript is a session with a bit of everything; its texts carry a mark
// by which PostgreSQL's log and the transcripts are compared.
func faultScript(run int) []wireStep {
	var steps []wireStep
	for _, line := range []string{
		`Query "SELECT id /* run %d a */ FROM item WHERE id < 3"`, "await Z",
		`Parse "" "SELECT name /* run %d b */ FROM item WHERE id = $1"`, `Bind "" "" "2"`, `Describe P ""`, `Execute ""`, "Sync",
		`Parse "" "SELECT 1/0 /* run %d c */"`, `Bind "" ""`, `Execute ""`, "Sync", "await Z", "await Z",
		`Query "COPY sink FROM STDIN /* run %d d */"`, "await G", `CopyData "1\tx\n"`, "CopyDone", "await Z",
		`Query "COPY (SELECT 1 /* run %d e */) TO STDOUT"`, "await Z", "Terminate",
	} {
		if strings.Contains(line, "%d") {
			line = fmt.Sprintf(line, run)
		}
		step, err := parseWireStep(line)
		if err != nil {
			panic(err)
		}
		steps = append(steps, step)
	}
	return steps
}

// TestWireFaults breaks the connection on either side of the proxy at every
// message of either direction: the client gets an error or a closed
// connection, never silence (but for a peer that stalls: then the client gives
// up, and the stalled connection ends after it); what PostgreSQL has run stands in the
// transcripts; nothing of the session stays; and the next one is served.
func TestWireFaults(t *testing.T) {
	s := startPostgreSQL(t, throwaway.Options{Settings: map[string]string{"log_statement": "all", "log_line_prefix": "%u|"}}, wireSchema)
	sql(t, s, "shop", "CREATE ROLE ana LOGIN PASSWORD 'ana-secret'")
	upstream := startFaultRelay(t, s.Address(), pgFraming)
	port := freePort(t)
	proxy := startProxy(t, permissive, target{name: "shop", port: port, password: "ana-secret", upstream: "postgres://ana@" + upstream.address() + "/shop?sslmode=disable"})
	client := startFaultRelay(t, fmt.Sprintf("127.0.0.1:%d", port), pgFraming)
	control, err := pgx.Connect(context.Background(), s.URL(s.User, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close(context.Background())
	p := &wirePlayer{addr: client.address(), control: control}

	run, fired := 0, 0
	play := func(relay *faultRelay, f *fault) bool {
		run++
		upstream.arm(nil)
		client.arm(nil)
		round := relay.arm(f)
		ended := playFault(t, client.address(), round, run)
		close(round.release)
		if round.fired.Load() {
			fired++
		} else if f != nil && !ended {
			t.Errorf("%+v: the session failed without a fault", *f)
		}
		return round.fired.Load()
	}
	play(client, nil)
	p.quiet(t)
	before := runtime.NumGoroutine()
	everyFault(t, map[string]*faultRelay{"client": client, "upstream": upstream}, play)
	p.quiet(t)
	if play(client, nil) {
		t.Error("a fault without one")
	}
	p.quiet(t)
	t.Logf("%d faults", fired)
	awaitGoroutines(t, before+8)
	proxy.stop()
	proxy.code <- <-proxy.code
	compareLogs(t, s, proxy)
}

// playFault plays the script through the relay and says whether it came to
// its end. The client gives up a stalled connection by itself.
func playFault(t *testing.T, addr string, round *faultRound, run int) bool {
	t.Helper()
	c := &wireClient{addr: addr, user: "ana", password: "ana-secret", version: 3 << 16}
	finished := make(chan struct{})
	defer close(finished)
	stalled := round.stalled
	var conn atomic.Pointer[net.Conn]
	c.dialed = func(n net.Conn) { conn.Store(&n) }
	go func() {
		select {
		case <-stalled:
			if n := conn.Load(); n != nil {
				_ = (*n).Close()
			}
		case <-finished:
		}
	}()
	err := c.login()
	if c.conn != nil {
		defer c.conn.Close()
	}
	p := &wirePlayer{}
	for _, step := range faultScript(run) {
		if err != nil {
			break
		}
		if step.send != nil {
			_, err = c.conn.Write(step.send)
		} else {
			err = p.step(c, step)
		}
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("run %d: the client waits for ever: %v", run, err)
	}
	return err == nil
}

// compareLogs wants every marked statement of PostgreSQL's log in a transcript.
func compareLogs(t *testing.T, s *throwaway.Server, proxy *testProxy) {
	t.Helper()
	log, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	recorded := transcriptTexts(t, proxy.config)
	seen, missing := 0, 0
	for line := range strings.Lines(string(log)) {
		_, text, ok := strings.Cut(line, "statement: ")
		if !ok {
			_, text, ok = strings.Cut(line, "execute <unnamed>: ")
		}
		if text = strings.TrimSpace(text); !ok || !strings.HasPrefix(line, "ana|LOG:") || !strings.Contains(text, "/* run ") {
			continue
		}
		seen++
		if recorded[text] == 0 {
			missing++
			t.Errorf("ran without a record: %s", text)
			continue
		}
		recorded[text]--
	}
	t.Logf("%d statements in PostgreSQL's log, %d without a record", seen, missing)
	if seen == 0 {
		t.Error("PostgreSQL's log has none of the statements")
	}
}
