package facts

import "time"

// Verdict is ordered: the strictest of several wins. The zero value is
// Unset, which counts as Deny wherever it reaches a gate.
type Verdict uint8

const (
	Unset Verdict = iota
	Allow
	Hold
	Deny
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Hold:
		return "hold"
	case Deny:
		return "deny"
	}
	return "unset"
}

// MarshalText writes the policy's word for the verdict.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads the policy's word; an unknown one is Deny.
func (v *Verdict) UnmarshalText(b []byte) error {
	switch string(b) {
	case "allow":
		*v = Allow
	case "hold":
		*v = Hold
	case "unset":
		*v = Unset
	default:
		*v = Deny
	}
	return nil
}

// Decision is what the policy says of one statement.
type Decision struct {
	Verdict Verdict   `json:"verdict"`
	Rules   []RuleHit `json:"rules,omitempty"` // every rule that matched
	// Refusals say why lineage or scope refused, whatever the rules said.
	Refusals []Refusal `json:"refusals,omitempty"`
	// Needs are who must say yes before a held statement passes: all of them.
	Needs []Need `json:"needs,omitempty"`
	// Masks has one entry a result column that must not leave as it is, in
	// order of Output.
	Masks []ColumnMask `json:"masks,omitempty"`
	// Detect is what is looked for, and masked, in the statement's texts.
	Detect []Detect `json:"detect,omitempty"`
	// Classes that the statement reads or compares, masked or not.
	Classes []string `json:"classes,omitempty"`
	// Scrub says that upstream diagnostics must be replaced: the statement
	// touches a table with a class that the identity may not see.
	Scrub bool `json:"scrub,omitempty"`
	// Secret marks constants and parameters (by index into Facts.Constants
	// and by parameter number) that the record must hide.
	SecretConstants []int `json:"secret_constants,omitempty"`
	SecretParams    []int `json:"secret_params,omitempty"`
	// Budgets are those that the result is charged to, by their index in the
	// policy.
	Budgets []int `json:"budgets,omitempty"`
	// PlanWanted says that a rule asked for the planner's estimate, which was
	// not given, and that it could make the verdict another.
	PlanWanted bool `json:"-"`
	// Record is how many rows of each result the transcript keeps: -1 all.
	Record int `json:"record"`
}

// RuleHit is one rule that matched, for one effect of the statement.
type RuleHit struct {
	Rule    string  `json:"rule"`
	Effect  int     `json:"effect"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"`
	// Failed holds the error of a condition that could not be evaluated and
	// therefore counted as a match.
	Failed string `json:"failed,omitempty"`
}

// Need is what one rule asks of people before a held statement passes.
type Need struct {
	Rule string `json:"rule"` // or what else held it: default, unprovable, budget …
	// Groups of which an approver must be in one; empty leaves it to the
	// administrator.
	Groups []string `json:"groups,omitempty"`
	Count  int      `json:"count"` // of approvers, at least 1
	// Within is how long the statement waits for them.
	Within time.Duration `json:"within"`
}

// Spent is how much of a budget is used.
type Spent struct {
	Rows   int64 `json:"rows"`
	Bytes  int64 `json:"bytes"`
	Tokens int64 `json:"tokens,omitempty"`
	Cost   int64 `json:"cost,omitempty"` // in millionths of the unit of the policy's prices
}

// Refusal is a use that the classes forbid. At is a byte offset, -1 where
// unknown.
type Refusal struct {
	Class   string `json:"class,omitempty"`
	Column  string `json:"column,omitempty"`
	Message string `json:"message"` // what was not allowed and why, in plain words
	Hint    string `json:"hint,omitempty"`
	At      int    `json:"at"`
}

// ColumnMask binds a mask to a result column.
type ColumnMask struct {
	Output  int      `json:"output"`
	Classes []string `json:"classes"`
	Mask    Mask     `json:"mask"`
}

// Mask names a transformation of package mask, with its parameters.
type Mask struct {
	Name   string         `json:"name"`
	Params map[string]any `json:"params,omitempty"`
}

// Detect says which forms of values are looked for where no column is known,
// and what becomes of those found.
type Detect struct {
	Class string   `json:"class"`
	Forms []string `json:"forms"` // of package mask, or the policy's patterns by name
	Mask  Mask     `json:"mask"`
}

// Usage is how many tokens a model took and gave. Counted says that the
// upstream did not tell, so that they are bytes, of which no token has less
// than one.
type Usage struct {
	Input   int64 `json:"input"`
	Output  int64 `json:"output"`
	Counted bool  `json:"counted,omitempty"`
}
