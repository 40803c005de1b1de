package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport-proxy/sallyport/proxy"
)

// remote is a running proxy's console.
type remote struct {
	config, server, token string
	user                  string // an identity that logs in, "" for the admin token
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&r.config, "config", "c", "", "the proxy's configuration: the console and admin.token are found from it")
	f.StringVar(&r.server, "server", "", "the console's URL, instead of --config")
	f.StringVar(&r.token, "token", "", "the admin token, with --server")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.MarkFlagsOneRequired("config", "server")
	cmd.MarkFlagsMutuallyExclusive("config", "server")
}

// errDown is a console that nothing listens on.
var errDown = errors.New("the proxy does not answer")

// passwordVariable holds the password or token of --user.
const passwordVariable = "SALLYPORT_PASSWORD"

// do sends a request, with a JSON body where one is given. The caller closes
// the answer.
func (r *remote) do(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	server, token := r.server, r.token
	if r.config != "" {
		var err error
		if server, token, err = r.fromConfig(); err != nil {
			return nil, err
		}
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(server, "/")+path, content)
	if err != nil {
		return nil, fail(err, "")
	}
	if r.user == "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else {
		password, err := readPassword(r.user)
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth(r.user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fail(fmt.Errorf("%w at %s", errDown, server), "is `sallyport serve` running?")
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error string `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e)
	return nil, fail(fmt.Errorf("the proxy says: %s (%s)", e.Error, resp.Status), "")
}

func (r *remote) fromConfig() (server, token string, err error) {
	c, err := proxy.LoadConfig(r.config, wires())
	if err != nil {
		return "", "", broken(err)
	}
	if c.Console == "" {
		return "", "", fail(errors.New("the configuration has no console"), "add console: {listen: \"127.0.0.1:7070\"}")
	}
	server = "http://" + c.Console
	if r.user != "" {
		return server, "", nil
	}
	b, err := os.ReadFile(filepath.Join(c.Keys, "admin.token"))
	if err != nil {
		return "", "", fail(fmt.Errorf("reading the admin token: %w", err), "the proxy makes it at its first start")
	}
	return server, strings.TrimSpace(string(b)), nil
}

// readPassword takes an identity's password from the environment, or asks for
// it on a terminal.
func readPassword(user string) (string, error) {
	if p, ok := os.LookupEnv(passwordVariable); ok {
		return p, nil
	}
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", fail(errors.New("no password for "+user), "set "+passwordVariable+", or run it on a terminal")
	}
	fmt.Fprintf(os.Stderr, "Password of %s: ", user)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return string(b), fail(err, "")
}
