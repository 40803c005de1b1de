package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

//go:embed demo/shop.sql demo/vector.sql demo/policy.yaml
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
		Short: "Start a throwaway PostgreSQL with a sample shop behind the proxy, and show what happens",
		Long: `Starts a throwaway PostgreSQL with a sample shop, writes a policy and a
configuration, puts the proxy in front, and runs the main job through it with psql: a query
that comes back masked, one that is refused, one that is held until somebody
approves it; then the same for a vector store, which is a stand-in for Qdrant in this
process; and the replay of all of them. It prints each command, so that you
can paste it.

On a terminal the demo then stays up until Ctrl-C; elsewhere it ends. What it
wrote (configuration, policy, transcripts) stays in --dir.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fail(d.run(cmd.Context()), "`make setup` installs PostgreSQL; the demo needs nothing else")
		},
	}
	cmd.Flags().StringVar(&d.dir, "dir", filepath.Join("var", "demo"), "folder for the demo's files; emptied first")
	cmd.Flags().BoolVar(&d.stay, "stay", false, "stay up until interrupted, on a terminal or not")
	cmd.Flags().BoolVar(&d.once, "once", false, "end after the walk, on a terminal too")
	cmd.Flags().IntVar(&d.port, "port", 6432, "port to listen on; a free one where it is taken")
	return cmd
}

type demo struct {
	main *Main
	dir  string
	stay bool
	once bool
	port int

	pg      *throwaway.Server
	points  *throwaway.Points
	store   int // the port in front of points
	console int
	psql    string
	steps   int // shown so far
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.prepare(); err != nil {
		return err
	}
	d.say("Starting a throwaway PostgreSQL with a sample shop …")
	if err := d.startShop(ctx); err != nil {
		return err
	}
	defer d.pg.Stop()
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

func (d *demo) startShop(ctx context.Context) error {
	installs, err := throwaway.FindPostgreSQL()
	if err != nil {
		return err
	}
	vector := false
	for _, in := range installs {
		vector = vector || in.Vector
	}
	if d.pg, err = throwaway.PostgreSQL(ctx, throwaway.Options{Vector: vector}); err != nil {
		return err
	}
	d.psql = filepath.Join(d.pg.BinDir, "psql")
	if _, err := os.Stat(d.psql); err != nil {
		if d.psql, err = exec.LookPath("psql"); err != nil {
			return err
		}
	}
	shop, err := demoFiles.ReadFile("demo/shop.sql")
	if err != nil {
		return err
	}
	scripts := [][2]string{
		{"postgres", "CREATE ROLE shop LOGIN PASSWORD '" + demoUpstreamPassword + "';"},
		{"postgres", "CREATE DATABASE shop OWNER shop;"},
		{"shop", "SET ROLE shop;\n" + string(shop)},
	}
	if vector {
		more, err := demoFiles.ReadFile("demo/vector.sql")
		if err != nil {
			return err
		}
		scripts = append(scripts, [2]string{"shop", string(more)})
	} else {
		d.say("This PostgreSQL has no pgvector (Debian 12 has no package of it): the documents' embeddings are real[].")
	}
	for _, s := range scripts {
		if _, err := d.pg.SQL(ctx, s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the configuration that a person would write.
func (d *demo) configure() (path string, err error) {
	d.console, d.store = 7070, 6333
	for _, port := range []*int{&d.port, &d.console, &d.store} {
		if !portFree(*port) {
			if *port, err = freeTCPPort(); err != nil {
				return "", err
			}
		}
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
  - name: shop
    protocol: postgres
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    upstream: {url: "postgres://shop@%s/shop?sslmode=disable", password: {file: upstream.secret}}
  - name: tickets
    protocol: qdrant
    listen: "127.0.0.1:%d"
    tls: {mode: disable}
    wait: 500ms
    upstream: {url: "http://%s", password: {file: store.secret}}
`, d.console, d.port, d.pg.Address(), d.store, d.points.Address())
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

