package throwaway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// SQL runs a script with psql in a database as the superuser, through the Unix socket, and returns
// what psql prints: rows without headings, columns parted by |. The first failing statement ends it,
// and the error has PostgreSQL's message. Statements run one by one; a script that wants a transaction
// says so. On MariaDB its own client does the same, with columns parted by tabs.
func (s *Server) SQL(ctx context.Context, database, script string) (string, error) {
	if s.run != nil {
		return s.run(ctx, database, script)
	}
	psql := filepath.Join(s.BinDir, "psql")
	if _, err := exec.LookPath(psql); err != nil {
		if psql, err = exec.LookPath("psql"); err != nil {
			return "", fmt.Errorf("psql is %w: run `make setup`", ErrNotInstalled)
		}
	}
	cmd := exec.CommandContext(ctx, psql, "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", s.Socket,
		"-p", strconv.Itoa(s.Port), "-U", superuser, "-d", database, "-f", "-")
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
