package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// startMySQL brings up MariaDB with data, HAProxy and Sallyport before it, and
// returns the ways to it: direct, HAProxy and Sallyport.
func startMySQL(ctx context.Context, o options) (ways []way, end func(), err error) {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ends := &ends{func() { os.RemoveAll(dir) }, cancel}
	end = ends.run
	defer func() {
		if err != nil {
			end()
		}
	}()
	db, err := throwaway.MariaDB(ctx, throwaway.MariaOptions{Settings: map[string]string{"innodb-buffer-pool-size": "512M"}})
	if err != nil {
		return nil, nil, err
	}
	ends.add(func() { _ = db.Stop() })
	direct := way{name: "direct", host: db.Host, port: db.Port, user: role, password: secret, database: database}
	if err := fillMySQL(ctx, db, direct, o); err != nil {
		return nil, nil, err
	}
	ha, err := throwaway.HAProxy(ctx, throwaway.HAProxyOptions{Upstream: db})
	if err != nil {
		return nil, nil, err
	}
	ends.add(func() { _ = ha.Stop() })
	passed := direct
	passed.name, passed.host, passed.port, passed.pid = "haproxy", ha.Host, ha.Port, ha.PID()
	ours := direct
	ours.name, ours.host, ours.user, ours.password = "sallyport", "127.0.0.1", "ana", "ana-secret"
	var console int
	for _, p := range []*int{&ours.port, &console} {
		if *p, err = freePort(); err != nil {
			return nil, nil, err
		}
	}
	if _, err := write(dir, "policy.yaml", policy); err != nil {
		return nil, nil, err
	}
	var stop func()
	ours.pid, stop, err = serve(ctx, dir, o.binary, fmt.Sprintf(`version: 1
policy: policy.yaml
console: {listen: "127.0.0.1:%d"}
identities:
  - {name: ana, password: {env: BENCH_CLIENT}, groups: [analyst]}
targets:
  - name: bench
    protocol: mysql
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: "mysql://%s@%s/%s?tls=disable", password: {env: BENCH_UPSTREAM}}
`, console, ours.port, role, db.Address(), database), "BENCH_CLIENT=ana-secret", "BENCH_UPSTREAM="+secret)
	if err != nil {
		return nil, nil, err
	}
	ends.add(stop)
	return []way{direct, passed, ours}, end, nil
}

// fillMySQL makes sysbench's table and the wide one.
func fillMySQL(ctx context.Context, db *throwaway.Server, w way, o options) error {
	if _, err := db.SQL(ctx, "mysql", fmt.Sprintf("CREATE DATABASE %s; CREATE USER %s@'127.0.0.1' IDENTIFIED BY '%s'; GRANT ALL ON %[1]s.* TO %[2]s@'127.0.0.1'",
		database, role, secret)); err != nil {
		return err
	}
	if _, err := sysbench(ctx, w, "oltp_read_only", "prepare", o); err != nil {
		return err
	}
	_, err := db.SQL(ctx, database, fmt.Sprintf(`CREATE TABLE wide AS SELECT seq AS id, seq * 7 AS a, CONCAT('name ', seq) AS b, NOW() AS c,
			CONCAT('user', seq, '@example.com') AS plain, CONCAT('user', seq, '@example.com') AS classed
		FROM seq_1_to_%d;
		ANALYZE TABLE wide, sbtest1`, o.rows))
	return err
}

// sysbench runs one of its scripts over a table of 10,000 rows for each of
// pgbench's scale.
func sysbench(ctx context.Context, w way, script, command string, o options, more ...string) (string, error) {
	args := append([]string{script, "--db-driver=mysql", "--mysql-ssl=off", "--tables=1", fmt.Sprintf("--table-size=%d", o.scale*10_000),
		"--mysql-host=" + w.host, "--mysql-port=" + strconv.Itoa(w.port), "--mysql-user=" + w.user, "--mysql-password=" + w.password, "--mysql-db=" + w.database}, more...)
	out, err := exec.CommandContext(ctx, "sysbench", append(args, command)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("sysbench %s %s (`make setup-tests` installs it): %w\n%s", script, command, err, out)
	}
	return string(out), nil
}

var (
	transactions = regexp.MustCompile(`transactions: +([0-9]+) +\(([0-9.]+) per sec\.\)`)
	noErrors     = regexp.MustCompile(`ignored errors: +0 `)
)

