package throwaway

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInstalled is wrapped by the errors that say that a server's program is not on this machine and
// what to run so that it is.
var ErrNotInstalled = errors.New("not installed")

// Install is one installed PostgreSQL.
type Install struct {
	BinDir  string // where initdb and postgres are
	Version string // such as "15.18"
	Major   int
	Vector  bool // whether pgvector's control file is there, so that CREATE EXTENSION vector works
	TLS     bool // whether it was built with TLS
}

// FindPostgreSQL lists the installations of PostgreSQL: $SALLYPORT_PG_DIR (a directory with bin in
// it), then Debian's from the newest, then those that `make setup-tests` put under CacheDir from the
// newest. The error wraps ErrNotInstalled where there is none.
func FindPostgreSQL() ([]Install, error) {
	var all []Install
	if dir := os.Getenv("SALLYPORT_PG_DIR"); dir != "" {
		in, err := inspect(filepath.Join(dir, "bin"))
		if err != nil {
			return nil, fmt.Errorf("looking at SALLYPORT_PG_DIR: %w", err)
		}
		all = append(all, in)
	}
	all = append(all, inspectAll("/usr/lib/postgresql/*/bin")...)
	if cache, err := CacheDir(); err == nil {
		all = append(all, inspectAll(filepath.Join(cache, "postgresql", "*", "bin"))...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("PostgreSQL is %w: run `make setup`, or let SALLYPORT_PG_DIR name the directory with its bin", ErrNotInstalled)
	}
	return all, nil
}

// choose picks the first installation that the options accept.
func choose(opt Options) (Install, error) {
	if opt.BinDir != "" {
		return inspect(opt.BinDir)
	}
	all, err := FindPostgreSQL()
	if err != nil {
		return Install{}, err
	}
	for _, in := range all {
		if (!opt.Vector || in.Vector) && (!opt.TLS || in.TLS) && in.matches(opt.Version) {
			return in, nil
		}
	}
	what := "PostgreSQL"
	if opt.Version != "" {
		what += " " + opt.Version
	}
	if opt.Vector {
		what += " with pgvector"
	}
	if opt.TLS {
		what += " built with TLS"
	}
	return Install{}, fmt.Errorf("%s is %w: run `make setup-tests`", what, ErrNotInstalled)
}

// matches reports whether want is the version or a leading part of it ("15" of "15.18").
func (in Install) matches(want string) bool {
	return want == "" || in.Version == want || strings.HasPrefix(in.Version, want+".")
}

// inspectAll is every installation that a pattern finds, the newest first; what does not answer to
// --version is left out.
func inspectAll(pattern string) []Install {
	dirs, _ := filepath.Glob(pattern) // the patterns are constants: never malformed
	var all []Install
	for _, dir := range dirs {
		if in, err := inspect(dir); err == nil {
			all = append(all, in)
		}
	}
	slices.SortFunc(all, func(a, b Install) int {
		return -cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(len(a.Version), len(b.Version)), cmp.Compare(a.Version, b.Version))
	})
	return all
}

var versionNumber = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// inspect asks the postgres in a directory for its version and looks for pgvector.
func inspect(binDir string) (Install, error) {
	out, err := exec.Command(filepath.Join(binDir, "postgres"), "--version").Output()
	if err != nil {
		return Install{}, fmt.Errorf("asking %s/postgres for its version: %w", binDir, err)
	}
	m := versionNumber.FindStringSubmatch(string(out))
	if m == nil {
		return Install{}, fmt.Errorf("asking %s/postgres for its version: it answers %.80q", binDir, out)
	}
	in := Install{BinDir: binDir, Version: m[1]}
	in.Major, _ = strconv.Atoi(m[2]) // digits by the pattern
	in.Vector = hasVector(binDir, m[2])
	in.TLS = hasTLS(binDir)
	return in, nil
}

// hasVector looks for pgvector where Debian has the extensions, else where PostgreSQL's own layouts do.
func hasVector(binDir, major string) bool {
	share := filepath.Join(filepath.Dir(binDir), "share")
	places := []string{filepath.Join(share, "postgresql"), share}
	if strings.HasPrefix(binDir, "/usr/lib/postgresql/") {
		places = []string{filepath.Join("/usr/share/postgresql", major)}
	}
	return slices.ContainsFunc(places, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "extension", "vector.control"))
		return err == nil
	})
}

// hasTLS asks pg_config how the server was built. Where it is missing, TLS is taken to be there and
// the server will say if it is not.
func hasTLS(binDir string) bool {
	out, err := exec.Command(filepath.Join(binDir, "pg_config"), "--configure").Output()
	return err != nil || strings.Contains(string(out), "--with-openssl") || strings.Contains(string(out), "--with-ssl")
}
