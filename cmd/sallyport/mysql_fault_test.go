package main

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway/throwtest"
)

// myFraming is how MySQL's packets are told apart. The client's attributes are
// passed on to the upstream, and the proxy's own connections have none.
var myFraming = framing{
	read: func(r io.Reader, _ bool) ([]byte, error) {
		b := make([]byte, 4)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		b = append(b, make([]byte, int(b[0])|int(b[1])<<8|int(b[2])<<16)...)
		_, err := io.ReadFull(r, b[4:])
		return b, err
	},
	mine:   func(first []byte) bool { return bytes.Contains(first, []byte("program_name\x04wire")) },
	greets: true,
}

// TestMySQLWireFaults breaks the connection on either side of the proxy at
// every packet of either direction: the client gets an error, never silence;
// what MariaDB has run stands in the transcripts; nothing of the session stays;
// and the next one is served.
func TestMySQLWireFaults(t *testing.T) {
	s := throwtest.Maria(t, throwaway.MariaOptions{Settings: map[string]string{"general-log": "1", "log-output": "FILE", "general-log-file": "general.log"}})
	throwtest.SQL(t, s, "mysql", "CREATE DATABASE shop")
	throwtest.SQL(t, s, "shop", "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40)); INSERT INTO item VALUES (1, 'one'), (2, 'two'), (3, 'three');")
	upstream := startFaultRelay(t, s.Address(), myFraming)
	port := freePort(t)
	proxy := startProxy(t, "version: 1\n", target{name: "shop", port: port, protocol: "mysql", password: s.Password, upstream: "mysql://root@" + upstream.address() + "/shop?tls=disable"})
	client := startFaultRelay(t, fmt.Sprintf("127.0.0.1:%d", port), myFraming)

	run, fired := 0, 0
	play := func(relay *faultRelay, f *fault) bool {
		run++
		upstream.arm(nil)
		client.arm(nil)
		round := relay.arm(f)
		err := playMyFault(client.address(), round, run)
		close(round.release)
		var n net.Error
		if errors.As(err, &n) && n.Timeout() && (f == nil || f.kind != "stall") {
			t.Errorf("run %d %+v: the client waits for ever: %v", run, f, err)
		}
		if round.fired.Load() {
			fired++
		} else if err != nil {
			t.Errorf("%+v: the session failed without a fault: %v", f, err)
		}
		return round.fired.Load()
	}
	play(client, nil)
	awaitSessions(t, proxy, 0)
	before := runtime.NumGoroutine()
	everyFault(t, map[string]*faultRelay{"client": client, "upstream": upstream}, play)
	if play(client, nil) {
		t.Error("a fault without one")
	}
	t.Logf("%d faults", fired)
	awaitSessions(t, proxy, 0)
	awaitGoroutines(t, before+8)
	proxy.stop()
	proxy.code <- <-proxy.code
	recorded := transcriptTexts(t, proxy.config)
	log, err := os.ReadFile(s.DataDir + "/general.log")
	if err != nil {
		t.Fatal(err)
	}
	seen, missing := 0, 0
	for line := range strings.Lines(string(log)) {
		_, text, ok := strings.Cut(line, " Query\t")
		if text = strings.TrimSpace(text); !ok || !strings.Contains(text, "/* run ") {
			continue
		}
		// The whole text is logged with its first statement, the others by themselves.
		text, _, _ = strings.Cut(text, "; ")
		seen++
		if recorded[text] == 0 {
			missing++
			t.Errorf("ran without a record: %s", text)
			continue
		}
		recorded[text]--
	}
	t.Logf("%d statements in MariaDB's log, %d without a record", seen, missing)
	if seen == 0 {
		t.Error("MariaDB's log has none of the statements")
	}
}

// playMyFault plays a session with a bit of everything through the relay. The
// client gives up a stalled connection by itself.
func playMyFault(addr string, round *faultRound, run int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-round.stalled:
			cancel()
		case <-finished:
		}
	}()
	db, err := stdsql.Open("mysql", "ana:ana-secret@tcp("+addr+")/shop?multiStatements=true&connectionAttributes=program_name:wire&timeout=15s&readTimeout=15s&maxAllowedPacket=1048576")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	marked := func(text string) string { return strings.ReplaceAll(text, "#", fmt.Sprintf("/* run %d */", run)) }
	drain := func(rows *stdsql.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for more := true; more; more = rows.NextResultSet() {
			for rows.Next() {
			}
		}
		return rows.Err()
	}
	if err := drain(conn.QueryContext(ctx, marked("SELECT id # FROM item WHERE id < 3"))); err != nil {
		return err
	}
	if err := drain(conn.QueryContext(ctx, marked("SELECT name # FROM item WHERE id = ?"), 2)); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, marked("UPDATE item SET name = name # WHERE id = 1")); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, marked("INSERT INTO item # VALUES (1, 'again')")); errNumber(err) != 1062 {
		return fmt.Errorf("a duplicate: %w", cmpError(err))
	}
	if err := drain(conn.QueryContext(ctx, marked("SELECT # 1; SELECT # id FROM item"))); err != nil {
		return err
	}
	return conn.PingContext(ctx)
}

// cmpError is an error where none is one too.
func cmpError(err error) error {
	if err == nil {
		return errors.New("it passed")
	}
	return err
}
