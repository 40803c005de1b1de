package throwaway

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// HAProxyOptions say what an HAProxy stands in front of.
type HAProxyOptions struct {
	Upstream *Server // a server of this package
	Dir      string  // as in Options
}

// HAProxy starts Debian's HAProxy, which passes TCP connections on to the
// upstream and reads nothing of them, and returns when it accepts connections.
// Users, databases and certificates are the upstream's. It ends as
// PostgreSQL's servers do.
func HAProxy(ctx context.Context, opt HAProxyOptions) (*Server, error) {
	s, err := startHAProxy(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("starting a throwaway HAProxy: %w", err)
	}
	return s, nil
}

func startHAProxy(ctx context.Context, opt HAProxyOptions) (*Server, error) {
	path, err := findDaemon("HAProxy", "haproxy")
	if err != nil {
		return nil, err
	}
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, clean, err := home(opt.Dir, as)
	if err != nil {
		return nil, err
	}
	up := opt.Upstream
	s := &Server{
		Host: up.Host, User: up.User, Password: up.Password, CAFile: up.CAFile, scheme: up.scheme, run: up.run,
		Socket: filepath.Join(dir, "socket"), LogFile: filepath.Join(dir, "log"),
		signal: stopSignals{now: syscall.SIGTERM, gently: syscall.SIGTERM}, clean: clean,
	}
	if err := as.mkdir(s.Socket); err != nil {
		_ = clean()
		return nil, err
	}
	h := haproxy{path: path, as: as, dir: dir, upstream: up.Address()}
	s.launch = func(ctx context.Context) (*process, error) {
		return s.onPort(func(port int) (*process, error) { return h.launch(ctx, s, port) })
	}
	return s, s.begin(ctx)
}

// haproxy is what launching one HAProxy takes.
type haproxy struct {
	path     string
	as       account
	dir      string
	upstream string // host:port
}

// haproxyConf is TCP mode alone; a long silence ends no session. noreuseport
// makes a port that another HAProxy has a taken one.
const haproxyConf = `global
  stats socket %s/s
  noreuseport
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend in
  bind %s:%d
  default_backend out
backend out
  server upstream %s
`

// launch starts HAProxy on a port, as one process in the foreground (-db).
func (h haproxy) launch(ctx context.Context, s *Server, port int) (*process, error) {
	conf := filepath.Join(h.dir, "haproxy.cfg")
	if err := h.as.write(conf, fmt.Appendf(nil, haproxyConf, s.Socket, s.Host, port, h.upstream)); err != nil {
		return nil, err
	}
	log, err := openLog(s.LogFile, h.as)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own copy
	p, err := program{as: h.as, dir: h.dir, log: log, path: h.path, args: []string{"-db", "-f", conf}}.start()
	if err != nil {
		return nil, err
	}
	err = await(ctx, p, func() (bool, error) { return answersFor(filepath.Join(s.Socket, "s"), p.pid()), nil })
	if err != nil {
		p.stop(patience, syscall.SIGTERM)
		quote := tail(s.LogFile)
		if strings.Contains(quote, "cannot bind socket (Address already in use)") {
			err = errPortTaken
		}
		return nil, fmt.Errorf("%w%s", err, quote)
	}
	return p, nil
}

// answersFor says whether this very process answers on its socket of
// statistics, which it does once all its ports are open.
//
// Source: HAProxy's management guide, "show info".
func answersFor(socket string, pid int) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, "show info\n"); err != nil {
		return false
	}
	info, _ := io.ReadAll(c)
	return strings.Contains(string(info), fmt.Sprintf("\nPid: %d\n", pid))
}
