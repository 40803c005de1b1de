package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/sqlpolicy"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// hidden is what stands in the record for a constant: equal ones look equal,
// and nobody without the key can tell what they were.
func (e *Engine) hidden(s string) string {
	m := hmac.New(sha256.New, e.keys.Hash)
	m.Write([]byte(s))
	return "‹hmac:" + hex.EncodeToString(m.Sum(nil)[:8]) + "›"
}

// hider hides one secret for the record or for people.
type hider func(s string) (string, error)

// hashed hides behind the installation's key.
func (e *Engine) hashed(s string) (string, error) { return e.hidden(s), nil }

// forRecord hides as the policy says: hashed, or sealed to its recipients.
func (e *Engine) forRecord(p *sqlpolicy.Policy) hider {
	if !p.Record.Sealed() {
		return e.hashed
	}
	return func(s string) (string, error) {
		sealed, err := p.Record.Seal(s)
		return replay.SealedBefore + sealed + replay.SealedAfter, err
	}
}

// redactText hides the secret constants of a text.
func redactText(hide hider, text string, constants []facts.Constant, secret []int) (string, error) {
	if len(secret) == 0 {
		return text, nil
	}
	var ranges []facts.Constant
	for _, i := range secret {
		if i >= 0 && i < len(constants) {
			ranges = append(ranges, constants[i])
		}
	}
	slices.SortFunc(ranges, func(a, b facts.Constant) int { return a.From - b.From })
	var b strings.Builder
	at := 0
	for _, r := range ranges {
		if r.From < at || r.To > len(text) || r.From > r.To {
			continue // overlapping: the first one hid it
		}
		hidden, err := hide(text[r.From:r.To])
		if err != nil {
			return "", err
		}
		b.WriteString(text[at:r.From])
		b.WriteString(hidden)
		at = r.To
	}
	b.WriteString(text[at:])
	return b.String(), nil
}

// redactParams hides the secret parameters.
func redactParams(hide hider, params []facts.Param, secret []int) ([]facts.Param, error) {
	if len(secret) == 0 {
		return params, nil
	}
	out := slices.Clone(params)
	for _, n := range secret {
		if n >= 1 && n <= len(out) && !out[n-1].Null {
			var err error
			if out[n-1].Text, err = hide(out[n-1].Text); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// hideFound is the text with what the policy's detectors find in it hidden.
func (e *Engine) hideFound(text string) string {
	p := e.policy.Load()
	d, err := p.Detector(p.Detects(), e.keys.Hash)
	if err != nil {
		return "…" // who knows what it holds
	}
	found := d.FindNested([]byte(text))
	for i := len(found) - 1; i >= 0; i-- {
		f := found[i]
		text = text[:f.From] + e.hidden(text[f.From:f.To]) + text[f.To:]
	}
	return text
}

// hideLiterals is the text with what stands between quotes hidden, where any
// class is defined. It only ever hides too much.
func (e *Engine) hideLiterals(text string) string {
	first := strings.IndexAny(text, "'\"$")
	if len(e.policy.Load().Columns) == 0 || first < 0 {
		return bound(text, 64<<10)
	}
	// Where a quote need not begin or end a constant, all behind the first one
	// is hidden.
	if strings.ContainsAny(text, "\"$\\#") || strings.Contains(text, "--") || strings.Contains(text, "/*") {
		return bound(text[:first], 64<<10) + "…"
	}
	var b strings.Builder
	in := false
	for _, part := range strings.SplitAfter(bound(text, 64<<10), "'") {
		if in {
			b.WriteString("…'")
		} else {
			b.WriteString(part)
		}
		in = !in
	}
	return b.String()
}
