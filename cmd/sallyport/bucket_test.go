package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// bucketServer is an S3-compatible server over a folder. It ends with the test.
type bucketServer struct {
	root string // has a folder for each bucket
	port int
	cmd  *exec.Cmd
}

func newBucketServer(t *testing.T) *bucketServer {
	t.Helper()
	b := &bucketServer{root: t.TempDir(), port: freePort(t)}
	if err := os.Mkdir(filepath.Join(b.root, "records"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "sallyport")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
	t.Cleanup(func() { b.stop() })
	b.start(t)
	return b
}

func (b *bucketServer) start(t *testing.T) {
	t.Helper()
	cache, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command(filepath.Join(cache, "s3", "versitygw"), "--port", fmt.Sprintf("127.0.0.1:%d", b.port), "--quiet",
		"--access", "sallyport", "--secret", "a-secret-of-the-test", "posix", "--sidecar", t.TempDir(), b.root)
	var out logBuffer
	b.cmd.Stdout, b.cmd.Stderr = &out, &out
	if err := b.cmd.Start(); err != nil {
		t.Fatalf("%v: make setup-tests installs it", err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the S3 server does not answer: %s", out.tail(2000))
		}
	}
}

func (b *bucketServer) stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

func (b *bucketServer) place() string {
	return fmt.Sprintf("s3://records?region=us-east-1&endpoint=http://127.0.0.1:%d&use_path_style=true", b.port)
}

// transcripts lists what the bucket has.
func (b *bucketServer) transcripts(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.root, "records", "*", "*", "*", "*.transcript*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestBucket: sessions go into a bucket when they end, are read from there,
// wait in the spool while the store is down, and are missed when taken away.
func TestBucket(t *testing.T) {
	s := startPostgreSQL(t, throwaway.Options{}, `CREATE TABLE customers (id int, email text); INSERT INTO customers SELECT n, 'c' || n || '@example.com' FROM generate_series(1, 20) n;`)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := newBucketServer(t)
	port := freePort(t)
	p := writeProxy(t, "version: 1\nclasses: {pii: {mask: redact}}\ncolumns: [{class: pii, match: [customers.email]}]\n", target{name: "shop", port: port, password: "backend-secret",
		upstream: fmt.Sprintf("postgres://backend@%s/shop?sslmode=disable", s.Address())})
	plain := readFile(t, p.config)
	p.write(t, "sallyport.yaml", plain+fmt.Sprintf("storage: {transcripts: %q, recipients: [%s]}\n", b.place(), id.Recipient()))
	key := p.write(t, "auditor.key", id.String()+"\n")
	conn := fmt.Sprintf("host=127.0.0.1 port=%d user=ana password=ana-secret dbname=shop sslmode=disable", port)
	session := func() {
		t.Helper()
		c := connect(t, conn)
		must(t, c, "SELECT email FROM customers")
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want int, says string, args ...string) {
		t.Helper()
		args = append(args, "--config", p.config)
		if code, out := runMain(t, args...); code != want || !strings.Contains(out, says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), code, want, says, out)
		}
	}
	p.serve(t)
	session()
	at := p.stderr.await(t, 0, "shipped transcripts")
	if got := b.transcripts(t); len(got) != 1 {
		t.Fatalf("the bucket has %q", got)
	}
	if raw := readFile(t, b.transcripts(t)[0]); strings.Contains(raw, "customers") {
		t.Error("the object in the bucket can be read")
	}
	if left, _ := filepath.Glob(filepath.Join(p.dir, "var", "spool", "*", "*", "*", "*")); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
	if catalogs, _ := filepath.Glob(filepath.Join(b.root, "records", "catalogs", "*.json.zst")); len(catalogs) == 0 {
		t.Error("the schema is not in the bucket")
	}
	run(0, "encrypted", "sessions", "list")
	run(1, "give the age identity", "replay", "show", "last")
	run(0, "SELECT email FROM customers", "replay", "show", "last", "--unseal", key)
	run(0, "1 statements in 1 sessions, nothing changes", "replay", "check", "--policy", filepath.Join(p.dir, "policy.yaml"), "--unseal", key)
	run(0, "1 transcripts", "replay", "verify")
	run(0, "all good", "replay", "verify", "--unseal", key)

	b.stop()
	session()
	at = p.stderr.await(t, at, "were not shipped")
	run(1, "bucket", "replay", "verify")
	b.start(t)
	session() // its end wakes who ships
	p.stderr.await(t, at, "shipped transcripts")
	if got := b.transcripts(t); len(got) != 3 {
		t.Fatalf("the bucket has %q", got)
	}
	run(0, "3 transcripts", "replay", "verify")

	taken := b.transcripts(t)[1]
	if err := os.Rename(taken, filepath.Join(p.dir, "taken")); err != nil {
		t.Fatal(err)
	}
	run(3, strings.TrimSuffix(filepath.Base(taken), ".transcript")+": the transcript is missing", "replay", "verify")

	// The bucket alone, by whom has its name and the key.
	pub := filepath.Join(p.dir, "var", "keys", "sign.pub")
	if code, out := runMain(t, "replay", "verify", "--key", pub, b.place()); code != 0 || !strings.Contains(out, "2 transcripts") {
		t.Errorf("exit code %d: %s", code, out)
	}
	object := b.transcripts(t)[0]
	body := []byte(readFile(t, object))
	body[len(body)/2] ^= 1
	if err := os.WriteFile(object, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := runMain(t, "replay", "verify", "--key", pub, b.place()); code != 3 || !strings.Contains(out, "frame 1 at byte 0: ") || !strings.Contains(out, "1 BAD") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := runMain(t, "replay", "verify", "--key", pub, "s3://nowhere?"+strings.SplitN(b.place(), "?", 2)[1]); code != 1 || !strings.Contains(out, "hint: a bucket is") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