// walk runs the main job and shows each command with what it prints.
func (d *demo) walk(ctx context.Context, config string) error {
	alice := fmt.Sprintf("host=127.0.0.1 port=%d user=alice password=%s dbname=shop sslmode=disable", d.port, demoAlicePassword)
	sam := fmt.Sprintf("host=127.0.0.1 port=%d user=sam password=%s dbname=shop sslmode=disable", d.port, demoSamPassword)
	for _, s := range []struct {
		title   string
		conn    string
		sql     string
		refused bool
	}{
		{"Alice, an analyst, reads customers: classed columns come back masked.", alice,
			"SELECT id, name, email, ssn, salary FROM customers ORDER BY id LIMIT 3", false},
		{"Sam, in support, may see e-mail addresses: the policy says so, not the statement.", sam,
			"SELECT id, name, email, ssn FROM customers ORDER BY id LIMIT 3", false},
		{"Alice forgets the WHERE: refused, by the rule's name.", alice,
			"DELETE FROM orders", true},
		{"Alice guesses at a salary through an error: refused, because an error is an answer too.", alice,
			"SELECT 1 / (salary - 71000) FROM customers WHERE id = 1", true},
	} {
		d.step(s.title + "\n")
		out, err := d.run1(ctx, s.conn, s.sql)
		d.say("  $ psql \"%s\" -c \"%s\"", s.conn, s.sql)
		d.print(out)
		if (err != nil) != s.refused {
			return fmt.Errorf("the demo's statement %q did not end as it should: %w", s.sql, errors.Join(err, errors.New(out)))
		}
	}
	if err := d.walkHold(ctx, config, alice); err != nil {
		return err
	}
	if err := d.walkStore(ctx, config); err != nil {
		return err
	}
	return d.walkCommands(ctx, []demoStep{
		{"Who was here.", []string{"sessions", "list", "--config", config}},
		{"The last session as it happened: a statement, its decision, what the client was sent.", []string{"replay", "show", "--config", config, "last"}},
		{"And the first one.", []string{"replay", "show", "--config", config, "first"}},
		{"Nobody has touched the record: every transcript's chain and signature are checked.", []string{"replay", "verify", "--config", config}},
	})
}

// walkHold shows a statement that waits in one terminal and is approved in
// another.
func (d *demo) walkHold(ctx context.Context, config, conn string) error {
	const bulk = "SELECT * FROM orders"
	d.step("Alice reads a whole table: held, until somebody of the group dba has had a look.\n")
	d.say("  $ psql \"%s\" -At -o orders.txt -c \"%s\"", conn, bulk)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.psql, "-X", "-At", "-o", filepath.Join(d.dir, "orders.txt"), conn, "-c", bulk)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	notices, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	id := ""
	lines := bufio.NewScanner(notices)
	for id == "" && lines.Scan() {
		d.print(lines.Text())
		_, id, _ = strings.Cut(lines.Text(), "held for approval: ")
	}
	for more := 2; id != "" && more > 0 && lines.Scan(); more-- { // DETAIL and HINT
		d.print(lines.Text())
	}
	if id == "" {
		return fmt.Errorf("the bulk read was not held: %w", cmd.Wait())
	}
	d.say("\n   It waits. In another terminal:")
	err = d.walkCommands(ctx, []demoStep{
		{"", []string{"approvals", "list", "--config", config}},
		{"", []string{"approvals", "approve", "--config", config, "--as", "dana", "--reason", "quarterly export", id}},
	})
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the approved read: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(d.dir, "orders.txt"))
	if err != nil {
		return err
	}
	d.say("\n   (Or by browser: http://127.0.0.1:%d/approvals, as dana with the password %s.)", d.console, demoDanaPassword)
	d.say("\n   And Alice has her %d rows, cards masked. The next bulk read asks again.", bytes.Count(b, []byte{'\n'}))
	return nil
}

// demoStep is one command of ours.
type demoStep struct {
	title string
	args  []string
}

// walkCommands runs our own commands as a person would.
func (d *demo) walkCommands(ctx context.Context, steps []demoStep) error {
	for _, step := range steps {
		if step.title != "" {
			d.step(step.title)
		}
		d.say("\n  $ bin/sallyport %s", shellLine(step.args))
		var out bytes.Buffer
		m := &Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
		code := m.Run(ctx, step.args)
		d.print(out.String())
		if code != 0 {
			return fmt.Errorf("sallyport %s exited with %d", strings.Join(step.args, " "), code)
		}
	}
	return nil
}

// run1 runs one statement with psql and returns what a person would see.
func (d *demo) run1(ctx context.Context, conn, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, d.psql, "-X", conn, "-c", sql)
	cmd.Env = append(os.Environ(), "PAGER=cat", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
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
