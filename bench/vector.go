package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const vectorPolicy = `version: 1
classes:
  email: {mask: partial, compare: equality}
payloads:
  - {class: email, match: ["notes:email"]}
rules:
  - name: no-destructive-ddl
    when: stmt.action == "ddl" && stmt.destructive
    then: deny
  - name: unfiltered-write
    when: stmt.action in ["update", "delete"] && !stmt.filtered
    then: deny
  - name: bulk-read
    when: stmt.action in ["read", "search"] && stmt.limit > 100000
    then: deny
`

// stores are the ways to a vector store: direct, nginx and Sallyport.
type stores struct {
	ways []way
}

// startStores brings up the store and the proxies before it.
func startStores(ctx context.Context, o options) (s *stores, end func(), err error) {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return nil, nil, err
	}
	ends := &ends{func() { os.RemoveAll(dir) }}
	end = ends.run
	defer func() {
		if err != nil {
			end()
		}
	}()
	store, err := startStore(o.points)
	if err != nil {
		return nil, nil, err
	}
	ends.add(store.close)
	direct := way{name: "direct", host: "127.0.0.1", port: store.port(), password: "none"}
	nginx, stop, err := startNginx(ctx, dir, store.port())
	if err != nil {
		return nil, nil, err
	}
	nginx.password = "none"
	ends.add(stop)
	ours := way{name: "sallyport", host: "127.0.0.1", password: "bench-token"}
	var console int
	for _, p := range []*int{&ours.port, &console} {
		if *p, err = freePort(); err != nil {
			return nil, nil, err
		}
	}
	if _, err := write(dir, "policy.yaml", vectorPolicy); err != nil {
		return nil, nil, err
	}
	ours.pid, stop, err = serve(ctx, dir, o.binary, fmt.Sprintf(`version: 1
policy: policy.yaml
console: {listen: "127.0.0.1:%d"}
identities:
  - {name: rag, kind: machine, token: {env: BENCH_TOKEN}, groups: [rag]}
targets:
  - name: bench
    protocol: qdrant
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: "http://127.0.0.1:%d", password: {env: BENCH_UPSTREAM}}
`, console, ours.port, store.port()), "BENCH_TOKEN=bench-token", "BENCH_UPSTREAM="+secret)
	if err != nil {
		return nil, nil, err
	}
	ends.add(stop)
	return &stores{ways: []way{direct, nginx, ours}}, end, nil
}

func (w way) address() string { return net.JoinHostPort(w.host, strconv.Itoa(w.port)) }

// request is a request of the store's API as a client sends it.
func (w way) request(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: bench\r\nApi-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, w.address(), w.password, len(body), body)
}

// searchBody asks for the 10 nearest to a vector of 384 dimensions, as small
// embedding models make them.
func searchBody() string {
	var b strings.Builder
	b.WriteString(`{"query":[`)
	for i := range 384 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%.7f", float64((i*7919)%2000-1000)/12345)
	}
	b.WriteString(`],"limit":10,"with_payload":true}`)
	return b.String()
}

func vectorFigures(o options) (out []*figure) {
	for _, clients := range []int{1, 16} {
		f := &figure{name: fmt.Sprintf("vector search, top 10 in 1 KB, %d clients", clients), unit: "requests/s", against: "nginx"}
		seconds := o.few
		if clients > 1 {
			f.bar, seconds = 0.5, max(1, o.seconds/2)
		}
		f.measure = func(w way) (float64, int64, error) {
			n, _, took, err := ask(w, w.request(searchPath, searchBody()), clients, time.Duration(seconds)*time.Second)
			return float64(n) / took.Seconds(), n, err
		}
		out = append(out, f)
	}
	return append(out, &figure{
		name: fmt.Sprintf("vector scroll of %d points of 1 KB", o.points), unit: "MB/s", against: "nginx", bar: 0.5,
		measure: func(w way) (float64, int64, error) {
			_, bytes, took, err := ask(w, w.request(scrollPath, fmt.Sprintf(`{"limit":%d,"with_payload":true}`, o.points)), 1, time.Duration(o.few)*time.Second)
			return float64(bytes) / 1e6 / took.Seconds(), bytes / 1e6, err
		},
	})
}

// ask sends a request again and again over each of some connections, and
// returns how many were answered, with how many bytes, in which time.
func ask(w way, request []byte, clients int, during time.Duration) (requests, bytes int64, took time.Duration, err error) {
	var n, size atomic.Int64
	errs := make(chan error, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", w.address())
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			r := bufio.NewReaderSize(c, 64<<10)
			for time.Since(start) < during {
				if _, err := c.Write(request); err != nil {
					errs <- err
					return
				}
				got, err := readAnswer(r)
				if err != nil {
					errs <- err
					return
				}
				n.Add(1)
				size.Add(int64(got))
			}
		})
	}
	wg.Wait()
	took = time.Since(start)
	select {
	case err = <-errs:
	default:
	}
	return n.Load(), size.Load(), took, err
}

// slowScroll has a reader of 40 MB/s read scrolls, and says what the proxy's
// memory comes to meanwhile.
func slowScroll(ctx context.Context, w way, o options) ([]string, error) {
	request := w.request(scrollPath, fmt.Sprintf(`{"limit":%d,"with_payload":true}`, o.points))
	if _, _, _, err := ask(w, request, 1, time.Second); err != nil { // what is pooled is there
		return nil, err
	}
	before := calm(ctx, w.pid)
	c, err := net.Dial("tcp", w.address())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := bufio.NewReaderSize(&slow{Conn: c, rate: 40e6}, 64<<10)
	stop := peak(w.pid)
	start, got := time.Now(), 0
	for range 20 {
		if _, err := c.Write(request); err != nil {
			return nil, err
		}
		n, err := readAnswer(r)
		if err != nil {
			return nil, err
		}
		got += n
	}
	most := stop()
	return []string{fmt.Sprintf("20 scrolls of %d points, %.0f MB, to a reader of 40 MB/s in %.0f s: at most %.1f MB over the %.1f MB before (bar: 64)",
		o.points, float64(got)/1e6, time.Since(start).Seconds(), float64(most-before)/1e6, float64(before)/1e6)}, nil
}
