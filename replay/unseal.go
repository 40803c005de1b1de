package replay

import (
	"encoding/base64"
	"io"
	"regexp"
	"strings"

	"filippo.io/age"
)

// SealedForm is how a constant that is sealed to recipients stands in a text
// or a parameter: age's format in base64 between these.
const (
	SealedBefore = "‹age:"
	SealedAfter  = "›"
)

var sealed = regexp.MustCompile(SealedBefore + `([A-Za-z0-9+/=]+)` + SealedAfter)

// Unseal opens the sealed constants of a text with the identities that it was
// sealed to. What they do not open stays as it is.
func Unseal(text string, identities []age.Identity) string {
	if len(identities) == 0 || !strings.Contains(text, SealedBefore) {
		return text
	}
	return sealed.ReplaceAllStringFunc(text, func(s string) string {
		b64 := base64.NewDecoder(base64.StdEncoding, strings.NewReader(sealed.FindStringSubmatch(s)[1]))
		r, err := age.Decrypt(b64, identities...)
		if err != nil {
			return s
		}
		b, err := io.ReadAll(io.LimitReader(r, 64<<20))
		if err != nil {
			return s
		}
		return string(b)
	})
}
