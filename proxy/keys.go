package proxy

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Keys are the installation's own secrets.
type Keys struct {
	AdminToken string
	Sign       ed25519.PrivateKey
	Hash       []byte
}

// LoadKeys reads the keys in dir and makes those that are missing, mode 0600.
func LoadKeys(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the keys' folder: %w", err)
	}
	token, err := loadOrMake(filepath.Join(dir, "admin.token"), func() []byte { return append(randomHex(), '\n') })
	if err != nil {
		return nil, err
	}
	hash, err := loadOrMake(filepath.Join(dir, "hash.key"), func() []byte { return append(randomHex(), '\n') })
	if err != nil {
		return nil, err
	}
	sign, err := loadOrMake(filepath.Join(dir, "sign.key"), makeSignKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(sign)
	if block == nil {
		return nil, errors.New("sign.key is no PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, errors.Join(errors.New("sign.key holds no Ed25519 key"), err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if _, err := loadOrMake(filepath.Join(dir, "sign.pub"), func() []byte { return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}) }); err != nil {
		return nil, err
	}
	return &Keys{AdminToken: trim(token), Sign: key, Hash: []byte(trim(hash))}, nil
}

func trim(b []byte) string {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return string(b)
}

func randomHex() []byte {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.AppendEncode(nil, b[:])
}

func makeSignKey() []byte {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // the system's randomness never fails
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // an Ed25519 key is known to it
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// loadOrMake reads a file, and makes it first where it is missing; two
// processes that start at once agree on one.
func loadOrMake(path string, make func() []byte) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make())
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return os.ReadFile(path)
}

// ReadPublicKey reads sign.pub, or another file of its form.
func ReadPublicKey(path string) (ed25519.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", filepath.Base(path))
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := parsed.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no Ed25519 public key", filepath.Base(path))
	}
	return key, nil
}
