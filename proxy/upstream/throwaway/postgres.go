package throwaway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Options say which PostgreSQL to start and how; the zero value is the first one that FindPostgreSQL
// finds, with a fresh data directory.
type Options struct {
	Version string // such as "15" or "15.18"
	Vector  bool   // choose one that has pgvector
	BinDir  string // use this one, whatever its version

	// Dir keeps the data, the log and the certificates after the server has ended; a server that is
	// started on the same Dir goes on with its data and its superuser. Root's servers run as another
	// user, who must be able to reach it. Empty is a temporary directory.
	Dir string

	Settings map[string]string // as in postgresql.conf, not quoted; they win over ours
	// HBA are the lines of pg_hba.conf for TCP. Empty is scram-sha-256 for everybody. A line that lets
	// the superuser in through the Unix socket always stands before them: only root and the account of
	// the server can enter its directory.
	HBA []string

	User     string // the superuser's name, "postgres" if empty
	Password string // the superuser's password, a random one if empty

	TLS bool // a certificate from the server's own authority, for localhost and 127.0.0.1
}

// PostgreSQL starts a server and returns when it accepts connections. It ends with the context, with
// Stop and with this process. An error quotes the end of the server's log, and wraps ErrNotInstalled
// where no installation fits.
func PostgreSQL(ctx context.Context, opt Options) (*Server, error) {
	s, err := startPostgreSQL(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("starting a throwaway PostgreSQL: %w", err)
	}
	return s, nil
}

func startPostgreSQL(ctx context.Context, opt Options) (*Server, error) {
	in, err := choose(opt)
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
	pg := postgres{in: in, as: as, opt: opt, dir: dir}
	s := &Server{
		Host: "127.0.0.1", User: cmp.Or(opt.User, superuser), BinDir: in.BinDir,
		DataDir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "socket"), LogFile: filepath.Join(dir, "log"),
		signal: stopSignals{now: syscall.SIGQUIT, gently: syscall.SIGINT}, clean: clean,
	}
	if err := pg.prepare(s); err != nil {
		_ = clean()
		return nil, err
	}
	s.launch = func(ctx context.Context) (*process, error) {
		return s.onPort(func(port int) (*process, error) { return pg.launch(ctx, s, port) })
	}
	return s, s.begin(ctx)
}

// postgres is what launching one server takes.
type postgres struct {
	in  Install
	as  account
	opt Options
	dir string
}

// prepare makes the data directory and everything beside it that does not depend on the port.
func (pg postgres) prepare(s *Server) error {
	if err := pg.as.mkdir(s.Socket); err != nil {
		return err
	}
	if err := pg.prepareData(s); err != nil {
		return err
	}
	if pg.opt.TLS {
		files, err := newCertificates(pg.dir, pg.as)
		if err != nil {
			return err
		}
		s.CAFile = files.ca
	}
	hba := pg.opt.HBA
	if len(hba) == 0 {
		hba = []string{"host all all 127.0.0.1/32 scram-sha-256"}
	}
	hba = append([]string{"local all " + superuser + " trust"}, hba...)
	return pg.as.write(filepath.Join(s.DataDir, "pg_hba.conf"), []byte(strings.Join(hba, "\n")+"\n"))
}

// prepareData copies the template, unless the directory has data already, and knows the superuser's
// password either way.
func (pg postgres) prepareData(s *Server) error {
	known := filepath.Join(pg.dir, "password")
	if _, err := os.Stat(filepath.Join(s.DataDir, "PG_VERSION")); err == nil {
		password, err := os.ReadFile(known)
		s.Password = string(password)
		return err
	}
	t, err := templateFor(pg.in, pg.as)
	if err != nil {
		return err
	}
	if err := t.copyTo(s.DataDir, pg.as); err != nil {
		return fmt.Errorf("copying the data directory: %w", err)
	}
	s.Password = t.password
	if pg.opt.User != "" || pg.opt.Password != "" {
		s.Password = cmp.Or(pg.opt.Password, t.password)
		if err := pg.setSuperuser(s); err != nil {
			return err
		}
	}
	return pg.as.write(known, []byte(s.Password))
}

// setSuperuser gives the superuser the name and password that were asked for, with the server in its
// single-user mode, which takes a statement a line.
func (pg postgres) setSuperuser(s *Server) error {
	literal := func(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }
	name := `"` + strings.ReplaceAll(s.User, `"`, `""`) + `"`
	if strings.ContainsAny(s.User+s.Password, "\n\\") {
		return errors.New("a superuser's name and password can't hold a line break or a backslash")
	}
	script := fmt.Sprintf("ALTER ROLE %s LOGIN SUPERUSER PASSWORD %s\n", name, literal(s.Password))
	if s.User != superuser {
		script = fmt.Sprintf("CREATE ROLE %s\n", name) + script
	}
	printed, err := program{as: pg.as, dir: pg.dir, stdin: script, path: filepath.Join(pg.in.BinDir, "postgres"),
		args: []string{"--single", "-D", s.DataDir, "-c", "fsync=off", "postgres"}}.run()
	if err == nil && strings.Contains(printed, "ERROR:") {
		err = errors.New(printed[strings.Index(printed, "ERROR:"):])
	}
	if err != nil {
		return fmt.Errorf("setting the superuser: %w", err)
	}
	return nil
}

// launch starts the server on a port.
func (pg postgres) launch(ctx context.Context, s *Server, port int) (*process, error) {
	if err := pg.as.write(filepath.Join(s.DataDir, settingsFile), pg.settings(s, port)); err != nil {
		return nil, err
	}
	log, err := openLog(s.LogFile, pg.as)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own copy
	p, err := program{as: pg.as, dir: s.DataDir, log: log, path: filepath.Join(pg.in.BinDir, "postgres"), args: []string{"-D", s.DataDir}}.start()
	if err != nil {
		return nil, err
	}
	if err := awaitPostmaster(ctx, p, s.DataDir); err != nil {
		p.stop(patience, syscall.SIGQUIT)
		quote := tail(s.LogFile)
		if strings.Contains(quote, "could not create any TCP/IP sockets") {
			err = errPortTaken
		}
		return nil, fmt.Errorf("%w%s", err, quote)
	}
	return p, nil
}

// settings are the lines of the server's configuration.
func (pg postgres) settings(s *Server, port int) []byte {
	all := map[string]string{
		"listen_addresses":        s.Host,
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": s.Socket,
		"fsync":                   "off",
		"full_page_writes":        "off",
	}
	if pg.opt.TLS {
		all["ssl"] = "on"
		all["ssl_cert_file"] = filepath.Join(pg.dir, "server.pem")
		all["ssl_key_file"] = filepath.Join(pg.dir, "server.key")
	}
	maps.Copy(all, pg.opt.Settings)
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(all[name]))
	}
	return b.Bytes()
}

// awaitPostmaster returns when postmaster.pid says that this very process is ready, which holds
// whatever the settings do to the log or to the port.
func awaitPostmaster(ctx context.Context, p *process, data string) error {
	return await(ctx, p, func() (bool, error) {
		text, _ := os.ReadFile(filepath.Join(data, "postmaster.pid")) // not there yet
		lines := strings.Split(string(text), "\n")
		return len(lines) > 7 && lines[0] == strconv.Itoa(p.pid()) && strings.TrimSpace(lines[7]) == "ready", nil
	})
}
