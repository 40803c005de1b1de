package throwaway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// MariaOptions say how a MariaDB is started.
type MariaOptions struct {
	Dir      string            // as in Options
	Settings map[string]string // as in a my.cnf's [mariadbd]; they win over ours
	Password string            // root's over TCP, a random one if empty
	TLS      bool              // as in Options; the client decides whether it wants it
	Release  string            // MySQL8 or MariaDB11, which `make setup-tests` installs; Debian's MariaDB if empty
}

// Releases that are not Debian's.
const (
	MySQL8    = "mysql-8.0.15"
	MariaDB11 = "mariadb-11.4.5"
)

// MariaDB starts Debian's MariaDB, or another release or MySQL, and returns when it accepts connections. Its superuser is root, who has a
// password over TCP and none through the Unix socket, whose directory only root and the account of the
// server can enter. It ends as PostgreSQL's servers do.
func MariaDB(ctx context.Context, opt MariaOptions) (*Server, error) {
	s, err := startMariaDB(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("starting a throwaway MariaDB: %w", err)
	}
	return s, nil
}

func startMariaDB(ctx context.Context, opt MariaOptions) (*Server, error) {
	path, version, err := findRelease(opt.Release)
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
	m := mariadb{path: path, version: version, as: as, opt: opt, dir: dir}
	s := &Server{
		Host: "127.0.0.1", User: "root", DataDir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "socket"),
		LogFile: filepath.Join(dir, "log"), scheme: "mysql",
		signal: stopSignals{now: syscall.SIGKILL, gently: syscall.SIGTERM}, clean: clean,
	}
	s.run = func(ctx context.Context, database, script string) (string, error) {
		return m.client(ctx, s, database, script)
	}
	if err := m.prepare(s); err != nil {
		_ = clean()
		return nil, err
	}
	s.launch = func(ctx context.Context) (*process, error) {
		return s.onPort(func(port int) (*process, error) { return m.launch(ctx, s, port) })
	}
	return s, s.begin(ctx)
}

// findRelease finds a server's program and its version.
func findRelease(release string) (path, version string, err error) {
	if release == "" {
		return findMariaDB()
	}
	name, version, _ := strings.Cut(release, "-")
	dir, err := CacheDir()
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(dir, "mysql", release, "bin", name+"d")
	if _, err := os.Stat(path); err != nil {
		return "", "", fmt.Errorf("%s is %w: run `make setup-tests`", release, ErrNotInstalled)
	}
	return path, version, nil
}

// findMariaDB looks where Debian installs it, which is not on everybody's path, and on the path.
func findMariaDB() (path, version string, err error) {
	for _, name := range []string{"/usr/sbin/mariadbd", "mariadbd"} {
		if path, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("MariaDB is %w: run `make setup`", ErrNotInstalled)
	}
	out, err := exec.Command(path, "--no-defaults", "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("asking %s for its version: %w", path, err)
	}
	m := mariaVersion.FindSubmatch(out)
	if m == nil {
		return "", "", fmt.Errorf("asking %s for its version: it answers %.80q", path, out)
	}
	return path, string(m[1]), nil
}

var mariaVersion = regexp.MustCompile(`Ver (\d+[.\d]*)-MariaDB`)

// mariadb is what launching one MariaDB takes.
type mariadb struct {
	path    string
	version string
	as      account
	opt     MariaOptions
	dir     string
}

// base is where the release is, "" for Debian's.
func (m mariadb) base() string {
	if m.opt.Release == "" {
		return ""
	}
	return filepath.Dir(filepath.Dir(m.path))
}

func (m mariadb) mysql() bool { return m.opt.Release == MySQL8 }

func (m mariadb) file(name string) string { return filepath.Join(m.dir, name) }

// prepare makes everything that does not depend on the port.
func (m mariadb) prepare(s *Server) error {
	for _, d := range []string{s.Socket, m.file("tmp")} {
		if err := m.as.mkdir(d); err != nil {
			return err
		}
	}
	if m.opt.TLS {
		make := newCertificates
		if m.mysql() {
			make = rsaCertificates
		}
		files, err := make(m.dir, m.as)
		if err != nil {
			return err
		}
		s.CAFile = files.ca
	}
	known := m.file("password")
	if _, err := os.Stat(filepath.Join(s.DataDir, "mysql")); err == nil {
		password, err := os.ReadFile(known)
		s.Password = string(password)
		return err
	}
	t, err := m.template()
	if err != nil {
		return err
	}
	if err := t.copyTo(s.DataDir, m.as); err != nil {
		return fmt.Errorf("copying the data directory: %w", err)
	}
	s.Password = cmp.Or(m.opt.Password, rand.Text())
	if strings.ContainsAny(s.Password, "'\\\n") {
		return errors.New("a password can't hold a quote, a backslash or a line break")
	}
	return m.as.write(known, []byte(s.Password))
}

