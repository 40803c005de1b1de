package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// demoShop is one of the demo's databases and how one reaches it through the proxy.
type demoShop struct {
	server   *throwaway.Server
	target   string // its name in the configuration
	protocol string
	port     int
	upstream string
	told     bool     // that a statement is held, while it waits
	program  []string // the client, with what keeps a person's own settings out
	// arguments are the client's; plain asks for rows without borders.
	arguments func(user, password, statement string, plain bool) []string
}

// demoStatement is a statement of Alice's or Sam's and whether it is refused.
type demoStatement struct {
	title          string
	user, password string
	sql            string
	refused        bool
}

// walk runs the main job and shows each command with what it prints.
func (d *demo) walk(ctx context.Context, config string) error {
	const customers = "SELECT id, name, email, ssn, salary FROM customers ORDER BY id LIMIT 3"
	pg, maria := d.shops[0], d.shops[1]
	err := d.walkStatements(ctx, pg, []demoStatement{
		{"Alice, an analyst, reads customers: classed columns come back masked.", "alice", demoAlicePassword, customers, false},
		{"Sam, in support, may see e-mail addresses: the policy says so, not the statement.", "sam", demoSamPassword,
			"SELECT id, name, email, ssn FROM customers ORDER BY id LIMIT 3", false},
		{"Alice forgets the WHERE: refused, by the rule's name.", "alice", demoAlicePassword, "DELETE FROM orders", true},
		{"Alice guesses at a salary through an error: refused, because an error is an answer too.", "alice", demoAlicePassword,
			"SELECT 1 / (salary - 71000) FROM customers WHERE id = 1", true},
	})
	if err != nil {
		return err
	}
	if err := d.walkHold(ctx, config, pg, "Alice reads a whole table: held, until somebody of the group dba has had a look."); err != nil {
		return err
	}
	d.say("\n   (Or by browser: http://127.0.0.1:%d/approvals, as dana with the password %s.)", d.console, demoDanaPassword)
	err = d.walkStatements(ctx, maria, []demoStatement{
		{"The same shop in MariaDB, the same policy: the same columns come back masked.", "alice", demoAlicePassword, customers, false},
		{"The same rule refuses.", "alice", demoAlicePassword, "DELETE FROM orders", true},
	})
	if err != nil {
		return err
	}
	if err := d.walkHold(ctx, config, maria, "And the same read waits. (MySQL's protocol can't tell a client that it does.)"); err != nil {
		return err
	}
	if err := d.walkStore(ctx, config); err != nil {
		return err
	}
	return d.walkCommands(ctx, []demoStep{
		{"Who was here.", []string{"sessions", "list", "--config", config}},
		{"The last session as it happened: a statement, its decision, what the client was sent.", []string{"replay", "show", "--config", config, "last"}},
		{"And the first one, on PostgreSQL.", []string{"replay", "show", "--config", config, "first"}},
		{"Nobody has touched the record: every transcript's chain and signature are checked.", []string{"replay", "verify", "--config", config}},
	})
}

func (d *demo) walkStatements(ctx context.Context, shop demoShop, statements []demoStatement) error {
	for _, s := range statements {
		d.step(s.title)
		cmd, line := shop.command(ctx, s.user, s.password, s.sql, false)
		out, err := cmd.CombinedOutput()
		d.say("\n  $ %s", line)
		d.print(string(out))
		if (err != nil) != s.refused {
			return fmt.Errorf("the demo's statement %q did not end as it should: %w", s.sql, errors.Join(err, errors.New(string(out))))
		}
	}
	return nil
}

// command is the client with a statement, and the line that a person types.
func (s demoShop) command(ctx context.Context, user, password, statement string, plain bool) (cmd *exec.Cmd, line string) {
	args := s.arguments(user, password, statement, plain)
	cmd = exec.CommandContext(ctx, s.program[0], append(s.program[1:len(s.program):len(s.program)], args...)...)
	cmd.Env = append(os.Environ(), "PAGER=cat", "LC_ALL=C.UTF-8")
	return cmd, filepath.Base(s.program[0]) + " " + shellLine(args)
}

// walkHold shows a statement that waits in one terminal and is approved in
// another.
func (d *demo) walkHold(ctx context.Context, config string, shop demoShop, title string) error {
	const bulk = "SELECT * FROM orders"
	d.step(title)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd, line := shop.command(ctx, "alice", demoAlicePassword, bulk, true)
	d.say("\n  $ %s > orders.txt", line)
	var rows bytes.Buffer
	cmd.Stdout = &rows
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	id, err := d.heldID(ctx, config, shop, stderr)
	if err != nil {
		return errors.Join(fmt.Errorf("the bulk read was not held: %w", err), cmd.Wait())
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
	d.say("\n   And Alice has her %d rows, cards masked. The next bulk read asks again.", bytes.Count(rows.Bytes(), []byte{'\n'}))
	return nil
}

// heldID is the id of the statement that waits: the client says it where it is
// told, else the list of held statements does.
func (d *demo) heldID(ctx context.Context, config string, shop demoShop, stderr io.Reader) (id string, err error) {
	if !shop.told {
		return d.waiting(ctx, config)
	}
	lines := bufio.NewScanner(stderr)
	for id == "" && lines.Scan() {
		d.print(lines.Text())
		_, id, _ = strings.Cut(lines.Text(), "held for approval: ")
	}
	for more := 2; id != "" && more > 0 && lines.Scan(); more-- { // DETAIL and HINT
		d.print(lines.Text())
	}
	if id == "" {
		return "", errors.New("the client says nothing of it")
	}
	return id, nil
}

// waiting asks for the list until a statement is on it.
func (d *demo) waiting(ctx context.Context, config string) (id string, err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var out bytes.Buffer
		m := &Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
		if code := m.Run(ctx, []string{"approvals", "list", "--config", config, "--json"}); code != 0 {
			return "", errors.New(out.String())
		}
		if out.Len() > 0 {
			var h approval.Hold
			err := json.NewDecoder(&out).Decode(&h)
			return h.ID, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
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
