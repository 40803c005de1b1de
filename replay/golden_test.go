package replay

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

var update = flag.Bool("update", false, "write the golden transcripts of the version that is written now")

// TestGolden reads and verifies transcripts of every version and shape that
// was ever written. Those of older versions are never written anew.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	dirs, err := filepath.Glob(filepath.Join("testdata", "v*"))
	check(t, err)
	if len(dirs) < 2 {
		t.Fatalf("golden transcripts: %q", dirs)
	}
	for _, dir := range dirs {
		pub := goldenKey(t, dir)
		var identities []age.Identity
		if f, err := os.Open(filepath.Join(dir, "identity.txt")); err == nil {
			identities, err = age.ParseIdentities(f)
			check(t, err)
			check(t, f.Close())
		}
		files, err := Files(dir)
		check(t, err)
		for _, path := range files {
			t.Run(filepath.Base(dir)+"/"+SessionOf(path), func(t *testing.T) {
				r, err := Verify(path, pub, identities)
				check(t, err)
				if !r.OK() || !r.Ended || r.Encrypted {
					t.Errorf("%+v", r)
				}
				var out bytes.Buffer
				check(t, Export(&out, "jsonl", []string{path}, identities))
				if out.Len() > 64<<10 { // its sum will do
					sum := sha256.Sum256(out.Bytes())
					out.Reset()
					fmt.Fprintf(&out, "%x\n", sum)
				}
				golden := strings.TrimSuffix(path, ".transcript") + ".jsonl"
				if *update && filepath.Base(dir) == fmt.Sprint("v", Version) {
					check(t, os.WriteFile(golden, out.Bytes(), 0o600))
				}
				want, err := os.ReadFile(golden)
				check(t, err)
				if !bytes.Equal(out.Bytes(), want) {
					t.Errorf("its events are not those of %s:\n%s", golden, out.String())
				}
			})
		}
	}
}

func goldenKey(t *testing.T, dir string) ed25519.PublicKey {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "sign.pub"))
	check(t, err)
	block, _ := pem.Decode(b)
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	check(t, err)
	return pub.(ed25519.PublicKey)
}

func writeGolden(t *testing.T) {
	dir := filepath.Join("testdata", fmt.Sprint("v", Version))
	check(t, os.RemoveAll(dir))
	check(t, os.MkdirAll(dir, 0o700))
	id, err := age.GenerateX25519Identity()
	check(t, err)
	pub, key, err := ed25519.GenerateKey(nil)
	check(t, err)
	der, err := x509.MarshalPKIXPublicKey(pub)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "sign.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "identity.txt"), []byte("# opens the encrypted ones; it is for this test alone\n"+id.String()+"\n"), 0o600))
	for _, name := range []string{"plain", "parts", "encrypted"} {
		at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
		opt := Options{Key: key, Now: func() time.Time { at = at.Add(time.Millisecond); return at }}
		n := 8
		switch name {
		case "parts":
			opt.PartSize, n = 1, 1200
		case "encrypted":
			opt.Recipients = []age.Recipient{id.Recipient()}
		}
		d, err := OpenDir(dir, opt)
		check(t, err)
		d.frame = frameSize / 4
		session(t, d, name, n, true)
	}
}

// TestFormat reads golden transcripts by FORMAT.md's words and nothing else of
// this package but the decompressor.
func TestFormat(t *testing.T) {
	dir := filepath.Join("testdata", "v4")
	pub := goldenKey(t, dir)
	type seal struct {
		T, Prev, Sum, Key, Sig, Marks string
		N, Version                    int64
		End                           bool
	}
	signed := func(session string, s seal) {
		t.Helper()
		sig, err := hex.DecodeString(s.Sig)
		check(t, err)
		if !ed25519.Verify(pub, fmt.Appendf(nil, "sallyport transcript v4\n%s\n%d\n%s\n%s\n", session, s.N, s.Sum, s.Marks), sig) || s.T != "seal" || s.Version != 4 {
			t.Errorf("%s: %+v", session, s)
		}
		if id := sha256.Sum256(pub); s.Key != hex.EncodeToString(id[:])[:16] {
			t.Errorf("%s: its key is %s", session, s.Key)
		}
	}
	tail := func(b []byte, n int) {
		t.Helper()
		sum := sha256.Sum256(b[:n])
		if want := append([]byte("\x50\x2a\x4d\x18\x20\x00\x00\x00"), sum[:]...); !bytes.Equal(b[n:], want) {
			t.Errorf("check is %x, want %x", b[n:], want)
		}
	}

	plain, err := os.ReadFile(filepath.Join(dir, "plain.transcript"))
	check(t, err)
	tail(plain, len(plain)-40)
	content, err := decompress(plain[:len(plain)-40])
	check(t, err)
	lines := bytes.SplitAfter(content, []byte("\n"))
	var s seal
	check(t, json.Unmarshal(lines[len(lines)-2], &s))
	sum, marks := sha256.New(), []byte(nil)
	sum.Write(make([]byte, 32))
	for _, line := range lines[:len(lines)-2] {
		m := sha256.Sum256(line)
		sum.Write(m[:])
		marks = append(marks, m[:2]...)
	}
	if s.Sum != hex.EncodeToString(sum.Sum(nil)) || s.Marks != base64.RawStdEncoding.EncodeToString(marks) || s.Prev != strings.Repeat("0", 64) {
		t.Errorf("%+v", s)
	}
	signed("plain", s)

	secret, err := os.ReadFile(filepath.Join(dir, "encrypted.transcript"))
	check(t, err)
	n := int(binary.LittleEndian.Uint32(secret[4:]))
	if string(secret[:4]) != "\x51\x2a\x4d\x18" || len(secret) != 8+n+40 {
		t.Fatalf("% x, length %d of %d", secret[:4], n, len(secret))
	}
	tail(secret, 8+n)
	line, sealed, _ := bytes.Cut(secret[8:8+n], []byte("\n"))
	s = seal{}
	check(t, json.Unmarshal(line, &s))
	whole := sha256.Sum256(append(append(make([]byte, 32), "age true\n"...), sealed...))
	if !s.End || s.Sum != hex.EncodeToString(whole[:]) || !bytes.HasPrefix(sealed, []byte("age-encryption.org/v1\n")) {
		t.Errorf("%+v", s)
	}
	signed("encrypted", s)
}

// TestSealVersion: a seal is good for the version alone that it was made in,
// so that nobody has a frame verified by the rules of another.
func TestSealVersion(t *testing.T) {
	dir := filepath.Join("testdata", "v4")
	plain, err := os.ReadFile(filepath.Join(dir, "plain.transcript"))
	check(t, err)
	content, err := decompress(plain[:len(plain)-checkLength])
	check(t, err)
	for version := range Version + 2 {
		at := bytes.LastIndex(content, []byte(`"version":4`)) // the seal's
		changed := append(bytes.Clone(content[:at]), fmt.Sprintf(`"version":%d`, version)...)
		changed = append(changed, content[at+len(`"version":4`):]...)
		d, err := OpenDir(t.TempDir(), Options{})
		check(t, err)
		path := filepath.Join(d.root, "plain.transcript")
		check(t, os.WriteFile(path, withCheck(d.zstd.EncodeAll(changed, nil)), 0o600))
		r, err := Verify(path, goldenKey(t, dir), nil)
		check(t, err)
		if r.OK() != (version == Version) {
			t.Errorf("version %d: %+v", version, r)
		}
	}
}
