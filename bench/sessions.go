package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// slow is a connection whose reader takes its time: bytes a second, after a
// pause in which all that can fill up on the way does.
type slow struct {
	net.Conn
	rate  float64
	began time.Time
	got   float64
}

const slowPause = 2 * time.Second

func (s *slow) Read(p []byte) (int, error) {
	if s.got > 1<<20 { // logged in, and the rows come
		if s.began.IsZero() {
			s.began = time.Now().Add(slowPause)
		}
		if ahead := time.Until(s.began.Add(time.Duration(s.got / s.rate * 1e9))); ahead > 0 {
			time.Sleep(ahead)
		}
	}
	n, err := s.Conn.Read(p[:min(len(p), 16<<10)])
	s.got += float64(n)
	return n, err
}

// dialSlowly makes a connection whose reader takes 40 MB/s.
func dialSlowly(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &slow{Conn: c, rate: 40e6}, err
}

// slowReader has a reader that is slower than the server read a long result
// with a masked column, and says what the proxy's memory comes to meanwhile.
func slowReader(ctx context.Context, s *servers, long, rows int) ([]string, error) {
	conf, err := pgconn.ParseConfig(s.ours().connString())
	if err != nil {
		return nil, err
	}
	conf.DialFunc = dialSlowly
	before := calm(ctx, s.ours().pid)
	c, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)
	stop := peak(s.ours().pid)
	start := time.Now()
	_, err = countRows(ctx, c, fmt.Sprintf("SELECT id, a, b, c, classed FROM wide, generate_series(1, %d)", max(1, long/rows)), max(1, long/rows)*rows)
	most := stop()
	if err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("%d masked rows to a reader of 40 MB/s in %.0f s: at most %.1f MB over the %.1f MB before (bar: 64)",
		max(1, long/rows)*rows, time.Since(start).Seconds(), float64(most-before)/1e6, float64(before)/1e6)}, nil
}

// connect opens sessions, a few at a time, and has each do something.
func connect(ctx context.Context, w way, n, together int, do func(*pgconn.PgConn) error) (conns []*pgconn.PgConn, err error) {
	conns = make([]*pgconn.PgConn, n)
	errs := make([]error, n)
	room := make(chan struct{}, together)
	var wg sync.WaitGroup
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if conns[i], errs[i] = pgconn.Connect(ctx, w.connString()); errs[i] == nil {
				errs[i] = do(conns[i])
			}
		})
	}
	wg.Wait()
	return conns, errors.Join(errs...)
}

func closeAll(conns []*pgconn.PgConn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Conn().Close()
		}
	}
}

func statement(ctx context.Context) func(*pgconn.PgConn) error {
	return func(c *pgconn.PgConn) error {
		return c.ExecParams(ctx, "SELECT abalance FROM pgbench_accounts WHERE aid = $1", [][]byte{[]byte("7")}, nil, nil, nil).Read().Err
	}
}

// atOnce has many sessions connect and work at the same time.
func atOnce(ctx context.Context, s *servers, n int) ([]string, error) {
	w := s.ours()
	do := statement(ctx)
	warm, err := connect(ctx, w, 1, 1, do) // the schema is read once, and not each session's
	closeAll(warm)
	if err != nil {
		return nil, err
	}
	before := idleMemory(ctx, w.pid)
	start := time.Now()
	conns, err := connect(ctx, w, n, n, func(c *pgconn.PgConn) error {
		for range 10 {
			if err := do(c); err != nil {
				return err
			}
		}
		return nil
	})
	defer closeAll(conns)
	took := time.Since(start)
	if err != nil {
		return nil, err
	}
	after := idleMemory(ctx, w.pid)
	return []string{fmt.Sprintf("%d sessions connected at once and ran 10 statements each in %.1f s; then idle, each costs %.1f KB (bar: 64)",
		n, took.Seconds(), float64(after-before)/float64(n)/1e3)}, nil
}

// idle opens many sessions that do nothing, before a PgBouncer, since
// PostgreSQL itself could not hold so many; some are asked whether they live.
func idle(ctx context.Context, s *servers, wanted, descriptors int) ([]string, error) {
	n := min(wanted, (descriptors-100)/2) // the client's and the upstream's; the rest is the proxy's own
	w := s.pooled
	do := statement(ctx)
	warm, err := connect(ctx, w, 1, 1, do)
	closeAll(warm)
	if err != nil {
		return nil, err
	}
	before := idleMemory(ctx, w.pid)
	start := time.Now()
	conns, err := connect(ctx, w, n, 32, func(*pgconn.PgConn) error { return nil })
	defer closeAll(conns)
	took := time.Since(start)
	if err != nil {
		return nil, err
	}
	after := idleMemory(ctx, w.pid)
	asked := 0
	for i := 0; i < n; i += max(1, n/100) {
		if err := do(conns[i]); err != nil {
			return nil, fmt.Errorf("session %d of %d: %w", i, n, err)
		}
		asked++
	}
	few := ""
	if n < wanted {
		few = fmt.Sprintf(" (of %d: each needs two descriptors of the proxy's, and the system allows no more)", wanted)
	}
	return []string{fmt.Sprintf("%d idle sessions%s, opened in %.0f s: each costs %.1f KB (bar: 64); %d of them asked, all answered",
		n, few, took.Seconds(), float64(after-before)/float64(n)/1e3, asked)}, nil
}
