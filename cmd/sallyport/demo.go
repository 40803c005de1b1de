package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

//go:embed demo/shop.sql demo/vector.sql demo/shop.mariadb.sql demo/policy.yaml
var demoFiles embed.FS

// The demo's passwords guard made-up data on loopback.
const (
	demoUpstreamPassword = "shop-owner"
	demoAlicePassword    = "alice-demo"
	demoSamPassword      = "sam-demo"
	demoDanaPassword     = "dana-demo"
	demoStoreKey         = "store-key"
	demoWorkerToken      = "rag-worker-demo"
)

func (m *Main) demoCommand() *cobra.Command {
	d := &demo{main: m}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a throwaway PostgreSQL and MariaDB with a sample shop behind the proxy, and show what happens",
		Long: `Starts a throwaway PostgreSQL and a throwaway MariaDB with the same sample shop,
writes one policy and a configuration, puts the proxy in front, and runs the
main job through it with psql and with MariaDB's client: a query that comes back
masked, one that is refused, one that is held until somebody approves it; then
the same for a vector store, which is a stand-in for Qdrant in this process; and
the replay of all of them. It prints each command, so that you can paste it.

On a terminal the demo then stays up until Ctrl-C; elsewhere it ends. What it
wrote (configuration, policy, transcripts) stays in --dir.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fail(d.run(cmd.Context()), "`make setup` installs PostgreSQL and MariaDB; the demo needs nothing else")
		},
	}
	cmd.Flags().StringVar(&d.dir, "dir", filepath.Join("var", "demo"), "folder for the demo's files; emptied first")
	cmd.Flags().BoolVar(&d.stay, "stay", false, "stay up until interrupted, on a terminal or not")
	cmd.Flags().BoolVar(&d.once, "once", false, "end after the walk, on a terminal too")
	cmd.Flags().IntVar(&d.port, "port", 6432, "port of the proxy before PostgreSQL; a free one where it is taken")
	return cmd
}

type demo struct {
	main *Main
	dir  string
	stay bool
	once bool
	port int

	shops   []demoShop // PostgreSQL's, MariaDB's
	points  *throwaway.Points
	store   int // the port in front of points
	console int
	steps   int // shown so far
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.prepare(); err != nil {
		return err
	}
	d.say("Starting a throwaway PostgreSQL and a throwaway MariaDB with the same sample shop …")
	for _, start := range []func(context.Context) (demoShop, error){d.startPostgreSQL, d.startMariaDB} {
		shop, err := start(ctx)
		if shop.server != nil {
			defer shop.server.Stop()
		}
		if err != nil {
			return err
		}
		d.shops = append(d.shops, shop)
	}
	if err := d.startStore(); err != nil {
		return err
	}
	defer d.points.Stop()
	config, err := d.configure()
	if err != nil {
		return err
	}
	served, err := d.serve(ctx, config)
	if err != nil {
		return err
	}
	err = d.walk(ctx, config)
	if err == nil && (d.stay || !d.once && d.onTerminal()) {
		d.say("\nThe proxy stays up: paste any of the lines above into another terminal. Ctrl-C ends it.")
		<-ctx.Done()
	}
	cancel()
	return errors.Join(err, <-served)
}

// step says the title of the next step.
func (d *demo) step(title string) {
	d.steps++
	d.say("\n%d. %s", d.steps, title)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.main.Stdout, format+"\n", args...) }

func (d *demo) onTerminal() bool {
	f, ok := d.main.Stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// prepare empties the demo's folder, which is only ever one that a demo made.
func (d *demo) prepare() error {
	mark := filepath.Join(d.dir, ".sallyport-demo")
	if entries, err := os.ReadDir(d.dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return fmt.Errorf("%s is not empty and was not made by a demo; give another --dir", d.dir)
		}
		if err := os.RemoveAll(d.dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o600)
}

// configure writes the configuration that a person would write.
func (d *demo) configure() (path string, err error) {
	if d.console, err = portOr(7070); err != nil {
		return "", err
	}
	if d.store, err = portOr(6333); err != nil {
		return "", err
	}
	policy, err := demoFiles.ReadFile("demo/policy.yaml")
	if err != nil {
		return "", err
	}
	config := fmt.Sprintf(`version: 1
policy: policy.yaml
storage: {state: "sqlite:./state.db", transcripts: "file:./transcripts"}
keys: {dir: ./keys}
console: {listen: "127.0.0.1:%d"}
identities:
  - {name: alice, password: {file: alice.secret}, groups: [analyst]}
  - {name: sam, password: {file: sam.secret}, groups: [support]}
  - {name: dana, password: {file: dana.secret}, groups: [dba]}
  - {name: rag-worker, kind: machine, token: {file: rag-worker.secret}, groups: [rag]}
targets:
  - name: tickets
    protocol: qdrant
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    wait: 500ms
    upstream: {url: "http://%s", password: {file: store.secret}}
`, d.console, d.store, d.points.Address())
	for _, s := range d.shops {
		config += fmt.Sprintf(`  - name: %s
    protocol: %s
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: %q, password: {file: upstream.secret}}
`, s.target, s.protocol, s.port, s.upstream)
	}
	path = filepath.Join(d.dir, "sallyport.yaml")
	for name, content := range map[string]string{
		"sallyport.yaml": config, "policy.yaml": string(policy), "upstream.secret": demoUpstreamPassword + "\n",
		"store.secret": demoStoreKey + "\n", "rag-worker.secret": demoWorkerToken + "\n",
		"alice.secret": demoAlicePassword + "\n", "sam.secret": demoSamPassword + "\n", "dana.secret": demoDanaPassword + "\n",
	} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// serve runs `sallyport serve` in this process, with its log in the demo's
// folder, and returns once it accepts; the channel yields its end.
func (d *demo) serve(ctx context.Context, config string) (<-chan error, error) {
	log, err := os.Create(filepath.Join(d.dir, "sallyport.log"))
	if err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- errors.Join(serve(ctx, config, log, func() { close(ready) }), log.Close())
	}()
	select {
	case <-ready:
		return served, nil
	case err := <-served:
		return nil, fmt.Errorf("the proxy did not start (see %s): %w", log.Name(), err)
	}
}

// print indents a command's output below its line.
func (d *demo) print(out string) {
	for line := range strings.Lines(strings.TrimRight(out, "\n") + "\n") {
		io.WriteString(d.main.Stdout, "  "+line)
	}
}

// shellLine writes arguments so that they can be pasted.
func shellLine(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if strings.ContainsAny(a, " '\"$") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out[i] = a
	}
	return strings.Join(out, " ")
}

// portOr is the port where it is free, else another one.
func portOr(port int) (int, error) {
	if portFree(port) {
		return port, nil
	}
	return freeTCPPort()
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func freeTCPPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
