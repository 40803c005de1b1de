package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-proxy/sallyport/replay"
)

// tap passes connections on to a port and keeps every byte that comes back.
type tap struct {
	port int
	mu   sync.Mutex
	buf  bytes.Buffer
}

func startTap(t *testing.T, to int) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{port: l.Addr().(*net.TCPAddr).Port}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
			if err != nil {
				c.Close()
				continue
			}
			running.Go(func() { _, _ = io.Copy(up, c); up.Close() })
			running.Go(func() { _, _ = io.Copy(io.MultiWriter(c, p), up); c.Close() })
		}
	})
	return p
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *tap) bytes() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.buf.Bytes())
}

// nowhere searches what clients were sent, the log and every transcript for
// secrets.
func nowhere(t *testing.T, p *testProxy, sent []byte, secrets []string) {
	t.Helper()
	awaitSessions(t, p, 0)
	places := map[string]string{"what clients were sent": string(sent), "the log": p.stderr.tail(1 << 24)}
	_, list := runMain(t, "sessions", "list", "--config", p.config, "--json")
	n := 0
	for line := range strings.Lines(list) {
		var sum replay.Summary
		if err := json.Unmarshal([]byte(line), &sum); err != nil {
			t.Fatal(err)
		}
		_, events := runMain(t, "replay", "show", "--config", p.config, "--json", sum.ID)
		places["the transcript of "+sum.ID] = events
		n += len(events)
	}
	if len(sent) == 0 || n == 0 {
		t.Errorf("%d bytes sent and %d bytes of transcripts were searched", len(sent), n)
	}
	for where, text := range places {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", where, secret)
			}
		}
	}
}