// template is a data directory made once and kept in the cache. It has no password: each server sets its own.
func (m mariadb) template() (template, error) {
	return keepTemplate(cmp.Or(m.opt.Release, "mariadb-"+m.version), m.path, func(dir string) error {
		data := "--datadir=" + filepath.Join(dir, "data")
		run := program{as: m.as, dir: dir, path: m.path, args: []string{
			"--no-defaults", "--initialize-insecure", "--basedir=" + m.base(), "--lc-messages-dir=" + filepath.Join(m.base(), "share"), data,
		}}
		if !m.mysql() {
			run.path = filepath.Join(filepath.Dir(filepath.Dir(m.path)), "bin", "mariadb-install-db")
			run.args = []string{"--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"}
			if m.base() != "" {
				run.path = filepath.Join(m.base(), "scripts", "mariadb-install-db")
				run.args = append(run.args, "--basedir="+m.base())
			}
		}
		if _, err := run.run(); err != nil {
			return fmt.Errorf("making a data directory: %w", err)
		}
		return m.as.write(filepath.Join(dir, "password"), nil)
	}, m.as)
}

// configuration is the server's my.cnf.
func (m mariadb) configuration(s *Server, port int) []byte {
	all := map[string]string{
		"datadir":                 s.DataDir,
		"tmpdir":                  m.file("tmp"), // a server that starts removes the temporary tables of others in a shared one
		"bind-address":            s.Host,
		"port":                    strconv.Itoa(port),
		"socket":                  m.socket(s),
		"pid-file":                m.file("pid"),
		"init-file":               m.file("init.sql"),
		"skip-name-resolve":       "1",
		"character-set-server":    "utf8mb4",
		"innodb-buffer-pool-size": "64M",
		"innodb-log-file-size":    "16M",
		"innodb-flush-method":     "nosync",
		"max-allowed-packet":      "1G",
	}
	if m.opt.TLS {
		all["ssl-cert"], all["ssl-key"] = m.file("server.pem"), m.file("server.key")
	}
	group := "mariadbd"
	if m.base() != "" {
		all["basedir"], all["lc-messages-dir"] = m.base(), filepath.Join(m.base(), "share")
	}
	if m.mysql() {
		group, all["mysqlx"] = "mysqld", "0"
	}
	maps.Copy(all, m.opt.Settings)
	var b bytes.Buffer
	fmt.Fprintf(&b, "[%s]\n", group)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = %s\n", name, all[name])
	}
	return b.Bytes()
}

func (m mariadb) socket(s *Server) string { return filepath.Join(s.Socket, "s") }

// launch starts the server on a port.
func (m mariadb) launch(ctx context.Context, s *Server, port int) (*process, error) {
	create := "CREATE OR REPLACE USER root@'127.0.0.1'"
	if m.mysql() {
		create = "CREATE USER IF NOT EXISTS root@'127.0.0.1';\nALTER USER root@'127.0.0.1'"
	}
	init := fmt.Sprintf(create+" IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n", s.Password)
	if err := m.as.write(m.file("init.sql"), []byte(init)); err != nil {
		return nil, err
	}
	if err := m.as.write(m.file("my.cnf"), m.configuration(s, port)); err != nil {
		return nil, err
	}
	if err := os.Remove(m.file("pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	log, err := openLog(s.LogFile, m.as)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own copy
	p, err := program{as: m.as, dir: s.DataDir, log: log, path: m.path, args: []string{"--defaults-file=" + m.file("my.cnf")}}.start()
	if err != nil {
		return nil, err
	}
	if err := m.await(ctx, p, port); err != nil {
		p.stop(patience, syscall.SIGKILL)
		quote := tail(s.LogFile)
		if strings.Contains(quote, "Bind on TCP/IP port") {
			err = errPortTaken
		}
		return nil, fmt.Errorf("%w%s", err, quote)
	}
	return p, nil
}

// await returns when this very process has written its pid and something on the port greets as MySQL's
// servers do.
func (m mariadb) await(ctx context.Context, p *process, port int) error {
	return await(ctx, p, func() (bool, error) {
		text, _ := os.ReadFile(m.file("pid")) // not there yet
		return strings.TrimSpace(string(text)) == strconv.Itoa(p.pid()) && greets(port), nil
	})
}

// greets says whether a server sends the greeting of protocol version 10.
func greets(port int) bool {
	c, err := net.DialTimeout("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	head := make([]byte, 5)
	n, _ := c.Read(head)
	return n == 5 && binary.LittleEndian.Uint32(head)&0xffffff > 20 && head[4] == 10
}

// client runs a script with MariaDB's own client, through the Unix socket.
func (m mariadb) client(ctx context.Context, s *Server, database, script string) (string, error) {
	path, err := exec.LookPath("mariadb")
	if err != nil {
		return "", fmt.Errorf("MariaDB's client is %w: run `make setup`", ErrNotInstalled)
	}
	cmd := exec.CommandContext(ctx, path, "--no-defaults", "--batch", "--skip-column-names", "--default-character-set=utf8mb4",
		"--socket="+m.socket(s), "--user=root", "--database="+database)
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(script)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = errors.New(text)
		}
		return out.String(), fmt.Errorf("running SQL in the database %s: %w", database, err)
	}
	return out.String(), nil
}
