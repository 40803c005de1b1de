package sqlpolicy

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/strictyaml"
)

// Recipients reads a list of age recipients.
func Recipients(n *strictyaml.Node) []age.Recipient {
	var out []age.Recipient
	list := n.Strings()
	for i, e := range n.List() {
		r, err := age.ParseX25519Recipient(list[i])
		if err != nil {
			e.Problem("no age recipient (age1…, as age-keygen prints it): %v", err)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Sealed says that constants are sealed to recipients, not hashed.
func (r *Record) Sealed() bool { return r.Constants == "sealed" }

// Seal encrypts a constant to the policy's recipients, as base64 of the age
// format. Only they can read it.
func (r *Record) Seal(s string) (string, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r.recipients...)
	if err == nil {
		_, err = w.Write([]byte(s))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("sealing a constant: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}