func mysqlFigures(ctx context.Context, o options) (out []*figure) {
	for _, script := range []string{"oltp_point_select", "oltp_read_only"} {
		out = append(out, sysbenchFigure(ctx, script, "auto", 1, o.few, o), sysbenchFigure(ctx, script, "auto", 16, o.seconds, o),
			sysbenchFigure(ctx, script, "disable", 16, o.seconds, o))
	}
	for _, q := range []struct {
		name, sql string
		bar       float64
	}{
		{"mysql, SELECT of %d rows, 5 columns", "SELECT id, a, b, c, plain FROM wide", 0.85},
		{"mysql, SELECT of %d rows, 1 of 5 masked", "SELECT id, a, b, c, classed FROM wide", 0.55},
	} {
		out = append(out, &figure{
			name: fmt.Sprintf(q.name, o.rows), unit: "rows/s", against: "direct", bar: q.bar,
			measure: func(w way) (float64, int64, error) {
				v, err := readMySQL(ctx, w, (&net.Dialer{}).DialContext, q.sql, o.rows)
				return v, 0, err
			},
		})
	}
	return out
}

// sysbenchFigure is the rate of one of sysbench's scripts. prepared is its
// --db-ps-mode: auto prepares statements, disable sends texts with the values
// in them.
func sysbenchFigure(ctx context.Context, script, prepared string, threads, seconds int, o options) *figure {
	f := &figure{name: fmt.Sprintf("mysql, sysbench %s, %d threads", script, threads), unit: "tps", against: "haproxy"}
	switch {
	case prepared == "disable":
		f.name += ", texts of values"
	case threads > 1:
		f.bar = 0.7
	}
	f.measure = func(w way) (rate float64, n int64, err error) {
		said, err := sysbench(ctx, w, script, "run", o, "--db-ps-mode="+prepared, fmt.Sprintf("--threads=%d", threads), fmt.Sprintf("--time=%d", seconds))
		if err != nil {
			return 0, 0, err
		}
		m := transactions.FindStringSubmatch(said)
		if m == nil || !noErrors.MatchString(said) {
			return 0, 0, fmt.Errorf("sysbench tells no rate without errors:\n%s", said)
		}
		if rate, err = strconv.ParseFloat(m[2], 64); err == nil {
			n, err = strconv.ParseInt(m[1], 10, 64)
		}
		return rate, n, err
	}
	return f
}

// readMySQL reads the whole result as text without decoding it, and returns
// rows a second.
//
// Source: MySQL's protocol, COM_QUERY Response.
func readMySQL(ctx context.Context, w way, dial client.Dialer, sql string, want int) (float64, error) {
	c, err := client.ConnectWithDialer(ctx, "tcp", w.address(), w.user, w.password, w.database, dial)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	start := time.Now()
	c.ResetSequence()
	if err := c.WritePacket(append([]byte{0, 0, 0, 0, mysql.COM_QUERY}, sql...)); err != nil {
		return 0, err
	}
	var packet []byte
	for n, columns := -1, 0; ; n++ { // n packets since the number of columns
		if packet, err = c.ReadPacketReuseMem(packet[:0]); err != nil {
			return 0, err
		}
		switch last := packet[0] == mysql.EOF_HEADER && len(packet) < 64; {
		case packet[0] == mysql.ERR_HEADER:
			return 0, fmt.Errorf("%s: %q", sql, packet)
		case n < 0:
			columns = int(packet[0])
		case last && n == columns: // the columns' own end, which is no row
			columns++
		case last && n != columns+want:
			return 0, fmt.Errorf("%d rows, want %d", n-columns, want)
		case last:
			return float64(want) / time.Since(start).Seconds(), nil
		}
	}
}

// slowMySQL has a reader that is slower than the server read a long result
// with a masked column, and says what the proxy's memory comes to meanwhile.
func slowMySQL(ctx context.Context, w way, long, rows int) ([]string, error) {
	times := max(1, long/rows)
	before := calm(ctx, w.pid)
	stop := peak(w.pid)
	start := time.Now()
	_, err := readMySQL(ctx, w, dialSlowly, fmt.Sprintf("SELECT w.id, w.a, w.b, w.c, w.classed FROM wide w, sbtest1 s WHERE s.id <= %d", times), times*rows)
	most := stop()
	if err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("MySQL: %d masked rows to a reader of 40 MB/s in %.0f s: at most %.1f MB over the %.1f MB before (bar: 64)",
		times*rows, time.Since(start).Seconds(), float64(most-before)/1e6, float64(before)/1e6)}, nil
}
