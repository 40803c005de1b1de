package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/store"
	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// holdPolicy holds every read of orders without a limit.
const holdPolicy = `version: 1
classes: {c: {mask: redact, compare: equality}}
columns: [{class: c, match: ['customers.ssn']}]
rules:
  - name: bulk
    when: stmt.action == "read" && "public.orders" in stmt.objects && !stmt.limited
    then: hold
    reason: bulk reads are looked at
    approvers: {groups: [dba], count: 1, within: 1m}
`

// holding is a shop whose bulk reads are held.
type holding struct {
	*testProxy
	server *throwaway.Server
	port   int
}

func startHolding(t *testing.T, policy string) *holding {
	t.Helper()
	s := startPostgreSQL(t, throwaway.Options{}, readFile(t, filepath.Join("demo", "shop.sql")))
	port := freePort(t)
	p := startProxy(t, policy, target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	return &holding{p, s, port}
}

// client is a connection that tells of its notices.
type client struct {
	*pgx.Conn
	notices chan string
}

func (h *holding) client(t *testing.T) *client {
	t.Helper()
	config, err := pgx.ParseConfig(twinConn(h.port))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{notices: make(chan string, 10)}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { c.notices <- n.Message + "\n" + n.Detail + "\n" + n.Hint }
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if c.Conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// start runs a statement that will be held and returns the hold's id and
// where the statement's end will be told.
func (c *client) start(t *testing.T, text string, args ...any) (id string, end chan error) {
	t.Helper()
	end = make(chan error, 1)
	go func() { _, err := c.Exec(context.Background(), text, args...); end <- err }()
	return c.held(t, end), end
}

var holdID = regexp.MustCompile(`held for approval: ([0-9a-f]{20})`)

func (c *client) held(t *testing.T, end chan error) string {
	t.Helper()
	select {
	case n := <-c.notices:
		m := holdID.FindStringSubmatch(n)
		if m == nil {
			t.Fatalf("notice %q", n)
		}
		return m[1]
	case err := <-end:
		t.Fatalf("the statement was not held: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("neither held nor ended")
	}
	return ""
}

// passes runs a statement that must not be held.
func (c *client) passes(t *testing.T, text string, args ...any) {
	t.Helper()
	if _, err := c.Exec(context.Background(), text, args...); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	select {
	case n := <-c.notices:
		t.Errorf("%s: %s", text, n)
	default:
	}
}

func (h *holding) approvals(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, out := runMain(t, append([]string{"approvals", args[0], "--config", h.config}, args[1:]...)...)
	if code != want {
		t.Errorf("approvals %v: exit %d, want %d: %s", args, code, want, out)
	}
	return out
}

// reload puts a policy in force.
func (h *holding) reload(t *testing.T, policy string) {
	t.Helper()
	policy += fmt.Sprintf("# %d\n", len(h.stderr.tail(1<<20))) // never the one in force
	from := len(h.stderr.tail(1 << 20))
	h.write(t, "policy.yaml", policy)
	sum := sha256.Sum256([]byte(policy))
	h.stderr.await(t, from, hex.EncodeToString(sum[:6]))
}

func (h *holding) hold(t *testing.T, id string) approval.Hold {
	t.Helper()
	var got approval.Hold
	if err := json.Unmarshal([]byte(h.approvals(t, 0, "show", "--json", id)), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func awaitEnd(t *testing.T, end chan error) error {
	t.Helper()
	select {
	case err := <-end:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the statement does not end")
	}
	return nil
}

// TestHoldIsGrantedOnce: a held statement waits, passes once granted, and only
// as it was.
func TestHoldIsGrantedOnce(t *testing.T) {
	h := startHolding(t, holdPolicy)
	c := h.client(t)
	const text = "SELECT * FROM orders WHERE id > $1"
	id, end := c.start(t, text, 5)
	if out := h.approvals(t, 0, "list"); !strings.Contains(out, id) || !strings.Contains(out, "SELECT * FROM orders") {
		t.Errorf("the list:\n%s", out)
	}
	if out := h.approvals(t, 0, "show", id); !strings.Contains(out, "bulk reads are looked at") || !strings.Contains(out, "1 of dba") {
		t.Errorf("the hold:\n%s", out)
	}
	for name, args := range map[string][]string{
		"nobody":        {"approve", id},
		"own statement": {"approve", "--as", "ana", id},
		"no such hold":  {"approve", "--as", "dana", "00000000000000000000"},
	} {
		if out := h.approvals(t, 1, args...); !strings.Contains(out, "sallyport:") {
			t.Errorf("%s: %s", name, out)
		}
	}
	t.Setenv(passwordVariable, "wrong")
	h.approvals(t, 1, "approve", "--user", "dana", id)
	t.Setenv(passwordVariable, "sam-secret") // sam is no dba
	if out := h.approvals(t, 1, "approve", "--user", "sam", id); !strings.Contains(out, "dba") {
		t.Error(out)
	}
	t.Setenv(passwordVariable, "dana-secret")
	if out := h.approvals(t, 0, "approve", "--user", "dana", "--reason", "month end", id); !strings.Contains(out, "granted") {
		t.Error(out)
	}
	if err := awaitEnd(t, end); err != nil {
		t.Fatal(err)
	}
	if out := h.approvals(t, 1, "approve", "--user", "dana", id); !strings.Contains(out, "ended") {
		t.Errorf("a replayed approval: %s", out)
	}
	// Used once: again, changed text, parameters and search path each ask anew.
	for _, again := range []struct {
		before string
		text   string
		arg    any
	}{{"", text, 5}, {"", text, 6}, {"", text + " ", 5}, {"SET search_path = pg_catalog, public", text, 5}} {
		if again.before != "" {
			c.passes(t, again.before)
		}
		id, end := c.start(t, again.text, again.arg)
		h.approvals(t, 0, "deny", "--user", "dana", "--reason", "no", id)
		if err := awaitEnd(t, end); !hasCode(err, "42501") || !strings.Contains(err.Error(), "denied by dana: no") {
			t.Errorf("%q %v: %v", again.text, again.arg, err)
		}
	}
	// A grant for two uses within its time is good for two, in whatever session.
	id, end = c.start(t, "SELECT count(*), status FROM orders GROUP BY status")
	h.approvals(t, 0, "approve", "--as", "dana", "--uses", "2", id)
	if err := awaitEnd(t, end); err != nil {
		t.Fatal(err)
	}
	other := h.client(t)
	other.passes(t, "SET search_path = pg_catalog, public")
	other.passes(t, "SELECT count(*), status FROM orders GROUP BY status")
	id, end = other.start(t, "SELECT count(*), status FROM orders GROUP BY status")
	h.approvals(t, 0, "approve", "--as", "dana", id)
	if err := awaitEnd(t, end); err != nil {
		t.Error(err)
	}
	_, out := runMain(t, "replay", "show", "--config", h.config, "first")
	for _, want := range []string{"held", "granted", "dana", "bulk reads are looked at"} {
		if !strings.Contains(out, want) {
			t.Errorf("the replay does not say %q:\n%s", want, out)
		}
	}
}

// TestHoldWaits: what happens to the client, the proxy and the world while a
// statement waits.
func TestHoldWaits(t *testing.T) {
	h := startHolding(t, holdPolicy)
	t.Run("cancelled by the client", func(t *testing.T) {
		c := h.client(t)
		id, end := c.start(t, "SELECT * FROM orders")
		if err := c.PgConn().CancelRequest(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := awaitEnd(t, end); !hasCode(err, "57014") {
			t.Errorf("%v", err)
		}
		if got := h.hold(t, id); got.State != approval.Cancelled {
			t.Errorf("the hold is %s", got.State)
		}
		h.approvals(t, 1, "approve", "--as", "dana", id)
		c.passes(t, "SELECT 1")
	})
	t.Run("the client goes away", func(t *testing.T) {
		c := h.client(t)
		from := len(h.stderr.tail(1 << 20))
		id, end := c.start(t, "SELECT * FROM orders")
		_ = c.PgConn().Conn().Close()
		<-end
		h.stderr.await(t, from, "session ended")
		if got := h.hold(t, id); got.State != approval.Cancelled {
			t.Errorf("the hold is %s", got.State)
		}
	})
	t.Run("the session is killed", func(t *testing.T) {
		c := h.client(t)
		id, end := c.start(t, "SELECT * FROM orders")
		if code, out := runMain(t, "sessions", "kill", "--config", h.config, h.hold(t, id).Session); code != 0 {
			t.Fatal(out)
		}
		if err := awaitEnd(t, end); !hasCode(err, "57P01") {
			t.Errorf("%v", err)
		}
	})
	t.Run("in a transaction, and denied", func(t *testing.T) {
		c := h.client(t)
		must(t, c.Conn, "BEGIN")
		must(t, c.Conn, "UPDATE orders SET status = status WHERE id = 1")
		id, end := c.start(t, "SELECT * FROM orders")
		h.approvals(t, 0, "deny", "--as", "dana", id)
		if err := awaitEnd(t, end); !hasCode(err, "42501") {
			t.Errorf("%v", err)
		}
		if got := c.PgConn().TxStatus(); got != 'E' {
			t.Errorf("status %c", got)
		}
		must(t, c.Conn, "ROLLBACK")
	})
	t.Run("in a batch", func(t *testing.T) {
		c := h.client(t)
		b := &pgx.Batch{}
		b.Queue("SELECT 1")
		b.Queue("SELECT * FROM orders")
		b.Queue("SELECT 2")
		end := make(chan error, 1)
		go func() { end <- c.SendBatch(context.Background(), b).Close() }()
		id := c.held(t, end)
		h.approvals(t, 0, "approve", "--as", "dana", id)
		if err := awaitEnd(t, end); err != nil {
			t.Error(err)
		}
	})
	t.Run("the schema changes", func(t *testing.T) {
		c := h.client(t)
		id, end := c.start(t, "SELECT * FROM orders")
		sql(t, h.server, "shop", "ALTER TABLE orders ADD COLUMN note text")
		h.approvals(t, 0, "approve", "--as", "dana", id)
		id2 := c.held(t, end)
		if id2 == id {
			t.Error("the grant was good for another table than it was given for")
		}
		h.approvals(t, 0, "approve", "--as", "dana", id2)
		if err := awaitEnd(t, end); err != nil {
			t.Error(err)
		}
	})
	t.Run("a view's words change", func(t *testing.T) {
		sql(t, h.server, "shop", "CREATE VIEW few AS SELECT * FROM orders WHERE id < 3; ALTER VIEW few OWNER TO backend")
		h.reload(t, strings.Replace(holdPolicy, "public.orders", "public.few", 1))
		c := h.client(t)
		id, end := c.start(t, "SELECT id FROM few")
		sql(t, h.server, "shop", "CREATE OR REPLACE VIEW few AS SELECT * FROM orders WHERE id > 3")
		h.approvals(t, 0, "approve", "--as", "dana", id)
		id2 := c.held(t, end)
		h.approvals(t, 0, "deny", "--as", "dana", id2)
		if err := awaitEnd(t, end); !hasCode(err, "42501") || id2 == id {
			t.Errorf("%v", err)
		}
		h.reload(t, holdPolicy)
	})
	t.Run("the policy changes", func(t *testing.T) {
		for _, x := range []struct {
			policy string
			code   string
		}{
			{strings.Replace(holdPolicy, "then: hold", "then: deny", 1), "42501"},
			{"version: 1\n", ""},
		} {
			c := h.client(t)
			h.reload(t, holdPolicy)
			id, end := c.start(t, "SELECT * FROM orders")
			policy := x.policy
			if x.code != "" {
				i := strings.Index(policy, "    approvers")
				policy = policy[:i]
			}
			h.reload(t, policy)
			h.approvals(t, 0, "approve", "--as", "dana", id)
			if err := awaitEnd(t, end); x.code == "" && err != nil || x.code != "" && !hasCode(err, x.code) {
				t.Errorf("%v, want %q", err, x.code)
			}
		}
	})
	t.Run("two approvers at once", func(t *testing.T) {
		h.reload(t, strings.Replace(holdPolicy, "count: 1", "count: 2", 1))
		c := h.client(t)
		id, end := c.start(t, "SELECT * FROM orders")
		codes := make(chan int, 2)
		for _, name := range []string{"gina", "hugo"} {
			go func() {
				m := &Main{Stdin: strings.NewReader(""), Stdout: os.Stderr, Stderr: os.Stderr}
				codes <- m.Run(context.Background(), []string{"approvals", "approve", "--config", h.config, "--as", name, id})
			}()
		}
		if a, b := <-codes, <-codes; a+b != 1 {
			t.Errorf("one token answered twice: %d %d", a, b)
		}
		t.Setenv(passwordVariable, "erik-secret")
		h.approvals(t, 0, "approve", "--user", "erik", id)
		if err := awaitEnd(t, end); err != nil {
			t.Error(err)
		}
		if got := h.hold(t, id); len(got.Votes) != 2 {
			t.Errorf("votes %v", got.Votes)
		}
	})
	t.Run("the proxy restarts", func(t *testing.T) {
		c := h.client(t)
		id, end := c.start(t, "SELECT * FROM orders")
		h.stop()
		code := <-h.code
		h.code <- code
		if err := awaitEnd(t, end); !hasCode(err, "57P01") {
			t.Errorf("%v", err)
		}
		h.serve(t)
		if got := h.hold(t, id); got.State != approval.Cancelled {
			t.Errorf("the hold is %s: %s", got.State, got.Why)
		}
		if code, out := runMain(t, "replay", "verify", "--config", h.config); code != 0 {
			t.Error(out)
		}
	})
}

// TestHoldRunsOnce: what is granted by another process runs once, whoever
// else asks the same at the same time.
func TestHoldRunsOnce(t *testing.T) {
	t.Parallel()
	h := startHolding(t, "version: 1\nrules: [{name: exports, when: '\"public.exports\" in stmt.objects && stmt.action == \"insert\"', then: hold, approvers: {groups: [dba], within: 2m}}]\n")
	sql(t, h.server, "shop", "CREATE TABLE exports (id int); GRANT ALL ON exports TO backend")
	const text = "INSERT INTO exports VALUES (1)"
	var ends []chan error
	id := ""
	for range 3 {
		var end chan error
		id, end = h.client(t).start(t, text)
		ends = append(ends, end)
	}
	if out, err := child("approvals", "approve", "--config", h.config, "--as", "dana", id).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := awaitEnd(t, ends[2]); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(h.approvals(t, 0, "list", "--json")) { // the others still wait
		var left approval.Hold
		if err := json.Unmarshal([]byte(line), &left); err != nil {
			t.Fatal(err)
		}
		h.approvals(t, 0, "deny", "--as", "dana", left.ID)
	}
	passed := 1
	for _, end := range ends[:2] {
		if err := awaitEnd(t, end); err == nil {
			passed++
		} else if !hasCode(err, "42501") {
			t.Error(err)
		}
	}
	if got := strings.TrimSpace(sql(t, h.server, "shop", "SELECT count(*) FROM exports")); passed != 1 || got != "1" {
		t.Errorf("%d passed and %s rows were written for one grant", passed, got)
	}
}

// TestHoldWithoutState: where a hold cannot be kept, nothing passes.
func TestHoldWithoutState(t *testing.T) {
	t.Parallel()
	h := startHolding(t, strings.Replace(holdPolicy, "within: 1m", "within: 2s", 1))
	c := h.client(t)
	id, end := c.start(t, "SELECT * FROM orders")
	if err := awaitEnd(t, end); !hasCode(err, "42501") || !strings.Contains(err.Error(), "not approved in time") {
		t.Errorf("after its time: %v", err)
	}
	h.approvals(t, 1, "approve", "--as", "dana", id)
	// Somebody else has the state locked.
	db, err := store.Open(context.Background(), "sqlite:var/state.db", h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin() // takes the write lock
	if err != nil {
		t.Fatal(err)
	}
	if err := execute(context.Background(), c.Conn, "simple", "SELECT * FROM orders"); !hasCode(err, "58030") {
		t.Errorf("with the state locked: %v", err)
	}
	must(t, c.Conn, "SELECT 1")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	id, end = c.start(t, "SELECT * FROM orders")
	h.approvals(t, 0, "approve", "--as", "dana", id)
	if err := awaitEnd(t, end); err != nil {
		t.Error(err)
	}
	// It is gone.
	if _, err := db.Exec("DROP TABLE grants; DROP TABLE votes; DROP TABLE holds"); err != nil {
		t.Fatal(err)
	}
	if err := execute(context.Background(), c.Conn, "simple", "SELECT * FROM orders"); !hasCode(err, "58030") {
		t.Errorf("with the state gone: %v", err)
	}
	must(t, c.Conn, "SELECT 1")
}

// TestHoldOnFullDisk: a hold that cannot be written is a refusal.
func TestHoldOnFullDisk(t *testing.T) {
	t.Parallel()
	h := startHolding(t, holdPolicy)
	h.client(t).passes(t, "SELECT 1") // the schema is stored while there is room
	h.stop()
	h.testProxy.code <- <-h.testProxy.code
	cmd, log := limitedChild(t, 128, "serve", "--config", h.config)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c := h.client(t)
	// Its words have room in the transcript, not in the state with its pages.
	text := "SELECT * FROM orders /* " + strings.Repeat("y", 58_000) + " */"
	if err := execute(context.Background(), c.Conn, "simple", text); !hasCode(err, "58030") {
		t.Errorf("%v", err)
	}
	log.await(t, 0, "holding a statement")
}

// TestUnprovableHeld: what lineage cannot prove passes when people say so, as
// it is, and the record says that too. What is known to tell never does.
func TestUnprovableHeld(t *testing.T) {
	t.Parallel()
	h := startHolding(t, `version: 1
classes: {salary: {mask: redact, compare: none}}
columns: [{class: salary, match: ["customers.salary"]}]
unprovable: hold
approvers: {groups: [dba], within: 1m}
`)
	c := h.client(t)
	id, end := c.start(t, "SELECT id, 1 / (salary - salary) FROM customers WHERE id = 3")
	h.approvals(t, 0, "approve", "--as", "dana", id)
	if err := awaitEnd(t, end); !hasCode(err, "22012") { // errors and all
		t.Errorf("%v", err)
	}
	wantRefusal(t, execute(context.Background(), c.Conn, "simple", "SELECT id FROM customers WHERE salary > 5"))
	c.passes(t, "SELECT id, salary FROM customers WHERE id = 3")
	if _, out := runMain(t, "replay", "show", "--config", h.config, "last"); !strings.Contains(out, "although lineage cannot prove it safe") {
		t.Errorf("the record does not say it:\n%s", out)
	}
}

// TestUnparsed: a text that the parser does not understand passes where the
// policy says so and no class binds; the server then says what it thinks of it.
func TestUnparsed(t *testing.T) {
	t.Parallel()
	h := startHolding(t, "version: 1\nunparsed: allow\nrules: [{name: r, when: 'stmt.action == \"unknown\" && stmt.text.contains(\"never\")', then: deny}]\n")
	c := h.client(t)
	for _, way := range []string{"simple", "prepared"} {
		if err := execute(context.Background(), c.Conn, way, "SELEC 1"); !hasCode(err, "42601") || !strings.Contains(err.Error(), `at or near "SELEC"`) {
			t.Errorf("%s: %v", way, err)
		}
	}
	wantRefusal(t, execute(context.Background(), c.Conn, "simple", "SELEC never"))
	c.passes(t, "SELECT 1")
	h.reload(t, "version: 1\nunparsed: hold\nclasses: {a: {}}\ncolumns: [{class: a, match: ['x.y']}]\n")
	if err := execute(context.Background(), c.Conn, "simple", "SELEC 2"); !hasCode(err, "42501") {
		t.Errorf("where a class binds: %v", err)
	}
	h.reload(t, "version: 1\nunparsed: hold\n")
	_, end := c.start(t, "SELEC 3")
	if err := c.PgConn().CancelRequest(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := awaitEnd(t, end); !hasCode(err, "57014") {
		t.Errorf("%v", err)
	}
}
