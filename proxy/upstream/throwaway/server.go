package throwaway

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Server is a running PostgreSQL, PgBouncer, MariaDB or HAProxy. Its fields do not change; its methods may be called by
// several goroutines at once.
type Server struct {
	Host     string // 127.0.0.1, for which the certificate is good too
	Port     int
	User     string // the superuser
	Password string // the superuser's
	BinDir   string // where PostgreSQL's programs are; empty for others
	DataDir  string // the data directory; empty for PgBouncer and HAProxy
	Socket   string // the directory of the Unix socket
	CAFile   string // the authority to verify the server by; empty without TLS
	LogFile  string // goes with the server unless Options.Dir was given

	scheme string                                                             // of URLs, where it is not postgres
	run    func(ctx context.Context, database, script string) (string, error) // SQL's, where it is not psql
	launch func(context.Context) (*process, error)                            // starts the program and returns when it accepts connections
	signal stopSignals
	clean  func() error // removes the temporary directory
	untie  func() bool  // the context's end no longer matters

	mu      sync.Mutex // held while the program is started or stopped
	running *process   // nil when there is none
	stopped bool       // Stop was called: no Restart
}

// stopSignals end a program: at once, or as gently as is quick.
type stopSignals struct{ now, gently syscall.Signal }

// patience is how long one signal is given to end a server before the next one.
const patience = 10 * time.Second

// begin launches the program and ties the server to the context. On an error nothing is left.
func (s *Server) begin(ctx context.Context) error {
	p, err := s.launch(ctx)
	if err != nil {
		_ = s.clean()
		return err
	}
	s.running = p
	s.untie = context.AfterFunc(ctx, func() { _ = s.Stop() })
	return nil
}

// Address is host:port.
func (s *Server) Address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// URL is a connection string for a user and a database, with the password where the user is the
// superuser, and with sslmode=verify-full (MariaDB: tls=verify-full) where the server has TLS, else disable.
func (s *Server) URL(user, database string) string {
	key := "sslmode"
	if s.scheme == "mysql" {
		key = "tls"
	}
	u := url.URL{Scheme: cmp.Or(s.scheme, "postgres"), Host: s.Address(), Path: "/" + database, User: url.User(user)}
	if user == s.User {
		u.User = url.UserPassword(user, s.Password)
	}
	query := url.Values{key: {"disable"}}
	if s.CAFile != "" {
		query = url.Values{key: {"verify-full"}, "sslrootcert": {s.CAFile}}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// PID is the process id of the server's first process, and 0 when it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.running.ended() {
		return 0
	}
	return s.running.pid()
}

// Kill sends a signal. SIGKILL, SIGSTOP and SIGCONT go to the server's children too, so that they
// look like a lost machine, a hung one and its return; other signals are for the first process to
// handle. After SIGKILL the server has ended when Kill returns; Restart brings it back.
func (s *Server) Kill(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.running.ended() {
		return fmt.Errorf("sending %v to the server on port %d: it does not run", sig, s.Port)
	}
	switch sig {
	case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCONT:
		s.running.signalTree(sig)
	default:
		return s.running.cmd.Process.Signal(sig)
	}
	if sig == syscall.SIGKILL {
		<-s.running.done
	}
	return nil
}

// Restart ends the server gently if it runs and starts it on the same port and data. It returns when
// connections are accepted.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("restarting the server on port %d: it was stopped for good", s.Port)
	}
	if s.running != nil {
		s.running.stop(patience, s.signal.gently, s.signal.now)
		s.running = nil
	}
	p, err := s.launch(context.Background())
	if err != nil {
		return fmt.Errorf("restarting: %w", err)
	}
	s.running = p
	return nil
}

// Stop ends the server at once and removes what it has on disk, but for a directory that was given in
// Options.Dir. It returns when no process is left; a second call does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	s.untie()
	if s.running != nil {
		s.running.stop(patience, s.signal.now)
	}
	if err := s.clean(); err != nil {
		return fmt.Errorf("removing the server's directory: %w", err)
	}
	return nil
}

// home is the directory of one server: the given one, which stays, or a temporary one.
func home(given string, as account) (dir string, clean func() error, err error) {
	if given != "" {
		dir, err = filepath.Abs(given)
		if err == nil {
			err = as.mkdir(dir)
		}
		return dir, func() error { return nil }, err
	}
	tmp, err := newScratch(as)
	if err != nil {
		return "", nil, err
	}
	return tmp.dir, tmp.remove, nil
}

// openLog opens a log for appending.
func openLog(path string, as account) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return f, as.own(path)
}
