package throwaway

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// superuser is the role that initdb makes.
const superuser = "postgres"

// settingsFile is a part of the configuration that each start writes. ALTER SYSTEM wins over it.
const settingsFile = "sallyport.conf"

// templateForm changes with what makeTemplate does, so that no old template is taken for a new one.
const templateForm = "1"

// template is a data directory that initdb has made, kept in the cache because initdb takes a second
// and a copy a tenth of that. Its superuser has a random password, which never leaves the cache.
type template struct {
	data     string
	password string
}

// templateFor finds an installation's template, or makes it.
func templateFor(in Install, as account) (template, error) {
	return keepTemplate(in.Version, in.BinDir, func(dir string) error {
		return makeTemplate(in, as, dir)
	}, as)
}

// keepTemplate finds the template of a program's version, or has it made in a directory of the account's
// that gets its name when all is there. Processes that come at the same time wait for the first one.
func keepTemplate(version, program string, make func(dir string) error, as account) (template, error) {
	cache, err := CacheDir()
	if err != nil {
		return template{}, err
	}
	base := filepath.Join(cache, "templates")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return template{}, fmt.Errorf("making the cache (SALLYPORT_CACHE names another place): %w", err)
	}
	id := sha256.Sum256([]byte(program))
	dir := filepath.Join(base, fmt.Sprintf("%s-%x-%s", version, id[:4], templateForm))
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return template{}, fmt.Errorf("locking the cache: %w", err)
	}
	defer unlock()
	t, err := readTemplate(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	tmp, err := os.MkdirTemp(base, "new-*")
	if err != nil {
		return template{}, err
	}
	defer os.RemoveAll(tmp)
	if err := as.own(tmp); err != nil {
		return template{}, err
	}
	if err := make(tmp); err != nil {
		return template{}, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return template{}, err
	}
	return readTemplate(dir)
}

func readTemplate(dir string) (template, error) {
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	return template{data: filepath.Join(dir, "data"), password: string(password)}, err
}

// makeTemplate runs initdb in a directory of the account's.
func makeTemplate(in Install, as account, tmp string) error {
	password := filepath.Join(tmp, "password")
	if err := as.write(password, []byte(rand.Text())); err != nil {
		return err
	}
	_, err := program{as: as, dir: tmp, path: filepath.Join(in.BinDir, "initdb"), args: []string{
		"--pgdata=" + filepath.Join(tmp, "data"), "--username=" + superuser, "--pwfile=" + password,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-messages=C",
		"--no-sync", "--no-instructions",
	}}.run()
	if err != nil {
		return fmt.Errorf("making a data directory: %w", err)
	}
	if err := include(filepath.Join(tmp, "data", "postgresql.conf")); err != nil {
		return fmt.Errorf("making a data directory: %w", err)
	}
	return nil
}

// include has a configuration read the settings of each start.
func include(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "include_if_exists = '%s'\n", settingsFile); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// lockFile waits for the lock on a file and returns the function that gives it back.
func lockFile(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// copyTo copies the template's data for the account.
func (t template) copyTo(dir string, as account) error {
	return filepath.WalkDir(t.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.data, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		if d.IsDir() {
			return as.mkdir(to)
		}
		return as.copyFile(path, to)
	})
}

// copyFile copies a file for the account; from must not be a link.
func (a account) copyFile(from, to string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return a.own(to)
}
