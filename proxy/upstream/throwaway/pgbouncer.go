package throwaway

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// BouncerOptions say what a PgBouncer stands in front of and how.
type BouncerOptions struct {
	Upstream *Server // a PostgreSQL of this package; its superuser may log in and is PgBouncer's admin

	Dir      string            // as in Options
	Settings map[string]string // of pgbouncer.ini's section [pgbouncer]; they win over ours
	Users    map[string]string // further users that may log in, with their passwords
	TLS      bool              // as in Options; the client decides whether it wants it
}

// PgBouncer starts Debian's PgBouncer and returns when it accepts connections. Every database of the
// upstream is there under its own name, users log in by SCRAM, and pool_mode is PgBouncer's own
// default, session, unless the settings say otherwise. It ends as PostgreSQL's servers do.
func PgBouncer(ctx context.Context, opt BouncerOptions) (*Server, error) {
	s, err := startPgBouncer(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("starting a throwaway PgBouncer: %w", err)
	}
	return s, nil
}

func startPgBouncer(ctx context.Context, opt BouncerOptions) (*Server, error) {
	path, err := findDaemon("PgBouncer", "pgbouncer")
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
	b := bouncer{path: path, as: as, opt: opt, dir: dir}
	s := &Server{
		Host: "127.0.0.1", User: opt.Upstream.User, Password: opt.Upstream.Password,
		Socket: filepath.Join(dir, "socket"), LogFile: filepath.Join(dir, "log"),
		signal: stopSignals{now: syscall.SIGTERM, gently: syscall.SIGTERM}, clean: clean,
	}
	if err := b.prepare(s); err != nil {
		_ = clean()
		return nil, err
	}
	s.launch = func(ctx context.Context) (*process, error) {
		return s.onPort(func(port int) (*process, error) { return b.launch(ctx, s, port) })
	}
	return s, s.begin(ctx)
}

// findDaemon looks where Debian installs a daemon, which is not on everybody's path, and on the path.
func findDaemon(product, program string) (string, error) {
	for _, name := range []string{"/usr/sbin/" + program, program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is %w: run `make setup-tests`", product, ErrNotInstalled)
}

// bouncer is what launching one PgBouncer takes.
type bouncer struct {
	path string
	as   account
	opt  BouncerOptions
	dir  string
}

func (b bouncer) file(name string) string { return filepath.Join(b.dir, name) }

// prepare writes everything that does not depend on the port.
func (b bouncer) prepare(s *Server) error {
	if err := b.as.mkdir(s.Socket); err != nil {
		return err
	}
	if b.opt.TLS {
		files, err := newCertificates(b.dir, b.as)
		if err != nil {
			return err
		}
		s.CAFile = files.ca
	}
	users := map[string]string{s.User: s.Password}
	maps.Copy(users, b.opt.Users)
	var list bytes.Buffer
	quote := func(v string) string { return `"` + strings.ReplaceAll(v, `"`, `""`) + `"` }
	for _, name := range slices.Sorted(maps.Keys(users)) {
		fmt.Fprintf(&list, "%s %s\n", quote(name), quote(users[name]))
	}
	return b.as.write(b.file("users"), list.Bytes())
}

// configuration is pgbouncer.ini.
func (b bouncer) configuration(s *Server, port int) []byte {
	all := map[string]string{
		"listen_addr":     s.Host,
		"listen_port":     strconv.Itoa(port),
		"unix_socket_dir": s.Socket,
		"auth_type":       "scram-sha-256",
		"auth_file":       b.file("users"),
		"admin_users":     s.User,
	}
	if b.opt.TLS {
		all["client_tls_sslmode"] = "allow"
		all["client_tls_cert_file"] = b.file("server.pem")
		all["client_tls_key_file"] = b.file("server.key")
	}
	if ca := b.opt.Upstream.CAFile; ca != "" {
		all["server_tls_sslmode"] = "verify-full"
		all["server_tls_ca_file"] = ca
	}
	maps.Copy(all, b.opt.Settings)
	var ini bytes.Buffer
	fmt.Fprintf(&ini, "[databases]\n* = host=%s port=%d\n[pgbouncer]\n", b.opt.Upstream.Host, b.opt.Upstream.Port)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&ini, "%s = %s\n", name, all[name])
	}
	return ini.Bytes()
}

// launch starts PgBouncer on a port.
func (b bouncer) launch(ctx context.Context, s *Server, port int) (*process, error) {
	ini := b.file("pgbouncer.ini")
	if err := b.as.write(ini, b.configuration(s, port)); err != nil {
		return nil, err
	}
	log, err := openLog(s.LogFile, b.as)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own copy
	before, err := log.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	p, err := program{as: b.as, dir: b.dir, log: log, path: b.path, args: []string{ini}}.start()
	if err != nil {
		return nil, err
	}
	if err := awaitBouncer(ctx, p, s.LogFile, before); err != nil {
		p.stop(patience, syscall.SIGTERM)
		return nil, fmt.Errorf("%w%s", err, tail(s.LogFile))
	}
	return p, nil
}

// awaitBouncer returns when the log says, after what it held before, that the sockets are open. A
// PgBouncer that could not open its port goes on with the Unix socket alone, so the port is looked
// for too.
func awaitBouncer(ctx context.Context, p *process, log string, before int64) error {
	return await(ctx, p, func() (bool, error) {
		text, err := os.ReadFile(log)
		if err != nil {
			return false, err
		}
		text = text[min(before, int64(len(text))):]
		if bytes.Contains(text, []byte("cannot listen on")) {
			return false, errPortTaken
		}
		return bytes.Contains(text, []byte("process up:")), nil
	})
}
