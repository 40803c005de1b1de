// Package sqlpolicy reads a policy and decides. Decide is pure: no I/O, no
// clock, no network, so that a live session, a test and a replay decide
// through the same function. It knows facts and classes, and nothing of
// wires, schemas or storage.
//
// Everything that the policy does not clearly allow is refused: an unknown
// verdict is deny, a condition that fails to evaluate counts as a match for
// hold and deny and never for allow, and a use that lineage could not show
// safe is refused whatever the rules say.
package sqlpolicy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/mask"
)

// Compare is what a class lets statements compare.
type Compare string

const (
	CompareNone     Compare = "none"
	CompareEquality Compare = "equality"
	CompareAny      Compare = "any"
)

// statisticsClass is the reserved class of what the store derives from values
// (facts.StatisticsColumns): in force whenever any class is, redacted, and
// never compared.
const statisticsClass = "statistics"

// Class is a kind of sensitive value.
type Class struct {
	Name    string
	Mask    facts.Mask
	Compare Compare
	Detect  []string
}

// Binding gives a class to columns or payload paths by patterns.
type Binding struct {
	Class    string
	patterns []pattern
}

// Unmask lets groups or identities see classes in the clear.
type Unmask struct {
	Classes    []string
	Groups     []string
	Identities []string
}

// Approvers say who may grant a hold, how many, and how long it waits.
type Approvers struct {
	Groups []string
	Count  int
	Within time.Duration
}

// Rule is one rule; When is compiled.
type Rule struct {
	Name      string
	When      string
	Then      facts.Verdict
	Reason    string
	Approvers Approvers
	Line      int // of its name, in the file
	program   condition
}

// Budget bounds what an identity may read in a window.
type Budget struct {
	Name    string // as messages call it: what it bounds
	Classes []string
	Groups  []string
	Rows    int64
	Bytes   int64
	Tokens  int64
	Cost    int64 // in millionths of the unit of Prices
	Per     time.Duration
	Then    facts.Verdict
	// Approvers may let a statement pass that is held because it is used up.
	Approvers Approvers
}

// Scope lists what an identity or group may reach. Empty lists allow all.
type Scope struct {
	Groups, Identities                               []string
	Targets, Databases, Schemas, Collections, Models []string

	// also bounds schemas where databases are in their place.
	also []string
}

// Record says what transcripts keep. Rows is -1 for all.
type Record struct {
	Rows       int
	Hash       bool       // whole results have one
	By         []RecordBy // the first that fits comes before Rows
	Constants  string     // hash or sealed
	recipients []age.Recipient
}

// RecordBy says how many rows are kept of results of these targets
// that read one of these classes, where they are named.
type RecordBy struct {
	Classes, Targets []string
	Rows             int
}

// rows is how many rows of a result are kept.
func (r *Record) rows(target string, classes []string) int {
	for i := range r.By {
		b := &r.By[i]
		if (len(b.Targets) == 0 || slices.Contains(b.Targets, target)) && (len(b.Classes) == 0 || intersects(b.Classes, classes)) {
			return b.Rows
		}
	}
	return r.Rows
}

// Limits of the policy, in bytes and counts; 0 is the configuration's.
type Limits struct {
	Row, Statement, Message, Depth int
}

// Policy is a loaded policy. It is immutable and safe for concurrent use.
type Policy struct {
	Hash       string // of the file's bytes
	Classes    map[string]*Class
	Columns    []Binding
	Payloads   []Binding
	Unmask     []Unmask
	Rules      []Rule
	Budgets    []Budget
	Scopes     []Scope
	Default    facts.Verdict
	Unprovable facts.Verdict // deny or hold
	Unparsed   facts.Verdict
	Approvers  Approvers       // of holds that no rule asks for
	Functions  map[string]bool // vouched
	Record     Record
	Limits     Limits
	LoadLocal  bool

	prices    []price
	patterns  map[string]*mask.Pattern // forms of the policy's own
	detects   []facts.Detect           // what is looked for, by class
	detectors sync.Map                 // by what of it, as JSON

	cache classCache
}

var readsText = regexp.MustCompile(`\bstmt\s*\.\s*text\b`)

// ReadsText says that some condition looks into statements' words.
func (p *Policy) ReadsText() bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return readsText.MatchString(r.When) })
}

// Load reads and checks the policy at path. The error is Problems, with all
// that is wrong, or one of reading the file.
func Load(path string) (*Policy, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	return Parse(filepath.Base(path), src)
}

// Parse is Load for bytes at hand; name stands in error messages.
func Parse(name string, src []byte) (*Policy, error) {
	p, err := parse(name, src)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(src)
	p.Hash = hex.EncodeToString(sum[:])
	return p, nil
}
